"""Small tables as text, and the figures of a run that they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tapetum.core import columns, files
from tapetum.core.marks import IN_SAMPLE, Figure, how_of, main
from tapetum.core.runs import Run

SHARED = ("metric", "n", "groups", "answered", "left_out")  # columns that are below a table where all its lines have the same


def figure_of(run: Run, target: str, *names: str) -> Figure | None:
    """Return the figure by which a run's answer was measured, under the first of some names that it has (default: the final one)."""
    file = run.file("metrics.json")
    figures = files.read_json(file).get("figures", ()) if file.exists() else ()
    return next((found for name in names or ("final",) if (found := main(figures, target, name=name)) is not None), None)


def lines_of(figures: Mapping[str, Figure]) -> list[str]:
    """Return what a reader must know of figures, in lines: those that are in-sample, and the marks."""
    lines = [f"{name}: {IN_SAMPLE}" for name, figure in figures.items() if how_of(figure) == IN_SAMPLE]
    return lines + [f"marked {name}: {text}" for name, figure in figures.items() for text in figure.get("marks", ())]


def text_of(frame: pl.DataFrame) -> str:
    """Return a small table as text: a figure with its interval is one cell, and what all lines share is below them."""
    reasons = frame["method"].unique(maintain_order=True).to_list() if "method" in frame.columns else []
    corrected = {name: plain for name, plain in (("holm", "p"), ("holm_mcnemar", "mcnemar")) if name in frame.columns}
    frame = frame.drop("method", "tied", *corrected.values(), strict=False).rename(corrected)
    bounds = _bounds(frame.columns)
    shared = [name for name in SHARED if name in frame.columns and frame[name].n_unique() == 1]
    shown = [name for name in frame.columns if name not in {*shared, *(edge for pair in bounds.values() for edge in pair)}]

    def cell(row: Mapping[str, Any], name: str) -> str:
        value = row[name]
        if not isinstance(value, float):
            return "–" if value is None else str(value)
        low, high = (row[edge] for edge in bounds.get(name, (name, name)))
        return f"{value:.3f} [{low:.3f}, {high:.3f}]" if name in bounds and low is not None else f"{value:.3f}"

    lines = [columns.aligned([shown, *([cell(row, name) for name in shown] for row in frame.iter_rows(named=True))])]
    lines += [", ".join(f"{name} {frame[name][0]}" for name in shared)] if shared else []
    lines += ["p-values are corrected by Holm over all comparisons"] if corrected else []
    return "\n".join([*lines, *(reason for reason in reasons if reason.startswith("no interval"))])


def _bounds(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return figure → the columns of its interval."""
    first = "value" if "value" in names else "difference"
    found = {first: ("low", "high"), **({} if first == "difference" else {"difference": ("difference_low", "difference_high")})}
    return {name: pair for name, pair in found.items() if {name, *pair} <= set(names)}
