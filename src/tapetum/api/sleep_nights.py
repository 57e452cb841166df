"""Functions of the sleep laboratory that work on recordings: stage and review them, adapt a scorer to the laboratory, draw epochs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tapetum.api.outputs import writes
from tapetum.api.results import Result
from tapetum.core import files
from tapetum.core.errors import for_python
from tapetum.core.own_files import refuse_own
from tapetum.core.progress import Log
from tapetum.core.runs import Record
from tapetum.core.words import plural, verb

Places = Path | str | Sequence[Path | str]


@for_python
@writes(out="folder")
def sleep_stage(
    recordings: Places,
    out: Path | str,
    *,
    engine: str | Path = "yasa",
    adapted: Path | str | None = None,
    channels: Path | str | None = None,
    eeg: str | None = None,
    eog: str | None = None,
    emg: str | None = None,
    lights_off: float | None = None,
    lights_on: float | None = None,
    scheme: str = "auto",
    log: Log | None = None,
) -> Result:
    """Stage nights: hypnogram, probabilities, statistics, figure, review list and exports, a folder a night.

    Args:
        recordings: EDF or BDF files, or folders of them.
        out: a folder; each night has one in it, called as its file.
        engine: ``yasa``; the folder of a pipeline or run of ours, which sees rendered epochs; or a hypnogram of another program, or a
            folder of those with the recordings' names.
        adapted: the file that :func:`sleep_adapt` wrote.
        channels: a CSV table (label, name) laid over the package's own.
        eeg: of YASA: a label of the file (``A|B`` for A − B); None: chosen.
        eog: likewise.
        emg: likewise.
        lights_off: seconds from the start of each recording, for statistics; None: as the annotations say, else the start.
        lights_on: likewise; else the end.
        scheme: of another program's hypnograms; see :func:`sleep_stats`.
        log: told of each night, and of files that are refused.

    Returns:
        ``{"nights", "issues", "refused", "out"}``: a row of statistics a night; the issue table.
    """
    from tapetum.sleep import exports, names, nights, stage
    from tapetum.sleep.issues import table

    record = Record(log)
    known = names.load(channels)
    fitted = None if adapted is None else files.read_json(adapted)
    paths = _recordings(recordings, Path(out), record)
    called, folders = nights.called(paths), _folders(paths, Path(out), lambda name: name in stage.WRITTEN)
    chosen = _engine(engine, {"eeg": eeg, "eog": eog, "emg": emg}, scheme, record, paths)
    issues: list[Any] = []

    def work(path: Path) -> dict[str, Any]:
        staged = stage.stage(path, chosen, known, fitted)
        figures = stage.write(folders[path], staged, lights_off=lights_off, lights_on=lights_on)
        issues.extend(nights.named(staged.recording.issues, called[path]))
        record(f"{called[path]}: {plural(len(staged.night), 'epoch')}, TST {figures['TST']:.0f} min, written to {folders[path]}")
        return {"file": called[path], **figures}

    made, refused = nights.each(paths, work, record)
    rows = list(made.values())
    exports.write_issues(Path(out) / "issues.csv", [*issues, *refused])
    exports.write_statistics(Path(out) / "statistics.csv", rows)
    values = {"nights": rows, "issues": table([*issues, *refused]).to_dicts(), "refused": len(refused), "out": str(out)}
    return Result(values, rows=rows, path=out)


@for_python
@writes(out="file")
def sleep_adapt(
    folder: Path | str,
    out: Path | str,
    *,
    engine: str | Path = "yasa",
    subjects: Path | str | None = None,
    channels: Path | str | None = None,
    scheme: str = "auto",
    log: Log | None = None,
) -> Result:
    """Fit calibration and context on scored nights, and report what they gain, cross-validated by subject.

    Args:
        folder: recordings, each with its hypnogram: a file of the same stem beside it (``night.csv``, ``night-hypnogram.edf``), or its own
            annotations.
        out: the .json file for :func:`sleep_stage`.
        engine: as for :func:`sleep_stage`.
        subjects: a CSV table (night, subject); None: each night is of another subject.
        channels: as for :func:`sleep_stage`.
        scheme: as for :func:`sleep_stats`.
        log: told of each night.

    Returns:
        what :func:`tapetum.sleep.adapt.adapt` returns, without the fitted values, and ``refused``, ``issues``, ``out``.
    """
    from tapetum.sleep import adapt, names, nights, scored
    from tapetum.sleep.edf import read_edf
    from tapetum.sleep.issues import table

    record = Record(log)
    known = names.load(channels)
    of_night = scored.subjects(subjects)
    paths = _recordings(folder, Path(out), record)
    called, chosen = nights.called(paths), _engine(engine, {}, scheme, record, paths)
    issues: list[Any] = []

    def work(path: Path) -> tuple[str, str, Any, Any]:
        recording = read_edf(path)
        truth = scored.truth_of(recording, scheme, recording.issues)
        answer = chosen(recording, known, recording.issues)
        issues.extend(nights.named(recording.issues, called[path]))
        record(f"{called[path]}: {plural(len(answer), 'epoch')} staged, {int((truth.stages >= 0).sum())} scored by the laboratory")
        return called[path], of_night(path), answer, truth

    made, refused = nights.each(paths, work, record)
    if subjects is None:
        record("each night is taken for one of another subject; name them with --subjects if that is not so")
    found = adapt.adapt(list(made.values()))
    files.write_json(out, found)
    values = {key: value for key, value in found.items() if key != "fitted"}
    return Result({**values, "refused": len(refused), "issues": table([*issues, *refused]).to_dicts(), "out": str(out)}, path=out)


@for_python
@writes(out="file")
def sleep_review(
    recording: Path | str,
    out: Path | str,
    *,
    stages: Places = (),
    decisions: Path | str | None = None,
    channels: Path | str | None = None,
    scheme: str = "auto",
    port: int = 0,
    export: bool = False,
    log: Log | None = None,
    ready: Callable[[str], object] | None = None,
) -> Result:
    """Serve a page on which a scorer decides the stages of a night by keys; when it is stopped (Ctrl-C), write the corrected hypnogram.

    Args:
        recording: an EDF or BDF file.
        out: the corrected hypnogram: ``.csv``, ``.tsv`` (BIDS), ``.json`` or ``.edf``. Beside it, ``NAME-changes.csv``: a row a decision.
        stages: hypnograms of the recording, or folders that hold it, as :func:`sleep_stage` writes them; the first is reviewed, the others
            are further scorers. Empty: the hypnogram beside the recording, or its own annotations.
        decisions: the SQLite file that keeps each decision at once; None: ``NAME-review.sqlite`` beside ``out``.
        channels: as for :func:`sleep_stage`.
        scheme: as for :func:`sleep_stats`.
        port: to listen at on this machine; 0: any that is free.
        export: only write what was decided before.
        log: told the page's address.
        ready: called with the address when the page can be opened.

    Returns:
        ``{"out", "changes", "decisions", "epochs", "listed", "decided", "confirmed", "changed", "unscored", "before", "after", "issues"}``:
        the files; how many epochs; statistics before and after.
    """
    from tapetum.core.places import refuse_nowhere
    from tapetum.sleep import exports, names
    from tapetum.sleep.issues import table
    from tapetum.workflow.commands.review_night import Reviewing, review_night

    given = [Path(one) for one in ([stages] if isinstance(stages, (str, Path)) else stages)]
    refuse_nowhere(recording, *given)
    exports.refuse_ending(out)
    refuse_own(out, recording, *given)
    kept = None if decisions is None else Path(decisions)
    how = Reviewing(given, names.load(channels), scheme, kept, port, not export)
    found, issues = review_night(Path(recording), Path(out), how, Record(log), ready)
    return Result({**found, "issues": table(issues).to_dicts()}, path=out)


@for_python
@writes(out="folder")
def sleep_render(
    recordings: Places,
    out: Path | str,
    *,
    width: int = 1920,
    how: str = "traces",
    first: int = 1,
    last: int | None = None,
    mains: float | None = None,
    channels: Path | str | None = None,
    log: Log | None = None,
) -> Result:
    """Draw epochs as images in the challenge's geometry, a folder a night.

    Args:
        recordings: EDF or BDF files, or folders of them.
        out: a folder; images are ``NIGHT/NIGHT_0001.png`` …, and ``NIGHT/bands.json`` says what is drawn where.
        width: in pixels; the height is 9/16 of it.
        how: ``traces`` or ``spectra``.
        first: the first epoch, from 1.
        last: the last epoch; None: all.
        mains: 50 or 60 Hz; None: found in the signals.
        channels: as for :func:`sleep_stage`.
        log: told of progress.

    Returns:
        ``{"nights", "images", "issues", "refused", "out"}``.
    """
    from tapetum.sleep import exports, names, nights, render
    from tapetum.sleep.edf import read_edf
    from tapetum.sleep.issues import table

    record = Record(log)
    known = names.load(channels)
    paths = _recordings(recordings, Path(out), record)
    called, folders = nights.called(paths), _folders(paths, Path(out), render.is_written)
    issues: list[Any] = []

    def work(path: Path) -> dict[str, Any]:
        recording = read_edf(path)
        prepared = render.prepare(recording, known, recording.issues, mains=mains)
        many = render.write(folders[path], prepared, (width, how), (first, last), record.share(f"drawing {called[path]}"))
        issues.extend(nights.named(recording.issues, called[path]))
        return {"file": called[path], "images": many, "bands": prepared.bands}

    made, refused = nights.each(paths, work, record)
    rows = list(made.values())
    exports.write_issues(Path(out) / "issues.csv", [*issues, *refused])
    values = {
        "nights": rows,
        "images": sum(row["images"] for row in rows),
        "issues": table([*issues, *refused]).to_dicts(),
        "refused": len(refused),
        "out": str(out),
    }
    return Result(values, rows=rows, path=out)


def _recordings(places: Places, out: Path, record: Record) -> list[Path]:
    """Return recordings; in folders, what was written by an earlier call and files of hypnograms alone are left out."""
    from tapetum.core.errors import UserError, listed
    from tapetum.sleep import nights, scored
    from tapetum.sleep.hypnogram_files import RECORDINGS

    found = nights.find(places, RECORDINGS)
    kept = [path for path in found if not path.resolve().is_relative_to(out.resolve())]
    named = {Path(one) for one in ([places] if isinstance(places, (str, Path)) else places)}
    alone = [path for path in kept if path not in named and scored.is_hypnogram(path)]
    if alone:
        record(
            f"{plural(len(alone), 'file is a hypnogram by its name', 'files are hypnograms by their names')} "
            f"and {verb(len(alone), 'is', 'are')} left out: {listed(path.name for path in alone)}"
        )
    left = [path for path in kept if path not in alone]
    if not left:
        raise UserError(f"there is no recording to work on ({listed(path.name for path in found)})", need="EDF or BDF files with signals")
    return left


def _folders(paths: Sequence[Path], out: Path, is_ours: Callable[[str], bool]) -> dict[Path, Path]:
    """Return a folder in ``out`` for each recording, called as its file; numbered where two are called alike.

    Raises:
        UserError: ``out`` is a file, or a folder holds something that this command does not write: it is replaced as a whole.
    """
    from tapetum.core.errors import UserError, listed

    for place in (out, *out.parents):
        if place.is_file():
            raise UserError(f"{place} is a file", need="a folder to write to", fix="choose another name with -o")
    stems = [path.stem for path in paths]
    taken, found = set(stems), {}
    for number, path in enumerate(paths):
        free = (f"{path.stem}-{n}" for n in itertools.count(2) if f"{path.stem}-{n}" not in taken)
        name = path.stem if path.stem not in stems[:number] else next(free)
        taken.add(name)
        place = found[path] = out / name
        others = sorted(one.name for one in place.iterdir() if not is_ours(one.name)) if place.is_dir() else []
        if others or place.is_file():
            what = f"{place} holds {listed(others)}, which would be lost" if others else f"{place} is a file, and would be replaced"
            raise UserError(
                what, need=f"a folder for what is made of {path.name} alone", fix="choose another name with -o, or move these files"
            )
    return found


def _engine(engine: str | Path, labels: dict[str, str | None], scheme: str, record: Record, paths: Sequence[Path]) -> Any:
    """Return the engine that a name or a place stands for, for some recordings."""
    from tapetum.core.errors import UserError, nearest
    from tapetum.core.places import PIPELINE
    from tapetum.sleep import engines

    place = Path(engine)
    if str(engine) == "yasa":
        return engines.Yasa(**labels)
    if any(labels.values()):
        raise UserError("--eeg, --eog and --emg name channels for YASA", fix="leave them out, or leave out --engine")
    if (place / PIPELINE).exists() or (place / "pipeline" / PIPELINE).exists():
        return _of_pipeline(place, record)
    if place.exists():
        if place.is_file() and len(paths) > 1:
            raise UserError(
                f"{place} is one hypnogram, and there are {plural(len(paths), 'recording')}", need="a folder with a hypnogram for each"
            )
        stems = [path.stem for path in paths]
        return engines.of_files(place, scheme=scheme, doubled={stem for stem in stems if stems.count(stem) > 1})
    raise UserError(
        f"there is no engine {str(engine)!r}.{nearest(str(engine), ['yasa'])}",
        need="yasa, the folder of a pipeline or run, or hypnograms of another program",
    )


def _of_pipeline(place: Path, record: Record) -> Any:
    """Return the engine that lets a pipeline of ours answer the images of a night."""
    from tapetum.sleep import engines

    def answer(table: Path) -> Any:
        from tapetum.api.answers import predict

        columns: dict[str, Any] = {"id": "epoch", "path": "path", "sequence": "exam", "position": "position"}
        return predict(place, table, **columns, log=record).to_polars()

    return engines.of_images(answer, str(place), record)
