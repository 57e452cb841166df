"""How sure a figure is: percentile bootstrap clustered by group, and Wilson's interval where every row is a group of its own.

Groups are drawn with replacement. A score needs only sums (:mod:`tapetum.core.counts`), so a draw is a vector of group weights and all
draws together are one matrix product; only scores of an order look at the rows again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import counts, draws, ranking
from tapetum.core.counts import Kept, keep
from tapetum.core.errors import UserError
from tapetum.core.metrics import METRICS, Metric, named, per_class
from tapetum.core.targets import Target

BOOTSTRAP, WILSON = "bootstrap clustered by group", "Wilson"
_CELLS = 1 << 23  # numbers in one block of resampled weights (64 MB)
_SHARES = ("accuracy", "exact_match")  # means of 0 and 1, for which Wilson's interval holds


@dataclasses.dataclass(frozen=True)
class Interval:
    """A figure and its interval.

    Args:
        value: the figure on all rows; NaN where it is not defined.
        low: lower bound; NaN where there are fewer than two groups, or the figure is not defined.
        high: upper bound.
        n: rows scored.
        groups: groups among them.
        method: how the bounds were found.
    """

    value: float
    low: float
    high: float
    n: int
    groups: int
    method: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, None for NaN."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in dataclasses.asdict(self).items()}

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(
    metric: str,
    target: Target,
    p: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    answer: np.ndarray | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return a score with its interval.

    Args:
        metric: its name.
        target: with its classes known.
        p: probabilities (N, K), or values (N, 1); NaN rows are left out.
        y: truth, as p.
        groups: the group of each row (N,).
        weight: (N,); None: each row counts 1.
        answer: decisions (N, K) of 0 and 1; None: the largest p, or p ≥ ½ for several labels.
        resamples: bootstrap draws.
        level: of confidence.
        seed: of the draws; the same groups are drawn for every score of the same rows.

    Raises:
        UserError: as :func:`tapetum.core.metrics.score`, or groups that are not one a row.
    """
    chosen = named(metric, target)
    kept = keep(target, p, y, weight, answer)
    codes, many = _codes(groups, len(p), kept.rows)
    whole = _nan(chosen(kept))
    if metric in _SHARES and many == len(kept) > 1 and not kept.weighted:
        low, high = wilson(whole * len(kept), len(kept), level)
        return Interval(whole, low, high, len(kept), many, WILSON)
    replicates = _replicates(chosen, [kept], _Plan(codes, many, resamples, seed))[0] if many > 1 else np.zeros(0)
    return Interval(whole, *_percentiles(replicates, level), len(kept), many, BOOTSTRAP)


