"""A backbone as ONNX gives torch's vectors, also with other weights in the same graph; engines use it where nothing is differentiated."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tapetum.core.config import Input, Model
from tapetum.core.errors import EnvironmentFault
from tapetum.core.targets import Target
from tapetum.learn import compiled, sessions, trunks
from tapetum.learn.models import network
from tapetum.learn.runtime import Engine, Runtime

pytest.importorskip("onnxscript")
TARGET = Target("c", "single", ("a", "b"))
ONNX = Engine("cpu", "32", backend="onnx")


def build(seed, backbone="test_efficientnet", size=32, pooling="default"):
    made = network.build(Model(backbone=backbone, weights="none", pooling=pooling), (TARGET,), 3, Input(size=size), seed=seed).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return made


def images(rows, size=32, dtype=np.uint8):
    values = np.random.default_rng(1).integers(0, 256, (rows, 3, size, size)).astype(np.uint8)
    return torch.from_numpy(values if dtype == np.uint8 else (values / 255).astype(np.float32))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A cache of its own, with the graph of one network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        first = build(0)
        trunks.model(first, images(1))
        yield first


@torch.inference_mode()
def test_the_graph_gives_the_vectors_of_torch(home):
    model = trunks.model(home, images(1))
    for rows in (1, 5):
        np.testing.assert_allclose(sessions.open_onnx(model, 1)(images(rows).numpy())[0], home.features(images(rows)).numpy(), atol=1e-5)


@torch.inference_mode()
def test_other_weights_are_put_into_the_same_graph(home, monkeypatch):
    monkeypatch.setattr(trunks, "_written", None)  # nothing is traced again
    other = build(5)
    other.set_normalisation([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    assert trunks.is_kept(other, images(1)) == (False, True)
    model = trunks.model(other, images(1))
    found = sessions.open_onnx(model, 1)(images(3).numpy())[0]
    np.testing.assert_allclose(found, other.features(images(3)).numpy(), atol=1e-5)
    assert np.abs(found - home.features(images(3)).numpy()).max() > 1e-3
    assert trunks.is_kept(other, images(1)) == (True, True)


def test_another_size_or_depth_is_another_graph(home):
    assert trunks.is_kept(home, images(1)) == (True, True)
    assert trunks.is_kept(home, images(1, size=64)) == (False, False)
    assert trunks.is_kept(home, images(1, dtype=np.float32)) == (False, False)
    assert trunks.is_kept(home, images(1), with_map=True) == (False, False)


@torch.inference_mode()
@pytest.mark.parametrize("pooling", ["levels", "max"])
def test_other_pooling_of_the_same_weights_is_another_graph(home, pooling):
    other = build(0, pooling=pooling)
    other.backbone.load_state_dict(home.backbone.state_dict())
    assert trunks.is_kept(other, images(1)) == (False, False)
    found = sessions.open_onnx(trunks.model(other, images(1)), 1)(images(3).numpy())[0]
    np.testing.assert_allclose(found, other.features(images(3)).numpy(), atol=1e-4)


def test_without_what_writes_graphs_only_kept_ones_are_taken(home, monkeypatch):
    monkeypatch.setattr(trunks, "can_write", lambda: False)
    assert trunks.model(home, images(1))
    with pytest.raises(EnvironmentFault, match="onnxscript"):
        trunks.model(build(7), images(1))


def test_gradients_are_always_computed_by_torch(home, monkeypatch):
    monkeypatch.setattr(compiled.Compiled, "__call__", lambda *_, **__: pytest.fail("the engine answered"))
    runtime = Runtime(ONNX)
    moved = runtime.to_device(copy.deepcopy(home))
    assert moved.compiled is not None
    moved(images(2))["c"].sum().backward()
    assert next(moved.backbone.parameters()).grad is not None


def test_a_copy_converts_anew_and_torch_takes_back(home):
    network_ = copy.deepcopy(home)
    compiled.attach(network_, ONNX)
    first = network_.compiled
    compiled.attach(network_, ONNX)
    assert network_.compiled is first
    assert copy.deepcopy(network_).compiled is not first
    compiled.attach(network_, ONNX.by_torch())
    assert network_.compiled is None


@pytest.mark.parametrize("backbone", ["test_vit"])
@torch.inference_mode()
def test_a_vision_transformer_is_converted(home, backbone):
    vit = build(0, backbone, 160)
    found = sessions.open_onnx(trunks.model(vit, images(1, 160), keep=False), 1)(images(2, 160).numpy())[0]
    np.testing.assert_allclose(found, vit.features(images(2, 160)).numpy(), atol=1e-4)
