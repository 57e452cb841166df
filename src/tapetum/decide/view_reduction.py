"""Which way of reducing test-time views to one answer is worth it: compared and chosen on other folds than those it then answers for.

Each way is judged under the calibration and, for several labels, the thresholds that ``[decide]`` names, fitted on its own answers: a
maximum is larger throughout than a mean, so at thresholds that were fitted for another way it would look better or worse than it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapetum.core import intervals, metrics
from tapetum.core.config import Decide
from tapetum.core.folds import count_groups
from tapetum.core.tables import Dense
from tapetum.core.view_reducers import REDUCERS, reduced
from tapetum.decide import chain
from tapetum.decide.simplest import paired, simplest
from tapetum.decide.steps import CrossFitted, Rows, assemble, counting, crossfit_parts, nothing_to_fit_on

PLAIN = REDUCERS[0]


@dataclasses.dataclass(frozen=True)
class Chosen:
    """How a target's views are reduced.

    Args:
        nested: the answers, each fold's reduced in the way that is best on the other folds; not yet calibrated or decided.
        per_fold: fold → way.
        final: best on all rows; what new images get.
        table: one row a way and metric, and one a metric for ``chosen``: ``reduce metric value low high n groups method``, and of the
            paired difference from the plain image ``difference difference_low difference_high``.
        drawn: the folds were drawn within the one fold that is scored.
    """

    nested: Dense
    per_fold: dict[int, str]
    final: str
    table: list[dict[str, Any]]
    drawn: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what decisions.json keeps: the choice."""
        return {"per_fold": {str(fold): way for fold, way in self.per_fold.items()}, "final": self.final, "drawn": self.drawn}


def ways(plain: Dense, views: np.ndarray, logits: np.ndarray) -> dict[str, Dense]:
    """Return each way of reducing as answers, the simplest first.

    Args:
        plain: the image as it is.
        views: probabilities of each view (V, N, K), rows as in ``plain``.
        logits: what the mean of the views' logits gives (N, K); only the network knows.
    """
    p = {PLAIN: plain.p, "mean": reduced(views, "mean", plain.target), "logits": logits, "max": reduced(views, "max", plain.target)}
    if plain.target.kind == "regression":
        p = {PLAIN: p[PLAIN], "mean": p["mean"]}  # of a number the others are no other ways
    return {name: plain.with_p(value) for name, value in p.items()}


def choose(named: Mapping[str, Dense], rows: Rows, decide: Decide, shown: tuple[str, ...]) -> Chosen:
    """Choose for each fold on the other folds, and measure each way and the choice itself on held-out rows.

    A way must beat a simpler one by more than one clustered standard error of the paired difference.

    Args:
        named: way → answers of one target, the simplest first, rows the same in all.
        rows: groups and folds.
        decide: calibration and steps under which each way is judged.
        shown: metrics of the table; the first one chooses.
    """
    judged = _judged_under(decide, next(iter(named.values())))

    def fit(part: np.ndarray) -> dict[str, Any]:
        return {"reduce": _simplest({n: d.where(part) for n, d in named.items()}, rows.where(part), judged, shown[0])}

    first = next(iter(named.values()))
    if nothing_to_fit_on(first, rows) is None:
        crossed = crossfit_parts(fit, lambda part, fitted: named[fitted["reduce"]].where(part), first, rows)
    else:  # the image as it is answers
        crossed = CrossFitted(first, first, {}, {"reduce": next(iter(named))}, np.full(len(rows), -1, dtype=np.int16))
    per_fold = {fold: values["reduce"] for fold, values in crossed.by_fold.items()}
    decided = {name: _decided(dense, rows, judged) for name, dense in named.items()}
    parts = [(np.flatnonzero(crossed.fold == fold), decided[way]) for fold, way in per_fold.items()]
    parts.append((np.flatnonzero(crossed.fold < 0), decided[crossed.final["reduce"]]))
    decided["chosen"] = assemble([(place, dense.where(place)) for place, dense in parts if len(place)])
    table = [_line(name, metric, decided, rows) for metric in shown for name in decided]
    return Chosen(crossed.nested, per_fold, crossed.final["reduce"], table, crossed.drawn)


def lines(chosen: Mapping[str, Chosen]) -> list[dict[str, Any]]:
    """Return the tables of several targets as one, each line with its target."""
    return [{"target": name, **line} for name, one in chosen.items() for line in one.table]


def _judged_under(decide: Decide, dense: Dense) -> Decide:
    """Return the decisions under which ways are compared: steps count where they set thresholds, and decoding of sequences waits."""
    steps = decide.steps if dense.target.kind == "multi" else ()
    return decide.model_copy(update={"blend": "mean", "steps": steps})


def _decided(dense: Dense, rows: Rows, decide: Decide) -> Dense:
    return chain.fit({"views": dense}, rows, decide, fixed=True).nested


def _simplest(named: dict[str, Dense], rows: Rows, decide: Decide, metric: str) -> str:
    """Return the simplest way within one standard error of the best; the rows it is judged on never fitted its thresholds."""
    first, *_ = named
    know = counting(named[first], rows)
    if count_groups(rows.groups[know]) < 2:
        return first  # nothing to judge on
    decided = {name: _decided(dense, rows, decide).where(know) for name, dense in named.items()}
    inside = rows.where(know)
    figures = {name: metrics.merit(metric, d.target, d.p, d.y, inside.weight, d.answer) for name, d in decided.items()}
    return simplest(figures, lambda a, b: paired(metric, decided[a], decided[b], inside.groups, inside.weight).standard_error)


def _line(name: str, metric: str, decided: Mapping[str, Dense], rows: Rows) -> dict[str, Any]:
    """Return one row of the table; numbers that are undefined are None."""
    one, plain = decided[name], decided[PLAIN]
    know = one.scorable & plain.scorable
    empty = {"value": None, "low": None, "high": None, "n": 0, "groups": 0, "method": intervals.NOTHING}
    line: dict[str, Any] = {"reduce": name, "metric": metric, **empty, "difference": None, "difference_low": None, "difference_high": None}
    if not know.any() or metrics.score(metric, one.target, one.p[know], one.y[know]) is None:
        return line
    one, plain, inside = one.where(know), plain.where(know), rows.where(know)
    value = intervals.interval(metric, one.target, one.p, one.y, inside.groups, weight=inside.weight, answer=one.answer).to_dict()
    line.update({key: value[key] for key in empty})
    if name != PLAIN:
        apart = paired(metric, one, plain, inside.groups, inside.weight).to_dict()
        line.update(difference=apart["value"], difference_low=apart["low"], difference_high=apart["high"])
    return line
