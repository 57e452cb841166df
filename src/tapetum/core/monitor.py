"""The one scalar that training watches: for the best epoch, early stopping, and the choice between probe and fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tapetum.core import metrics
from tapetum.core.tables import Dense
from tapetum.core.targets import Target

Answers = Mapping[str, tuple[np.ndarray, np.ndarray]]  # target → (p (N, K), y (N, K))


def monitor_of(name: str, answers: Mapping[str, Dense], weight: np.ndarray | None = None) -> float:
    """Return the monitored figure of answers as they were decided; see :func:`monitor`."""
    decided = {n: d.answer for n, d in answers.items() if d.answer is not None}
    shown = {n: (d.p, d.y) for n, d in answers.items()}
    return monitor(name, {n: d.target for n, d in answers.items()}, shown, weight, decided)


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
        decided: target → decided labels (N, K) where a step set them; others as their p says.

    One target under ``auto`` is its default metric. Several are each divided by the score of an answer that is always the prior, then
    averaged; where less is better the ratio is turned over.
    """
    labels = decided or {}
    if name != "auto":
        target, metric = metrics.parse(name, list(targets.values()))
        return _signed(metric, target, *answers[target.name], weight, labels.get(target.name))
    scored = [t for t in targets.values() if t.name in answers]
    if len(scored) == 1:
        target = scored[0]
        return _signed(metrics.default_metric(target), target, *answers[target.name], weight, labels.get(target.name))
    ratios = []
    for target in scored:
        p, y = answers[target.name]
        metric = metrics.default_metric(target)
        value = metrics.score(metric, target, p, y, weight, answer=labels.get(target.name))
        prior = prior_answer(target, y)
        base = metrics.score(metric, target, prior, y, weight, answer=prior_decision(target, prior))
        if value is None or base is None:
            continue
        better = metrics.METRICS[metric].greater_is_better
        ratios.append(value / max(base, 1e-6) if better else base / max(value, 1e-6))
    return float(np.mean(ratios)) if ratios else -np.inf


def prior_answer(target: Target, y: np.ndarray) -> np.ndarray:
    """Return the answer (N, K) that knows nothing but how often each class occurs in ``y`` (regression: the median)."""
    known = y[~np.isnan(y).any(axis=1)]
    if not len(known):
        return np.full_like(y, np.nan)
    prior = np.median(known, axis=0) if target.kind == "regression" else known.mean(axis=0)
    return np.repeat(prior[None, :].astype(np.float32), len(y), axis=0)


def prior_decision(target: Target, prior: np.ndarray) -> np.ndarray | None:
    """Return what a prior (N, K) decides: of ordered classes the median one, which is nearest to all; others as their p says (None)."""
    if target.kind != "ordinal":
        return None
    middle = (np.cumsum(prior, axis=1) >= 0.5 - 1e-6).argmax(axis=1)
    return np.eye(target.width, dtype=np.float32)[middle]


def _signed(metric: str, target: Target, p: np.ndarray, y: np.ndarray, weight: np.ndarray | None, answer: np.ndarray | None) -> float:
    value = metrics.score(metric, target, p, y, weight, answer=answer)
    if value is None:
        return -np.inf
    return value if metrics.METRICS[metric].greater_is_better else -value
