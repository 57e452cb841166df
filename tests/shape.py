"""Check the shape of the code, and print it in one line: lines of files and functions, parameters.

Run it as ``python tests/shape.py``; ``make lint`` does. The bounds are those of CONTRIBUTING.md. A function's length is what a reader goes
through: from ``def`` to its last line, without the docstring and without the lines of a function inside it that is counted for itself.
Parameters count without ``self`` and ``cls``. Entry points (``cli/``, ``api``, ``estimator.py``) may have any number of parameters,
because each of them is an option of a command.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "tapetum"
FILE_LINES = 350
FUNCTION_LINES = 40
SHORT_SHARE = 0.95
PARAMETERS = 8
ENTRY_POINTS = {"cli", "api", "estimator"}

Def = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Function:
    """A function or method: where it stands, how long it is, how much it takes."""

    place: str
    lines: int
    parameters: int
    entry: bool


def functions(path: Path) -> Iterator[Function]:
    """Yield every function of a file, also those inside classes and functions."""
    place = path.relative_to(SOURCE)
    entry = place.parts[0].removesuffix(".py") in ENTRY_POINTS
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Def):
            yield Function(f"{place}:{node.lineno} {node.name}", length(node), parameters(node), entry)


def length(node: Def) -> int:
    """Return the lines of a function from ``def`` to its end, without the docstring and the functions inside it."""
    inside = [child for child in ast.walk(node) if isinstance(child, Def) and child is not node]
    skipped = {line for child in inside for line in range(child.lineno, child.end_lineno + 1)}
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        skipped |= set(range(first.lineno, first.end_lineno + 1))
    return node.end_lineno - node.lineno + 1 - len(skipped)


def parameters(node: Def) -> int:
    """Return how many parameters a function has, without ``self`` and ``cls``."""
    named = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")]) + sum(a is not None for a in (node.args.vararg, node.args.kwarg))


def main() -> int:
    """Print the shape; return 1 where a bound is broken."""
    files = {path.relative_to(SOURCE): len(path.read_text(encoding="utf-8").splitlines()) for path in sorted(SOURCE.rglob("*.py"))}
    every = [function for path in files for function in functions(SOURCE / path)]
    long = sorted((f for f in every if f.lines > FUNCTION_LINES), key=lambda f: -f.lines)
    short = 1 - len(long) / len(every)
    faults = [f"{path}: {lines} lines, more than {FILE_LINES}" for path, lines in files.items() if lines > FILE_LINES]
    faults += [f"{f.place}: {f.parameters} parameters, more than {PARAMETERS}" for f in every if f.parameters > PARAMETERS and not f.entry]
    if short < SHORT_SHARE:
        faults.append(f"{short:.1%} of functions have at most {FUNCTION_LINES} lines, fewer than {SHORT_SHARE:.0%}; the longest:")
        faults += [f"  {f.place}: {f.lines} lines" for f in long]
    longest, most = max(f.lines for f in every), max(f.parameters for f in every if not f.entry)
    print(
        f"shape: {len(files)} files of at most {max(files.values())} lines; {len(every)} functions, {short:.1%} of at most "
        f"{FUNCTION_LINES} lines, the longest {longest}; at most {most} parameters"
    )
    print(*faults, sep="\n", end="\n" if faults else "")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
