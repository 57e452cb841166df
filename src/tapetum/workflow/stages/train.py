"""Fine-tuning as jobs: the folds of each member that the plan names, their specs, and running them within a budget."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.config import Recipe
from tapetum.core.errors import UserError
from tapetum.core.runs import PROBE, Record, Run
from tapetum.core.tables import Manifest, Predictions
from tapetum.decide import choose
from tapetum.learn.training import job, windowed
from tapetum.learn.training.keep import Keeper
from tapetum.workflow.session import Prepared
from tapetum.workflow.stages import budget as budgets
from tapetum.workflow.stages.networks import checkpoint_of
from tapetum.workflow.stages.plan import plan_member


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
        plan = plan_member(run, member, own, prepared, recipe, record, clock, share=1 / (len(members) - number))
        for place, fold in enumerate(plan["folds"]):
            if plan.get("cuts", {}).get(str(fold)) == 0:
                continue  # an earlier start had no time for it
            later = 0 if given or clock.budget is None else len(plan["folds"]) - place - 1
            if given or _may_begin(run, member, fold, plan, clock):
                _run_fold(run, member, fold, own, plan, prepared, record, None if given else clock, later)
                if after_fold is not None:
                    after_fold(member, fold)
            else:
                record(f"warning: member {member} fold {fold} is not begun: the budget ends")
                _keep_cut(run, member, fold, 0)


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
        record(f"warning: member {member} fold {fold} was cut after epoch {state['epochs']}: the budget ends")
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
        features=windowed.features_of(own, run.features, spec.parent, base_of(run, own, fold, prepared.manifest)),
    )


def base_of(run: Run, own: Recipe, fold: int, manifest: Manifest) -> tuple[Path, str] | None:
    """Return (folder, checkpoint) of the fold model whose features a member's fold reads; None for the pretrained backbone.

    The checkpoint is that member's choice for the fold, made on the other folds; of a refit, the final one.

    Raises:
        UserError: that member did not train this fold.
    """
    source = own.sequence.features
    if own.sequence.length == 1 or source in ("frozen", "end-to-end"):
        return None
    heldout = {f: Predictions.read(path) for f, path in run.folds_of(source, "epochs.parquet").items()}
    folder = run.member(source, fold)
    if not (folder / "state.json").exists() or not heldout:
        raise UserError(f"features of member {source!r} are wanted for fold {fold}, which it did not train", fix="give both the same folds")
    other = Recipe.model_validate(files.read_json(folder / "spec.json")["recipe"])
    scored = [t for t in manifest.targets if t.scored]
    found = choose.pick_epochs(heldout, other.train.monitor, checkpoint_of(other.train.epoch), scored, manifest.weights)
    known = Keeper(folder).state()["checkpoints"]
    wanted = found.final if fold < 0 else found.per_fold[fold]
    return folder, wanted if wanted in known else known[-1]
