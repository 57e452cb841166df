"""Predictions → a submission with an entry in the ledger: of a run or a file, or one after each cycle of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tapetum.core import files
from tapetum.core.config import Recipe
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.ledger import Ledger, enter
from tapetum.core.marks import how_by, texts
from tapetum.core.metrics import headline_metric
from tapetum.core.monitor import prior_answer
from tapetum.core.prediction_csv import read_alone
from tapetum.core.runs import Record, Run
from tapetum.core.tables import FINAL, Dense, Manifest, Predictions
from tapetum.core.words import plural
from tapetum.data.layouts import submission
from tapetum.data.layouts.delimited import read_delimited
from tapetum.data.layouts.submission_template import Wish
from tapetum.decide import chain
from tapetum.decide.ensemble import mean_of
from tapetum.decide.steps import Rows, counting
from tapetum.workflow.stages.measure import DRAWN, everywhere, interval_of, of_training
from tapetum.workflow.stages.test_rows import BEFORE_STEPS


def submit(
    source: Path | str,
    template: Path | str,
    out: Path | str,
    *,
    target: str | None,
    fill: str,
    log: Record,
    wish: Wish | None = None,
) -> dict[str, Any]:
    """Write a submission; see :func:`tapetum.api.submit`."""

    source = Path(source)
    if Path(out).suffix.lower() == ".parquet":
        raise UserError(f"a submission cannot be written to {out}", need="text, as its template is: a name that ends in .csv")
    table = predictions_of(source, target)
    if source.is_dir() and set(table.frame["role"].unique()) == {"oof"}:
        log(f"warning: {source} has no test rows; what is written are the out-of-fold answers of its own labelled rows")
    name = target or _target_of(table, Path(template))
    dense = table.dense(name, _only_member(table))
    prior = _prior_of(source, table, name)
    written = submission.submit(dense, template, out, log, fill=fill, prior=prior, wish=wish)
    if source.is_dir():
        enter(Run(source), written.place, name)
    return {"out": str(written.place), "rows": written.rows, "filled": written.filled, "sha256": files.sha256(written.place)}


def _prior_of(source: Path, table: Predictions, target: str) -> np.ndarray | None:
    """Return the mean truth (K,) of the held-out rows (a regression: their median); None where no truth is known."""
    heldout = Predictions.read(Run(source).file("oof.parquet")) if source.is_dir() else table.select(role="oof", target=target)
    if not len(heldout):
        return None
    found = heldout.dense(target, _only_member(heldout))
    known = found.y[~np.isnan(found.y).any(axis=1)]
    return prior_answer(found.target, known)[0] if len(known) else None


def predictions_of(source: Path, target: str | None = None) -> Predictions:
    """Return the test predictions of a run (out-of-fold ones where it has no test rows), or those of a file."""
    if not source.is_dir():
        return read_alone(source, target) if source.suffix == ".csv" else Predictions.read(source)
    run = Run.existing(source).checked()
    for name in ("test.parquet", "oof.parquet"):
        if run.file(name).exists():
            return Predictions.read(run.file(name))
    raise DataError(f"{source} has no predictions yet", fix="finish it with: tapetum fit")


def _only_member(table: Predictions) -> str:
    members = table.members
    if FINAL not in members and len(members) != 1:
        raise UserError(f"the predictions hold {plural(len(members), 'member')}: {listed(members)}", need=f"one, or one called {FINAL!r}")
    return FINAL if FINAL in members else members[0]


def _target_of(table: Predictions, template: Path) -> str:
    """Return the only target, or of several the one that the template has a column for."""
    names = [t.name for t in table.targets]
    if len(names) == 1:
        return names[0]
    columns = read_delimited(template)[0].columns if template.is_file() else []
    found = [name for name in names if name in columns]
    if len(found) != 1:
        why = f", and {template.name} has columns {listed(columns)}" if columns else ""
        raise UserError(f"there are several targets: {listed(names)}{why}", fix="name one with --target")
    return found[0]


def submit_cycles(run: Run, recipe: Recipe, template: Path, record: Record) -> list[dict[str, Any]]:
    """Write ``submissions/<member>-stage-<n>.csv`` for every stage that predicted, and enter each into the ledger.

    The decision steps are fitted on the held-out answers of the same checkpoint; the estimate is their cross-fitted figure.

    Args:
        run: with its member folders.
        recipe: the run's.
        template: the sample submission.
        record: gets a line for each.

    Returns:
        For each: member, stage, epoch, file, metric and interval.
    """
    manifest = run.manifest()
    written = []
    for member, member_recipe in recipe.members().items():
        for number, stage in enumerate(member_recipe.stages, start=1):
            parts = run.folds_of(member, f"stage-{number}.parquet")
            if not stage.predict or not parts:
                continue
            tests = {fold: Predictions.read(path) for fold, path in parts.items()}
            cycle = _cycle(run, recipe, member, tests, manifest)
            for note in cycle.fitted.notes:
                record(f"{cycle.dense.target.name}: {note}")
            test = mean_of([table.dense(cycle.dense.target.name, member, role="test") for table in tests.values()])
            decided = chain.apply(cycle.fitted.json, {"chosen": test}, Rows.of(manifest, test.row_ids.tolist()))
            place = run.root / "submissions" / f"{member}-stage-{number}.csv"
            submission.submit(decided, template, place, record, fill="prior", prior=np.nanmean(cycle.dense.y, axis=0))
            metric, figure = headline_metric(cycle.dense.target), _cycle_figure(run, recipe, member, cycle)
            note = f"after stage {number} of member {member}, {cycle.checkpoint}"
            made_by = {"name": recipe.name, "hash": recipe.hash()}
            Ledger(run.root).add(place, recipe=made_by, metric=metric, own=figure, note=note)
            line = {"member": member, "stage": number, "checkpoint": cycle.checkpoint, "size": stage.size, "file": place.name}
            written.append({**line, "metric": metric, **figure, "sha256": files.sha256(place)})
            value = "–" if figure["value"] is None else f"{figure['value']:.3f}"
            record(f"{note}: {metric} {value} on held-out rows, written to {place.name}")
    return written


class _Cycle(NamedTuple):
    """A stage's checkpoint: its held-out answers, their rows, and the decision steps fitted on them."""

    checkpoint: str
    dense: Dense
    rows: Rows
    fitted: chain.Decisions


