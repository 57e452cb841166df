"""Test rows answered by the frozen pipeline itself, so that a submission is what the pipeline predicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapetum.core import files, metrics
from tapetum.core.marks import TEST, texts
from tapetum.core.metrics import headline_metric
from tapetum.core.runs import Record
from tapetum.core.tables import Dense, Predictions
from tapetum.decide.steps import Rows
from tapetum.workflow.session import Session
from tapetum.workflow.stages.decide import source_of
from tapetum.workflow.stages.measure import everywhere, interval_of

ON_TEST = "test rows"  # name of the figures on test rows that have a truth
SINGLE_VIEWS = "test rows, single views"  # the mean over views, each scored by itself


def answer_test_rows(session: Session, figures: dict[str, Any]) -> None:
    """Write test.parquet with the pipeline's answers for the manifest's test rows.

    Args:
        session: whose run has its pipeline.
        figures: metrics.json; the scores of test rows that have a truth are added, and nothing was chosen on them.
    """
    run, prepared, recipe, record = session.run, session.prepared, session.recipe, session.log
    if not len(prepared.test):
        return
    from tapetum.pipeline import Pipeline

    pipeline = Pipeline.load(run.pipeline)
    part = prepared.manifest.where(prepared.test)
    answered = {name: dataclasses.replace(d, y=part.truth(name)) for name, d in pipeline.answer(part, record).items()}
    others, rows = [f for f in figures["figures"] if f["name"] not in (ON_TEST, SINGLE_VIEWS)], Rows.of(part)
    figures["figures"] = [*others, *_scores(answered, rows, record), *_single_views(answered, pipeline.draws, rows, record)]
    carried = texts(everywhere(prepared, recipe))
    figures["figures"] = [{**f, "marks": carried} if f["how"] == TEST else f for f in figures["figures"]]
    files.write_json(run.file("metrics.json"), figures)
    tables = [
        Predictions.from_dense(
            d,
            source=source_of(d.target, pipeline.decisions),
            role="test",
            manifest_hash=prepared.manifest.content_hash(),
            recipe_hash=recipe.hash(),
        )
        for d in answered.values()
    ]
    Predictions.concat(tables).write(run.file("test.parquet"))


def _single_views(
    answered: Mapping[str, Dense], draws: Mapping[str, Mapping[str, np.ndarray]], rows: Rows, record: Record
) -> list[dict[str, Any]]:
    """Return the mean of the scores of single test-time views, where one member kept them (``predict.keep_draws``).

    Several evaluations of each image can be put together in two ways: here each is scored and the scores are averaged; the answer
    itself averages their probabilities and is scored once.
    """
    kept = [views for views in draws.values() if views]
    if len(draws) != 1 or not kept:
        return []
    found: list[dict[str, Any]] = []
    for name, dense in answered.items():
        know = dense.scorable
        if dense.answer is not None or not know.any() or name not in kept[0]:
            continue
        metric = headline_metric(dense.target)
        inside = rows.where(know)
        weight = inside.weight
        each = [metrics.score(metric, dense.target, p[know], dense.y[know], weight) for p in kept[0][name]]
        known = [value for value in each if value is not None]
        if known:
            value = float(np.mean(known))
            spread = {"low": None, "high": None, "n": int(know.sum()), "groups": len(set(inside.groups.tolist()))}
            found.append({"target": name, "name": SINGLE_VIEWS, "metric": metric, "how": TEST, "value": value, **spread})
            low, high = min(known), max(known)
            record(f"{metric} of {len(known)} single views of the test rows: mean {value:.4f}, from {low:.4f} to {high:.4f}")
    return found


def _scores(answered: Mapping[str, Dense], rows: Rows, record: Record) -> list[dict[str, Any]]:
    """Return the figures of the test rows whose truth is known, target by target; none where there is none."""
    found: list[dict[str, Any]] = []
    for name, dense in answered.items():
        if not dense.scorable.any():
            continue
        for metric in dict.fromkeys([headline_metric(dense.target), metrics.default_metric(dense.target)]):
            value = interval_of(metric, dense, rows)
            found.append({"target": name, "name": ON_TEST, "metric": metric, "how": TEST, **value})
        known = int(np.count_nonzero(dense.scorable))
        record(f"{known} of {len(dense.row_ids)} test rows have a known {name!r}: they are scored apart, and nothing is chosen on them")
    return found
