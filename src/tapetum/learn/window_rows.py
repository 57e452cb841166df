"""Which rows are in the window of each row: neighbours of one sequence, by position; gaps stay empty."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl

from tapetum.core.errors import DataError, listed
from tapetum.core.order import slots, usual_step
from tapetum.core.tables import Manifest
from tapetum.core.words import plural

BLOCK = 8192  # rows whose vectors are held at once while answering
OVERLAP = 4  # windows that answer for a row, where every step is answered


def window_rows(manifest: Manifest, length: int, target: str, step: float | None = None) -> np.ndarray:
    """Return the rows of each row's window (N, L) int64, −1 where there is none.

    Args:
        manifest: with sequences and positions. Test rows and extra rows are sequences of their own.
        length: L.
        target: ``last`` puts the row at the end, ``centre`` and ``all`` at place L // 2.
        step: the distance between neighbours where the network learned, see :func:`step_of`; None measures it on these rows.

    Raises:
        DataError: no sequences or positions, or two rows at one place.
    """
    key, order = _places(manifest, _line(manifest), length, step)
    ordered = key[order]
    first = -(length - 1) if target == "last" else -(length // 2)
    wanted = key[:, None] + np.arange(first, first + length)
    found = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
    return np.where(ordered[found] == wanted, order[found], -1).astype(np.int64)


def anchors(table: np.ndarray, rows: np.ndarray, target: str) -> np.ndarray:
    """Return the rows whose windows together answer for ``rows``: themselves, or with ``all`` every few of them and the ends.

    Args:
        table: from :func:`window_rows`.
        rows: row numbers.
        target: last, centre or all.
    """
    if target != "all":
        return rows
    wanted = np.zeros(len(table) + 1, dtype=bool)
    wanted[rows] = True
    length = table.shape[1]
    before = table[:, length // 2 - 1] if length > 1 else np.full(len(table), -1)
    chosen = rows[_rank(np.where(wanted[before], before, -1), rows) % max(1, length // OVERLAP) == 0]
    covered = np.zeros(len(table) + 1, dtype=bool)
    covered[table[chosen].ravel()] = True
    return np.sort(np.concatenate([chosen, rows[~covered[rows]]]))


def _rank(before: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return how many rows come before each of ``rows`` without a gap, by doubling the step.

    Args:
        before: the row before each (N,), −1 for none.
        rows: wanted.
    """
    steps, jump = (before >= 0).astype(np.int64), before.copy()
    while (jump >= 0).any():
        there = np.maximum(jump, 0)
        steps = steps + np.where(jump >= 0, steps[there], 0)
        jump = np.where(jump >= 0, jump[there], -1)
    return steps[rows]


def check(manifest: Manifest, length: int) -> tuple[float, list[str]]:
    """Return the step between neighbours, and the sequences with rows closer than half of it: there, neighbours are counted, not measured.

    Args:
        manifest: with sequences and positions.
        length: of a window.

    Raises:
        DataError: as :func:`window_rows`.
    """
    line = _line(manifest)
    _places(manifest, line, length, None)
    crowded = (line.distance > 0) & (np.rint(line.distance / line.step) == 0)
    return line.step, sorted(set(manifest.frame["sequence"][line.order[crowded].tolist()].to_list()))


@dataclasses.dataclass(frozen=True)
class _Line:
    """Rows in order, one sequence after the other.

    Args:
        sequence_of: (N,) the number of each row's sequence.
        order: (N,) row numbers by sequence and position.
        first: (N,) bool in that order, which begin a sequence.
        distance: (N,) in that order, from the row before of the same sequence; 0 where there is none.
    """

    sequence_of: np.ndarray
    order: np.ndarray
    first: np.ndarray
    distance: np.ndarray

    @property
    def step(self) -> float:
        """The distance between neighbours."""
        return usual_step(self.distance[self.distance > 0])


def step_of(manifest: Manifest) -> float:
    """Return the distance between neighbours, in units of the position; a pipeline keeps it for rows that show too few to measure."""
    return _line(manifest).step


def _places(manifest: Manifest, line: _Line, length: int, step: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the place (N,) of each row on one line of all sequences, far enough apart for windows, and the rows in that order."""
    slot = np.empty(len(manifest), dtype=np.int64)
    slot[line.order] = slots(line.first, line.distance, line.step if step is None else step)
    reach = int(slot.max(initial=0)) + 2 * length + 2
    key = line.sequence_of * reach + slot + length
    order = np.argsort(key, kind="stable")
    twice = np.flatnonzero(key[order][1:] == key[order][:-1])
    if len(twice):
        ids = [manifest.row_ids[int(order[twice[0] + i])] for i in (0, 1)]
        raise DataError(f"rows {ids[0]!r} and {ids[1]!r} are at one place of one sequence", need="a position of its own for each")
    return key, order


def _line(manifest: Manifest) -> _Line:
    """Lay out the rows of a manifest; test rows and extra rows are sequences of their own, a row without a sequence is one alone."""
    frame = manifest.frame
    for column in ("sequence", "position"):
        if column not in frame.columns:
            raise DataError(f"a sequence model needs each row's {column}, and the rows have none", fix=f"name it with --{column}")
    part = np.where(np.isin(manifest.split, ("test", "extra")), manifest.split, "")
    part[manifest.beside_test] = "test"
    alone = pl.concat_str(pl.lit("\x1frow "), pl.col("row_id"))
    name = frame.select(pl.coalesce(pl.col("sequence"), alone).alias("n")).with_columns(pl.Series("s", part.astype(str)))
    sequence_of = name.select(pl.struct("n", "s").rank("dense")).to_series().to_numpy().astype(np.int64)
    position = frame["position"].cast(pl.Float64).to_numpy().astype(np.float64)
    nowhere = np.isnan(position) & frame["sequence"].is_not_null().to_numpy()
    if nowhere.any():
        ids = [manifest.row_ids[int(i)] for i in np.flatnonzero(nowhere)[:3]]
        raise DataError(
            f"{plural(int(nowhere.sum()), 'row has', 'rows have')} a sequence and no position: {listed(ids)}", need="a number for each"
        )
    position = np.nan_to_num(position)
    order = np.lexsort((position, sequence_of))
    first = np.diff(sequence_of[order], prepend=-1) != 0
    distance = np.where(first, 0.0, np.diff(position[order], prepend=0.0))
    return _Line(sequence_of, order, first, distance)
