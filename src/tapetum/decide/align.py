"""Members onto the same rows: matched by row_id, never by place; who lacks which row is counted and named."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.core import draws
from tapetum.core.errors import DataError, listed
from tapetum.core.tables import Dense
from tapetum.core.words import plural, verb
from tapetum.decide.steps import Rows, counting


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Which rows all members hold.

    Args:
        rows: rows that any member names.
        common: rows that every member answers.
        by_member: member → rows it answers.
        lacking: member → the first rows that another answers and it does not.
    """

    rows: int
    common: int
    by_member: dict[str, int]
    lacking: dict[str, list[str]]

    @property
    def share(self) -> float:
        """Held rows among all; 0 where there are none."""
        return self.common / self.rows if self.rows else 0.0

    def __str__(self) -> str:
        if not self.lacking:
            return f"all {plural(self.common, 'row is', 'rows are')} predicted by all members"
        short = ", ".join(f"{name} answers {self.by_member[name]} (not {listed(ids, 3)})" for name, ids in self.lacking.items())
        return f"{self.common} of {plural(self.rows, 'row')} {verb(self.common, 'is', 'are')} predicted by all members; {short}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)


def align(members: Mapping[str, Dense], *, row_ids: np.ndarray | None = None, strict: bool = False) -> tuple[dict[str, Dense], Coverage]:
    """Bring members onto the same rows.

    Args:
        members: name → one target of that member.
        row_ids: the rows wanted, in order; None: the union of the members' rows, those of the first member first.
        strict: refuse where a member lacks a row that another answers.

    Returns:
        The members with the same row_ids, truth and fold; what one lacks is ``uncovered`` there. And the coverage.

    Raises:
        DataError: other classes, another truth or another fold for the same row; with ``strict``, rows that a member lacks;
            rows that are not among ``row_ids``.
    """
    if not members:
        raise DataError("there are no members to blend", need="one or more")
    check_targets(members)
    tables = _on_union(list(members.values()), row_ids)
    y, fold = _agreed(list(members), tables)
    out = {
        name: dataclasses.replace(table, y=y, fold=np.where(fold >= 0, fold, table.fold).astype(np.int16))
        for name, table in zip(members, tables, strict=True)
    }
    coverage = covered(out)
    if strict and coverage.lacking:
        raise DataError(str(coverage), need="the same rows from every member", fix="predict the rows that lack, or blend without strict")
    return out, coverage


def covered(members: Mapping[str, Dense]) -> Coverage:
    """Return the coverage of aligned members."""
    ok = np.stack([m.ok for m in members.values()])
    anyone, ids = ok.any(axis=0), next(iter(members.values())).row_ids
    lacking = {n: ids[anyone & ~member_ok][:20].tolist() for n, member_ok in zip(members, ok, strict=True) if (anyone & ~member_ok).any()}
    return Coverage(
        ok.shape[1], int(ok.all(axis=0).sum()), {n: int(member_ok.sum()) for n, member_ok in zip(members, ok, strict=True)}, lacking
    )


def check_targets(members: Mapping[str, Dense]) -> None:
    """Refuse members that answer different questions, or the same one in another class order."""
    names = list(members)
    first = members[names[0]].target
    for name in names[1:]:
        other = members[name].target
        if (other.name, other.kind, other.classes) != (first.name, first.kind, first.classes):
            raise DataError(
                f"{name!r} answers {other.name!r} ({other.kind}: {listed(other.classes)}), "
                f"{names[0]!r} {first.name!r} ({first.kind}: {listed(first.classes)})",
                need="one target with the same classes in the same order",
            )


def common(members: Sequence[Dense], rows: Rows, most: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, Rows]:
    """Return what a blend's fit sees: p (M, n, K), y (n, K), weight (n,) and Rows of the rows that all members answer and that have truth.

    Args:
        members: aligned.
        rows: aligned with them.
        most: draw this many rows at most (the draw depends on their number alone).

    Raises:
        DataError: no such row.
    """
    take = np.flatnonzero(np.logical_and.reduce([counting(m, rows) for m in members]))
    if not len(take):
        raise DataError(
            f"no labelled row of {members[0].target.name!r} is predicted by all {plural(len(members), 'member')}",
            need="rows that all of them hold",
        )
    if most is not None and len(take) > most:
        take = np.sort(draws.generator("fitting", len(take)).choice(take, most, replace=False))
    inside = rows.where(take)
    weight = np.ones(len(take)) if inside.weight is None else inside.weight.astype(np.float64)
    return np.stack([m.p[take] for m in members]), members[0].y[take], weight, inside


def _on_union(tables: list[Dense], wanted: np.ndarray | None) -> list[Dense]:
    first = tables[0].row_ids if wanted is None else np.asarray(wanted, dtype=object)
    if all(len(t.row_ids) == len(first) and bool((t.row_ids == first).all()) for t in tables):
        return tables
    union: dict[str, int] = {row_id: i for i, row_id in enumerate(first.tolist())}
    for table in tables:
        for row_id in table.row_ids.tolist():
            union.setdefault(row_id, len(union))
    if wanted is not None and len(union) > len(first):
        others = list(union)[len(first) :]
        raise DataError(
            f"{plural(len(others), 'predicted row is', 'predicted rows are')} not among the {len(first)} known: {listed(others)}",
            need="the same rows",
        )
    return [_spread(table, union) for table in tables]


def _spread(table: Dense, union: Mapping[str, int]) -> Dense:
    n, k = len(union), table.target.width
    where = np.array([union[row_id] for row_id in table.row_ids.tolist()], dtype=np.int64)
    if len(np.unique(where)) < len(where):
        raise DataError(f"a member names a row of {table.target.name!r} twice", need="each row once")
    p, y = np.full((n, k), np.nan, dtype=np.float32), np.full((n, k), np.nan, dtype=np.float32)
    fold, status = np.full(n, -1, dtype=np.int16), np.full(n, "uncovered", dtype=object)
    p[where], y[where], fold[where], status[where] = table.p, table.y, table.fold, table.status
    answer = None
    if table.answer is not None:
        answer = np.full((n, k), np.nan, dtype=np.float32)
        answer[where] = table.answer
    return Dense(table.target, np.array(list(union), dtype=object), p, y, fold, status, answer)


def _agreed(names: list[str], tables: list[Dense]) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth and the fold that the members agree on; what one does not know, another may."""
    y, fold = tables[0].y, tables[0].fold
    for name, table in zip(names[1:], tables[1:], strict=True):
        if table.y is not y:
            unknown, known = np.isnan(y).any(axis=1), ~np.isnan(table.y).any(axis=1)
            apart = np.flatnonzero(~unknown & known & (y != table.y).any(axis=1))
            if len(apart):
                raise DataError(
                    f"members {names[0]!r} and {name!r} have different labels for "
                    f"{plural(len(apart), 'row')}: {listed(table.row_ids[apart])}",
                    need="the same labels",
                )
            if (unknown & known).any():
                y = np.where((unknown & known)[:, None], table.y, y)
        apart = np.flatnonzero((fold >= 0) & (table.fold >= 0) & (fold != table.fold))
        if len(apart):
            raise DataError(
                f"members {names[0]!r} and {name!r} were held out by different folds in "
                f"{plural(len(apart), 'row')}: {listed(table.row_ids[apart])}",
                need="the same folds, else weights are fitted on rows that a member has seen",
            )
        fold = np.where(fold >= 0, fold, table.fold)
    return y, fold
