"""Test rows answered by the frozen pipeline itself, so that a submission is what the pipeline would say."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from tapetum.core import files
from tapetum.core.config import Recipe
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Dense, Predictions
from tapetum.workflow.prepare import Prepared
from tapetum.workflow.settle import source_of


def answer_test_rows(run: Run, prepared: Prepared, recipe: Recipe, nested: Mapping[str, Dense], record: Record) -> None:
    """Write test.parquet with the pipeline's answers for the manifest's test rows, and decided.parquet with all decided labels.

    Args:
        run: with its pipeline.
        prepared: rows.
        recipe: the run's.
        nested: target → decided out-of-fold answers.
        record: told of pictures that cannot be read.
    """
    from tapetum.pipeline import Pipeline, decided_table

    decided = decided_table(nested, "oof")
    if not len(prepared.test):
        files.write_parquet(run.file("decided.parquet"), decided)
        return

    pipeline = Pipeline.load(run.pipeline)
    part = prepared.manifest.where(prepared.test)
    answered = pipeline.answer(part, record)
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
    files.write_parquet(run.file("decided.parquet"), pl.concat([decided, decided_table(answered, "test")]))
