"""Who gives the stages: YASA (the default, on a fresh install), another program's file, or whatever is handed in as a function.

YASA: Vallat and Walker 2021, doi 10.7554/eLife.70092, BSD-3; its models are in its wheel, so nothing is downloaded.
"""

from __future__ import annotations

import dataclasses
import datetime
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import extras, files
from tapetum.core.errors import DataError, UserError
from tapetum.core.runs import Record
from tapetum.core.words import plural
from tapetum.sleep import render
from tapetum.sleep.edf import Recording
from tapetum.sleep.hypnogram import Hypnogram, Lights
from tapetum.sleep.hypnogram_files import STAGED, beside, read_hypnogram
from tapetum.sleep.issues import ALL, EPOCH, NOTE, Issues, spans
from tapetum.sleep.lights import lights_of, lit
from tapetum.sleep.montage import Montage, Signal
from tapetum.sleep.nights import in_the_night
from tapetum.sleep.onsets import DAY
from tapetum.sleep.quality import EEG, EMG, EOG, Quality, assess, candidates, report
from tapetum.sleep.stages import STAGES, UNSCORED

Engine = Callable[[Recording, Mapping[str, str], Issues], Hypnogram]
SLOWEST = 80.0  # samples a second; YASA refuses less
USUAL = 20.0  # µV, deviation of an epoch of EEG, to which signals of no known unit are brought
SHORTEST = 10  # epochs (5 minutes) below which YASA calls its answers unreliable
_YASA = {"WAKE": 0, "N1": 1, "N2": 2, "N3": 3, "REM": 4}


@dataclasses.dataclass(frozen=True)
class Yasa:
    """YASA on one EEG, one EOG and one chin EMG channel, those with the fewest bad epochs.

    Args:
        eeg, eog, emg: labels as the recorder wrote them (``A|B`` for A − B); None: chosen.
    """

    eeg: str | None = None
    eog: str | None = None
    emg: str | None = None

    def __call__(self, recording: Recording, table: Mapping[str, str], issues: Issues) -> Hypnogram:
        """Return stages and probabilities; epochs in gaps are unscored.

        Raises:
            EnvironmentFault: YASA is not installed.
            DataError: no EEG that can be used, or less than an epoch.
        """
        yasa, mne = _libraries()
        if not recording.epochs:
            raise DataError(f"{recording.path.name} lasts {recording.duration:g} s", need="at least one epoch of 30 s")
        montage = Montage(recording, table, issues)
        chosen = {
            kind: self._chosen(montage, given, wanted, issues)
            for kind, given, wanted in (("eeg", self.eeg, EEG), ("eog", self.eog, EOG), ("emg", self.emg, EMG))
        }
        if chosen["eeg"] is None:
            raise DataError(
                f"{recording.path.name} has no EEG of {SLOWEST:g} or more samples a second (its channels: {_shown(recording)})",
                need="an EEG channel, as C4-M1",
                fix="name it with --eeg, or name the labels in a table with --channels",
            )
        if recording.epochs < SHORTEST:
            issues.add(
                f"the recording lasts {recording.duration / 60:.1f} minutes", "staged all the same; five are the least for YASA", epochs=ALL
            )
        signals = {kind: signal for kind, (signal, _) in ((k, c) for k, c in chosen.items() if c is not None)}
        issues.add(
            f"staged by YASA {yasa.__version__}", ", ".join(f"{k.upper()} {s.source}" for k, s in signals.items()), kind=NOTE, epochs=ALL
        )
        p = _predict(yasa, mne, signals, recording.epochs, issues)
        eeg = chosen["eeg"][1]
        lost = eeg.by_kind["lost"][: len(p)]
        p[: len(lost)][lost] = np.nan
        stages = np.where(np.isnan(p).any(axis=1), UNSCORED, np.nan_to_num(p).argmax(axis=1))
        return Hypnogram(stages, EPOCH, recording.clock, p, f"YASA {yasa.__version__}")

    def _chosen(self, montage: Montage, given: str | None, wanted: tuple[str, ...], issues: Issues) -> tuple[Signal, Quality] | None:
        """Return the signal with the fewest bad epochs, the first of those as good; every bad one gets an issue."""
        if given is not None:
            signal = montage.labelled(given)
            if signal.rate <= SLOWEST:
                raise DataError(f"{given!r} has {signal.rate:g} samples a second", need=f"more than {SLOWEST:g}")
            quality = assess(signal)
            report([quality], issues)
            return signal, quality
        found = candidates(montage, wanted, SLOWEST)
        report([quality for _, quality in found], issues)
        if not found:
            return None
        best = min(found, key=lambda one: _rank(*one))  # the first of those as good
        montage.signal(best[0].name)
        return best


