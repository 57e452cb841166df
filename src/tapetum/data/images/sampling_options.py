"""What a recipe states of a sampler by class: checked and turned into class numbers, before any row is drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tapetum.core.choices import name_of, pick
from tapetum.core.config import Spec
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.targets import Target, answer_classes
from tapetum.core.words import plural
from tapetum.data.choices import SAMPLERS


def check(spec: Spec, targets: Sequence[Target]) -> None:
    """Refuse options of a sampler that are of another type than they must be, or that name no class of its target.

    Args:
        spec: the recipe's ``sample``.
        targets: those that have a head.
    """
    _, options = pick(spec, SAMPLERS, "sample")
    what = f"sample {name_of(spec)!r}"
    if "target" not in options or name_of(spec) not in SAMPLERS:
        return
    target = target_of(targets, options["target"], what)
    for key in ("factors", "repeat"):
        by_class(options.get(key), target, what, key)
    if "cut" in options:
        refuse_part(options["part"], cuts(options["cut"], what), options["whole"])
        for name in options["cut"] or {}:
            place(target, name, what)


def target_of(targets: Sequence[Target], name: Any, what: str) -> Target:
    """Return the named target, or the only one.

    Raises:
        UserError: an unknown name, or none where there are several.
    """
    names = [t.name for t in targets]
    if name is None and len(names) > 1:
        raise UserError(f"{what} does not name one of the {plural(len(names), 'target')}", need=f"target = one of {listed(names)}")
    if name is not None and name not in names:
        raise UserError(f"{what} names {name!r}, which is no target (there are: {listed(names)}).{nearest(str(name), names)}")
    return targets[0 if name is None else names.index(name)]


def by_class(value: Any, target: Target, what: str, key: str) -> dict[int, float]:
    """Return class number → factor.

    Raises:
        UserError: no table, an unknown class, or a factor that is no number of 0 or more.
    """
    found: dict[int, float] = {}
    for name, factor in _table(value, what, key, "class = how often each of its rows occurs").items():
        number = place(target, name, what)
        if type(factor) not in (int, float) or not math.isfinite(factor) or factor < 0:
            raise UserError(f"{what} has {key} = {factor!r} for class {name!r}", need="a number, 0 or above")
        found[number] = float(factor)
    return found


def cuts(value: Any, what: str = "sample 'subset'") -> dict[str, tuple[int, int]]:
    """Return class → (n parts, k of which are taken).

    Raises:
        UserError: no table, or neither a whole number nor a pair of them.
    """
    found: dict[str, tuple[int, int]] = {}
    for name, parts in _table(value, what, "cut", "class = n parts").items():
        pair = (parts, 1) if type(parts) is int else tuple(parts) if isinstance(parts, (list, tuple)) else ()
        if len(pair) != 2 or any(type(one) is not int for one in pair) or not 1 <= pair[1] <= pair[0]:
            raise UserError(f"{what} has cut = {parts!r} for class {name!r}", need="n parts, or [n, k] with 1 ≤ k ≤ n")
        found[name] = (pair[0], pair[1])
    return found


def refuse_part(part: Any, cut: Mapping[str, tuple[int, int]], whole: bool) -> None:
    """Refuse the number of a subset that a cut does not give."""
    ways = subset_count(cut, whole)
    if type(part) is not int or not 0 <= part < ways:
        raise UserError(f"sample 'subset' has part = {part!r}", need=f"0 to {ways - 1}: there are {plural(ways, 'subset')}")


def subset_count(cut: Mapping[str, tuple[int, int]], whole: bool = False) -> int:
    """Return how many subsets a cut gives: the product of C(n, k), and one more for the whole."""
    return math.prod(math.comb(n, k) for n, k in cut.values()) + int(whole)


def place(target: Target, name: Any, what: str) -> int:
    """Return the number of a class; a typo is answered with the nearest one."""
    names = answer_classes(target)
    if name not in names:
        raise UserError(f"{what} names class {name!r} of {target.name!r} (it has: {listed(names, 40)}).{nearest(str(name), names)}")
    return names.index(name)


def _table(value: Any, what: str, key: str, need: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise UserError(f"{what} has {key} = {value!r}", need=f"a table, {need}")
    return value or {}
