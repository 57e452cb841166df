"""Other class rates: re-weighting by π_target/π_train, estimating the rates of an unlabelled set, logit adjustment.

A model trained on balanced subsets believes that all classes are equally frequent; dividing by what it believed and multiplying with what
holds makes its probabilities right again. Estimating the rates of the test set from its images alone is the honest stand-in for probing
a leaderboard. All of it assumes that classes look as they did and only their shares moved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapetum.core.errors import DataError, UserError
from tapetum.core.logistic import softmax
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.decide.calibrate import likely, logit, needs_classes
from tapetum.decide.steps import Rows, fitting
from tapetum.decide.weights import Objective

TINY = 1e-7
TAUS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
WORST_CONDITION = 1e4  # of BBSE's confusion matrix; beyond it the answer is noise
LEAST = 100  # answered rows from which on the rates of a set are estimated: a rate of ½ then has a standard error of .05 or more

Prior = str | Sequence[float]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Estimated class rates.

    Args:
        prior: (K,); single and ordinal sum to 1.
        rounds: steps taken (EM), 0 for a closed form.
    """

    prior: np.ndarray
    rounds: int = 0


@dataclasses.dataclass(frozen=True)
class PriorShift:
    """Re-weight probabilities by π_target/π_source.

    Args:
        source: the rates that the model believes: ``"balanced"``, ``"truth"`` (of the rows fitted on) or a rate for each class.
        target: the rates that hold: ``"truth"`` (of the rows fitted on), ``"em"`` or ``"bbse"`` (estimated on each set that it is applied
            to, without its truth) or a rate for each class.
        least: answered rows that a set must have for its rates to be estimated; smaller ones keep their probabilities. Of one image with
            p = .55 / .45 the estimate would be 1 / 0.
    """

    source: Prior = "balanced"
    target: Prior = "truth"
    least: int = LEAST

    def __post_init__(self) -> None:
        if isinstance(self.least, bool) or not isinstance(self.least, int) or self.least < 2:
            raise UserError(f"a change of prior has least = {self.least!r}", need="a whole number of 2 or more")

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"source": (K,), "target": (K,) or None, "joint": for bbse, "n": rows}``."""
        target = needs_classes(dense.target, "a change of prior")
        p, y, weight, _ = fitting(dense, rows)
        truth = class_rates(target, y, weight, smooth=0.5)
        words = {"balanced": np.full(target.width, 0.5 if target.kind == "multi" else 1 / target.width), "truth": truth}
        source = _worded(target, self.source, words)
        fitted: dict[str, Any] = {"source": source.tolist(), "target": None, "n": len(p)}
        if self.target == "bbse":
            if not target.is_distribution:
                raise UserError(f"bbse was asked for {target.name!r}, a multi target", need="a single or ordinal one; or target = 'em'")
            fitted["joint"] = joint(p, y, weight).tolist()
        elif self.target != "em":
            fitted["target"] = _worded(target, self.target, words, "'truth', 'em', 'bbse'").tolist()
        return fitted

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the re-weighted probabilities; those of a set too small for an estimate as they are."""
        ok, source = dense.ok, np.asarray(fitted["source"])
        if not ok.any() or self.idle(dense):
            return dense
        if fitted["target"] is not None:
            goal = np.asarray(fitted["target"])
        elif self.target == "em":
            goal = em(dense.target, dense.p[ok], source).prior
        else:
            goal = bbse(np.asarray(fitted["joint"]), dense.p[ok]).prior
        p = dense.p.copy()
        p[ok] = reweight(dense.target, dense.p[ok], source, goal)
        return dense.with_p(p)

    @property
    def joint(self) -> bool:
        """Whether rates are estimated on each set."""
        return self.target in ("em", "bbse")

    def idle(self, dense: Dense) -> str:
        """Return why nothing is estimated on a set, or nothing."""
        n = int(np.count_nonzero(dense.ok))
        if not self.joint or n >= self.least:
            return ""
        few = plural(n, "answered row")
        return f"class rates are not estimated on {few} (at least {self.least} are needed): the probabilities stay as they are"


@dataclasses.dataclass(frozen=True)
class LogitAdjust:
    """Subtract τ·log π from the log-probabilities: π are the class rates of the labels fitted on; τ = 1 aims at balanced error.

    Args:
        tau: a number, or ``"fit"``: the best of 0, ¼ … 1½ for ``metric``.
        metric: for ``"fit"``; ``"auto"`` is the target's default metric.

    Source: Menon et al. 2021, arXiv 2007.07314 (post hoc).
    """

    tau: float | str = 1.0
    metric: str = "auto"

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return ``{"tau": τ, "prior": (K,), "n": rows}``."""
        target = needs_classes(dense.target, "logit adjustment")
        p, y, weight, _ = fitting(dense, rows)
        prior = class_rates(target, y, weight, smooth=0.5)
        if isinstance(self.tau, str):
            if self.tau != "fit":
                raise UserError(f"logit_adjust has tau = {self.tau!r}", need="a number or 'fit'")
            goal = Objective.of(target, self.metric)
            tau = max(TAUS, key=lambda t: (goal(adjust(target, p, prior, t), y, weight), -t))
        else:
            tau = float(self.tau)
        return {"tau": tau, "prior": prior.tolist(), "n": len(p)}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the adjusted probabilities."""
        p = dense.p.copy()
        p[dense.ok] = adjust(dense.target, dense.p[dense.ok], np.asarray(fitted["prior"]), fitted["tau"])
        return dense.with_p(p)


