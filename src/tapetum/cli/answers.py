"""Commands that take answers on: predict and submit, decide and judge, keep the books and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tapetum.cli import texts
from tapetum.cli.commands import command
from tapetum.cli.options import (
    At,
    GroupColumn,
    IdColumn,
    Layout,
    MetricName,
    NowAt,
    OnBad,
    OneTarget,
    Out,
    PathColumns,
    PositionColumn,
    RunFolder,
    SequenceColumn,
    Sets,
)
from tapetum.cli.streams import read_paths
from tapetum.core import errors
from tapetum.core.words import plural

app = typer.Typer()


@command(
    app,
    "tapetum predict runs/first new-images -o predictions.csv",
    "find photos -name '*.jpg' | tapetum predict runs/first - -o predictions.parquet",
    text=texts.predict,
    leave_out=("table",),
    is_partly=lambda result: bool(result["missing"]),
)
def predict(
    log: Any,
    pipeline: Annotated[Path, typer.Argument(help="a pipeline folder, or a run that holds one")],
    images: Annotated[
        list[Path],
        typer.Argument(help="images, folders or archives of images, or tables of their paths; - reads paths from standard input"),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="a .parquet or .csv file; without it the answers are printed")] = None,
    path: PathColumns = None,
    id: IdColumn = None,
    group: GroupColumn = None,
    sequence: SequenceColumn = None,
    position: PositionColumn = None,
    layout: Layout = None,
    on_bad: OnBad = None,
    engine: Annotated[str, typer.Option(help="what computes: auto (the fastest with torch's labels), torch, onnx or openvino")] = "auto",
    on: At = None,
) -> dict[str, Any]:
    """Predict images with a frozen pipeline; one that cannot be read is named and keeps its row (exit code 4).

    With ``-o`` many images are predicted in parts of 1,024 rows beside the table. A command that was killed goes on when it is given again.
    With ``--on`` about 50,000 rows are a job.
    """
    from tapetum import api

    columns: dict[str, Any] = {"id": id, "group": group, "sequence": sequence, "position": position, "path": path}
    sources = [read_paths() if str(one) == "-" else one for one in images]
    if path is None and set(map(str, images)) == {"-"}:
        columns["path"] = ["path"]  # every line is a row, whatever it ends with
    return api.predict(pipeline, sources, out, engine=engine, on=on, log=log, layout=layout, on_bad=on_bad, **columns)


@command(app, "tapetum merge first.parquet second.parquet --of labels.csv -o predictions.parquet", text=texts.merge)
def merge(
    log: Any,
    tables: Annotated[list[Path], typer.Argument(help="tables that predict -o wrote: all .parquet or all .csv")],
    of: Annotated[Path, typer.Option("--of", help="what was predicted: a folder, a table or a manifest")],
    out: Annotated[Path, typer.Option("-o", "--out", help="the table to write, of the same kind")],
    path: PathColumns = None,
    id: IdColumn = None,
) -> dict[str, Any]:
    """Put prediction tables of several machines together, if every row is there and none twice; else name the rows and write nothing."""
    from tapetum import api

    return api.merge(tables, out, of, log=log, path=path, id=id)


@command(
    app,
    "tapetum export runs/first --to onnx -o first-onnx",
    "tapetum export pipeline --to openvino --images photos -o first-openvino",
    text=texts.export,
)
def export(
    log: Any,
    pipeline: Annotated[Path, typer.Argument(help="a pipeline folder, or a run that holds one")],
    to: Annotated[str, typer.Option("--to", help="onnx, openvino or torch-export")] = "onnx",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="the folder to write; pipeline-FORMAT beside the pipeline")] = None,
    images: Annotated[Path | None, typer.Option(help="images to compare the answers on; without it the run's training images")] = None,
    int8: Annotated[bool, typer.Option("--int8", help="8 bits (onnx), if the loss on out-of-fold rows is at most 0.01")] = False,
) -> dict[str, Any]:
    """Write a pipeline in another format, if its labels for real images stay the same; predict takes the folder like a pipeline."""
    from tapetum import api

    return api.export(pipeline, to, out, images=images, int8=int8, log=log)


@command(
    app,
    "tapetum evaluate runs/first new-images --report evaluation.html",
    text=texts.evaluate,
    leave_out=("table", "details"),
    is_partly=lambda result: bool(result["counts"]["missing"]),
)
def evaluate(
    log: Any,
    pipeline: Annotated[Path, typer.Argument(help="a pipeline folder, or a run that holds one")],
    data: Annotated[Path, typer.Argument(help="labelled images: a folder of class folders, a table, an archive or a layout's folder")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="a folder for predictions and metrics.json, or a .parquet or .csv of predictions")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", help="TARGET to score, or TARGET=COLUMN where its column is called otherwise")
    ] = None,
    split: Annotated[str | None, typer.Option(help="the part of the data to take, as test; without it every row")] = None,
    path: PathColumns = None,
    id: IdColumn = None,
    group: GroupColumn = None,
    sequence: SequenceColumn = None,
    position: PositionColumn = None,
    layout: Layout = None,
    on_bad: Annotated[
        str | None,
        typer.Option(
            "--on-bad", help="refuse images that cannot be read; or skip: count rows of a class unknown to the pipeline as unlabelled"
        ),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="write the figures, tables and worst answers as one HTML file")] = None,
) -> dict[str, Any]:
    """Score a frozen pipeline on labelled images; rows known from training are named and scored apart (exit code 4: rows are missing)."""
    from tapetum import api

    columns = {"id": id, "group": group, "sequence": sequence, "position": position, "path": path}
    how: dict[str, Any] = {**columns, "target": target or (), "split": split, "on_bad": on_bad, "report": report, "layout": layout}
    return api.evaluate(pipeline, data, out, **how, log=log)


@command(app, "tapetum submit runs/first --template sample_submission.csv -o submission.csv", text=texts.submit)
def submit(
    log: Any,
    source: Annotated[Path, typer.Argument(help="a run or a Predictions file")],
    template: Annotated[Path, typer.Option("--template", help="the sample submission: ids, order and columns are taken from it")],
    out: Out,
    target: Annotated[str | None, typer.Option(help="the target to write, where there are several")] = None,
    fill: Annotated[str, typer.Option(help="none (refuse), prior, or a class, for ids without a prediction or an answer")] = "none",
    id: Annotated[str | None, typer.Option("--id", help="the template's column of ids")] = None,
    column: Annotated[str | None, typer.Option(help="the column to fill, where the template has several")] = None,
    write: Annotated[str, typer.Option(help="auto (as the template's cells say), labels, probabilities or zero-one")] = "auto",
    positive: Annotated[str | None, typer.Option(help="the class whose probability a single numeric column takes")] = None,
    separator: Annotated[str | None, typer.Option(help="between several labels of a cell")] = None,
) -> dict[str, Any]:
    """Write a submission with exactly the template's ids, order and columns; what does not fit is refused."""
    from tapetum import api

    how: dict[str, Any] = {"id": id, "column": column, "write": write, "positive": positive, "separator": separator}
    return api.submit(source, template, out, target=target, fill=fill, **how, log=log)


