"""Exports that were changed, or that what is installed cannot run, are refused in one sentence."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

import small_runs
import tapetum
from tapetum import api
from tapetum.core import errors, files
from tapetum.pipeline.exported import Exported, write_spec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, probed):
    return Path(api.export(probed, "onnx", tmp_path_factory.mktemp("export") / "out")["out"])


@pytest.fixture
def photo(planted):
    return sorted((planted / "images").rglob("*.png"))[0]


def thresholds(spec):
    spec["targets"][0]["classes"].reverse()


def size(spec):
    spec["members"][0]["input"]["size"] = 64


def weight(spec):
    spec["rules"]["label"]["members"]["probe"]["weight"] = 2.0


@pytest.mark.parametrize("edit", [thresholds, size, weight, lambda spec: spec.update(bf16=True), lambda spec: spec.update(members=[])])
def test_an_edited_description_is_refused(edit, whole, photo, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    spec = files.read_json(copy / "ensemble.json")
    edit(spec)
    files.write_json(copy / "ensemble.json", spec)
    for command in ("predict", "evaluate"):
        done = small_runs.cli(command, copy, photo)
        assert done.code == errors.DATA
        assert "ensemble.json is" in done.error
        assert "export the pipeline again" in done.error


def test_other_training_images_are_refused(whole, photo, tmp_path):
    """``evaluate`` tells by them which images are unseen."""
    copy = shutil.copytree(whole, tmp_path / "copy")
    frame, _ = files.read_parquet(copy / "training_images.parquet")
    files.write_parquet(copy / "training_images.parquet", frame.head(1))
    done = small_runs.cli("evaluate", copy, photo)
    assert (done.code, "training_images.parquet is not the file that was written" in done.error) == (errors.DATA, True)
    (copy / "training_images.parquet").unlink()
    assert "training_images.parquet is absent" in small_runs.cli("evaluate", copy, photo).error


@pytest.mark.parametrize("name", ["", "ensemble.json"])
def test_an_export_is_named_where_a_pipeline_is_needed(name, whole, tmp_path):
    with pytest.raises(errors.UserError, match=r"is an exported pipeline|is a file of a pipeline") as said:
        tapetum.load(whole / name)
    assert ("tapetum.api.predict(EXPORT, IMAGES)" in str(said.value)) == (name == "")
    assert small_runs.cli("export", whole / name, "--to", "onnx", "-o", tmp_path / "again").code == errors.USAGE


@pytest.mark.parametrize(
    "call", [lambda: tapetum.load(None), lambda: api.predict(None, __file__), lambda: api.predict("p", "x.png", top="3")]
)
def test_values_of_a_wrong_kind_are_said_in_a_sentence(call):
    with pytest.raises(errors.UserError, match=r"is no pipeline|top is '3'"):
        call()


def test_an_answer_that_is_no_number_is_a_missing_row(whole, planted):
    loaded = Exported.load(whole)
    (member,) = loaded.members

    def broken(*arrays):
        found = member.session(*arrays)
        found[0][1] = np.nan
        return found

    loaded.members = [dataclasses.replace(member, session=broken)]
    result = api.predict(loaded, sorted((planted / "images").rglob("*.png"))[:3])
    assert [one["status"] for one in result["answers"]] == ["ok", "missing", "ok"]
    assert result["answers"][1]["reason"] == "the network's answer is no finite number"


@pytest.mark.parametrize("content", ["{", "[]", "null", "\ufeff{}", ""])
def test_a_description_that_is_none_is_refused(content, whole, photo, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    (copy / "ensemble.json").write_text(content, encoding="utf-8")
    assert "ensemble.json" in small_runs.cli("predict", copy, photo).error


@pytest.mark.parametrize("version", ["ir", "opset", "none"])
def test_a_refused_graph_is_said_with_the_runtimes_version(version, whole, photo, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    spec, (name,) = files.read_json(copy / "ensemble.json"), files.read_json(copy / "ensemble.json")["members"][0]["files"]
    model = onnx.load(copy / name)
    if version == "ir":
        model.ir_version = 999
    model.opset_import[0].version = 999 if version == "opset" else model.opset_import[0].version
    (copy / name).write_bytes(b"nothing" if version == "none" else model.SerializeToString())
    spec["members"][0]["files"] = {name: files.sha256(copy / name)}
    write_spec(copy, spec)
    done = small_runs.cli("predict", copy, photo)
    assert done.code == errors.ENVIRONMENT
    assert f"{name} cannot be opened by onnxruntime " in done.error
    assert "pip install -U onnxruntime" in done.error
