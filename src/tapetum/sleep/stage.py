"""Stage a night: read it, let an engine answer, decide in context where that was shown to gain, and write everything a laboratory uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files, table_files
from tapetum.core.errors import TapetumError
from tapetum.sleep import adapt, exports, plots
from tapetum.sleep.edf import Recording, read_edf
from tapetum.sleep.engines import Engine
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.issues import Issues
from tapetum.sleep.lights import lights_of, lit
from tapetum.sleep.montage import Montage, Signal
from tapetum.sleep.quality import EEG, assess
from tapetum.sleep.review import review_list
from tapetum.sleep.statistics import between, cycles, night_of, statistics, transitions

FIGURE = "night.png"
EXPORTED = ("hypnogram.csv", "events.tsv", "hypnogram.json", "hypnogram.edf")
WRITTEN = (*EXPORTED, "statistics.json", "review.csv", "issues.csv", FIGURE)  # files of a night's folder


@dataclasses.dataclass(frozen=True)
class Staged:
    """A night that was staged.

    Args:
        recording: what was read; its issues are complete.
        answer: of the engine.
        night: decided; the same where nothing was adapted.
        signal: the EEG that is shown above the hypnogram; None where there is none.
        bad: epochs (T,) in which that EEG is bad.
    """

    recording: Recording
    answer: Hypnogram
    night: Hypnogram
    signal: Signal | None
    bad: np.ndarray


def stage(path: Path, engine: Engine, table: Mapping[str, str], adapted: Mapping[str, Any] | None = None) -> Staged:
    """Return a night's stages.

    Args:
        path: an EDF or BDF file.
        engine: who gives the stages.
        table: names of channels.
        adapted: what ``tapetum sleep adapt`` wrote; None: the engine's answer stands.
    """
    recording = read_edf(path)
    answer = engine(recording, table, recording.issues)
    answer = lit(answer, lambda: lights_of(recording.annotations, recording.duration, recording.issues))
    night = answer if adapted is None else adapt.apply(answer, adapted)
    signal = shown_signal(recording, table)
    return Staged(recording, answer, night, signal, bad_epochs(signal, len(night)))


def bad_epochs(signal: Signal | None, count: int) -> np.ndarray:
    """Return the epochs (count,) in which a signal is bad; none where there is no signal."""
    bad = np.zeros(count, dtype=bool)
    if signal is not None:
        found = assess(signal).bad[:count]
        bad[: len(found)] = found
    return bad


def shown_signal(recording: Recording, table: Mapping[str, str]) -> Signal | None:
    """Return the EEG with the fewest bad epochs, for a figure; None where no EEG was recorded."""
    montage = Montage(recording, table, Issues(""))
    names = [name for name in EEG if montage.parts(name) is not None]
    best: tuple[float, Signal] | None = None
    for name in names[:4]:
        signal = montage.signal(name)
        if signal is not None and recording.epochs:
            share = assess(signal).share
            best = (share, signal) if best is None or share < best[0] else best
    return None if best is None else best[1]


def write(folder: Path, staged: Staged, *, lights_off: float | None = None, lights_on: float | None = None) -> dict[str, Any]:
    """Write a night's folder, and return its statistics.

    ``hypnogram.csv`` (with probabilities), ``events.tsv`` (BIDS), ``hypnogram.json``, ``hypnogram.edf`` (annotations; where edfio is
    installed), ``statistics.json``, ``review.csv``, ``issues.csv`` and ``night.png``.
    """
    night = staged.night
    lights, said = night_of(night, lights_off, lights_on)
    night = dataclasses.replace(night, lights=lights)  # the figure and the exports have them, too
    figures, inside = {**said, **statistics(night)}, between(night, lights)
    with files.whole_folder(folder) as aside:
        for name in EXPORTED[:-1]:
            exports.export(night, aside / name)
        try:
            exports.export(night, aside / EXPORTED[-1])
        except TapetumError as error:
            staged.recording.issues.add("hypnogram.edf was not written", error.text)
        found = {"statistics": figures, "cycles": cycles(inside), "transitions": transitions(inside).tolist(), "scorer": night.scorer}
        files.write_json(aside / "statistics.json", found)
        before = None if staged.answer is staged.night else staged.answer
        table_files.write_table(aside / "review.csv", review_list(night, staged.bad, before), for_people=True)
        plots.night_figure(aside / FIGURE, night, staged.signal, _title(night, figures))
        exports.write_issues(aside / "issues.csv", staged.recording.issues)
    return figures


def _title(night: Hypnogram, figures: Mapping[str, Any]) -> str:
    shown = [f"TST {figures['TST']:.0f} min", f"efficiency {figures['SE']:.0f} %"]
    shown += [f"{name} {figures[name]:.0f} min" for name in ("SOL", "WASO", "REM latency") if figures[name] is not None]
    return f"{night.scorer}: " + ", ".join(shown)
