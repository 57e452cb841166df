"""Which folds of a member train for how many epochs, on what engine: measured once, within a budget, and kept in plan.json."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from tapetum.core import files
from tapetum.core.config import Recipe, Schedule
from tapetum.core.errors import UserError, listed
from tapetum.core.words import plural
from tapetum.learn import memory, models, runtime, speed
from tapetum.learn.training import schedules
from tapetum.workflow.session import Prepared, Session
from tapetum.workflow.stages import budget as budgets
from tapetum.workflow.stages.answering import count_answers, count_views, plan_answers, shape_of
from tapetum.workflow.stages.budget import set_threads
from tapetum.workflow.stages.networks import probe_input

START = 4.0  # seconds that a fold needs before its first epoch: its network, images and optimizer
LEAST = 2.0  # times the time of an answer that a step forward and backward takes at least
BODY = 1500.0  # windows a second through a body over kept vectors, on the safe side


def plan_of(session: Session, member: str) -> dict[str, Any]:
    """Return a member's plan without a budget: the engine, the recipe's folds and epochs."""
    return plan_member(session.without_budget(), member)


def folds_for(recipe: Recipe, member: str, prepared: Prepared) -> list[int]:
    """Return the folds that a member runs on."""
    every = sorted({int(f) for f in prepared.manifest.fold[prepared.train] if f >= 0})
    wanted = recipe.only_folds(member)
    return [f for f in every if wanted is None or f in wanted]


def plan_member(session: Session, member: str, share: float = 1.0) -> dict[str, Any]:
    """Return a member's plan: read where plan.json has it, else measured and written there.

    Args:
        session: of the run.
        member: its name.
        share: of the time that is left, which this member may take.
    """
    folds = folds_for(session.recipe, member, session.prepared)
    if (planned := session.run.plan().get("members", {}).get(member)) is not None:
        if unknown := [fold for fold in planned["folds"] if fold not in folds]:
            raise UserError(
                f"plan.json trains member {member!r} on the folds {listed(unknown)}, and this run has {listed(folds)}",
                fix="repeat a plan with the folds it was made for",
            )
        return dict(planned)
    member_recipe = session.recipe.members()[member]
    plan = _hopeless(session, member_recipe, folds) or _measured(session, member, folds, share)
    session.log(f"member {member} will be fine-tuned: {plan['why']}" if plan["folds"] else f"member {member}: {plan['why']}")
    whole = session.run.plan()
    files.write_json(session.run.plan_file, {**whole, "members": {**whole.get("members", {}), member: plan}})
    return plan


def _measured(session: Session, member: str, folds: list[int], share: float) -> dict[str, Any]:
    """Return a plan by what this machine computes in a second."""
    member_recipe, prepared, log = session.recipe.members()[member], session.prepared, session.log
    manifest, form, clock = prepared.manifest, prepared.form, session.clock or budgets.Clock(None)
    network = models.build(member_recipe.model, manifest.targets, form.channels, member_recipe.input, side=len(manifest.side), log=log)
    shape = shape_of(member_recipe, prepared)
    set_threads(session.run, member_recipe.train, log)
    stored = member_recipe.sequence.length > 1 and member_recipe.sequence.features != "end-to-end"  # the backbone only answers
    work = speed.Work(shape, training=not stored, dtype=getattr(torch, form.dtype))
    how: dict[str, Any] = {"rate": clock.budget is not None, "limit": clock.measuring}
    measured = speed.decide_engine(member_recipe.train, network, work, **how)
    log(f"member {member}: {measured.summary()}")
    epochs = epochs_of(member_recipe)
    plan: dict[str, Any] = {"engine": measured.engine.to_dict(), "folds": folds, "epochs": epochs, "why": "the recipe's folds and epochs"}
    if member_recipe.train.batch == "auto" and not stored:
        plan["batch"], why = _largest_batch(member_recipe, network, prepared, measured.engine, folds)
        log(f"member {member}: batches of {plural(plan['batch'], 'image')} ({why})")
    rates = None if clock.budget is None else _rates(member_recipe, network, work, measured, **how)
    if rates is not None:
        plan |= _within_budget(session, member_recipe, folds, rates, share)
    answers = plan_answers(session, member_recipe, network, measured.engine, {**plan, "folds": folds})
    if rates is not None and (other := budgets.OtherEngine.from_plan(answers)) is not None:  # it leaves time for more
        plan |= _within_budget(session, member_recipe, folds, dataclasses.replace(rates, other=other), share)
    return plan | ({"answers": answers} if answers else {})


def _within_budget(session: Session, member_recipe: Recipe, folds: list[int], rates: budgets.Rates, share: float) -> dict[str, Any]:
    """Return what of the folds and epochs fits into the budget, at the rates of a member's network."""
    prepared, clock, epochs = session.prepared, session.clock or budgets.Clock(None), epochs_of(member_recipe)
    shape = shape_of(member_recipe, prepared)
    share *= len(folds) / (len(folds) + 1.5) if session.recipe.decide.pipeline == "refit" else 1.0  # a refit has more rows than a fold
    if member_recipe.sequence.length > 1:
        rates = window_rates(rates, member_recipe, len(prepared.manifest))
    rows = {f: (len(prepared.fitting(f)), len(prepared.heldout(f))) for f in folds}
    again = rates.answering(count_answers(member_recipe, shape) * max(heldout for _, heldout in rows.values()))  # at the end of a fold
    again += len(prepared.test) * count_views(member_recipe, shape) / rates.inference  # the fold's model in the pipeline
    rates = dataclasses.replace(rates, start=rates.start + again)
    plan = budgets.plan(clock.left * share, rows, epochs, rates)
    plan["rates"] = {"training": round(rates.training, 2), "inference": round(rates.inference, 2)}
    plan["rates"] |= {"held_out": round(rates.other.inference, 2)} if rates.other else {}
    plan["budget"] = clock.budget
    if plan["epochs"] < epochs and (member_recipe.stages or not _fits(member_recipe.schedule, plan["epochs"])):
        what = "stages" if member_recipe.stages else f"schedule {member_recipe.schedule.name!r}"
        plan |= {
            "folds": [],
            "epochs": 0,
            "why": f"the recipe's {what} takes {plural(epochs, 'epoch')}, the budget allows {plan['epochs']}",
        }
    return plan


