"""What an evaluation leaves: predictions with their truth, metrics.json, and a page of the report's sections."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tapetum.core import files, table_files
from tapetum.core.errors import UserError
from tapetum.core.progress import Log
from tapetum.core.runs import Run
from tapetum.core.schema import statuses
from tapetum.core.tables import Dense, Manifest, free_name

if TYPE_CHECKING:
    from tapetum.pipeline import Pipeline

TABLES = (".parquet", ".csv")


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Args:
        figures: as metrics.json holds them: headline, counts, figures, per_class, confusion, marks, known.
        manifest: the rows, with truth and content hashes.
        answers: target → answers with truth, rows as in the manifest.
        known: which rows the pipeline was made from (N,) bool.
        problems: row id → why it has no answer.
    """

    figures: dict[str, Any]
    manifest: Manifest
    answers: dict[str, Dense]
    known: np.ndarray
    problems: dict[str, str]

    @property
    def leads(self) -> np.ndarray:
        """The rows that the leading figures are of (N,) bool: the unseen ones, or all where none is."""
        return ~self.known if (~self.known).any() else self.known


def check_place(out: Path | None, report: Path | None) -> None:
    """Refuse places that cannot be written, or that hold a run or a pipeline, before anything is computed."""
    if out is not None and out.suffix and out.suffix not in TABLES and not out.is_dir():
        raise UserError(f"predictions cannot be written as {out.suffix}", need="a folder, or a .parquet or .csv file")
    if out is not None and any((out / name).exists() for name in ("recipe.toml", "pipeline.json")):
        raise UserError(f"{out} is a run or a pipeline, whose files would be replaced", fix="choose another folder with -o")
    if report is not None and report.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"a report cannot be written as {report.suffix or 'a file without suffix'}", need=".html")


def write_files(found: Evaluated, pipeline: Pipeline, out: Path | None, report: Path | None, log: Log) -> dict[str, str]:
    """Write what was asked for.

    Args:
        found: from :func:`tapetum.workflow.commands.evaluate.evaluate`.
        pipeline: that answered.
        out: a folder for ``predictions.parquet`` and ``metrics.json``, or one file of predictions.
        report: an HTML file.
        log: told of cells that a spreadsheet takes for formulas.

    Returns:
        The places written, by what is there.
    """
    written = {}
    if out is not None and out.suffix in TABLES and not out.is_dir():
        written["out"] = str(_write_table(found, pipeline, out, log))
    elif out is not None:
        _write_table(found, pipeline, files.make_folder(out) / "predictions.parquet", log)
        files.write_json(out / "metrics.json", found.figures)
        written["out"] = str(out)
    if report is not None:
        written["report"] = str(write_page(found, pipeline, report))
    return written


def _write_table(found: Evaluated, pipeline: Pipeline, place: Path, log: Log) -> Path:
    from tapetum.core.answers import flat_table, table_of

    if place.suffix == ".parquet":
        return table_of(found.answers, _spec(found, pipeline)).write(place)
    return table_files.write_matched(place, with_truth(flat_table(found.answers), found), log)


def _spec(found: Evaluated, pipeline: Pipeline) -> dict[str, Any]:
    return {**pipeline.spec, "manifest_hash": found.manifest.content_hash()}


def with_truth(table: pl.DataFrame, found: Evaluated) -> pl.DataFrame:
    """Return a table of answers with the truth of each target and whether the image is known from training."""
    from tapetum.core.targets import decode

    for name, dense in found.answers.items():
        cells = decode(dense.target, dense.y)
        if dense.target.kind == "multi":
            cells = [None if cell is None else dense.target.separator.join(cell) for cell in cells]
        table = table.with_columns(pl.Series(free_name(f"{name}_true", table.columns), cells, strict=False))
    return table.with_columns(pl.Series(free_name("known_from_training", table.columns), found.known))


def write_page(found: Evaluated, pipeline: Pipeline, place: Path) -> Path:
    """Write the page: the report's own sections, of the rows that lead."""
    from tapetum.core.answers import table_of
    from tapetum.show.report import render
    from tapetum.show.run_files import RunFiles

    lead = found.leads
    part = {name: dense.where(lead) for name, dense in found.answers.items()}
    counts = found.figures["counts"]
    heldout: dict[str, Any] = {
        **found.figures,
        "counts": {**{key: counts[key] for key in ("rows", "groups", "ok", "missing")}, "unknown": max(counts["unknown"].values())},
    }
    page = RunFiles.of_answers(
        Run(place.parent / place.stem),
        found.manifest.where(lead),
        table_of(part, _spec(found, pipeline)),
        heldout,
        _audit(found),
        pipeline.members[0].settings,
    )
    return files.write_text(place, render(page))


def _audit(found: Evaluated) -> pl.DataFrame:
    ids = found.manifest.row_ids
    status = statuses(np.array([row_id not in found.problems for row_id in ids], dtype=bool))
    columns: Mapping[str, Any] = {"row_id": ids, "status": status.tolist(), "reason": [found.problems.get(row_id) for row_id in ids]}
    return pl.DataFrame(columns, schema={"row_id": pl.String, "status": pl.String, "reason": pl.String})
