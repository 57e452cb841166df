"""How sure a figure is: a t interval of the jackknife over groups, and Wilson's interval where every row is a group of its own.

Each group is left out once (:mod:`tapetum.core.jackknife`); how the figure moves gives its standard error and the degrees of freedom of
that error. Shares get bounds on the scale of their logit, errors on a logarithmic one, differences plain ones, and the bounds always hold
the figure. Where the groups are too few for bounds to hold, there are none, and ``method`` says why. ``bench/intervals.py`` measures how
often the bounds hold the truth.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import counts, jackknife
from tapetum.core.counts import ScoredRows, select_scorable
from tapetum.core.errors import UserError
from tapetum.core.jackknife import Spread
from tapetum.core.metrics import METRICS, Metric, named, per_class
from tapetum.core.shares import share_bounds, wilson
from tapetum.core.targets import Target
from tapetum.core.words import plural

JACKKNIFE, WILSON, ALIKE = "jackknife clustered by group, t", "Wilson", "the same answers"
NOTHING = "no interval: no row can be scored"
FEW = 2.0  # degrees of freedom that the error of a limited figure has at least, where it comes from one group and the sizes allow them
FEWEST = 3  # groups from which on intervals hold (docs/benchmarks.md, intervals)


@dataclasses.dataclass(frozen=True)
class Interval:
    """A figure and its interval.

    Args:
        value: the figure on all rows; NaN where it is not defined.
        low: lower bound; None where there is no interval.
        high: upper bound; likewise.
        n: rows scored.
        groups: groups among them.
        method: how the bounds were found, or why there are none (``no interval: …``).
        standard_error: of the value, clustered by group; None where it is not known.
        freedom: degrees of freedom of the standard error; None where it is not known.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    groups: int
    method: str
    standard_error: float | None = None
    freedom: float | None = None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """``(low, high)``; None where there is no interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval, and 0 lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def turned(self) -> Interval:
        """Return the interval of −value."""
        bounds = (None, None) if self.bounds is None else (-self.bounds[1], -self.bounds[0])
        return dataclasses.replace(self, value=-self.value, low=bounds[0], high=bounds[1])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, None for NaN."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in dataclasses.asdict(self).items()}

    def __str__(self) -> str:
        value = "undefined" if math.isnan(self.value) else f"{self.value:.3f}"
        return f"{value} ({self.method})" if self.bounds is None else f"{value} [{self.low:.3f}, {self.high:.3f}]"


def interval(
    metric: str,
    target: Target,
    p: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    answer: np.ndarray | None = None,
    level: float = 0.95,
) -> Interval:
    """Return a score with its interval.

    Args:
        metric: its name.
        target: with its classes known.
        p: probabilities (N, K), or values (N, 1); NaN rows are left out.
        y: truth, as p.
        groups: the group of each row (N,).
        weight: (N,); None: each row counts 1. Rows of weight 0 are left out.
        answer: decisions (N, K) of 0 and 1; None: the largest p, or p ≥ ½ for several labels.
        level: of confidence.

    Raises:
        UserError: as :func:`tapetum.core.metrics.score`, or groups that are not one a row.
    """
    chosen = named(metric, target)
    kept = _counting(select_scorable(target, p, y, weight, answer))
    codes, many = _codes(groups, len(p), kept.rows)
    whole = _nan(chosen(kept))
    if chosen.share and many == len(kept) > 1 and not kept.weighted:
        return _wilson(whole, len(kept), level)
    found = None
    if many > 1:
        left = jackknife.left_out(chosen, [kept], codes, many)
        found = jackknife.spread(left.values[0], left.times, left.sizes, abs(whole))
    rows = _effective_rows(kept.weight) if chosen.share else math.inf
    return bounded(whole, found, chosen.limits, len(kept), many, level=level, rows=rows)


def difference(
    metric: str,
    target: Target,
    p: tuple[np.ndarray, np.ndarray],
    y: np.ndarray,
    groups: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    answers: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    level: float = 0.95,
) -> Interval:
    """Return the paired difference a − b of a score, both on the rows that both answered, the same groups left out of both.

    ``p`` and ``answers`` are those of a and of b; a method that gives decisions alone passes them as its p too. Other arguments as for
    :func:`interval`.
    """
    chosen = named(metric, target)
    a, b = (select_scorable(target, part, y, weight, answer) for part, answer in zip(p, answers, strict=True))
    rows = np.intersect1d(a.rows, b.rows, assume_unique=True)
    a, b = (_counting(part.where(np.searchsorted(part.rows, rows))) for part in (a, b))
    codes, many = _codes(groups, len(y), a.rows)
    of_a, of_b = _nan(chosen(a)), _nan(chosen(b))
    whole = of_a - of_b
    if len(a) and not math.isnan(whole) and _same_answers(chosen, a, b):
        return Interval(whole, whole, whole, len(a), many, ALIKE, 0.0, float(max(many - 1, 1)))
    found = None
    if many > 1:
        left = jackknife.left_out(chosen, [a, b], codes, many)
        found = jackknife.spread(left.values[0] - left.values[1], left.times, left.sizes, max(abs(of_a), abs(of_b)))
    if many >= FEWEST and found is not None and not found.standard_error and not whole and chosen.share:
        most = wilson(0, found.effective, level)[1]  # neither is right alone in any group: so seldom may it be
        return Interval(whole, -most, most, len(a), many, JACKKNIFE, 0.0, found.freedom)
    got = bounded(whole, found, (-math.inf, math.inf), len(a), many, level=level)
    most = chosen.limits[1] - chosen.limits[0]  # no two values of the score are farther apart
    return got if got.bounds is None else dataclasses.replace(got, low=max(got.bounds[0], -most), high=min(got.bounds[1], most))


def per_class_intervals(
    target: Target,
    p: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    answer: np.ndarray | None = None,
    level: float = 0.95,
) -> list[dict[str, Any]]:
    """Return the rows of :func:`tapetum.core.metrics.per_class` with ``precision_low``, ``precision_high``, … for recall and f1 too.

    Arguments as for :func:`interval`. Bounds are None where too few groups hold the class or are answered with it. Where every row is its
    own group, recall and precision are plain shares and get Wilson's bounds.
    """
    rows = per_class(target, p, y, weight, answer)
    if not rows:
        return rows
    kept = _counting(select_scorable(target, p, y, weight, answer))
    codes, many = _codes(groups, len(p), kept.rows)
    k, alone = target.width, many == len(kept) and not kept.weighted
    sums, times = jackknife.sums_of(METRICS["macro_f1"], [kept], codes, many)  # any score of counts: their sums are what is needed
    hit, truth, predicted = (sums[:, block * k : (block + 1) * k] for block in range(3))
    parts = {"precision": (hit, predicted), "recall": (hit, truth), "f1": (2 * hit, truth + predicted)}
    for name, (above, below) in parts.items():
        for c, row in enumerate(rows):
            exact = alone and name != "f1"
            found = _ratio(above[:, c], below[:, c], times, level, exact=exact, share=name != "f1") if len(kept) else None
            row[f"{name}_low"], row[f"{name}_high"] = found or (None, None)
    return rows


def share(hit: np.ndarray, groups: np.ndarray, *, weight: np.ndarray | None = None, level: float = 0.95) -> Interval:
    """Return the share of rows that are True with its interval.

    Args:
        hit: (N,) bool, one or more.
        groups: the group of each row (N,).
        weight: (N,); None: each row counts 1.
        level: of confidence.
    """
    target = Target("share", "single", ("no", "yes"))
    y = np.eye(2, dtype=np.float32)[np.ones(len(hit), dtype=np.int64)]
    p = np.eye(2, dtype=np.float32)[np.asarray(hit, dtype=np.int64)]
    return interval("accuracy", target, p, y, groups, weight=weight, level=level)


def bounded(
    value: float,
    found: Spread | None,
    limits: tuple[float, float],
    n: int,
    groups: int,
    *,
    level: float = 0.95,
    rows: float = math.inf,
) -> Interval:
    """Return a figure with the bounds that its standard error gives within the limits of its scale.

    Args:
        value: the figure.
        found: its spread between groups.
        limits: the least and the largest value that such a figure can have.
        n: rows scored.
        groups: groups among them.
        level: of confidence.
        rows: of a share of rows: how many there are; its interval is never narrower than that of as many independent rows.
    """
    from scipy.special import stdtrit

    reason = _lacking(value, groups) or ("no interval: the figure is not defined without single groups" if found is None else "")
    error, freedom = (None, None) if found is None else (found.standard_error, found.freedom)
    if reason or found is None or error is None or freedom is None:
        return Interval(value, None, None, n, groups, reason, error, freedom)
    limited = math.isfinite(limits[0]) or math.isfinite(limits[1])
    counted = max(freedom, min(FEW, found.by_size)) if limited else freedom
    q, (low, high) = float(stdtrit(counted, 0.5 + level / 2)), limits
    if math.isfinite(high - low):
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        score = float(stdtrit(found.by_size, 0.5 + level / 2))
        ends = share_bounds(share, error / (high - low), min(found.effective, rows), rows, (q, score), level)
        bounds = (low + (high - low) * ends[0], low + (high - low) * ends[1])
    elif not error:
        return Interval(value, None, None, n, groups, "no interval: the figure is the same without any of the groups", 0.0, freedom)
    elif math.isfinite(low) or math.isfinite(high):
        edge = low if math.isfinite(low) else high
        factor = math.exp(min(q * error / abs(value - edge), 700.0)) if value != edge else math.inf
        ends = (edge + (value - edge) / factor, edge + (value - edge) * factor)
        bounds = (min(ends), max(ends))
    else:
        bounds = (value - q * error, value + q * error)
    return Interval(value, min(bounds[0], value), max(bounds[1], value), n, groups, JACKKNIFE, error, freedom)


def span(found: Mapping[str, Any], digits: int = 4, sign: str = "") -> str:
    """Return ``low – high`` of a figure's plain values, or why there is no interval."""
    low, high = found.get("low"), found.get("high")
    if low is None or high is None:
        return str(found.get("method") or "–")
    return f"{low:{sign}.{digits}f} – {high:{sign}.{digits}f}"


