"""Functions of the sleep laboratory: recordings and hypnograms in, issue tables, statistics, comparisons and other formats out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tapetum.api.outputs import writes
from tapetum.api.results import Result
from tapetum.core.errors import for_python
from tapetum.core.own_files import refuse_own
from tapetum.core.progress import Log
from tapetum.core.runs import Record

Places = Path | str | Sequence[Path | str]


@for_python
@writes(out="file")
def sleep_check(recordings: Places, out: Path | str | None = None, *, channels: Path | str | None = None, log: Log | None = None) -> Result:
    """Read recordings and say what is wrong with their files and their signals.

    Args:
        recordings: EDF or BDF files, or folders of them.
        out: a .csv file for the issue table; None writes nothing.
        channels: a CSV table (label, name) laid over the package's own, so that electrodes are known.
        log: told of files that are refused.

    Returns:
        ``{"nights", "issues", "refused", "out"}``: duration, channels and segments of each recording; the rows of the issue table; how many
        files are refused.
    """
    from tapetum.sleep import exports, names, nights, quality
    from tapetum.sleep.edf import Recording, read_edf
    from tapetum.sleep.hypnogram_files import RECORDINGS
    from tapetum.sleep.issues import table

    record = Record(log)
    known = names.load(channels)

    def work(path: Path) -> Recording:
        recording = read_edf(path)
        quality.examine(recording, known, recording.issues)
        return recording

    paths = nights.find(recordings, RECORDINGS)
    called = nights.called(paths)
    read, refused = nights.each(paths, work, record)
    issues = [one for path, night in read.items() for one in nights.named(night.issues, called[path])] + refused
    found = [
        {
            "file": str(path),
            "hours": round(night.duration / 3600, 3),
            "epochs": night.epochs,
            "channels": {name: {"unit": one.unit, "rate": one.rate} for name, one in night.channels.items()},
            "segments": [list(one) for one in night.segments],
        }
        for path, night in read.items()
    ]
    if out is not None:
        exports.write_issues(out, issues)
    rows = table(issues).to_dicts()
    values = {"nights": found, "issues": rows, "refused": len(refused), "out": None if out is None else str(out)}
    return Result(values, rows=rows, path=out)


@for_python
@writes(out="file")
def sleep_stats(
    hypnograms: Places,
    out: Path | str | None = None,
    *,
    lights_off: float | None = None,
    lights_on: float | None = None,
    epoch: float = 30.0,
    scheme: str = "auto",
    log: Log | None = None,
) -> Result:
    """Return the statistics of hypnograms by the AASM's definitions.

    Args:
        hypnograms: EDF+ with annotations, CSV, TSV, text or JSON files, or folders of them.
        out: a .csv file, a row a night; None writes nothing.
        lights_off: seconds from the start of the hypnogram; None: as its annotations say, else the start.
        lights_on: likewise; else the end.
        epoch: seconds of an epoch, where the file does not tell.
        scheme: what the numbers 4 and 5 mean: ``auto``, ``aasm`` or ``rk``.
        log: told of files that are refused.

    Returns:
        ``{"nights", "issues", "refused", "definitions", "out"}``: a row a night; the issue table; what each figure is.
    """
    from tapetum.sleep import exports, nights
    from tapetum.sleep.hypnogram_files import read_hypnogram
    from tapetum.sleep.issues import Issues, table
    from tapetum.sleep.statistics import DEFINITIONS, night_of, statistics

    record = Record(log)
    issues: list[Any] = []

    refuse_own(out, *([hypnograms] if isinstance(hypnograms, (str, Path)) else hypnograms))
    paths = nights.hypnograms(hypnograms)
    called = nights.called(paths)

    def work(path: Path) -> dict[str, Any]:
        found = Issues(path.name)
        night = read_hypnogram(path, epoch=epoch, scheme=scheme, issues=found)
        issues.extend(nights.named(found, called[path]))
        lights, said = night_of(night, lights_off, lights_on)
        return {"file": called[path], **said, **statistics(night, lights)}

    read, refused = nights.each(paths, work, record)
    rows = list(read.values())
    if out is not None:
        exports.write_statistics(out, rows)
    values = {
        "nights": rows,
        "issues": table([*issues, *refused]).to_dicts(),
        "refused": len(refused),
        "definitions": DEFINITIONS,
        "out": None if out is None else str(out),
    }
    return Result(values, rows=rows, path=out)


@for_python
@writes(out="file")
def sleep_export(hypnogram: Path | str, out: Path | str, *, epoch: float = 30.0, scheme: str = "auto", log: Log | None = None) -> Result:
    """Write a hypnogram as another kind of file, by its ending: .csv, .tsv (BIDS), .json or .edf (EDF+ annotations).

    Args:
        hypnogram: as for :func:`sleep_stats`, one file.
        out: the file to write.
        epoch: as for :func:`sleep_stats`.
        scheme: as for :func:`sleep_stats`.
        log: told what was assumed.

    Returns:
        ``{"epochs", "out"}``.
    """
    from tapetum.sleep import exports
    from tapetum.sleep.hypnogram_files import read_hypnogram
    from tapetum.sleep.issues import Issues

    record = Record(log)
    refuse_own(out, hypnogram)
    issues = Issues(Path(hypnogram).name)
    night = read_hypnogram(hypnogram, epoch=epoch, scheme=scheme, issues=issues)
    for one in issues:
        record(f"{one.file}: {one.what}: {one.assumed}")
    exports.export(night, out)
    return Result({"epochs": len(night), "out": str(out)}, path=out)


@for_python
def sleep_compare(a: Path | str, b: Path | str, *, epoch: float = 30.0, scheme: str = "auto", log: Log | None = None) -> Result:
    """Compare two hypnograms of the same night: accuracy, kappa, kappa of each stage, confusion, differences of the statistics.

    Args:
        a: as for :func:`sleep_stats`, one file.
        b: the other scorer's.
        epoch: as for :func:`sleep_stats`.
        scheme: as for :func:`sleep_stats`.
        log: told what was assumed.

    Returns:
        ``{"epochs", "accuracy", "kappa", "by_stage", "confusion", "stages", "differences"}``; ``differences`` is b − a of each statistic.
    """
    from tapetum.sleep.agreement import agreement
    from tapetum.sleep.hypnogram_files import read_hypnogram
    from tapetum.sleep.issues import Issues
    from tapetum.sleep.stages import STAGES
    from tapetum.sleep.statistics import of_both

    record = Record(log)
    nights = []
    for path in (a, b):
        issues = Issues(Path(path).name)
        nights.append(read_hypnogram(path, epoch=epoch, scheme=scheme, issues=issues))
        for one in issues:
            record(f"{one.file}: {one.what}: {one.assumed}")
    of_a, of_b = of_both(*nights)
    apart = {name: None if of_a[name] is None or of_b[name] is None else round(of_b[name] - of_a[name], 4) for name in of_a}
    return Result({**agreement(*nights), "stages": list(STAGES), "differences": apart})


@for_python
@writes(out="file")
def sleep_plot(
    hypnograms: Sequence[Path | str], out: Path | str, *, epoch: float = 30.0, scheme: str = "auto", log: Log | None = None
) -> Result:
    """Draw a hypnogram with its probabilities, or two scorers' agreement.

    Args:
        hypnograms: one; or two of the same night, or two folders whose files have the same names.
        out: a .png or .svg file.
        epoch: as for :func:`sleep_stats`.
        scheme: as for :func:`sleep_stats`.
        log: told what was assumed.

    Returns:
        ``{"nights", "out"}``.
    """
    from tapetum.sleep import plots, scored

    record = Record(log)
    refuse_own(out, *hypnograms)
    read = scored.reader(epoch, scheme, record)
    if len(hypnograms) == 1:
        night = read(Path(hypnograms[0]))
        plots.night_figure(out, night, title=night.scorer)
        return Result({"nights": 1, "out": str(out)}, path=out)
    pairs = scored.pairs([Path(one) for one in hypnograms], read)
    plots.agreement_figure(out, pairs)
    return Result({"nights": len(pairs), "out": str(out)}, path=out)
