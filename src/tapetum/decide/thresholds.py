"""Thresholds for several labels an image: where a probability becomes a label.

Fitted and scored on the same rows they flatter themselves, most of all for rare classes; cross-fit them and read the nested figure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapetum.core.errors import UserError, listed
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.decide import priors
from tapetum.decide.calibrate import logit
from tapetum.decide.steps import Rows, fitting

FEW = 200  # rows below which rates are not matched on the set at hand
NEVER = 2.0  # a threshold that no probability reaches


@dataclasses.dataclass(frozen=True)
class BestF1:
    """Each class gets the threshold of its best F1, pulled towards its class rate where positives are few.

    With n positives, the threshold (as a logit) is n/rare parts the best one and the rest the one at which the class is named as often as
    it occurs, for n < rare. The latter uses only how many positives there are, not which, and so hardly over-fits.

    Args:
        rare: positives from which on a class stands for itself.
        at_least_one: force a label on rows with none: the one with the largest p/threshold.
    """

    rare: int = 20
    at_least_one: bool = True

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"thresholds": (K,), "positives": (K,), "n": rows}``."""
        target = needs_multi(dense.target)
        p, y, weight, _ = fitting(dense, rows)
        found = []
        for c in range(target.width):
            positives = int((y[:, c] > 0.5).sum())
            # a class of n positives counts (n+½)/(N+1): a class never seen keeps a threshold near its highest probability
            usual = rate_threshold(p[:, c], (positives + 0.5) / (len(p) + 1))
            confidence = min(1.0, positives / self.rare) if self.rare else 1.0
            best = best_f1_threshold(p[:, c], y[:, c], weight) if positives else usual
            found.append(_between(usual, best, confidence))
        return {"thresholds": found, "positives": (y > 0.5).sum(axis=0).tolist(), "n": len(p)}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the same probabilities with decisions."""
        return cut(dense, np.asarray(fitted["thresholds"]), self.at_least_one)


@dataclasses.dataclass(frozen=True)
class MatchRates:
    """Each class is predicted as often as a prior demands.

    Args:
        prior: ``"train"`` (rates of the labels it is fitted on), ``"estimate"`` (rates of the set at hand, by EM from its probabilities
            and the train rates; they should be calibrated) or a rate for each class.
        on: ``"fit"`` keeps the thresholds that give the rates on the fitted rows; ``"set"`` finds them anew on each set that it is applied
            to, without its truth. Below 200 rows the fitted thresholds serve. An estimated prior is matched on the set.
        at_least_one: see :class:`BestF1`.
    """

    prior: str | Sequence[float] = "train"
    on: str = "fit"
    at_least_one: bool = True

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"thresholds": (K,), "rates": (K,), "train": (K,), "n": rows}``."""
        target = needs_multi(dense.target)
        if self.on not in ("fit", "set"):
            raise UserError(f"class_rates has on = {self.on!r}", need="'fit' or 'set'")
        p, y, weight, _ = fitting(dense, rows)
        train = priors.class_rates(target, y, weight)
        rates = train if isinstance(self.prior, str) else priors.stated_prior(target, self.prior)
        if isinstance(self.prior, str) and self.prior not in ("train", "estimate"):
            raise UserError(f"class_rates has prior = {self.prior!r}", need="'train', 'estimate' or a rate for each class")
        found = [rate_threshold(p[:, c], float(rates[c]), weight) for c in range(target.width)]
        return {"thresholds": found, "rates": rates.tolist(), "train": train.tolist(), "n": len(p)}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the same probabilities with decisions."""
        thresholds = np.asarray(fitted["thresholds"])
        p = dense.p[dense.ok]
        if self.joint and len(p) >= FEW:
            rates = np.asarray(fitted["rates"])
            if self.prior == "estimate":
                rates = priors.em(dense.target, p, np.asarray(fitted["train"])).prior
            thresholds = np.array([rate_threshold(p[:, c], float(rates[c])) for c in range(p.shape[1])])
        return cut(dense, thresholds, self.at_least_one)

    @property
    def joint(self) -> bool:
        """Whether thresholds are found anew on each set."""
        return self.on == "set" or self.prior == "estimate"

    def idle(self, dense: Dense) -> str:
        """Return why thresholds are not found anew on a set, or nothing."""
        n = int(np.count_nonzero(dense.ok))
        if not self.joint or n >= FEW:
            return ""
        return f"class rates are not matched on {plural(n, 'answered row')} (at least {FEW} are needed): the fitted thresholds serve"


@dataclasses.dataclass(frozen=True)
class Fixed:
    """Thresholds that are stated, not fitted.

    Args:
        value: one for all classes, or one for each.
        at_least_one: see :class:`BestF1`.
    """

    value: float | Sequence[float] = 0.5
    at_least_one: bool = False

    @property
    def learns(self) -> bool:
        """Whether fitting reads the labels."""
        return False

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"thresholds": (K,)}``."""
        target = needs_multi(dense.target)
        values = np.atleast_1d(np.asarray(self.value, dtype=np.float64))
        if values.shape not in ((1,), (target.width,)):
            raise UserError(
                f"{plural(values.size, 'threshold')} for {plural(target.width, 'class', 'classes')} of {target.name!r}",
                need="one, or one for each class",
            )
        return {"thresholds": np.broadcast_to(values, target.width).tolist()}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the same probabilities with decisions."""
        return cut(dense, np.asarray(fitted["thresholds"]), self.at_least_one)


def cut(dense: Dense, thresholds: np.ndarray, at_least_one: bool) -> Dense:
    """Set the decisions p ≥ threshold; ``at_least_one`` gives rows without a label the one of largest p/threshold."""
    if thresholds.shape != (dense.target.width,):
        raise UserError(f"{plural(thresholds.size, 'threshold')} for the classes {listed(dense.target.classes)}", need="one for each")
    answer = (dense.p >= thresholds.astype(np.float32)).astype(np.float32)
    if at_least_one:
        empty = np.flatnonzero(dense.ok & ~answer.any(axis=1))
        answer[empty, (dense.p[empty] / np.maximum(thresholds, 1e-9)).argmax(axis=1)] = 1
    answer[~dense.ok] = np.nan
    return dataclasses.replace(dense, answer=answer)


def best_f1_threshold(p: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the threshold with the largest F1 of one class: halfway between the last probability named and the first not named.

    Args:
        p: (n,).
        y: (n,) of 0 and 1, with a positive among them.
        weight: (n,); None for equal.
    """
    order = np.argsort(-p, kind="stable")
    w = np.ones(len(p)) if weight is None else weight
    named, hit = np.cumsum(w[order]), np.cumsum((w * (y > 0.5))[order])
    ranked = p[order].astype(np.float64)
    last = np.append(ranked[1:] < ranked[:-1], True)  # a cut cannot run through equal probabilities
    f1 = np.where(last, 2 * hit / (named + hit[-1]), -1.0)
    return _cut_after(ranked, int(f1.argmax()))


