"""Adapt a scorer to a laboratory: calibration and context fitted on its own scored nights, and used only where they are shown to gain.

All figures are cross-validated by subject: each subject's nights are decided with values from the others'. A step is used from then on if
its gain is shown: calibration if log-loss falls and context if macro-F1 rises, both with a 95 % interval (by subject) that excludes 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.core import intervals, metrics
from tapetum.core.errors import DataError
from tapetum.core.folds import count_groups
from tapetum.core.tables import Dense, decided
from tapetum.core.targets import Target
from tapetum.decide.calibrate import Vector
from tapetum.decide.context import Context
from tapetum.decide.steps import Rows, crossfit
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.stages import STAGES, UNSCORED

TARGET = Target("stage", "single", STAGES)
CALIBRATION, CONTEXT = "calibration", "context"
STEPS = {"scorer": (), "+ calibration": (CALIBRATION,), "+ context": (CALIBRATION, CONTEXT)}
FIGURES = ("macro_f1", "kappa", "accuracy", "log_loss")
FEWEST = 3  # subjects from which on a gain can have an interval
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """The steps that were chosen, as a decision step: calibration, then context.

    Args:
        steps: of ``calibration`` and ``context``, in this order.
    """

    steps: tuple[str, ...]

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return the fitted values of each step; the second is fitted on what the first gives."""
        out: dict[str, Any] = {}
        for name in self.steps:
            step: Any = Vector() if name == CALIBRATION else Context()
            out[name] = step.fit(dense, rows)
            dense = step.apply(dense, rows, out[name])
        return out

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the rows decided."""
        for name in self.steps:
            step: Any = Vector() if name == CALIBRATION else Context()
            dense = step.apply(dense, rows, fitted[name])
        return dense


def adapt(nights: Sequence[tuple[str, str, Hypnogram, Hypnogram]]) -> dict[str, Any]:
    """Fit calibration and context on scored nights.

    Args:
        nights: (name, subject, the engine's answer with probabilities, the laboratory's own scoring) each.

    Returns:
        ``{"version", "classes", "nights", "subjects", "figures", "gains", "use", "reason", "fitted"}``, plain values: figures of each step
        with intervals, its gain over the one before and over the scorer alone, which steps are used, and their values for new nights.

    Raises:
        DataError: fewer than two subjects, or no epoch that was both answered and scored.
    """
    dense, rows = laid_out(nights)
    subjects = count_groups(rows.groups)
    if subjects < 2:
        raise DataError(
            f"all {len(nights)} nights are of one subject", need="scored nights of two subjects or more (three for an interval)"
        )
    nested: dict[str, Dense] = {}
    fitted: dict[str, dict[str, Any]] = {}
    for name, steps in STEPS.items():
        found = crossfit(Adaptation(steps), dense, rows) if steps else None
        nested[name] = dense if found is None else found.nested
        fitted[name] = {} if found is None else found.final
    figures = {name: {metric: _figure(metric, one, rows) for metric in FIGURES} for name, one in nested.items()}
    gains = {
        "+ calibration": _gains(nested["+ calibration"], dense, rows),
        "+ context": _gains(nested["+ context"], nested["+ calibration"], rows),
        "all steps": _gains(nested["+ context"], dense, rows),
    }
    use, reason = _chosen(gains, subjects)
    kept = fitted["+ context"] if CONTEXT in use else fitted["+ calibration"]
    return {
        "version": VERSION,
        "classes": list(STAGES),
        "nights": len(nights),
        "subjects": subjects,
        "epochs": int(dense.scorable.sum()),
        "figures": figures,
        "gains": gains,
        "use": list(use),
        "reason": reason,
        "fitted": {name: kept[name] for name in (CALIBRATION, CONTEXT) if name in kept and use},
    }


def apply(night: Hypnogram, adapted: Mapping[str, Any]) -> Hypnogram:
    """Return a night decided with the steps of an adaptation that are used; epochs without probabilities stay as they are.

    Raises:
        DataError: not what :func:`adapt` returned, or a night without probabilities.
    """
    if adapted.get("version") != VERSION or adapted.get("classes") != list(STAGES) or not {"use", "fitted"} <= set(adapted):
        raise DataError("this is no adaptation that can be used here", need="the file that tapetum sleep adapt wrote")
    if not adapted["use"]:
        return night
    if night.p is None:
        raise DataError("the hypnogram has no probabilities, which calibration and context need", need="columns p_Wake, p_N1 … p_REM")
    dense, rows = laid_out([("night", "night", night, night)])
    steps = tuple(name for name in (CALIBRATION, CONTEXT) if name in adapted["fitted"])
    found = Adaptation(steps).apply(dense, rows, dict(adapted["fitted"]))
    answer = decided(found)
    known = found.ok & ~np.isnan(answer).any(axis=1)
    stages = np.where(known, np.nan_to_num(answer).argmax(axis=1), night.stages)
    return dataclasses.replace(night, stages=stages, p=np.asarray(found.p, dtype=np.float64), scorer=f"{night.scorer}, adapted")


def laid_out(nights: Sequence[tuple[str, str, Hypnogram, Hypnogram]]) -> tuple[Dense, Rows]:
    """Return all epochs of all nights as predictions with truth; epochs without probabilities are missing, unscored ones have no truth.

    Raises:
        DataError: a night without probabilities, or two hypnograms of different length.
    """
    ids, p, y, groups, sequence, position = [], [], [], [], [], []
    for name, subject, answer, truth in nights:
        if answer.p is None:
            raise DataError(f"{name}: the answer has no probabilities, which calibration and context need", need="p_Wake, p_N1 … p_REM")
        if len(answer) != len(truth):
            raise DataError(f"{name}: {len(answer)} epochs were answered and {len(truth)} scored", need="the same epochs")
        ids += [f"{name}:{i + 1:05d}" for i in range(len(answer))]
        p.append(answer.p)
        one_hot = np.eye(len(STAGES), dtype=np.float32)[np.maximum(truth.stages, 0)]
        one_hot[truth.stages == UNSCORED] = np.nan
        y.append(one_hot)
        groups += [subject] * len(answer)
        sequence += [name] * len(answer)
        position.append(np.arange(len(answer), dtype=np.float64))
    joined = np.concatenate(p).astype(np.float32)
    row_ids, fold = np.array(ids, dtype=object), np.full(len(ids), -1, dtype=np.int16)
    status = np.where(np.isnan(joined).any(axis=1), "missing", "ok")
    dense = Dense(TARGET, row_ids, joined, np.concatenate(y), fold, status)
    rows = Rows(np.array(groups, dtype=object), fold, np.array(sequence, dtype=object), np.concatenate(position), row_ids=row_ids)
    return dense, rows


def _figure(metric: str, dense: Dense, rows: Rows) -> dict[str, Any]:
    return intervals.interval(metric, TARGET, dense.p, dense.y, rows.groups, answer=dense.answer).to_dict()


def _gains(a: Dense, b: Dense, rows: Rows) -> dict[str, Any]:
    """Return how much better a is than b in each figure, with a paired interval by subject; better is above 0 for all of them."""
    out = {}
    for metric in FIGURES:
        found = intervals.difference(metric, TARGET, (a.p, b.p), a.y, rows.groups, answers=(a.answer, b.answer))
        out[metric] = (found if metrics.named(metric, TARGET).greater_is_better else found.turned()).to_dict()
    return out


def _chosen(gains: Mapping[str, Any], subjects: int) -> tuple[tuple[str, ...], str]:
    """Return the steps whose gain is shown, and why."""
    if subjects < FEWEST:
        return (), f"{subjects} subjects are too few for an interval: nothing is used"
    calibrated = gains["+ calibration"]["log_loss"]["low"]
    context = gains["+ context"]["macro_f1"]["low"]
    if context is not None and context > 0:
        return (CALIBRATION, CONTEXT), "context raises macro-F1, its interval excludes 0; it works on calibrated probabilities"
    if calibrated is not None and calibrated > 0:
        return (CALIBRATION,), "calibration lowers log-loss, its interval excludes 0; of context no gain is shown"
    return (), "no gain is shown: the scorer's own answers are used"
