"""Members' held-out predictions → epochs, blend, choice, decision steps → `oof.parquet`, `decisions.json`.

Everything here is chosen on other folds than those it answers for; the same decisions, fitted on all rows, go into the pipeline.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapetum.core import files, metrics
from tapetum.core.expressions import expression_names
from tapetum.core.monitor import monitor_of
from tapetum.core.runs import PROBE, checkpoint_of
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.core.vectors import Neighbors
from tapetum.decide import chain, choose, composed, retrieval, view_reduction
from tapetum.decide.ensemble import mean_of
from tapetum.decide.steps import Rows, assemble
from tapetum.workflow.session import Session

Answers = dict[str, Dense]  # target → held-out answers, rows as in Prepared.scored

ORDERED = "--set decide.ordered=largest takes the most probable one, as accuracy asks"


@dataclasses.dataclass(frozen=True)
class RunDecisions:
    """What was decided, and the answers that follow from it.

    Args:
        decisions: decisions.json, all that the pipeline needs to answer as the run did.
        nested: target → the out-of-fold answers under decisions of the other folds.
        optimistic: the same under decisions fitted on all rows.
        candidates: probe, finetune, mean → their answers; head and product of derived targets that have a head of their own.
        members: the fine-tuned ones, at the checkpoints that were selected.
        rows: groups of the rows, and their weights, which count in every figure.
        figures: metrics.json; empty until they are measured.
    """

    decisions: dict[str, Any]
    nested: Answers
    optimistic: Answers
    candidates: Mapping[str, Answers]
    members: Members
    rows: Rows
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class _Scored:
    """The rows that are answered out of fold, and what is known of them.

    Args:
        ids: of the rows, in the manifest's order.
        rows: their groups, folds and weights.
        truth: target → (N, K).
        targets: name → a scored target.
    """

    ids: list[str]
    rows: Rows
    truth: Mapping[str, np.ndarray]
    targets: Mapping[str, Target]


@dataclasses.dataclass(frozen=True)
class Members:
    """The fine-tuned members at the checkpoints that were selected.

    Args:
        epochs: member → its checkpoints.
        answers: member → its answers.
        views: member → target → how its test-time views are reduced, where that is chosen.
    """

    epochs: Mapping[str, choose.EpochChoice]
    answers: Mapping[str, Answers]
    views: Mapping[str, Mapping[str, view_reduction.Chosen]]


def decide_run(session: Session) -> RunDecisions:
    """Decide from the predictions that are in the run's member folders, and write what follows from them."""
    scored = _scored(session)
    members = _select_epochs(session, scored)
    decisions = _begin(session, members)
    candidates = _blend(session, scored, members, decisions)
    deviations = {}
    for label, answers in candidates.items():
        decisions["composed"][label] = [name for name in scored.targets if name not in answers]
        deviations[label] = composed.derive(answers, scored.targets, scored.truth, scored.rows)

    choice = _choose(session, candidates, scored.rows)
    decisions["choice"] = choice.to_dict()
    chosen = {name: _picked(candidates, choice, name, scored.rows.fold) for name in scored.targets}
    optimistic = {name: candidates[choice.final][name] for name in scored.targets}
    composing, by_product = _compose(session, scored, chosen, optimistic, decisions)
    if shipped := deviations[choice.final] | by_product:
        decisions["deviations"] = shipped  # the pipeline cuts the numbers of the candidate that ships
    if choice.final != PROBE:  # which ships alone, without what gives vectors
        scored = dataclasses.replace(
            scored, rows=dataclasses.replace(scored.rows, neighbors=_neighbors(session, members.epochs, scored.ids))
        )

    nested, without = _steps(session, scored.rows, chosen, optimistic, decisions)
    beside = {**candidates, **({"without retrieval": without} if without else {}), **composing}
    return _write(session, RunDecisions(decisions, nested, optimistic, beside, members, scored.rows))


