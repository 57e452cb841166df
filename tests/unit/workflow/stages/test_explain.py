from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import plant
from tapetum import api
from tapetum.core import files
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.workflow.stages.explain import worst_and_right

TINY = (
    "model.backbone=test_resnet", "model.weights=none", "input.size=32", "train.batch=8", "train.threads=1", "train.precision='32'",
    "split.folds=2", "probe.size=32", "probe.views=['plain']", "probe.strengths=[1.0]", "predict.saliency_rows=6",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explaining")
    plant(folder, classes=3, each=8, size=32, signal=0.2)
    return folder / "images"


@pytest.mark.parametrize(
    "sets",
    [
        ("train.epochs=0", "predict.saliency=gradcam"),
        ("train.epochs=1", "decide.choose=finetune", "predict.saliency=loss"),
        ("train.epochs=1", "decide.choose=finetune", "predict.saliency=gradient"),
    ],
    ids=["probe", "loss", "gradient"],
)
def test_maps_stand_in_the_run_and_in_its_report(tmp_path, data, sets):
    run = tmp_path / "run"
    api.fit(data, run, recipe=api.load_recipe(sets=(*TINY, *sets)))
    entries = files.read_json(run / "saliency" / "saliency.json")
    assert 2 <= len(entries) <= 6
    oof = Predictions.read(run / "oof.parquet").dense("label")
    place = {row_id: i for i, row_id in enumerate(oof.row_ids)}
    for entry in entries:
        i = place[entry["row_id"]]
        classes = oof.target.classes
        assert entry["class"] == classes[int(oof.p[i].argmax())]  # what was answered is what is explained
        assert entry["truth"] == classes[int(oof.y[i].argmax())]
        assert entry["right"] == (entry["class"] == entry["truth"])
        sheet = np.asarray(Image.open(run / "saliency" / entry["file"]))
        assert sheet.shape == (32, 64, 3)  # the image and one map
        assert (sheet[:, :32] != sheet[:, 32:]).any()
    assert {entry["right"] for entry in entries} == {True, False}
    assert 'id="saliency"' in (run / "report.html").read_text(encoding="utf-8")


def test_without_being_asked_nothing_is_written(tmp_path, data):
    api.fit(data, tmp_path / "run", recipe=api.load_recipe(sets=(*TINY, "train.epochs=0")))
    assert not (tmp_path / "run" / "saliency").exists()


def test_the_worst_come_first_then_the_surest_right():
    target = Target("y", "single", ("a", "b"))
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55], [0.01, 0.99], [0.5, 0.5]], dtype=np.float32)
    y = np.array([[0, 1], [0, 1], [0, 1], [0, 1], [0, 1], [np.nan, np.nan]], dtype=np.float32)
    ids = np.array(list("abcdef"), dtype=object)
    dense = Dense(target, ids, p, y, np.zeros(6, dtype=np.int16), np.full(6, "ok", dtype=object))
    assert worst_and_right(dense, 3).tolist() == [0, 1, 4]
    assert worst_and_right(dense, 6).tolist() == [0, 1, 4, 2]
