"""Read hypnograms: EDF+ annotations, CSV, TSV (also BIDS events), plain text with a label a line, and JSON as written here."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.delimited import parse_delimited
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.places import refuse_nowhere
from tapetum.core.words import plural, verb
from tapetum.sleep.edf import Recording, read_edf
from tapetum.sleep.hypnogram import Hypnogram, Lights
from tapetum.sleep.issues import EPOCH, NOTE, Issues, spans
from tapetum.sleep.lights import kind_of, lights_of
from tapetum.sleep.onsets import finite, onsets_of
from tapetum.sleep.stages import SCHEMES, SHORT, STAGES, UNSCORED, stage_of, stages_of
from tapetum.sleep.tal import Annotation

RECORDINGS = (".edf", ".bdf", ".rec")
TABLES = (".csv", ".tsv", ".tab", ".txt")
STAGE_COLUMNS = (
    "stage",
    "stages",
    "sleep_stage",
    "sleep stage",
    "trial_type",
    "label",
    "hypnogram",
    "hypno",
    "score",
    "description",
    "event",
    "stade",
    "stadium",
    "schlafstadium",
    "fase",
    "estadio",
    "stadio",
)
ONSETS, DURATIONS, NUMBERS = ("onset", "start", "time", "seconds"), ("duration", "length"), ("epoch", "epochs", "epoch_index", "number")
UNSCORED_TEXTS = ("?", "unscored", "uns", "mt", "movement time")  # of annotations
LONGEST = 7 * 24 * 3600
AFTER = ("", "-hypnogram", "_hypnogram", "-Hypnogram", "_stages", ".hypnogram", "_events")  # what a scoring's name adds
STAGED = "hypnogram.json"  # of the files of a staged night, the one that holds everything


def beside(recording: Path, folder: Path) -> Path | None:
    """Return the hypnogram of a recording in a folder: a file with its stem, or with its stem and ``-hypnogram``, ``_stages`` …"""
    for after in AFTER:
        for ending in (*TABLES, ".json", ".edf"):
            path = folder / f"{recording.stem}{after}{ending}"
            if path.is_file() and path.resolve() != recording.resolve():
                return path
    return None


def staged_in(folder: Path) -> Path | None:
    """Return the hypnogram of a night's folder that ``tapetum sleep stage`` wrote; None for any other folder."""
    return folder / STAGED if (folder / STAGED).is_file() and (folder / "statistics.json").is_file() else None


def read_hypnogram(path: Path | str, *, epoch: float = EPOCH, scheme: str = "auto", issues: Issues | None = None) -> Hypnogram:
    """Read a hypnogram.

    Args:
        path: ``.edf`` or ``.bdf`` with annotations; ``.csv``, ``.tsv`` or ``.txt`` with a column of stages (and of onsets or epochs), or a
            label a line; ``.json`` as :func:`tapetum.sleep.exports.export` writes it; or the folder of a night that was staged.
        epoch: seconds of an epoch, where the file does not tell.
        scheme: what the numbers 4 and 5 mean: ``auto``, ``aasm`` or ``rk``; see :func:`tapetum.sleep.stages.stages_of`.
        issues: receives what was assumed.

    Raises:
        UserError: another kind of file.
        DataError: no stages in it, or a row that cannot be understood; the row is named.
    """
    path = Path(path)
    refuse_nowhere(path)
    if scheme not in SCHEMES:
        raise UserError(f"scheme is {scheme!r}", need=f"one of {listed(SCHEMES)}")
    if path.is_dir():
        if (inside := staged_in(path)) is None:
            raise UserError(f"{path} is a folder", need="one hypnogram", fix="name a file in it, or the folder of one staged night")
        path = inside
    issues = Issues(path.name) if issues is None else issues
    kind = path.suffix.lower()
    if kind in RECORDINGS:
        recording = read_edf(path)
        issues.rows += recording.issues.rows
        return of_annotations(recording, scheme=scheme, issues=issues)
    if kind == ".json":
        return _of_json(path)
    if kind not in TABLES:
        raise UserError(f"{path} ends in {kind!r}", need=f"a hypnogram: {listed((*RECORDINGS, *TABLES, '.json'))}")
    return _of_table(path, epoch, scheme, issues)


