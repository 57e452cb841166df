"""The headline figure of a report, the figures beside it, the paired differences, and the table of all figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tapetum.core import intervals, marks, metrics
from tapetum.show import figures, words
from tapetum.show.figures import Dot
from tapetum.show.run_files import RunFiles

BASELINES = ("chance", "prior")  # as metrics.json names a constant prediction
WAYS = {"plain": "unchanged image", "mean": "mean of the views", "logits": "mean of the logits", "max": "maximum of the views"}
TITLES = {
    "final": "Final prediction",
    "chance": "Baseline",
    "prior": "Baseline",
    "finetune": "Fine-tuned",
    "mean": "Mean of both",
    "main": "Fine-tuned (main)",
}


def headline(found: RunFiles) -> dict[str, Any] | None:
    """Return the figure that the page is about, and those beside it: final, members, probe, baseline."""
    all_of = found.metrics.get("figures") or _own_figures(found)
    if not all_of:
        return None
    top = found.metrics.get("headline") or {"target": all_of[0]["target"], "metric": all_of[0]["metric"]}
    same = [f for f in all_of if f["target"] == top["target"] and f["metric"] == top["metric"]]
    main = marks.main(same, top["target"], top["metric"]) or next(iter(same), None)
    if main is None:
        return None
    every = found.metrics.get("marks") or []
    dots = [_dot(f, every, strong=f is main) for f in sorted(same, key=lambda f: _rank(f, main))]
    better = "more is better" if words.greater_is_better(top["metric"]) else "less is better"
    label = f"{words.metric_name(top['metric'])}, {better}; bars: 95 % intervals"
    seen = {marks.how_of(f) for f in same}
    return {
        **main,
        "how": marks.how_of(main),
        "marks": list(main.get("marks", ())),
        "several": len(found.targets) > 1,
        "figure": figures.whiskers(dots, label=label),
        "key": [(how, text) for how, text in words.HOW.items() if how in seen],
        "sentences": [words.verdict(d) for d in _differences(found) if d["target"] == top["target"] and d["metric"] == top["metric"]],
        "better": better,
    }


def differences(found: RunFiles) -> list[dict[str, Any]]:
    """Return the paired differences, a figure for each target and metric."""
    out: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in _differences(found):
        out.setdefault((entry["target"], entry["metric"]), []).append(entry)
    made = []
    for (target, metric), every in out.items():
        # the baseline is far away: on its scale all other differences would look like 0
        entries = [e for e in every if e["b"] not in BASELINES] or every
        entries = [e for e in entries if not e.get("value") == e.get("low") == e.get("high") == 0]  # one and the same answer
        if not entries:
            continue
        name = words.metric_name(metric)
        dots = [Dot(f"{e['a']} − {e['b']}", e.get("value"), e.get("low"), e.get("high")) for e in entries]
        side = "right of 0: the first is better" if words.greater_is_better(metric) else "left of 0: the first is better"
        figure = figures.whiskers(dots, zero=True, shares=False, signed=True, label=f"difference in {name}; {side}")
        made.append({"target": target, "metric": name, "figure": figure})
    return made


def all_figures(found: RunFiles) -> list[dict[str, Any]]:
    """Return a table for each target: metrics down, what was measured across."""
    out = []
    entries = found.metrics.get("figures") or []
    for target in dict.fromkeys(f["target"] for f in entries):
        of_target = sorted((f for f in entries if f["target"] == target), key=lambda f: _rank(f, None))
        columns = list(dict.fromkeys((f["name"], marks.how_of(f)) for f in of_target))
        metrics_seen = list(dict.fromkeys(f["metric"] for f in entries if f["target"] == target))
        place = {(f["metric"], f["name"], marks.how_of(f)): f for f in of_target}
        lines = [{"metric": words.metric_name(m), "cells": [place.get((m, *column)) for column in columns]} for m in metrics_seen]
        first = {column: next(f for f in of_target if (f["name"], marks.how_of(f)) == column) for column in columns}
        every = found.metrics.get("marks") or []
        heads = [f"{_title(name)}{_how_text(how)}{marks.numbered(first[name, how], every)}" for name, how in columns]
        notes = list(dict.fromkeys(f"{_title(f['name'])}: {f['note']}" for f in of_target if f.get("note")))
        out.append({"target": target, "columns": heads, "lines": lines, "notes": notes})
    return out


def views(found: RunFiles) -> list[dict[str, Any]]:
    """Return, for each member and target whose test-time views were compared, a table: ways down, metrics across."""
    out = []
    entries = found.metrics.get("views") or []
    choices = found.decisions.get("views") or {}
    for member, target in dict.fromkeys((e["member"], e["target"]) for e in entries):
        of_target = [e for e in entries if (e["member"], e["target"]) == (member, target)]
        place = {(e["reduce"], e["metric"]): e for e in of_target}
        shown = list(dict.fromkeys(e["metric"] for e in of_target))
        lines = [
            {"way": WAYS.get(way, way), "cells": [_pair(place[way, m]) for m in shown]}
            for way in dict.fromkeys(e["reduce"] for e in of_target)
        ]
        choice = (choices.get(member) or {}).get(target) or {}
        per_fold = {fold: WAYS.get(way, way) for fold, way in (choice.get("per_fold") or {}).items()}
        final = WAYS.get(str(choice.get("final")), "")
        out.append({"member": member, "target": target, "metrics": shown, "lines": lines, "per_fold": per_fold, "final": final})
    return out


def _pair(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a figure and its paired difference from the plain image, each with its interval."""
    apart = {"value": entry["difference"], "low": entry["difference_low"], "high": entry["difference_high"]}
    return {"figure": entry, "apart": apart if apart["value"] is not None else None}