@command(
    app,
    "tapetum decide runs/first --set decide.calibrate=temperature",
    "tapetum decide a.csv b.csv --manifest folds.parquet -o decided",
    text=texts.decide,
)
def decide(
    log: Any,
    sources: Annotated[list[Path], typer.Argument(help="a run, or predictions: .parquet, .csv, or .npy with .ids.txt beside it")],
    manifest: Annotated[Path | None, typer.Option(help="for files: labels, folds and groups, from: tapetum split -o")] = None,
    target: Annotated[str | None, typer.Option(help="for files: which target")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="for files: the folder to write")] = None,
    classes: Annotated[str | None, typer.Option(help="for arrays: the order of their columns, as wake,light,deep")] = None,
    set: Sets = None,
    strict: Annotated[bool, typer.Option("--strict", help="refuse where a member lacks rows that another holds")] = False,
    data: NowAt = None,
) -> dict[str, Any]:
    """Apply the decision steps of [decide], cross-fitted, to a run or to predictions of any framework."""
    from tapetum import api

    source = sources[0] if len(sources) == 1 else sources
    more: dict[str, Any] = {"classes": classes.split(",") if classes else None, "strict": strict, "data": data}
    return api.decide(source, manifest=manifest, target=target, out=out, sets=set or (), **more, log=log)


