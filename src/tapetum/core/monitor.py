"""The one scalar that training watches: for the best epoch, early stopping, and the choice between probe and fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tapetum.core import metrics
from tapetum.core.tables import Dense
from tapetum.core.targets import Target

Answers = Mapping[str, tuple[np.ndarray, np.ndarray]]  # target → (p (N, K), y (N, K))
TINY = 1e-9  # between the scores of the prior and of the truth, below which the figure has no meaning


def monitor_of(name: str, answers: Mapping[str, Dense], weight: np.ndarray | None = None) -> float:
    """Return the monitored figure of answers as they were decided; see :func:`monitor`."""
    decided = {n: d.answer for n, d in answers.items() if d.answer is not None}
    shown = {n: (d.p, d.y) for n, d in answers.items()}
    return monitor(name, {n: d.target for n, d in answers.items()}, shown, weight, decided)


def called(name: str, targets: Sequence[Target]) -> tuple[str, float]:
    """Return what the monitored figure of these scored targets is called, and −1 where it is the negative of an error, else 1."""
    if name == "auto" and len(targets) != 1:
        return "mean skill of the targets", 1
    metric = metrics.default_metric(targets[0]) if name == "auto" else metrics.parse(name, list(targets))[1]
    return (metric if name == "auto" else name), metrics.METRICS[metric].sign


def monitor(
    name: str,
    targets: Mapping[str, Target],
    answers: Answers,
    weight: np.ndarray | None = None,
    decided: Mapping[str, np.ndarray] | None = None,
) -> float:
    """Return the monitored figure, the greater the better; −inf where it is undefined.

    Args:
        name: ``auto``, a metric (``macro_f1``) or one of a target (``ans/macro_f1``).
        targets: the scored targets.
        answers: probabilities and truth of each.
        weight: of the rows (N,).
        decided: target → decided labels (N, K) where a step set them; others by their p.

    One target under ``auto`` is its default metric. Several are averaged by their :func:`skill`; targets without any label are left
    out.
    """
    labels = decided or {}
    if name != "auto":
        target, metric = metrics.parse(name, list(targets.values()))
        return metrics.merit(metric, target, *answers[target.name], weight, labels.get(target.name))
    scored = [t for t in targets.values() if t.name in answers]
    if len(scored) == 1:
        target = scored[0]
        return metrics.merit(metrics.default_metric(target), target, *answers[target.name], weight, labels.get(target.name))
    known = [target for target in scored if not _unknown(answers[target.name][1])]
    skills = [skill(target, *answers[target.name], weight, labels.get(target.name)) for target in known]
    return float(np.mean(skills)) if skills else -np.inf


def skill(target: Target, p: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, decided: np.ndarray | None = None) -> float:
    """Return how far an answer is between the prior (0) and the truth (1), from −1 to 1, by the target's default metric.

    It is (score − prior) / (best − prior): ``prior`` is the score of an answer that is always the prior, ``best`` that of the truth itself,
    which is below the metric's own bound where classes are absent. Worse than −1 counts as −1, so that no target outweighs the others.
    0 where it has no meaning: the prior is as good as the truth (one class, a constant number), or no row has both truth and answer.

    Args:
        target: of any kind.
        p: probabilities, or values (N, K).
        y: truth, as p.
        weight: of the rows (N,).
        decided: labels (N, K) where a step set them; None: by p.
    """
    metric, known = metrics.default_metric(target), ~np.isnan(y).any(axis=1) & ~np.isnan(p).any(axis=1)
    p, y, weight = p[known], y[known], None if weight is None else weight[known]
    value = metrics.score(metric, target, p, y, weight, answer=None if decided is None else decided[known])
    best = metrics.score(metric, target, y, y, weight)
    prior = prior_answer(target, y, weight)
    base = metrics.score(metric, target, prior, y, weight, answer=prior_decision(target, prior))
    if value is None or best is None or base is None or abs(best - base) < TINY:
        return 0.0
    return float(np.clip((value - base) / (best - base), -1.0, 1.0))


def prior_answer(target: Target, y: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Return the prior (N, K): how often each class occurs in ``y`` (regression: the median), rows weighted."""
    rows = ~np.isnan(y).any(axis=1) if weight is None else ~np.isnan(y).any(axis=1) & (weight > 0)
    known, row_weight = y[rows], None if weight is None else weight[rows].astype(np.float64)
    if not len(known):
        return np.full_like(y, np.nan)
    if target.kind != "regression":
        prior = np.average(known, axis=0, weights=row_weight)
    else:
        prior = (
            np.median(known, axis=0) if row_weight is None else (_middle(known, row_weight) - _middle(-known, row_weight)) / 2
        )  # as the median of even n
    return np.repeat(prior[None, :].astype(np.float32), len(y), axis=0)


def _middle(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the least value (K,) up to which half of the weight lies."""
    found: np.ndarray = np.quantile(values, 0.5, axis=0, weights=weight, method="inverted_cdf")
    return found


def prior_decision(target: Target, prior: np.ndarray) -> np.ndarray | None:
    """Return what a prior (N, K) decides: of ordered classes the median one, which is nearest to all; others by their p (None)."""
    if target.kind != "ordinal":
        return None
    return np.eye(target.width, dtype=np.float32)[median_class(prior)]


def median_class(p: np.ndarray) -> np.ndarray:
    """Return the first class (N,) up to which half of the probability (N, K) lies, but for rounding."""
    return np.asarray((np.cumsum(p, axis=1, dtype=np.float64) >= 0.5 - 1e-6).argmax(axis=1))


def _unknown(y: np.ndarray) -> bool:
    return bool(np.isnan(y).any(axis=1).all())
