"""A page that compares runs: their figures side by side, paired differences with intervals, classes, and what the runs do not share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import files, marks, metrics
from tapetum.core.errors import TapetumError
from tapetum.core.tables import Dense
from tapetum.core.words import plural
from tapetum.decide.compare import compare_many
from tapetum.show import figures, index, words
from tapetum.show.figures import Dot
from tapetum.show.report import templates
from tapetum.show.run_files import RunFiles

ALL_PAIRS = 4  # runs up to which every pair is compared; of more, each with the first
MOST_CLASSES = 100
MOST_KEYS = 150


def write_comparison(runs: Mapping[str, RunFiles], out: Path, differences: Sequence[Mapping[str, Any]]) -> Path:
    """Write the page and return its path.

    Args:
        runs: name → its files, two or more; the first is what others are compared with.
        out: an HTML file.
        differences: what the others do not share with the first: ``part``, ``key``, ``changes`` and ``values`` by name.
    """
    targets = list(dict.fromkeys(t.name for found in runs.values() for t in found.targets))
    page = {
        "title": f"Comparison of {plural(len(runs), 'run')}",
        "runs": [index.line_of(found, name) for name, found in runs.items()],
        "targets": [_target(runs, name) for name in targets],
        "names": list(runs),
        "differences": differences[:MOST_KEYS],
        "more": max(len(differences) - MOST_KEYS, 0),
    }
    return files.write_text(out, templates().get_template("comparison.html.jinja").render(page).lstrip())


def _target(runs: Mapping[str, RunFiles], target: str) -> dict[str, Any]:
    """Return the figures of a target in every run, and the paired differences."""
    of_run = {name: _figures(found, target) for name, found in runs.items()}
    first = next(found for found in runs.values() if any(t.name == target for t in found.targets))
    head = first.metrics.get("headline") or {}
    kind = next(t for t in first.targets if t.name == target)
    metric = str(head["metric"]) if head.get("target") == target else metrics.default_metric(kind)
    seen = list(dict.fromkeys([metric, *(m for table in of_run.values() for m in table)]))
    side = "more" if words.greater_is_better(metric) else "less"
    dots = [_dot(name, table[metric]) for name, table in of_run.items() if metric in table]
    return {
        "name": target,
        "metric": metric,
        "figure": figures.whiskers(dots, label=f"{words.metric_name(metric)}, {side} is better; bars: 95 % intervals"),
        "lines": [{"metric": words.metric_name(m), "cells": [table.get(m) for table in of_run.values()]} for m in seen],
        "classes": _classes(runs, target),
        **_paired(runs, target, metric),
    }


def _figures(found: RunFiles, target: str) -> dict[str, Mapping[str, Any]]:
    """Return the main figure of a target in each metric."""
    every = [f for f in found.metrics.get("figures") or [] if f["target"] == target and f["name"] == "final"]
    of_metric = {m: marks.main(every, target, m) for m in dict.fromkeys(str(f["metric"]) for f in every)}
    return {m: figure for m, figure in of_metric.items() if figure is not None}


def _dot(name: str, figure: Mapping[str, Any]) -> Dot:
    how = marks.how_of(figure)
    note = " · ".join([how, *([f"n {words.count(figure['n'])}"] if figure.get("n") is not None else []), *figure.get("marks", ())])
    return Dot(name, figure.get("value"), figure.get("low"), figure.get("high"), how, note)


def _paired(runs: Mapping[str, RunFiles], target: str, metric: str) -> dict[str, Any]:
    """Return the paired differences on the rows that both runs predict, or why there are none."""
    tables = {name: dense for name, found in runs.items() if (dense := _dense(found, target)) is not None}
    if len(tables) < 2:
        return {"pairs": [], "differences": "", "refused": [f"Only {plural(len(tables), 'run')} has held-out predictions of it."]}
    names = list(tables)
    chosen = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if len(names) <= ALL_PAIRS or i == 0]
    owner = runs[names[0]].manifest
    groups = None if owner is None else dict(zip(owner.row_ids, owner.groups.tolist(), strict=True))
    weight = None if owner is None else owner.weights
    pairs: list[dict[str, Any]] = []
    refused = []
    for a, b in chosen:
        try:
            pairs += compare_many({a: tables[a], b: tables[b]}, metric=metric, groups=groups, weight=weight).to_dicts()
        except TapetumError as error:
            refused.append(f"{a} and {b}: {error}")
    for one in pairs:
        one["sentence"] = words.verdict({**one, "value": one["difference"]})
    side = "right of 0: the first is better" if words.greater_is_better(metric) else "left of 0: the first is better"
    dots = [Dot(f"{one['a']} − {one['b']}", one["difference"], one["low"], one["high"], note=f"n {one['n']:,}") for one in pairs]
    label = f"difference in {words.metric_name(metric)}; {side}"
    drawn = figures.whiskers(dots, zero=True, shares=False, signed=True, label=label) if dots else ""
    return {"pairs": pairs, "differences": drawn, "refused": refused}


def _classes(runs: Mapping[str, RunFiles], target: str) -> dict[str, Any] | None:
    """Return the F1 of each class in every run, those that differ most first."""
    of_run: dict[str, dict[str, Any]] = {}
    for name, found in runs.items():
        dense = _dense(found, target)
        if dense is None or dense.target.kind == "regression" or not dense.scorable.any():
            of_run[name] = {}
            continue
        rows = dense.where(dense.scorable)
        of_run[name] = {str(one["class"]): one for one in metrics.per_class(rows.target, rows.p, rows.y, None, rows.answer)}
    every = list(dict.fromkeys(k for table in of_run.values() for k in table))
    lines: list[dict[str, Any]] = []
    for k in every:
        values = [table[k]["f1"] if k in table else None for table in of_run.values()]
        known = [value for value in values if value is not None and np.isfinite(value)]
        lines.append({"class": k, "values": values, "apart": max(known) - min(known) if len(known) > 1 else None})
    lines.sort(key=lambda line: (-(line["apart"] or 0.0), line["class"]))
    return {"lines": lines[:MOST_CLASSES], "more": max(len(lines) - MOST_CLASSES, 0)} if lines else None


def _dense(found: RunFiles, target: str) -> Dense | None:
    known = next((t for t in found.targets if t.name == target), None)
    return None if known is None else found.held_out(known)