def epochs_of(member_recipe: Recipe) -> int:
    """Return the epochs of a recipe, those of all stages together."""
    return sum(stage.epochs for stage in member_recipe.stages) if member_recipe.stages else member_recipe.train.epochs


def _hopeless(session: Session, member_recipe: Recipe, folds: list[int]) -> dict[str, Any] | None:
    """Return the plan to fine-tune nothing where not one fold can fit, so that nothing is measured for it; None where one may.

    A step forward and backward takes at least twice as long as the answer that the probe was measured with, per pixel.
    """
    clock, prepared, fewest = session.clock, session.prepared, min(budgets.FEWEST, epochs_of(member_recipe))
    if clock is None or clock.budget is None or member_recipe.sequence.length > 1:
        return None
    measured = session.run.plan().get("probe", {})
    named = runtime.Engine.from_dict(measured["engine"]).name if "engine" in measured else ""
    each = measured.get("seconds_per_image", {}).get(named, 0.0) * _share_of_pixels(member_recipe, prepared)
    rows = min((len(prepared.fitting(fold)) for fold in folds), default=0)
    least = START + fewest * rows * LEAST * each
    left = clock.left * (1 - budgets.RESERVE)
    if least <= left:
        return None
    engine = speed.engines_for(member_recipe.train, training=True)[0]
    why = f"no fine-tuning: one fold for {plural(fewest, 'epoch')} needs {least:.0f} s at least, {max(left, 0):.0f} s are left"
    return {"engine": engine.to_dict(), "folds": [], "epochs": 0, "epoch_seconds": {}, "seconds": 0.0, "why": why, "budget": clock.budget}


def _share_of_pixels(member_recipe: Recipe, prepared: Prepared) -> float:
    """Return the pixels that a member trains on over those that the probe was measured on, at most 1."""
    _, height, width = shape_of(member_recipe, prepared)
    size = probe_input(member_recipe).size
    tall, wide = prepared.form.size if size == "native" else (size, size) if isinstance(size, int) else size
    return min(1.0, height * width / max(1, tall * wide))


def _largest_batch(
    member_recipe: Recipe, network: torch.nn.Module, prepared: Prepared, engine: runtime.Engine, folds: list[int]
) -> tuple[int, str]:
    """Return the batch that ``train.batch = "auto"`` means, at the largest size of any stage; a window counts all its images."""
    shapes = [
        shape_of(member_recipe.model_copy(update={"input": member_recipe.input.model_copy(update={"size": stage.size})}), prepared)
        for stage in member_recipe.stages
        if stage.size
    ]
    shape = max([shape_of(member_recipe, prepared), *shapes], key=lambda s: s[1] * s[2])
    rows = min(len(prepared.fitting(fold)) for fold in folds)
    batch, why = memory.largest_batch(network, shape, engine, rows=rows, dtype=getattr(torch, prepared.form.dtype))
    return max(2, batch // member_recipe.sequence.length), why


def _rates(member_recipe: Recipe, network: torch.nn.Module, work: speed.Work, measured: speed.Measured, **how: Any) -> budgets.Rates:
    """Return images a second of training and of answering, images being at hand.

    Args:
        member_recipe: the member's recipe.
        network: the member's.
        work: what was measured; where that was answering, the backbone trains no images.
        measured: its engine and the seconds.
        how: of :func:`speed.decide_engine`, for what else must be measured.
    """
    engine = measured.engine
    given = measured.seconds[engine.name]
    answer = given
    if work.training:
        named = member_recipe.train.model_copy(update={"precision": engine.precision, "channels_last": engine.channels_last})
        found = speed.decide_engine(named, network, dataclasses.replace(work, training=False), device=engine.device, **how)
        answer = found.seconds[engine.name]
    return budgets.Rates(budgets.rate(given), budgets.rate(answer), start=START)


def window_rates(single: budgets.Rates, member_recipe: Recipe, rows: int) -> budgets.Rates:
    """Return the rates of a sequence model: images once and windows ever after, or whole windows of images.

    Args:
        single: of single images.
        member_recipe: the member's recipe.
        rows: of the manifest.
    """
    length = member_recipe.sequence.length
    if member_recipe.sequence.features == "end-to-end":
        return budgets.Rates(single.training / length, single.inference, single.start)
    shared = (
        1 if member_recipe.sequence.features == "frozen" else 0
    )  # those of a pretrained backbone serve all folds, and often stand already
    return budgets.Rates(BODY, 2 * BODY, single.start + (0.3 if shared else 1.0) * single.answering(rows))


def _fits(schedule: Schedule, epochs: int) -> bool:
    """Tell whether a schedule can run in so many epochs (phases add up to their own number, a cycle must end)."""
    try:
        schedules.check(schedule, epochs)
    except UserError:
        return False
    return True
