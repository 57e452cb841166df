"""Derived targets: products of their parts' probabilities, numbers cut with cross-fitted residuals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from tapetum.core.expressions import compose, expression_names
from tapetum.core.tables import Dense, decided
from tapetum.core.targets import Target, answer_classes, cut_by_borders
from tapetum.decide.choose import Choice, pick_candidate
from tapetum.decide.steps import Rows, counting, crossfit_parts, nothing_to_fit_on

HEAD, PRODUCT = "head", "product"  # who answers a derived target that has a head of its own


def derive(answers: dict[str, Dense], targets: Mapping[str, Target], truth: Mapping[str, np.ndarray], rows: Rows) -> dict[str, float]:
    """Add the derived targets that no head answered.

    Args:
        answers: target → out-of-fold answers; the derived ones are added.
        targets: that are wanted, by name.
        truth: target → (N, K).
        rows: groups, folds and weights of the rows.

    Returns:
        Number → the standard deviation of its residual over all rows, with which new images are cut.
    """
    final: dict[str, float] = {}
    for name, target in targets.items():
        if target.expression is None or name in answers:
            continue
        parts = {n: answers[n] for n in expression_names(target.expression)}
        spread = {n: _deviations(d, rows) for n, d in parts.items() if d.target.kind == "regression"}
        final |= {n: over_all for n, (over_all, _) in spread.items()}
        answers[name] = dataclasses.replace(product(target, parts, {n: by_row for n, (_, by_row) in spread.items()}), y=truth[name])
    return final


def products(
    answers: Mapping[str, Dense], targets: Mapping[str, Target], truth: Mapping[str, np.ndarray], rows: Rows, composed: Collection[str]
) -> tuple[dict[str, Dense], dict[str, float]]:
    """Return, for derived targets that a head of their own answered, the product of their parts, and the deviations as :func:`derive`.

    Args:
        answers: of all targets.
        targets: that are scored, by name.
        truth: target → (N, K).
        rows: groups, folds and weights of the rows.
        composed: targets whose answers are such products themselves.
    """
    joint = [n for n, t in targets.items() if t.expression is not None and n not in composed]
    parts = {name: dense for name, dense in answers.items() if targets[name].expression is None}
    whole = [n for n in joint if all(m in parts for m in expression_names(str(targets[n].expression)))]
    deviations = derive(parts, {n: targets[n] for n in whole}, truth, rows)
    return {name: parts[name] for name in joint if name in parts}, deviations


def head_or_product(head: Dense, product: Dense, groups: np.ndarray, watch: str, weight: np.ndarray | None = None) -> Choice:
    """Choose between a derived target's own head and the product of its parts, for each fold on the other folds.

    The head answers, as the recipe asks, unless the product is better by more than one standard error.

    Args:
        head: out-of-fold answers of the head.
        product: those of the product, over the same rows.
        groups: of the rows (N,).
        watch: ``train.monitor``; where it watches this target its metric judges, else the target's default one.
        weight: of each row (N,); None: each counts 1.
    """
    name = head.target.name
    return pick_candidate({HEAD: {name: head}, PRODUCT: {name: product}}, groups, watch if watch.startswith(f"{name}/") else "auto", weight)


def product(target: Target, parts: Mapping[str, Dense], deviations: Mapping[str, np.ndarray | float]) -> Dense:
    """Return a derived target's answers: the product of its parts, and what was decided of them (a vote's ties).

    Args:
        target: the derived one.
        parts: the targets that it uses, over the same rows.
        deviations: regression → standard deviation of its residual, one number or one for each row (N,); rows that have the same ones are
            composed together.

    Returns:
        The first part's rows, truth unknown. Where labels of a part were decided, ``answer`` is composed of the decided labels, since the
        largest product of vote shares need not be that of the labels that won.
    """
    first = next(iter(parts.values()))
    count = len(first.row_ids)
    each = np.stack([np.broadcast_to(value, count) for value in deviations.values()] or [np.zeros(count)], axis=1)
    p = np.full((count, len(target.classes)), np.nan, dtype=np.float32)
    answer = np.full_like(p, np.nan) if any(part.answer is not None for part in parts.values()) else None
    kinds = {name: part.target for name, part in parts.items()}
    for values in np.unique(each, axis=0):
        alike = (each == values).all(axis=1)
        spread = dict(zip(deviations, values.tolist(), strict=False))
        p[alike] = compose(target, kinds, {n: d.p[alike] for n, d in parts.items()}, spread)
        if answer is not None:
            labels = {n: _labels(d.where(np.flatnonzero(alike)), spread.get(n)) for n, d in parts.items()}
            answer[alike] = compose(target, {n: _classes_of(t) for n, t in kinds.items()}, labels)
    composed = dataclasses.replace(first.with_p(p), target=target, y=np.full_like(p, np.nan))
    return composed if answer is None else dataclasses.replace(composed, answer=np.where(composed.ok[:, None], answer, np.nan))


def _labels(part: Dense, deviation: float | None) -> np.ndarray:
    """Return the decided labels (N, K) of a part; of a number its likeliest class."""
    if part.target.kind != "regression":
        return decided(part)
    p = cut_by_borders(part.target, part.p, deviation)
    return decided(dataclasses.replace(part, target=_classes_of(part.target), p=p, y=p, answer=None))


def _classes_of(target: Target) -> Target:
    """Return a target over the classes that its answers fall into."""
    return target if target.kind != "regression" else Target(target.name, "ordinal", answer_classes(target))


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
