"""Fine-tuning as jobs: the folds of each member that the plan names, their specs, and running them within a budget."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tapetum.core import files, hashes
from tapetum.core.config import Recipe
from tapetum.core.errors import DataError, UserError
from tapetum.core.progress import Log
from tapetum.core.runs import PROBE, Run, checkpoint_of
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.words import plural
from tapetum.decide import choose
from tapetum.learn.training import job, windowed
from tapetum.learn.training.keep import Keeper
from tapetum.workflow.launch.tasks import Task, run_all
from tapetum.workflow.session import FoldRef, Session, misplaced
from tapetum.workflow.stages import budget as budgets
from tapetum.workflow.stages.plan import plan_member

VECTOR = ("backbone", "weights", "channels", "pooling", "options")  # keys of the model that make the vector which heads see


def train_members(session: Session, given: bool = False, after_fold: Callable[[str, int], None] | None = None) -> None:
    """Train every fold of every member that the plan names; done ones are passed over.

    Args:
        session: of the run.
        given: the plan comes from another run and is repeated as it is, whatever the time.
        after_fold: called with (member, fold) after each; may raise to end here.
    """
    members = {name: one for name, one in session.recipe.members().items() if one.stages or one.train.epochs}
    budget = None if session.clock is None else session.clock.budget
    if session.place is not None:
        train_ahead([session], session.log)
    unbounded = session.without_budget()
    for number, member in enumerate(members):
        if (planned := session.run.plan().get("members", {}).get(member)) and (note := budgets.against(planned, budget, given=given)):
            session.log(f"member {member}: {note}")
        plan = plan_member(session, member, share=1 / (len(members) - number))
        for place, fold in enumerate(plan["folds"]):
            if plan.get("cuts", {}).get(str(fold)) == 0:
                continue  # an earlier start had no time for it
            later = 0 if given or budget is None else len(plan["folds"]) - place - 1
            ref = session.ref(member, fold)
            if given or _may_begin(session, ref, plan):
                _run_fold(unbounded if given else session, ref, plan, later)
                if after_fold is not None:
                    after_fold(member, fold)
            else:
                session.log(f"warning: member {member} fold {fold} is not begun: the budget ends")
                _keep_cut(session.run, ref, 0)


def train_ahead(sessions: Sequence[Session], log: Log, *, refuse: bool = True) -> None:
    """Train at their place every fold that the plans of some sessions name, as many at once as it takes; later each is found done.

    Members whose features come from folds of another one follow that one.

    Args:
        sessions: with one place.
        log: told of progress; what jobs log goes to their own session.
        refuse: raise at once where a fold refuses its data; else it is left for :func:`train_members`.
    """
    left = [(session, name) for session in sessions for name, one in session.recipe.members().items() if one.stages or one.train.epochs]
    while left:
        waited = {(id(session), name) for session, name in left}
        ready = [(s, n) for s, n in left if (id(s), s.recipe.members()[n].sequence.features) not in waited]
        folds = []
        for session, member in ready:
            plan = plan_member(session, member)
            refs = [session.ref(member, fold) for fold in plan["folds"] if plan.get("cuts", {}).get(str(fold)) != 0]
            folds += [(session, ref, plan) for ref in refs if Keeper(session.folder(ref)).state().get("status") != "done"]
        _train_elsewhere(folds, log, refuse=refuse)
        done = {(id(session), member) for session, member in ready}
        left = [(session, member) for session, member in left if (id(session), member) not in done]


def _train_elsewhere(folds: Sequence[tuple[Session, FoldRef, dict[str, Any]]], log: Log, *, refuse: bool = True) -> None:
    """Run the jobs of some folds at the place of their sessions; log what they logged, fold after fold."""
    by_task: dict[Task, tuple[Session, FoldRef]] = {}
    for session, ref, plan in folds:
        trial = "" if len({id(s) for s, _, _ in folds}) == 1 else f"{session.run.root.name} "
        name = f"{trial}{ref.member} " + ("refit" if ref.fold < 0 else f"fold {ref.fold}")
        threads = session.run.plan().get("threads") or ref.recipe.train.threads
        gpu = plan["engine"]["device"] == "cuda"
        spec = _spec_of(session, ref, plan)
        devices = session.devices if ref.recipe.sequence.length == 1 else 1  # what trains on vectors is quick in one process
        batch = ref.recipe.train.batch
        if devices > 1 and isinstance(batch, int) and batch < devices:  # before as many processes start
            raise UserError(
                f"--devices is {devices}, and a batch has {plural(batch, 'image')}", need="an image for each", fix="give --batch"
            )
        by_task[Task(name, spec, threads if isinstance(threads, int) else 1, devices, gpu)] = (session, ref)
    if not by_task or (place := folds[0][0].place) is None:
        return
    found = run_all(place, list(by_task), log, "training", refuse=refuse)
    for task, (session, ref) in by_task.items():
        for message in found.get(task.name, {}).get("log", ()):
            session.log(message)
        history = session.folder(ref) / "history.csv"
        for row in files.read_csv(history).to_dicts() if task.name in found and history.exists() else ():
            session.trackers.epoch(ref.member, ref.fold, row)


def refit_member(session: Session, member: str, epochs: int | None) -> None:
    """Train a member once more, on all rows, to the epoch that the folds chose.

    Args:
        session: of the run, with the member's plan.
        member: its name.
        epochs: after which it ends (the rate goes as planned for all epochs, as it did in the folds); None: all of them.
    """
    plan = session.run.plan()["members"][member]
    _run_fold(session.without_budget(), session.ref(member, -1), {**plan, "cuts": {} if epochs is None else {"-1": epochs}})


def _run_fold(session: Session, ref: FoldRef, plan: dict[str, Any], later: int = 0) -> None:
    """Run one fold's job; where a budget runs, it leaves the fewest epochs of ``later`` further folds their time."""
    clock, spec = session.clock, _spec_of(session, ref, plan)
    if session.place is not None and Keeper(spec.parent).state().get("status") != "done":
        _train_elsewhere([(session, ref, plan)], session.log)

    def may_go_on(epochs: int, seconds: float) -> bool:
        return clock is None or clock.allows(seconds * (1.05 + later * min(budgets.FEWEST, plan["epochs"])))

    bounded = clock is not None and clock.budget is not None
    after = functools.partial(session.trackers.epoch, ref.member, ref.fold)
    state = job.run(spec, may_go_on=may_go_on if bounded else None, log=session.log, after_epoch=after)
    if ref.fold < 0:
        session.log(
            f"member {ref.member} trained once more on all "
            f"{plural(len(session.prepared.fitting(-1)), 'row')}, {plural(state['epochs'], 'epoch')}"
        )
    elif state.get("stop") == "budget":
        session.log(f"warning: member {ref.member} fold {ref.fold} was cut after epoch {state['epochs']}: the budget ends")
        _keep_cut(session.run, ref, state["epochs"])
    elif state.get("stop"):
        session.log(f"member {ref.member} fold {ref.fold} stopped after epoch {state['epochs']}: {state['stop']}")


