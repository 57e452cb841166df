"""The check of the code's shape counts as its page says; every package says what it takes and gives."""

import ast

import pytest

import shape

PACKAGES = sorted(p.parent.relative_to(shape.SOURCE).as_posix() for p in shape.SOURCE.rglob("__init__.py"))

CODE = '''
def outer(self, a, *rest, b=1, **more):
    """Return something.

    In three lines.
    """

    def inner(x):
        y = x
        return y

    return inner(a)
'''


def test_a_length_leaves_out_docstring_and_inner_functions():
    outer, inner = (node for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.FunctionDef))
    assert (shape.length(outer), shape.length(inner)) == (4, 3)


def test_parameters_count_without_self():
    outer = next(node for node in ast.walk(ast.parse(CODE)) if isinstance(node, ast.FunctionDef))
    assert shape.parameters(outer) == 4


def test_the_package_keeps_its_shape(capsys):
    assert shape.main() == 0, capsys.readouterr().out


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_in_a_sentence_what_it_does(package):
    said = ast.get_docstring(ast.parse((shape.SOURCE / package / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert len(said.split()) > 5, said
