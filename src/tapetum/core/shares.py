"""Bounds of a share from its standard error, and Wilson's: arithmetic alone (:mod:`tapetum.core.intervals` says when which holds)."""

from __future__ import annotations

import math

from tapetum.core.errors import UserError


def share_bounds(share: float, error: float, many: float, rows: float, q: tuple[float, float], level: float) -> tuple[float, float]:
    """Return the bounds of a share: the narrower of those on the scale of its logit and those of as many groups, each right or wrong.

    Args:
        share: 0 to 1.
        error: its standard error.
        many: groups of equal size that these are worth, or the rows where they are fewer.
        rows: how many rows it is a share of; infinite where it is no share of rows.
        q: quantiles for the first and for the second.
        level: for a share that nothing moves, which has the second alone (Wilson).
    """
    from scipy.special import expit, logit

    inside = share * (1 - share)
    if not error or not inside:
        return wilson(share * many, many, level)
    error = max(error, math.sqrt(inside / rows))
    half = q[0] * error / inside
    by_logit = float(expit(logit(share) - half)), float(expit(logit(share) + half))
    by_groups = _score_bounds(share, min(many, inside / error**2), q[1])
    return min(by_logit, by_groups, key=lambda ends: ends[1] - ends[0])


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval (low, high) of a share; NaN for n = 0.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209.
    """
    from scipy.special import ndtri

    if n == 0:
        return math.nan, math.nan
    if not 0 <= successes <= n * (1 + 1e-12):
        raise UserError(f"Wilson's interval was given {successes} successes of {n}", need="a number from 0 to n")
    return _score_bounds(min(successes / n, 1.0), n, float(ndtri(0.5 + level / 2)))


def _score_bounds(place: float, n: float, z: float) -> tuple[float, float]:
    """Return the bounds (low, high) of a share of ``n``, whose variance is taken at the bound itself."""
    middle = (place + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(place * (1 - place) / n + z * z / (4 * n * n))
    return max(0.0, min(middle - half, place)), min(1.0, max(middle + half, place))