def of_files(place: Path | str, *, scheme: str = "auto", doubled: Collection[str] = ()) -> Engine:
    """Return an engine that reads another program's hypnograms: one file, or in a folder the file with the recording's stem.

    Args:
        place: a file, or a folder.
        scheme: what numbers of stages mean.
        doubled: stems that several recordings have; a hypnogram of that name can be of one alone.
    """
    place = Path(place)

    def read(recording: Recording, table: Mapping[str, str], issues: Issues) -> Hypnogram:
        path = place if place.is_file() else beside(recording.path, place) or _staged(recording.path, place)
        if recording.path.stem in doubled:
            raise DataError(
                f"several recordings are called {recording.path.stem}, and one hypnogram can be of one alone",
                need="another name for each",
                fix="rename them, or work on each folder by itself",
            )
        if path is None:
            raise DataError(
                f"{place} has no hypnogram for {recording.path.name}", need=f"{recording.path.stem}.csv, .tsv, .txt, .json or .edf"
            )
        night = read_hypnogram(path, scheme=scheme, issues=issues)
        return fitted(night, recording, path.name, issues)

    return read


def of_images(answer: Callable[[Path], pl.DataFrame], name: str, log: Record) -> Engine:
    """Return an engine that draws epochs as the challenge does and lets somebody answer the images, as a pipeline of ours.

    Args:
        answer: gets a CSV table (epoch, path, exam, position, progress, epochs) of a night's images, and returns for each epoch its id, the
            stage and ``p_Wake`` ….
        name: of who answers, for messages.
        log: told of progress.
    """

    def engine(recording: Recording, table: Mapping[str, str], issues: Issues) -> Hypnogram:
        prepared = render.prepare(recording, table, issues)
        with tempfile.TemporaryDirectory() as folder:
            how, place = (480, render.TRACES), Path(folder) / "night"
            many = render.write(place, prepared, how, (1, None), log.share("drawing"), texts=render.NO_TEXTS)
            number = range(1, many + 1)
            paths, ids = [f"night/night_{i:04d}.png" for i in number], [f"{i:09d}" for i in number]
            rows = in_the_night(pl.DataFrame({"epoch": ids, "path": paths, "exam": "night", "position": [float(i) for i in number]}))
            found = answer(files.write_csv(Path(folder) / "night.csv", rows))
        lacking = [stage for stage in STAGES if f"p_{stage}" not in found.columns]
        if lacking or len(found) != many:
            lacks = f" (it lacks {', '.join(lacking)})" if lacking else ""
            raise UserError(f"{name} does not answer with the stages {', '.join(STAGES)} for each epoch{lacks}")
        found = found.sort(found.columns[0])  # the row ids are numbers of one length, in the order of time
        p = found.select([f"p_{stage}" for stage in STAGES]).to_numpy().astype(np.float64)
        decided = next(column for column in found.columns[1:] if column != "status" and not column.startswith("p_"))
        stages = [STAGES.index(label) if label in STAGES else UNSCORED for label in found[decided].to_list()]
        return Hypnogram(np.array(stages), EPOCH, recording.clock, p, "pipeline")

    return engine


def _staged(recording: Path, folder: Path) -> Path | None:
    """Return the hypnogram that ``tapetum sleep stage`` wrote of a recording: in its folder within ``folder``, or ``folder`` itself."""
    places = (folder / recording.stem, folder) if folder.name == recording.stem else (folder / recording.stem,)
    return next((path for place in places if (path := place / STAGED).is_file()), None)


def fitted(night: Hypnogram, recording: Recording, name: str, issues: Issues) -> Hypnogram:
    """Return a hypnogram as long as a recording; what lacks is unscored, what reaches beyond is left out.

    Raises:
        DataError: epochs of another length, or a night of quite another length.
    """
    count = recording.epochs
    if night.epoch != EPOCH:
        raise DataError(f"{name} has epochs of {night.epoch:g} s", need="epochs of 30 s")
    night = _at_its_time(night, recording, issues)
    if abs(len(night) - count) > max(2, 0.1 * count):
        raise DataError(
            f"{name} has {plural(len(night), 'epoch')}, {recording.path.name} has {count}",
            need="a hypnogram of this recording",
            fix="check the names of the files",
        )
    night = lit(night, lambda: lights_of(recording.annotations, recording.duration, issues))
    if len(night) == count:
        return dataclasses.replace(night, clock=recording.clock)
    issues.add(
        f"the hypnogram has {plural(len(night), 'epoch')}, the recording {count}",
        "both begin together",
        epochs=spans(np.arange(count) >= len(night)),
    )
    stages = np.full(count, UNSCORED, dtype=np.int8)
    stages[: len(night)] = night.stages[:count]
    p = None
    if night.p is not None:
        p = np.full((count, len(STAGES)), np.nan)
        p[: len(night)] = night.p[:count]
    return dataclasses.replace(night, stages=stages, p=p, clock=recording.clock)


