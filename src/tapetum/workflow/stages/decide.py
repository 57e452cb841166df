"""Members' held-out predictions → epochs, blend, choice, decision steps → `oof.parquet`, `decisions.json`, `metrics.json`.

Everything here is chosen on other folds than those it answers for; the same decisions, fitted on all rows, go into the pipeline.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapetum.core import files
from tapetum.core.config import Recipe
from tapetum.core.marks import texts
from tapetum.core.monitor import monitor_of
from tapetum.core.runs import PROBE, Record, Run
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target, compose, expression_names
from tapetum.core.vectors import Neighbors
from tapetum.data.lacking import lacking
from tapetum.decide import chain, choose, retrieval, views
from tapetum.decide.ensemble import mean_of
from tapetum.decide.steps import Rows, assemble, counting, crossfit_parts, nothing_to_fit_on
from tapetum.workflow.session import Prepared
from tapetum.workflow.stages.measure import Answers, collect, figures_of
from tapetum.workflow.stages.networks import checkpoint_of


@dataclasses.dataclass(frozen=True)
class Settled:
    """What was decided.

    Args:
        decisions: decisions.json, all that the pipeline needs to answer as the run did.
        nested: target → the out-of-fold answers under decisions of the other folds.
        figures: metrics.json.
    """

    decisions: dict[str, Any]
    nested: Answers
    figures: dict[str, Any]


def settle(run: Run, prepared: Prepared, recipe: Recipe, record: Record) -> Settled:
    """Decide from the predictions that stand in the run's member folders, and write what follows from them."""
    manifest = prepared.manifest
    scored = np.flatnonzero((manifest.split == "train") & (manifest.fold >= 0))
    ids = [manifest.row_ids[r] for r in scored]
    rows = Rows.of(manifest, ids, allow_leak=recipe.split.allow_leak)
    truth = {t.name: manifest.truth(t.name)[scored] for t in manifest.targets}
    targets = {t.name: t for t in manifest.targets if t.scored}

    epochs: dict[str, choose.EpochChoice] = {}
    members: dict[str, Answers] = {}
    seen: dict[str, dict[str, views.Chosen]] = {}
    for member, own in recipe.members().items():
        heldout = {fold: Predictions.read(path) for fold, path in run.folds_of(member, "epochs.parquet").items()}
        if heldout:
            fixed = checkpoint_of(own.train.epoch)
            epochs[member] = choose.pick_epochs(heldout, own.train.monitor, fixed, list(targets.values()), manifest.weights)
            tables = [table.select(checkpoint=epochs[member].per_fold[fold]) for fold, table in heldout.items()]
            for fold, table in zip(heldout, tables, strict=True):
                table.write(run.member(member, fold) / "oof.parquet")
            members[member] = _answers(tables, member, ids, truth, targets)
            if own.predict.reduce == "auto":
                seen[member] = _views(run, prepared, member, own, recipe, epochs[member], truth, rows, record)
                members[member] |= {name: chosen.nested for name, chosen in seen[member].items()}
    probe = {fold: Predictions.read(path) for fold, path in run.folds_of(PROBE, "oof.parquet").items()}

    decisions: dict[str, Any] = {"format": 1, "targets": [t.to_dict() for t in manifest.targets], "epochs": {}, "blend": {}, "steps": {}}
    decisions["epochs"] = {
        m: {**dataclasses.asdict(e), "per_fold": {str(k): v for k, v in e.per_fold.items()}, "curve": _defined(e.curve)}
        for m, e in epochs.items()
    }
    if any(seen.values()):
        decisions["views"] = {member: {name: one.to_dict() for name, one in chosen.items()} for member, chosen in seen.items() if chosen}
    candidates: dict[str, Answers] = {}
    if probe:
        candidates[PROBE] = _answers(list(probe.values()), PROBE, ids, truth, targets)
    if members:
        blended, decisions["blend"] = _blend(members, rows, recipe, targets, record)
        candidates["finetune"] = blended
        if probe and recipe.decide.choose == "auto":
            candidates["mean"] = {name: mean_of([candidates[PROBE][name], blended[name]]) for name in blended if name in candidates[PROBE]}
    decisions["composed"], deviations = {}, {}
    for label, answers in candidates.items():
        decisions["composed"][label] = [name for name in targets if name not in answers]
        deviations[label] = _derive(answers, targets, truth, rows)

    choice = _choose(candidates, rows, recipe, record)
    per_fold = {str(k): v for k, v in choice.per_fold.items()}
    decisions["choice"] = {**dataclasses.asdict(choice), "per_fold": per_fold, "figures": _defined(choice.figures)}
    if deviations[choice.final]:
        decisions["deviations"] = deviations[choice.final]  # the pipeline cuts the numbers of the candidate that ships
    chosen = {name: _picked(candidates, choice, name, rows.fold) for name in targets}
    products = _products(chosen, targets, truth, rows, decisions)
    optimistic = {name: candidates[choice.final][name] for name in targets}
    if choice.final != PROBE:  # which ships alone, without what gives vectors
        rows = dataclasses.replace(rows, near=_near(run, prepared, recipe, epochs, ids, record))
    steps = recipe.decide.model_copy(update={"calibrate": "none", "blend": "mean"})
    nested: Answers = {}
    for name, dense in chosen.items():
        after = chain.fit({"chosen": dense}, rows, steps, fixed=True)
        nested[name], decisions["steps"][name] = after.nested, after.json
        for note in after.notes:
            record(f"{name}: {note}")
        if line := retrieval.said(name, after.json, searched=rows.near is not None):
            record(line)
        optimistic[name] = chain.apply(after.json, {"chosen": optimistic[name]}, rows)
        if rows.near is not None and retrieval.uses_retrieval(after.json):
            without = chain.fit({"chosen": dense}, dataclasses.replace(rows, near=None), steps, fixed=True).nested
            candidates.setdefault("without retrieval", {})[name] = without

    marks = collect(run, prepared, recipe, epochs)
    candidates |= {"product": products} if products else {}
    figures = figures_of(nested, optimistic, candidates, members, rows, recipe, decisions, marks, len(manifest))
    if any(seen.values()):
        told = {member: texts(marks.of([member])) for member in seen}
        figures["views"] = [
            {"member": member, **line, "marks": told[member]} for member, chosen in seen.items() for line in views.lines(chosen)
        ]
    figures["warnings"] = lacking(manifest, prepared.usable)
    files.write_json(run.file("decisions.json"), decisions)
    files.write_json(run.file("metrics.json"), figures)
    _table(nested, decisions, manifest.content_hash(), recipe.hash(), "oof").write(run.file("oof.parquet"))
    return Settled(decisions, nested, figures)