def of_annotations(recording: Recording, *, scheme: str = "auto", issues: Issues) -> Hypnogram:
    """Return the hypnogram that a recording's annotations are.

    A recording that holds signals gives as many epochs as it is long; a file of annotations alone, up to the last one.

    Raises:
        DataError: no annotation names a stage.
    """
    found = [one for one in recording.annotations if _is_stage(one.text)]
    if not found:
        raise DataError(
            f"{recording.path.name} has no annotation of a sleep stage ({plural(len(recording.annotations), 'annotation')} in all)",
            need="texts such as 'Sleep stage N2', 'Sleep stage 2' or 'N2'",
            fix="hand in the hypnogram as CSV",
        )
    stages = stages_of([one.text for one in found], scheme, issues)
    epoch = _epoch_of([one.duration for one in found], EPOCH)
    end = recording.duration if recording.channels else max(one.onset + (one.duration or epoch) for one in found)
    if end > LONGEST:
        raise DataError(
            f"{recording.path.name} has stages until {end:g} s, after more than a week", need="onsets in seconds from its start"
        )
    laid = _lay(found, stages, epoch, max(int(end // epoch + 1e-9), 1), issues)
    lights = lights_of(recording.annotations, end, issues)
    return Hypnogram(laid, epoch, recording.clock, scorer=recording.path.stem, lights=lights)


def _is_stage(text: str) -> bool:
    """Return whether an annotation names a stage: by name, or by number after ``Sleep stage``; other events are left alone."""
    plain, stage = text.strip().lower(), stage_of(text)
    if stage == UNSCORED and "stage" not in plain:
        return plain in UNSCORED_TEXTS  # 'movement' and 'artefact' are events
    return stage is not None or (plain.startswith(("sleep stage ", "stage ")) and plain.split()[-1].isdigit())


def _epoch_of(durations: Sequence[float | None], usual: float) -> float:
    """Return the seconds of an epoch: 30, or 20 where only that divides all durations."""
    known = [one for one in durations if one]
    if known and any(one % usual for one in known) and all(abs(one / 20 - round(one / 20)) < 1e-6 for one in known):
        return 20.0
    return usual


def _lay(found: Sequence[Annotation], stages: Sequence[int | None], epoch: float, count: int, issues: Issues) -> np.ndarray:
    """Return the stage of each epoch from annotations; what none covers is unscored."""
    out = np.full(count, UNSCORED, dtype=np.int8)
    taken, doubled = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    pairs = sorted(((one, stage) for one, stage in zip(found, stages, strict=True) if stage is not None), key=lambda pair: pair[0].onset)
    off_grid = beyond = 0
    for i, (one, stage) in enumerate(pairs):
        following = pairs[i + 1][0].onset if i + 1 < len(pairs) else one.onset + epoch
        duration = one.duration if one.duration else following - one.onset
        if not one.duration:
            issues.add("stages have no duration", "each lasts until the next one", kind=NOTE)
        if abs(one.onset / epoch - round(one.onset / epoch)) > 0.01:
            off_grid += 1
        first, last = round(one.onset / epoch), round((one.onset + duration) / epoch)
        beyond += last > count or first < 0
        span = slice(max(first, 0), max(min(last, count), 0))
        doubled[span] |= taken[span]
        out[span], taken[span] = stage, True
    if doubled.any():
        issues.add(f"stages overlap in {plural(int(doubled.sum()), 'epoch')}", "the later one holds", epochs=spans(doubled))
    if off_grid:
        issues.add(
            f"{plural(off_grid, 'stage does', 'stages do')} not begin at a whole epoch of {epoch:g} s",
            "each is moved to the nearest",
            epochs="all",
        )
    if beyond:
        issues.add(f"{plural(beyond, 'stage reaches', 'stages reach')} beyond the recording", "what lies outside is left out", kind=NOTE)
    lost = int((~taken).sum())
    if lost:
        issues.add(f"{lost} of {plural(count, 'epoch')} {verb(lost, 'has', 'have')} no stage", "they count as unscored", kind=NOTE)
    return out


def _of_table(path: Path, epoch: float, scheme: str, issues: Issues) -> Hypnogram:
    text = files.read_text(path)
    first = text.lstrip("\ufeff\r\n").split("\n", 1)[0].strip()
    if not first:
        raise DataError(f"{path} is empty", need="a stage a line, or a table with a column 'stage'")
    if all(mark not in first for mark in ",;\t|") and stages_of([first], scheme, Issues("")) != [None]:
        return Hypnogram(
            _known([line.strip() for line in text.split("\n") if line.strip()], scheme, issues, path, 1), epoch, scorer=path.stem
        )
    frame, _ = parse_delimited(text, path.name)
    if not len(frame):
        raise DataError(f"{path.name} has no row below its first, {first[:40]!r}", need="a stage a line, or a table with a column 'stage'")
    names = {name.lower(): name for name in frame.columns}
    column = next((names[name] for name in STAGE_COLUMNS if name in names), None)
    if column is None and len(frame.columns) == 1:
        column = frame.columns[0]
    if column is None:
        raise DataError(
            f"{path} has no column of stages (it has: {listed(frame.columns)}).{nearest('stage', frame.columns)}",
            need=f"one called {listed(STAGE_COLUMNS[:4])}",
        )
    labels = [cell or "?" for cell in frame[column].to_list()]
    onset = next((names[name] for name in ONSETS if name in names), None)
    number = next((names[name] for name in NUMBERS if name in names), None)
    seconds, clock = (None, None) if onset is None else onsets_of(frame[onset].to_list(), onset, issues)
    if seconds is not None:
        stages = stages_of(labels, scheme, issues)
        lasting = next((names[name] for name in DURATIONS if name in names), None)
        night = _of_events(_events(seconds, frame, lasting, labels), stages, frame, (path, epoch), issues)
        return dataclasses.replace(night, clock=clock)
    stages_here = _known(labels, scheme, issues, path, 2)
    if number is not None:
        stages_here = _in_order(frame, number, stages_here, path, issues)
    return Hypnogram(stages_here, epoch, p=_probabilities(frame, len(stages_here), path), scorer=path.stem)


def _known(labels: Sequence[str], scheme: str, issues: Issues, path: Path, line: int) -> np.ndarray:
    """Return the stages of labels, or refuse the first that is none."""
    stages = stages_of(labels, scheme, issues)
    for i, stage in enumerate(stages):
        if stage is None:
            raise DataError(
                f"{path.name} line {i + line} has the stage {labels[i]!r}.{nearest(labels[i], (*STAGES, *SHORT))}",
                need=f"one of {listed(dict.fromkeys((*SHORT, *STAGES)))}, R&K's S1 to S4, a number, or ? for unscored",
                fix="correct that line",
            )
    return np.array(stages, dtype=np.int8)


def _events(onsets: Sequence[float], frame: pl.DataFrame, duration: str | None, labels: Sequence[str]) -> list[Annotation]:
    """Return a table's rows as events."""
    lasting = [finite(cell) if cell else None for cell in frame[duration].to_list()] if duration is not None else [None] * len(onsets)
    return [Annotation(*one) for one in zip(onsets, lasting, labels, strict=True)]


def _of_events(
    rows: Sequence[Annotation], stages: Sequence[int | None], frame: pl.DataFrame, place: tuple[Path, float], issues: Issues
) -> Hypnogram:
    path, epoch = place
    kept = [(one, stage) for one, stage in zip(rows, stages, strict=True) if stage is not None]
    if not kept:
        raise DataError(f"{path.name} has no row of a sleep stage", need=f"one of {listed((*SHORT, *STAGES))}")
    left = [one for one, stage in zip(rows, stages, strict=True) if stage is None and kind_of(one.text) is None]
    if left:
        issues.add(f"{plural(len(left), 'row is', 'rows are')} other events than stages", "they are left out", kind=NOTE)
    if not any(one.duration for one in rows) and epoch == EPOCH:
        steps = np.diff(sorted(one.onset for one, _ in kept))
        epoch = 20.0 if len(steps) and float(np.median(steps)) == 20.0 else epoch
    epoch = _epoch_of([one.duration for one, _ in kept], epoch)
    end = max(one.onset + (one.duration or epoch) for one, _ in kept)
    if end > LONGEST:
        raise DataError(f"{path.name} ends at {end:g} s, after more than a week", need="onsets in seconds from the start of the recording")
    count = max(round(end / epoch), 1)
    laid = _lay([one for one, _ in kept], [stage for _, stage in kept], epoch, count, issues)
    aligned = len(kept) == count and [round(one.onset / epoch) for one, _ in kept] == list(range(count))
    p = _probabilities(frame, count, path) if aligned else None
    return Hypnogram(laid, epoch, p=p, scorer=path.stem, lights=lights_of(rows, count * epoch, issues))


def _in_order(frame: pl.DataFrame, column: str, stages: np.ndarray, path: Path, issues: Issues) -> np.ndarray:
    """Return stages in the order of the epochs' numbers; numbers that are left out are unscored."""
    numbers = []
    for line, cell in enumerate(frame[column].to_list(), start=2):
        found = None if cell is None else finite(cell)
        if found is None or found != int(found) or found < 0:
            raise DataError(f"{path.name} line {line} has {column} = {cell!r}", need="the number of an epoch, from 0 or 1 on")
        numbers.append(int(found))
    where = np.array(numbers)
    if len(set(numbers)) < len(numbers):
        twice = next(n for n in numbers if numbers.count(n) > 1)
        raise DataError(f"{path.name} has epoch {twice} twice", need="each epoch once", fix="remove one of the rows")
    base = min(1, int(where.min()))
    if where.max() - base >= LONGEST:
        raise DataError(f"{path.name} has an epoch {int(where.max())}", need="numbers of the epochs of a night")
    out = np.full(int(where.max()) - base + 1, UNSCORED, dtype=np.int8)
    out[where - base] = stages
    if len(out) > len(stages):
        issues.add(f"{plural(len(out) - len(stages), 'epoch number is', 'epoch numbers are')} left out", "these epochs count as unscored")
    return out


def _probabilities(frame: pl.DataFrame, count: int, path: Path) -> np.ndarray | None:
    """Return columns ``p_Wake`` … (T, 5) of a table that has all of them and a row an epoch."""
    lower = {name.lower(): name for name in frame.columns}
    names = [lower.get(f"p_{stage.lower()}", lower.get(f"p_{short.lower()}")) for stage, short in zip(STAGES, SHORT, strict=True)]
    if any(name is None for name in names) or len(frame) != count:
        return None
    p = np.array([[np.nan if cell is None else finite(cell) for cell in frame[str(name)].to_list()] for name in names], dtype=np.float64).T
    wrong = np.flatnonzero(~np.isnan(p).any(axis=1) & ((p < 0).any(axis=1) | (abs(p.sum(axis=1) - 1) > 0.01)))
    if len(wrong):
        raise DataError(f"{path.name} line {int(wrong[0]) + 2} has probabilities that are none", need="values from 0 to 1 of sum 1")
    return p


def _of_json(path: Path) -> Hypnogram:
    value: dict[str, Any] = files.read_json(path)
    labels = value.get("stages") if isinstance(value, dict) else None
    if not isinstance(labels, list) or not labels:
        raise DataError(f"{path.name} has no list 'stages'", need="a hypnogram as tapetum sleep export writes it")
    stages = _known([str(one) for one in labels], "auto", Issues(""), path, 1)
    clock = value.get("start")
    p = value.get("p")
    return Hypnogram(
        stages,
        float(value.get("epoch", EPOCH)),
        datetime.time.fromisoformat(clock) if isinstance(clock, str) else None,
        None if p is None else np.array([[np.nan] * len(STAGES) if row is None else row for row in p], dtype=np.float64),
        str(value.get("scorer") or path.stem),
        Lights(*(None if value.get(name) is None else float(value[name]) for name in ("lights_off", "lights_on"))),
    )
