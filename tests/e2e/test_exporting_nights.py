"""Pipelines over nights are exported: decisions that look at the order, and models over sequences, joined images among them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

import exported_runs
import small_runs
from tapetum import api
from tapetum.core import errors, files, processors

pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return exported_runs.run(tmp_path_factory, "context")


def test_context_over_a_night_is_decided_as_by_the_pipeline(night, tmp_path):
    found = api.export(night / "run", "onnx", tmp_path / "out")
    assert found["gate"]["targets"]["stage"]["agreement"] == 1
    assert "decision step 'context'" in found["simple"]  # what the short script does not follow
    table = night / "data" / "labels.csv"
    mine, theirs = (api.predict(place, table)["answers"] for place in (tmp_path / "out", night / "run"))
    assert [one["answers"]["stage"]["answer"] for one in mine] == [one["answers"]["stage"]["answer"] for one in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert one["answers"]["stage"]["p"] == pytest.approx(other["answers"]["stage"]["p"], abs=1e-4)
    spec = files.read_json(tmp_path / "out" / "ensemble.json")
    assert [step["name"] for step in spec["decisions"]["steps"]["stage"]["steps"]] == ["context"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, night):
    """Other recordings, unsorted: one of a single image, one with a gap, an image that cannot be read."""
    place = tmp_path_factory.mktemp("recordings")
    rows = [
        ("n0-03", "x", 3),
        ("n1-00", "y", 0),
        ("n0-00", "x", 0),
        ("n2-05", "x", 1),
        ("n0-01", "x", 8),
        ("cut", "x", 2),
        ("n3-02", "x", 9),
    ]
    for name in {row[0] for row in rows} - {"cut"}:
        shutil.copy(night / "data" / f"{name}.png", place / f"{name}.png")
    (place / "cut.png").write_bytes((night / "data" / "n0-00.png").read_bytes()[:60])
    files.write_text(place / "rows.csv", "\n".join(["file,night,place", *(f"{n}.png,{s},{at}" for n, s, at in rows)]) + "\n")
    return place / "rows.csv"


def same(mine, theirs):
    assert [(one["id"], one["status"]) for one in mine] == [(one["id"], one["status"]) for one in theirs]
    for one, other in zip(mine, theirs, strict=True):
        if one["status"] == "ok":
            assert one["answers"]["stage"]["answer"] == other["answers"]["stage"]["answer"]
            assert one["answers"]["stage"]["p"] == pytest.approx(other["answers"]["stage"]["p"], abs=1e-4)


@pytest.fixture(scope="module")
def over_nights(tmp_path_factory):
    return exported_runs.onnx(tmp_path_factory, "nights")


def test_a_model_over_sequences_answers_as_the_pipeline(over_nights, night, recordings):
    root, written = over_nights
    assert written["files"] == ["single.onnx", "nights-images.onnx", "nights-windows.onnx"]
    assert written["gate"]["images"] == 48
    assert written["gate"]["targets"]["stage"]["agreement"] == 1
    assert written["gate"]["targets"]["stage"]["largest_difference"] < 1e-4
    assert "answers sequences" in written["simple"]
    for table in (night / "data" / "labels.csv", recordings):
        mine, theirs = (api.predict(place, table)["answers"] for place in (written["out"], root / "run"))
        same(mine, theirs)
        assert [one["status"] for one in mine].count("missing") == (1 if table is recordings else 0)


def test_an_exported_night_is_predicted_without_torch(over_nights, recordings):
    root, written = over_nights
    code = "import sys; sys.modules.update(dict.fromkeys(['torch', 'timm', 'torchvision'])); from tapetum.cli import main; main()"
    words = [sys.executable, "-c", code, "predict", written["out"], str(recordings), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == errors.PARTLY, done.stderr
    same(json.loads(done.stdout)["answers"], api.predict(root / "run", recordings)["answers"])


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return exported_runs.run(tmp_path_factory, "joined")


@pytest.mark.parametrize("to", ["openvino", "torch-export"])
def test_joined_images_of_a_night_answer_as_the_pipeline(to, joined, night, recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(processors, "has_bf16", lambda: False)
    if to == "openvino":
        pytest.importorskip("openvino")
    found = api.export(joined / "run", to, tmp_path / "out")
    assert found["files"][0].startswith("main.")
    for table in (night / "data" / "labels.csv", recordings):
        same(*(api.predict(place, table)["answers"] for place in (tmp_path / "out", joined / "run")))
    bare = small_runs.cli("predict", tmp_path / "out", night / "data" / "n0-00.png")
    assert (bare.code, "needs each row's sequence" in bare.error) == (errors.DATA, True)


def test_8_bits_are_not_written_of_sequences(joined, tmp_path):
    refused = small_runs.cli("export", joined / "run", "-o", tmp_path / "small", "--int8")
    assert (refused.code, "answers sequences, which 8 bits" in refused.error) == (errors.USAGE, True)
    assert not (tmp_path / "small").exists()