def _views(
    run: Run,
    prepared: Prepared,
    member: str,
    own: Recipe,
    recipe: Recipe,
    epochs: choose.EpochChoice,
    truth: Mapping[str, np.ndarray],
    rows: Rows,
    record: Record,
) -> dict[str, views.Chosen]:
    """Return target → how a member's test-time views are reduced; nothing where there is one view only."""
    from tapetum.workflow.stages.plan import one_view
    from tapetum.workflow.stages.views import answer
    from tapetum.workflow.stages.views import choose as choose_views

    if why := one_view(own):
        record(f"member {member}: predict.reduce = 'auto' has nothing to choose from ({why})")
        return {}
    tables = answer(run, prepared, member, own, epochs.per_fold, record)
    return choose_views(tables, member, own, recipe.decide, truth, rows)


def _near(
    run: Run, prepared: Prepared, recipe: Recipe, epochs: Mapping[str, choose.EpochChoice], ids: list[str], record: Record
) -> Neighbors | None:
    """Return each held-out row's nearest training rows, where any member learned identities."""
    if not any(t.is_identity for t in prepared.manifest.targets):
        return None
    from tapetum.workflow.stages.retrieval import near_of

    return near_of(run, prepared, recipe, epochs, ids, record)


def _answers(
    tables: list[Predictions], member: str, ids: list[str], truth: Mapping[str, np.ndarray], targets: Mapping[str, Target]
) -> Answers:
    joined = Predictions.concat(tables)
    found = {}
    for target in joined.targets:
        if target.name in targets:
            dense = joined.dense(target.name, member, ids)
            found[target.name] = dataclasses.replace(dense, y=truth[target.name])
    return found


def _blend(
    members: dict[str, Answers], rows: Rows, recipe: Recipe, targets: Mapping[str, Target], record: Record
) -> tuple[Answers, dict[str, Any]]:
    """Blend each target over the members that answer it; decision steps come later, after the choice."""
    decide = recipe.decide.model_copy(update={"steps": ()})
    blended, kept = {}, {}
    for name in targets:
        having = {m: answers[name] for m, answers in members.items() if name in answers}
        if having:
            fitted = chain.fit(having, rows, decide, fixed=True)
            blended[name], kept[name] = fitted.nested, fitted.json
            for note in fitted.notes:
                record(f"{name}: {note}")
    return blended, kept


