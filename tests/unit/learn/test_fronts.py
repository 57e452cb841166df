"""What does not train is computed once where no augmentation changes the images, and training ends with the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import small_runs
from tapetum.core import files
from tapetum.core.config import Input, Model
from tapetum.core.targets import Target
from tapetum.learn.models import network
from tapetum.learn.training import freezing, fronts, job
from tapetum.learn.training.keep import Keeper

TARGET = Target("label", "single", ("a", "b"))
STAGES = [{"epochs": 2, "trains": "head"}, {"epochs": 3, "trains": "top-2"}, {"epochs": 1}]
HOW = {"stages": STAGES, "augment": [], "optimizer__name": "sgd", "optimizer__rate": 0.01, "data__group": None}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return small_runs.fold_rows(tmp_path_factory.mktemp("fronts"))


def spec_of(place, manifest, **values):
    manifest.write(place / "manifest.parquet")
    recipe = small_runs.recipe(**{**HOW, **values}).recipe
    return small_runs.fold_spec(place / "members" / "main" / "fold-0", place / "manifest.parquet", manifest, recipe)


def trained(place, manifest, **values):
    """Train fold 0 and return its folder and what was logged."""
    said = []
    file = spec_of(place, manifest, **values)
    job.run(file, log=said.append)
    return file.parent, said


@pytest.mark.parametrize(("backbone", "size"), [("test_efficientnet", 32), ("test_resnet", 32), ("test_convnext", 64), ("test_vit", 160)])
def test_backbones_of_every_family_are_cut(backbone, size):
    net = network.build(Model(backbone=backbone, weights="none"), (TARGET,), 3, Input(size=size))
    x = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    found = {}
    for trains in ("head", "top-1", "all"):
        freezing.freeze(net, trains)
        freezing.train_mode(net)
        before = {name: module.training for name, module in net.named_modules()}
        found[trains] = fronts.front_of(net, x)
        assert {name: module.training for name, module in net.named_modules()} == before
    assert (found["head"].units, found["all"]) == ([], None)
    front = found["top-1"]
    net.eval()
    with torch.no_grad():
        assert torch.equal(front.resume(front.activations(x)), net.features(x))
    frozen = sum(p.numel() for unit in front.units for p in unit.parameters())
    assert 0 < frozen < sum(p.numel() for p in net.backbone.parameters())


def test_layers_that_draw_are_not_kept():
    net = network.build(Model(backbone="test_resnet", weights="none", drop_path=0.5), (TARGET,), 3, Input(size=32))
    freezing.freeze(net, "top-1")
    freezing.train_mode(net)
    drawn = fronts.front_of(net, torch.zeros(1, 3, 32, 32))
    before = [unit for unit in net.backbone.modules() if float(getattr(unit, "drop_prob", 0) or 0) > 0]
    assert before
    assert drawn is None or not {id(m) for unit in drawn.units for m in unit.modules()} & {id(one) for one in before}


def test_weights_are_the_same_with_and_without(manifest, tmp_path, monkeypatch):
    computed = []
    plain = fronts.Front.activations
    monkeypatch.setattr(fronts.Front, "activations", lambda self, x: (computed.append(len(x)), plain(self, x))[1])
    mine, said = trained(tmp_path / "kept", manifest)
    assert sum(computed) <= 18 + 4  # each of the 18 images once, and some to try the cut
    assert [line for line in said if "are kept for 18 images" in line] == [line for line in said if "are kept" in line]
    assert len([line for line in said if "are kept" in line]) == 2
    theirs, other = trained(tmp_path / "anew", manifest, memory__activations=0)
    assert not [line for line in other if "kept" in line]
    a, b = (Keeper(one).checkpoint("epoch-006") for one in (mine, theirs))
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_allclose(value, b[name], atol=1e-5, rtol=1e-4, err_msg=name)
    assert not (mine / fronts.FOLDER).exists()


def test_a_killed_stage_goes_on_from_its_activations(manifest, tmp_path):
    whole, _ = trained(tmp_path / "whole", manifest)
    file = spec_of(tmp_path / "killed", manifest)
    state, kills = small_runs.killed_after_each_epoch(file)
    assert kills
    assert state["epochs"] == 6
    assert small_runs.contents(file.parent, "checkpoints/*") == small_runs.contents(whole, "checkpoints/*")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"augment": ["hflip"]}, "augmentation changes the images"),
        ({"mix": ["mixup"]}, "mixing changes the images"),
        ({"stages": [{**one, "size": 64} for one in STAGES[1:]]}, "the stage has a size of its own"),
        ({"memory__activations": 1e-9}, "memory.activations and the disk leave"),
    ],
)
def test_what_cannot_be_kept_is_logged(values, why, manifest, tmp_path):
    _, said = trained(tmp_path, manifest, **{"stages": STAGES[1:], **values})
    (line,) = [line for line in said if "activations of frozen layers" in line]
    assert f"not kept: {why}" in line or why in line


def test_a_frozen_backbone_is_computed_by_the_planned_engine(manifest, tmp_path):
    pytest.importorskip("onnxscript")
    found = {}
    for name, answers in {"torch": None, "onnx": {"engine": {**small_runs.ENGINE, "backend": "onnx"}, "from_images": 24}}.items():
        file, said = spec_of(tmp_path / name, manifest, stages=STAGES[:1], augment=["hflip"]), []
        files.write_json(file, {**files.read_json(file), "answers": answers})
        job.run(file, log=said.append)
        assert ("the frozen backbone is computed by onnx-32" in said) == (answers is not None)
        found[name] = Keeper(file.parent).checkpoint("epoch-002")
    for name, value in found["torch"].items():
        np.testing.assert_allclose(found["onnx"][name], value, atol=1e-5, rtol=1e-4, err_msg=name)
    changed = [name for name, value in found["torch"].items() if not torch.equal(found["onnx"][name], value)]
    assert changed
    assert all(name.startswith("heads.") for name in changed)
