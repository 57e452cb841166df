"""Figures of decisions with their intervals, next to the baseline and to each other, as `metrics.json` holds them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.core import files, intervals, metrics
from tapetum.core.config import Recipe
from tapetum.core.marks import BASELINE, BY_GROUP, CROSS_VALIDATED, HELD_OUT, IN_SAMPLE, Mark, how_by, texts, worse_than_baseline
from tapetum.core.monitor import called, monitor_of, prior_answer, prior_decision
from tapetum.core.runs import BY_GROUP_FILE, PROBE, START, Run
from tapetum.core.tables import Dense, Predictions, decided
from tapetum.core.words import plural, verb
from tapetum.data.audit.sets import about_the_data
from tapetum.data.lacking import lacking
from tapetum.decide import view_reduction
from tapetum.decide.choose import EpochChoice
from tapetum.decide.effect import without_effect
from tapetum.decide.steps import Rows, counting
from tapetum.workflow.session import Prepared, Session
from tapetum.workflow.stages.decide import RunDecisions

DRAWN = Mark("fewer than two folds are scored: decisions were cross-fitted over group folds drawn within them")


def measure_run(session: Session, decided: RunDecisions) -> RunDecisions:
    """Measure what was decided, and write metrics.json."""
    marks, views = collect(session, decided.members.epochs), decided.members.views
    figures = figures_of(decided, session.recipe, marks, len(session.manifest))
    _add_by_group(figures, session, decided, marks)
    if any(views.values()):
        told = {member: texts(marks.of([member])) for member in views}
        figures["views"] = [
            {"member": member, **line, "marks": told[member]} for member, one in views.items() for line in view_reduction.lines(one)
        ]
    scored, by_probe = [dense.target for dense in decided.nested.values()], decided.decisions["choice"]["final"] == PROBE
    idle = without_effect(session.recipe.decide, scored, probe_answers=by_probe)
    figures["warnings"] = [*worse_than_baseline(figures["differences"]), *idle, *lacking(session.manifest, session.prepared.usable)]
    figures["data"] = about_the_data(session.manifest)
    files.write_json(session.run.file("metrics.json"), figures)
    return dataclasses.replace(decided, figures=figures)


def _add_by_group(figures: dict[str, Any], session: Session, found: RunDecisions, marks: Marks) -> None:
    """Add the probe's figures under folds by group, and how much better folds by image make it look: what the leak is worth."""
    file = session.run.file(BY_GROUP_FILE)
    if not file.exists() or PROBE not in found.candidates:
        return
    table = Predictions.read(file)
    recipe = session.recipe.model_copy(update={"split": session.recipe.split.model_copy(update={"allow_leak": None})})
    kept = everywhere(dataclasses.replace(session.prepared, heldout_trains=False), recipe)
    for name, by_image in found.candidates[PROBE].items():
        if name not in {target.name for target in table.targets}:
            continue
        apart = table.dense(name, PROBE, by_image.row_ids.tolist())
        if figures["headline"]["target"] == name:
            metric = figures["headline"]["metric"]
        else:
            metric = metrics.headline_metric(apart.target)
        how = how_by(kept, len(np.unique(apart.fold[apart.scorable])))
        told = {"target": name, "metric": metric}
        figures["figures"].append({**told, "name": BY_GROUP, "how": how, "marks": texts(kept), **interval_of(metric, apart, found.rows)})
        both = by_image.scorable & apart.scorable
        inside, pair, sure = found.rows.where(both), (by_image.p[both], apart.p[both]), (_part(by_image, both), _part(apart, both))
        d = intervals.difference(metric, apart.target, pair, apart.y[both], inside.groups, weight=inside.weight, answers=sure)
        figures["differences"].append({**told, "a": PROBE, "b": BY_GROUP, "marks": texts(marks.everywhere), **d.to_dict()})


def figures_of(found: RunDecisions, recipe: Recipe, marks: Marks, total: int) -> dict[str, Any]:
    """Return metrics.json.

    Args:
        found: the answers; the choice among its decisions has the selected candidates, the blends their members.
        recipe: its ``train.monitor`` is the leading metric where it names a target.
        marks: of the run; each figure carries those of the members that have a part in it.
        total: rows of the manifest.
    """
    figures: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    watch = recipe.train.monitor  # a watched target, where the recipe names one among several, is what the run is about
    watched = metrics.parse(watch, [d.target for d in found.nested.values()]) if "/" in watch else None
    context = _Context(found.decisions, marks, tuple(found.members.answers), found.rows)
    for name, dense in found.nested.items():
        main = metrics.headline_metric(dense.target) if watched is None or watched[0].name != name else watched[1]
        prior = _cross_prior(dense, found.rows)
        chance = dataclasses.replace(dense.with_p(prior), answer=prior_decision(dense.target, prior))
        figures += _figures(found, name, context, chance, list(dict.fromkeys([main, *metrics.shown(dense.target)])))
        differences += _differences(found, name, context, chance, main)
    first, choice = next(iter(found.nested.values())), found.decisions["choice"]
    lead, metric = (first.target, metrics.headline_metric(first.target)) if watched is None else watched
    counts = {
        "rows": total,
        "scored": len(first.row_ids),
        "groups": len(set(found.rows.groups.tolist())),
        **{status: int((first.status == status).sum()) for status in ("ok", "missing", "uncovered")},
        "unknown": int(np.isnan(first.y).any(axis=1).sum()),
    }
    return {
        "headline": {"target": lead.name, "metric": metric},
        "counts": counts,
        "figures": figures,
        "differences": differences,
        "choice": {
            "per fold": choice["per_fold"],
            "final": choice["final"],
            "reason": choice["reason"],
            "decided": {**decided_figure(found, watch), "how": context.how("final", found.nested[lead.name])},
        },
        "marks": list(dict.fromkeys(text for figure in figures for text in figure["marks"])),
    }


