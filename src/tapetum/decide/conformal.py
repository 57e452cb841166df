"""Sets of classes that hold the label at a stated rate, abstention at a stated risk, and the rows most worth a check.

The guarantee of conformal sets rests on exchangeable items: rows of one group are not, so ``one_per_group`` takes one row of each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy.stats import binom

from tapetum.core import draws, intervals
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.tables import Dense, decided
from tapetum.core.targets import Target, decode
from tapetum.decide.steps import Rows, counting, folds_of

ALL = 2.0  # a bound that every class passes
REVIEWS = ("entropy", "margin", "disagreement")


@dataclasses.dataclass(frozen=True)
class Conformal:
    """Conformal sets of a single or ordinal target.

    Args:
        method: ``"lac"`` (classes with p ≥ 1 − q: smallest sets) or ``"aps"`` (the most likely classes up to a cumulated q: sets that
            grow with difficulty; never empty).
        alpha: the share of truths that may lie outside.
        by_class: a bound for each class, so that rare classes are covered as often as the others (class-conditional).
        one_per_group: fit on one row of each group, drawn by its id.
        randomise: aps only: take off a share of the class's own p, drawn by the row's id; without it sets are larger than they need be.

    Source: LAC: Sadinle, Lei and Wasserman 2019; APS: Romano, Sesia and Candès 2020 (here the most likely class is always in).
    """

    method: Literal["lac", "aps"] = "lac"
    alpha: float = 0.1
    by_class: bool = False
    one_per_group: bool = False
    randomise: bool = True

    def __post_init__(self) -> None:
        if self.method not in ("lac", "aps"):
            raise UserError(f"there is no conformal method {self.method!r}", need="'lac' or 'aps'")
        if not 0 < self.alpha < 1:
            raise UserError(f"conformal sets were asked for with alpha = {self.alpha}", need="a share between 0 and 1, as 0.1")

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"bounds": (K,), "n": (K,) or all}``: the ⌈(n+1)(1−α)⌉-th smallest score; 2 where n is too small."""
        _needs_distribution(dense.target)
        take = _labelled(dense, rows, one_per_group=self.one_per_group)
        truth = dense.y[take].argmax(axis=1)
        scores = self._scores(dense.p[take], dense.row_ids[take])[np.arange(len(take)), truth]
        k = dense.target.width
        parts = [scores[truth == c] for c in range(k)] if self.by_class else [scores] * k
        weight = np.ones(len(take)) if rows.weight is None else rows.weight[take].astype(np.float64)
        weights = [weight[truth == c] for c in range(k)] if self.by_class else [weight] * k
        bounds = [conformal_quantile(part, self.alpha, own_weight) for part, own_weight in zip(parts, weights, strict=True)]
        return {"bounds": bounds, "n": [len(part) for part in parts]}

    def sets(self, dense: Dense, fitted: dict[str, Any]) -> np.ndarray:
        """Return which classes are in the set of each row (N, K) bool; all False where there is no answer."""
        bounds = np.asarray(fitted["bounds"])
        out = self._scores(dense.p, dense.row_ids) <= bounds + 1e-6  # p are float32, and the truth's own score must pass
        if self.method == "aps":
            out[np.arange(len(out)), dense.p.argmax(axis=1)] = True
        out[~dense.ok] = False
        return out

    def _scores(self, p: np.ndarray, row_ids: np.ndarray) -> np.ndarray:
        if self.method == "lac":
            return 1 - p.astype(np.float64)
        order = np.argsort(-p, axis=1, kind="stable")
        ranked = np.cumsum(np.take_along_axis(p, order, axis=1), axis=1, dtype=np.float64)
        out = np.empty_like(ranked)
        np.put_along_axis(out, order, ranked, axis=1)
        return out - hash_uniform(row_ids)[:, None] * p if self.randomise else out


