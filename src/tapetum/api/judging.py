"""Functions that decide and compare: of runs, or of predictions of any framework; and those that report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tapetum.api.outputs import writes
from tapetum.api.recipe import load_recipe
from tapetum.api.results import Result, of_run
from tapetum.core import files, locks
from tapetum.core.errors import UserError, for_python
from tapetum.core.options import several
from tapetum.core.places import refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.runs import Record, Run


@for_python
@writes(out="folder")
def decide(
    source: Path | str | Sequence[Path | str],
    *,
    manifest: Path | str | None = None,
    target: str | None = None,
    out: Path | str | None = None,
    sets: str | Sequence[str] = (),
    classes: Sequence[str] | None = None,
    strict: bool = False,
    data: Path | str | None = None,
    log: Log | None = None,
) -> Result:
    """Decide a run again, or anybody's predictions over a manifest; every step is cross-fitted.

    Args:
        source: a run; or files of predictions (``.parquet``, ``.csv``, ``.npy`` with ``.ids.txt``), a member each.
        manifest: for files: truth, folds, groups (``tapetum split … -o manifest.parquet`` makes one).
        target: for files: which target.
        out: for files: the folder to write.
        sets: ``decide.key=value``.
        classes: for arrays: the order of their columns.
        strict: refuse where a member lacks rows that another holds.
        data: of a run: where its data are now, if they moved.
        log: told the notes.
    """
    places = [Path(place) for place in several(source)]
    refuse_nowhere(*several(source), manifest, data)
    if len(places) == 1 and places[0].is_dir():
        run = Run.existing(places[0])
        locks.refuse_held(run.root)
        from tapetum.workflow.commands.decide import decide_again

        return of_run(decide_again(run.root, several(sets), data=data, log=log))
    if data is not None:
        raise UserError("--data was given with predictions from files", need="a run, whose data moved")
    if manifest is None or out is None:
        raise UserError("predictions from files need a manifest and a place to write", fix="give --manifest M and -o FOLDER")
    from tapetum.workflow.commands.decide import decide_tables, manifest_of

    settings = load_recipe(sets=sets).recipe
    table = manifest_of(Path(manifest), target, Record(log))
    name = table.targets[0].name if target is None or Path(manifest).suffix.lower() != ".parquet" else target
    members = _members(places)
    how: dict[str, Any] = {"classes": None if classes is None else several(classes), "strict": strict}
    found = decide_tables(members, table, name, settings.decide, Path(out), Record(log), **how)
    return Result(found, rows=files.read_json(Path(out) / "metrics.json")["leaderboard"], path=out)


def _members(places: Sequence[Path]) -> dict[str, Path]:
    """Return member → file: the file's name without its ending, or its whole path where several files have that name."""
    stems = [place.stem for place in places]
    found = {place.stem if stems.count(place.stem) == 1 else place.as_posix(): place for place in places}
    if len(found) < len(places):
        raise UserError("a file of predictions is given twice", need="each member once", fix="leave one of the two out")
    return found


@for_python
def compare(
    sources: Mapping[str, Path | str] | Sequence[Path | str],
    *,
    metric: str = "auto",
    target: str | None = None,
    manifest: Path | str | None = None,
    reference: str | None = None,
) -> Result:
    """Compare runs or Predictions files pair by pair; see :func:`tapetum.workflow.commands.compare.compare_sources`.

    Args:
        sources: two or more; a mapping gives them names.
        metric: its name; ``auto`` for the target's default.
        target: which one, where there are several.
        manifest: for the groups, where the sources are files.
        reference: the name of the one that all are compared with; None: every pair.
    """
    named = sources if isinstance(sources, Mapping) else {Path(place).as_posix(): place for place in several(sources)}
    refuse_nowhere(*named.values(), manifest)
    places = {name: Path(place) for name, place in named.items()}
    for place in places.values():
        if place.is_dir():
            Run.finished(place)
    from tapetum.workflow.commands.compare import compare_sources

    where = None if manifest is None else Path(manifest)
    found = compare_sources(places, metric=metric, target=target, manifest=where, reference=reference)
    return Result(found, rows=found["pairs"])


@for_python
@writes(run="folder")
def compare_views(run: Path | str, views: str = "recipe", *, data: Path | str | None = None, log: Log | None = None) -> Result:
    """Compare the plain image with ways of reducing test-time views on a run's held-out rows; nothing of the run changes.

    Args:
        run: with fine-tuned members.
        views: ``recipe`` for the recipe's, or the name of others, as ``dihedral``.
        data: where the run's data are now, if they moved.
        log: told what is answered.
    """
    refuse_nowhere(data)
    finished = Run.finished(run)
    from tapetum.workflow.commands.compare import compare_views as compared

    found = compared(finished, views, Record(log), data)
    return Result(found, rows=found["figures"], path=found["out"])


@for_python
def diff(first: Path | str, second: Path | str) -> Result:
    """Say what two runs do not have in common, and which of it can explain another result.

    Args:
        first: a run.
        second: another one.

    Returns:
        ``{"differences", "figures", "verdict", "table"}``; a difference has ``part`` (data, seed, recipe, plan, environment), ``key``,
        the values ``first`` and ``second``, and ``changes``: ``result``, ``rounding`` or ``nothing``.
    """
    refuse_nowhere(first, second)
    from tapetum.workflow.commands import diff as command

    found = command.diff(Run.existing(first).checked(), Run.existing(second).checked())
    return Result(found, lines=found["table"].splitlines(), rows=found["differences"])


