"""The members' answers → the final ones, as ``decisions.json`` says: calibrate, average folds, blend, derive, decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tapetum.core.expressions import expression_names
from tapetum.core.progress import Log
from tapetum.core.runs import PROBE
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.decide import chain, composed
from tapetum.decide.ensemble import mean_of
from tapetum.decide.steps import Rows

Answered = Mapping[str, Mapping[int, Mapping[str, Dense]]]  # member → fold → target → answers, all over the same rows


def combine(
    decisions: Mapping[str, Any],
    targets: Mapping[str, Target],
    answers: Answered,
    rows: Rows,
    log: Log | None = None,
) -> dict[str, Dense]:
    """Turn the members' answers into final ones, as ``decisions.json`` says.

    Args:
        decisions: from :mod:`tapetum.workflow.stages.decide`.
        targets: the scored ones, derived ones among them.
        answers: member → fold → target → Dense, all over the same rows.
        rows: groups, sequence and position of the rows, for context steps.
        log: told of decision steps that these rows are too few for.

    Returns:
        target → final Dense.
    """
    chosen = decisions["choice"]["final"]
    candidates: dict[str, dict[str, Dense]] = {}
    if chosen in (PROBE, "mean"):
        by_fold = answers[PROBE]
        names = next(iter(by_fold.values()))
        candidates[PROBE] = {name: mean_of([by_fold[fold][name] for fold in by_fold]) for name in names if name in targets}
    if chosen in ("finetune", "mean"):
        members = {m: folds for m, folds in answers.items() if m != PROBE}
        candidates["finetune"] = {
            name: chain.apply(fitted, {m: {f: t[name] for f, t in members[m].items()} for m in fitted["members"]}, rows)
            for name, fitted in decisions["blend"].items()
        }
    if chosen == "mean":
        a, b = candidates[PROBE], candidates["finetune"]
        candidates["mean"] = {name: mean_of([a[name], b[name]]) for name in a if name in b}
    own = decisions.get("composed", {}).get(chosen, ())  # derived targets that a product answers, whether or not they have a head
    final = {name: dense for name, dense in candidates[chosen].items() if name not in own}
    for name, target in targets.items():
        if name not in final and target.expression is not None:
            parts = {n: final[n] for n in expression_names(target.expression)}
            final[name] = composed.product(target, parts, {n: d for n, d in decisions.get("deviations", {}).items() if n in parts})
    return {name: chain.apply(decisions["steps"][name], {"chosen": dense}, rows, log) for name, dense in final.items() if name in targets}
