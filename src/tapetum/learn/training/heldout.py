"""The figures and the loss of an epoch on held-out rows, and whether training has diverged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.core import metrics
from tapetum.core.derived import with_derived
from tapetum.core.monitor import monitor, prior_answer
from tapetum.core.tables import Dense
from tapetum.core.targets import Target

FLAT = 1e-4  # spread of a probability over the held-out rows below which the network answers the same for every image
RISING = 3.0  # validation loss over the best one so far, beyond which training has diverged, if the prior alone would do better


def figures(
    answers: Mapping[str, Dense], targets: Sequence[Target], watch: str, spreads: Mapping[str, float], weight: np.ndarray | None = None
) -> dict[str, Any]:
    """Return an epoch's row of the history: validation loss, monitored figure, metrics of each target and the answers' spread.

    Args:
        answers: target → held-out answers.
        targets: of the manifest; derived ones without a head are composed.
        watch: ``train.monitor``.
        spreads: number → its deviation over the training rows.
        weight: of the held-out rows (N,); None: each counts 1.
    """
    ok = next(iter(answers.values())).ok
    weight = None if weight is None else weight[ok]
    answered = {n: (d.p[d.ok], d.y[d.ok]) for n, d in answers.items()}
    known, shown = with_derived(answered, {n: d.target for n, d in answers.items()}, targets)
    row: dict[str, Any] = {"valid_loss": sum(loss(d.target, *answered[n], spreads, weight) for n, d in answers.items())}
    row["monitor"] = monitor(watch, known, shown, weight)
    row.update({f"{n}/{m}": metrics.score(m, known[n], *both, weight) for n, both in shown.items() for m in _columns(known[n])})
    row["spread"] = max(spread(d.target, *shown[n]) for n, d in answers.items())
    return row


def loss(target: Target, p: np.ndarray, y: np.ndarray, spreads: Mapping[str, float], weight: np.ndarray | None = None) -> float:
    """Return the plain validation loss of probabilities: log-loss, or the mean squared error of a number in units of its spread."""
    value = metrics.score("rmse" if target.kind == "regression" else "log_loss", target, p, y, weight)
    if value is None:
        return float("nan")
    return (value / spreads.get(target.name, 1.0)) ** 2 if target.kind == "regression" else value


def prior_loss(
    targets: Mapping[str, Target], truths: Mapping[str, np.ndarray], spreads: Mapping[str, float], weight: np.ndarray | None = None
) -> float:
    """Return the validation loss of the prior: predictions by class frequency alone; arguments as for :func:`figures`."""
    return sum(loss(t, prior_answer(t, truths[name], weight), truths[name], spreads, weight) for name, t in targets.items())


def come_apart(row: Mapping[str, Any], first_loss: float, prior: float) -> str:
    """Return why training has diverged with an epoch, or nothing.

    Args:
        row: of :func:`figures`.
        first_loss: the best validation loss before it.
        prior: of :func:`prior_loss`.
    """
    if row.get("spread", 1.0) < FLAT:
        return "collapsed: the answer is the same for every image"
    if row["valid_loss"] > max(RISING * first_loss, prior):
        return f"collapsed: validation loss {row['valid_loss']:.3g} after {first_loss:.3g}"
    return ""


def spread(target: Target, p: np.ndarray, y: np.ndarray) -> float:
    """Return how much the answers differ between images; of a number, as a multiple of the labels' deviation; nothing for one row."""
    if len(p) < 2:
        return 1.0
    unit = max(float(np.nanstd(y)), 1e-12) if target.kind == "regression" and not np.isnan(y).all() else 1.0
    return float(p.std(axis=0).max()) / unit


def _columns(target: Target) -> tuple[str, ...]:
    """Return the metrics that a history shows for a target."""
    main = metrics.default_metric(target)
    return (main, "accuracy") if target.kind in ("single", "ordinal") else (main,)
