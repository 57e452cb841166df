"""Members that see images alike are exported as one file, whose answers are blended; others as a file each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import small_runs
from kinds import fit, plant_people
from tapetum import api
from tapetum.core import files
from tapetum.core.errors import DataError
from tapetum.pipeline import Pipeline, exchange

pytest.importorskip("onnxscript")

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
OTHER = {"model": {"backbone": "test_resnet"}, "train": {"start": "random"}}
TWO = [{"name": "small"}, {"name": "other", **OTHER, "predict": {"views": "hflip"}}]
HOW = {"decide__choose": "finetune", "decide__calibrate": "temperature", "train__epochs": 1, "data__group": "person", "split__folds": 2}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Two members of equal size with stated weights, temperatures by fold; a single target, an ordered one and a number."""

    def make(place):
        table = plant_people(place / "data", rows=24)
        targets = ["mask", "age_group:ordinal=young<middle<old", "age:regression"]
        blend = {"name": "weighted", "weights": {"small": 0.3, "other": 0.7}}
        fit(table, place / "run", data__targets=targets, member=TWO, decide__blend=blend, **HOW)

    return small_runs.once(tmp_path_factory, "exported-ensemble", make)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, people):
    return api.export(people / "run", "onnx", tmp_path_factory.mktemp("ensemble") / "out")


def photos(root):
    return sorted((root / "data").glob("*.png"))[:6]


def test_members_of_equal_size_are_one_file(whole, people):
    assert whole["files"] == ["ensemble.onnx"]
    assert min(one["agreement"] for one in whole["gate"]["targets"].values()) >= 0.995
    assert max(one["largest_difference"] for name, one in whole["gate"]["targets"].items() if name != "age") < 1e-3
    spec = files.read_json(Path(whole["out"]) / "ensemble.json")
    assert [one["name"] for one in spec["members"]] == ["ensemble"]
    assert [one["name"] for one in spec["merged"]] == ["small", "other"]
    table = people / "data" / "labels.csv"
    mine, theirs = (api.predict(place, table)["answers"] for place in (whole["out"], people / "run"))
    for one, other in zip(mine, theirs, strict=True):
        assert one["id"] == other["id"]
        assert one["answers"]["mask"]["answer"] == other["answers"]["mask"]["answer"]
        assert one["answers"]["age"]["answer"] == pytest.approx(other["answers"]["age"]["answer"], rel=1e-3, abs=1e-3)


def test_the_script_reads_the_one_file(whole, people):
    (script,) = [body for body in re.findall(r"^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M) if "import" in body]
    words = [sys.executable, "-c", script, whole["out"], *map(str, photos(people))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    shares = Pipeline.load(people / "run").predict_proba(photos(people))
    for target, p in shares.items():
        np.testing.assert_allclose([line[3] for line in lines if line[1] == target], p, rtol=1e-3, atol=1e-3)


def test_members_of_other_sizes_are_a_file_each(tmp_path):
    table = plant_people(tmp_path / "data", rows=24)
    members = [TWO[0], {"name": "large", "input": {"size": 40}}]
    fit(table, tmp_path / "run", data__targets=["mask"], member=members, **HOW)
    said = []
    found = api.export(tmp_path / "run", "onnx", tmp_path / "out", log=said.append)
    assert found["files"] == ["small.onnx", "large.onnx"]
    assert "a file for each member: members see images differently (size)" in said
    spec = files.read_json(tmp_path / "out" / "ensemble.json")
    (tmp_path / "out" / spec["members"][1]["name"]).with_suffix(".onnx").write_bytes(b"other")
    with pytest.raises(DataError, match=r"large\.onnx is not the file that was written"):
        api.predict(tmp_path / "out", photos(tmp_path))


def test_one_file_that_answers_otherwise_is_not_taken(people, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange.merged, "LEAST", 0.3)  # probabilities are clipped so far that temperatures do something else
    said = []
    found = api.export(people / "run", "onnx", tmp_path / "out", log=said.append)
    assert found["files"] == ["small.onnx", "other.onnx"]
    assert any(line.startswith("a file for each member: one file answers otherwise") for line in said)


def test_an_export_of_one_member_has_its_name(probed, tmp_path):
    assert api.export(probed, "onnx", tmp_path / "out")["files"] == ["probe.onnx"]
