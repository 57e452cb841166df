"""The baseline of context: a label gives way to its neighbours' mode or median."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from tapetum.core.errors import UserError
from tapetum.core.tables import Dense, decided
from tapetum.decide.bias import one_hot
from tapetum.decide.sequences import arrange
from tapetum.decide.steps import Rows


@dataclasses.dataclass(frozen=True)
class Smooth:
    """Replace each label by the mode or the median of a window around it; probabilities stay as they are.

    Windows end where the sequence ends, and leave out slots without an answer.

    Args:
        how: ``mode`` (ties keep the label if it is among them, else the first class in order) or ``median`` (of class numbers, so the
            order of the classes must mean something; the lower one of an even number).
        width: slots in the window, odd.
    """

    how: str = "mode"
    width: int = 3
    joint: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.how not in ("mode", "median") or self.width < 1 or self.width % 2 == 0:
            raise UserError(f"smoothing has how = {self.how!r}, width = {self.width}", need="'mode' or 'median', an odd width")

    @property
    def learns(self) -> bool:
        """Whether fitting reads the labels."""
        return False

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return the distance between neighbours, so that new rows are laid out as these."""
        return {"step": arrange(rows).step}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the same probabilities with smoothed labels."""
        labels = np.where(dense.ok, np.nan_to_num(decided(dense)).argmax(axis=1), -1)
        changed = labels.copy()
        for block in arrange(rows, step=fitted.get("step")):
            block.put(smooth(block.take(labels, -1), dense.target.width, self.how, self.width), changed)
        return dataclasses.replace(dense, answer=one_hot(changed, dense))


def smooth(labels: np.ndarray, classes: int, how: str, width: int) -> np.ndarray:
    """Return class numbers (S, T) smoothed along T; −1 (no answer) stays and counts for nothing.

    Args:
        labels: (S, T).
        classes: K.
        how: ``mode`` or ``median``.
        width: odd.
    """
    half = width // 2
    votes = np.zeros((*labels.shape, classes))
    s, t = np.nonzero(labels >= 0)
    votes[s, t, labels[s, t]] = 1
    summed = np.cumsum(np.pad(votes, ((0, 0), (half + 1, half), (0, 0))), axis=1)
    counted = summed[:, width:] - summed[:, :-width]
    if how == "mode":
        found = (counted + 0.5 * votes).argmax(axis=2)
    else:
        below = np.cumsum(counted, axis=2)
        found = (2 * below >= below[:, :, -1:]).argmax(axis=2)
    return np.where(labels < 0, -1, found)
