"""Which epoch, and whether fine-tuning earned its place: picked for each fold on the other folds, so that the figure stays unbiased."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.core import jackknife, metrics
from tapetum.core.derived import with_derived
from tapetum.core.monitor import called, monitor, monitor_of
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.decide.simplest import paired, simplest

BEFORE = "before decision steps"  # a candidate's figure: its blend is calibrated, and no step of decide.steps has changed its labels


@dataclasses.dataclass(frozen=True)
class EpochChoice:
    """The checkpoint of each fold, and the one that the frozen pipeline takes.

    Args:
        per_fold: fold → checkpoint, best on the other folds.
        final: best on all folds.
        curve: checkpoint → monitored figure over all folds, in order.
        how: ``cross-fitted``, ``recipe`` (named there), ``last`` (nothing to choose on: one fold, or no other can judge) in words.
        short: folds that use their last checkpoint, since they ended before the one wished for (one fold: since it ended there).
    """

    per_fold: dict[int, str]
    final: str
    curve: dict[str, float]
    how: str
    short: tuple[int, ...] = ()


def pick_epochs(
    heldout: Mapping[int, Predictions],
    watch: str = "auto",
    fixed: str | None = None,
    targets: Sequence[Target] = (),
    weights: Mapping[str, float] | None = None,
) -> EpochChoice:
    """Pick each fold's checkpoint by the monitored figure on the other folds; a fold that stopped earlier uses its last.

    Where no other fold can judge (one fold, or no truth in the others), every fold uses its last.

    Args:
        heldout: fold → its held-out predictions at every checkpoint, in order of training.
        watch: ``train.monitor``.
        fixed: a checkpoint named by the recipe; then nothing is chosen.
        targets: of the manifest; derived ones that no head answered are composed, so that they can be watched.
        weights: row id → weight; None: each row counts 1.
    """
    order: list[str] = []
    for table in heldout.values():
        order += [c for c in checkpoints(table) if c not in order]
    order.sort(key=_place)
    answers = {fold: _answers(table) for fold, table in heldout.items()}

    def at(fold: int, checkpoint: str) -> str:
        trained = sorted(answers[fold], key=_place)
        return checkpoint if checkpoint in answers[fold] else trained[-1]

    def figure(folds: Sequence[int], checkpoint: str) -> float:
        parts = [answers[fold][at(fold, checkpoint)] for fold in folds]
        have = {d.target.name: d.target for d in parts[0].values()}
        joined = {n: (np.concatenate([p[n].p for p in parts]), np.concatenate([p[n].y for p in parts])) for n in have}
        ids = [row_id for part in parts for row_id in next(iter(part.values())).row_ids]
        weight = None if weights is None else np.array([weights[row_id] for row_id in ids])
        return monitor(watch, *with_derived(joined, have, targets), weight)

    folds = list(heldout)
    curve = {c: figure(folds, c) for c in order}
    if fixed is not None:
        short = tuple(f for f in folds if fixed not in answers[f])
        return EpochChoice({f: at(f, fixed) for f in folds}, fixed, curve, "recipe", short)
    if len(folds) == 1:
        last = at(folds[0], order[-1])
        return EpochChoice({folds[0]: last}, last, curve, "last", (folds[0],))
    wished = {}
    for fold in folds:
        others = [f for f in folds if f != fold]
        value, _, wished[fold] = max((figure(others, c), -i, c) for i, c in enumerate(order))
        if value == -math.inf:  # no other fold can judge, so this one alone is scored, as with one fold
            return EpochChoice({f: at(f, order[-1]) for f in folds}, order[-1], curve, "last", tuple(folds))
    short = tuple(f for f, c in wished.items() if c not in answers[f])
    per_fold = {f: at(f, c) for f, c in wished.items()}
    return EpochChoice(per_fold, max(order, key=lambda c: curve[c]), curve, "cross-fitted", short)


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which candidate answers for each fold, and which one ships.

    Args:
        per_fold: fold → candidate, picked on the other folds.
        final: picked on all rows.
        figures: candidate → monitored figure on the common rows.
        reason: one sentence for the report; its figures are, as ``figures``, those before the decision steps.
    """

    per_fold: dict[int, str]
    final: str
    figures: dict[str, float]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values for ``decisions.json``."""
        per_fold = {str(fold): name for fold, name in self.per_fold.items()}
        return {**dataclasses.asdict(self), "per_fold": per_fold, "figures": metrics.defined(self.figures)}


def pick_candidate(
    candidates: Mapping[str, Mapping[str, Dense]], groups: np.ndarray, watch: str = "auto", weight: np.ndarray | None = None
) -> Choice:
    """Pick among candidates (the simplest first) for each fold on the other folds, by the monitored figure.

    A more complicated candidate must beat the simplest one by more than one clustered standard error of the paired difference; where
    that error is not known (one group), the simplest stays. With one fold nothing can be chosen on other folds: the simplest answers,
    whatever the figures.

    Args:
        candidates: name → target → held-out answers; rows are the same and in the same order everywhere.
        groups: group of each row (N,).
        watch: ``train.monitor``.
        weight: of each row (N,); None: each counts 1.
    """
    first_of = next(iter(candidates.values()))
    first = next(iter(first_of.values()))
    common = np.ones(len(first.row_ids), dtype=bool)
    for tables in candidates.values():
        for dense in tables.values():
            common &= dense.ok
    folds = sorted({int(f) for f in first.fold[common]})
    counts = common if weight is None else common & (weight > 0)
    if sum(_judges(candidates, counts & (first.fold == fold)) for fold in folds) < 2:
        counted = None if weight is None else weight[common]
        figures = {name: monitor_of(watch, {t: d.where(common) for t, d in tables.items()}, counted) for name, tables in candidates.items()}
        simplest = next(iter(candidates))
        reason = "one fold alone is scored, so nothing can be chosen on other folds; decide.choose names another answer"
        return Choice(dict.fromkeys(folds, simplest), simplest, figures, reason)
    per_fold = {fold: _simplest(candidates, groups, common & (first.fold != fold), watch, weight)[0] for fold in folds}
    final, figures, tie = _simplest(candidates, groups, common, watch, weight)
    best = max(figures, key=lambda name: figures[name])
    if tie:
        close = f"{candidate_text(best)} is better by less than one standard error {BEFORE}"
        reason = f"{close}, and {candidate_text(final)} is simpler"
    else:
        what, sign = called(watch, [dense.target for dense in first_of.values()])
        others = ", ".join(f"{candidate_text(name)} {sign * value:.3f}" for name, value in figures.items() if name != final)
        reason = f"the best {what} {BEFORE}, {sign * figures[final]:.3f}" + (f" ({others})" if others else "")
    return Choice(per_fold, final, figures, reason)


def selected(choice: Mapping[str, Any]) -> str:
    """Return what was selected, why, and the same figure as it is decided, in a sentence without its full stop.

    Args:
        choice: of ``metrics.json``; files of earlier versions have no ``decided``.
    """
    text, decided = f"{candidate_text(choice['final'])}; {choice['reason']}", choice.get("decided") or {}
    if BEFORE not in choice["reason"] or decided.get("value") is None:
        return text
    return f"{text}; {decided['metric']} as decided, {decided['how']}: {decided['value']:.3f}"


def candidate_text(candidate: str) -> str:
    """Return what a candidate is called in a sentence."""
    return {"finetune": "fine-tuning", "mean": "their mean"}.get(candidate, candidate)


def _judges(candidates: Mapping[str, Mapping[str, Dense]], rows: np.ndarray) -> bool:
    """Tell whether some rows can judge the candidates: any of them has a truth."""
    return any(bool((dense.scorable & rows).any()) for dense in next(iter(candidates.values())).values())


def _simplest(
    candidates: Mapping[str, Mapping[str, Dense]], groups: np.ndarray, rows: np.ndarray, watch: str, weight: np.ndarray | None
) -> tuple[str, dict[str, float], bool]:
    parts = {name: {t: d.where(rows) for t, d in tables.items()} for name, tables in candidates.items()}
    rows_weight = None if weight is None else weight[rows].astype(np.float64)
    figures = {name: monitor_of(watch, tables, rows_weight) for name, tables in parts.items()}
    name = simplest(figures, lambda a, b: _standard_error(parts[a], parts[b], groups[rows], watch, rows_weight))
    return name, figures, name != max(figures, key=lambda name: figures[name])


def _standard_error(
    a: Mapping[str, Dense], b: Mapping[str, Dense], groups: np.ndarray, watch: str, weight: np.ndarray | None
) -> float | None:
    """Return the standard error of the paired difference of the monitored figure, clustered by group; None where it is not known."""
    targets: list[Target] = [d.target for d in a.values()]
    if len(targets) == 1 or watch != "auto":
        target, metric = metrics.parse(watch, targets) if watch != "auto" else (targets[0], metrics.default_metric(targets[0]))
        return paired(metric, a[target.name], b[target.name], groups, weight).standard_error
    weights = np.ones(len(groups)) if weight is None else weight

    def apart(inside: np.ndarray) -> float:  # several targets make one figure: scored again without each block of groups
        return monitor_of(watch, a, weights * inside) - monitor_of(watch, b, weights * inside)

    names, codes = np.unique(groups.astype(str), return_inverse=True)
    return jackknife.standard_error(apart, codes, len(names), most=100)


def checkpoints(table: Predictions) -> list[str]:
    """Return the checkpoints of a table in order of training."""
    return sorted(table.frame["checkpoint"].unique().to_list(), key=_place)


def _answers(table: Predictions) -> dict[str, dict[str, Dense]]:
    member = table.members[0]
    return {c: {t.name: table.dense(t.name, member, checkpoint=c) for t in table.targets} for c in checkpoints(table)}


def _place(checkpoint: str) -> tuple[int, int, str]:
    """Sort key: epochs by number, their averages after them, what has no number (swa, soup, final) last."""
    head, _, tail = checkpoint.partition("/")
    number = head.rpartition("-")[2]
    return (0, int(number), tail) if number.isdecimal() and head.startswith("epoch") else (1, 0, checkpoint)
