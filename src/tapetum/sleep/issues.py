"""The issue table: what was wrong with a recording, what was assumed instead, and which epochs that touches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl

NOTE, REPAIR, QUALITY, REFUSED = "note", "repair", "quality", "refused"
ALL, NO_EPOCH = "all", "none"
EPOCH = 30.0  # seconds
COLUMNS = ("file", "kind", "signal", "what", "assumed", "epochs")


@dataclasses.dataclass(frozen=True)
class Issue:
    """One finding.

    Args:
        file: name of the recording.
        kind: ``note`` (allowed, but worth knowing), ``repair`` (an assumption was made), ``quality`` (a signal) or ``refused`` (not read).
        signal: which one; blank for the whole file.
        what: what was found. It never quotes the identification of the patient or of the recording.
        assumed: what was done or assumed instead; of what was refused, the mend.
        epochs: which epochs of 30 s it touches, counted from 1, as ``all``, ``none``, ``12`` or ``12–40``.
    """

    file: str
    kind: str
    signal: str
    what: str
    assumed: str
    epochs: str = NO_EPOCH


class Issues:
    """The issues of one recording, in the order in which they were found.

    Args:
        file: its name.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.rows: list[Issue] = []

    def __iter__(self) -> Iterator[Issue]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, what: str, assumed: str, *, signal: str = "", kind: str = REPAIR, epochs: str = NO_EPOCH) -> None:
        """Add a finding; the same one is kept once."""
        one = Issue(self.file, kind, signal, what, assumed, epochs)
        if one not in self.rows:
            self.rows.append(one)


def epochs_of(start: float, end: float) -> str:
    """Return which epochs the seconds from ``start`` to ``end`` touch, as ``12–40``."""
    first, last = int(max(start, 0.0) // EPOCH) + 1, int(-(-max(end, 0.0) // EPOCH))
    last = max(first, last)
    return str(first) if first == last else f"{first}–{last}"


def spans(where: np.ndarray, most: int = 8) -> str:
    """Return epochs, counted from 1, as ``3–5, 9``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], where.astype(np.int8), [0]])))
    shown = [str(a + 1) if b == a + 1 else f"{a + 1}–{b}" for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def table(issues: Iterable[Issue]) -> pl.DataFrame:
    """Return issues as a table, a row each."""
    return pl.DataFrame([dataclasses.astuple(one) for one in issues], schema=dict.fromkeys(COLUMNS, pl.String), orient="row")
