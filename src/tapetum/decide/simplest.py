"""The one-standard-error rule: a more complicated way must beat a simpler one by more than chance between groups explains."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np

from tapetum.core import intervals
from tapetum.core.intervals import Interval
from tapetum.core.tables import Dense

Name = TypeVar("Name")


def simplest(figures: Mapping[Name, float], error: Callable[[Name, Name], float | None]) -> Name:
    """Return the first candidate within one standard error of the best one.

    Args:
        figures: candidate → figure, the greater the better; the simplest candidate first.
        error: (best, other) → the standard error of the difference of their figures; None where it is not known: then the simpler
            candidate stays.

    Source: Breiman et al. 1984, Classification and Regression Trees, section 3.4.3.
    """
    best = max(figures, key=lambda name: figures[name])
    for name, figure in figures.items():
        if name == best:
            break
        margin = error(best, name)
        if figures[best] - figure <= (math.inf if margin is None else margin):
            return name
    return best


def paired(metric: str, a: Dense, b: Dense, groups: np.ndarray, weight: np.ndarray | None = None) -> Interval:
    """Return the paired difference a − b of a score as both were decided, with its interval and standard error, clustered by group."""
    return intervals.difference(metric, a.target, (a.p, b.p), a.y, groups, weight=weight, answers=(a.answer, b.answer))
