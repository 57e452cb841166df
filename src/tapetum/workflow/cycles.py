"""A prediction after each cycle: the stages' test answers become submissions of their own, each with its estimate in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files
from tapetum.core.config import Recipe
from tapetum.core.ledger import Ledger
from tapetum.core.marks import how_by, texts
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Predictions
from tapetum.data.layouts import submission
from tapetum.decide import chain
from tapetum.decide.ensemble import mean_of
from tapetum.decide.steps import Rows
from tapetum.workflow.marks import everywhere, of_training
from tapetum.workflow.measuring import headline_metric, interval_of
from tapetum.workflow.prepare import prepared_of


def submit_cycles(run: Run, recipe: Recipe, template: Path, record: Record) -> list[dict[str, Any]]:
    """Write ``submissions/<member>-stage-<n>.csv`` for every stage that predicted, and enter each into the ledger.

    The decision steps are fitted on the held-out answers of the same checkpoint; the estimate is their cross-fitted figure.

    Args:
        run: with its member folders.
        recipe: the run's.
        template: the sample submission.
        record: told of each.

    Returns:
        For each: member, stage, epoch, file, metric and interval.
    """
    manifest = run.manifest()
    written = []
    for member, own in recipe.members().items():
        decide = own.decide.model_copy(update={"calibrate": "none", "blend": "mean"})
        for number, stage in enumerate(own.stages, start=1):
            parts = run.folds_of(member, f"stage-{number}.parquet")
            if not stage.predict or not parts:
                continue
            tests = {fold: Predictions.read(path) for fold, path in parts.items()}
            checkpoint = next(iter(tests.values())).frame["checkpoint"][0]
            heldout = [Predictions.read(run.member(member, fold) / "epochs.parquet").select(checkpoint=checkpoint) for fold in tests]
            target = next(t for t in heldout[0].targets if t.scored)
            dense = Predictions.concat(heldout).dense(target.name, member)
            rows = Rows.of(manifest, dense.row_ids.tolist(), allow_leak=recipe.split.allow_leak)
            fitted = chain.fit({"chosen": dense}, rows, decide)
            answers = [table.dense(target.name, member, role="test") for table in tests.values()]
            test = mean_of(answers)
            decided = chain.apply(fitted.json, {"chosen": test}, Rows.of(manifest, test.row_ids.tolist()))
            place = run.root / "submissions" / f"{member}-stage-{number}.csv"
            prior = np.nanmean(dense.y, axis=0)
            submission.submit(decided, template, place, record, fill="prior", prior=prior)
            metric = headline_metric(target)
            marks = [*everywhere(prepared_of(run), recipe), *of_training(own)]
            told = {"how": how_by(marks, len(tests)), "marks": texts(marks)}
            own_figure = {**interval_of(metric, fitted.nested, rows), **told}
            note = f"after stage {number} of member {member}, {checkpoint}"
            made_by = {"name": recipe.name, "hash": recipe.hash()}
            Ledger(run.root).add(place, recipe=made_by, metric=metric, own=own_figure, note=note)
            line = {"member": member, "stage": number, "checkpoint": checkpoint, "size": stage.size, "file": place.name, "metric": metric}
            written.append({**line, **own_figure, "sha256": files.sha256(place)})
            value = "–" if own_figure["value"] is None else f"{own_figure['value']:.3f}"
            record(f"{note}: {metric} {value} on held-out rows, written to {place.name}")
    return written
