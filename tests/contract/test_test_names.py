"""A test's name states its fact in few words."""

import ast
from pathlib import Path

MOST = 10


def test_no_name_of_a_test_has_more_than_ten_words():
    tests = Path(__file__).parents[1]
    long = []
    for path in sorted(tests.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and len(node.name.split("_")) - 1 > MOST:
                long.append(f"{path.name}: {node.name}")
    assert not long
