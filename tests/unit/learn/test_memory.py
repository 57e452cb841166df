from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from images import plant
from tapetum import api
from tapetum.core import files
from tapetum.learn import memory
from tapetum.learn.runtime import Engine, Runtime


class Layers(nn.Module):
    """Keeps known tensors for its backward pass: ReLU keeps its output, a linear layer its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(48, 1000), nn.Linear(1000, 2)

    def forward(self, x):
        return {"y": self.last(self.first(x.flatten(1).float()).relu())}


def test_bytes_are_those_that_autograd_keeps():
    runtime = Runtime(Engine())
    kept = 4 * (48 + 1000)  # the input of each linear layer; ReLU's output is the second one's input
    largest = 2 * 4 * 1000
    image = 48 * (4 + 1)
    assert memory.bytes_each(Layers(), (3, 4, 4), runtime) == pytest.approx(kept + largest + image)
    assert memory.bytes_each(Layers(), (3, 4, 4), runtime, rows=8) == pytest.approx(kept + largest + image)


def test_the_batch_fits_into_half_of_what_is_free(monkeypatch):
    network = Layers()
    each = memory.bytes_each(network, (3, 4, 4), Runtime(Engine()))
    fixed = memory.MOMENTS * 4 * sum(p.numel() for p in network.parameters())
    monkeypatch.setattr(memory, "free_bytes", lambda: 2 * (fixed + int(each * 20)))
    batch, why = memory.largest_batch(network, (3, 4, 4), Engine(), rows=10_000)
    assert batch == 16  # the power of two below 20
    assert "are free" in why
    monkeypatch.setattr(memory, "free_bytes", lambda: 0)
    assert memory.largest_batch(network, (3, 4, 4), Engine(), rows=10_000)[0] == 1


def test_small_tables_keep_ten_steps_an_epoch(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1 << 40)
    batch, why = memory.largest_batch(Layers(), (3, 4, 4), Engine(), rows=175)
    assert 175 / batch >= memory.STEPS
    assert 175 / (2 * batch) < memory.STEPS
    assert "10 steps" in why
    assert memory.largest_batch(Layers(), (3, 4, 4), Engine(), rows=10**6)[0] == memory.MOST


class Narrow(Layers):
    """Runs out of memory above a number of images, as a GPU does."""

    def forward(self, x):
        if len(x) > 24:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


def test_where_running_out_can_be_caught_batches_are_tried():
    assert memory._tried(Narrow(), (3, 4, 4), Runtime(Engine()), torch.uint8, 512) == 16


def test_the_network_is_left_as_it_was():
    network = Layers().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    memory.largest_batch(network, (3, 4, 4), Engine(), rows=1000)
    assert not network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_free_and_peak_memory_are_plausible():
    assert memory.free_bytes() > 0
    before = memory.peak_bytes(torch.device("cpu"))
    torch.ones(30_000_000).sum()
    assert memory.peak_bytes(torch.device("cpu")) >= before


def test_batch_auto_is_planned_once_and_memory_is_logged(tmp_path: Path):
    plant(tmp_path, classes=2, each=20, size=32)
    sets = (
        "model.backbone=test_resnet", "model.weights=none", "input.size=32", "train.batch=auto", "train.threads=1", "train.epochs=1",
        "train.precision='32'", "split.folds=2", "probe.enabled=false",
    )  # fmt: skip
    said: list[str] = []
    api.fit(tmp_path / "images", tmp_path / "run", recipe=api.load_recipe(sets=sets), log=said.append)
    plan = files.read_json(tmp_path / "run" / "plan.json")["members"]["main"]
    spec = files.read_json(tmp_path / "run/members/main/fold-0/spec.json")
    assert plan["batch"] == spec["recipe"]["train"]["batch"] == 2  # 20 rows train, ten steps
    assert any("batches of 2 images" in line for line in said)
    log = files.read_json(tmp_path / "run/members/main/fold-0/memory.json")
    assert log["batch"] == 2
    assert log["pieces"] == 1
    assert log["peak_mb"] > 10