@command(app, "tapetum compare runs/first runs/second", "tapetum compare runs/first --views flips", text=texts.table)
def compare(
    log: Any,
    sources: Annotated[list[Path], typer.Argument(help="runs or Predictions files, two or more; one run with --views")],
    metric: MetricName = "auto",
    target: OneTarget = None,
    manifest: Annotated[Path | None, typer.Option(help="for the groups, where the sources are files")] = None,
    views: Annotated[str | None, typer.Option(help="compare a run's test-time views instead: recipe, or others as dihedral")] = None,
    data: NowAt = None,
) -> dict[str, Any]:
    """Compare pair by pair: difference with its interval clustered by group, exact McNemar, Holm over all."""
    from tapetum import api

    if views is not None:
        if len(sources) > 1:
            raise errors.UserError(f"--views was given with {plural(len(sources), 'source')}", need="one run, whose views are compared")
        return api.compare_views(sources[0], views, data=data, log=log)
    if data is not None:
        raise errors.UserError("--data was given without --views", need="one run, whose views are compared; nothing else reads images")
    named = {place.as_posix(): place for place in sources}
    return api.compare(named, metric=metric, target=target, manifest=manifest)


@command(app, "tapetum diff runs/first runs/second", text=texts.diff)
def diff(
    first: RunFolder,
    second: Annotated[Path, typer.Argument(help="another run folder")],
) -> dict[str, Any]:
    """List what two runs do not have in common (data, seed, recipe, plan, environment), and say what can explain another result."""
    from tapetum import api

    return api.diff(first, second)


@command(app, "tapetum leaderboard runs/first --metric macro_f1", text=texts.table)
def leaderboard(
    run: RunFolder,
    metric: MetricName = "auto",
    target: OneTarget = None,
) -> dict[str, Any]:
    """Rank members, their blend and the decisions on the rows that all of them hold."""
    from tapetum import api

    return api.leaderboard(run, metric=metric, target=target)


@command(app, "tapetum conformal runs/first --coverage 0.95", text=texts.conformal)
def conformal(
    run: RunFolder,
    coverage: Annotated[float, typer.Option(help="wanted share of labels inside their sets")] = 0.9,
    method: Annotated[str, typer.Option(help="lac (small sets) or aps (sets that grow with difficulty)")] = "lac",
    by_class: Annotated[bool, typer.Option("--by-class", help="a bound for each class")] = False,
    target: OneTarget = None,
    review: Annotated[int, typer.Option(help="rows of the review list", min=1)] = 100,
) -> dict[str, Any]:
    """Write prediction sets that contain the label with a given probability, when to abstain, and rows to review first."""
    from tapetum import api

    return api.conformal(run, coverage=coverage, method=method, by_class=by_class, target=target, review=review)


@command(app, "tapetum ledger runs/first", "tapetum ledger runs/first --score submission.csv 0.91 --board public", text=texts.ledger)
def ledger(
    run: RunFolder,
    score: Annotated[tuple[str, float] | None, typer.Option(help="a submission's file or hash, and its outside score")] = None,
    board: Annotated[str, typer.Option(help="where the score comes from")] = "outside",
) -> dict[str, Any]:
    """List submissions with own estimates and outside scores, and show how the two relate."""
    from tapetum import api

    return api.ledger(run, score=score, board=board)


@command(app, "tapetum report runs/first -o first.html", "tapetum report runs/first runs/second -o comparison.html", text=texts.report)
def report(
    runs: Annotated[list[Path], typer.Argument(help="a run folder; several are compared with the first")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="where to write it")] = None,
    data: NowAt = None,
) -> dict[str, Any]:
    """Write the run's report again, as one HTML file; of several runs, a page that compares them."""
    from tapetum import api

    return {"report": api.report(runs[0], out, data=data, others=runs[1:])}


@command(app, "tapetum runs", "tapetum runs experiments -o index.html", name="runs", text=texts.table)
def list_runs(
    log: Any,
    folder: Annotated[Path, typer.Argument(help="the folder that holds the runs")] = Path("runs"),
    out: Annotated[Path | None, typer.Option("-o", "--out", help="write the index as an HTML page too, with links to the reports")] = None,
) -> dict[str, Any]:
    """List the runs in a folder, the newest first: recipe, targets, figure with its interval, marks, date."""
    from tapetum import api

    return api.list_runs(folder, out, log=log)
