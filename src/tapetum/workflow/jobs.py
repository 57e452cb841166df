"""Fine-tuning as jobs: which members and folds run for how many epochs, their specs, and running them within a budget."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import torch

from tapetum.core import files
from tapetum.core.config import Recipe, Schedule
from tapetum.core.errors import UserError, listed
from tapetum.core.runs import Record, Run
from tapetum.learn import memory, models, runtime, speed
from tapetum.learn.training import job, schedules, windowed
from tapetum.workflow import budget as budgets
from tapetum.workflow import neighbours, reducing
from tapetum.workflow.prepare import Prepared
from tapetum.workflow.settle import PROBE
from tapetum.workflow.threads import set_threads

START = 4.0  # seconds that a fold needs before its first epoch: its network, images and optimizer
LEAST = 2.0  # times the time of an answer that a step forward and backward takes at least


def train_members(
    run: Run,
    prepared: Prepared,
    recipe: Recipe,
    record: Record,
    clock: budgets.Clock,
    given: bool = False,
    after_fold: Callable[[str, int], None] | None = None,
) -> None:
    """Train every fold of every member that the plan names; done ones are passed over.

    Args:
        run: its folder.
        prepared: rows and folds.
        recipe: with its members.
        record: told what is planned and done.
        clock: the budget.
        given: the plan comes from another run and is repeated as it stands, whatever the time.
        after_fold: told (member, fold) after each; may raise to end here.
    """
    members = {name: own for name, own in recipe.members().items() if own.stages or own.train.epochs}
    for number, (member, own) in enumerate(members.items()):
        if (kept := run.plan().get("members", {}).get(member)) and (note := budgets.against(kept, clock.budget, given=given)):
            record(f"member {member}: {note}")
        plan = _planned(run, member, own, prepared, recipe, record, clock, share=1 / (len(members) - number))
        for place, fold in enumerate(plan["folds"]):
            if plan.get("cuts", {}).get(str(fold)) == 0:
                continue  # an earlier start had no time for it
            later = 0 if given or clock.budget is None else len(plan["folds"]) - place - 1
            if given or _may_begin(run, member, fold, plan, clock):
                _run_fold(run, member, fold, own, plan, prepared, record, None if given else clock, later)
                if after_fold is not None:
                    after_fold(member, fold)
            else:
                record(f"member {member} fold {fold} is not begun: the budget ends")
                _keep_cut(run, member, fold, 0)


def plan_of(run: Run, member: str, own: Recipe, prepared: Prepared, recipe: Recipe, record: Record) -> dict[str, Any]:
    """Return a member's plan without a budget: the engine, the recipe's folds and epochs."""
    return _planned(run, member, own, prepared, recipe, record, budgets.Clock(None), share=1.0)


def refit_member(run: Run, prepared: Prepared, recipe: Recipe, member: str, epochs: int | None, record: Record) -> None:
    """Train a member once more, on all rows, to the epoch that the folds chose.

    Args:
        run: with the member's plan.
        prepared: rows.
        recipe: with its members.
        member: its name.
        epochs: after which it ends (the rate goes as planned for all epochs, as it did in the folds); None: all of them.
        record: told what is done.
    """
    own, plan = recipe.members()[member], run.plan()["members"][member]
    _run_fold(run, member, -1, own, {**plan, "cuts": {} if epochs is None else {"-1": epochs}}, prepared, record, None)


def folds_for(recipe: Recipe, member: str, prepared: Prepared) -> list[int]:
    """Return the folds that a member runs on."""
    every = sorted({int(f) for f in prepared.manifest.fold[prepared.train] if f >= 0})
    wanted = recipe.only_folds(member)
    return [f for f in every if wanted is None or f in wanted]


def _planned(
    run: Run, member: str, own: Recipe, prepared: Prepared, recipe: Recipe, record: Record, clock: budgets.Clock, share: float
) -> dict[str, Any]:
    """Return a member's plan: read where plan.json has it, else measured and written there."""
    kept = run.plan().get("members", {})
    if member in kept:
        there = folds_for(recipe, member, prepared)
        if unknown := [fold for fold in kept[member]["folds"] if fold not in there]:
            raise UserError(
                f"plan.json trains member {member!r} on the folds {listed(unknown)}, and this run has {listed(there)}",
                fix="repeat a plan with the folds it was made for",
            )
        return dict(kept[member])
    folds = folds_for(recipe, member, prepared)
    epochs = own.train.epochs if not own.stages else sum(stage.epochs for stage in own.stages)
    if (nothing := _hopeless(run, own, prepared, clock, folds, epochs)) is not None:
        return _keep_planned(run, member, nothing, record)
    network = models.build(
        own.model, prepared.manifest.targets, prepared.form.channels, own.input, side=len(prepared.manifest.side), log=record
    )
    shape, dtype = _shape(own, prepared), getattr(torch, prepared.form.dtype)
    set_threads(run, own.train, record)
    kept = own.sequence.length > 1 and own.sequence.features != "end-to-end"  # the backbone only answers
    has_budget = clock.budget is not None
    how: dict[str, Any] = {"dtype": dtype, "rate": has_budget, "limit": clock.measuring}
    measured = speed.decide_engine(own.train, network, shape, training=not kept, **how)
    record(f"member {member}: {measured.said()}")
    plan: dict[str, Any] = {"engine": measured.engine.to_dict(), "folds": folds, "epochs": epochs, "why": "the recipe's folds and epochs"}
    if own.train.batch == "auto" and not kept:
        plan["batch"], why = _largest_batch(own, network, prepared, measured.engine, folds)
        record(f"member {member}: batches of {plan['batch']} images ({why})")
    if has_budget:
        share *= len(folds) / (len(folds) + 1.5) if recipe.decide.pipeline == "refit" else 1.0  # a refit has more rows than a fold
        rates = _rates(own, network, shape, measured, answering=kept, **how)
        if own.sequence.length > 1:
            rates = neighbours.rates(rates, own, len(prepared.manifest))
        rows = {f: (len(prepared.fitting(f)), len(prepared.heldout(f))) for f in folds}
        again = reducing.count(own, shape) * max(heldout for _, heldout in rows.values()) / rates.inference  # views, at the end of a fold
        again += len(prepared.test) * reducing.views(own, shape) / rates.inference  # the fold's model in the pipeline
        rates = dataclasses.replace(rates, start=rates.start + again)
        plan |= budgets.plan(clock.left * share, rows, epochs, rates)
        plan["rates"] = {"training": round(rates.training, 2), "inference": round(rates.inference, 2)}
        plan["budget"] = clock.budget
        if plan["epochs"] < epochs and (own.stages or not _fits(own.schedule, plan["epochs"])):
            what = "stages" if own.stages else f"schedule {own.schedule.name!r}"
            plan |= {"folds": [], "epochs": 0, "why": f"the recipe's {what} takes {epochs} epochs, the budget allows {plan['epochs']}"}
    return _keep_planned(run, member, plan, record)


