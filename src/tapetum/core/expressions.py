"""Targets that are derived from others by arithmetic: the expression, the classes that it can give, and their probabilities.

An expression such as ``mask*6 + gender*3 + age`` is parsed and never evaluated as code.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.targets import Target, answer_classes, cut_by_borders

_OPERATIONS: dict[type, Any] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
}


def expression_names(expression: str) -> tuple[str, ...]:
    """Return the target names that an expression uses, in order of first use.

    Raises:
        UserError: anything but names, whole numbers, + - * // % and brackets.
    """
    names: list[str] = []
    for node in ast.walk(_parse(expression)):
        if isinstance(node, ast.Name) and node.id not in names:
            names.append(node.id)
    if not names:
        raise UserError(f"derived expression {expression!r} uses no target", need="arithmetic over target names")
    return tuple(names)


def derive_target(name: str, expression: str, parts: Mapping[str, Target], classes: tuple[str, ...] = ()) -> Target:
    """Return the derived target: its classes are the answers that the parts' combinations can give, in ascending order.

    The bare name of an ordinal target or of a regression with borders gives an ordinal target over the same classes.
    """
    names = expression_names(expression)
    for part in names:
        if part not in parts:
            raise UserError(
                f"derived target {name!r} uses {part!r}, which is no target (there are: {listed(parts)}).{nearest(part, parts)}"
            )
        if parts[part].kind == "multi" or not answer_classes(parts[part]):
            raise UserError(f"derived target {name!r} uses {part!r}, a {parts[part].kind} target", need="single, ordinal or bordered ones")
    if names == (expression.strip(),) and parts[names[0]].kind != "single":
        return Target(name, "ordinal", answer_classes(parts[names[0]]), expression=expression)
    answers = sorted({answer for _, answer in _combinations(expression, [parts[n] for n in names])})
    return Target(name, "single", classes or tuple(str(a) for a in answers), expression=expression)


def compose(
    target: Target, parts: Mapping[str, Target], p: Mapping[str, np.ndarray], deviations: Mapping[str, float] | None = None
) -> np.ndarray:
    """Return a derived target's probabilities: the product of the parts', summed where combinations agree.

    Args:
        target: from :func:`derive_target`.
        parts: the targets it uses.
        p: each part's probabilities or truth (N, K_part); a NaN row in any part gives a NaN row. The numbers (N, 1) of a regression
            are first cut by its borders.
        deviations: regression → standard deviation of its residual, see :func:`cut_by_borders`.

    Returns:
        (N, K) float32.
    """
    names = expression_names(str(target.expression))
    known = {n: cut_by_borders(parts[n], p[n], (deviations or {}).get(n)) if parts[n].kind == "regression" else p[n] for n in names}
    every = _combinations(str(target.expression), [parts[n] for n in names])
    place = {answer: i for i, answer in enumerate(sorted({answer for _, answer in every}))}
    out = np.zeros((len(known[names[0]]), len(place)), dtype=np.float64)
    for codes, answer in every:
        mass = np.ones(len(out))
        for name, code in zip(names, codes, strict=True):
            mass = mass * known[name][:, code]
        out[:, place[answer]] += mass
    return out.astype(np.float32)


def codes(expression: str, parts: Mapping[str, Target]) -> dict[frozenset[tuple[str, str]], int]:
    """Return the answer of each combination of (target, class)."""
    names = expression_names(expression)
    return {
        frozenset((name, answer_classes(parts[name])[code]) for name, code in zip(names, places, strict=True)): answer
        for places, answer in _combinations(expression, [parts[name] for name in names])
    }


def _combinations(expression: str, parts: Sequence[Target]) -> list[tuple[tuple[int, ...], int]]:
    names, tree = expression_names(expression), _parse(expression)
    every = itertools.product(*(range(len(answer_classes(part))) for part in parts))
    return [(codes, _value(tree.body, dict(zip(names, codes, strict=True)))) for codes in every]


def _parse(expression: str) -> ast.Expression:
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError:
        raise UserError(f"derived expression {expression!r} cannot be read", need="arithmetic such as mask*6 + gender*3 + age") from None
    for node in ast.walk(tree):
        known = isinstance(node, (ast.Expression, ast.BinOp, ast.Name, ast.Load, *_OPERATIONS))
        if not known and not (isinstance(node, ast.Constant) and type(node.value) is int):
            raise UserError(
                f"derived expression {expression!r} holds {type(node).__name__}", need="names, whole numbers, + - * // % and brackets"
            )
    return tree


def _value(node: ast.expr, codes: Mapping[str, int]) -> int:
    if isinstance(node, ast.Name):
        return codes[node.id]
    if isinstance(node, ast.Constant):
        return int(node.value)  # type: ignore[arg-type]
    assert isinstance(node, ast.BinOp)  # _parse let nothing else through
    left, right = _value(node.left, codes), _value(node.right, codes)
    if right == 0 and isinstance(node.op, (ast.FloorDiv, ast.Mod)):
        raise UserError("a derived expression divides by zero for some classes", need="a divisor that is never 0")
    return int(_OPERATIONS[type(node.op)](left, right))
