"""Which fold holds each row out: balanced over the classes of every target at once, and no group in two folds.

scikit-learn balances one single-label target. Here groups carry any number of labels of any kind, so the assignment is our own: groups
are placed rarest label first into the fold that lacks their labels most (after Sechidis et al. 2011, "On the stratification of
multi-label data"), then moved and swapped as long as that evens out the folds. Groups with the same labels are interchangeable and are
placed together, so a million rows without groups cost no more than their distinct label sets.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tapetum.core import balance, draws
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.targets import Target
from tapetum.core.words import plural

BINS = 10  # at most, of a regression without borders


def assign(truths: Mapping[str, np.ndarray], targets: Sequence[Target], groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Draw folds, stratified by all targets and grouped.

    The same rows in another order get the same folds. Rows without a truth are spread evenly too.

    Args:
        truths: target name → (N, K), NaN rows where unknown.
        targets: those to balance; regressions by their borders, else by quantiles.
        groups: the group of each row (N,).
        folds: how many, 2 or more.
        seed: of the draws among equals.

    Returns:
        The fold of each row (N,) int16.

    Raises:
        UserError: fewer than two folds, or truths that do not fit the groups.
        DataError: fewer groups than folds.
    """
    if folds < 2:
        raise UserError(
            f"{plural(folds, 'fold was', 'folds were')} asked for", need="2 or more", fix="for one quick split use --holdout 0.2"
        )
    names, codes = _codes(groups)
    if len(names) < folds:
        raise DataError(
            f"there are {plural(len(names), 'group')} for {plural(folds, 'fold')} ({listed(names)})",
            need="a group for each fold",
            fix=f"use --folds {len(names)}" if len(names) > 1 else _more(groups),
        )
    table = _group_table(truths, targets, codes, len(names))
    return balance.split(table, np.full(folds, 1 / folds), draws.generator("folds", seed))[codes].astype(np.int16)