def decided_figure(found: RunDecisions, watch: str) -> dict[str, Any]:
    """Return the figure by which a candidate was selected, of the final answers: with the decision steps."""
    what, sign = called(watch, [dense.target for dense in found.nested.values()])
    value = monitor_of(watch, found.nested, found.rows.weight)
    return {"metric": what, **metrics.defined({"value": sign * value})}


def _figures(found: RunDecisions, name: str, context: _Context, chance: Dense, shown: list[str]) -> list[dict[str, Any]]:
    """Return a target's figures: each answer's, in each metric."""
    dense, optimistic = found.nested[name], found.optimistic[name]
    how = context.how("final", dense)
    series = [("final", how, context.marks("final", name), dense)]
    if how == CROSS_VALIDATED or (how == HELD_OUT and not _same(dense, optimistic)):
        series.append(("final", IN_SAMPLE, context.marks(context.decisions["choice"]["final"], name), optimistic))
    beside = {label: answers[name] for label, answers in found.candidates.items() if name in answers}
    beside |= {f"member {n}": a[name] for n, a in found.members.answers.items() if name in a and len(found.members.answers) > 1}
    series += [(label, context.how(label, one), context.marks(label, name), one) for label, one in beside.items()]
    series.append(("chance", BASELINE, [], chance))
    return [
        {"target": name, "name": label, "metric": metric, "how": how, "marks": marks, **interval_of(metric, one, found.rows)}
        for label, how, marks, one in series
        for metric in shown
    ]


def _differences(found: RunDecisions, name: str, context: _Context, chance: Dense, metric: str) -> list[dict[str, Any]]:
    """Return how far a target's final answers are from each candidate's and from chance, paired by row."""
    dense, rows, differences = found.nested[name], found.rows, []
    for label in (n for n in (*found.candidates, "chance") if n == "chance" or name in found.candidates[n]):
        other = chance if label == "chance" else found.candidates[label][name]
        both = dense.scorable & other.scorable
        if both.any():
            d = intervals.difference(
                metric,
                dense.target,
                (dense.p[both], other.p[both]),
                dense.y[both],
                rows.groups[both],
                weight=None if rows.weight is None else rows.weight[both],
                answers=(_part(dense, both), _part(other, both)),
            )
            marks = list(dict.fromkeys(context.marks("final", name) + context.marks(label, name)))
            differences.append({"target": name, "a": "final", "b": label, "metric": metric, "marks": marks, **d.to_dict()})
    return differences


@dataclasses.dataclass(frozen=True)
class _Context:
    """What goes with each figure of a run: how it was measured, and its marks.

    Args:
        decisions: decisions.json.
        marks: of the run.
        members: the fine-tuned ones.
        rows: of the held-out answers, with their folds.
    """

    decisions: Mapping[str, Any]
    marked: Marks
    members: tuple[str, ...]
    rows: Rows

    def how(self, label: str, dense: Dense) -> str:
        """Return how an answer was measured, by its marks and the folds that hold out the rows it is scored on."""
        scored = self.rows.fold[counting(dense, self.rows)]
        return how_by(self._of(label, dense.target.name), len(np.unique(scored)) if len(scored) else 0)

    def marks(self, label: str, target: str) -> list[str]:
        """Return the marks of an answer in words."""
        return texts(self._of(label, target))

    def _of(self, label: str, target: str) -> list[Mark]:
        if label == "chance":
            return []
        if label.startswith("member "):
            return self.marked.of([label.removeprefix("member ")])
        choice = self.decisions["choice"]
        answering = (
            [label] if label in (PROBE, "finetune", "mean") else list(dict.fromkeys(choice["per_fold"].values())) or [choice["final"]]
        )
        blend = self.decisions["blend"].get(target, {})
        tuned = [name for name in blend.get("members", self.members) if answering != [PROBE]]
        found = self.marked.of([*([PROBE] if set(answering) & {PROBE, "mean"} else []), *tuned])
        seen = self.decisions.get("views", {})
        drawn = answering != [PROBE] and (blend.get("drawn", False) or any(seen.get(m, {}).get(target, {}).get("drawn") for m in tuned))
        if label == "final":
            drawn = drawn or self.decisions["steps"].get(target, {}).get("drawn", False)
        return [*found, DRAWN] if drawn else found


