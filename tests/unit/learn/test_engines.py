"""Another engine is taken where it saves more than it costs and its labels are those of torch; else torch stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapetum.core.agreement import Agreement
from tapetum.core.config import Input, Model, Train
from tapetum.core.errors import EnvironmentFault, UserError
from tapetum.core.targets import Target
from tapetum.learn import engines, machine, sessions, speed, trunks
from tapetum.learn.models import network
from tapetum.learn.runtime import Engine
from tapetum.learn.speed import Measured, Work

TORCH = Engine("cpu", "32", True)
ONNX, VINO, HALF = (Engine("cpu", p, True, b) for p, b in (("32", "onnx"), ("32", "openvino"), ("bf16", "openvino")))
WORK = Work((3, 32, 32), training=False)
TARGET = Target("c", "single", ("a", "b"))


@pytest.fixture(scope="module")
def net():
    return network.build(Model(backbone="test_resnet", weights="none"), (TARGET,), 3, Input(size=32)).eval()


@pytest.fixture
def world(monkeypatch):
    """A machine on which torch needs 30 ms an image, ONNX 10, OpenVINO 11 and in bf16 5; nothing is converted yet."""

    seconds = {ONNX.name: 0.010, VINO.name: 0.011, HALF.name: 0.005}

    class World:
        kept, differing = (False, False), ()

        def choose(self, net, rows, *, force=False, beside=(ONNX, VINO, HALF)):
            self.judged = []
            measured = Measured(TORCH, {TORCH.name: 0.030})
            return engines.choose(measured, beside, net, WORK, rows, self.judge, force=force)

        def judge(self, engine, count):
            self.judged.append((engine, count))
            share = 0.99 if engine in World.differing else 1.0
            return Agreement(count, {"c": {"agreement": share, "largest_difference": 0.01, "differ": 0, "close_calls": 0}})

    monkeypatch.setattr(speed, "seconds_of", lambda net, work, beside: {e.name: seconds[e.name] for e in beside})
    monkeypatch.setattr(trunks, "is_kept", lambda *_, **__: World.kept)
    monkeypatch.setattr(trunks, "can_write", lambda: True)
    return World()


def test_few_images_stay_on_torch(world, net):
    few = world.choose(net, 99)
    assert (few.measured.engine, few.why) == (TORCH, "")
    some = world.choose(net, 500)
    assert some.measured.engine == TORCH
    assert "500 images are too few" in some.why
    assert world.judged == []


def test_many_images_go_to_the_fastest_with_the_same_labels(world, net):
    found = world.choose(net, 20_000)
    assert found.measured.engine == HALF
    assert [engine for engine, _ in world.judged] == [ONNX, HALF]  # OpenVINO in 32 bits is slower than what agrees already
    assert [count for _, count in world.judged] == [64, 200]
    assert set(found.parity) == {ONNX.name, HALF.name}
    assert "agrees: 100.0% of the labels" in found.why


def test_an_engine_with_other_labels_is_left(world, net):
    type(world).differing = (HALF,)
    found = world.choose(net, 20_000)
    assert found.measured.engine == ONNX
    assert f"{HALF.name} gives other labels" in found.why
    assert found.to_dict()["engine"]["backend"] == "onnx"


def test_comparing_must_cost_less_than_it_saves(world, net):
    type(world).kept = (False, True)
    found = world.choose(net, 700)  # in bf16 5 ms of each are saved, and 200 images by torch cost 6 s
    assert found.measured.engine == ONNX
    assert [engine for engine, _ in world.judged] == [ONNX]


def test_a_forced_engine_is_taken_for_few_images_too(world, net):
    assert world.choose(net, 3, force=True, beside=(VINO,)).measured.engine == VINO
    type(world).differing = (VINO,)
    assert world.choose(net, 3, force=True, beside=(VINO,)).measured.engine == TORCH


def test_what_cannot_be_converted_stays_on_torch(world, net, monkeypatch):
    def refuse(*_):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(speed, "seconds_of", refuse)
    found = world.choose(net, 20_000)
    assert found.measured.engine == TORCH
    assert "no such operator" in found.why


def test_what_is_offered_keeps_to_precision_hardware_and_wish(monkeypatch):
    monkeypatch.setattr(machine, "bf16_in_hardware", lambda device="cpu": True)
    monkeypatch.setattr(sessions, "is_installed", lambda name: True)
    assert engines.offered(Train(), "auto", TORCH) == [ONNX, VINO, HALF]
    assert engines.offered(Train(precision="32"), "auto", TORCH) == [ONNX, VINO]
    assert engines.offered(Train(), "onnx", TORCH) == [ONNX]
    assert engines.offered(Train(), "torch", TORCH) == []
    assert engines.offered(Train(), "auto", Engine("cuda", "bf16")) == []
    monkeypatch.setattr(machine, "bf16_in_hardware", lambda device="cpu": False)
    assert engines.offered(Train(), "auto", TORCH) == [ONNX, VINO]
    monkeypatch.setattr(sessions, "is_installed", lambda name: name != "openvino")
    assert engines.offered(Train(), "auto", TORCH) == [ONNX]


def test_unknown_or_absent_engines_are_refused(monkeypatch):
    with pytest.raises(UserError, match="one of auto, torch, onnx, openvino"):
        sessions.check("tensorrt")
    monkeypatch.setattr(sessions, "is_installed", lambda name: False)
    sessions.check("torch")
    with pytest.raises(EnvironmentFault, match="pip install openvino"):
        sessions.check("openvino")


@pytest.mark.parametrize(("kept", "rows", "taken"), [((True, True), 50, True), ((True, True), 49, False), ((False, True), 100, False),
                                                     ((False, True), 200, True), ((False, False), 500, False)])  # fmt: skip
def test_a_planned_engine_needs_enough_images(net, monkeypatch, kept, rows, taken):
    monkeypatch.setattr(trunks, "is_kept", lambda *_, **__: kept)
    monkeypatch.setattr(trunks, "can_write", lambda: True)
    monkeypatch.setattr(sessions, "is_installed", lambda name: True)
    assert engines.usable(ONNX, net, (3, 32, 32), torch.uint8, rows) == (ONNX if taken else TORCH)


def test_a_planned_engine_that_is_absent_gives_way_to_torch(net, monkeypatch):
    monkeypatch.setattr(sessions, "is_installed", lambda name: False)
    assert engines.usable(ONNX, net, (3, 32, 32), torch.uint8, 10**6) == TORCH


def test_vectors_are_compared_by_the_labels_they_lead_to(net, monkeypatch):
    rng = np.random.default_rng(0)
    y = np.eye(2)[rng.integers(0, 2, 80)].astype(np.float32)
    vectors = {TORCH: y @ rng.normal(size=(2, 8)) + rng.normal(0, 0.3, (80, 8))}
    vectors[ONNX] = vectors[TORCH] + 1e-6
    vectors[HALF] = rng.normal(size=(80, 8))
    monkeypatch.setattr(engines, "vectors_of", lambda net, x, engine: vectors[engine])

    class Rows:
        def take(self, count):
            return torch.zeros(80, 1), np.arange(80)

    judge = engines.by_vectors(net, Rows(), {"c": y}, [TARGET])
    near, far = judge(ONNX, 64), judge(HALF, 200)
    assert (near.images, near.targets["c"]["agreement"]) == (80, 1)
    assert near.targets["c"]["largest_difference"] < 1e-4
    assert far.low
