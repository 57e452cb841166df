"""How a figure was measured, and the marks that it carries: what a reader must know before trusting it.

Every figure of ``metrics.json`` has ``how``, one of the words below, and ``marks``, sentences. ``cross-validated``: each fold was judged by
models and choices made on the other folds. ``held-out``: one fold alone was held out, and nothing was chosen on it. ``in-sample``:
something was chosen on the very rows that judge it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tapetum.core.metrics import METRICS

CROSS_VALIDATED = "cross-validated"
HELD_OUT = "held-out"
IN_SAMPLE = "in-sample"
BASELINE = "baseline"  # what simple means reach
GIVEN = "given"  # others' predictions: how they were chosen is not known
TEST = "test"  # test rows with labels

BY_GROUP = "probe, folds by group"  # the probe's figure under folds that cut no group, beside folds by image

_EARLIER = {"nested": CROSS_VALIDATED, "optimistic": IN_SAMPLE}  # the words of runs made before 018

Figure = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Mark:
    """One thing that a reader must know of a figure.

    Args:
        text: a sentence without its full stop.
        in_sample: something was chosen on the rows that judge it.
    """

    text: str
    in_sample: bool = False


def how_of(figure: Figure) -> str:
    """Return how a figure was measured, in today's word."""
    word = str(figure.get("how", CROSS_VALIDATED))
    return _EARLIER.get(word, word)


def how_by(marks: Iterable[Mark], folds: int) -> str:
    """Return the word for a figure with these marks whose rows were held out by so many folds."""
    if any(mark.in_sample for mark in marks):
        return IN_SAMPLE
    return CROSS_VALIDATED if folds > 1 else HELD_OUT


def texts(marks: Iterable[Mark]) -> list[str]:
    """Return the sentences, each once, in order."""
    return list(dict.fromkeys(mark.text for mark in marks))


def main(figures: Sequence[Figure], target: str, metric: str | None = None, name: str = "final") -> Figure | None:
    """Return the figure of an answer that counts: of several, the first that is not in-sample; None where there is none with a value.

    Args:
        figures: rows of ``metrics.json``.
        target: whose.
        metric: which; None takes the first one that has a value.
        name: of the answer.
    """
    of_name = [f for f in figures if f["target"] == target and f["name"] == name and f.get("value") is not None]
    of_name = [f for f in of_name if metric is None or f["metric"] == metric]
    return next((f for f in of_name if how_of(f) != IN_SAMPLE), of_name[0] if of_name else None)


def worse_than_baseline(differences: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a sentence without its full stop for each final answer that does not reach the baseline.

    Args:
        differences: rows of ``metrics.json``: of the final answers from ``chance``, in their leading metric.
    """
    found = []
    for one in (d for d in differences if (d["a"], d["b"]) == ("final", "chance") and d.get("value")):
        sign = METRICS[one["metric"]].sign
        if sign * one["value"] >= 0:
            continue
        ends = [sign * one[key] for key in ("low", "high") if one.get(key) is not None]
        clearly = "clearly " if ends and max(ends) < 0 else ""
        found.append(
            f"the final answer to {one['target']!r} is {clearly}worse than the baseline by {abs(one['value']):.3f} in {one['metric']}"
        )
    return found


def estimate(figure: Figure) -> dict[str, Any]:
    """Return what the ledger keeps of a figure: value, interval and its method, rows and groups, how it was measured and its marks."""
    kept = {key: figure[key] for key in ("value", "low", "high", "n", "groups", "method") if key in figure}
    return {**kept, "how": how_of(figure), "marks": list(figure.get("marks", ()))}


def numbered(figure: Figure, every: Sequence[str]) -> str:
    """Return the numbers of a figure's marks in the list of all, as `` [1, 3]``; nothing where it has none."""
    places = [str(every.index(text) + 1) for text in figure.get("marks", ()) if text in every]
    return f" [{', '.join(places)}]" if places else ""