def _scored(session: Session) -> _Scored:
    manifest = session.manifest
    scored = np.flatnonzero((manifest.split == "train") & (manifest.fold >= 0))
    ids = [manifest.row_ids[r] for r in scored]
    rows = Rows.of(manifest, ids, allow_leak=session.recipe.split.allow_leak)
    truth = {t.name: manifest.truth(t.name)[scored] for t in manifest.targets}
    return _Scored(ids, rows, truth, {t.name: t for t in manifest.targets if t.scored})


def _select_epochs(session: Session, scored: _Scored) -> Members:
    """Select each member's checkpoint for each fold on the other folds; write its answers there into the folds' folders."""
    epochs: dict[str, choose.EpochChoice] = {}
    answers: dict[str, Answers] = {}
    reduced: dict[str, dict[str, view_reduction.Chosen]] = {}
    for member, recipe in session.recipe.members().items():
        heldout = session.heldout_answers(member, "epochs.parquet")
        if not heldout:
            continue
        fixed, targets = checkpoint_of(recipe.train.checkpoint), list(scored.targets.values())
        epochs[member] = choose.pick_epochs(heldout, recipe.train.monitor, fixed, targets, session.manifest.weights)
        tables = [table.select(checkpoint=epochs[member].per_fold[fold]) for fold, table in heldout.items()]
        for fold, table in zip(heldout, tables, strict=True):
            table.write(session.run.member(member, fold) / "oof.parquet")
        answers[member] = _answers(tables, member, scored)
        if recipe.predict.reduce == "auto":
            reduced[member] = _reduce_views(session, member, epochs[member], scored)
            answers[member] |= {name: one.nested for name, one in reduced[member].items()}
    return Members(epochs, answers, reduced)


def _begin(session: Session, members: Members) -> dict[str, Any]:
    """Return decisions.json with the checkpoints and views that were selected; the rest is added as it is decided."""
    decisions: dict[str, Any] = {"format": 1, "targets": [t.to_dict() for t in session.manifest.targets]}
    decisions["epochs"] = {
        member: {**dataclasses.asdict(one), "per_fold": {str(k): v for k, v in one.per_fold.items()}, "curve": metrics.defined(one.curve)}
        for member, one in members.epochs.items()
    }
    decisions |= {"blend": {}, "steps": {}}
    if any(members.views.values()):
        decisions["views"] = {m: {name: one.to_dict() for name, one in chosen.items()} for m, chosen in members.views.items() if chosen}
    decisions["composed"] = {}
    return decisions


def _reduce_views(session: Session, member: str, epochs: choose.EpochChoice, scored: _Scored) -> dict[str, view_reduction.Chosen]:
    """Return target → how a member's test-time views are reduced; nothing where there is one view only."""
    from tapetum.workflow.stages.answering import one_view
    from tapetum.workflow.stages.views import answer
    from tapetum.workflow.stages.views import choose as choose_views

    recipe = session.recipe.members()[member]
    if why := one_view(recipe):
        session.log(f"member {member}: predict.reduce = 'auto' has nothing to choose from ({why})")
        return {}
    tables = answer(session, member, recipe, epochs.per_fold)
    return choose_views(tables, member, recipe, session.recipe.decide, scored.truth, scored.rows)


def _neighbors(session: Session, epochs: Mapping[str, choose.EpochChoice], ids: list[str]) -> Neighbors | None:
    """Return each held-out row's nearest training rows, where any member learned identities."""
    if not any(t.is_identity for t in session.manifest.targets):
        return None
    from tapetum.workflow.stages.retrieval import neighbors_of

    return neighbors_of(session, epochs, ids)


def _answers(tables: list[Predictions], member: str, scored: _Scored) -> Answers:
    joined = Predictions.concat(tables)
    return {
        target.name: dataclasses.replace(joined.dense(target.name, member, scored.ids), y=scored.truth[target.name])
        for target in joined.targets
        if target.name in scored.targets
    }