def reweight(target: Target, p: np.ndarray, source: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Return p·π_goal/π_source, renormalised; multi: each label's odds times the ratio of the prior odds.

    Args:
        target: single, ordinal or multi.
        p: (n, K).
        source: rates that p was made under (K,).
        goal: rates that hold (K,).
    """
    source, goal = np.clip(source, TINY, 1), np.clip(goal, TINY, 1)
    if target.is_distribution:
        moved = np.maximum(p, TINY) * (goal / source)
        return (moved / moved.sum(axis=1, keepdims=True)).astype(np.float32)
    source, goal = np.minimum(source, 1 - TINY), np.minimum(goal, 1 - TINY)
    yes, no = p * (goal / source), (1 - p.astype(np.float64)) * ((1 - goal) / (1 - source))
    return (yes / (yes + no)).astype(np.float32)


def adjust(target: Target, p: np.ndarray, prior: np.ndarray, tau: float) -> np.ndarray:
    """Return the probabilities of logits less τ·log π (multi: less τ times the prior's logit); of any τ, so powers are never taken."""
    prior = np.asarray(prior, dtype=np.float64)
    if target.is_distribution:
        z = np.log(np.maximum(p, TINY).astype(np.float64)) - tau * np.log(np.clip(prior, TINY, 1))
        return softmax(z).astype(np.float32)
    with np.errstate(divide="ignore"):  # a label that is certain stays so
        z = np.log(p.astype(np.float64)) - np.log1p(-p.astype(np.float64))
    return likely(target, z - tau * logit(prior)).astype(np.float32)


def em(target: Target, p: np.ndarray, source: np.ndarray, *, most: int = 1000, tolerance: float = 1e-7) -> Estimate:
    """Estimate the class rates of a set from its probabilities, by expectation and maximisation.

    Args:
        target: single or ordinal; multi is estimated label by label.
        p: calibrated probabilities under the rates ``source`` (n, K).
        source: (K,).
        most: rounds.
        tolerance: stop when no rate moves by more.

    Source: Saerens, Latinne and Decaestecker 2002.
    """
    prior = np.clip(np.asarray(source, dtype=np.float64), TINY, 1)
    rounds, moved = 0, np.inf
    while moved >= tolerance and rounds < most:
        new = reweight(target, p, source, prior).mean(axis=0, dtype=np.float64)
        moved, prior, rounds = np.abs(new - prior).max(), new, rounds + 1
    return Estimate(prior, rounds)


def joint(p: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return P(decided i, true j) of labelled rows (K, K), deciding by the largest p."""
    k = p.shape[1]
    out = np.zeros((k, k))
    np.add.at(out, (p.argmax(axis=1), y.argmax(axis=1)), weight)
    return out / out.sum()


def bbse(labelled: np.ndarray, p: np.ndarray) -> Estimate:
    """Estimate the class rates of a set from how often each class is decided on it.

    Args:
        labelled: :func:`joint` of labelled rows.
        p: the set's probabilities (n, K).

    Raises:
        DataError: the decisions of the labelled rows do not tell classes apart, or a class was never seen.

    Source: Lipton, Wang and Smola 2018, arXiv 1802.03916. Solved for the ratio w ≥ 0 of rates.
    """
    from scipy.optimize import nnls

    unseen = np.flatnonzero(labelled.sum(axis=0) == 0)
    if len(unseen) or np.linalg.cond(labelled) > WORST_CONDITION:
        what = (
            f"class number {unseen[0]} has no labelled row"
            if len(unseen)
            else "decisions on the labelled rows do not tell all classes apart"
        )
        raise DataError(f"bbse cannot estimate rates: {what}", fix="use target = 'em', or state the rates")
    decided = np.bincount(p.argmax(axis=1), minlength=p.shape[1]) / len(p)
    ratio, _ = nnls(labelled, decided)
    prior = ratio * labelled.sum(axis=0)
    return Estimate(prior / prior.sum())


def class_rates(target: Target, y: np.ndarray, weight: np.ndarray | None = None, smooth: float = 0.0) -> np.ndarray:
    """Return the share of each class in the truth (K,); ``smooth`` is added to each count, so that no rate is 0."""
    w = np.ones(len(y)) if weight is None else weight
    counts, total = w @ y.astype(np.float64), w.sum()
    return (counts + smooth) / (total + smooth * (target.width if target.is_distribution else 2))


def stated_prior(target: Target, values: Sequence[float]) -> np.ndarray:
    """Return stated rates as numbers (K,), single and ordinal summing to 1.

    Raises:
        UserError: another number of them, or rates outside 0 to 1 (multi) or not positive.
    """
    rates = np.asarray(values, dtype=np.float64)
    if rates.shape != (target.width,) or (rates < 0).any() or (target.kind == "multi" and (rates > 1).any()) or rates.sum() <= 0:
        raise UserError(
            f"rates {list(values)} were stated for {target.name!r}", need=f"{plural(target.width, 'number')}, one for each class in order"
        )
    return rates / rates.sum() if target.is_distribution else rates


def _worded(target: Target, value: Prior, words: dict[str, np.ndarray], more: str = "'balanced', 'truth'") -> np.ndarray:
    if not isinstance(value, str):
        return stated_prior(target, value)
    if value not in words:
        raise UserError(f"a prior is {value!r}", need=f"{more} or a rate for each class")
    return words[value]
