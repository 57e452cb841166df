"""A trial: the chain up to its decisions with some recipe keys changed, on the rows, folds and stored features of a run.

``tune`` and ``ablate`` are made of trials. A trial's folder is named by what it changes, so the same trial is never computed twice and one
that was killed goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tapetum.core import config, files, hashes
from tapetum.core import marks as figures
from tapetum.core.config import Recipe
from tapetum.core.errors import UserError
from tapetum.core.runs import HASHED, PROBE, Record, Run
from tapetum.core.tables import Dense, Predictions
from tapetum.workflow.choices import ALL
from tapetum.workflow.session import Session
from tapetum.workflow.stages.decide import RunDecisions, decide_run
from tapetum.workflow.stages.measure import measure_run

FIXED = ("data", "split", "derive", "profile", "tune", "statements", "name")  # of the run: rows, folds, and what is no setting
IMAGES = ("size", "resize", "interpolation", "normalise", "cache")  # of [input], what may change without another look at the files


@dataclasses.dataclass(frozen=True)
class Trial(Run):
    """A run inside another: manifest and features are that one's.

    Args:
        root: the trial's folder.
        parent: the run.
    """

    parent: Run

    @property
    def features(self) -> Path:
        """The parent's store, so that trials share it."""
        return self.parent.features

    def mend(self, name: str) -> str:
        """Return what mends a file that is not the one that was written."""
        return "put the trial's own file back, or begin anew in another folder with -o"


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a recipe with some dotted keys changed, checked as if it had been written so.

    Raises:
        UserError: an unknown key or value, or one that would change rows, folds or what the images are.
    """
    for key in values:
        first, _, rest = key.partition(".")
        if first in FIXED or (first == "input" and rest.partition(".")[0] not in IMAGES):
            raise UserError(
                f"{key!r} cannot change between trials: it decides rows, folds or images, which they share",
                fix="make a run of its own with tapetum fit, then tapetum compare",
            )
    whole = recipe.model_dump(mode="python", exclude={"profile"})
    for key, value in values.items():
        *parts, last = key.split(".")
        table = whole
        for part in parts:
            if not isinstance(table.get(part), dict):
                table[part] = {}
            table = table[part]
        table[last] = value  # replaced as a whole: merging could never empty a table
    checked = config.validated(whole)
    for member in checked.members().values():
        config.check_choices(member, ALL)
    return checked


def run_trial(
    parent: Session, recipe: Recipe, name: str, after_fold: Callable[[Trial, str, int], None] | None = None
) -> tuple[Trial, RunDecisions]:
    """Train a trial's members and decide; what is done already is only read, and its messages go nowhere.

    Args:
        parent: of the run, with manifest and plan.
        recipe: the trial's.
        name: of the trial's folder.
        after_fold: called with (trial, member, fold) after each fold; may raise to end the trial.

    Returns:
        The trial and what was decided.
    """
    trial, session = _opened(parent, recipe, name)
    from tapetum.workflow.stages.train import train_members

    def after(member: str, fold: int) -> None:
        if after_fold is not None:
            after_fold(trial, member, fold)

    train_members(session, after_fold=after)
    decided = measure_run(session, decide_run(session))
    trial.seal()
    return trial, decided


def train_at_once(parent: Session, recipes: Mapping[str, Recipe]) -> None:
    """Train the folds of several trials at the parent's place, all at once; :func:`run_trial` then finds them done.

    A trial whose folds refuse their data is left for :func:`run_trial` to tell. Without a place nothing is done.

    Args:
        parent: of the run.
        recipes: name of the trial's folder → its recipe.
    """
    if parent.place is None:
        return
    from tapetum.workflow.stages.train import train_ahead

    train_ahead([_opened(parent, recipe, name)[1] for name, recipe in recipes.items()], parent.log, refuse=False)


def _opened(parent: Session, recipe: Recipe, name: str) -> tuple[Trial, Session]:
    """Return a trial and its session, planned, with the probe's answers."""
    trial = Trial(files.make_folder(parent.run.root / "trials" / name), parent.run)
    trial.checked(*HASHED, goes_on=True)
    hashes.forget(trial.root)
    if not trial.manifest_file.exists():
        files.copy(parent.run.manifest_file, trial.manifest_file)
    files.write_text(trial.recipe_file, recipe.to_toml())
    session = Session(trial, parent.prepared, recipe, Record(None), place=parent.place, devices=parent.devices)
    _plan_as_parent(dataclasses.replace(session, run=parent.run), trial)
    if recipe.probe.enabled:
        from tapetum.workflow.stages.probe import probe_member

        probe_member(session)
    return trial, session


def _plan_as_parent(parent: Session, trial: Trial) -> None:
    """Let a trial compute as the first one did, so that nothing is measured twice and trials differ by what they change alone."""
    plan, kept = trial.plan(), parent.run.plan()
    from tapetum.workflow.stages.plan import epochs_of, folds_for, plan_of

    members = dict(plan.get("members", {}))
    for member, member_recipe in parent.recipe.members().items():
        epochs = epochs_of(member_recipe)
        if member in members or not epochs:
            continue
        if member not in kept.get("members", {}):
            plan_of(parent, member)
            kept = parent.run.plan()
        members[member] = {
            **{key: kept["members"][member][key] for key in ("engine", "answers", "batch") if key in kept["members"][member]},
            "folds": folds_for(parent.recipe, member, parent.prepared),
            "epochs": epochs,
            "why": "as the trial says",
        }
    if "probe" in kept and "probe" not in plan:
        plan["probe"] = kept["probe"]
    files.write_json(trial.plan_file, {**plan, "members": members})


def keep_small(trial: Trial) -> None:
    """Remove a trial's weights; its answers stay."""
    for folder in trial.root.glob("members/*/*/checkpoints"):
        files.remove(folder)


def answers(trial: Run, target: str) -> Dense:
    """Return a trial's decided out-of-fold answers for a target.

    Raises:
        DataError: a file of the trial is not the one that it wrote.
    """
    return Predictions.read(trial.checked().file("oof.parquet")).dense(target)


def marks(trial: Run, target: str) -> list[str]:
    """Return the marks of a trial's answers for a target, in words; that they are in-sample is one of them."""
    figure = figures.main(files.read_json(trial.file("metrics.json"))["figures"], target)
    return [] if figure is None else list(figure.get("marks", ()))


def probe_answers(trial: Run, target: str) -> Dense | None:
    """Return the probe's out-of-fold answers for a target, or None where it does not answer it."""
    trial.checked(f"members/{PROBE}/*/oof.parquet")
    tables = [Predictions.read(path) for path in trial.folds_of(PROBE, "oof.parquet").values()]
    if not tables or target not in [t.name for t in tables[0].targets]:
        return None
    return Predictions.concat(tables).dense(target, PROBE)