def holdout(truths: Mapping[str, np.ndarray], targets: Sequence[Target], groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw the rows of one quick split, stratified and grouped; True (N,) is held out. Arguments as for :func:`assign`."""
    if not 0 < share < 1:
        raise UserError(f"a holdout of {share} was asked for", need="a share between 0 and 1, as 0.2")
    names, codes = _codes(groups)
    if len(names) < 2:
        raise DataError(f"all rows are in one group ({listed(names)})", need="two groups or more", fix=_more(groups))
    table = _group_table(truths, targets, codes, len(names))
    return balance.split(table, np.array([1 - share, share]), draws.generator("holdout", seed))[codes] == 1


def check_groups(fold: np.ndarray, groups: np.ndarray, column: str = "fold") -> None:
    """Refuse folds (or splits) that cut a group.

    Args:
        fold: (N,) of numbers or names; −1 and null are no fold.
        groups: (N,).
        column: its name, for the error.

    Raises:
        DataError: names the first such group and its folds, and how many more there are.
    """
    table = pl.DataFrame({"group": _series(groups), "fold": _series(np.asarray(fold))})
    heldout = table.filter(pl.col("fold").is_not_null() & (pl.col("fold").cast(pl.String) != "-1")).unique()
    crossing = heldout.filter(pl.col("group").is_duplicated()).sort("group", "fold")
    if len(crossing):
        name = crossing["group"][0]
        where = crossing.filter(pl.col("group") == name)["fold"].to_list()
        more = crossing["group"].n_unique() - 1
        raise DataError(
            f"group {str(name)!r} is in {column}s {listed(where)}"
            + (f", and {plural(more, 'more group crosses', 'more groups cross')}" if more else ""),
            need="each group in one",
            fix=f"correct the {column} column, or leave it out and let Tapetum draw folds",
        )


@dataclasses.dataclass(frozen=True)
class Rare:
    """A class that is not in every fold.

    Args:
        target: its target's name.
        name: the class.
        rows: rows that have it.
        groups: groups that have it.
        folds: how many folds hold some of it.
    """

    target: str
    name: str
    rows: int
    groups: int
    folds: int

    def __str__(self) -> str:
        return f"{self.target} = {self.name}: {plural(self.rows, 'row')} in {plural(self.groups, 'group')}, in {plural(self.folds, 'fold')}"


def rare_classes(truths: Mapping[str, np.ndarray], targets: Sequence[Target], groups: np.ndarray, fold: np.ndarray) -> list[Rare]:
    """Return the classes that are absent from some fold, in the order of targets and classes.

    Args:
        truths: target name → (N, K).
        targets: regressions are passed over.
        groups: (N,).
        fold: (N,), −1 for rows in none.
    """
    used = np.unique(fold[fold >= 0])
    found = []
    for target in targets:
        if target.kind == "regression":
            continue
        has = np.nan_to_num(truths[target.name]) > 0.5
        has &= (fold >= 0)[:, None]
        for c, name in enumerate(target.classes):
            rows = np.flatnonzero(has[:, c])
            stands = len(np.unique(fold[rows]))
            if stands < len(used):
                found.append(Rare(target.name, name, len(rows), len(set(groups[rows].tolist())), stands))
    return found


def strata(truth: np.ndarray, target: Target) -> np.ndarray:
    """Return what is balanced of one target (N, C): a 0/1 column a class (regression: a quantile bin), and one for unknown truth."""
    unknown = np.isnan(truth).any(axis=1)
    if target.kind != "regression":
        return np.concatenate([np.nan_to_num(truth) > 0.5, unknown[:, None]], axis=1)
    values = truth[~unknown, 0]
    edges = np.asarray(target.borders, dtype=np.float64)
    if not len(edges) and len(values):
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = np.full(len(truth), len(edges) + 1)
    bins[~unknown] = np.searchsorted(edges, values, side="right")
    return bins[:, None] == np.arange(len(edges) + 2)


def _group_table(truths: Mapping[str, np.ndarray], targets: Sequence[Target], codes: np.ndarray, many: int) -> np.ndarray:
    """Return how many rows of each stratum each group has (groups, 1 + C); the first column counts all its rows."""
    columns = [np.bincount(codes, minlength=many)]
    for target in targets:
        truth = np.asarray(truths[target.name])
        if len(truth) != len(codes):
            raise UserError(
                f"target {target.name!r} has {plural(len(truth), 'row')} and there are {plural(len(codes), 'group')} given",
                need="one group a row",
            )
        columns += [np.bincount(codes[has], minlength=many) for has in strata(truth, target).T]
    table = np.stack(columns, axis=1)
    return table[:, table.any(axis=0)]


def count_groups(groups: np.ndarray) -> int:
    """Return how many different groups some rows are of."""
    return len(np.unique(groups.astype(str)))


def _codes(groups: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the groups' names in order and the number of each row's group (N,), whatever the order of the rows."""
    names = _series(np.asarray(groups))
    if names.null_count():
        raise DataError("a row has no group", need="a group for every row, if only its own")
    known = names.unique().sort()
    if names.dtype != pl.String:
        return known.to_list(), known.search_sorted(names).to_numpy().astype(np.int64)
    return known.to_list(), names.cast(pl.Enum(known)).to_physical().to_numpy().astype(np.int64)


def _series(values: np.ndarray) -> pl.Series:
    """Return a column of strings (or of numbers, where they are numbers)."""
    if values.dtype != object:
        return pl.Series(values)
    with contextlib.suppress(TypeError):
        return pl.Series(values.tolist(), dtype=pl.String, strict=True)
    return pl.Series([None if v is None else str(v) for v in values.tolist()], dtype=pl.String)


def _more(groups: np.ndarray) -> str:
    return "add images: one alone cannot be split" if len(groups) < 2 else "check the group column, or add images of other groups"