@dataclasses.dataclass(frozen=True)
class Sets:
    """Cross-fitted sets.

    Args:
        nested: (N, K) bool, each fold under bounds from the other folds.
        by_fold: fold → fitted.
        final: fitted on all rows, for new images.
        report: coverage (with its interval), mean size, share of empty and of single sets, coverage and size by class.
    """

    nested: np.ndarray
    by_fold: dict[int, dict[str, Any]]
    final: dict[str, Any]
    report: dict[str, Any]


def crossfit_sets(how: Conformal, dense: Dense, rows: Rows) -> Sets:
    """Fit conformal sets on each fold's complement and report on the fold; fewer than two folds: five group folds are drawn.

    Args:
        how: the method.
        dense: out-of-fold predictions with truth.
        rows: their groups and folds.
    """
    fold, _ = folds_of(dense, rows)
    heldout = np.flatnonzero(fold >= 0)
    final = how.fit(dense.where(heldout), rows.where(heldout))
    nested = how.sets(dense, final)
    by_fold = {}
    for k in np.unique(fold[heldout]).tolist():
        others, inside = heldout[fold[heldout] != k], np.flatnonzero(fold == k)
        by_fold[k] = how.fit(dense.where(others), rows.where(others))
        nested[inside] = how.sets(dense.where(inside), by_fold[k])
    return Sets(nested, by_fold, final, report_sets(dense.where(heldout), nested[heldout], rows.where(heldout)))


def report_sets(dense: Dense, sets: np.ndarray, rows: Rows) -> dict[str, Any]:
    """Return coverage with its interval (clustered by group; Wilson where every row is a group) and sizes of sets.

    Args:
        dense: with the truth.
        sets: (N, K) bool.
        rows: groups, and weights, which count in every share and mean.
    """
    take = np.flatnonzero(counting(dense, rows))
    truth, inside = dense.y[take].argmax(axis=1), sets[take]
    hit, size = inside[np.arange(len(take)), truth], inside.sum(axis=1)
    names = dense.target.classes
    weight = np.ones(len(take)) if rows.weight is None else rows.weight[take].astype(np.float64)

    def mean(values: np.ndarray, where: np.ndarray | slice = slice(None)) -> float:
        return float(np.average(values[where], weights=weight[where]))

    return {
        "coverage": intervals.share(hit, rows.groups[take], weight=weight).to_dict(),
        "size": mean(size),
        "empty": mean(size == 0),
        "single": mean(size == 1),
        "classes": {
            name: {"n": int(of_class.sum()), "coverage": mean(hit, of_class), "size": mean(size, of_class)}
            for c, name in enumerate(names)
            if weight[of_class := truth == c].any()
        },
    }