def _own_figures(found: RunFiles) -> list[dict[str, Any]]:
    """Return the default figure of each target, for a run without ``metrics.json``."""
    out = []
    for target in found.targets:
        dense = found.held_out(target)
        if dense is None or not dense.scorable.any():
            continue
        rows, groups = dense.where(dense.scorable), found.groups(dense.row_ids)[dense.scorable]
        metric = metrics.default_metric(target)
        weight = found.weight(rows.row_ids)
        got = intervals.interval(metric, target, rows.p, rows.y, groups, weight=weight, answer=rows.answer)
        note = {"how": marks.GIVEN, "note": "computed from oof.parquet"}
        out.append({"target": target.name, "name": "final", "metric": metric, **got.to_dict(), **note})
    return out


def _differences(found: RunFiles) -> list[dict[str, Any]]:
    return list(found.metrics.get("differences") or [])


def _dot(figure: Mapping[str, Any], every: Sequence[str], strong: bool) -> Dot:
    how = marks.how_of(figure)
    n = f"n {words.count(figure['n'])}" if figure.get("n") is not None else ""
    why = str(figure.get("method") or "") if figure.get("low") is None else ""
    parts = [_how_text(how).removeprefix(", ") + marks.numbered(figure, every), n, why, str(figure.get("note") or "")]
    small = " · ".join(p.strip() for p in parts if p.strip())
    return Dot(_title(figure["name"]), figure.get("value"), figure.get("low"), figure.get("high"), how, small, strong)


def _how_text(how: str) -> str:
    """Return how a figure was measured, to be printed beside its name; a baseline's name has it already."""
    return f", {how}" if how in (marks.CROSS_VALIDATED, marks.HELD_OUT, marks.IN_SAMPLE) else ""


def _title(name: str) -> str:
    return TITLES.get(name, name[:1].upper() + name[1:])


def _rank(figure: Mapping[str, Any], main: Mapping[str, Any] | None) -> tuple[int, int]:
    """Sort key: the main figure, final in other ways, members, the probe, the baseline."""
    name = str(figure["name"])
    place = 0 if name == "final" else 3 if name in BASELINES else 2 if name == "probe" else 1
    return (place, 0 if figure is main or marks.how_of(figure) != marks.IN_SAMPLE else 1)
