"""Predictions → a submission: the template's ids, order and columns, and an entry in the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.ledger import Ledger
from tapetum.core.marks import estimate, main
from tapetum.core.monitor import prior_answer
from tapetum.core.runs import Record, Run
from tapetum.core.tables import FINAL, Predictions
from tapetum.data.layouts.template import Wish
from tapetum.decide.alone import read_alone


def submit(
    source: Path | str,
    template: Path | str,
    out: Path | str,
    *,
    target: str | None,
    fill: str,
    log: Record,
    id_column: str | None = None,
    wish: Wish | None = None,
) -> dict[str, Any]:
    """Write a submission; see :func:`tapetum.api.submit`."""
    from tapetum.data.layouts import submission

    source = Path(source)
    if Path(out).suffix.lower() == ".parquet":
        raise UserError(f"a submission cannot be written to {out}", need="text, as its template is: a name that ends in .csv")
    table = predictions_of(source, target)
    name = target or _only_target(table)
    dense = table.dense(name, _only_member(table))
    prior = _prior_of(source, table, name)
    written = submission.submit(dense, template, out, log, fill=fill, prior=prior, id_column=id_column, wish=wish)
    if source.is_dir():
        _enter(Run(source), written, name)
    return {"out": str(written), "rows": len(dense.row_ids), "sha256": files.sha256(written)}


def _prior_of(source: Path, table: Predictions, target: str) -> np.ndarray | None:
    """Return the mean truth (K,) of the held-out rows (a regression: their median); None where no truth is known."""
    heldout = Predictions.read(Run(source).file("oof.parquet")) if source.is_dir() else table.select(role="oof", target=target)
    if not len(heldout):
        return None
    found = heldout.dense(target, _only_member(heldout))
    known = found.y[~np.isnan(found.y).any(axis=1)]
    return prior_answer(found.target, known)[0] if len(known) else None


def _enter(run: Run, written: Path, target: str) -> None:
    """Enter a submission in the run's ledger, with our own estimate of the target's leading metric and how it was measured."""
    own = main(files.read_json(run.file("metrics.json"))["figures"], target)
    recipe, metric = run.recipe(), None if own is None else own["metric"]
    made_by = {"name": recipe.name, "hash": recipe.hash()}
    Ledger(run.root).add(written, recipe=made_by, metric=metric, own=None if own is None else estimate(own))


def predictions_of(source: Path, target: str | None = None) -> Predictions:
    """Return the test predictions of a run (out-of-fold ones where it has no test rows), or those of a file."""
    if not source.is_dir():
        return read_alone(source, target) if source.suffix == ".csv" else Predictions.read(source)
    run = Run.existing(source)
    for name in ("test.parquet", "oof.parquet"):
        if run.file(name).exists():
            return Predictions.read(run.file(name))
    raise DataError(f"{source} has no predictions yet", fix="finish it with: tapetum fit")


def _only_member(table: Predictions) -> str:
    members = table.members
    if FINAL not in members and len(members) != 1:
        raise UserError(f"the predictions hold {len(members)} members: {listed(members)}", need=f"one, or one called {FINAL!r}")
    return FINAL if FINAL in members else members[0]


def _only_target(table: Predictions) -> str:
    names = [t.name for t in table.targets]
    if len(names) != 1:
        raise UserError(f"there are several targets: {listed(names)}", fix="name one with --target")
    return names[0]
