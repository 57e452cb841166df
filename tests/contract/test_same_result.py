"""What must not change a result: workers, the folder's place, a plan repeated elsewhere, how images are handed over."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest
from PIL import Image

import small_runs
import tapetum
from tapetum import api
from tapetum.core import files
from tapetum.core.tables import Predictions


@pytest.fixture(scope="module")
def plain(tmp_path_factory, planted):
    def make(place):
        small_runs.fit(planted / "labels.csv", place / "run", decide__choose="finetune")

    return small_runs.once(tmp_path_factory, "plain", make) / "run"


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_change_no_bit(tmp_path, planted, plain, workers):
    small_runs.fit(planted / "labels.csv", tmp_path / "run", plan=plain / "plan.json", decide__choose="finetune", train__workers=workers)
    one, other = (Predictions.read(run / "oof.parquet").frame for run in (plain, tmp_path / "run"))
    assert one.equals(other)
    assert files.read_parquet(plain / "manifest.parquet")[0].equals(files.read_parquet(tmp_path / "run" / "manifest.parquet")[0])
    differences = api.diff(plain, tmp_path / "run")["differences"]
    assert [(one["key"], one["changes"]) for one in differences] == [("train.workers", "nothing")]
    weights = "members/main/*/checkpoints/*.safetensors"
    assert small_runs.contents(plain, weights) == small_runs.contents(tmp_path / "run", weights)


def test_a_plan_repeats_a_run_elsewhere_from_moved_images(tmp_path, planted, plain):
    shutil.copytree(planted, tmp_path / "moved")
    small_runs.fit(tmp_path / "moved" / "labels.csv", tmp_path / "run", plan=plain / "plan.json", decide__choose="finetune")
    assert files.read_json(tmp_path / "run" / "plan.json") == files.read_json(plain / "plan.json")
    assert small_runs.sha256(tmp_path / "run" / "oof.parquet") == small_runs.sha256(plain / "oof.parquet")


def test_a_run_can_be_moved_and_goes_on(tmp_path, planted, plain):
    shutil.copytree(plain, tmp_path / "elsewhere")
    for name in ("oof.parquet", "metrics.json", "report.html"):
        (tmp_path / "elsewhere" / name).unlink()
    small_runs.fit(planted / "labels.csv", tmp_path / "elsewhere", decide__choose="finetune")
    assert small_runs.sha256(tmp_path / "elsewhere" / "oof.parquet") == small_runs.sha256(plain / "oof.parquet")
    assert (tmp_path / "elsewhere" / "report.html").exists()


def test_arrays_and_pil_images_are_answered_as_their_files_are(planted, plain):
    paths = sorted((planted / "images").rglob("*.png"))[:5]
    model = tapetum.load(str(plain))
    as_files = model.predict_proba(paths)
    assert np.isfinite(as_files).all()
    assert as_files.shape == (5, len(model.classes_))
    assert np.array_equal(as_files, model.predict_proba([Image.open(path) for path in paths]))
    assert np.array_equal(as_files, model.predict_proba([np.asarray(Image.open(path)) for path in paths]))
    assert model.predict(paths) == [model.classes_[k] for k in as_files.argmax(axis=1)]


def test_truncated_image_is_named_and_changes_no_other_row(tmp_path, plain, other_images):
    before = small_runs.cli("predict", plain / "pipeline", other_images, "-o", tmp_path / "whole.parquet")
    broken = other_images / "ant_002.png"
    broken.write_bytes(broken.read_bytes()[:700])
    after = small_runs.cli("predict", plain / "pipeline", other_images, "-o", tmp_path / "broken.parquet")
    assert (before.code, after.code) == (0, 4)
    assert "ant_002.png" in after.err
    one, other = (Predictions.read(tmp_path / name).dense("label") for name in ("whole.parquet", "broken.parquet"))
    assert one.row_ids.tolist() == other.row_ids.tolist()
    hit = np.array([row.endswith("ant_002.png") for row in one.row_ids])
    assert other.status[hit].tolist() == ["missing"]
    assert np.isnan(other.p[hit]).all()
    assert np.array_equal(one.p[~hit], other.p[~hit])


def test_predictions_as_csv_say_the_same_as_the_table(tmp_path, plain, other_images):
    (other_images / "ant_000.png").write_bytes(b"no image")
    for name in ("p.parquet", "p.csv"):
        assert small_runs.cli("predict", plain, other_images, "-o", tmp_path / name).code == 4
    dense = Predictions.read(tmp_path / "p.parquet").dense("label")
    flat = pl.read_csv(tmp_path / "p.csv")
    assert flat["id"].to_list() == dense.row_ids.tolist()
    assert flat["status"].to_list() == dense.status.tolist()
    assert flat["label"].null_count() == 1
    shown = flat.select(f"p_{c}" for c in dense.target.classes).to_numpy()
    assert np.allclose(shown[dense.ok], dense.p[dense.ok], atol=1e-6)
