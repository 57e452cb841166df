"""Adapt a scorer to a laboratory: calibration and context fitted on its own scored nights, and used only where they are shown to gain.

All figures are cross-validated by subject: each subject's nights are decided with values from the others'. The steps: ``calibration`` (a
factor and an offset a stage), ``context`` (forward–backward with the laboratory's transitions, nothing tuned) and ``tuned context`` (its
weights tuned, and with eight subjects or more its method chosen). One is used from then on only if its gain is shown: macro-F1 over the
scorer alone for context, log-loss for calibration, each with a 95 % interval (by subject) that excludes 0.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.core import intervals, metrics
from tapetum.core.errors import DataError
from tapetum.core.folds import count_groups
from tapetum.core.schema import statuses
from tapetum.core.tables import Dense, decided
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.decide.calibrate import Vector
from tapetum.decide.context import Context
from tapetum.decide.steps import Rows, crossfit
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.stages import STAGES, UNSCORED

TARGET = Target("stage", "single", STAGES)
CALIBRATION, CONTEXT, TUNED = "calibration", "context", "tuned context"
MADE: dict[str, Any] = {CALIBRATION: Vector(), CONTEXT: Context("forward-backward", tune=False), TUNED: Context()}
STEPS = {"scorer": (), "+ calibration": (CALIBRATION,), "+ context": (CALIBRATION, CONTEXT), "adapted": (CALIBRATION, TUNED)}
FIGURES = ("macro_f1", "kappa", "accuracy", "log_loss")
FEWEST = 3  # subjects from which on a gain can have an interval
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """Some of the steps, one after the other, as one decision step.

    Args:
        steps: names of ``MADE``.
    """

    steps: tuple[str, ...]

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return the fitted values of each step; the second is fitted on what the first gives."""
        out: dict[str, Any] = {}
        for name in self.steps:
            out[name] = MADE[name].fit(dense, rows)
            dense = MADE[name].apply(dense, rows, out[name])
        return out

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the rows decided."""
        for name in self.steps:
            dense = MADE[name].apply(dense, rows, fitted[name])
        return dense


def adapt(nights: Sequence[tuple[str, str, Hypnogram, Hypnogram]]) -> dict[str, Any]:
    """Fit calibration and context on scored nights.

    Args:
        nights: (name, subject, the engine's answer with probabilities, the laboratory's own scoring) each.

    Returns:
        ``{"version", "classes", "nights", "subjects", "figures", "gains", "use", "reason", "fitted"}``, plain values: figures of each step
        with intervals, its gain over the scorer alone and over the step before, which steps are used, and their values for new nights.

    Raises:
        DataError: fewer than two subjects, or no epoch that was both answered and scored.
    """
    dense, rows = laid_out(nights)
    subjects = count_groups(rows.groups)
    if subjects < 2:
        raise DataError(
            f"all {plural(len(nights), 'night is', 'nights are')} of one subject",
            need="scored nights of two subjects or more (three for an interval)",
        )
    nested: dict[str, Dense] = {}
    fitted: dict[str, dict[str, Any]] = {}
    for name, steps in STEPS.items():
        found = crossfit(Adaptation(steps), dense, rows) if steps else None
        nested[name] = dense if found is None else found.nested
        fitted[name] = {} if found is None else found.final
    figures = {name: {metric: _figure(metric, one, rows) for metric in FIGURES} for name, one in nested.items()}
    names = list(STEPS)
    gains = {
        name: {"alone": _gains(nested[name], dense, rows), "before": _gains(nested[name], nested[before], rows)}
        for before, name in itertools.pairwise(names)
    }
    use, reason = _chosen(gains, subjects)
    return {
        "version": VERSION,
        "classes": list(STAGES),
        "nights": len(nights),
        "subjects": subjects,
        "epochs": int(dense.scorable.sum()),
        "figures": figures,
        "gains": gains,
        "use": list(STEPS[use]),
        "reason": reason,
        "fitted": fitted[use],
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
    if unknown := [name for name in adapted["use"] if name not in MADE or name not in adapted["fitted"]]:
        raise DataError(f"this adaptation uses {unknown[0]!r}, which is not known here", need="a file of this version")
    found = Adaptation(tuple(adapted["use"])).apply(dense, rows, dict(adapted["fitted"]))
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
            raise DataError(
                f"{name}: {plural(len(answer), 'epoch was', 'epochs were')} answered and {len(truth)} scored", need="the same epochs"
            )
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
    status = statuses(~np.isnan(joined).any(axis=1))
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


def _chosen(gains: Mapping[str, Any], subjects: int) -> tuple[str, str]:
    """Return the name of the steps whose gain is shown, and why."""
    if subjects < FEWEST:
        return "scorer", f"{plural(subjects, 'subject is', 'subjects are')} too few for an interval"
    shown = {name: (gains[name]["alone"]["macro_f1"]["low"] or 0.0) > 0 for name in ("+ context", "adapted")}
    value = {name: gains[name]["alone"]["macro_f1"]["value"] for name in shown}
    best = "adapted" if shown["adapted"] and (value["adapted"] >= value["+ context"] or not shown["+ context"]) else "+ context"
    if shown[best]:
        return best, f"{' and '.join(STEPS[best])} raise macro-F1, and the interval excludes 0"
    if (gains["+ calibration"]["alone"]["log_loss"]["low"] or 0.0) > 0:
        return "+ calibration", "calibration lowers log-loss, and the interval excludes 0; of context no gain is shown"
    return "scorer", "no gain is shown"
