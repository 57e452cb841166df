"""Presets of ``fit``: recipe values for little, some or much time."""

from __future__ import annotations

from typing import Any, NamedTuple

from tapetum.core.errors import UserError, listed, nearest


class Preset(NamedTuple):
    """Recipe values under one name.

    Args:
        values: dotted key → value.
        budget: wall time where the command names none; None for no limit.
    """

    values: dict[str, Any]
    budget: str | None = None


PRESETS = {
    "fast": Preset({"stages": [], "train.epochs": 0}),
    "good": Preset({}, "30m"),
    "best": Preset(
        {
            "train.epochs": 24,
            "predict.views": "flips",
            "predict.reduce": "auto",
            "member": [{"name": "main"}, {"name": "second", "seed": 1}],
        }
    ),
}


def preset(name: str) -> Preset:
    """Return a preset.

    Raises:
        UserError: there is none of that name.
    """
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r} (there are: {listed(PRESETS)}).{nearest(name, PRESETS)}")
    return PRESETS[name]


def budget_of(name: str | None) -> str | None:
    """Return the wall time of a preset for a call that names none."""
    return None if name is None else preset(name).budget