def _keep_planned(run: Run, member: str, plan: dict[str, Any], record: Record) -> dict[str, Any]:
    """Say a member's plan and write it into plan.json."""
    record(f"member {member} will be fine-tuned: {plan['why']}")
    whole = run.plan()
    files.write_json(run.plan_file, {**whole, "members": {**whole.get("members", {}), member: plan}})
    return plan


def _hopeless(run: Run, own: Recipe, prepared: Prepared, clock: budgets.Clock, folds: list[int], epochs: int) -> dict[str, Any] | None:
    """Return the plan to fine-tune nothing where not one fold can fit, so that nothing is measured for it; None where one may.

    A step forward and backward takes at least twice as long as the answer that the probe was measured with, per pixel.
    """
    if clock.budget is None or own.sequence.length > 1:
        return None
    kept = run.plan().get("probe", {})
    each = kept.get("seconds_per_image", {}).get(runtime.Engine.from_dict(kept["engine"]).name, 0.0) if "engine" in kept else 0.0
    each *= _share_of_pixels(own, prepared)
    rows = min((len(prepared.fitting(fold)) for fold in folds), default=0)
    least = START + min(budgets.FEWEST, epochs) * rows * LEAST * each
    left = clock.left * (1 - budgets.RESERVE)
    if least <= left:
        return None
    engine = speed.engines_for(own.train, training=True)[0]
    why = f"no fine-tuning: one fold for {min(budgets.FEWEST, epochs)} epochs needs {least:.0f} s at least, {max(left, 0):.0f} s are left"
    return {"engine": engine.to_dict(), "folds": [], "epochs": 0, "epoch_seconds": {}, "seconds": 0.0, "why": why, "budget": clock.budget}


def _share_of_pixels(own: Recipe, prepared: Prepared) -> float:
    """Return the pixels that a member trains on over those that the probe was measured on, at most 1."""
    from tapetum.workflow.probing import probe_input

    _, height, width = _shape(own, prepared)
    size = probe_input(own).size
    tall, wide = prepared.form.size if size == "native" else (size, size) if isinstance(size, int) else size
    return min(1.0, height * width / max(1, tall * wide))


def _run_fold(
    run: Run,
    member: str,
    fold: int,
    own: Recipe,
    plan: dict[str, Any],
    prepared: Prepared,
    record: Record,
    clock: budgets.Clock | None,
    later: int = 0,
) -> None:
    """Run one fold's job; where a budget runs, it leaves the fewest epochs of ``later`` further folds their time."""
    folder = files.make_folder(run.member(member, fold))
    spec = folder / "spec.json"
    if not spec.exists():
        write_spec(run, spec, member, fold, own, plan, prepared)

    def may_go_on(epochs: int, seconds: float) -> bool:
        return clock is None or clock.allows(seconds * (1.05 + later * min(budgets.FEWEST, plan["epochs"])))

    state = job.run(spec, may_go_on=may_go_on if clock is not None and clock.budget is not None else None, log=record)
    if fold < 0:
        record(f"member {member} trained once more on all {len(prepared.fitting(fold))} rows, {state['epochs']} epochs")
    elif state.get("stop") == "budget":
        record(f"member {member} fold {fold} was cut after epoch {state['epochs']}: the budget ends")
        _keep_cut(run, member, fold, state["epochs"])
    elif state.get("stop"):
        record(f"member {member} fold {fold} stopped after epoch {state['epochs']}: {state['stop']}")


