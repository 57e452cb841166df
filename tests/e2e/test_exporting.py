"""Exported pipelines answer as the pipelines that they were made from: every format, every kind of target, a short script, and refusals."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import exported_runs
import small_runs
from kinds import fit, plant_hpa
from tapetum import api
from tapetum.core import errors, files, processors
from tapetum.core.runs import Run
from tapetum.pipeline import exchange, quantised

pytest.importorskip("onnxscript")

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
BLOCKED = "import sys; sys.modules.update(dict.fromkeys({modules!r})); "
COLOURS = ("red", "green", "blue", "yellow")


@pytest.fixture(scope="module")
def onnx(tmp_path_factory):
    """The runs of people and proteins, and what was said of their exports."""
    return {name: exported_runs.onnx(tmp_path_factory, name) for name in ("people", "proteins")}


def alike(one, other):
    """Compare two answers of api.predict: the same labels, and probabilities within rounding."""
    mine, theirs = ({row["id"]: row["answers"] for row in each["answers"]} for each in (one, other))
    assert mine.keys() == theirs.keys()
    for row, answers in mine.items():
        assert answers.keys() == theirs[row].keys()
        for name, found in answers.items():
            if isinstance(found["answer"], float):
                assert found["answer"] == pytest.approx(theirs[row][name]["answer"], rel=1e-3, abs=1e-3)
            else:
                assert found["answer"] == theirs[row][name]["answer"]
                assert found["p"] == pytest.approx(theirs[row][name]["p"], abs=1e-4)


def sources(root):
    """Return what predict takes of the data of a run, and its rows as the short script takes them."""
    if (root / "data" / "train").exists():
        rows = sorted({path.name.rpartition("_")[0] for path in (root / "data" / "train").iterdir()})[:6]
        return [[str(root / "data" / "train" / f"{row}_{colour}.png") for colour in COLOURS] for row in rows]
    return [[str(path)] for path in sorted((root / "data").glob("*.png"))[:6]]


@pytest.mark.parametrize("to", ["onnx", "openvino", "torch-export"])
def test_every_format_answers_as_the_pipeline(to, probed, planted, tmp_path, monkeypatch):
    monkeypatch.setattr(processors, "has_bf16", lambda: False)
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    done = small_runs.cli("export", probed, "--to", to, "-o", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["gate"]["images"] == 24
    assert found["gate"]["targets"]["label"]["agreement"] == 1
    assert found["gate"]["targets"]["label"]["largest_difference"] < 1e-4
    beside = {"model.safetensors", "training_images.parquet"}
    written = {p.name for p in (tmp_path / "out").iterdir() if p.suffix not in (".json", ".md")}
    assert written == beside | set(found["files"])
    for images in (planted / "images", sorted((planted / "images").rglob("*.png"))[0]):
        alike(api.predict(tmp_path / "out", images), api.predict(probed, images))


KINDS = {
    "cnn": ("cnn", {"mask"}),
    "vit": ("vit", {"mask"}),
    "four-channels": ("proteins", {"Target"}),
    "several-labels": ("proteins", {"Target"}),
    "several-tasks": ("people", {"mask", "gender", "age_group", "age"}),
    "ordinal": ("people", {"age_group"}),
    "sequence": ("nights", {"stage"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pipelines_of_every_kind_answer_as_exported(kind, tmp_path_factory):
    name, targets = KINDS[kind]
    root, found = exported_runs.onnx(tmp_path_factory, name)
    assert targets <= found["gate"]["targets"].keys()
    table = root / "data" / "labels.csv"
    mine, theirs = api.predict(found["out"], table), api.predict(root / "run", table)
    alike(mine, theirs)
    for target in targets:
        said = found["gate"]["targets"][target]
        assert said["agreement"] >= 0.995
        assert said["close_calls"] <= said["differ"] <= 0.005 * found["gate"]["images"]
        given = [row["answers"][target]["answer"] for row in mine["answers"]]
        assert len({str(one) for one in given}) > 1  # an answer that never changes would agree anyhow
    if kind == "four-channels":
        assert files.read_json(Path(found["out"]) / "ensemble.json")["members"][0]["form"]["channels"] == 4


def in_bf16(run):
    """Return a run's pipeline as if it had been planned in bf16."""
    from tapetum.pipeline import Pipeline

    pipeline = Pipeline.load(run)
    members = [dataclasses.replace(one, engine=dataclasses.replace(one.engine, precision="bf16")) for one in pipeline.members]
    pipeline.members = members
    return pipeline


def test_a_pipeline_in_bf16_is_compared_in_32_bits(onnx, tmp_path):
    root, found = onnx["people"]
    pipeline, said = in_bf16(root / "run"), []
    manifest = Run.existing(root / "run").manifest()
    half = pipeline.answer(manifest)["mask"].p
    written = exchange.export(pipeline, "onnx", tmp_path / "out", manifest, said.append)
    assert np.abs(exchange.Exported.load(tmp_path / "out").answer(manifest)["mask"].p - half).max() > 1e-4
    assert written["gate"]["targets"]["mask"]["largest_difference"] < 1e-5
    assert written["gate"]["targets"]["mask"] == pytest.approx(found["gate"]["targets"]["mask"], abs=1e-5)


