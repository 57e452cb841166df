"""Statistics of a night by the definitions of the AASM manual, right also where there is no REM, no sleep, or not everything is scored.

``DEFINITIONS`` says what each figure is; docs/sleep.md shows them, and where YASA's differ. Minutes unless said otherwise; None where
a figure is not defined (the latency to REM of a night without REM), never 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapetum.core.errors import UserError
from tapetum.sleep.hypnogram import Hypnogram, Lights, runs
from tapetum.sleep.stages import N1, REM, STAGES, UNSCORED, WAKE

PERSISTENT = 10.0  # minutes of unbroken sleep
NREM_PERIOD, REM_PERIOD = 15.0, 5.0  # minutes that make a cycle's parts (Feinberg and Floyd 1979, doi 10.1111/j.1469-8986.1979.tb02991.x)

DEFINITIONS = {
    "TIB": "time in bed (AASM: total recording time): lights off to lights on; without these times the whole hypnogram",
    "SPT": "sleep period time: from the first to the last epoch of sleep, what lies between included; 0 without sleep",
    "TST": "total sleep time: all epochs of N1, N2, N3 and REM",
    "SE": "sleep efficiency: 100 · TST / TIB, in %",
    "SME": "sleep maintenance efficiency: 100 · TST / SPT, in %; none without sleep",
    "SOL": "sleep onset latency: from lights off to the first epoch of any sleep; none without sleep",
    "LPS": "latency to persistent sleep: from lights off to the first epoch of 10 unbroken minutes of sleep; none where there are none",
    "WASO": "wake after sleep onset (AASM): all Wake from the first epoch of sleep to lights on; none without sleep",
    "WASO in SPT": "the same up to the last epoch of sleep (YASA's WASO)",
    "awakenings": "number of runs of Wake between the first and the last epoch of sleep",
    "REM latency": "from the first epoch of sleep to the first of REM (AASM); none without REM",
    "unscored": "epochs without a stage: neither sleep nor Wake; they count in TIB and SPT",
    "transitions": "number of changes from one stage to another between neighbouring scored epochs",
    "awakening index": "changes from sleep to Wake an hour of TST (YASA's SFI); none without sleep",
    "fragmentation": "sleep fragmentation index: changes to Wake from sleep, and to N1 from N2, N3 or REM, an hour of TST",
    "cycles": "number of NREM periods of 15 minutes or more that are followed by REM of 5 minutes (the first REM: any length)",
}  # fmt: skip


def statistics(night: Hypnogram, lights: Lights | None = None) -> dict[str, Any]:
    """Return the figures of ``DEFINITIONS`` and, for each stage, minutes and % of TST.

    Args:
        night: stages.
        lights: when the night begins and ends; epochs outside are left out. None: as the hypnogram says, else all of it.

    Raises:
        UserError: no epoch lies between lights off and lights on.
    """
    night = between(night, lights or night.lights)
    stages, minutes = night.stages, night.minutes
    asleep = night.asleep
    where = np.flatnonzero(asleep)
    slept = len(where) > 0
    first, last = (int(where[0]), int(where[-1])) if slept else (0, -1)
    total = len(where) * minutes
    out: dict[str, Any] = {
        "TIB": len(stages) * minutes,
        "SPT": (last - first + 1) * minutes,
        "TST": total,
        "SE": 100 * len(where) / len(stages),
        "SME": 100 * len(where) / (last - first + 1) if slept else None,
        "SOL": first * minutes if slept else None,
        "LPS": persistent_latency(night),
        "WASO": float((stages[first:] == WAKE).sum()) * minutes if slept else None,
        "WASO in SPT": float((stages[first : last + 1] == WAKE).sum()) * minutes if slept else None,
        "awakenings": sum(value == WAKE for value, *_ in runs(stages[first : last + 1])) if slept else 0,
        "REM latency": _rem_latency(night, first),
        "unscored": float((stages == UNSCORED).sum()) * minutes,
    }
    for number, name in enumerate(STAGES):
        out[name] = float((stages == number).sum()) * minutes
        if number != WAKE:
            out[f"% {name}"] = 100 * out[name] / total if slept else None
    moves = transitions(night)
    apart = moves - np.diag(np.diag(moves))
    to_wake, to_n1 = int(apart[1:, WAKE].sum()), int(apart[N1 + 1 :, N1].sum())
    hours = total / 60
    out["transitions"] = int(apart.sum())
    out["awakening index"] = to_wake / hours if slept else None
    out["fragmentation"] = (to_wake + to_n1) / hours if slept else None
    out["cycles"] = len(cycles(night))
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in out.items()}


def between(night: Hypnogram, lights: Lights) -> Hypnogram:
    """Return the epochs that begin at or after lights off and end by lights on."""
    end = len(night) * night.epoch
    off, on = max(lights.off or 0.0, 0.0), min(end if lights.on is None else lights.on, end)
    first, last = int(np.ceil(off / night.epoch - 1e-9)), int(np.floor(on / night.epoch + 1e-9))
    if first >= last:
        raise UserError(
            f"no epoch lies between lights off ({off:g} s) and lights on ({on:g} s)", need=f"times within the {end:g} s of the hypnogram"
        )
    return night.part(first, last)


def night_of(night: Hypnogram, lights_off: float | None, lights_on: float | None) -> tuple[Lights, dict[str, Any]]:
    """Return when a night begins and ends, and the same as values of a table: what was given, else as the hypnogram says.

    Args:
        night: stages.
        lights_off: seconds from the start that somebody gave; None: nobody did.
        lights_on: likewise.
    """
    pairs = ((lights_off, night.lights.off), (lights_on, night.lights.on))
    off, on = (own if given is None else given for given, own in pairs)
    sources = ["given" if given is not None else "annotations" for given, own in pairs if given is not None or own is not None]
    return Lights(off, on), {"lights off": off, "lights on": on, "lights from": " and ".join(dict.fromkeys(sources)) or None}


def of_both(a: Hypnogram, b: Hypnogram) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the statistics of two scorers of a night, whose lights off and on are the same: those of the first, else of the second."""
    lights = b.lights if a.lights == Lights() else a.lights
    return statistics(a, lights), statistics(b, lights)


