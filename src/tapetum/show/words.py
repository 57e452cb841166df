"""How a figure, an interval, a difference or a duration is written in a report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from tapetum.core.errors import listed
from tapetum.core.marks import BASELINE, BY_GROUP, CROSS_VALIDATED, GIVEN, HELD_OUT, IN_SAMPLE, TEST
from tapetum.core.metrics import METRICS
from tapetum.core.targets import Target
from tapetum.core.words import plural

HOW = {
    CROSS_VALIDATED: "each fold is scored by models and choices of the other folds",
    HELD_OUT: "one fold was held out and nothing was chosen on it",
    IN_SAMPLE: "something was fitted or chosen on these same rows",
    BASELINE: "the score of a constant prediction",
    GIVEN: "of predictions as they were given",
    TEST: "on test rows with labels; nothing was chosen on them",
}
MINUS = "−"
LONGEST_CLASS, LONGEST_ID = 120, 240  # characters of a name that are shown


def metric_name(metric: str) -> str:
    """Return a metric, or a figure of a class, as readers name it."""
    if metric in METRICS:
        return METRICS[metric].title
    return "F1" if metric == "f1" else metric.replace("_", " ")


def greater_is_better(metric: str) -> bool:
    """Return the direction of a metric."""
    return METRICS[metric].greater_is_better


def number(value: Any, digits: int = 3, *, sign: bool = False) -> str:
    """Return a number for reading: ``digits`` decimals below 10, fewer above, a true minus; an en dash for no value."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    value = float(value)
    digits = digits if abs(value) < 10 else max(digits - 1 - int(math.log10(abs(value))), 0)
    text = f"{value:+,.{digits}f}" if sign else f"{value:,.{digits}f}"
    text = text.lstrip("-+") if float(text.replace(",", "")) == 0 else text
    return text.replace("-", MINUS)


def count(value: Any) -> str:
    """Return a whole number with thousands set apart."""
    return "–" if value is None else f"{int(value):,}"


def interval(low: Any, high: Any, digits: int = 3, *, sign: bool = False) -> str:
    """Return ``0.871 to 0.944``, or nothing where an end is unknown."""
    if low is None or high is None:
        return ""
    return f"{number(low, digits, sign=sign)} to {number(high, digits, sign=sign)}"


def percent(share: float | None) -> str:
    """Return a share as a percentage; ``<1 %`` and ``>99 %`` instead of a rounded 0 or 100."""
    if share is None or not math.isfinite(share):
        return "–"
    if 0 < share < 0.01:
        return "<1 %"
    if 0.99 < share < 1:
        return ">99 %"
    return f"{100 * share:.0f} %"


def duration(seconds: Any) -> str:
    """Return a span of time in the two units that matter."""
    if seconds is None:
        return "–"
    seconds = float(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def classes_text(target: Target) -> str:
    """Return how many classes a target has, and whether they are ordered."""
    kind = ("ordered class", "ordered classes") if target.kind == "ordinal" else ("class", "classes")
    return plural(len(target.classes), *kind)


def question(target: Target) -> str:
    """Say what is asked of an image."""
    if target.kind == "regression":
        return f"Which number is {target.name}?"
    several = ", any number of them," if target.kind == "multi" else ""
    return f"Which of {classes_text(target)}{several} is {target.name}: {listed(target.classes, 6)}?"


def breakable(text: Any) -> Markup:
    """Return a name, escaped, that may break over lines after ``_ - / .``; a very long one without its middle."""
    return Markup(re.sub(r"([_/.-])(?=\w)", r"\1<wbr>", str(escape(without_middle(str(text), LONGEST_ID)))))


def without_middle(text: str, most: int) -> str:
    """Return a text of at most ``most`` characters; of a longer one the beginning and the end."""
    return text if len(text) <= most else f"{text[: most - most // 3 - 1]}…{text[-(most // 3) :]}"


def class_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes as a page shows them: long ones without their middle, each unlike all others."""
    out: list[str] = []
    for number, name in enumerate(names):
        short = without_middle(name, LONGEST_CLASS)
        out.append(short if short == name or (short not in out and short not in names) else f"{short} ({number})")
    return tuple(out)


def verdict(difference: Mapping[str, Any]) -> str:
    """Say in one sentence which of two is better, and whether the interval leaves a doubt.

    Args:
        difference: an entry of ``metrics.json``'s differences: a, b, metric, value, low, high, method (a minus b). The sentence gives
            the size of the difference without a sign, and the interval turned likewise.
    """
    a, b = _subject(str(difference["a"])), _subject(str(difference["b"]))
    value, low, high = (difference.get(key) for key in ("value", "low", "high"))
    name = metric_name(str(difference["metric"]))
    if value is None:
        return f"{_start(a)} and {b} could not be compared on {name}."
    if value == 0 and low == high == 0:
        return f"{_start(a)} and {b} give the same {name}."
    better = (float(value) > 0) == greater_is_better(str(difference["metric"]))
    size = f"{number(abs(float(value)))} in {name}"
    if low is None or high is None:
        why = str(difference.get("method") or "").removeprefix("no interval: ")
        span = f" (no interval{': ' + why if why else ''})"
    else:  # the bounds of the size that the sentence speaks of, whichever way round the metric is
        ends = (float(low), float(high)) if float(value) >= 0 else (-float(high), -float(low))
        span = f" (95 % interval {interval(*ends)})"
    if low is not None and high is not None and float(low) <= 0 <= float(high):
        if str(difference["b"]) == BY_GROUP:
            return f"Folds that cut groups do not clearly change what {a} reaches: it differs by {size}{span} from folds by group."
        if value == 0:
            return f"{_start(a)} is not clearly different from {b}: both reach the same {name}{span}."
        return f"{_start(a)} is not clearly different from {b}: it is {'better' if better else 'worse'} by {size}{span}."
    if str(difference["b"]) == BY_GROUP:
        return f"Folds that cut groups make {a} look {'better' if better else 'worse'} than folds by group by {size}{span}."
    return f"{_start(a)} is {'better' if better else 'worse'} than {b} by {size}{span}."


def plain(value: Any) -> str:
    """Return any JSON value on one line, for a table's cell."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", MINUS)
    if isinstance(value, Mapping):
        return listed((f"{key} = {plain(v)}" for key, v in value.items()), 60) or "–"
    if isinstance(value, (list, tuple)):
        return listed([plain(v) for v in value], 30) or "–"
    return str(value)


def _start(text: str) -> str:
    """Return ``text`` as a sentence begins; a member's name keeps its letters."""
    return text[:1].upper() + text[1:] if text.startswith("the ") else text


def _subject(name: str) -> str:
    return {
        "final": "the final prediction",
        "probe": "the probe",
        "finetune": "the fine-tuned network",
        "mean": "the mean of both",
        "chance": "the baseline",
    }.get(name, name)
