"""Held-out rows that train, too: what such a split gives, and how its figures are marked."""

from __future__ import annotations

import numpy as np
import pytest

from images import plant
from tapetum import api
from tapetum.core import files
from tapetum.core.errors import UserError
from tapetum.core.runs import Run
from tapetum.workflow.stages.prepare import prepared_of

TINY = {
    "model__backbone": "test_resnet",
    "model__weights": "none",
    "input__size": 32,
    "train__epochs": 1,
    "train__threads": 1,
    "train__precision": "32",
    "probe__enabled": False,
    "decide__choose": "finetune",
    "split__holdout": 0.25,
    "split__heldout_trains": True,
}


def test_held_out_rows_train_and_are_in_sample(tmp_path):
    plant(tmp_path, classes=2, each=8)
    with pytest.raises(UserError, match=r"split\.allow_leak"):
        api.fit(tmp_path / "images", tmp_path / "refused", **TINY)
    api.fit(tmp_path / "images", tmp_path / "run", **TINY, split__allow_leak="as the write-up has it")
    run = Run.existing(tmp_path / "run")
    prepared = prepared_of(run)
    held = prepared.heldout(0)
    assert 0 < len(held) < len(prepared.train)
    assert np.isin(held, prepared.fitting(0)).all()
    spec = files.read_json(run.member("main", 0) / "spec.json")
    assert set(held.tolist()) <= set(spec["train"])
    figures = files.read_json(run.file("metrics.json"))["figures"]
    final = [figure for figure in figures if figure["name"] == "final"]
    assert {figure["how"] for figure in final} == {"in-sample"}
    assert all("the rows that judge it trained, too" in figure["marks"] for figure in final)