def _at_its_time(night: Hypnogram, recording: Recording, issues: Issues) -> Hypnogram:
    """Return a hypnogram from the start of a recording on, where both say at what time of day they begin; midnight says nothing."""
    clocks = (night.clock, recording.clock)
    if any(clock is None or clock == datetime.time(0) for clock in clocks):
        return night
    of_night, of_recording = (clock.hour * 3600 + clock.minute * 60 + clock.second for clock in clocks if clock is not None)
    apart = (of_night - of_recording + DAY / 2) % DAY - DAY / 2
    moved = round(apart / EPOCH)
    if not moved:
        return night
    what = f"the hypnogram begins at {night.clock}, the recording at {recording.clock}"
    if moved >= recording.epochs or -moved >= len(night):
        issues.add(what, "both are taken to begin together", epochs=ALL)
        return night
    issues.add(what, f"its epochs are {abs(moved)} {'later' if moved > 0 else 'earlier'}", epochs=ALL)
    front = max(moved, 0)
    stages = np.concatenate([np.full(front, UNSCORED, dtype=np.int8), night.stages[max(-moved, 0) :]])
    p = None if night.p is None else np.concatenate([np.full((front, len(STAGES)), np.nan), night.p[max(-moved, 0) :]])
    lights = Lights(*(None if time is None else time + moved * EPOCH for time in (night.lights.off, night.lights.on)))
    return dataclasses.replace(night, stages=stages, p=p, lights=lights, clock=recording.clock)


def _rank(signal: Signal, quality: Quality) -> tuple[bool, float]:
    """Return what is less for the better signal: a known unit first, then few bad epochs; one that is bad in half of them is last."""
    return (quality.share >= 0.5 or signal.unit != "uV", round(quality.share, 3))


def _predict(yasa: Any, mne: Any, signals: Mapping[str, Signal], count: int, issues: Issues) -> np.ndarray:
    rate = signals["eeg"].rate
    values = [_microvolts(signal, rate, issues) for signal in signals.values()]
    length = min(len(one) for one in values)
    raw = mne.io.RawArray(
        np.stack([one[:length] for one in values]) * 1e-6, mne.create_info(list(signals), rate, list(signals)), verbose="error"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        staged = yasa.SleepStaging(raw, eeg_name="eeg", **{f"{kind}_name": kind for kind in ("eog", "emg") if kind in signals}).predict()
    order = [_YASA[str(name)] for name in staged.proba.columns]
    p = np.full((count, len(STAGES)), np.nan)
    found = staged.proba.to_numpy(dtype=np.float64)[:count]
    p[: len(found), order] = found
    return p


def _microvolts(signal: Signal, rate: float, issues: Issues) -> np.ndarray:
    """Return values in µV at a rate, gaps filled with 0; a signal of no known unit is brought to the deviation that is usual."""
    values = np.nan_to_num(signal.values)
    if signal.unit != "uV":
        size = round(EPOCH * signal.rate)
        parts = values[: len(values) // size * size].reshape(-1, size)
        usual = float(np.median(parts.std(axis=1))) if len(parts) else 0.0
        issues.add("the unit is not known", f"scaled to a deviation of {USUAL:g} µV for YASA", signal=signal.source, epochs=ALL)
        values = values * np.float32(USUAL / usual if usual > 0 else 1.0)
    if signal.rate == rate:
        return values
    from scipy.signal import resample

    return np.asarray(resample(values, round(len(values) * rate / signal.rate)), dtype=np.float32)


def _shown(recording: Recording) -> str:
    return ", ".join(f"{one.name} ({one.rate:g} Hz)" for one in list(recording.channels.values())[:20])


def _libraries() -> tuple[Any, Any]:
    extras.need("sleep", "the default engine", "yasa", "mne")
    import mne
    import yasa

    mne.set_log_level("error")
    return yasa, mne
