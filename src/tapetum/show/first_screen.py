"""The first screen of a report: what was asked, what came out, against what baseline, and what to worry about."""

from __future__ import annotations

from typing import Any

from tapetum.core import marks
from tapetum.core.words import plural
from tapetum.decide.choose import selected
from tapetum.show import words
from tapetum.show.run_files import RunFiles
from tapetum.show.summary import BASELINES

MOST_TARGETS = 6


def summary(found: RunFiles, counts: dict[str, int], folds: int) -> dict[str, Any] | None:
    """Return the lines of the first screen; None where nothing was measured.

    Args:
        found: the run.
        counts: rows by what became of them.
        folds: how many the run has.
    """
    figures = found.metrics.get("figures") or []
    if not figures:
        return None
    results = [one for target in found.targets[:MOST_TARGETS] if (one := _result(found, target.name)) is not None]
    return {
        "asked": [words.question(target) for target in found.targets[:MOST_TARGETS]],
        "more": max(len(found.targets) - MOST_TARGETS, 0),
        "data": _data(counts, folds),
        "results": results,
        "answered": _answered(found),
    }


def _data(counts: dict[str, int], folds: int) -> str:
    """Say how many images judge the run, and how many rows it has beside them."""
    rows = int(counts.get("rows") or 0)
    judged = int(counts.get("scored") or rows)
    text = plural(judged, "image")
    if counts.get("groups") not in (None, 0, judged):  # else each image is its own group
        text += f" in {plural(int(counts['groups']), 'group')}"
    text += f", each held out once in {plural(folds, 'fold')}" if folds > 1 else ", one part held out" if folds else ""
    return text + (f"; {plural(rows - judged, 'more row')} in other splits" if rows > judged else "")


def _result(found: RunFiles, target: str) -> dict[str, Any] | None:
    """Return a target's figure, its baseline, and the sentence on their difference."""
    head, figures = found.metrics.get("headline") or {}, found.metrics["figures"]
    metric = head["metric"] if head.get("target") == target else next((f["metric"] for f in figures if f["target"] == target), None)
    name, constant = ("final", "chance") if not found.is_evaluation else (str(figures[0]["name"]), "prior")
    figure, chance = (marks.main(figures, target, metric, one) for one in (name, constant))
    if figure is None:
        return None
    apart = [d for d in found.metrics.get("differences") or [] if (d["target"], d["metric"], d["b"]) == (target, metric, "chance")]
    return {
        "target": target,
        "metric": metric,
        "figure": figure,
        "how": _how(figure, name) if found.is_evaluation else marks.how_of(figure),
        "chance": chance,
        "constant": _constant(found, str(metric)),
        "verdict": words.verdict(apart[0]) if apart else "",
    }


def _how(figure: marks.Figure, name: str) -> str:
    """Say which images a figure of an evaluation is of."""
    return f"{'in-sample, ' if marks.how_of(figure) == marks.IN_SAMPLE else ''}on {int(figure['n']):,} {name}"


def _constant(found: RunFiles, metric: str) -> str:
    """Say what the baseline predicts; that of an evaluation knows the rows that it is measured on."""
    text = BASELINES.get(metric, "from the class shares alone, without an image")
    return f"{text}; the shares are those of these very rows" if found.is_evaluation else text


def _answered(found: RunFiles) -> str:
    choice = found.metrics.get("choice") or {}
    return selected(choice) if choice.get("final") and choice.get("reason") else ""