def _blend(session: Session, scored: _Scored, members: Members, decisions: dict[str, Any]) -> dict[str, Answers]:
    """Return the candidates: the probe, the members blended target by target, and the mean of both. Steps come after the choice."""
    candidates: dict[str, Answers] = {}
    probe = list(session.heldout_answers(PROBE, "oof.parquet").values())
    if probe:
        candidates[PROBE] = _answers(probe, PROBE, scored)
    if not members.answers:
        return candidates
    decide = session.recipe.decide.model_copy(update={"steps": (), "ordered": "largest"})  # steps come after the choice
    blended: Answers = {}
    for name in scored.targets:
        having = {m: answers[name] for m, answers in members.answers.items() if name in answers}
        if having:
            fitted = chain.fit(having, scored.rows, decide, fixed=True)
            blended[name], decisions["blend"][name] = fitted.nested, fitted.json
            for note in fitted.notes:
                session.log(f"{name}: {note}")
    candidates["finetune"] = blended
    if probe and session.recipe.decide.choose == "auto":
        candidates["mean"] = {name: mean_of([candidates[PROBE][name], blended[name]]) for name in blended if name in candidates[PROBE]}
    return candidates


def _steps(session: Session, rows: Rows, chosen: Answers, optimistic: Answers, decisions: dict[str, Any]) -> tuple[Answers, Answers]:
    """Fit the decision steps of each target.

    Args:
        session: whose recipe names the steps.
        rows: with the nearest training rows, where labels are retrieved.
        chosen: the answers that the steps are fitted on.
        optimistic: the final candidate's answers; they get the steps fitted on all rows.
        decisions: decisions.json; the fitted steps are added.

    Returns:
        Target → answers under steps of the other folds, and the same without retrieval where retrieval is used.
    """
    decide = session.recipe.decide.model_copy(update={"calibrate": "none", "blend": "mean"})
    nested: Answers = {}
    without: Answers = {}
    for name, dense in chosen.items():
        fitted = chain.fit({"chosen": dense}, rows, decide, fixed=True)
        nested[name], decisions["steps"][name] = fitted.nested, fitted.json
        for note in fitted.notes:
            session.log(f"{name}: {note}")
        if dense.target.kind == "ordinal" and decide.ordered == "median":
            session.log(f"{name}: labels that no other step decides are the median class, as the error in ranks asks: {ORDERED}")
        if line := retrieval.summary(name, fitted.json, searched=rows.neighbors is not None):
            session.log(line)
        optimistic[name] = chain.apply(fitted.json, {"chosen": optimistic[name]}, rows)
        if rows.neighbors is not None and retrieval.uses_retrieval(fitted.json):
            without[name] = chain.fit({"chosen": dense}, dataclasses.replace(rows, neighbors=None), decide, fixed=True).nested
    return nested, without


def _write(session: Session, decided: RunDecisions) -> RunDecisions:
    """Write decisions.json and oof.parquet."""
    rows_hash, recipe_hash = session.manifest.content_hash(), session.recipe.hash()
    files.write_json(session.run.file("decisions.json"), decided.decisions)
    tables = [
        Predictions.from_dense(
            dense,
            source=source_of(dense.target, decided.decisions),
            role="oof",
            manifest_hash=rows_hash,
            recipe_hash=recipe_hash,
        )
        for dense in decided.nested.values()
    ]
    Predictions.concat(tables).write(session.run.file("oof.parquet"))
    return decided