@for_python
def leaderboard(run: Path | str, *, metric: str = "auto", target: str | None = None) -> Result:
    """Rank a run's members and decisions on common rows."""
    finished = Run.finished(run)
    from tapetum.workflow.commands.leaderboard import board_of

    found = board_of(finished, metric=metric, target=target)
    return Result(found, rows=found["leaderboard"])


@for_python
def conformal(
    run: Path | str, *, coverage: float = 0.9, method: str = "lac", by_class: bool = False, target: str | None = None, review: int = 100
) -> Result:
    """Write a run's conformal sets, calibration and review list; see :func:`tapetum.workflow.commands.conformal.sets_of`."""
    finished = Run.finished(run)
    from tapetum.workflow.commands.conformal import sets_of

    found = sets_of(finished, coverage=coverage, method=method, by_class=by_class, target=target, most=review)
    rows = [{"class": name, **one} for name, one in found["classes"].items()]
    return Result(
        found,
        lines=[f"coverage {found['coverage']['value']:.3f}, {found['size']:.2f} classes on average"],
        rows=rows,
        path=found["conformal"],
    )


@for_python
def ledger(run: Path | str, *, score: tuple[str, float] | None = None, board: str = "outside") -> Result:
    """Return a run's submissions; enter an outside score first where ``score = (file or hash, value)`` is given."""
    existing = Run.existing(run)
    from tapetum.workflow.commands.ledger import ledger_of

    found = ledger_of(existing, score=score, board=board)
    return Result(found, rows=found["submissions"])


@for_python
@writes(out="file")
def report(
    run: Path | str,
    out: Path | str | None = None,
    *,
    data: Path | str | None = None,
    others: Path | str | Sequence[Path | str] = (),
) -> str:
    """Write a run's report again, or a page that compares it with other runs; return its path.

    Args:
        run: its folder.
        out: the HTML file; None: ``report.html`` in the run, and ``comparison.html`` beside the run where there are others.
        data: where the run's data are now, if they moved.
        others: runs that are compared with this one.
    """
    places = [Path(place) for place in (run, *several(others))]
    refuse_nowhere(*places, data)
    _check_page(out, "a report")
    if len(places) > 1:
        return str(_comparison(places, out, data))
    existing = Run.existing(places[0])
    from tapetum.show.report import write_report

    return str(write_report(existing.root, None if out is None else Path(out), data=None if data is None else Path(data)))


def _check_page(out: Path | str | None, what: str) -> None:
    """Refuse to write a page to a file that is called otherwise, as the metrics of a run are."""
    if out is not None and not Path(out).is_dir() and Path(out).suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{what} cannot be written as {Path(out).suffix or 'a file without suffix'}", need=".html")


def _comparison(places: Sequence[Path], out: Path | str | None, data: Path | str | None) -> Path:
    """Write the page that compares runs."""
    if data is not None:
        raise UserError("--data was given with several runs", need="one run, whose images are shown; a comparison reads none")
    named = {place.as_posix(): Run.finished(place) for place in places}
    if len(named) < len(places):
        raise UserError("a run is given twice", need="each run once", fix="leave one of the two out")
    from tapetum.show.comparison import write_comparison
    from tapetum.show.run_files import read_run
    from tapetum.workflow.commands.diff import differences

    first, *others = named
    changed: dict[tuple[str, str], dict[str, Any]] = {}
    for name in others:
        for one in differences(named[first], named[name]):
            line = changed.setdefault((one.part, one.key), {"part": one.part, "key": one.key, "changes": one.changes, "values": {}})
            line["values"] |= {first: one.first, name: one.second}
    order = ("result", "rounding", "nothing")
    lines = sorted(changed.values(), key=lambda line: order.index(line["changes"]))
    place = Path(out) if out is not None else places[0].resolve().parent / "comparison.html"
    return write_comparison({name: read_run(run.root) for name, run in named.items()}, place, lines)


@for_python
@writes(out="file")
def list_runs(folder: Path | str = "runs", out: Path | str | None = None, *, log: Log | None = None) -> Result:
    """Return an index of the runs in a folder and those below it, the newest first; written as an HTML page where ``out`` is given.

    Args:
        folder: where the runs are.
        out: an HTML file.
        log: told which folders cannot be read.

    Returns:
        ``{"runs", "out", "table"}``; a run has ``run`` (its path), ``state``, ``recipe``, ``targets``, ``metric``, ``value``, ``low``,
        ``high``, ``n``, ``groups``, ``how``, ``marks``, ``started`` and ``seconds``.
    """
    refuse_nowhere(folder)
    _check_page(out, "an index")
    from tapetum.show import index

    lines = index.lines_of(Path(folder), Record(log))
    written = None if out is None else str(index.write_index(lines, Path(folder), Path(out)))
    return Result({"runs": lines, "out": written, "table": index.text_of(lines)}, rows=lines, path=written)


def doctor() -> dict[str, Any]:
    """Return devices, precisions, versions and which weights are at hand."""
    from tapetum.learn.doctor import doctor as look

    return look()
