"""The range that a number in a recipe may have, and how errors name it."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers allowed.

    Args:
        low: smallest.
        high: largest.
        above: ``low`` itself is not allowed.
        below: ``high`` itself is not allowed.
        words: texts that may be in place of a number.
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    words: tuple[str, ...] = ()

    def holds(self, value: float) -> bool:
        """Tell whether a number is in the range; NaN and infinity never are."""
        if not math.isfinite(value):
            return False
        over = value > self.low if self.above else value >= self.low
        return over and (value < self.high if self.below else value <= self.high)

    def text(self, whole: bool = False) -> str:
        """Return the range in words, as ``a whole number, 1 or more``."""
        noun = "a whole number" if whole else "a number"
        low, high = f"{self.low:.15g}", f"{self.high:.15g}"
        if math.isinf(self.low) and math.isinf(self.high):
            span = noun
        elif not self.above and not self.below and math.isfinite(self.low) and math.isfinite(self.high):
            span = f"{noun} from {low} to {high}"
        else:
            lower = "" if math.isinf(self.low) else f"above {low}" if self.above else f"{low} or more"
            upper = "" if math.isinf(self.high) else f"below {high}" if self.below else f"{high} or less"
            span = f"{noun}, {' and '.join(filter(None, (lower, upper)))}"
        return " or ".join([span, *map(repr, self.words)])


ANY, SHARE, AMOUNT, POSITIVE, COUNT = Range(), Range(0, 1), Range(0), Range(0, above=True), Range(1)
PART, BELOW_1 = Range(0, 1, above=True), Range(0, 1, below=True)  # (0, 1] and [0, 1)

LIMITS = {  # parameters that mean the same wherever a choice has them; a choice's own limits come first
    "probability": SHARE, "until": SHARE, "share": PART, "fill": Range(0, 1, words=("mean", "noise")),
    "scale": POSITIVE, "ratio": POSITIVE, "degrees": Range(0, 360), "translate": SHARE, "shear": Range(0, 90, below=True),
    "brightness": AMOUNT, "contrast": AMOUNT, "saturation": AMOUNT, "hue": Range(0, 0.5),
    "holes": COUNT, "size": PART, "n": COUNT, "magnitude": Range(0, 30), "count": COUNT, "factors": POSITIVE, "multiple": COUNT,
    "alpha": POSITIVE, "soft": AMOUNT, "rarest": COUNT, "of": AMOUNT, "bands": AMOUNT, "length": POSITIVE, "part": AMOUNT,
    "shrink": AMOUNT, "points": Range(2), "rounds": COUNT, "strength": POSITIVE, "rows": COUNT, "r": ANY,
    "rare": AMOUNT, "value": SHARE, "emission": POSITIVE, "prior_exponent": AMOUNT, "least": COUNT, "longest": AMOUNT, "position": AMOUNT,
    "reach": COUNT, "tau": Range(words=("fit",)), "bound": Range(-1, 1, words=("fit",)), "width": COUNT,
    "gamma": AMOUNT, "gamma_neg": AMOUNT, "gamma_pos": AMOUNT, "margin": AMOUNT, "clip": BELOW_1, "delta": POSITIVE, "unit": POSITIVE,
    "momentum": BELOW_1, "betas": BELOW_1, "eps": AMOUNT, "k": COUNT, "wd_ratio": AMOUNT,
    "floor": AMOUNT, "t0": Range(0.01), "t_mult": Range(1), "decay": POSITIVE, "cycle": POSITIVE, "low": POSITIVE, "high": POSITIVE,
    "rise": SHARE, "phases": AMOUNT, "div": POSITIVE, "final_div": POSITIVE, "flat": SHARE, "factor": Range(0, 1, True, True),
    "patience": AMOUNT, "threshold": AMOUNT, "cooldown": AMOUNT,
    "hidden": COUNT, "dropout": BELOW_1, "layers": COUNT, "keep": PART, "project": COUNT, "heads": COUNT,
}  # fmt: skip

PAIRS = ("scale", "ratio", "holes", "size")  # parameters that are drawn between two numbers, where the default is two


def refusal(name: str, value: Any, default: Any, limits: Mapping[str, Range]) -> str | None:
    """Return what a parameter of a choice must be instead of ``value``; None where it may be that.

    Args:
        name: of the parameter.
        value: as given.
        default: the parameter's; where it is a number, or several, so must be what is given.
        limits: the choice's limits, before :data:`LIMITS`.
    """
    limit = limits.get(name) or LIMITS.get(name)
    if name in PAIRS and isinstance(default, tuple) and not _is_pair(value):
        return "two numbers, the smaller first"
    example = next(_leaves(default), None)
    whole, number = type(example) is int, type(example) in (int, float)
    if number and isinstance(value, str) and value not in (limit or ANY).words:
        return (limit or ANY).text(whole)
    if type(example) is bool and not isinstance(value, bool):
        return "true or false"
    for leaf in _leaves(value):
        if (number and isinstance(leaf, bool)) or (isinstance(leaf, float) and (whole or not math.isfinite(leaf))):
            return (limit or ANY).text(whole)
        if limit is not None and isinstance(leaf, (int, float)) and not isinstance(leaf, bool) and not limit.holds(leaf):
            return limit.text(whole)
    return None


def _is_pair(value: Any) -> bool:
    """Tell whether a value is a lower and an upper number."""
    if not isinstance(value, (list, tuple)) or len(value) != 2 or any(type(one) not in (int, float) for one in value):
        return False
    return bool(value[0] <= value[1])


def described(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """Return what a field of a recipe's section may hold, in words."""
    found = list(dict.fromkeys(_alternatives(annotation, metadata)))
    return (", ".join(found[:-1]) + (", or " if "," in "".join(found[:-1]) else " or ") + found[-1]) if len(found) > 1 else found[0]


def _alternatives(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[str]:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _alternatives(inner[0], (*inner[1:], *metadata))
    elif origin is typing.Literal:
        yield from map(repr, inner)
    elif origin is tuple:
        if inner[-1] is Ellipsis:
            yield f"a list, each {described(inner[0])}"
        else:
            each = [described(one) for one in inner]
            yield f"a list of {len(each)}, each {each[0]}" if len(set(each)) == 1 else f"[{'; '.join(each)}]"
    elif origin is dict or annotation is dict:
        yield "a table" if len(inner) < 2 or inner[1] is Any else f"a table, each {described(inner[1])}"
    elif inner:  # one of several
        for one in inner:
            if one is not NoneType:
                yield from _alternatives(one, metadata)
    elif annotation in (int, float):
        yield _range_of(metadata).text(annotation is int)
    else:
        yield {bool: "true or false", str: "text"}.get(annotation, "a table")


def _range_of(metadata: tuple[Any, ...]) -> Range:
    """Return the range that pydantic's marks (``Ge``, ``Lt``, a ``Field`` inside ``Annotated``) state."""
    found: dict[str, float] = {}
    for mark in (*metadata, *(inner for one in metadata for inner in getattr(one, "metadata", ()))):
        found |= {name: float(getattr(mark, name)) for name in ("ge", "gt", "le", "lt") if getattr(mark, name, None) is not None}
    low, high = found.get("gt", found.get("ge", -math.inf)), found.get("lt", found.get("le", math.inf))
    return Range(low, high, "gt" in found, "lt" in found)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    else:
        yield value
