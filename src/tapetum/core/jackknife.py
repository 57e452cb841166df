"""Leave one group out: a figure without each group in turn, and the standard error that follows.

A score needs only sums (:mod:`tapetum.core.counts`), so "without a group" is a subtraction; only scores of an order look at the rows
again, and then for at most :data:`MOST` blocks of groups.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from tapetum.core import counts, draws, ranking
from tapetum.core.counts import ScoredRows
from tapetum.core.metrics import Metric

MOST = 200  # blocks of groups of which each is left out once, where the rows must be looked at again
_CELLS = 1 << 23  # numbers in one block of work (64 MB)
_NOISE = 1e-12  # relative: what is smaller is rounding


@dataclasses.dataclass(frozen=True)
class Left:
    """What is known of the groups that are left out, one type of group at a time; alike groups are one type.

    Args:
        values: for each part, the figure without such a group (T,); NaN where it is not defined.
        times: how many groups are of this type (T,).
        sizes: the weight of the rows of such a group (T,).
    """

    values: list[np.ndarray]
    times: np.ndarray
    sizes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Spread:
    """How much a figure varies between samples of groups.

    Args:
        standard_error: of the figure; 0 where it is the same without any of the groups.
        freedom: degrees of freedom of that error, 1 or more.
        effective: groups of equal size that would be worth as much as these.
        by_size: degrees of freedom that the groups' sizes alone allow, 1 or more; ``freedom`` looks at where the error comes from as well.
    """

    standard_error: float
    freedom: float
    effective: float
    by_size: float


def left_out(metric: Metric, parts: list[ScoredRows], codes: np.ndarray, groups: int) -> Left:
    """Return a score of each part without each group.

    Args:
        metric: the score.
        parts: the same rows under one or more answers.
        codes: the group of each row (N,).
        groups: how many there are, 2 or more.
    """
    value, width = metric.value, parts[0].target.width
    if value is None:
        return _ranked(metric, parts, *blocks(codes, groups))
    sums, times = sums_of(metric, parts, codes, groups)
    total = times @ sums
    out: list[list[np.ndarray]] = [[] for _ in parts]
    step = max(1, _CELLS // max(sums.shape[1], 1))
    for start in range(0, len(sums), step):
        rest = total - sums[start : start + step]
        rest[np.abs(rest) < _NOISE * np.abs(total)] = 0.0
        for found, part in zip(out, np.split(rest, len(parts), axis=1), strict=True):
            found.append(value(part, width))
    return Left([np.concatenate(found) for found in out], times, sums[:, -1])


def sums_of(metric: Metric, parts: list[ScoredRows], codes: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums of all parts side by side for each type of group (T, S), and how many groups there are of each (T,)."""
    first = parts[0]
    if metric.of == "counts" and groups == len(codes) and first.target.kind != "multi" and not first.weighted:
        codes, parts, times = _cells(parts)  # single rows: alike where truth and answers are, so never (groups × classes) in memory
        return np.concatenate([metric.sums(part, codes, len(times)) for part in parts], axis=1), times
    sums = np.concatenate([metric.sums(part, codes, groups) for part in parts], axis=1)
    found, _, times = counts.alike(sums)
    if len(found) * 2 > len(sums):
        return sums, np.ones(len(sums))
    return sums[found], times.astype(np.float64)


def spread(values: np.ndarray, times: np.ndarray, sizes: np.ndarray, scale: float = 0.0) -> Spread | None:
    """Return the standard error of a figure from its values without each group; None where fewer than two are defined.

    The degrees of freedom are the smaller of two: what sizes of groups allow, and what the kurtosis of the values allows, since an
    error that comes from few of the groups is known from few of them only.

    Args:
        values: the figure without each type of group (T,); undefined ones (NaN) are left out.
        times: groups of each type (T,).
        sizes: weight of the rows of each (T,).
        scale: of the figure; an error that is rounding beside it is 0.

    Source: Efron and Stein 1981 (the jackknife); Satterthwaite 1946 (effective degrees of freedom); MacKinnon, Nielsen and Webb 2023,
    "Fast and reliable jackknife and bootstrap methods for cluster-robust inference" (few and unequal groups).
    """
    known = ~np.isnan(values) & (times > 0)
    values, times, sizes = values[known], times[known], sizes[known]
    many = float(times.sum())
    if many < 2 or not sizes.any():
        return None
    apart = values - times @ values / many
    second, fourth = float(times @ apart**2), float(times @ apart**4)
    error = math.sqrt((many - 1) / many * second)
    by_size = max(1.0, min(float((times @ sizes**1.5) ** 2 / (times @ sizes**3)) - 1, many - 1))
    effective = float((times @ sizes) ** 2 / (times @ sizes**2))
    if error <= _NOISE * max(scale, float(np.abs(values).max())):
        return Spread(0.0, by_size, effective, by_size)
    by_tails = 3 * second**2 / fourth - 2 if fourth > 0 else math.inf
    return Spread(error, max(1.0, min(by_size, by_tails)), effective, by_size)


def standard_error(score: Callable[[np.ndarray], float], codes: np.ndarray, groups: int, most: int = MOST) -> float | None:
    """Return the standard error of any figure of weighted rows, clustered by group; None where there is none.

    Args:
        score: weights (N,) of 0 and 1 → the figure.
        codes: the group of each row (N,).
        groups: how many there are; beyond ``most`` they are put into blocks at random.
        most: how often the figure is worked out again.
    """
    codes, groups = blocks(codes, groups, most)
    if groups < 2:
        return None
    values = np.array([score((codes != group).astype(np.float64)) for group in range(groups)])
    values[~np.isfinite(values)] = np.nan
    found = spread(values, np.ones(groups), np.bincount(codes, minlength=groups).astype(np.float64))
    return None if found is None else found.standard_error


def blocks(codes: np.ndarray, groups: int, most: int = MOST) -> tuple[np.ndarray, int]:
    """Put more than ``most`` groups into that many blocks at random; return the block of each row (N,) and their number."""
    if groups <= most:
        return codes, groups
    return (draws.generator("jackknife", groups).permutation(groups) % most)[codes], most


def _ranked(metric: Metric, parts: list[ScoredRows], codes: np.ndarray, groups: int) -> Left:
    rankers = [ranking.rankers(metric.name, part) for part in parts]
    out: list[list[np.ndarray]] = [[] for _ in parts]
    step = max(1, _CELLS // 8 // max(len(codes), 1))
    for start in range(0, groups, step):
        inside = codes != np.arange(start, min(start + step, groups))[:, None]
        for found, part, ranked in zip(out, parts, rankers, strict=True):
            weight = inside * part.weight
            found.append(ranking.macro([of_class(weight) for of_class in ranked]))
    sizes = np.bincount(codes, parts[0].weight, groups)
    return Left([np.concatenate(found) for found in out], np.ones(groups), sizes)


def _cells(parts: list[ScoredRows]) -> tuple[np.ndarray, list[ScoredRows], np.ndarray]:
    """Collapse single rows with the same truth and answers: codes (T,), one row a type of each part, and how many there are of each."""
    k = parts[0].target.width
    key = parts[0].truth.astype(np.int64)
    for part in parts:
        key = key * k + part.answer
    _, first, times = np.unique(key, return_index=True, return_counts=True)
    return np.arange(len(first)), [part.where(first) for part in parts], times.astype(np.float64)