def _same(a: Dense, b: Dense) -> bool:
    return np.array_equal(a.p, b.p, equal_nan=True) and np.array_equal(decided(a), decided(b), equal_nan=True)


def interval_of(metric: str, dense: Dense, rows: Rows) -> dict[str, Any]:
    """Return value, interval, n and groups of one metric over the rows that can be scored, as metrics.json holds them."""
    know = dense.scorable
    inside = rows.where(know)
    found = intervals.interval(
        metric, dense.target, dense.p[know], dense.y[know], inside.groups, weight=inside.weight, answer=_part(dense, know)
    )
    return found.to_dict()


def _part(dense: Dense, rows: np.ndarray) -> np.ndarray | None:
    return None if dense.answer is None else dense.answer[rows]


def _cross_prior(dense: Dense, rows: Rows) -> np.ndarray:
    """Return the prior of the other folds for each row (N, K): what an answer without images is worth."""
    p = np.full_like(dense.p, np.nan)
    for fold in np.unique(rows.fold):
        heldout = rows.fold == fold
        judge = ~heldout if (~heldout).any() and len(np.unique(rows.fold)) > 1 else np.ones(len(heldout), dtype=bool)
        others, weight = dense.y[judge], None if rows.weight is None else rows.weight[judge]
        if not np.isnan(others).any(axis=1).all():
            p[heldout] = prior_answer(dense.target, others, weight)[:1]
    p[~dense.ok] = np.nan
    return p


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


def collect(session: Session, epochs: Mapping[str, EpochChoice]) -> Marks:
    """Return the marks of a run whose epochs are chosen.

    Args:
        session: whose run has its members' folders.
        epochs: member → the checkpoints that answer for its folds.
    """
    recipes = session.recipe.members()
    found = {name: _of_member(session.run, name, recipe, epochs[name]) for name, recipe in recipes.items() if name in epochs}
    for name, recipe in recipes.items():
        if name in found and recipe.sequence.length > 1:  # a model over features of a marked member is as good as those are
            found[name] += found.get(recipe.sequence.features, ())
    return Marks(everywhere(session.prepared, session.recipe), found)


def everywhere(prepared: Prepared, recipe: Recipe) -> tuple[Mark, ...]:
    """Return what every figure of a run's models carries."""
    marks = [Mark(f"leaks by intent: {recipe.split.allow_leak}")] if recipe.split.allow_leak else []
    if prepared.heldout_trains:
        marks.append(Mark("the rows that judge it trained, too", in_sample=True))
    frame = prepared.manifest.frame
    pseudo = int(frame["pseudo"].fill_null(False).sum()) if "pseudo" in frame.columns else 0
    if pseudo:
        text = (
            f"{pseudo} of {plural(len(prepared.train) + len(prepared.extra), 'row')} that train have "
            f"pseudo-labels ({recipe.data.pseudo}, confidence "
            f"{recipe.data.pseudo_bound:g}); what predicted them may have seen the rows held out here"
        )
        marks.append(Mark(text))
    return tuple(marks)


def of_training(run: Run, member: str, member_recipe: Recipe, folds: Sequence[int]) -> tuple[Mark, ...]:
    """Return the marks of a member's training on some folds that hold for every checkpoint of it."""
    lowered = [fold for fold in folds if _lowered(run, member, member_recipe, fold)]
    if not lowered:
        return ()
    text = f"schedule 'plateau' lowered the rate by the loss on the rows that each fold is judged on ({_folds(lowered)})"
    return (Mark(text, in_sample=True),)


def _lowered(run: Run, member: str, member_recipe: Recipe, fold: int) -> bool:
    """Tell whether schedule ``plateau`` lowered a fold's rate; unknown is as if it did."""
    stages = [(stage.epochs, stage.schedule or member_recipe.schedule) for stage in member_recipe.stages]
    stages = stages or [(member_recipe.train.epochs, member_recipe.schedule)]
    if not any(schedule.name == "plateau" for _, schedule in stages):
        return False
    file = run.member(member, fold) / "history.csv"
    if not file.exists():
        return True
    rates, began = files.read_csv(file)["rate"].to_numpy(), 0
    for epochs, schedule in stages:
        if schedule.name == "plateau" and (np.diff(rates[began : began + epochs]) < 0).any():
            return True
        began += epochs
    return False


def _of_member(run: Run, member: str, member_recipe: Recipe, epochs: EpochChoice) -> tuple[Mark, ...]:
    """Return the marks of one member: what of it was chosen on the rows that its own folds hold out."""
    found: list[Mark] = []
    trained = {fold: checkpoint for fold, checkpoint in epochs.per_fold.items() if checkpoint != START}
    found += of_training(run, member, member_recipe, list(trained))
    picked = [
        fold for fold, checkpoint in trained.items() if checkpoint == SOUP and _epochs(run, member, fold) > member_recipe.average.best
    ]
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
    return f"{verb(len(folds), 'fold', 'folds')} {', '.join(map(str, sorted(folds)))}"