def _spec_of(session: Session, ref: FoldRef, plan: dict[str, Any]) -> Path:
    """Return a fold's spec, written where it is not there.

    Raises:
        DataError: the spec that is there is of another fold, member, recipe or data.
    """
    spec = files.make_folder(session.folder(ref)) / "spec.json"
    if not spec.exists():
        return write_spec(session, ref, plan, spec)
    known = job.read_spec(spec)
    if (known["member"], known["fold"]) != (ref.member, ref.fold):
        raise misplaced(spec, f"describes member {known['member']!r} fold {known['fold']}")
    if known["manifest_hash"] != session.manifest.content_hash():
        raise misplaced(spec, "was written for other rows")
    if _learned(Recipe.stored(known["recipe"])) != _learned(ref.recipe):
        raise misplaced(spec, "was written for another recipe")
    if not ref.recipe.stages and (begun := known["recipe"]["train"]["epochs"]) != plan["epochs"]:
        what = (
            f"{session.run.plan_file} plans {plural(plan['epochs'], 'epoch')} of member {ref.member!r}, and fold {ref.fold} was begun with"
        )
        raise DataError(f"{what} {begun}", fix="undo the change of plan.json, or choose another folder with -o")
    return spec


def _learned(recipe: Recipe) -> str:
    """Return a hash of what a fold learns by; epochs and batch are those of the plan, which a recipe need not say."""
    free = Recipe().train
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": free.epochs, "batch": free.batch})}).trained_hash()


