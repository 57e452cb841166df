"""An exported member over sequences: windows of neighbouring rows → the mean of what they answer for each row; no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.core.config import SequenceConfig
from tapetum.core.tables import Manifest
from tapetum.learn.sessions import Session
from tapetum.learn.window_rows import BLOCK, anchors, window_rows

AT_ONCE = 32  # windows
Images = tuple[np.ndarray | None, list[int]]  # of those that can be read, and their rows
Reader = Callable[[Sequence[Sequence[int]]], Iterator[Images]]  # batches of rows → their images
Sides = Callable[[np.ndarray], np.ndarray | None]  # rows, −1 where there is none → side numbers (…, S)


class Windows:
    """What answers for the rows of a manifest by windows of them.

    Args:
        sequence: ``sequence`` of a member in ``ensemble.json``: the recipe's section, and the distance between neighbours as ``step``.
        sessions: images → vectors, and windows → probabilities; of joined images the latter alone.
    """

    def __init__(self, sequence: Mapping[str, Any], sessions: Sequence[Session]) -> None:
        self.how = SequenceConfig.model_validate({key: value for key, value in sequence.items() if key != "step"})
        self.step = sequence["step"]
        self.steps = sessions[0] if len(sessions) > 1 else None
        self.over = sessions[-1]

    def answer(
        self, manifest: Manifest, read: Reader, sides: Sides, shapes: Sequence[tuple[int, ...]], after: Callable[[int], None]
    ) -> list[np.ndarray]:
        """Return the probabilities (N, F, K) of each target; rows whose image cannot be read have none that counts.

        Args:
            manifest: the rows, with sequences and positions.
            read: reads images.
            sides: gives the member's side numbers, or None.
            shapes: (F, K) of each target.
            after: told how many windows are done, as a number of rows.
        """
        table = window_rows(manifest, self.how.length, self.how.target, self.step)
        wanted = anchors(table, np.arange(len(manifest)), self.how.target)
        sums = [np.zeros((len(manifest), *shape)) for shape in shapes]
        counts = np.zeros(len(manifest), dtype=np.int64)
        done = 0
        for part, values, known in self._windows(table, wanted, read):
            done += len(part)
            after(done * len(manifest) // len(wanted))
            if values is None:
                continue  # not one image of these windows can be read
            at = table[part]
            rows, real = (at, known) if self.how.target == "all" else (part, (known & (at == part[:, None])).any(axis=1))
            side = sides(rows)
            found = self.over(values, known) if side is None else self.over(values, known, side)
            np.add.at(counts, rows[real], 1)
            for total, p in zip(sums, found, strict=True):
                np.add.at(total, rows[real], p[real])
        return [(total / np.maximum(counts, 1)[:, None, None]).astype(np.float32) for total in sums]

    def _windows(self, table: np.ndarray, wanted: np.ndarray, read: Reader) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray]]:
        """Yield some rows, the values of their windows (B, L, …), and which steps are real (B, L)."""
        if self.steps is None:
            parts = [wanted[start : start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE)]
            for part, (x, at) in zip(parts, read([_rows(table[part]) for part in parts]), strict=True):
                yield (part, *_laid(table[part], x, at))
            return
        for start in range(0, len(wanted), BLOCK):
            block = wanted[start : start + BLOCK]
            needed = _rows(table[block])
            found, seen = [], []
            for x, at in read([needed[i : i + AT_ONCE] for i in range(0, len(needed), AT_ONCE)]):
                if x is not None:
                    found.append(self.steps(x)[0])
                    seen += at
            vectors = np.concatenate(found) if found else None
            for first in range(0, len(block), AT_ONCE):
                part = block[first : first + AT_ONCE]
                yield (part, *_laid(table[part], vectors, seen))


def _rows(windows: np.ndarray) -> list[int]:
    """Return the rows that some windows (B, L) show, each once."""
    return [int(row) for row in np.unique(windows[windows >= 0])]


def _laid(windows: np.ndarray, values: np.ndarray | None, at: Sequence[int]) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the values of windows (B, L, …), zeros where there is none, and where there are some (B, L).

    Args:
        windows: row numbers (B, L), −1 where there is none.
        values: (M, …) of some rows; None where none could be read.
        at: the rows of ``values``, in rising order.
    """
    if values is None:
        return None, np.zeros(windows.shape, dtype=bool)
    rows = np.asarray(at, dtype=np.int64)
    place = np.minimum(np.searchsorted(rows, windows), len(rows) - 1)
    known = rows[place] == windows
    shaped = known.reshape(*windows.shape, *(1 for _ in values.shape[1:]))
    return (np.where(shaped, values[place], 0).astype(values.dtype), known) if known.any() else (None, known)
