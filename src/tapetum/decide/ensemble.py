"""Blends: several members' probabilities into one.

A blend is a small frozen dataclass with ``fit(members, rows) -> dict`` and ``apply(members, rows, fitted) -> Dense``. Members are brought
onto the same rows first (:func:`align`); the rows that all hold are blended, the others are ``uncovered``. Weights are fitted on
out-of-fold rows only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapetum.core.errors import UserError
from tapetum.core.schema import statuses
from tapetum.core.tables import REDUCED, Dense, decided
from tapetum.core.words import plural
from tapetum.decide.align import Coverage, align, common
from tapetum.decide.calibrate import CHUNK, TINY, needs_classes, renormalised
from tapetum.decide.steps import FIT_ROWS, SMOOTH_ROWS, Rows
from tapetum.decide.weights import Objective, direct, greedy, is_plain, least_log_loss, peaked

__all__ = [
    "Coverage",
    "Greedy",
    "Power",
    "RankMean",
    "Vote",
    "align",
    "mean",
    "power_mean",
    "weighted",
]

Weights = str | Sequence[float]  # "equal", "fit" or a number a member


def power_mean(p: np.ndarray, weights: np.ndarray, r: float) -> np.ndarray:
    """Return (Σ w·p^r)^(1/r) over the first axis; r = 0 is the limit exp Σ w·log p. Not renormalised.

    Args:
        p: (M, n, K).
        weights: (M,), summing to 1.
        r: 1 arithmetic, ½ the √ blend, 0 geometric, −1 harmonic.
    """
    if r == 1:
        return np.tensordot(weights.astype(p.dtype), p, axes=1)
    safe = np.maximum(p, TINY) if r <= 0 else p
    if r == 0:
        return np.exp(np.tensordot(weights.astype(p.dtype), np.log(safe), axes=1))
    if not is_plain(r):
        peak, ratio = peaked(safe, r)
        return (peak * np.tensordot(weights, ratio**r, axes=1) ** (1 / r)).astype(p.dtype)
    raised = np.sqrt(safe) if r == 0.5 else safe**r
    total = np.tensordot(weights.astype(p.dtype), raised, axes=1)
    return np.square(total) if r == 0.5 else total ** (1 / r)


@dataclasses.dataclass(frozen=True)
class Power:
    """The power mean of the members, renormalised for single-label and ordinal targets.

    Args:
        r: the power; numbers (regression) allow r = 1 only.
        weights: ``"equal"``, ``"fit"`` (directly for ``metric``) or a number a member, in the members' order.
        metric: what fitted weights are best for; ``"auto"`` is the target's default metric. Log-loss is solved by its gradient; other
            metrics by a pattern search over the simplex from the best of equal weights, single members and the log-loss optimum.
    """

    r: float = 0.5
    weights: Weights = "equal"
    metric: str = "auto"

    @property
    def learns(self) -> bool:
        """Whether fitting reads the labels."""
        return self.weights == "fit"

    def fit(self, members: Sequence[Dense], rows: Rows) -> dict[str, Any]:
        """Return ``{"weights": (M,), …}``."""
        target = members[0].target
        if target.kind == "regression" and self.r != 1:
            raise UserError(f"a power mean with r = {self.r} was asked for {target.name!r}, a regression", need="r = 1 (mean, weighted)")
        if self.weights != "fit":
            return {"weights": stated_weights(self.weights, len(members)).tolist()}
        if len(members) == 1:
            return {"weights": [1.0]}
        goal = Objective.of(target, self.metric)
        stack, y, weight, _ = common(members, rows, SMOOTH_ROWS if goal.metric == "log_loss" else FIT_ROWS)

        def blended(w: np.ndarray) -> np.ndarray:
            return in_chunks(stack, lambda part: renormalised(target, power_mean(part, w, self.r)))

        every = slice(None, None, -(-len(y) // SMOOTH_ROWS))
        smooth = None if target.kind == "regression" else least_log_loss(target, stack[:, every], y[every], weight[every], self.r)
        found, value, tried = direct(goal, blended, y, weight, members=len(members), smooth=smooth)
        return {"weights": found.tolist(), "metric": goal.metric, "value": value, "n": len(y), "tried": tried}

    def apply(self, members: Sequence[Dense], rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the power mean; of one member that member, with what was decided of it."""
        w, target = np.asarray(fitted["weights"]), members[0].target
        check_count(w, members)
        blend = blend_rows(members, lambda part: renormalised(target, power_mean(part, w, self.r)))
        return dataclasses.replace(blend, answer=members[0].answer) if len(members) == 1 else blend


