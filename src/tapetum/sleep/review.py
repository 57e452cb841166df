"""The epochs that a scorer should look at first and why, and what becomes of a hypnogram by a scorer's decisions."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.stages import N1, N3, REM, STAGES, WAKE

SURE = 0.6  # largest probability under which an epoch is listed
MOST = 0.25  # share of the epochs that are listed at most
# Each is less than 3 % of the changes out of its first stage in 102 nights of Sleep-EDF Expanded (6,819 changes in all).
RARE = {(WAKE, N3), (WAKE, REM), (N1, N3), (N3, REM), (REM, N3)}
Reasons = list[list[tuple[str, str]]]


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a scorer decided of an epoch.

    Args:
        epoch: from 0.
        stage: 0 to 4, −1: unscored; None: the stage that the hypnogram had is confirmed.
        at: seconds since 1970.
        reviewer: who; may be blank.
    """

    epoch: int
    stage: int | None
    at: float
    reviewer: str


def reasons(night: Hypnogram, bad: np.ndarray | None = None, before: Hypnogram | None = None, others: Sequence[Hypnogram] = ()) -> Reasons:
    """Return for each epoch why it should be looked at, as (kind, words); most have no reason.

    Args:
        night: the stages.
        bad: epochs (T,) with a bad signal.
        before: the engine's own answer, where steps changed it.
        others: further scorers of the same night.
    """
    stages, labels = night.stages, night.labels()
    _, own = _certainty(night)
    found: Reasons = [[] for _ in stages]
    for i, stage in enumerate(stages.tolist()):
        if stage < 0:
            found[i].append(("no stage", ""))
        elif own[i] < SURE:
            found[i].append(("uncertain", ""))
        if before is not None and before.stages[i] != stage >= 0:
            found[i].append(("context", f"{before.labels()[i]} before"))
        apart = [f"{other.scorer}: {other.labels()[i]}" for other in others if -1 < other.stages[i] != stage >= 0]
        if apart:
            found[i].append(("scorers disagree", ", ".join(apart)))
        if i and (int(stages[i - 1]), stage) in RARE:
            found[i].append(("improbable transition", f"{labels[i]} after {labels[i - 1]}"))
        if bad is not None and i < len(bad) and bad[i]:
            found[i].append(("bad signal", ""))
        if 0 < i < len(stages) - 1 and stages[i - 1] == stages[i + 1] != stage and own[i] < 0.8:
            found[i].append(("alone among its neighbours", ""))
    return found


def in_order(night: Hypnogram, found: Reasons, others: Sequence[Hypnogram] = ()) -> np.ndarray:
    """Return all epochs (T,), those of most worth first: with a reason, then uncertain, disputed, improbable ones."""
    _, own = _certainty(night)
    apart = np.mean([other.stages != night.stages for other in others], axis=0) if others else np.zeros(len(night))
    rare = np.array([any(kind == "improbable transition" for kind, _ in some) for some in found])
    worth = np.where(np.isnan(own), 1.0, own) - apart - 0.5 * rare
    return np.lexsort((np.arange(len(night)), worth, np.array([not some for some in found])))


def review_list(night: Hypnogram, bad: np.ndarray | None = None, before: Hypnogram | None = None) -> pl.DataFrame:
    """Return epochs to look at, the least certain first.

    Args:
        night: the answer.
        bad: epochs (T,) with a bad signal.
        before: the engine's own answer, where steps changed it.

    Returns:
        ``epoch`` (from 1), ``onset`` (s), ``stage``, ``p`` (of the stage), ``second`` and ``p_second``, ``reason``.
    """
    p, own = _certainty(night)
    found = reasons(night, bad, before)
    listed = np.array([i for i, some in enumerate(found) if some], dtype=np.int64)
    sure = np.where(np.isnan(own), 0.0, own)
    listed = listed[np.argsort(sure[listed], kind="stable")][: max(int(MOST * len(night)), 1)]
    known = ~np.isnan(p).any(axis=1)
    second = {i: _second(p[i], int(night.stages[i])) for i in listed.tolist() if known[i]}
    labels = night.labels()
    shown = {i: float(own[i]) if night.stages[i] >= 0 else 0.0 for i in second}
    columns = {
        "stage": (pl.String, [labels[i] for i in listed]),
        "p": (pl.Float64, [round(shown[i], 4) if i in shown else None for i in listed.tolist()]),
        "second": (pl.String, [STAGES[second[i]] if i in second else None for i in listed.tolist()]),
        "p_second": (pl.Float64, [round(float(p[i, second[i]]), 4) if i in second else None for i in listed.tolist()]),
        "reason": (pl.String, ["; ".join(": ".join(filter(None, one)) for one in found[i]) for i in listed]),
    }
    frame = pl.DataFrame({"epoch": listed + 1, "onset": listed * night.epoch})
    return frame.with_columns(pl.Series(name, values, dtype=dtype) for name, (dtype, values) in columns.items())


def corrected(night: Hypnogram, decisions: Iterable[Decision]) -> tuple[Hypnogram, pl.DataFrame]:
    """Return the hypnogram after a scorer's decisions, and a row for each decision.

    The rows have ``epoch`` (from 1), ``onset`` (s), ``from``, ``to``, ``at`` and ``reviewer``.

    Args:
        night: as it was; its probabilities stay those of whoever gave them.
        decisions: in the order in which they were made; one that confirms has the same stage before and after.
    """
    stages, rows = night.stages.copy(), []
    for one in decisions:
        to = int(night.stages[one.epoch]) if one.stage is None else one.stage
        names = [STAGES[stage] if stage >= 0 else "?" for stage in (int(stages[one.epoch]), to)]
        at = datetime.datetime.fromtimestamp(one.at, datetime.UTC).isoformat(timespec="seconds")
        rows.append((one.epoch + 1, one.epoch * night.epoch, *names, at, one.reviewer))
        stages[one.epoch] = to
    schema = {"epoch": pl.Int64, "onset": pl.Float64, "from": pl.String, "to": pl.String, "at": pl.String, "reviewer": pl.String}
    scorer = f"{night.scorer}, reviewed" if night.scorer else "reviewed"
    return dataclasses.replace(night, stages=stages, scorer=scorer), pl.DataFrame(rows, schema=schema, orient="row")


def _certainty(night: Hypnogram) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (T, 5), NaN rows where there are none, and that of each epoch's stage (T,), NaN where it is not known."""
    count = len(night)
    p = np.full((count, len(STAGES)), np.nan) if night.p is None else night.p
    own = p[np.arange(count), np.maximum(night.stages, 0)]
    return p, np.where((night.stages >= 0) & ~np.isnan(p).any(axis=1), own, np.nan)


def _second(p: np.ndarray, stage: int) -> int:
    """Return the most probable other stage."""
    left = p.copy()
    if stage >= 0:
        left[stage] = -1.0
    return int(left.argmax())