@dataclasses.dataclass(frozen=True)
class Abstain:
    """Answer only where the largest probability is at least a bound, chosen so that the error among answers stays below ``risk``.

    Thresholds are tested from few answers to many, each by the exact binomial test of "the error among answers is above ``risk``". Starting
    points share 1 − confidence. A threshold that passes hands its level on to the next one, which adds its own share; one that fails ends
    it there. So every threshold that passed keeps the risk, all of them with the stated confidence together, wherever the errors lie.
    Rows are taken as independent, and the true error as one that does not fall as more is answered; where it falls, the level holds but for
    one row.

    Args:
        risk: the share of wrong answers that is allowed among those given.
        confidence: with which the true risk stays below it.
        one_per_group: fit on one row of each group, drawn by its id; without it rows count as independent.

    Source: Angelopoulos, Bates, Candès, Jordan and Lei 2021, arXiv 2110.01052 (learn then test); Wiens and Dmitrienko 2005 (the fallback
    procedure). Geifman and El-Yaniv 2017, arXiv 1705.08500, whose bisection needs an error that rises: decision 087.
    """

    risk: float = 0.05
    confidence: float = 0.95
    one_per_group: bool = True

    def __post_init__(self) -> None:
        for name, value in (("risk", self.risk), ("confidence", self.confidence)):
            if not 0 < value < 1:
                raise UserError(f"abstention was asked for with {name} = {value}", need="a share between 0 and 1")

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"threshold", "risk", "bound", "coverage", "n", "wanted"}``; threshold 2 (never answer) where no risk is kept.

        ``risk`` is the share of errors among these rows' answers, ``bound`` what the true one stays below with the stated confidence.
        """
        _needs_distribution(dense.target)
        take = _labelled(dense, rows, one_per_group=self.one_per_group)
        top = dense.p[take].max(axis=1).astype(np.float64)
        wrong = decided(dense)[take].argmax(axis=1) != dense.y[take].argmax(axis=1)
        order = np.argsort(-top, kind="stable")
        top, errors = top[order], np.cumsum(wrong[order])
        last = np.searchsorted(-top, -top, side="right") - 1  # equal probabilities are answered together
        starts = _starts(len(top), self.risk, 1 - self.confidence)
        share = np.bincount(last[starts], minlength=len(top)) * (1 - self.confidence) / max(1, len(starts))
        ends = np.unique(last)
        passed = _passed(binom.cdf(errors[ends], ends + 1, self.risk), share[ends])
        whole: dict[str, Any] = {"threshold": ALL, "risk": None, "bound": None, "coverage": 0.0}
        if passed.any():
            most = int(ends[passed][-1])
            whole = {"threshold": float(top[most]), "risk": float(errors[most] / (most + 1)), "bound": self.risk}
            whole["coverage"] = (most + 1) / len(top)
        return {**whole, "n": len(top), "wanted": self.risk}

    def answers(self, dense: Dense, fitted: dict[str, Any]) -> np.ndarray:
        """Return which rows are answered (N,) bool."""
        return dense.ok & (np.nan_to_num(dense.p, nan=-1.0).max(axis=1) >= fitted["threshold"])


def review_list(dense: Dense, members: Mapping[str, Dense] | None = None, *, by: str = "entropy", most: int = 100) -> pl.DataFrame:
    """Return the rows most worth a human check, the most doubtful first.

    Args:
        dense: the predictions.
        members: aligned members, for ``"disagreement"``.
        by: ``"entropy"`` (of p; multi: the sum over labels), ``"margin"`` (1 − (first − second); multi: nearness of the nearest label to ½)
            or ``"disagreement"`` (entropy of the members' mean less the mean of their entropies: what they do not know alike).
        most: rows.

    Returns:
        Columns rank, row_id, doubt, answer (names joined by a blank for multi), p (of the answer; the largest for multi), known (truth is).
    """
    target = dense.target
    if by not in REVIEWS:
        raise UserError(f"there is no review by {by!r} (there are: {listed(REVIEWS)}).{nearest(by, REVIEWS)}")
    if target.kind == "regression":
        raise UserError(f"a review list was asked for {target.name!r}, a regression", need="a single, ordinal or multi target")
    if by == "disagreement":
        if not members or len(members) < 2:
            raise UserError("a review by disagreement has fewer than two members", need="two or more", fix="use by = 'entropy'")
        stack = np.stack([m.p for m in members.values()])
        doubt = entropy(target, stack.mean(axis=0)) - np.mean([entropy(target, p) for p in stack], axis=0)
    elif by == "entropy":
        doubt = entropy(target, dense.p)
    elif target.kind == "multi":
        doubt = 1 - 2 * np.abs(dense.p - 0.5).min(axis=1)
    else:
        two = np.partition(dense.p, -2, axis=1)[:, -2:]
        doubt = 1 - (two[:, 1] - two[:, 0])
    rows = np.flatnonzero(dense.ok & np.isfinite(doubt))
    rows = rows[np.argsort(-doubt[rows], kind="stable")][:most]
    labels = decided(dense)[rows]
    answers = decode(target, labels)
    shown = dense.p[rows] if target.kind == "multi" else dense.p[rows] * labels
    return pl.DataFrame(
        {
            "rank": np.arange(1, len(rows) + 1),
            "row_id": pl.Series(dense.row_ids[rows].tolist(), dtype=pl.String),
            "doubt": doubt[rows].astype(np.float64),
            "answer": pl.Series([" ".join(a) if isinstance(a, list) else a for a in answers], dtype=pl.String),
            "p": shown.max(axis=1) if len(rows) else np.zeros(0, dtype=np.float32),
            "known": dense.scorable[rows],
        }
    )


def entropy(target: Target, p: np.ndarray) -> np.ndarray:
    """Return the entropy of each row in nats (N,); multi: the sum over labels."""
    p = np.clip(p.astype(np.float64), 1e-12, 1)
    if target.kind == "multi":
        q = np.clip(1 - p, 1e-12, 1)
        return -(p * np.log(p) + q * np.log(q)).sum(axis=1)
    return -(p * np.log(p)).sum(axis=1)


def conformal_quantile(scores: np.ndarray, alpha: float, weight: np.ndarray | None = None) -> float:
    """Return the ⌈(n+1)(1−α)⌉-th smallest score, or 2 where there is none (n too small).

    With weights: the smallest score up to which the share of the weight is 1 − α, the row to come weighing as much as the mean row.

    Source: Tibshirani, Barber, Candès and Ramdas 2019, arXiv 1904.06019 (weights).
    """
    if weight is not None and (weight != weight[:1]).any():
        order = np.argsort(scores, kind="stable")
        share = np.cumsum(weight[order]) / (weight.sum() * (1 + 1 / len(scores)))
        inside = np.flatnonzero(share >= 1 - alpha - 1e-9)
        return float(scores[order[inside[0]]]) if len(inside) else ALL
    place = int(np.ceil((len(scores) + 1) * (1 - alpha) - 1e-9))
    return ALL if place > len(scores) else float(np.sort(scores)[max(place, 1) - 1])


def hash_uniform(row_ids: np.ndarray) -> np.ndarray:
    """Return a number from 0 to 1 for each row (N,) that depends on its id alone."""
    return np.array([draws.key("luck", row_id) for row_id in row_ids], dtype=np.float64) / 2.0**63


def one_of_each(take: np.ndarray, row_ids: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return one of the rows ``take`` for each group, drawn by the rows' ids, so that order and neighbours do not matter."""
    order = take[np.argsort(hash_uniform(row_ids[take]), kind="stable")]
    _, first = np.unique(groups[order].astype(str), return_index=True)
    return np.sort(order[first])


def _labelled(dense: Dense, rows: Rows, *, one_per_group: bool) -> np.ndarray:
    """Return the rows with answer, truth and weight, or one of them a group: rows of one group are no sample of rows to come."""
    take = np.flatnonzero(counting(dense, rows))
    if one_per_group:
        take = one_of_each(take, dense.row_ids, rows.groups)
    if not len(take):
        raise DataError(f"no row of {dense.target.name!r} has both a prediction and a label", need="labelled rows")
    return take


def _starts(n: int, risk: float, spent: float) -> np.ndarray:
    """Return the last rows (from 0) of the starting points: n halved again and again, and points between, as many as a bisection has looks.

    None lies where the test fails without any error, so that no share is lost there.
    """
    looks = max(1, int(np.ceil(np.log2(n))))
    fewest = int(np.ceil(np.log(spent / looks) / np.log1p(-risk)))  # right answers that pass the test
    octaves = np.log2(n / max(1, fewest - 1))
    if n < fewest:
        return np.zeros(0, dtype=np.int64)
    each = max(1, int((looks - 1) / max(1.0, octaves)))  # points an octave
    return np.unique(np.minimum(n * 2.0 ** (-np.arange(int(each * octaves) + 1) / each), n - 1).astype(np.int64))


def _passed(p: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return which hypotheses, tested in this order, the fallback procedure rejects (n,) bool; ``share`` are their parts of the level."""
    out, level = np.zeros(len(p), dtype=bool), 0.0
    for i in np.flatnonzero(np.cumsum(share) > 0):
        level += share[i]
        out[i] = p[i] <= level and level > 0
        level = level if out[i] else 0.0
    return out


def _needs_distribution(target: Target) -> None:
    if not target.is_distribution:
        raise UserError(f"conformal answers were asked for {target.name!r}, a {target.kind} target", need="a single or ordinal target")