def difference(
    metric: str,
    target: Target,
    p_a: np.ndarray,
    p_b: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    answer_a: np.ndarray | None = None,
    answer_b: np.ndarray | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the paired difference a − b of a score, both on the rows that both answered, with the same groups drawn for both.

    ``answer_a`` and ``answer_b`` are decisions (N, K); a method that gives decisions alone passes them as its p too. Other arguments as
    for :func:`interval`.
    """
    chosen = named(metric, target)
    a, b = keep(target, p_a, y, weight, answer_a), keep(target, p_b, y, weight, answer_b)
    rows = np.intersect1d(a.rows, b.rows, assume_unique=True)
    a, b = (part.where(np.searchsorted(part.rows, rows)) for part in (a, b))
    codes, many = _codes(groups, len(p_a), rows)
    whole = _nan(chosen(a)) - _nan(chosen(b))
    found = np.zeros(0)
    if many > 1:
        of_a, of_b = _replicates(chosen, [a, b], _Plan(codes, many, resamples, seed))
        found = of_a - of_b
    return Interval(whole, *_percentiles(found, level), len(rows), many, BOOTSTRAP)


def per_class_intervals(
    target: Target,
    p: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    answer: np.ndarray | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return the rows of :func:`tapetum.core.metrics.per_class` with ``precision_low``, ``precision_high``, … for recall and f1 too.

    Arguments as for :func:`interval`. Bounds are None where there are fewer than two groups, or the class is neither true nor answered.
    """
    rows = per_class(target, p, y, weight, answer)
    kept = keep(target, p, y, weight, answer) if rows else None
    if kept is None:
        return rows
    codes, many = _codes(groups, len(p), kept.rows)
    k = target.width
    metric = METRICS["macro_f1"]  # any score of counts: their sums are what is resampled
    parts: dict[str, list[np.ndarray]] = {"precision": [], "recall": [], "f1": []}
    if many > 1:
        for sums in _resampled_sums(metric, [kept], _Plan(codes, many, resamples, seed)):
            hit, truth, said = (sums[:, block * k : (block + 1) * k] for block in range(3))
            parts["precision"].append(counts.ratio(hit, said))
            parts["recall"].append(counts.ratio(hit, truth))
            parts["f1"].append(counts.ratio(2 * hit, truth + said))
    for name, found in parts.items():
        stacked = np.concatenate(found) if found else np.zeros((0, k))
        for c, row in enumerate(rows):
            low, high = _percentiles(stacked[:, c], level)
            row[f"{name}_low"], row[f"{name}_high"] = (None, None) if math.isnan(low) else (low, high)
    return rows


def wilson(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval (low, high) of a share; NaN for n = 0.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22, 209.
    """
    from scipy.special import ndtri

    if n == 0:
        return math.nan, math.nan
    if not 0 <= successes <= n * (1 + 1e-12):
        raise UserError(f"Wilson's interval was given {successes} successes of {n}", need="a number from 0 to n")
    z = float(ndtri(0.5 + level / 2))
    share = min(successes / n, 1.0)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


# ------------------------------------------------------------------------------------------------------------ resampling


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is drawn: ``codes`` (N,) says which of the ``groups`` each row scored is in."""

    codes: np.ndarray
    groups: int
    resamples: int
    seed: int


def _replicates(metric: Metric, parts: list[Kept], plan: _Plan) -> list[np.ndarray]:
    """Return the score of each part under each draw (resamples,), the draws being the same for all parts."""
    out: list[list[np.ndarray]] = [[] for _ in parts]
    value, width = metric.value, parts[0].target.width
    if value is None:
        of_part = [ranking.rankers(metric.name, part) for part in parts]
        block = max(1, _CELLS // 8 // max(len(plan.codes), 1))
        for drawn in _weights(np.ones(plan.groups), plan, block):
            for found, part, ranked in zip(out, parts, of_part, strict=True):
                weight = drawn[:, plan.codes] * part.weight
                found.append(ranking.macro([of_class(weight) for of_class in ranked]))
    else:
        for sums in _resampled_sums(metric, parts, plan):
            for found, own in zip(out, np.split(sums, len(parts), axis=1), strict=True):
                found.append(value(own, width))
    return [np.concatenate(found) for found in out]


def _resampled_sums(metric: Metric, parts: list[Kept], plan: _Plan) -> Iterator[np.ndarray]:
    """Yield the summed layouts of all parts, side by side, of some draws at a time."""
    first, codes = parts[0], plan.codes
    if metric.bootstrap == "counts" and plan.groups == len(codes) and first.target.kind != "multi" and not first.weighted:
        codes, parts, times = _cells(parts)  # single rows: alike where truth and answers are, so never (groups × classes) in memory
        sums = np.concatenate([metric.sums(part, codes, len(times)) for part in parts], axis=1)
    else:
        sums, times = _types(np.concatenate([metric.sums(part, codes, plan.groups) for part in parts], axis=1))
    for drawn in _weights(times, plan, max(1, _CELLS // len(times))):
        yield drawn @ sums


def _weights(times: np.ndarray, plan: _Plan, block: int) -> Iterator[np.ndarray]:
    """Yield how often each type of group was drawn (block, types), when as many groups are drawn with replacement as there are.

    Groups of one type are interchangeable, so their number in a draw is multinomial with the type's share: the same law, fewer draws.
    """
    rng = draws.generator("bootstrap", plan.seed)
    types, many = len(times), plan.groups
    for start in range(0, plan.resamples, block):
        size = min(block, plan.resamples - start)
        if types * 16 < many:
            yield rng.multinomial(many, times / many, size=size).astype(np.float64)
            continue
        type_of = None if types == many else np.repeat(np.arange(types), times.astype(np.int64))
        out = np.empty((size, types))
        for row in range(size):
            picked = rng.integers(0, many, many)
            out[row] = np.bincount(picked if type_of is None else type_of[picked], minlength=types)
        yield out


def _cells(parts: list[Kept]) -> tuple[np.ndarray, list[Kept], np.ndarray]:
    """Collapse single rows with the same truth and answers: codes (T,), one row a type of each part, and how many there are of each."""
    k = parts[0].target.width
    key = parts[0].truth.astype(np.int64)
    for part in parts:
        key = key * k + part.answer
    _, first, times = np.unique(key, return_index=True, return_counts=True)
    return np.arange(len(first)), [part.where(first) for part in parts], times.astype(np.float64)


def _types(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collapse groups with equal sums: (T, S) and how many groups there are of each; left as they are where few are alike."""
    first, _, times = counts.alike(sums)
    if len(first) * 2 > len(sums):
        return sums, np.ones(len(sums))
    return sums[first], times.astype(np.float64)


def _codes(groups: np.ndarray, n: int, rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Return group numbers of the rows scored, in order of first appearance, and how many groups there are."""
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise UserError(f"there are {n} rows and groups of shape {groups.shape}", need="one group a row")
    own = groups[rows]
    if not len(own):
        return np.zeros(0, dtype=np.int64), 0
    names = pl.Series("g", own.astype(str) if own.dtype == object else own)
    first = pl.DataFrame({"g": names}).with_row_index("i").select(pl.col("i").min().over("g")).to_series().to_numpy()
    found, codes = np.unique(first, return_inverse=True)
    return codes, len(found)


def _percentiles(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the bounds that hold ``level`` of the values, among those defined."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