def _may_begin(session: Session, ref: FoldRef, plan: dict[str, Any]) -> bool:
    """Tell whether a fold is begun already, or has the time for an epoch, as long as those of the folds before took."""
    clock = session.clock
    if clock is None or clock.budget is None or (session.folder(ref) / "state.json").exists():
        return True
    seconds = [s for path in session.run.folds_of(ref.member, "history.csv").values() for s in files.read_csv(path)["seconds"].to_list()]
    # a plan made without a budget has no times: the first fold begins where any time is left, and its epochs are then measured
    expected = sum(seconds) / len(seconds) if seconds else plan.get("epoch_seconds", {}).get(str(ref.fold), 0.0)
    return clock.allows(expected)


def _keep_cut(run: Run, ref: FoldRef, epochs: int) -> None:
    """Write into plan.json after how many epochs a fold ended, so that the plan can be repeated."""
    whole = run.plan()
    whole["members"][ref.member]["cuts"] = {**whole["members"][ref.member].get("cuts", {}), str(ref.fold): epochs}
    files.write_json(run.plan_file, whole)


def write_spec(session: Session, ref: FoldRef, plan: dict[str, Any], spec: Path) -> Path:
    """Write a fold's spec: all that its job depends on, besides images and pretrained weights."""
    run, prepared, recipe = session.run, session.prepared, ref.recipe
    if not recipe.stages:
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": plan["epochs"]})})
    if recipe.train.batch == "auto" and plan.get("batch"):
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch": plan["batch"]})})
    heads = run.member(PROBE, ref.fold)
    fits = heads.exists() and all(getattr(recipe.model, key) == getattr(session.recipe.model, key) for key in VECTOR)
    if heads.exists() and not fits and recipe.train.start == "probe" and recipe.sequence.length == 1:
        session.log(f"{ref.member} fold {ref.fold}: the probe was fitted on another backbone, so the heads start at random")
    base = base_of(run, ref.recipe, ref.fold, prepared.manifest)
    return job.write_spec(
        spec.parent,
        run.manifest_file,
        member=ref.member,
        fold=ref.fold,
        recipe=recipe.model_dump(mode="json", exclude={"profile", "member"}),
        manifest_hash=prepared.manifest.content_hash(),
        data_root=str(prepared.manifest.root),
        train=prepared.fitting(ref.fold).tolist(),
        heldout=prepared.heldout(ref.fold).tolist(),
        form=prepared.form.to_dict(),
        missing=dict(prepared.reasons),
        probe=Path(os.path.relpath(heads, spec.parent)).as_posix() if fits else None,
        engine=plan["engine"],
        answers=plan.get("answers"),
        store=files.relative(run.features, spec.parent),
        threads=run.plan().get("threads"),
        until=plan.get("cuts", {}).get(str(ref.fold)),
        features=windowed.features_of(ref.recipe, run.features, spec.parent, base),
    )


def base_of(run: Run, member_recipe: Recipe, fold: int, manifest: Manifest) -> tuple[Path, str] | None:
    """Return (folder, checkpoint) of the fold model whose features a member's fold reads; None for the pretrained backbone.

    The checkpoint is that member's choice for the fold, made on the other folds; of a refit, the final one.

    Raises:
        UserError: that member did not train this fold.
    """
    source = member_recipe.sequence.features
    if member_recipe.sequence.length == 1 or source in ("frozen", "end-to-end"):
        return None
    paths = run.folds_of(source, "epochs.parquet")
    for path in paths.values():
        hashes.check_fold(path.parent)
    heldout = {f: Predictions.read(path) for f, path in paths.items()}
    folder = run.member(source, fold)
    if not (folder / "state.json").exists() or not heldout:
        raise UserError(f"features of member {source!r} are wanted for fold {fold}, which it did not train", fix="give both the same folds")
    other = Recipe.stored(job.read_spec(folder / "spec.json")["recipe"])
    scored = [t for t in manifest.targets if t.scored]
    found = choose.pick_epochs(heldout, other.train.monitor, checkpoint_of(other.train.checkpoint), scored, manifest.weights)
    known = Keeper(folder).state()["checkpoints"]
    wanted = found.final if fold < 0 else found.per_fold[fold]
    return folder, wanted if wanted in known else known[-1]
