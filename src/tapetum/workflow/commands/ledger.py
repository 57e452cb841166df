"""``tapetum ledger``: the submissions of a run, own estimates beside outside scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.ledger import Ledger, enter
from tapetum.core.runs import Run
from tapetum.workflow.commands.figure_tables import text_of

NONE_YET = "no submission yet: enter a file made of its predictions with: tapetum ledger RUN --score FILE VALUE"


def ledger_of(run: Run, *, score: tuple[str, float] | None, board: str) -> dict[str, Any]:
    """Return the submissions of a run and how own estimates and outside scores relate; enter a score first where one is given."""
    book = Ledger(run.root)
    if score is not None:
        book.score(_entry(run, book, score[0]), score[1], board=board)
    shown = [
        {
            "file": s.file,
            "sha256": s.sha256[:12],
            "made": s.made,
            "metric": s.metric,
            "own": (s.own or {}).get("value"),
            "how": (s.own or {}).get("how"),
            **{f"outside {name}": value for name, value in s.outside.items()},
        }
        for s in book.submissions()
    ]
    relations = {name: book.relation(name).__dict__ for name in book.boards()}
    table = text_of(pl.DataFrame(shown, infer_schema_length=None)) if shown else NONE_YET
    return {"table": table, "submissions": shown, "relations": relations}


def _entry(run: Run, book: Ledger, which: str) -> str:
    """Return the hash of a submission's file, which is entered where the ledger does not know it; else what was given: a name or a hash.

    A file that ``submit`` made of a table of predictions is in no ledger, for such a table does not say of which run it is.
    """
    file = Path(which)
    if not file.is_file():
        return which
    digest, known = files.sha256(file), book.submissions()
    if digest not in [one.sha256 for one in known]:
        if file.name in [one.file for one in known]:
            return file.name
        enter(run, file, note="entered with its score")
    return digest