def transitions(night: Hypnogram) -> np.ndarray:
    """Return how often an epoch of a stage is followed by one of another (5, 5), row = from; pairs with an unscored epoch do not count."""
    before, after = night.stages[:-1], night.stages[1:]
    scored = (before >= 0) & (after >= 0)
    out = np.zeros((len(STAGES), len(STAGES)), dtype=np.int64)
    np.add.at(out, (before[scored], after[scored]), 1)
    return out


def persistent_latency(night: Hypnogram, minutes: float = PERSISTENT) -> float | None:
    """Return the minutes to the first epoch of so many unbroken minutes of sleep; None where there are none."""
    needed = int(np.ceil(minutes / night.minutes - 1e-9))
    found = next((start for value, start, end in runs(night.asleep.astype(np.int8)) if value and end - start >= needed), None)
    return None if found is None else found * night.minutes


def cycles(night: Hypnogram) -> list[dict[str, float]]:
    """Return the cycles of NREM and REM: when each begins, and minutes of its NREM and of its REM.

    REM that is broken by less than 15 minutes is one period; a cycle whose REM has less than 5 minutes goes on, but for the first.
    """
    stages, minutes = night.stages, night.minutes
    out: list[dict[str, float]] = []
    start, at = None, 0
    while at < len(stages):
        if start is None and stages[at] in (1, 2, 3):
            start = at
        if stages[at] == REM and start is not None:
            end = _end_of_rem(stages, at, minutes)
            nrem = float(np.isin(stages[start:at], (1, 2, 3)).sum()) * minutes
            rem = float((stages[at:end] == REM).sum()) * minutes
            if nrem >= NREM_PERIOD and (rem >= REM_PERIOD or not out):
                out.append({"start": start * minutes, "NREM": nrem, "REM": rem})
                start = None
            at = end
            continue
        at += 1
    return out


def _end_of_rem(stages: np.ndarray, at: int, minutes: float) -> int:
    """Return one after the last epoch of a REM period; REM again within 15 minutes belongs to it."""
    end, reach = at + 1, int(np.ceil(NREM_PERIOD / minutes - 1e-9))
    while True:
        again = np.flatnonzero(stages[end : end + reach] == REM)
        if not len(again):
            return end
        end += int(again[-1]) + 1


def _rem_latency(night: Hypnogram, first: int) -> float | None:
    found = np.flatnonzero(night.stages == REM)
    return (int(found[0]) - first) * night.minutes if len(found) else None
