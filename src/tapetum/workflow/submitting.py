"""Predictions → a submission: the template's ids, order and columns, and an entry in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.ledger import Ledger
from tapetum.core.runs import Record, Run
from tapetum.core.tables import FINAL, Predictions


def submit(source: Path | str, template: Path | str, out: Path | str, *, target: str | None, fill: str, say: Record) -> dict[str, Any]:
    """Write a submission; see :func:`tapetum.api.submit`."""
    from tapetum.data.layouts import submission

    source = Path(source)
    table = predictions_of(source)
    name = target or _only_target(table)
    dense = table.dense(name, FINAL if FINAL in table.members else table.members[0])
    prior = None
    if source.is_dir():
        known = Predictions.read(Run(source).file("oof.parquet")).dense(name).y
        prior = np.nanmean(known, axis=0)
    written = submission.submit(dense, template, out, say, fill=fill, prior=prior)
    if source.is_dir():
        _enter(Run(source), written, name)
    return {"out": str(written), "rows": len(dense.row_ids), "sha256": files.sha256(written)}


def _enter(run: Run, written: Path, target: str) -> None:
    """Enter a submission in the run's ledger, with the nested estimate of the target's leading metric."""
    figures = files.read_json(run.file("metrics.json"))["figures"]
    own = [f for f in figures if f["target"] == target and f["name"] == "final" and f["how"] == "nested" and f["value"] is not None]
    recipe = run.recipe()
    first = own[0] if own else None
    metric = None if first is None else first["metric"]
    estimate = None if first is None else {key: first[key] for key in ("value", "low", "high", "n", "groups")}
    Ledger(run.root).add(written, recipe={"name": recipe.name, "hash": recipe.hash()}, metric=metric, own=estimate)


def predictions_of(source: Path) -> Predictions:
    """Return the test predictions of a run (out-of-fold ones where it has no test rows), or those of a file."""
    if not source.is_dir():
        return Predictions.read(source)
    run = Run.existing(source)
    for name in ("test.parquet", "oof.parquet"):
        if run.file(name).exists():
            return Predictions.read(run.file(name))
    raise DataError(f"{source} has no predictions yet", fix="finish it with: tapetum fit")


def _only_target(table: Predictions) -> str:
    names = [t.name for t in table.targets]
    if len(names) != 1:
        raise UserError(f"there are several targets: {listed(names)}", fix="name one with --target")
    return names[0]
