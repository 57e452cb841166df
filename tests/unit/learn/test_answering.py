"""While a member trains, another engine answers with the weights of the moment, where enough images come to repay a conversion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapetum.core import cache
from tapetum.core.config import Input, Model
from tapetum.core.targets import Target
from tapetum.learn import answering
from tapetum.learn.answering import Answering
from tapetum.learn.models import network
from tapetum.learn.runtime import Engine, Runtime
from tapetum.learn.speed import Work

TARGET = Target("c", "single", ("a", "b"))
TORCH, ONNX = Engine("cpu", "32"), Engine("cpu", "32", backend="onnx")


def build(seed=0):
    return network.build(Model(backbone="test_efficientnet", weights="none"), (TARGET,), 3, Input(size=32), seed=seed).eval()


def test_a_plan_without_another_engine_leaves_answers_to_training():
    for plan in (None, {"why": "too few"}):
        assert not Answering.from_plan(plan).takes(10**9)
    found = Answering.from_plan({"engine": ONNX.to_dict(), "from_images": 150, "why": "agrees"})
    assert [found.takes(149), found.takes(150)] == [False, True]
    runtime = Runtime(TORCH)
    assert found.runtime(runtime, 149) is runtime
    assert found.runtime(runtime, 150).engine == ONNX


def test_a_conversion_is_repaid_by_what_images_save():
    assert answering.images_to_repay(1.0, 0.5, 0.25) == 4
    assert answering.images_to_repay(1.0, 0.010, 0.010) > 10**8


@torch.inference_mode()
def test_answers_follow_weights_that_go_on_training(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    net, runtime = build(), Runtime(TORCH)
    x = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 3, 32, 32)).astype(np.uint8))
    how, seen = Answering(ONNX, 3), []
    for seed in (0, 5):
        net.load_state_dict(build(seed).state_dict())
        with how.of(net, runtime, 3) as other:
            assert (other.engine, net.compiled.engine) == (ONNX, ONNX)
            seen.append(net.features(x))
        assert net.compiled is None
        np.testing.assert_allclose(seen[-1], net.features(x), atol=1e-5)
    assert (seen[0] - seen[1]).abs().max() > 1e-3
    assert [one.name for one in (cache.folder() / "models").iterdir() if "template" not in one.name] == []  # of no further use
    assert answering.seconds_to_convert(net, Work((3, 32, 32), training=False), ONNX) > 0
