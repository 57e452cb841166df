"""What a step of deciding is, and how it is judged: fitted on some folds, applied to the others.

A step is a small frozen dataclass of its parameters. ``fit`` reads predictions and labels and returns plain JSON values; ``apply``
uses those on any rows, new images too. :func:`crossfit` gives the *nested* figure's table (each fold under values from the other
folds) beside the *optimistic* one (all rows under values from all rows).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from tapetum.core import draws, folds
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.folds import count_groups
from tapetum.core.schema import shared_texts
from tapetum.core.tables import Dense, Manifest, decided
from tapetum.core.vectors import Neighbors
from tapetum.core.words import plural

SMOOTH_ROWS = 50_000  # smooth, low-dimensional fits see at most this many rows: d parameters then cost d/(2n) of log-loss, 1e-5 each
FIT_ROWS = 100_000  # fits of a metric that moves in steps see at most this many
_BY_ROW = ("fold", "sequence", "position", "weight", "row_ids", "neighbors")
FEW_FOLDS = 5  # folds drawn where the rows covered hold fewer than two


@dataclasses.dataclass(frozen=True)
class Rows:
    """What is known of the rows of a Dense besides probabilities and truth; aligned with it.

    Args:
        groups: (N,) of strings; rows of one group are never on both sides of a fit.
        fold: (N,) int, the fold that holds each row out; −1 for rows that are never fitted on (test, extra, new images).
        sequence: (N,) of strings or None; rows of one sequence are ordered by ``position``.
        position: (N,) float or None.
        weight: (N,) float or None.
        allow_leak: the recipe's reason for folds that cut groups; None refuses such folds.
        row_ids: (N,) of strings, where they are known; members are then brought onto these rows.
        neighbors: the nearest training rows in a space of identities, for retrieval; None where there are none.
    """

    groups: np.ndarray
    fold: np.ndarray
    sequence: np.ndarray | None = None
    position: np.ndarray | None = None
    weight: np.ndarray | None = None
    allow_leak: str | None = None
    row_ids: np.ndarray | None = None
    neighbors: Neighbors | None = None

    def __post_init__(self) -> None:
        for name in _BY_ROW:
            value = getattr(self, name)
            if value is not None and len(value) != len(self.groups):
                raise UserError(f"{plural(len(value), 'value')} of {name} for {plural(len(self.groups), 'row')}", need="one for each row")

    def __len__(self) -> int:
        return len(self.groups)

    def where(self, rows: np.ndarray) -> Rows:
        """Return some rows: a boolean mask or row numbers."""
        part = {n: getattr(self, n)[rows] for n in ("groups", *_BY_ROW) if getattr(self, n) is not None}
        return dataclasses.replace(self, **part)

    @classmethod
    def of(cls, manifest: Manifest, row_ids: Sequence[str] | None = None, *, allow_leak: str | None = None) -> Rows:
        """Return the rows of a manifest, in the order of ``row_ids`` (default: the manifest's own).

        Raises:
            DataError: an id that the manifest does not hold.
        """
        picked: np.ndarray | None = None
        if row_ids is not None:
            place = {name: i for i, name in enumerate(manifest.row_ids)}
            unknown = [name for name in row_ids if name not in place]
            if unknown:
                raise DataError(
                    f"{plural(len(unknown), 'row is', 'rows are')} not in the manifest: {listed(unknown)}", need="ids of the manifest"
                )
            picked = np.array([place[name] for name in row_ids], dtype=np.int64)
        frame = manifest.frame
        sequence = shared_texts(frame["sequence"]) if "sequence" in frame.columns else None
        position = frame["position"].to_numpy() if "position" in frame.columns else None
        weight = manifest.weight if "weight" in frame.columns else None
        fold = np.where(manifest.split == "train", manifest.fold, -1).astype(np.int16)
        every = cls(
            manifest.groups,
            fold,
            sequence,
            position,
            weight,
            allow_leak,
            np.array(manifest.row_ids, dtype=object),
        )
        return every if picked is None else every.where(picked)

    @classmethod
    def new(cls, row_ids: np.ndarray) -> Rows:
        """Return rows of which nothing is known: images never seen, each a group of its own."""
        ids = np.asarray(row_ids, dtype=object)
        return cls(ids, np.full(len(ids), -1, dtype=np.int16), row_ids=ids)


class Step(Protocol):
    """One decision step. ``apply`` may change ``p`` and may set ``answer``; it never reads the truth.

    A step that looks at no data has an attribute ``learns = False``; it needs no folds. One whose answer for a row depends on the other
    rows that it is applied to has ``joint = True``. A step that estimates something on each set it is applied to has
    ``idle(dense) -> str``: why a set is too small for that, or an empty string.
    """

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return what was learned, as JSON values; rows without truth or answer take no part."""
        ...

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the same rows, in the same order, decided."""
        ...


@dataclasses.dataclass(frozen=True)
class CrossFitted:
    """What cross-fitting gives.

    Args:
        nested: each fold under values fitted on the other folds; rows of fold −1 under the final values.
        optimistic: all rows under the final values.
        by_fold: fold → values fitted without it.
        final: values fitted on all rows that have a fold; what new images get.
        fold: (N,) the folds used, −1 where a row was in none.
        drawn: True where the folds were drawn here, so that they are not those of the models.
    """

    nested: Dense
    optimistic: Dense
    by_fold: dict[int, dict[str, Any]]
    final: dict[str, Any]
    fold: np.ndarray
    drawn: bool = False


def counting(dense: Dense, rows: Rows) -> np.ndarray:
    """Return which rows (N,) can be fitted on and judge: those with an answer, a truth and a weight above 0."""
    return dense.scorable if rows.weight is None else dense.scorable & (rows.weight > 0)


def crossfit(step: Step, dense: Dense, rows: Rows) -> CrossFitted:
    """Fit a step on each fold's complement and on everything.

    Args:
        step: what to fit.
        dense: predictions with truth, out-of-fold.
        rows: their groups and folds; fewer than two folds among rows that can be scored: five group folds are drawn on those.

    Raises:
        DataError: folds that cut groups (without a stated reason), nothing to fit on, or one group only.
    """
    return crossfit_parts(
        lambda part: step.fit(dense.where(part), rows.where(part)),
        lambda part, fitted: step.apply(dense.where(part), rows.where(part), fitted),
        dense,
        rows,
    )


def crossfit_parts(
    fit: Callable[[np.ndarray], dict[str, Any]],
    apply: Callable[[np.ndarray, dict[str, Any]], Dense],
    dense: Dense,
    rows: Rows,
) -> CrossFitted:
    """Cross-fit anything that can be fitted on and applied to row numbers; see :func:`crossfit`.

    Args:
        fit: row numbers → fitted values.
        apply: row numbers, fitted values → those rows decided.
        dense: tells which rows can be scored.
        rows: groups and folds.
    """
    if len(dense.row_ids) != len(rows):
        raise UserError(
            f"{plural(len(dense.row_ids), 'prediction')} and {plural(len(rows), 'row')}", need="the same rows in the same order"
        )
    fold, drawn = folds_of(dense, rows)
    heldout = np.flatnonzero(fold >= 0)
    final = fit(heldout)
    optimistic = apply(np.arange(len(rows)), final)
    by_fold: dict[int, dict[str, Any]] = {}
    parts: list[tuple[np.ndarray, Dense]] = []
    for k in np.unique(fold[heldout]).tolist():
        by_fold[k] = fit(heldout[fold[heldout] != k])
        inside = np.flatnonzero(fold == k)
        parts.append((inside, apply(inside, by_fold[k])))
    outside = np.flatnonzero(fold < 0)
    if len(outside):
        parts.append((outside, optimistic.where(outside)))
    return CrossFitted(assemble(parts), optimistic, by_fold, final, fold, drawn)


def folds_of(dense: Dense, rows: Rows, seed: int = 0) -> tuple[np.ndarray, bool]:
    """Return the fold of each row (N,) for cross-fitting, and whether it was drawn here.

    Rows keep the fold that holds them out. Where the rows that can be scored have fewer than two, five group folds (fewer where there are
    fewer groups) are drawn on the covered rows.

    Raises:
        DataError: see :func:`crossfit`.
    """
    if (why := nothing_to_fit_on(dense, rows)) is not None:
        what, need = why
        raise DataError(what, need=need)
    known = _known(rows)
    if _scored_folds(dense, rows) >= 2:
        check_folds(rows)
        return np.where(known, rows.fold, -1).astype(np.int16), False
    covered = np.flatnonzero(dense.ok & known)
    groups = rows.groups[covered]
    many = count_groups(groups)
    fold = np.full(len(rows), -1, dtype=np.int16)
    truth = {dense.target.name: dense.y[covered]}
    fold[covered] = folds.assign(truth, [dense.target], groups, min(FEW_FOLDS, many), seed)
    return fold, True


def nothing_to_fit_on(dense: Dense, rows: Rows) -> tuple[str, str] | None:
    """Return why nothing can be fitted on some rows and judged on others, and what is needed; None where it can."""
    known = _known(rows)
    if not (counting(dense, rows) & known).any():
        return f"no row of {dense.target.name!r} has both a prediction and a label", "labelled rows to fit decisions on"
    if _scored_folds(dense, rows) < 2 and count_groups(rows.groups[dense.ok & known]) < 2:
        return f"all rows of {dense.target.name!r} belong to one group", "two groups, to fit on one and judge on the other"
    return None


def _known(rows: Rows) -> np.ndarray:
    """Return the rows that have a fold (N,) bool; all of them where predictions came without folds."""
    known = rows.fold >= 0
    return known if known.any() else np.ones(len(rows), dtype=bool)


def _scored_folds(dense: Dense, rows: Rows) -> int:
    return len(np.unique(rows.fold[counting(dense, rows) & _known(rows)]))


def check_folds(rows: Rows) -> None:
    """Refuse folds that cut a group, unless the recipe gave its reason; the groups are named."""
    if rows.allow_leak is not None:
        return
    heldout = rows.fold >= 0
    names, code = np.unique(rows.groups[heldout].astype(str), return_inverse=True)
    low = np.full(len(names), np.iinfo(np.int16).max, dtype=np.int16)
    high = np.full(len(names), -1, dtype=np.int16)
    np.minimum.at(low, code, rows.fold[heldout].astype(np.int16))
    np.maximum.at(high, code, rows.fold[heldout].astype(np.int16))
    torn = names[low != high]
    if len(torn):
        raise DataError(
            f"{plural(len(torn), 'group is', 'groups are')} in more than one fold: {listed(torn)}",
            need="each group in one fold, else the figures leak",
            fix="split again by group, or state the reason in split.allow_leak",
        )


def in_order(pieces: Iterable[Dense], total: int) -> Dense:
    """Put pieces of one blend one after another; each is let go when its values are in their place.

    Args:
        pieces: one or more, in order.
        total: rows of all of them.
    """
    whole: dict[str, Any] = {}
    first, start = None, 0
    for piece in pieces:
        first = piece if first is None else first
        for name in ("row_ids", "p", "y", "fold", "status", *(["answer"] if first.answer is not None else [])):
            values = getattr(piece, name)
            whole.setdefault(name, np.empty((total, *values.shape[1:]), dtype=values.dtype))[start : start + len(values)] = values
        start += len(piece.row_ids)
    if first is None:
        raise UserError("there are no pieces to put together", need="one or more")
    return dataclasses.replace(first, **whole)


def assemble(parts: Sequence[tuple[np.ndarray, Dense]]) -> Dense:
    """Put parts back in order.

    Args:
        parts: row numbers and the Dense of those rows; together each row once.
    """
    total = sum(len(where) for where, _ in parts)
    answered = any(table.answer is not None for _, table in parts)

    def joined(values: Callable[[Dense], np.ndarray]) -> np.ndarray:
        first = values(parts[0][1])
        out = np.empty((total, *first.shape[1:]), dtype=first.dtype)
        for where, table in parts:
            out[where] = values(table)
        return out

    names = ("row_ids", "p", "y", "fold", "status")
    whole: dict[str, Any] = {name: joined(lambda table, name=name: getattr(table, name)) for name in names}  # type: ignore[misc]
    return dataclasses.replace(parts[0][1], **whole, answer=joined(decided) if answered else None)


def fitting(dense: Dense, rows: Rows, most: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, Rows]:
    """Return what a fit sees: p (n, K) and y (n, K) of the rows with both, their weights (n,) and their Rows.

    Args:
        dense: predictions with truth.
        rows: aligned with it.
        most: draw this many rows at most (the draw depends on the number of rows alone); None takes all.

    Raises:
        DataError: no such row.
    """
    take = np.flatnonzero(counting(dense, rows))
    if not len(take):
        raise DataError(f"no row of {dense.target.name!r} has both a prediction and a label", need="labelled rows to fit decisions on")
    if most is not None and len(take) > most:
        take = np.sort(draws.generator("fitting", len(take)).choice(take, most, replace=False))
    inside = rows.where(take)
    weight = np.ones(len(take)) if inside.weight is None else inside.weight.astype(np.float64)
    return dense.p[take], dense.y[take], weight, inside