def _may_begin(run: Run, member: str, fold: int, plan: dict[str, Any], clock: budgets.Clock) -> bool:
    """Tell whether a fold is begun already, or has the time for an epoch, as long as those of the folds before took."""
    if clock.budget is None or (run.member(member, fold) / "state.json").exists():
        return True
    took = [seconds for path in run.folds_of(member, "history.csv").values() for seconds in pl.read_csv(path)["seconds"].to_list()]
    # a plan made without a budget knows no times: the first fold begins where any time is left, and its epochs then tell
    expected = sum(took) / len(took) if took else plan.get("epoch_seconds", {}).get(str(fold), 0.0)
    return clock.allows(expected)


def _keep_cut(run: Run, member: str, fold: int, epochs: int) -> None:
    """Write into plan.json after how many epochs a fold ended, so that the plan can be repeated."""
    whole = run.plan()
    whole["members"][member]["cuts"] = {**whole["members"][member].get("cuts", {}), str(fold): epochs}
    files.write_json(run.plan_file, whole)


def write_spec(run: Run, spec: Path, member: str, fold: int, own: Recipe, plan: dict[str, Any], prepared: Prepared) -> Path:
    """Write a fold's spec: all that its job depends on, besides images and pretrained weights."""
    recipe = own if own.stages else own.model_copy(update={"train": own.train.model_copy(update={"epochs": plan["epochs"]})})
    if recipe.train.batch == "auto" and plan.get("batch"):
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch": plan["batch"]})})
    heads = run.member(PROBE, fold)
    return job.write_spec(
        spec.parent,
        run.manifest_file,
        member=member,
        fold=fold,
        recipe=recipe.model_dump(mode="json", exclude={"profile", "member"}),
        manifest_hash=prepared.manifest.content_hash(),
        data_root=str(prepared.manifest.root),
        train=prepared.fitting(fold).tolist(),
        heldout=prepared.heldout(fold).tolist(),
        form=prepared.form.to_dict(),
        missing=dict(prepared.reasons),
        probe=Path(os.path.relpath(heads, spec.parent)).as_posix() if heads.exists() else None,
        engine=plan["engine"],
        threads=run.plan().get("threads"),
        until=plan.get("cuts", {}).get(str(fold)),
        features=windowed.features_of(own, run.features, spec.parent, neighbours.base_of(run, own, fold, prepared.manifest)),
    )


def _largest_batch(own: Recipe, network: torch.nn.Module, prepared: Prepared, engine: runtime.Engine, folds: list[int]) -> tuple[int, str]:
    """Return the batch that ``train.batch = "auto"`` means, at the largest size of any stage; a window counts all its images."""
    shapes = [
        _shape(own.model_copy(update={"input": own.input.model_copy(update={"size": stage.size})}), prepared)
        for stage in own.stages
        if stage.size
    ]
    shape = max([_shape(own, prepared), *shapes], key=lambda s: s[1] * s[2])
    rows = min(len(prepared.fitting(fold)) for fold in folds)
    batch, why = memory.largest_batch(network, shape, engine, rows=rows, dtype=getattr(torch, prepared.form.dtype))
    return max(2, batch // own.sequence.length), why


def _shape(own: Recipe, prepared: Prepared) -> tuple[int, int, int]:
    size = own.input.size
    height, width = prepared.form.size if size == "native" else (size, size) if isinstance(size, int) else size
    return prepared.form.channels, height, width


def _rates(
    own: Recipe, network: torch.nn.Module, shape: tuple[int, ...], measured: speed.Measured, *, answering: bool, **how: Any
) -> budgets.Rates:
    """Return images a second of training and of answering, images being at hand.

    Args:
        own: the member's recipe.
        network: the member's.
        shape: of its images.
        measured: its engine and what was measured of it.
        answering: whether that was answering; the backbone then trains no images.
        how: of :func:`speed.decide_engine`, for what else must be measured.
    """
    engine = measured.engine
    given = measured.seconds[engine.name]
    answer = given
    if not answering:
        named = own.train.model_copy(update={"precision": engine.precision, "channels_last": engine.channels_last})
        found = speed.decide_engine(named, network, shape, training=False, device=engine.device, **how)
        answer = found.seconds[engine.name]
    training, inference = (1 / (value * 1.1 + budgets.DECODE) for value in (given, answer))
    return budgets.Rates(training, inference, start=START)


def _fits(schedule: Schedule, epochs: int) -> bool:
    """Tell whether a schedule can run in so many epochs (phases add up to their own number, a cycle must end)."""
    try:
        schedules.check(schedule, epochs)
    except UserError:
        return False
    return True
