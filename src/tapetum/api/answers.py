"""Functions that answer images with a pipeline, score the answers and submit them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from tapetum.api.outputs import writes
from tapetum.api.results import Result
from tapetum.core import locks, table_files
from tapetum.core.errors import KindError, UserError, for_python
from tapetum.core.options import OPTIONS, several
from tapetum.core.own_files import refuse_own
from tapetum.core.parts import ENDING
from tapetum.core.places import archive_of, pipeline_folder, refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.runs import Record, Run
from tapetum.core.words import plural
from tapetum.workflow.launch import places
from tapetum.workflow.launch.places import At


def _sources(images: Any) -> list[Any]:
    """Return files, folders, archives, tables and frames as a list.

    Raises:
        KindError: images at hand, or something else without a row id.
    """
    from tapetum.data.layouts import is_frame

    def alone(one: Any) -> bool:
        return isinstance(one, (str, os.PathLike)) or is_frame(one) or hasattr(one, "collect")

    listing = isinstance(images, Iterable) and not isinstance(images, (bytes, bytearray, Mapping, Set)) and not hasattr(images, "read")
    items = [images] if alone(images) or not listing else list(images)
    items = [Path(one) if isinstance(one, os.PathLike) else one for one in items]
    odd = next((one for one in items if not alone(one)), None)
    if odd is not None or "" in [one for one in items if isinstance(one, str)]:
        what = "a blank path" if odd is None else f"{type(odd).__name__} values"
        need = "files, folders, archives, tables of paths or frames of them"
        raise KindError(f"{what} cannot be predicted here", need=need, fix="images at hand: tapetum.load(PIPELINE).predict(IMAGES)")
    return items


@for_python
@writes(out="file")
def predict(
    pipeline: Any,
    images: Any,
    out: Path | str | None = None,
    *,
    top: int = 5,
    engine: str = "auto",
    on: str | None = None,
    log: Log | None = None,
    **declared: Any,
) -> Result:
    """Predict images with a frozen pipeline, and write a Predictions table (``.parquet``) or labels and probabilities (``.csv``).

    A table of many images is predicted in parts (``OUT.parts``); the same call goes on where an earlier one was killed.

    Args:
        pipeline: its folder, a run, what :func:`tapetum.load` returned, or a folder that :func:`tapetum.api.export` wrote.
        images: files, folders, archives, tables of paths, polars or pandas frames, or one of them.
        out: the file to write; None returns the answers.
        top: without ``out``: the most classes listed for a row.
        engine: what computes: ``auto`` (the fastest that gives the labels of torch, where it saves time), ``torch`` (the reference),
            ``onnx`` or ``openvino``. An export computes in its own format.
        on: with ``out``: where the rows are predicted, some 50,000 a task; see :func:`fit`.
        log: told how the images are read, of progress, and which cannot be read.
        declared: ``path``, ``id``, ``group``, ``sequence`` and ``position`` name columns of the table (``path`` also a template),
            ``layout`` says how the data are laid out, and ``on_bad = "refuse"`` refuses images that cannot be read.

    Returns:
        ``{"rows", "missing"}``, with ``out`` or with ``answers`` (:func:`tapetum.core.answers.entries`) and ``table`` (their text).

    Raises:
        DataError: images that cannot be read, under ``on_bad = "refuse"``.
    """
    place = None if out is None else Path(out)
    if place is not None:
        table_files.ending(place)
        refuse_own(place, pipeline)
        locks.refuse_held(place.with_name(place.name + ENDING))
    if not isinstance(top, int) or top < 1:
        raise UserError(f"top is {top!r}", need="how many classes to list, 1 or more")
    from tapetum.learn import sessions

    sessions.check(engine)
    record, at = Record(log), At(on)
    places.check(at)
    if place is None and on not in (None, "local"):
        raise UserError(f"--on {on} was given without a table to write", need="a place that all machines see: -o predictions.parquet")
    sources = _sources(images)
    refuse_own(place, *sources)
    refuse_nowhere(*(archive_of(Path(one)) or one if isinstance(one, (str, os.PathLike)) and one else one for one in sources))
    loaded = loaded_from(pipeline)
    from tapetum.workflow.commands import predict as prediction

    manifest = loaded.read(sources, record, **_columns(declared))
    work = prediction.Work(loaded.for_rows(manifest, engine, record), manifest, record)
    refuse = declared.get("on_bad") == "refuse"
    if place is None:
        return _listed(work, top, refuse)
    from tapetum.workflow.commands.predict_apart import predict_elsewhere

    with places.opened(at, place.with_name(place.name + ENDING), record) as where:
        elsewhere = None if where is None else functools.partial(predict_elsewhere, where)
        written = prediction.write(work, place, refuse=refuse, elsewhere=elsewhere)
    counts = {"rows": len(work.manifest), "missing": len(written.reasons)}
    return Result({"out": str(place), **counts}, lines=[_counted(work, counts["missing"])], rows=written.rows, path=place)


@for_python
@writes(out="file")
def merge(tables: Sequence[Path | str], out: Path | str, of: Any, *, log: Log | None = None, **declared: Any) -> Result:
    """Put prediction tables of several machines together, where every row is there and none of them twice.

    Args:
        tables: what :func:`predict` wrote: all ``.parquet`` or all ``.csv``.
        out: the table to write, of the same kind.
        of: what was predicted: a folder, a table, a frame or a manifest.
        log: told how ``of`` is read.
        declared: columns of ``of``, as for :func:`predict`.

    Returns:
        ``{"out", "rows", "tables"}``.

    Raises:
        DataError: rows that are missing, doubled or of something else; nothing is written then.
    """
    given = [Path(one) for one in several(tables)]
    if not given:
        raise UserError("no tables are given", need="one or more")
    refuse_nowhere(*given, *([of] if isinstance(of, (str, os.PathLike)) else []))
    refuse_own(out, *given, of)
    from tapetum.workflow.commands.merge import merge as put_together

    source = Path(of) if isinstance(of, (str, os.PathLike)) else of
    found = put_together(given, Path(out), source, log=Record(log), **_columns(declared))
    rows = functools.partial(table_files.read_any, Path(out))
    return Result(found, lines=[f"{plural(found['rows'], 'row')} of {plural(found['tables'], 'table')}"], rows=rows, path=Path(out))


def _listed(work: Any, top: int, refuse: bool) -> Result:
    """Return the answers themselves."""
    from tapetum.core import answers
    from tapetum.workflow.commands import predict as prediction

    answered, problems = prediction.answer(work, refuse=refuse)
    missing = int((~next(iter(answered.values())).ok).sum())
    _counted(work, missing)
    values = {"table": answers.text_of(answered, problems, top), "answers": answers.entries(answered, problems, top)}
    return Result({**values, "rows": len(work.manifest), "missing": missing}, rows=functools.partial(answers.flat_table, answered))


def _counted(work: Any, missing: int) -> str:
    said = f"{plural(len(work.manifest), 'image')} predicted" + (f", {missing:,} of them missing" if missing else "")
    work.log(said)
    return said


@for_python
@writes(out="either", report="file")
def evaluate(
    pipeline: Any,
    data: Any,
    out: Path | str | None = None,
    *,
    target: str | Sequence[str] = (),
    split: str | None = None,
    on_bad: str | None = None,
    report: Path | str | None = None,
    log: Log | None = None,
    **declared: Any,
) -> Result:
    """Score a frozen pipeline on labelled images: figures with intervals, tables by class, confusion; known rows stand apart.

    Rows whose content is in the pipeline's list of training images are named and scored apart, as in-sample.

    Args:
        pipeline: its folder, a run, what :func:`tapetum.load` returned, or a folder that :func:`tapetum.api.export` wrote.
        data: a folder of class folders, a table, an archive, or a polars or pandas frame.
        out: a folder for ``predictions.parquet`` and ``metrics.json``, or a ``.parquet`` or ``.csv`` file of predictions.
        target: which targets; ``TARGET=COLUMN`` where the label column has another name.
        split: the part of the data to take, as ``test``; None takes every row.
        on_bad: ``refuse`` refuses images that cannot be read; ``skip`` counts rows of a class unknown to the pipeline as unlabelled.
        report: an HTML file to write.
        log: told how the data are read and what is missing, unknown or known.
        declared: ``path``, ``id``, ``group``, ``sequence``, ``position`` and ``layout``, as for :func:`predict`.

    Returns:
        ``{"table", "details", "headline", "counts", "figures", "per_class", "confusion", "marks", "known", "problems"}``, and
        ``out`` and ``report`` where they were written.

    Raises:
        UserError: no column holds the truth.
        DataError: a class that the pipeline does not know.
    """
    refuse_nowhere(data)
    from tapetum.pipeline.folders import is_export

    if not hasattr(pipeline, "answer") and not is_export(pipeline):
        pipeline_folder(pipeline)
    from tapetum.workflow.commands import evaluate as evaluation
    from tapetum.workflow.commands import evaluation_files

    places = [None if place is None else Path(place) for place in (out, report)]
    evaluation_files.check_place(*places)
    for place in places:
        refuse_own(place, data, pipeline)
    loaded = loaded_from(pipeline)
    how: dict[str, Any] = {"target": several(target), "split": split, "on_bad": on_bad, **_columns(declared)}
    record = Record(log)
    found = evaluation.evaluate(loaded, data, record, **how)
    written = evaluation_files.write_files(found, loaded, places[0], places[1], record)
    values = {"table": evaluation.summary(found), "details": evaluation.details(found), **found.figures, **written}
    path = written.get("out") or written.get("report")
    return Result(values, lines=values["table"].splitlines(), rows=found.figures["figures"], path=path)


@for_python
@writes(out="file")
def submit(
    source: Path | str,
    template: Path | str,
    out: Path | str,
    *,
    target: str | None = None,
    fill: str = "none",
    id: str | None = None,
    column: str | None = None,
    write: str = "auto",
    positive: str | None = None,
    separator: str | None = None,
    log: Log | None = None,
) -> Result:
    """Write a submission with exactly a template's ids, order and columns; its columns and cells say how answers are written.

    Args:
        source: a run (its test rows, else its out-of-fold rows) or a Predictions file.
        template: the sample submission.
        out: the file to write.
        target: which one, where there are several.
        fill: none (refuse), prior, or a class (a regression: a number), for ids without a prediction and rows without an answer.
        id: the template's column of ids, where it is not the one that holds the predicted ids.
        column: to fill, where the template has several.
        write: auto (as the template's columns and cells say), labels, probabilities or zero-one.
        positive: the class whose probability a single numeric column takes.
        separator: between several labels of a cell; None: as in the template's cells, else as in the data.
        log: told what was written and what was filled.
    """
    refuse_nowhere(source, template)
    if Path(source).is_dir():
        Run.existing(source)
    refuse_own(out, source, template)
    from tapetum.data.layouts.submission_template import Wish
    from tapetum.workflow.commands import submit as command

    wish = Wish(column, write, positive, separator, ids=id)
    found = command.submit(source, template, out, target=target, fill=fill, wish=wish, log=Record(log))
    rows = functools.partial(table_files.read_any, found["out"])
    return Result(
        found, lines=[f"{plural(found['rows'], 'row')} written, {found['filled']:,} of them filled"], rows=rows, path=found["out"]
    )


def loaded_from(pipeline: Any) -> Any:
    """Return a loaded pipeline or export, as it is given or from its folder."""
    from tapetum.pipeline.folders import open_folder

    return pipeline if hasattr(pipeline, "answer") else open_folder(pipeline)


def _columns(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is declared of a table; one path column may stand in a list."""
    path = declared.get("path")
    return {**declared, **({} if path is None else {"path": OPTIONS["path"].read(several(path))})}
