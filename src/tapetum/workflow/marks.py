"""The one place where a run's marks are collected: what touches which member, and so which figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tapetum.core import files
from tapetum.core.config import Recipe
from tapetum.core.marks import Mark
from tapetum.core.runs import START, Run
from tapetum.decide.choose import EpochChoice
from tapetum.workflow.prepare import Prepared

SOUP = "soup"


@dataclasses.dataclass(frozen=True)
class Marks:
    """The marks of a run.

    Args:
        everywhere: on every figure of its models.
        members: member → those on every figure that it has a part in.
    """

    everywhere: tuple[Mark, ...] = ()
    members: Mapping[str, tuple[Mark, ...]] = dataclasses.field(default_factory=dict)

    def of(self, members: Iterable[str]) -> list[Mark]:
        """Return the marks of an answer that some members gave."""
        return [*self.everywhere, *(mark for member in members for mark in self.members.get(member, ()))]


def collect(run: Run, prepared: Prepared, recipe: Recipe, epochs: Mapping[str, EpochChoice]) -> Marks:
    """Return the marks of a run whose epochs are chosen.

    Args:
        run: with its member folders.
        prepared: rows.
        recipe: with its members.
        epochs: member → the checkpoints that answer for its folds.
    """
    own = {name: _of_member(run, name, each, epochs[name]) for name, each in recipe.members().items() if name in epochs}
    for name, each in recipe.members().items():
        if name in own and each.sequence.length > 1:  # a model over features of a marked member is as good as those are
            own[name] += own.get(each.sequence.features, ())
    return Marks(everywhere(prepared, recipe), own)


def everywhere(prepared: Prepared, recipe: Recipe) -> tuple[Mark, ...]:
    """Return what every figure of a run's models carries."""
    marks = [Mark(f"leaks by intent: {recipe.split.allow_leak}")] if recipe.split.allow_leak else []
    frame = prepared.manifest.frame
    pseudo = int(frame["pseudo"].fill_null(False).sum()) if "pseudo" in frame.columns else 0
    if pseudo:
        text = (
            f"{pseudo} of {len(prepared.train) + len(prepared.extra)} rows that train have pseudo-labels ({recipe.data.pseudo}, confidence "
            f"{recipe.data.pseudo_bound:g}); what predicted them may have seen the rows held out here"
        )
        marks.append(Mark(text))
    return tuple(marks)


def of_training(recipe: Recipe) -> tuple[Mark, ...]:
    """Return the marks of a member's training that hold for every checkpoint of it."""
    schedules = [stage.schedule or recipe.schedule for stage in recipe.stages] or [recipe.schedule]
    if not any(schedule.name == "plateau" for schedule in schedules):
        return ()
    return (Mark("schedule 'plateau' lowered the rate by the loss on the rows that each fold is judged on", in_sample=True),)


def _of_member(run: Run, member: str, own: Recipe, epochs: EpochChoice) -> tuple[Mark, ...]:
    """Return the marks of one member: what of it was chosen on the rows that its own folds hold out."""
    found: list[Mark] = []
    trained = {fold: checkpoint for fold, checkpoint in epochs.per_fold.items() if checkpoint != START}
    if trained:
        found += of_training(own)
    picked = [fold for fold, checkpoint in trained.items() if checkpoint == SOUP and _epochs(run, member, fold) > own.average.best]
    if picked:
        found.append(Mark(f"the soup's checkpoints were picked on the rows that judge it ({_folds(picked)})", in_sample=True))
    stopped = [fold for fold in epochs.short if fold in trained and _stopped_itself(run, member, fold)]
    if stopped:
        text = f"training was stopped by the rows that judge it, and the last epoch answers ({_folds(stopped)})"
        found.append(Mark(text, in_sample=True))
    return tuple(dataclasses.replace(mark, text=f"member {member}: {mark.text}") for mark in found)


def _state(run: Run, member: str, fold: int) -> dict[str, Any]:
    file = run.member(member, fold) / "state.json"
    return files.read_json(file) if file.exists() else {}


def _epochs(run: Run, member: str, fold: int) -> int:
    """Return how many epochs a fold trained; unknown is as many as can be."""
    return int(_state(run, member, fold).get("epochs", 1 << 30))


def _stopped_itself(run: Run, member: str, fold: int) -> bool:
    """Tell whether a fold's own held-out rows ended its training (patience, coming apart), and no budget or plan."""
    return _state(run, member, fold).get("stop", "") not in ("", "budget")


def _folds(folds: list[int]) -> str:
    return ("fold " if len(folds) == 1 else "folds ") + ", ".join(map(str, sorted(folds)))