def mean() -> Power:
    """The equal arithmetic mean."""
    return Power(r=1.0)


def weighted(weights: Weights = "fit", metric: str = "auto") -> Power:
    """The weighted arithmetic mean; see :class:`Power`."""
    return Power(1.0, weights, metric)


@dataclasses.dataclass(frozen=True)
class RankMean:
    """The mean of each class's ranks over rows, as shares from 0 to 1; single-label rows are brought back to sum 1.

    The share is taken against the fitted rows (a grid of their quantiles, each row by its weight), so that a new image alone has one too.
    It keeps the order of rows within a class and forgets the scale: good for ranking metrics, no probability any more.

    Args:
        weights: ``"equal"`` or a number a member.
        points: of the quantile grid.
    """

    weights: Weights = "equal"
    points: int = 201

    def fit(self, members: Sequence[Dense], rows: Rows) -> dict[str, Any]:
        """Return ``{"weights": (M,), "grid": (M, K, points)}``."""
        needs_classes(members[0].target, "a rank mean")
        stack, _, weight, _ = common(members, rows, SMOOTH_ROWS)
        at = np.linspace(0, 1, self.points)
        if (weight == weight[0]).all():
            grid = np.quantile(stack, at, axis=1)
        else:  # shares of the weight; only this definition of a quantile takes weights
            grid = np.quantile(stack, at, axis=1, weights=weight, method="inverted_cdf")
        return {"weights": stated_weights(self.weights, len(members)).tolist(), "grid": np.moveaxis(grid, 0, -1).tolist()}

    def apply(self, members: Sequence[Dense], rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the mean share; values equal to several grid points take the middle of them."""
        w, grid, target = np.asarray(fitted["weights"]), np.asarray(fitted["grid"], dtype=np.float32), members[0].target
        check_count(w, members)

        def ranked(part: np.ndarray) -> np.ndarray:
            out = np.zeros(part.shape[1:])
            for m, c in np.ndindex(len(part), part.shape[2]):
                out[:, c] += w[m] * _share(part[m, :, c], grid[m, c])
            return renormalised(target, out)

        return blend_rows(members, ranked)


@dataclasses.dataclass(frozen=True)
class Vote:
    """Hard vote of the members' decided labels. ``p`` is the share of votes.

    A tie goes to the larger mean probability, then to the earlier class.

    Multi-label: each label is voted on by itself (decided, or p ≥ ½); at half the votes the mean probability decides.

    Args:
        weights: ``"equal"`` or a number a member.
    """

    weights: Weights = "equal"

    @property
    def learns(self) -> bool:
        """Whether fitting reads the labels."""
        return False

    def fit(self, members: Sequence[Dense], rows: Rows) -> dict[str, Any]:
        """Return ``{"weights": (M,)}``."""
        needs_classes(members[0].target, "a vote")
        return {"weights": stated_weights(self.weights, len(members)).tolist()}

    def apply(self, members: Sequence[Dense], rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return vote shares, with the decision in ``answer``."""
        w, target = np.asarray(fitted["weights"]), members[0].target
        check_count(w, members)
        labels = [dataclasses.replace(member, p=decided(member)) for member in members]
        votes = blend_rows(labels, lambda part: np.tensordot(w, part.astype(np.float64), axes=1))
        average = blend_rows(members, lambda part: np.tensordot(w, part.astype(np.float64), axes=1))
        ok = votes.ok
        answer = np.where(ok[:, None], np.zeros_like(votes.p), np.nan).astype(np.float32)
        shares = votes.p[ok].astype(np.float64).round(6)  # so that 0.2+0.2+0.2 ties with 0.6
        if target.kind == "multi":
            answer[ok] = np.where(shares == 0.5, average.p[ok] >= 0.5, shares > 0.5)
        else:
            tied = np.where(shares == shares.max(axis=1, keepdims=True), average.p[ok], -1)
            answer[np.flatnonzero(ok), tied.argmax(axis=1)] = 1
        return dataclasses.replace(votes, answer=answer)


@dataclasses.dataclass(frozen=True)
class Greedy:
    """Greedy selection with replacement: start from the best member, then add the one that helps most, and keep the best prefix.

    Args:
        rounds: how many are added at most.
        metric: what is made best; ``"auto"`` is the target's default metric.

    Source: Caruana et al. 2004.
    """

    rounds: int = 30
    metric: str = "auto"

    def fit(self, members: Sequence[Dense], rows: Rows) -> dict[str, Any]:
        """Return ``{"weights": (M,), "picked": member numbers, …}``."""
        stack, y, weight, _ = common(members, rows, FIT_ROWS)
        goal = Objective.of(members[0].target, self.metric)
        picked, value = greedy(goal, stack, y, weight, self.rounds)
        share = np.bincount(picked, minlength=len(members)) / len(picked)
        return {"weights": share.tolist(), "picked": picked, "metric": goal.metric, "value": value, "n": len(y)}

    def apply(self, members: Sequence[Dense], rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the mean of the selection."""
        return Power(r=1.0).apply(members, rows, fitted)


def blend_rows(members: Sequence[Dense], combine: Callable[[np.ndarray], np.ndarray]) -> Dense:
    """Return ``combine`` of the members' probabilities (M, n, K) → (n, K), in chunks, on the rows that all hold."""
    first = members[0]
    ok = np.logical_and.reduce([m.ok for m in members])
    p = np.full_like(first.p, np.nan, dtype=np.float32)
    heldout = np.flatnonzero(ok)
    for start in range(0, len(heldout), CHUNK):
        part = heldout[start : start + CHUNK]
        stack = np.stack([m.p[part] for m in members])
        p[part] = combine(stack)
    missing = np.logical_or.reduce([m.status == "missing" for m in members])
    status = statuses(ok, missing)
    return dataclasses.replace(first, p=p, status=status, answer=None)


def mean_of(parts: Sequence[Dense]) -> Dense:
    """Return the plain mean of several answers for the same rows, nothing decided; a row that one of them lacks has none."""
    fold = np.stack([part.fold for part in parts])
    mean = blend_rows(parts, lambda stack: stack.mean(axis=0, dtype=np.float64))
    return dataclasses.replace(mean, fold=np.where((fold == fold[0]).all(axis=0), fold[0], REDUCED).astype(np.int16))


def in_chunks(stack: np.ndarray, combine: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return ``combine`` of (M, n, K), some rows at a time, so that its temporaries stay in the cache."""
    step = max(1, CHUNK // 8)
    return np.concatenate([combine(stack[:, i : i + step]) for i in range(0, stack.shape[1], step)])


def stated_weights(weights: Weights, members: int) -> np.ndarray:
    """Return weights that sum to 1.

    Raises:
        UserError: a word that is none, another count, negative weights, or all zero.
    """
    if isinstance(weights, str):
        if weights != "equal":
            raise UserError(f"weights are {weights!r}", need="'equal', 'fit' where the blend fits them, or a number for each member")
        return np.full(members, 1 / members)
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (members,) or (values < 0).any() or values.sum() <= 0:
        raise UserError(f"weights are {list(weights)} for {plural(members, 'member')}", need="a number ≥ 0 for each, not all 0")
    return values / values.sum()


def check_count(weights: np.ndarray, members: Sequence[Dense]) -> None:
    """Refuse another number of members than was fitted."""
    if len(weights) != len(members):
        raise UserError(
            f"{plural(len(members), 'member was', 'members were')} given to a blend of {len(weights)}",
            need="the members that it was fitted on",
        )


def _share(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    low, high = np.searchsorted(grid, values, side="left"), np.searchsorted(grid, values, side="right")
    inside = np.interp(values, grid, np.arange(len(grid)))
    return np.where(high > low, (low + high - 1) / 2, inside) / (len(grid) - 1)
