"""Decisions of a review in an SQLite file: each is on the disk before the page goes on, and none is ever removed.

A decision is a row of its own; the latest that was not undone holds. So nothing is lost where two windows or two reviewers decide one
image, and undo has no limit. The file names the data that it belongs to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tapetum.core import files
from tapetum.core.errors import DataError, EnvironmentFault, TapetumError

_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS decisions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, row_id TEXT NOT NULL, pass INTEGER NOT NULL, action TEXT NOT NULL, labels TEXT NOT NULL,
  reviewer TEXT NOT NULL, window TEXT NOT NULL, bulk TEXT NOT NULL, at REAL NOT NULL, undone REAL
);
CREATE INDEX IF NOT EXISTS by_row ON decisions (row_id, pass);
CREATE INDEX IF NOT EXISTS by_undone ON decisions (undone) WHERE undone IS NOT NULL;
COMMIT;
"""
_COLUMNS = "id, row_id, pass, action, labels, reviewer, window, bulk, at"
_WAIT = 10  # seconds for another process to let go of the file


@dataclasses.dataclass(frozen=True)
class Decided:
    """One decision.

    Args:
        number: its place in the file, growing with time.
        row_id: the image.
        turn: 1, or 2 for the blind second pass.
        action: ``keep``, ``exclude`` or ``relabel``.
        labels: of relabel.
        reviewer, window: who decided, and in which window.
        bulk: the name of a bulk decision that it is part of; empty: none.
        at: seconds since 1970.
    """

    number: int
    row_id: str
    turn: int
    action: str
    labels: tuple[str, ...]
    reviewer: str
    window: str
    bulk: str
    at: float


