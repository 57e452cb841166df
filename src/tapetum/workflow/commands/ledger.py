"""``tapetum ledger``: the submissions of a run, own estimates beside outside scores."""

from __future__ import annotations

from typing import Any

import polars as pl

from tapetum.core.ledger import Ledger
from tapetum.core.runs import Run
from tapetum.workflow.commands.figure_tables import text_of


def ledger_of(run: Run, *, score: tuple[str, float] | None, board: str) -> dict[str, Any]:
    """Return the submissions of a run and how own estimates and outside scores relate; enter a score first where one is given."""
    book = Ledger(run.root)
    if score is not None:
        book.score(score[0], score[1], board=board)
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
    table = text_of(pl.DataFrame(shown, infer_schema_length=None)) if shown else "no submission yet (tapetum submit makes one)"
    return {"table": table, "submissions": shown, "relations": relations}