def test_openvino_takes_bf16_only_where_the_plan_does(probed, tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    there = processors.has_bf16()
    monkeypatch.setattr(processors, "has_bf16", lambda: True)
    said = []
    api.export(probed, "openvino", tmp_path / "out", log=said.append)
    assert "bf16" not in files.read_json(tmp_path / "out" / "ensemble.json")
    assert not any(line.startswith("in bf16") for line in said)
    if there:
        manifest = Run.existing(probed).manifest()
        exchange.export(in_bf16(probed), "openvino", tmp_path / "half", manifest, said.append)
        assert any(line.startswith("in bf16") for line in said)


@pytest.mark.parametrize("name", ["people", "proteins"])
def test_the_script_of_the_docs_answers_as_predict(name, onnx):
    from tapetum.pipeline import Pipeline

    root, found = onnx[name]
    (script,) = [body for body in re.findall(r"^```text\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M) if "import" in body]
    rows = sources(root)
    code = BLOCKED.format(modules=["torch", "timm", "tapetum", "torchvision"]) + f"exec({script!r})"
    words = [sys.executable, "-c", code, found["out"], *(",".join(row) for row in rows)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    pipeline = Pipeline.load(root / "run")
    images = [tuple(row) if len(row) > 1 else row[0] for row in rows]
    answers, shares = pipeline.predict(images), pipeline.predict_proba(images)
    several = len(pipeline.scored) > 1
    assert len(lines) == len(rows) * len(pipeline.scored)
    for target in pipeline.scored:
        mine = [line for line in lines if line[1] == target]
        p = shares[target] if several else shares
        np.testing.assert_allclose([line[3] for line in mine], p, rtol=1e-3, atol=1e-3)
        labels = [one if isinstance(one, (list, float)) else [one] for one in (answers[target] if several else answers)]
        if pipeline.scored[target].kind != "regression":
            assert [line[2] for line in mine] == labels


def test_predict_on_an_export_needs_no_torch(onnx, tmp_path):
    root, found = onnx["people"]
    code = BLOCKED.format(modules=["torch", "timm", "torchvision"]) + "from tapetum.cli import main; main()"
    words = [sys.executable, "-c", code, "predict", found["out"], sources(root)[0][0], "-o", str(tmp_path / "out.csv")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_image_that_cannot_be_read_is_a_missing_row(onnx, tmp_path):
    root, found = onnx["people"]
    (tmp_path / "photos").mkdir()
    shutil.copy(sources(root)[0][0], tmp_path / "photos" / "whole.png")
    (tmp_path / "photos" / "cut.png").write_bytes(Path(sources(root)[1][0]).read_bytes()[:100])
    done = small_runs.cli("predict", found["out"], tmp_path / "photos", "--json")
    assert done.code == errors.PARTLY
    assert [row["status"] for row in json.loads(done.out)["answers"]] == ["missing", "ok"]


def test_a_swapped_file_is_refused(onnx, tmp_path):
    _, found = onnx["people"]
    copy = shutil.copytree(found["out"], tmp_path / "copy")
    shutil.copy(Path(onnx["proteins"][1]["out"]) / "main.onnx", copy / "main.onnx")
    done = small_runs.cli("predict", copy, PAGE.parent / "report.png")
    assert (done.code, "SHA-256" in done.error, "main.onnx" in done.error) == (errors.DATA, True, True)
    (copy / "main.onnx").unlink()
    assert "main.onnx is absent" in small_runs.cli("predict", copy, PAGE.parent / "report.png").error


def test_bad_exports_are_refused_and_leave_nothing(probed, planted, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert "one of onnx, openvino, torch-export" in small_runs.cli("export", probed, "--to", "tflite", "-o", out).error
    assert "holds no pipeline" in small_runs.cli("export", planted, "-o", out).error
    full = tmp_path / "full"
    files.write_text(full / "mine.txt", "mine")
    assert "holds no export" in small_runs.cli("export", probed, "-o", full).error
    alone = shutil.copytree(probed / "pipeline", tmp_path / "alone")
    assert "--images DIR" in small_runs.cli("export", alone, "-o", out).error
    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "onnxscript" else plain(name, *more))
    done = small_runs.cli("export", probed, "-o", out)
    assert (done.code, "pip install 'tapetum[export]'" in done.error) == (errors.ENVIRONMENT, True)
    assert not out.exists()
    assert (full / "mine.txt").exists()


def test_answers_that_differ_are_not_written(probed, tmp_path, monkeypatch):
    plain = exchange.Exported.answer

    def other(self, *given):
        found = plain(self, *given)
        return {name: dense.with_p(dense.p[:, ::-1].copy()) for name, dense in found.items()}

    monkeypatch.setattr(exchange.Exported, "answer", other)
    done = small_runs.cli("export", probed, "-o", tmp_path / "out")
    assert (done.code, "nothing was written" in done.error) == (errors.DATA, True)
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_evaluated_as_the_pipeline_without_torch(onnx, tmp_path):
    root, found = onnx["people"]
    table = root / "data" / "labels.csv"
    code = BLOCKED.format(modules=["torch", "timm", "torchvision"]) + "from tapetum.cli import main; main()"
    words = [sys.executable, "-c", code, "evaluate", found["out"], str(table), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    mine, theirs = json.loads(done.stdout), api.evaluate(root / "run", table)
    assert mine["known"] == theirs["known"]
    assert mine["counts"] == theirs["counts"]
    for one, other in zip(mine["figures"], theirs["figures"], strict=True):
        assert (one["name"], one["metric"], one["n"]) == (other["name"], other["metric"], other["n"])
        assert one["value"] == pytest.approx(other["value"], rel=1e-3, abs=1e-3)


def test_a_class_without_images_does_not_stop_an_export(tmp_path):
    plant_hpa(tmp_path / "data", rows=24, test=2, labels=4)
    table = (tmp_path / "data" / "train.csv").rename(tmp_path / "data" / "labels.csv")
    how = {"data__path": "train/{Id}_{red,green,blue,yellow}.png"}
    target = {"name": "Target", "kind": "multi", "classes": [str(number) for number in range(6)]}
    fit(table, tmp_path / "run", decide__choose="probe", decide__steps=["thresholds"], data__targets=[target], **how)
    found = api.export(tmp_path / "run", "onnx", tmp_path / "out")
    assert found["gate"]["targets"]["Target"]["agreement"] == 1


def test_an_export_computes_in_its_own_format_alone(onnx):
    root, found = onnx["people"]
    assert small_runs.cli("predict", found["out"], sources(root)[0][0], "--engine", "onnx").code == 0
    done = small_runs.cli("predict", found["out"], sources(root)[0][0], "--engine", "torch")
    assert (done.code, "is an export for onnx" in done.error) == (errors.USAGE, True)


def test_an_exported_folder_opens_in_timm_and_has_a_card(probed, tmp_path):
    import timm
    import torch
    import yaml

    from tapetum.pipeline import Pipeline

    api.export(probed, "onnx", tmp_path / "out")
    x = torch.rand(2, 3, 32, 32)
    network = Pipeline.load(probed).members[0].networks[0]
    with torch.inference_mode():
        vectors = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()((x - network.mean) / network.std)
        np.testing.assert_allclose(vectors.numpy(), network.features(x).numpy(), atol=1e-5)
    _, head, body = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    about = yaml.safe_load(head)
    assert (about["pipeline_tag"], about["library_name"]) == ("image-classification", "tapetum")
    assert {one["type"] for one in about["model-index"][0]["results"][0]["metrics"]} >= {"accuracy"}
    assert "tapetum predict this-folder image.jpg" in body
    assert "tapetum.load" not in body


def test_8_bits_are_written_with_what_they_lose(probed, planted, tmp_path, monkeypatch):
    monkeypatch.setattr(quantised, "BOUND", 1.0)
    done = small_runs.cli("export", probed, "-o", tmp_path / "out", "--int8", "--json")
    assert done.code == 0, done.err
    lost = json.loads(done.out)["int8"]
    assert (lost["rows"], lost["bound"]) == (24, 1.0)
    assert files.read_json(tmp_path / "out" / "ensemble.json")["int8"] == lost
    assert lost["summary"] in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    (one,) = lost["members"]["probe"].values()
    assert one["float"] == pytest.approx(one["int8"], abs=0.3)
    api.export(probed, "onnx", tmp_path / "whole")
    sizes = [(tmp_path / name / "probe.onnx").stat().st_size for name in ("out", "whole")]
    assert sizes[0] < 0.75 * sizes[1]
    assert small_runs.cli("predict", tmp_path / "out", planted / "images").code == 0


def test_8_bits_that_lose_too_much_are_refused(probed, tmp_path, monkeypatch):
    monkeypatch.setattr(quantised, "BOUND", -1.0)
    done = small_runs.cli("export", probed, "-o", tmp_path / "out", "--int8")
    assert (done.code, "out-of-fold rows are worse" in done.error) == (errors.DATA, True)
    assert list(tmp_path.iterdir()) == []
    done = small_runs.cli("export", probed, "--to", "openvino", "-o", tmp_path / "out", "--int8")
    assert (done.code, "--to onnx" in done.error) == (errors.USAGE, True)
    with pytest.raises(errors.UserError, match="trained on all rows"):
        quantised.check("onnx", {"main": [-1]})