def _wilson(value: float, n: int, level: float) -> Interval:
    low, high = wilson(value * n, n, level)
    return Interval(value, low, high, n, n, WILSON, math.sqrt(value * (1 - value) / n), float(n - 1))


def _lacking(value: float, groups: int) -> str:
    """Return why there can be no interval; empty where there can."""
    if math.isnan(value):
        return "no interval: the figure is not defined"
    if groups < FEWEST:
        return f"no interval: {groups} group{'s are' if groups != 1 else ' is'} too few"
    return ""


def _ratio(
    above: np.ndarray, below: np.ndarray, times: np.ndarray, level: float, *, exact: bool, share: bool
) -> tuple[float, float] | None:
    """Return the bounds of Σ above / Σ below over groups; None where too few of them count."""
    total = float(times @ below)
    if not total:
        return None
    value = float(times @ above) / total
    if exact:
        return wilson(value * total, total, level)
    inside = below > 0
    many = int(times[inside].sum())
    if many < FEWEST:
        return None
    above, below, times = above[inside], below[inside], times[inside]
    left = counts.ratio(times @ above - above, np.where(total - below > 1e-9 * total, total - below, 0.0))
    found = jackknife.spread(left, times, below, value)
    return bounded(value, found, (0.0, 1.0), int(total), many, level=level, rows=total if share else math.inf).bounds


