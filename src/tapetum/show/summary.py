"""The result of a run in a few lines: the leading figure with its interval, the baseline, what was selected, what to worry about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tapetum.core.columns import wrapped
from tapetum.core.marks import Figure, how_of, main
from tapetum.core.words import plural, verb
from tapetum.decide.choose import selected

INDENT = 2  # of what follows the first line of a sentence
BASELINES = {"accuracy": "always the most frequent class", "mae": "always the median", "rmse": "always the median"}


def lines(metrics: Mapping[str, Any], most: int = 6) -> list[str]:
    """Return the summary of a run.

    Args:
        metrics: of ``metrics.json``.
        most: lines; of more warnings the last one says how many there are. Only the first warning is shown where it needs more lines:
            none is cut, since what mends it stands at its end.
    """
    figures: Sequence[Figure] = metrics["figures"]
    first = metrics["headline"]["target"]
    targets = list(dict.fromkeys([first, *(str(figure["target"]) for figure in figures)]))
    worries = warnings(metrics)
    lines = max(1, min(4, most - 1 - bool(worries)))
    found = _of_one(metrics, first) if len(targets) == 1 else _of_several(metrics, targets, lines)
    found += wrapped(f"selected: {selected(metrics['choice'])}", INDENT)
    return [*found, *warned(worries, most - len(found), "in the report")]


def warned(texts: Sequence[str], most: int, rest: str) -> list[str]:
    """Return the lines of the first few warnings, each whole; at least the first one.

    Args:
        texts: the warnings.
        most: lines for them.
        rest: where the others are.
    """
    found: list[str] = []
    for count in range(1, len(texts) + 1):
        more = f"; {len(texts) - count} more, {rest}" if count < len(texts) else ""
        lines = [line for text in [*texts[: count - 1], texts[count - 1] + more] for line in wrapped(text, INDENT)]
        if found and len(lines) > most:
            break
        found = lines
    return found


def warnings(metrics: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know before trusting the figures, each as a line; marks of the leading figure come first."""
    counts, head = metrics["counts"], metrics["headline"]
    leading = main(metrics["figures"], head["target"], head["metric"])
    texts = [*(() if leading is None else leading["marks"]), *(metrics.get("warnings") or []), *(metrics.get("marks") or [])]
    for key, what in (("missing", "cannot be read"), ("uncovered", "have no prediction"), ("unknown", "have no known label")):
        if counts.get(key):
            texts.append(
                f"{counts[key]:,} of {plural(counts['scored'], 'held-out image')} {what} and {verb(counts[key], 'is', 'are')} not scored"
            )
    return [f"warning: {text}" for text in dict.fromkeys(texts)]


def figure_text(figure: Figure | None, digits: int = 3) -> str:
    """Return a figure's value with its interval, or why there is none."""
    if figure is None or figure.get("value") is None:
        return "not defined"
    if figure.get("low") is None:
        return f"{figure['value']:.{digits}f} ({figure.get('method') or 'no interval'})"
    return f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def _of_one(metrics: Mapping[str, Any], target: str) -> list[str]:
    metric = _metric(metrics, target)
    figure, baseline = main(metrics["figures"], target, metric), main(metrics["figures"], target, metric, "chance")
    if figure is None:
        return [f"{metric} not defined: no held-out image has both a prediction and a label"]
    text = f"{metric} {figure_text(figure)}, {how_of(figure)}, {plural(figure['n'], 'image')} in {plural(figure['groups'], 'group')}"
    found = [text]
    if baseline is not None:
        found.append(f"baseline {baseline['value']:.3f} ({BASELINES.get(metric, 'from the class shares alone, without an image')})")
    if (test := main(metrics["figures"], target, metric, "test rows")) is not None:
        found.append(f"test rows {figure_text(test)}, {plural(test['n'], 'image')}; nothing was chosen on them")
    return found


def _of_several(metrics: Mapping[str, Any], targets: Sequence[str], most: int) -> list[str]:
    found = []
    for target in targets[: most if len(targets) <= most else most - 1]:
        metric = _metric(metrics, target)
        figure, baseline = main(metrics["figures"], target, metric), main(metrics["figures"], target, metric, "chance")
        beside = "" if baseline is None else f", baseline {baseline['value']:.3f}"
        how = "" if figure is None else f", {how_of(figure)}"
        found.append(f"{target}: {metric} {figure_text(figure)}{how}{beside}")
    if len(targets) > most:
        found.append(f"{plural(len(targets) - most + 1, 'more target is', 'more targets are')} in the report")
    return found


def _metric(metrics: Mapping[str, Any], target: str) -> str:
    """Return the metric that leads: the run's for its leading target, else the first of the target's figures."""
    if target == metrics["headline"]["target"]:
        return str(metrics["headline"]["metric"])
    return next(str(figure["metric"]) for figure in metrics["figures"] if figure["target"] == target)
