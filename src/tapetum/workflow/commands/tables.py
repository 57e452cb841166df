"""Small tables as text, and the figures of a run that they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.marks import IN_SAMPLE, Figure, how_of, main
from tapetum.core.runs import Run


def figure_of(run: Run, target: str, *names: str) -> Figure | None:
    """Return the figure by which a run's answer was measured, under the first of some names that it has (default: the final one)."""
    file = run.file("metrics.json")
    figures = files.read_json(file).get("figures", ()) if file.exists() else ()
    return next((found for name in names or ("final",) if (found := main(figures, target, name=name)) is not None), None)


def lines_of(told: Mapping[str, Figure]) -> list[str]:
    """Return what a reader must know of figures, in lines: those that are in-sample, and the marks."""
    lines = [f"{name}: {IN_SAMPLE}" for name, figure in told.items() if how_of(figure) == IN_SAMPLE]
    return lines + [f"marked {name}: {text}" for name, figure in told.items() for text in figure.get("marks", ())]


def text_of(frame: pl.DataFrame) -> str:
    """Return a small table as text; why there is no interval stands below it."""
    reasons = frame["method"].unique(maintain_order=True).to_list() if "method" in frame.columns else []
    frame = frame.drop("method", strict=False)

    def cell(value: Any) -> str:
        return "–" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)

    lines = [frame.columns, *([cell(v) for v in row] for row in frame.iter_rows())]
    widths = [max(len(line[i]) for line in lines) for i in range(len(frame.columns))]
    shown = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*shown, *(reason for reason in reasons if reason.startswith("no interval"))])
