"""Rows in the order of time: which row is in which slot of which sequence, padded so that numpy works on all at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tapetum.core.errors import DataError, listed
from tapetum.core.order import slots, usual_step
from tapetum.core.words import plural

if TYPE_CHECKING:
    from tapetum.decide.steps import Rows

LONGEST_GAP = 60  # slots; beyond this the chain has forgotten what came before
_CELLS = 2_000_000  # padded cells in one block


@dataclasses.dataclass(frozen=True)
class Block:
    """Some sequences of similar length.

    Args:
        index: (S, T) int64, the row in each slot; −1 where a slot has none (a gap, or after the end).
        lengths: (S,) slots of each sequence, in descending order.
    """

    index: np.ndarray
    lengths: np.ndarray

    @property
    def filled(self) -> np.ndarray:
        """Slots that hold a row (S, T) bool."""
        return self.index >= 0

    def take(self, values: np.ndarray, fill: float) -> np.ndarray:
        """Return ``values`` (N, …) laid into the slots (S, T, …); ``fill`` where there is no row."""
        out = values[np.maximum(self.index, 0)]
        out[~self.filled] = fill
        return out

    def put(self, values: np.ndarray, out: np.ndarray) -> None:
        """Write the slots' ``values`` (S, T, …) back to their rows in ``out`` (N, …)."""
        out[self.index[self.filled]] = values[self.filled]


@dataclasses.dataclass(frozen=True)
class Sequences:
    """All sequences of a table.

    Args:
        blocks: the padded sequences; every row of a sequence is in exactly one slot.
        step: the distance between neighbours in units of ``position``.
    """

    blocks: tuple[Block, ...]
    step: float

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)


def arrange(rows: Rows, keep: np.ndarray | None = None, step: float | None = None) -> Sequences:
    """Lay rows out by sequence and position.

    A jump in position leaves unobserved slots (at most ``LONGEST_GAP``), so that rows on both sides do not count as neighbours.

    Args:
        rows: groups, sequences and positions of each row.
        keep: (N,) bool, which rows to lay out; None for all. Rows whose sequence is null are never laid out.
        step: the distance between neighbours; None measures it, as :func:`tapetum.core.order.usual_step`.

    Raises:
        DataError: no sequences at all, or sequences without positions, with doubled ones, or with rows of several groups.
    """
    if rows.sequence is None:
        raise DataError("the rows have no sequence", need="a sequence column", fix="name it with --sequence, or leave the context step out")
    named = in_sequence(rows)
    chosen = np.flatnonzero(named if keep is None else named & keep)
    if not len(chosen):
        return Sequences((), step or 1.0)
    names, code = np.unique(rows.sequence[chosen].astype(str), return_inverse=True)
    if rows.position is None:
        raise DataError(
            f"{plural(len(names), 'sequence has', 'sequences have')} no positions: {listed(names)}",
            need="a position column",
            fix="name it with --position",
        )
    position = np.asarray(rows.position, dtype=np.float64)[chosen]
    _refuse(code[~np.isfinite(position)], names, "rows without a position", "a position in every row")
    order = np.lexsort((position, code))
    chosen, code, position = chosen[order], code[order], position[order]
    first = np.r_[True, code[1:] != code[:-1]]
    distance = np.where(first, 0.0, np.diff(position, prepend=position[:1]))
    _refuse(code[~first & (distance <= 0)], names, "doubled positions", "each position once in a sequence")
    groups = np.asarray(rows.groups)[chosen]
    _refuse(code[~first & (groups != np.roll(groups, 1))], names, "rows of several groups", "one group a sequence")
    if step is None:
        step = usual_step(distance[~first])
    slot = slots(first, distance, step, LONGEST_GAP + 1)
    return Sequences(tuple(_blocks(chosen, code, slot, len(names))), step)


def in_sequence(rows: Rows) -> np.ndarray:
    """Return which rows are in a sequence (N,) bool."""
    if rows.sequence is None:
        return np.zeros(len(rows), dtype=bool)
    return np.array([name is not None for name in rows.sequence.tolist()], dtype=bool)


def _blocks(chosen: np.ndarray, code: np.ndarray, slot: np.ndarray, count: int) -> Iterator[Block]:
    """Pad sequences of similar length together, longest first."""
    lengths = np.zeros(count, dtype=np.int64)
    np.maximum.at(lengths, code, slot + 1)
    by_length = np.argsort(-lengths, kind="stable")
    place = np.empty(count, dtype=np.int64)
    place[by_length] = np.arange(count)
    rank, sorted_lengths = place[code], lengths[by_length]
    start = 0
    while start < count:
        size = max(1, _CELLS // int(sorted_lengths[start]))
        end = start + int(np.searchsorted(-sorted_lengths[start : start + size], -0.5 * sorted_lengths[start], side="right"))
        inside = (rank >= start) & (rank < end)
        index = np.full((end - start, int(sorted_lengths[start])), -1, dtype=np.int64)
        index[rank[inside] - start, slot[inside]] = chosen[inside]
        yield Block(index, sorted_lengths[start:end])
        start = end


def _refuse(codes: np.ndarray, names: np.ndarray, what: str, need: str) -> None:
    bad = names[np.unique(codes)]
    if len(bad):
        raise DataError(f"{plural(len(bad), 'sequence has', 'sequences have')} {what}: {listed(bad)}", need=need, fix="correct the table")
