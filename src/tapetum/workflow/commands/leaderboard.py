"""``tapetum leaderboard``: a run's members and decisions on common rows."""

from __future__ import annotations

from typing import Any

from tapetum.core.marks import how_of
from tapetum.core.runs import Run
from tapetum.core.tables import Dense, Predictions
from tapetum.decide import leaderboard
from tapetum.decide.steps import Rows
from tapetum.workflow.commands.figure_tables import figure_of, lines_of, text_of


def board_of(run: Run, *, metric: str = "auto", target: str | None = None) -> dict[str, Any]:
    """Rank a run's members, their blend and its decisions on common rows; in-sample figures lead nothing."""
    manifest = run.manifest()
    name = target or Predictions.read(run.file("oof.parquet")).targets[0].name
    final = Predictions.read(run.file("oof.parquet")).dense(name)
    rows = Rows.of(manifest, final.row_ids.tolist())
    entries: list[tuple[str, Dense]] = [("final", final)]
    run.checked("members/*/oof.parquet")
    for folder in sorted((run.root / "members").iterdir()):
        parts = [Predictions.read(path) for path in run.folds_of(folder.name, "oof.parquet").values()]
        if parts and name in [t.name for t in parts[0].targets]:
            entries.append((folder.name, Predictions.concat(parts).dense(name, folder.name, final.row_ids.tolist())))
    found = {label: figure_of(run, name, *dict.fromkeys([f"member {label}", label, "finetune"])) for label, _ in entries}
    known = {label: figure for label, figure in found.items() if figure is not None}
    frame = leaderboard.leaderboard(entries, rows, metric, how={label: how_of(figure) for label, figure in known.items()})
    marks = {label: list(figure.get("marks", ())) for label, figure in known.items()}
    board = [{**line, "marks": marks.get(line["name"], [])} for line in frame.to_dicts()]
    marked = {label: {**figure, "how": ""} for label, figure in known.items()}  # the table has a column of it
    return {"table": "\n".join([text_of(frame), *lines_of(marked)]), "target": name, "leaderboard": board}
