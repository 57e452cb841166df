"""Runs and pipelines computed by ONNX Runtime or OpenVINO answer as by torch; the plan keeps the engine, and a resumed run too."""

from __future__ import annotations

import json

import numpy as np
import pytest

import small_runs
from tapetum import api
from tapetum.api import serving
from tapetum.api.answers import loaded_from
from tapetum.core import errors, files
from tapetum.core.predictions import Predictions
from tapetum.core.requests import ImageRequest
from tapetum.core.runs import Run
from tapetum.learn import engines, speed

pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def by_onnx(tmp_path_factory, planted):
    """A run of the probe whose features ONNX Runtime computed, because its recipe says so."""

    def make(place):
        small_runs.fit(planted / "labels.csv", place / "run", train__epochs=0, predict__engine="onnx")

    return small_runs.once(tmp_path_factory, "by-onnx", make) / "run"


def probabilities(run, planted, engine):
    found = api.predict(run, planted / "images", engine=engine)
    return {row["id"]: row["answers"]["label"]["p"] for row in found["answers"]}


def test_the_plan_and_the_pipeline_keep_the_engine(by_onnx):
    plan = Run(by_onnx).plan()["probe"]
    assert plan["engine"]["backend"] == "onnx"
    assert plan["parity"]["onnx-32"]["targets"]["label"]["agreement"] == 1
    assert files.read_json(by_onnx / "pipeline" / "pipeline.json")["members"][0]["engine"]["backend"] == "onnx"


def test_features_by_another_engine_lead_to_the_same_figures(by_onnx, planted, tmp_path):
    small_runs.fit(planted / "labels.csv", tmp_path / "torch", train__epochs=0, predict__engine="torch")
    mine, theirs = (Predictions.read(place / "oof.parquet").frame.sort("row_id") for place in (by_onnx, tmp_path / "torch"))
    np.testing.assert_allclose(np.stack(mine["p"].to_list()), np.stack(theirs["p"].to_list()), atol=1e-4)
    assert "backend" not in Run(tmp_path / "torch").plan()["probe"]["engine"]


def test_a_resumed_run_keeps_its_engine(by_onnx, planted, tmp_path):
    import shutil

    copy = shutil.copytree(by_onnx, tmp_path / "run")
    before = small_runs.contents(copy / "members")
    for fold in (copy / "members" / "probe").glob("fold-1"):
        shutil.rmtree(fold)
    shutil.rmtree(copy / "features")
    small_runs.fit(planted / "labels.csv", copy, train__epochs=0, predict__engine="onnx")
    assert small_runs.contents(copy / "members") == before


TUNED = {"train__epochs": 2, "train__start": "random", "decide__choose": "finetune", "predict__views": "hflip", "predict__reduce": "auto"}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, planted):
    """A fine-tuned run whose held-out images, and their views, ONNX Runtime answered."""

    def make(place):
        small_runs.fit(planted / "labels.csv", place / "run", predict__engine="onnx", **TUNED)

    return small_runs.once(tmp_path_factory, "tuned-by-onnx", make) / "run"


def test_held_out_rows_by_another_engine_match_torch(tuned, planted, tmp_path):
    answers = Run(tuned).plan()["members"]["main"]["answers"]
    assert (answers["engine"]["backend"], answers["from_images"]) == ("onnx", 0)
    assert answers["parity"]["onnx-32"]["targets"]["label"]["agreement"] == 1
    small_runs.fit(planted / "labels.csv", tmp_path / "torch", predict__engine="torch", **TUNED)
    assert "answers" not in Run(tmp_path / "torch").plan()["members"]["main"]
    for name in ("epochs", "views"):
        places = [sorted(run.glob(f"members/main/fold-*/{name}.parquet")) for run in (tuned, tmp_path / "torch")]
        mine, theirs = (np.concatenate([np.stack(Predictions.read(one).frame["p"].to_list()) for one in files_]) for files_ in places)
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
        assert (mine != theirs).any()
    mine, theirs = (small_runs.contents(run, "members/main/fold-*/checkpoints/*") for run in (tuned, tmp_path / "torch"))
    assert mine == theirs  # training itself is by torch


def test_a_resumed_fold_is_answered_by_the_same_engine(tuned, planted, tmp_path):
    import shutil

    copy = shutil.copytree(tuned, tmp_path / "run")
    before = {name: one for name, one in small_runs.contents(copy / "members" / "main").items() if "parquet" in str(name)}
    shutil.rmtree(copy / "members" / "main" / "fold-1")
    small_runs.fit(planted / "labels.csv", copy, predict__engine="onnx", **TUNED)
    after = small_runs.contents(copy / "members" / "main")
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_predict_by_another_engine_answers_as_torch(engine, probed, planted):
    if engine == "openvino":
        pytest.importorskip("openvino")
    mine, theirs = probabilities(probed, planted, engine), probabilities(probed, planted, "torch")
    assert mine.keys() == theirs.keys()
    for row, p in mine.items():
        assert p == pytest.approx(theirs[row], abs=1e-4)


def test_an_unknown_engine_is_refused_before_images_are_read(probed, planted):
    done = small_runs.cli("predict", probed, planted / "images", "--engine", "tensorrt")
    assert (done.code, "one of auto, torch, onnx, openvino" in done.error) == (errors.USAGE, True)
    assert json.loads(small_runs.cli("predict", probed, planted / "images", "--engine", "torch", "--json").out)["rows"] == 24


@pytest.fixture
def slow_torch(monkeypatch):
    """A machine on which torch needs a second an image, other engines nothing; eight images are enough to compare on."""
    monkeypatch.setattr(engines, "SAMPLE", {"32": 8, "bf16": 8})
    monkeypatch.setattr(speed, "seconds_of", lambda network, work, offered: {engine.name: 1e-6 for engine in offered})

    def decide(train, network, work, *, device, **_):
        engine = speed.Engine(device, "32")
        return speed.Measured(engine, {engine.name: 1.0})

    monkeypatch.setattr(speed, "decide_engine", decide)


def test_a_service_takes_the_fastest_engine_that_agrees(probed, planted, slow_torch):
    said = []
    served = serving.served_of(loaded_from(probed), 10**6, said.append)
    assert served.about["engines"] == {"probe": "onnx-32"}
    assert any(line.startswith("engine: onnx-32; onnx-32 agrees") for line in said)
    photo = sorted((planted / "images").rglob("*.png"))[0]
    answered = served.predictor([ImageRequest([[photo.read_bytes()]], [])])[0].answered["label"].p[0]
    offline = api.predict(probed, photo, engine="torch", top=100)["answers"][0]["answers"]["label"]["p"]
    assert dict(zip(served.about["targets"][0]["classes"], answered, strict=True)) == pytest.approx(offline, abs=1e-4)


def test_a_pipeline_without_its_run_is_served_as_planned(probed, tmp_path, slow_torch):
    import shutil

    alone = shutil.copytree(probed / "pipeline", tmp_path / "alone")
    planned = files.read_json(alone / "pipeline.json")["members"][0]["engine"]
    assert serving.served_of(loaded_from(alone), 10**6).about["engines"] == {"probe": speed.Engine.from_dict(planned).name}
