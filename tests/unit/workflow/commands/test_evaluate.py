"""Figures of an evaluation, worked out on answers that are handed in."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from simulated_predictions import dense_of
from tapetum.core.errors import DataError
from tapetum.core.runs import Record
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.workflow.commands import evaluate

KIND = Target("kind", "single", ("a", "b"))


def test_the_prior_counts_weights_as_the_figures_beside_it_do(tmp_path):
    """Most rows are of a, most of the weight is b's: the prior answers b, and is right for 9 tenths of the weight."""
    labels = ["a"] * 9 + ["b"]
    frame = pl.DataFrame({"row_id": [f"r{i}" for i in range(10)], "kind": labels, "weight": [1.0] * 9 + [81.0], "split": "test"})
    manifest = Manifest(frame.with_columns(path=pl.concat_list("row_id")), (KIND,), tmp_path)
    y = manifest.truth("kind")
    figures = evaluate._figures({"kind": dense_of(KIND, y, y)}, manifest, np.zeros(10, dtype=bool))["figures"]
    (prior,) = [f["value"] for f in figures if (f["name"], f["metric"]) == (evaluate.PRIOR, "accuracy")]
    assert prior == pytest.approx(0.9)


def test_a_table_without_its_files_is_refused_before_predicting(tmp_path):
    class Silent:
        targets, spec = {"kind": KIND}, {"data": {}}

    table = pl.DataFrame({"path": ["gone/0.png", "gone/1.png"], "kind": ["a", "b"]})
    table.write_csv(tmp_path / "truth.csv")
    said = Record(None)
    with pytest.raises(DataError, match=r"none of the files of its 2 images is there \(the first is .*0\.png\)"):
        evaluate.evaluate(Silent(), tmp_path / "truth.csv", said)
    assert len(said.messages) < 6
