"""Commands that take answers on: predict and submit, decide and judge, keep the books and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tapetum.cli.options import (
    FLAGS,
    GroupColumn,
    IdColumn,
    Json,
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
from tapetum.cli.saying import progress, show
from tapetum.core import errors

app = typer.Typer()


@app.command()
def predict(
    pipeline: Annotated[Path, typer.Argument(help="a pipeline folder, or a run that holds one")],
    images: Annotated[list[Path], typer.Argument(help="images, folders or archives of images, or tables of their paths")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="a .parquet or .csv file; without it the answers are printed")] = None,
    path: PathColumns = None,
    id: IdColumn = None,
    group: GroupColumn = None,
    sequence: SequenceColumn = None,
    position: PositionColumn = None,
    layout: Layout = None,
    on_bad: OnBad = None,
    json: Json = False,
) -> None:
    """Predict images with a frozen pipeline; one that cannot be read is named and keeps its row (exit code 4).

    Example: tapetum predict runs/first new-images -o predictions.csv
    """
    from tapetum import api

    columns: dict[str, Any] = {
        "id": id,
        "group": group,
        "sequence": sequence,
        "position": position,
        "path": FLAGS["path"].read(path) if path else None,
    }
    result = api.predict(pipeline, images, out, log=progress, layout=layout, on_bad=on_bad, **columns)
    show({key: value for key, value in result.items() if key != "table" or not json}, json)
    if result["missing"]:
        raise SystemExit(errors.PARTLY)


@app.command()
def evaluate(
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
    verbose: Annotated[bool, typer.Option("--verbose", help="print the table by class and the confusion matrix too")] = False,
    json: Json = False,
) -> None:
    """Score a frozen pipeline on labelled images; rows known from training are named and scored apart (exit code 4: rows are missing).

    Example: tapetum evaluate runs/first new-images --report evaluation.html
    """
    from tapetum import api

    columns = {"id": id, "group": group, "sequence": sequence, "position": position, "path": FLAGS["path"].read(path) if path else None}
    how: dict[str, Any] = {**columns, "target": target or (), "split": split, "on_bad": on_bad, "report": report, "layout": layout}
    result = api.evaluate(pipeline, data, out, **how, log=progress)
    if verbose and not json:
        result["table"] += f"\n\n{result['details']}"
    show({key: value for key, value in result.items() if key not in ("table", "details") or not json}, json)
    if result["counts"]["missing"]:
        raise SystemExit(errors.PARTLY)


@app.command()
def submit(
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
    json: Json = False,
) -> None:
    """Write a submission with exactly the template's ids, order and columns; what does not fit is refused.

    tapetum submit runs/first --template sample_submission.csv -o submission.csv
    """
    from tapetum import api

    how: dict[str, Any] = {"id": id, "column": column, "write": write, "positive": positive, "separator": separator}
    show(api.submit(source, template, out, target=target, fill=fill, **how, log=progress), json)


@app.command()
def decide(
    sources: Annotated[list[Path], typer.Argument(help="a run, or predictions: .parquet, .csv, or .npy with .ids.txt beside it")],
    manifest: Annotated[Path | None, typer.Option(help="for files: labels, folds and groups, from: tapetum split -o")] = None,
    target: Annotated[str | None, typer.Option(help="for files: which target")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="for files: the folder to write")] = None,
    classes: Annotated[str | None, typer.Option(help="for arrays: the order of their columns, as wake,light,deep")] = None,
    set: Sets = None,
    strict: Annotated[bool, typer.Option("--strict", help="refuse where a member lacks rows that another holds")] = False,
    data: NowAt = None,
    json: Json = False,
) -> None:
    """Apply the decision steps of [decide], cross-fitted, to a run or to predictions of any framework."""
    from tapetum import api

    source = sources[0] if len(sources) == 1 else sources
    more: dict[str, Any] = {"classes": classes.split(",") if classes else None, "strict": strict, "data": data}
    show(api.decide(source, manifest=manifest, target=target, out=out, sets=set or (), **more, log=progress), json)


@app.command()
def compare(
    sources: Annotated[list[Path], typer.Argument(help="runs or Predictions files, two or more; one run with --views")],
    metric: MetricName = "auto",
    target: OneTarget = None,
    manifest: Annotated[Path | None, typer.Option(help="for the groups, where the sources are files")] = None,
    views: Annotated[str | None, typer.Option(help="compare a run's test-time views instead: recipe, or others as dihedral")] = None,
    data: NowAt = None,
    json: Json = False,
) -> None:
    """Compare pair by pair: difference with its interval clustered by group, exact McNemar, Holm over all."""
    from tapetum import api

    if views is not None:
        if len(sources) > 1:
            raise errors.UserError(f"--views was given with {len(sources)} sources", need="one run, whose views are compared")
        show(api.compare_views(sources[0], views, data=data, log=progress), json)
        return
    if data is not None:
        raise errors.UserError("--data was given without --views", need="one run, whose views are compared; nothing else reads images")
    named = {place.as_posix(): place for place in sources}
    show(api.compare(named, metric=metric, target=target, manifest=manifest), json)


@app.command()
def leaderboard(
    run: RunFolder,
    metric: MetricName = "auto",
    target: OneTarget = None,
    json: Json = False,
) -> None:
    """Rank members, their blend and the decisions on the rows that all of them hold."""
    from tapetum import api

    show(api.leaderboard(run, metric=metric, target=target), json)


@app.command()
def conformal(
    run: RunFolder,
    coverage: Annotated[float, typer.Option(help="wanted share of labels inside their sets")] = 0.9,
    method: Annotated[str, typer.Option(help="lac (small sets) or aps (sets that grow with difficulty)")] = "lac",
    by_class: Annotated[bool, typer.Option("--by-class", help="a bound for each class")] = False,
    target: OneTarget = None,
    review: Annotated[int, typer.Option(help="rows of the review list", min=1)] = 100,
    json: Json = False,
) -> None:
    """Write prediction sets that contain the label with a given probability, when to abstain, and rows to review first."""
    from tapetum import api

    show(api.conformal(run, coverage=coverage, method=method, by_class=by_class, target=target, review=review), json)


@app.command()
def ledger(
    run: RunFolder,
    score: Annotated[tuple[str, float] | None, typer.Option(help="a submission's file or hash, and its outside score")] = None,
    board: Annotated[str, typer.Option(help="where the score comes from")] = "outside",
    json: Json = False,
) -> None:
    """List submissions with own estimates and outside scores, and show how the two relate."""
    from tapetum import api

    show(api.ledger(run, score=score, board=board), json)


@app.command()
def report(
    run: RunFolder, out: Annotated[Path | None, typer.Option("-o", "--out", help="where to write it")] = None, data: NowAt = None
) -> None:
    """Write the run's report again, as one HTML file."""
    from tapetum import api

    print(api.report(run, out, data=data))