def _cycle(run: Run, recipe: Recipe, member: str, tests: Mapping[int, Predictions], manifest: Manifest) -> _Cycle:
    checkpoint = next(iter(tests.values())).frame["checkpoint"][0]
    heldout = [Predictions.read(run.member(member, fold) / "epochs.parquet").select(checkpoint=checkpoint) for fold in tests]
    target = next(t for t in heldout[0].targets if t.scored)
    dense = Predictions.concat(heldout).dense(target.name, member)
    rows = Rows.of(manifest, dense.row_ids.tolist(), allow_leak=recipe.split.allow_leak)
    decide = recipe.members()[member].decide.model_copy(update={"calibrate": "none", "blend": "mean"})
    return _Cycle(checkpoint, dense, rows, chain.fit({"chosen": dense}, rows, decide, fixed=True))


def _cycle_figure(run: Run, recipe: Recipe, member: str, cycle: _Cycle) -> dict[str, Any]:
    """Return the cross-fitted figure of a stage's answers, with its interval and marks."""
    from tapetum.workflow.stages.prepare import prepared_of

    judged = np.unique(cycle.rows.fold[counting(cycle.dense, cycle.rows)])
    trained = of_training(run, member, recipe.members()[member], judged.tolist())
    marks = [*everywhere(prepared_of(run), recipe), *trained, *([DRAWN] if cycle.fitted.json["drawn"] else [])]
    measured = interval_of(headline_metric(cycle.dense.target), cycle.fitted.nested, cycle.rows)
    return {**measured, "how": how_by(marks, len(judged)), "marks": texts(marks)}


def submit_before_steps(run: Run, recipe: Recipe, template: Path, record: Record) -> Path | None:
    """Write ``submissions/before-steps.csv``, the answers before the decision steps, and enter it into the ledger; None without steps."""
    if not run.file(BEFORE_STEPS).exists():
        return None
    table = Predictions.read(run.file(BEFORE_STEPS))
    name = _target_of(table, template)
    place = run.root / "submissions" / "before-steps.csv"
    submission.submit(table.dense(name), template, place, record, fill="prior", prior=_prior_of(run.root, table, name))
    Ledger(run.root).add(
        place, recipe={"name": recipe.name, "hash": recipe.hash()}, metric=None, own=None, note="before the decision steps"
    )
    return place