def _choose(session: Session, candidates: dict[str, Answers], rows: Rows) -> choose.Choice:
    """Choose which candidate answers for each fold, on the other folds, and which one ships."""
    recipe = session.recipe
    wanted: str = recipe.decide.choose
    folds = sorted({int(f) for f in rows.fold})
    figure = {name: monitor_of(recipe.train.monitor, answers, rows.weight) for name, answers in candidates.items()}
    covered = {name: min(float(d.ok.mean()) for d in answers.values()) for name, answers in candidates.items()}
    if wanted != "auto":
        if wanted not in candidates:
            session.log(f"warning: decide.choose = {wanted!r}, but it was not run; the {next(iter(candidates))} answers instead")
            wanted = next(iter(candidates))
        return choose.Choice(dict.fromkeys(folds, wanted), wanted, figure, "decide.choose says so")
    if len(candidates) == 1:
        only = next(iter(candidates))
        why = [plan["why"] for plan in session.run.plan().get("members", {}).values() if not plan["folds"] and plan.get("why")]
        reason = "; ".join(dict.fromkeys(why)) if only == PROBE and why else "nothing else was run"
        return choose.Choice(dict.fromkeys(folds, only), only, figure, reason)
    if covered["finetune"] < covered[PROBE] * 0.999:
        reason = f"fine-tuning covers {covered['finetune']:.0%} of the rows; part of the folds never replaces all of them"
        return choose.Choice(dict.fromkeys(folds, PROBE), PROBE, figure, reason)
    return choose.pick_candidate(candidates, rows.groups, recipe.train.monitor, rows.weight)


def _compose(
    session: Session, scored: _Scored, chosen: Answers, optimistic: Answers, decisions: dict[str, Any]
) -> tuple[dict[str, Answers], dict[str, float]]:
    """Choose who answers each derived target that has a head of its own, that head or the product of its parts.

    Args:
        session: whose recipe says whether anything is chosen (``decide.choose``).
        scored: the rows.
        chosen: each fold's answers; those of such targets are replaced by what was chosen on the other folds.
        optimistic: the final candidate's answers; likewise, by what was chosen on all rows.
        decisions: decisions.json; ``composition`` says what was chosen, ``composed`` what the pipeline composes.

    Returns:
        ``head`` and ``product`` → their answers, for the figures beside; and the deviations of numbers that the pipeline cuts.
    """
    composed_names: list[str] = decisions["composed"][decisions["choice"]["final"]]
    products, _ = composed.products(chosen, scored.targets, scored.truth, scored.rows, composed_names)
    whole, deviations = composed.products(optimistic, scored.targets, scored.truth, scored.rows, composed_names)
    if session.recipe.decide.choose != "auto" or not products:
        return ({composed.PRODUCT: products} if products else {}), {}
    heads = {name: chosen[name] for name in products}
    for name, product in products.items():
        both = {composed.HEAD: {name: chosen[name]}, composed.PRODUCT: {name: product}}
        watch = session.recipe.train.monitor
        choice = composed.head_or_product(chosen[name], product, scored.rows.groups, watch, scored.rows.weight)
        chosen[name] = _picked(both, choice, name, scored.rows.fold)
        decisions.setdefault("composition", {})[name] = choice.to_dict()
        if choice.final == composed.PRODUCT:
            optimistic[name] = whole[name]
            composed_names.append(name)
        session.log(f"{name}: the {choice.final} answers; {choice.reason}")
    cut = {n for name in composed_names for n in expression_names(str(scored.targets[name].expression))}
    return {composed.HEAD: heads, composed.PRODUCT: products}, {n: value for n, value in deviations.items() if n in cut}


def _picked(candidates: dict[str, Answers], choice: choose.Choice, target: str, fold: np.ndarray) -> Dense:
    """Return each fold's answers by its own candidate, with what that one decided (a vote's ties); the rest by the final one."""
    parts = [(np.flatnonzero(fold == k), candidates[choice.per_fold.get(int(k), choice.final)][target]) for k in np.unique(fold)]
    return assemble([(place, dense.where(place)) for place, dense in parts])


def source_of(target: Target, decisions: Mapping[str, Any]) -> str:
    """Return the ``source`` of a target's final rows: head, product, decoded or blend."""
    if target.name in decisions["composed"][decisions["choice"]["final"]]:
        return "decoded" if target.kind == "ordinal" else "product"
    several = any(len(json.get("members", ())) > 1 for json in decisions["blend"].values())
    return "blend" if several or decisions["choice"]["final"] == "mean" else "head"
