"""``tapetum compare`` of files: no manifest is looked for among predictions, and the one given is read or refused."""

import numpy as np
import polars as pl
import pytest

from tapetum import api
from tapetum.core.errors import DataError
from tapetum.core.manifest import Manifest
from tapetum.core.predictions import Dense, Predictions
from tapetum.core.targets import Target

TARGET = Target("label", "single", ("ant", "bee"))
SETTLED = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9]], dtype=np.float32)


@pytest.fixture
def files(tmp_path):
    ids = np.array([f"r{i}" for i in range(4)])
    truth = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    for name, p in (("first", SETTLED), ("second", SETTLED[::-1].copy())):
        Predictions.from_dense(Dense(TARGET, ids, p, truth, np.zeros(4, np.int16), np.full(4, "ok"))).write(tmp_path / f"{name}.parquet")
    return [tmp_path / "first.parquet", tmp_path / "second.parquet"]


def test_parquet_predictions_are_compared_without_a_manifest(files):
    (pair,) = api.compare(files, metric="accuracy")["pairs"]
    assert (pair["value_a"], pair["value_b"]) == (1.0, 0.0)


def test_predictions_are_refused_as_a_manifest(files, tmp_path):
    with pytest.raises(DataError, match=r"first\.parquet is a table of predictions, not a manifest"):
        api.compare(files, metric="accuracy", manifest=files[0])
    (tmp_path / "notes.parquet").write_text("none")
    with pytest.raises(DataError, match=r"notes\.parquet is not a Parquet file"):
        api.compare(files, metric="accuracy", manifest=tmp_path / "notes.parquet")


def test_a_manifest_is_refused_as_predictions(files, tmp_path):
    frame = pl.DataFrame({"row_id": ["r0"], "path": [["a.png"]], "label": ["ant"]})
    Manifest(frame, (TARGET,), tmp_path).write(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet is a manifest; needed: predictions"):
        api.compare([files[0], tmp_path / "rows.parquet"])