class Store:
    """The decisions of one review.

    Args:
        path: the file; made where there is none.
        data: what tells these data from others; a file of other data is refused.

    Raises:
        DataError: the file is of other data, or no file of decisions.
        EnvironmentFault: the machine cannot read or write it.
    """

    def __init__(self, path: Path | str, data: str) -> None:
        self.path, self._lock = Path(path), threading.Lock()
        files.make_folder(self.path.parent)
        try:
            self._open = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=_WAIT)
            _refuse_foreign(self._open, self.path)
            self._open.execute("PRAGMA journal_mode=WAL")
            self._open.execute("PRAGMA synchronous=FULL")  # a commit is on the disk, also when the machine stops
            self._open.executescript(_SCHEMA)
            self._open.execute("INSERT OR IGNORE INTO about VALUES ('data', ?)", (data,))
            (known,) = self._open.execute("SELECT value FROM about WHERE key = 'data'").fetchone()
        except sqlite3.DatabaseError as error:
            raise _failed(self.path, error) from None
        if known != data:
            raise DataError(
                f"{path} holds decisions on other data",
                need="the decisions on these rows",
                fix="name another file: --decisions FILE",
            )

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def add(
        self,
        row_ids: Sequence[str],
        action: str,
        labels: Sequence[str] = (),
        *,
        turn: int = 1,
        reviewer: str = "",
        window: str = "",
        bulk: str = "",
    ) -> list[Decided]:
        """Keep a decision on some rows, all of them or none; it is on the disk when this returns.

        Raises:
            EnvironmentFault: it could not be written; none is kept.
        """
        at, out = time.time(), []
        with self._transaction() as connection:
            for row_id in row_ids:
                values = (row_id, turn, action, json.dumps(list(labels)), reviewer, window, bulk, at)
                done = connection.execute(
                    "INSERT INTO decisions (row_id, pass, action, labels, reviewer, window, bulk, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
                out.append(Decided(int(done.lastrowid or 0), row_id, turn, action, tuple(labels), reviewer, window, bulk, at))
        return out

    def undo(self, *, turn: int = 1, window: str = "", number: int = 0) -> list[Decided]:
        """Take back the last decision of a window that still holds, a bulk decision as a whole; return what was taken back.

        Args:
            turn: of which pass.
            window: whose decision.
            number: of the decision itself, whoever made it, instead of the last one of the window; nothing is done where it was undone.
        """
        which, value = ("id = ?", number) if number else ("window = ?", window)
        with self._transaction() as connection:
            found = connection.execute(
                f"SELECT {_COLUMNS} FROM decisions WHERE undone IS NULL AND pass = ? AND {which} ORDER BY id DESC LIMIT 1", (turn, value)
            ).fetchone()
            if found is None:
                return []
            bulk = found[7]
            where, values = ("bulk = ? AND undone IS NULL", (bulk,)) if bulk else ("id = ?", (found[0],))
            taken = connection.execute(f"SELECT {_COLUMNS} FROM decisions WHERE {where}", values).fetchall()
            connection.execute(f"UPDATE decisions SET undone = {time.time()} WHERE {where}", values)
        return [_decided(row) for row in taken]

    def holding(self, turn: int = 1) -> dict[str, Decided]:
        """Return the decision that holds for each row that has one."""
        return {one.row_id: one for one in self.standing(turn)}

    def standing(self, turn: int = 1, after: int = 0) -> list[Decided]:
        """Return the decisions that were not undone, in the order in which they were made; the last of a row holds.

        Args:
            turn: of which pass.
            after: the number of a decision: only later ones.
        """
        rows = self._read(f"SELECT {_COLUMNS} FROM decisions WHERE undone IS NULL AND pass = ? AND id > ? ORDER BY id", (turn, after))
        return [_decided(row) for row in rows]

    def undone(self, most: int) -> list[tuple[str, int]]:
        """Return row and pass of the decisions that were undone last."""
        return self._read("SELECT row_id, pass FROM decisions WHERE undone IS NOT NULL ORDER BY undone DESC, id DESC LIMIT ?", (most,))

    def of_row(self, row_id: str, turn: int = 1) -> Decided | None:
        """Return the decision that holds for a row; None where there is none."""
        rows = self._read(
            f"SELECT {_COLUMNS} FROM decisions WHERE undone IS NULL AND pass = ? AND row_id = ? ORDER BY id DESC LIMIT 1", (turn, row_id)
        )
        return _decided(rows[0]) if rows else None

    def latest(self, turn: int = 1) -> Decided | None:
        """Return the last decision of any window that still holds; None where there is none."""
        rows = self._read(f"SELECT {_COLUMNS} FROM decisions WHERE undone IS NULL AND pass = ? ORDER BY id DESC LIMIT 1", (turn,))
        return _decided(rows[0]) if rows else None

    def last(self) -> tuple[int, int]:
        """Return the highest number of a decision, and how many were undone: no decision or undo of any process leaves both as they are."""
        count = "SELECT COUNT(*) FROM decisions WHERE undone IS NOT NULL"
        ((highest, undone),) = self._read(f"SELECT COALESCE(MAX(id), 0), ({count}) FROM decisions")
        return int(highest), int(undone)

    def contested(self) -> list[tuple[Decided, Decided]]:
        """Return rows on which two windows or reviewers decided otherwise, both decisions still standing: (earlier, holding)."""
        several = "GROUP BY row_id HAVING COUNT(*) > 1"  # of many thousand decisions few are on a row that has another
        which = f"row_id IN (SELECT row_id FROM decisions WHERE undone IS NULL AND pass = 1 {several})"
        rows = self._read(f"SELECT {_COLUMNS} FROM decisions WHERE undone IS NULL AND pass = 1 AND {which} ORDER BY row_id, id")
        by_row: dict[str, list[Decided]] = {}
        for row in rows:
            by_row.setdefault(row[1], []).append(_decided(row))
        out = []
        for found in by_row.values():
            last = found[-1]
            others = [d for d in found[:-1] if (d.reviewer, d.window) != (last.reviewer, last.window)]
            if others and (others[-1].action, others[-1].labels) != (last.action, last.labels):
                out.append((others[-1], last))
        return out

    def _read(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._open.execute(query, values).fetchall()
            except sqlite3.DatabaseError as error:
                raise _failed(self.path, error) from None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._open.execute("BEGIN IMMEDIATE")
                yield self._open
                self._open.execute("COMMIT")
            except BaseException as error:
                with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back already, as it does where the disk is full
                    self._open.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError):
                    raise _failed(self.path, error) from None
                raise


def _refuse_foreign(opened: sqlite3.Connection, path: Path) -> None:
    """Refuse a file of another program before anything is written to it.

    Raises:
        DataError: it has tables, and none of ours.
    """
    found = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").fetchall()
    names = {name for (name,) in found}
    for name, columns in (("about", ["key", "value"]), ("decisions", [*_COLUMNS.split(", "), "undone"])):
        has = [column for _, column, *_ in opened.execute(f"PRAGMA table_info({name})").fetchall()]
        if (names and name not in names) or (has and has != columns):
            raise DataError(f"{path} is an SQLite file of another program", fix="name another one: --decisions FILE")


def _failed(path: Path, error: sqlite3.DatabaseError) -> TapetumError:
    """Return the error of a file that is damaged, or that the machine could not read or write; what is in it stays as it is."""
    if not isinstance(error, sqlite3.OperationalError):
        return DataError(
            f"{path} is no file of decisions, or a damaged one ({error})",
            fix="name another one: --decisions FILE (of a damaged one, sqlite3's .recover saves what is left)",
        )
    if "readonly" in str(error):
        return EnvironmentFault(f"{path} may not be written ({error})", fix="name a file elsewhere: --decisions FILE")
    if "locked" in str(error) or "busy" in str(error):
        return EnvironmentFault(f"{path} is held by another process ({error})", fix="end what holds it, then decide again")
    if "unable to open" in str(error):
        return EnvironmentFault(f"{path} cannot be opened ({error})", fix="name a file that may be written: --decisions FILE")
    return EnvironmentFault(f"{path} cannot be read or written ({error})", fix="free some space or mend the disk, then decide again")


def _decided(row: tuple[int, str, int, str, str, str, str, str, float]) -> Decided:
    number, row_id, turn, action, labels, reviewer, window, bulk, at = row
    return Decided(number, row_id, turn, action, tuple(json.loads(labels)), reviewer, window, bulk, at)
