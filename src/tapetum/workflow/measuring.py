"""What decisions are worth: figures with their intervals, beside chance and beside each other, as `metrics.json` holds them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tapetum.core import intervals, metrics
from tapetum.core.config import Recipe
from tapetum.core.monitor import prior_answer, prior_decision
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.decide import choose
from tapetum.decide.steps import Rows

Answers = dict[str, Dense]  # target → held-out answers, rows as in Prepared.scored


def figures_of(
    nested: Answers,
    optimistic: Answers,
    candidates: dict[str, Answers],
    members: dict[str, Answers],
    rows: Rows,
    recipe: Recipe,
    choice: choose.Choice,
    marks: list[str],
    total: int,
) -> dict[str, Any]:
    """Return metrics.json.

    Args:
        nested: target → answers under decisions of the other folds.
        optimistic: the same under decisions fitted on all rows.
        candidates: probe, finetune, mean (and the product beside a joint head) → their answers.
        members: member → its answers, shown where there are several.
        rows: groups of the rows, and their weights, which count in every figure.
        recipe: its ``train.monitor`` says what is led with where it names a target.
        choice: between the candidates.
        marks: what every figure must carry with it.
        total: rows of the manifest.
    """
    figures: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    watch = recipe.train.monitor  # a watched target, where the recipe names one among several, is what the run is about
    watched = metrics.parse(watch, [d.target for d in nested.values()]) if "/" in watch else None
    for name, dense in nested.items():
        target = dense.target
        main = headline_metric(target) if watched is None or watched[0].name != name else watched[1]
        shown = dict.fromkeys([main, *shown_metrics(target)])
        prior = _cross_prior(dense, rows)
        chance = dataclasses.replace(dense.with_p(prior), answer=prior_decision(target, prior))
        series: list[tuple[str, str, Dense]] = [("final", "nested", dense), ("final", "optimistic", optimistic[name])]
        series += [(n, "nested", a[name]) for n, a in candidates.items() if name in a]
        series += [(f"member {n}", "nested", a[name]) for n, a in members.items() if name in a and len(members) > 1]
        series.append(("chance", "baseline", chance))
        for label, how, one in series:
            for metric in shown:
                value = interval_of(metric, one, rows)
                figures.append({"target": name, "name": label, "metric": metric, "how": how, **value})
        for label in (n for n in (*candidates, "chance") if n == "chance" or name in candidates[n]):
            other = chance if label == "chance" else candidates[label][name]
            both = dense.scorable & other.scorable
            if both.any():
                d = intervals.difference(
                    main,
                    target,
                    dense.p[both],
                    other.p[both],
                    dense.y[both],
                    rows.groups[both],
                    weight=None if rows.weight is None else rows.weight[both],
                    answer_a=_part(dense, both),
                    answer_b=_part(other, both),
                )
                differences.append({"target": name, "a": "final", "b": label, "metric": main, **d.to_dict()})
    first = next(iter(nested.values()))
    counts = {
        "rows": total,
        "scored": len(first.row_ids),
        "groups": len(set(rows.groups.tolist())),
        **{status: int((first.status == status).sum()) for status in ("ok", "missing", "uncovered")},
        "unknown": int(np.isnan(first.y).any(axis=1).sum()),
    }
    return {
        "headline": {"target": first.target.name, "metric": headline_metric(first.target)}
        if watched is None
        else {"target": watched[0].name, "metric": watched[1]},
        "counts": counts,
        "figures": figures,
        "differences": differences,
        "choice": {"per fold": {str(k): v for k, v in choice.per_fold.items()}, "final": choice.final, "reason": choice.reason},
        "marks": marks,
    }


def headline_metric(target: Target) -> str:
    """Return the metric that tables and reports lead with: accuracy for balanced-looking single labels' readers, else the default."""
    return "accuracy" if target.kind == "single" else metrics.default_metric(target)


def shown_metrics(target: Target) -> list[str]:
    """Return the metrics that are computed of a target, the one that leads first."""
    secondary = {
        "single": ["accuracy", "log_loss", "kappa"],
        "ordinal": ["accuracy", "quadratic_kappa", "log_loss"],
        "multi": ["micro_f1", "average_precision", "log_loss"],
        "regression": ["rmse", "r2"],
    }[target.kind]
    return list(dict.fromkeys([headline_metric(target), metrics.default_metric(target), *secondary]))


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
    """Return the prior of the other folds for each row (N, K): what an answer without pictures is worth."""
    p = np.full_like(dense.p, np.nan)
    for fold in np.unique(rows.fold):
        own = rows.fold == fold
        judge = ~own if (~own).any() and len(np.unique(rows.fold)) > 1 else np.ones(len(own), dtype=bool)
        others, weight = dense.y[judge], None if rows.weight is None else rows.weight[judge]
        if not np.isnan(others).any(axis=1).all():
            p[own] = prior_answer(dense.target, others, weight)[:1]
    p[~dense.ok] = np.nan
    return p