def rate_threshold(p: np.ndarray, rate: float, weight: np.ndarray | None = None) -> float:
    """Return the threshold at which the share of rows named comes nearest to ``rate``; 2 (never) for a rate of 0.

    Where no row is nearest it lies just above the highest probability, but never above 1: what is certain is named. With weights above 0
    (N,) it is the share of their sum.
    """
    order = np.argsort(-p, kind="stable")
    ranked = p[order].astype(np.float64)
    if weight is None or (weight == weight[:1]).all():
        many, named = float(round(rate * len(p))), np.arange(1.0, len(p) + 1)
    else:
        many, named = rate * float(weight.sum()), np.cumsum(weight[order])
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))  # a cut cannot run through equal probabilities
    if not many or many < named[ends[0]] / 2:
        return NEVER if rate <= 0 else min(1.0, float(np.nextafter(np.float32(ranked[0]), np.float32(2))))
    if many >= named[-1]:
        return 0.0
    return _cut_after(ranked, int(ends[np.abs(named[ends] - many).argmin()]))


def needs_multi(target: Target) -> Target:
    """Return the target, or refuse one that is not multi-label."""
    if target.kind != "multi":
        raise UserError(f"thresholds were asked for {target.name!r}, a {target.kind} target", need="a multi target")
    return target


def _cut_after(ranked: np.ndarray, place: int) -> float:
    """Return a threshold between a probability and the next one below, also where it is compared in 32 bits."""
    named = float(ranked[place])
    if place + 1 == len(ranked):
        return named / 2
    middle = (named + float(ranked[place + 1])) / 2
    return middle if np.float32(middle) > ranked[place + 1] else named


def _between(low: float, high: float, share: float) -> float:
    """Return the point between two thresholds, on the scale of logits."""
    if share >= 1 or max(low, high) >= 1:
        return float(high if share >= 1 else low)
    z = (1 - share) * logit(np.array(low)) + share * logit(np.array(high))
    return float(1 / (1 + np.exp(-z)))
