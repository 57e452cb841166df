"""Masks of several kinds and colours, drawn over a face: worn, below the nose, or on the chin."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tapetum.systems.mask.faces import Sketch

Colour = tuple[float, float, float]
PLAIN: tuple[Colour, ...] = ((240, 242, 244), (24, 24, 26), (150, 190, 220))
STATES = ("worn", "nose", "chin", "none")
TOPS = {"worn": -0.02, "nose": 0.5, "chin": 0.92}  # upper edge in the middle of the face; the nose ends at about 0.34, the mouth at 0.82


@dataclasses.dataclass(frozen=True)
class Kind:
    """One mask.

    Args:
        form: ``surgical`` (pleats), ``folded`` (a seam down or across) or ``cloth`` (a pattern).
        colour: of the cloth.
        second: of pleats, seam or pattern.
        loose: how far it stands off or slips, in face units.
    """

    form: str
    colour: Colour
    second: Colour
    loose: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Kind:
        """Return a mask as one finds it: mostly white, black or blue, sometimes of any colour."""
        form = ("surgical", "folded", "cloth")[rng.choice(3, p=(0.4, 0.4, 0.2))]
        if form == "cloth" or rng.random() < 0.15:
            a, b, c = rng.uniform(20, 240, 3).tolist()
            colour: Colour = (a, b, c)
        else:
            colour = PLAIN[rng.choice(3, p=(0.5, 0.25, 0.25))]
        shade = 0.82 if sum(colour) > 200 else 1.8
        a, b, c = (min(255.0, x * shade + (20 if shade > 1 else 0)) for x in colour)
        return cls(form, colour, (a, b, c), float(np.clip(rng.normal(0, 0.03), -0.06, 0.08)))


def mask_shape(sketch: Sketch, kind: Kind, state: str) -> None:
    """Draw a mask over a face."""
    top = TOPS[state] + kind.loose
    bottom = 1.42 if state != "chin" else 1.5
    side = top + 0.2 if state == "worn" else top + 0.12
    for x in (-1, 1):
        sketch.line(kind.second, [(x * 0.86, side + 0.05), (x * 1.02, -0.02)], 0.025)
        sketch.line(kind.second, [(x * 0.8, min(side + 0.6, 1.1)), (x * 1.03, 0.16)], 0.025)
    low = 1.0 if state == "worn" else 1.15
    edge = [(-0.88, side), (-0.4, top + 0.08), (0, top), (0.4, top + 0.08), (0.88, side), (0.9, low), (0.5, bottom), (-0.5, bottom)]
    sketch.shape(kind.colour, [*edge, (-0.9, low)], 0.6)
    middle = (top + bottom) / 2
    if kind.form == "surgical":
        for k in (0.3, 0.5, 0.7):
            y = top + k * (bottom - top)
            sketch.line(kind.second, [(-0.78, y), (0, y + 0.05), (0.78, y)], 0.02, 0.6)
    elif kind.form == "folded":
        sketch.line(kind.second, [(-0.82, middle - 0.04), (0, middle - 0.12), (0.82, middle - 0.04)], 0.03, 0.6)
        sketch.line(kind.second, [(0, top), (0, bottom)], 0.015, 0.6)
    else:
        for across in (-0.45, -0.15, 0.15, 0.45):
            for down in np.arange(top + 0.25, bottom - 0.1, 0.24).tolist():
                sketch.oval(kind.second, (across, down), (0.05, 0.05), 0.6)
