"""The main chain: files → manifest → features → probe → training → decisions → pipeline → report, in one folder that can be resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files, hashes, trackers
from tapetum.core.config import Loaded, Recipe
from tapetum.core.errors import UserError, listed
from tapetum.core.nested import flatten
from tapetum.core.progress import Log
from tapetum.core.runs import PROBE, Record, Run
from tapetum.core.words import plural
from tapetum.workflow.commands.finish import finish, ship_run
from tapetum.workflow.launch import places
from tapetum.workflow.launch.places import LOCAL, At
from tapetum.workflow.session import Prepared, Session
from tapetum.workflow.stages import budget as budgets
from tapetum.workflow.stages.decide import RunDecisions, decide_run
from tapetum.workflow.stages.measure import measure_run
from tapetum.workflow.stages.prepare import check_recipe, prepare


def fit(
    source: Any,
    out: Path | str,
    loaded: Loaded,
    *,
    clock: budgets.Clock | None = None,
    plan: Path | str | None = None,
    at: At = LOCAL,
    log: Log | None = None,
    command: str = "tapetum.api.fit",
) -> dict[str, Any]:
    """Run the chain, or go on with it where it stopped.

    Args:
        source: a folder, a table, or a frame; see :mod:`tapetum.data.layouts`.
        out: the run's folder.
        loaded: the recipe.
        clock: of the time for everything; None trains the recipe's epochs.
        plan: plan.json of another run, to be repeated.
        at: where folds train.
        log: where messages go.
        command: kept in the report, so that it can be run again.

    Returns:
        ``{"run", "report", "pipeline", "table", "figures"}``.

    Raises:
        TapetumError: see the stages; nothing half-written is left as whole.
    """
    clock = clock or budgets.Clock(None)
    places.check(at, budget=clock.budget)
    clock.after = budgets.after(clock.elapsed)
    record = Record(log)
    recipe = loaded.recipe
    if Run(Path(out)).is_of_another(recipe):
        check_recipe(source, recipe)
    trackers.check(recipe.track)
    with (
        Run.opened(out, loaded, {}) as run,
        trackers.opened(recipe.track, run.root, _values(recipe), record) as tracked,
        places.opened(at, run.root, record) as place,
    ):
        files.sweep(run.root)
        try:
            if plan is not None:
                _repeat_plan(run, Path(plan), recipe)
            clock.spent = _seconds_kept(run)
            _log_recipe(recipe, loaded, record)
            with record.stage("files"):
                prepared = prepare(run, source, recipe, record)
            hashes.forget(run.root)
            _plan_is_possible(recipe, prepared)
            session = Session(run, prepared, recipe, record, clock, tracked, place, at.devices)
            if recipe.probe.enabled:
                with record.stage("probe"):
                    _probe(session, clock)
            with record.stage("training"):
                _train(session, given=plan is not None)
            with record.stage("decisions"):
                decided = measure_run(session, decide_run(session))
                tracked.figures(files.read_json(run.file("metrics.json"))["figures"])
            with record.stage("pipeline"):
                ship_run(session, decided)
            with record.stage("saliency"):
                _explain(session, decided)
        finally:
            record.write(run, command)
        return finish(session, decided, command)


def _values(recipe: Recipe) -> dict[str, Any]:
    """Return dotted key → value of a recipe, for trackers."""
    return dict(flatten(recipe.model_dump(mode="json", exclude={"profile", "statements", "track", "member"})))


def _probe(session: Session, clock: budgets.Clock) -> None:
    from tapetum.workflow.stages.by_group import probe_by_group
    from tapetum.workflow.stages.probe import probe_member, seconds_of_test

    probe_member(session)
    probe_by_group(session)
    clock.after += seconds_of_test(session)


def _train(session: Session, given: bool) -> None:
    from tapetum.workflow.stages.train import train_members

    train_members(session, given)


def _explain(session: Session, decided: RunDecisions) -> None:
    if session.recipe.predict.saliency == "none" and not session.run.file("saliency").exists():
        return
    from tapetum.workflow.stages.explain import write_maps

    write_maps(session, decided)


def _log_recipe(recipe: Recipe, loaded: Loaded, record: Record) -> None:
    changed = [f"{key} = {json.dumps(value)}" for key, value, origin in loaded.explain() if origin != "default"]
    record(f"recipe {recipe.name}" + (f": {', '.join(changed)}" if len(changed) <= 12 else f" ({plural(len(changed), 'value')} set)"))


def _repeat_plan(run: Run, file: Path, recipe: Recipe) -> None:
    """Take over another run's plan.json; it must be possible for this recipe, and nothing else may be planned here yet.

    Raises:
        UserError: it is no plan, names members that the recipe has not, or the run has a plan of its own.
    """
    given = files.read_json(file)
    if not isinstance(given, dict) or not {"probe", "members"} & set(given):
        raise UserError(f"{file} is not a plan", need="the plan.json of a run")
    if unknown := [name for name in given.get("members", {}) if name not in recipe.members()]:
        raise UserError(f"{file} plans the members {listed(unknown)}, and the recipe has {listed(recipe.members())}")
    planned = run.plan()
    if any(key in given and planned[key] != given[key] for key in planned):
        raise UserError(f"{run.root} goes on by its own plan.json, which differs from {file}", fix="choose a new folder with -o")
    run.keep_plan(**given)


def _plan_is_possible(recipe: Recipe, prepared: Prepared) -> None:
    if not recipe.probe.enabled and all(one.train.epochs == 0 and not one.stages for one in recipe.members().values()):
        raise UserError("neither the probe nor any training is asked for", fix="set probe.enabled = true or train.epochs > 0")
    if recipe.decide.choose == PROBE and not recipe.probe.enabled:
        raise UserError("decide.choose is 'probe' and probe.enabled is false", fix="enable one or change the other")
    there = sorted({int(f) for f in prepared.manifest.fold[prepared.train] if f >= 0})
    for member in recipe.members():
        if unknown := [fold for fold in recipe.only_folds(member) or () if fold not in there]:
            raise UserError(
                f"member {member!r} runs on the folds {listed(unknown)}, and there are {listed(there)}", fix="change only_folds"
            )
    if not len(np.unique(prepared.manifest.fold[prepared.train])) >= 1:
        raise UserError("no row trains", fix="check the label column and the split")


def _seconds_kept(run: Run) -> float:
    """Return the seconds of earlier starts whose work still stands: redone work after a kill is not counted."""
    kept = 0.0
    if run.file("run.json").exists():
        for start in files.read_json(run.file("run.json"))["starts"]:
            kept += sum(value for name, value in start["seconds"].items() if name in ("files", "probe"))
    for history in run.root.glob("members/*/*/history.csv"):
        kept += float(files.read_csv(history)["seconds"].sum())
    return kept
