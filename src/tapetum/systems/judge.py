"""Submissions judged on a simulator's test part as an organiser would: labels by the template's ids against the simulator's truth.

That truth carries the planted wrong labels too, as a real one does; the ceiling is the best score to be expected of who knows the
generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import intervals
from tapetum.core.errors import DataError, listed
from tapetum.core.registry import reference_system
from tapetum.core.tables import Predictions
from tapetum.core.targets import encode
from tapetum.core.words import plural


def judge(submission: Path, run: Path, simulated: Mapping[str, Any], recipe: str) -> dict[str, Any]:
    """Return the score of a submission on the simulator's test part, with its interval and the best score possible.

    Args:
        submission: the file that would be handed in.
        run: that made it.
        simulated: what the simulator returned.
        recipe: of the system.

    Raises:
        DataError: the submission is not valid.
    """
    found = answers(submission, run, simulated, recipe)
    metric = simulated["metric"]
    score = intervals.interval(metric, found["target"], found["p"], found["y"], found["groups"], answer=found["answer"])
    return {"target": found["target"].name, "metric": metric, **score.to_dict(), "ceiling": simulated["ceiling"]}


def answers(submission: Path, run: Path, simulated: Mapping[str, Any], system: str) -> dict[str, Any]:
    """Return a submission's decisions and the simulator's truth, row by row of the submission."""
    given = handed_in(submission, simulated, system)
    ids_column, answer_column = given.columns
    known = {one.name: one for one in Predictions.read(run / "test.parquet").targets}
    target = known.get(answer_column, next(iter(known.values())))  # of several the one that was submitted
    label, group = reference_system(system).truth
    truth = pl.read_csv(simulated["paths"]["truth"], infer_schema_length=None, schema_overrides={label: pl.String})
    if lost := [column for column in (label, group) if column is not None and column not in truth.columns]:
        raise DataError(f"{simulated['paths']['truth']} has no column {listed(lost)} (it has: {listed(truth.columns)})")
    truth = truth.select("row_id", pl.col(label).alias("truth"), pl.col(group or "row_id").alias("group"))
    given = given.select(pl.col(ids_column).alias("row_id"), pl.col(answer_column).alias("answer"))  # names of ours: theirs may be alike
    both = given.join(truth, on="row_id", how="left", maintain_order="left")
    if both["truth"].has_nulls() or (target.kind == "single" and both["answer"].has_nulls()) or given["row_id"].is_duplicated().any():
        raise DataError(f"{submission} has rows without answer, twice or that nobody asked for: it is no valid submission")

    def coded(column: str) -> np.ndarray:
        cells = [(text or "").split() if target.kind == "multi" else text for text in both[column].to_list()]
        return encode(target, cells, both["row_id"].to_list())

    answer = coded("answer")
    return {"target": target, "answer": answer, "p": answer, "y": coded("truth"), "groups": np.array(both["group"].to_list(), dtype=object)}


def handed_in(submission: Path, simulated: Mapping[str, Any], system: str) -> pl.DataFrame:
    """Return ids and answers of a submission; answers alone, without a header, are those of the template's rows in order."""
    lines = pl.read_csv(submission, has_header=False, infer_schema=False)
    if len(lines.columns) > 1:
        return pl.read_csv(submission, infer_schema=False)
    template = Path(simulated["paths"]["source"]) / reference_system(system).template
    ids = pl.read_csv(template, has_header=False, infer_schema=False).to_series(-1)
    if len(ids) != len(lines):
        raise DataError(f"{submission} has {plural(len(lines), 'answer')} for {plural(len(ids), 'test row')}: it is no valid submission")
    return pl.DataFrame({"id": ids, "answer": lines.to_series()})
