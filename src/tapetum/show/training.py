"""The curves of training: loss and scores by epoch, and the learning rate by step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import metrics
from tapetum.show import figures, words
from tapetum.show.figures import Line
from tapetum.show.run_files import RunFiles


def curves(found: RunFiles) -> list[dict[str, Any]]:
    """Return the curves of each trained member: loss, a metric of each target, and the learning rate."""
    out = []
    for member in dict.fromkeys([*found.history, *found.schedule]):
        folds = {fold: table for fold, table in found.history.get(member, {}).items() if "epoch" in table.columns and len(table)}
        charts = [("Loss", _loss(folds))] if folds else []
        charts += [(f"{t}: {words.metric_name(m)}, held out", _metric(folds, t, m)) for t, m in _followed(found, folds)]
        plans = found.schedule.get(member, {})
        charts.append(("Learning rate", _rate(plans)))
        seconds = sum(float(t["seconds"].fill_null(0).sum()) for t in folds.values() if "seconds" in t.columns)
        shown = [{"title": title, "figure": figure} for title, figure in charts if figure]
        if shown:
            epochs = {fold: int(table["epoch"].n_unique()) for fold, table in folds.items()}
            selected = {"per_fold": {}, "final": None, "how": None, **((found.decisions.get("epochs") or {}).get(member) or {})}
            out.append({"member": member, "selected": selected, "charts": shown, "epochs": epochs, "seconds": seconds or None})
    return out


def _followed(found: RunFiles, folds: Mapping[int, pl.DataFrame]) -> list[tuple[str, str]]:
    """Return (target, metric) of the history's columns to draw: the headline's metric or the target's default, else its first."""
    columns = list(dict.fromkeys(c for table in folds.values() for c in table.columns if "/" in c))
    headline_of = found.metrics.get("headline") or {}
    out = []
    for target in found.targets:
        metrics_of = [c.partition("/")[2] for c in columns if c.partition("/")[0] == target.name]
        wish = headline_of.get("metric") if headline_of.get("target") == target.name else metrics.default_metric(target)
        if metrics_of:
            out.append((target.name, wish if wish in metrics_of else metrics_of[0]))
    return out


def _column(table: pl.DataFrame, name: str) -> np.ndarray:
    return table[name].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()


def _with_mean(folds: Mapping[int, pl.DataFrame], column: str, style: str, name: str) -> list[Line]:
    """Return a thin line a fold and, over the epochs that all folds hold, a thick one for their mean."""
    tables = [t for t in folds.values() if column in t.columns]
    if not tables:
        return []
    lines = [Line(_column(t, "epoch"), _column(t, column), f"{style} faint") for t in tables]
    if len(tables) == 1:
        return [Line(lines[0].x, lines[0].y, style, name)]
    shared = sorted(set.intersection(*(set(_column(t, "epoch").tolist()) for t in tables)))
    values = [dict(zip(_column(t, "epoch").tolist(), _column(t, column).tolist(), strict=True)) for t in tables]
    mean = np.array([np.mean([v[e] for v in values]) for e in shared])
    return [*lines, Line(np.array(shared), mean, style, name)]


def _loss(folds: Mapping[int, pl.DataFrame]) -> Any:
    lines = _with_mean(folds, "train_loss", "two", "training") + _with_mean(folds, "valid_loss", "one", "held out")
    return figures.curves(lines, x_label="epoch", y_label="loss", whole_x=True)


def _metric(folds: Mapping[int, pl.DataFrame], target: str, metric: str) -> Any:
    lines = _with_mean(folds, f"{target}/{metric}", "one", "mean of folds" if len(folds) > 1 else "held out")
    return figures.curves(lines, x_label="epoch", y_label=words.metric_name(metric), whole_x=True)


def _rate(plans: Mapping[int, pl.DataFrame]) -> Any:
    """Draw the planned learning rate of the first fold, and of others only where they differ."""
    seen: dict[str, Line] = {}
    for fold, table in plans.items():
        if {"step", "rate"} <= set(table.columns) and len(table):
            x, y = _column(table, "step"), _column(table, "rate")
            seen.setdefault(hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest(), Line(x, y, "two", f"from fold {fold}"))
    lines = list(seen.values())
    if len(lines) == 1:
        lines = [Line(lines[0].x, lines[0].y, "two")]
    return figures.curves(lines, x_label="step", y_label="learning rate", low=0.0, whole_x=True)