def _same_answers(metric: Metric, a: ScoredRows, b: ScoredRows) -> bool:
    """Return whether two answers are one and the same as far as a metric looks at them."""
    return np.array_equal(a.answer, b.answer) if metric.sees_decisions_alone else np.array_equal(a.p, b.p)


def _counting(kept: ScoredRows) -> ScoredRows:
    """Leave out the rows whose weight is 0."""
    return kept if not kept.weighted or (kept.weight > 0).all() else kept.where(kept.weight > 0)


def _effective_rows(weight: np.ndarray) -> float:
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0


def _codes(groups: np.ndarray, n: int, rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Return group numbers of the rows scored, in order of first appearance, and how many groups there are."""
    groups = np.asarray(groups)
    if groups.shape != (n,):
        raise UserError(f"there are {plural(n, 'row')} and groups of shape {groups.shape}", need="one group a row")
    groups_here = groups[rows]
    if not len(groups_here):
        return np.zeros(0, dtype=np.int64), 0
    names = pl.Series("g", groups_here.astype(str) if groups_here.dtype == object else groups_here)
    first = pl.DataFrame({"g": names}).with_row_index("i").select(pl.col("i").min().over("g")).to_series().to_numpy()
    found, codes = np.unique(first, return_inverse=True)
    return codes, len(found)


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