def _derive(answers: Answers, targets: Mapping[str, Target], truth: Mapping[str, np.ndarray], rows: Rows) -> dict[str, float]:
    """Add derived targets that no head answered: products of the parts' probabilities; numbers cut with cross-fitted residuals.

    Returns:
        Number → the standard deviation of its residual over all rows, with which new images are cut.
    """
    final: dict[str, float] = {}
    for name, target in targets.items():
        if target.expression is None or name in answers:
            continue
        parts = {n: answers[n] for n in expression_names(target.expression)}
        first = next(iter(parts.values()))
        spread = {n: _deviations(d, rows) for n, d in parts.items() if d.target.kind == "regression"}
        each = np.stack([by_row for _, by_row in spread.values()] or [np.zeros(len(first.row_ids))], axis=1)
        p = np.full((len(first.row_ids), len(target.classes)), np.nan, dtype=np.float32)
        for values in np.unique(each, axis=0):
            own = (each == values).all(axis=1)
            deviations = dict(zip(spread, values.tolist(), strict=False))
            p[own] = compose(target, {n: d.target for n, d in parts.items()}, {n: d.p[own] for n, d in parts.items()}, deviations)
        final |= {n: over_all for n, (over_all, _) in spread.items()}
        answers[name] = dataclasses.replace(first.with_p(p), target=target, y=truth[name])
    return final


def _products(
    chosen: Answers, targets: Mapping[str, Target], truth: Mapping[str, np.ndarray], rows: Rows, decisions: dict[str, Any]
) -> Answers:
    """Return, for derived targets that a joint head answered, the product of their parts: reported beside it, never chosen."""
    joint = [n for n, t in targets.items() if t.expression is not None and n not in decisions["composed"][decisions["choice"]["final"]]]
    parts = {name: dense for name, dense in chosen.items() if targets[name].expression is None}
    _derive(parts, {n: targets[n] for n in joint if all(m in parts for m in expression_names(str(targets[n].expression)))}, truth, rows)
    return {name: parts[name] for name in joint if name in parts}


def _deviations(dense: Dense, rows: Rows) -> tuple[float, np.ndarray]:
    """Return the residual's standard deviation over all rows, and for each row (N,) the one over the folds that do not hold it."""

    def fit(part: np.ndarray) -> dict[str, Any]:
        counts = part[counting(dense, rows)[part]]
        apart = (dense.p - dense.y)[counts, 0].astype(np.float64)
        weight = None if rows.weight is None else rows.weight[counts]
        mean = np.average(apart, weights=weight) if len(apart) else 0.0
        return {"deviation": math.sqrt(np.average((apart - mean) ** 2, weights=weight)) if len(apart) else 0.0}

    if nothing_to_fit_on(dense, rows) is not None:  # cut as if nothing were known of the errors; new images get those of all rows
        return fit(np.flatnonzero(rows.fold >= 0))["deviation"], np.zeros(len(rows))
    found = crossfit_parts(fit, lambda part, _: dense.where(part), dense, rows)
    final = float(found.final["deviation"])
    by_row = np.full(len(rows), final)
    for fold, values in found.by_fold.items():  # where fewer than two folds are scored these are drawn ones, not those of the models
        by_row[found.fold == fold] = values["deviation"]
    return final, by_row


def _defined(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Return monitored figures as JSON can hold them: None where one is not defined."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _choose(candidates: dict[str, Answers], rows: Rows, recipe: Recipe, record: Record) -> choose.Choice:
    wanted: str = recipe.decide.choose
    folds = sorted({int(f) for f in rows.fold})
    figure = {name: monitor_of(recipe.train.monitor, answers, rows.weight) for name, answers in candidates.items()}
    covered = {name: min(float(d.ok.mean()) for d in answers.values()) for name, answers in candidates.items()}
    if wanted != "auto":
        if wanted not in candidates:
            record(f"warning: decide.choose = {wanted!r}, but it was not run; the {next(iter(candidates))} answers instead")
            wanted = next(iter(candidates))
        return choose.Choice(dict.fromkeys(folds, wanted), wanted, figure, "decide.choose says so")
    if len(candidates) == 1:
        only = next(iter(candidates))
        return choose.Choice(dict.fromkeys(folds, only), only, figure, "nothing else was run")
    if covered["finetune"] < covered[PROBE] * 0.999:
        reason = f"fine-tuning covers {covered['finetune']:.0%} of the rows; part of the folds never replaces all of them"
        return choose.Choice(dict.fromkeys(folds, PROBE), PROBE, figure, reason)
    return choose.pick_candidate(candidates, rows.groups, recipe.train.monitor, rows.weight)


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


def _table(answers: Answers, decisions: dict[str, Any], manifest_hash: str, recipe_hash: str, role: Any) -> Predictions:
    parts = [
        Predictions.from_dense(d, source=source_of(d.target, decisions), role=role, manifest_hash=manifest_hash, recipe_hash=recipe_hash)
        for d in answers.values()
    ]
    return Predictions.concat(parts)
