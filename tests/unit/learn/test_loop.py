"""The loop of an epoch: memory that runs out, accumulation, losses that are not finite, draws that belong to the batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from tapetum.core import config
from tapetum.core.targets import Target
from tapetum.data.images.dataset import Batch
from tapetum.learn.runtime import Engine, Runtime
from tapetum.learn.training import loop
from tapetum.learn.training.objective import Objective

CLASSES = Target("label", "single", ("a", "b", "c"))
NUMBER = Target("size", "regression", ("size",))
ROWS = 16


class Net(nn.Module):
    """Two heads on a small trunk without BatchNorm; ``limit`` images at once are all that its memory holds."""

    def __init__(self, limit: int = 10**6, dropout: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.trunk, self.label, self.size = nn.Linear(12, 6), nn.Linear(6, 3), nn.Linear(6, 1)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.4, generator=generator)
        self.drop = nn.Dropout(dropout)
        self.limit, self.seen = limit, []

    def forward(self, x, side=None):
        f = torch.tanh(self.trunk(x.flatten(1)))
        self.seen.append(len(x))
        if len(x) > self.limit:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        f = self.drop(f)
        return {"label": self.label(f), "size": self.size(f)}


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    label = np.eye(3, dtype=np.float32)[rng.integers(0, 3, ROWS)]
    label[[1, 2, 11]] = np.nan
    size = rng.normal(size=(ROWS, 1)).astype(np.float32)
    size[::3] = np.nan
    x = torch.from_numpy(rng.normal(size=(ROWS, 3, 2, 2)).astype(np.float32))
    weight = torch.from_numpy(rng.uniform(0.2, 3, ROWS).astype(np.float32))
    return x, {"label": torch.from_numpy(label), "size": torch.from_numpy(size)}, weight


def epoch(data, batch=8, accumulate=1, rate=0.0, clip=None, mix=None):
    x, truth, weight = data
    parts = torch.arange(ROWS).split(batch)
    batches = [Batch(part, x[part], torch.ones(len(part), dtype=torch.bool), {}) for part in parts]
    return loop.Epoch(batches, np.full(-(-len(parts) // accumulate), rate), accumulate, clip, truth, weight, None, mix, (0, "main", 0))


class ImageCache(torch.optim.SGD):
    """An optimizer that remembers the gradients of each step."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.0)
        self.gradients = []

    def step(self, closure=None):
        self.gradients.append(torch.cat([p.grad.flatten() for g in self.param_groups for p in g["params"]]).clone())
        return super().step(closure)


def gradients(data, net, loss=None, progress=None, said=None, **how):
    objective = Objective(loss or config.Loss(smoothing=0.1), [CLASSES, NUMBER])
    runtime = Runtime(Engine("cpu", "32", False), log=None if said is None else said.append)
    optimizer = ImageCache([*net.parameters(), *objective.parameters()])
    figures = loop.train_epoch(net, objective, optimizer, runtime, epoch(data, **how), progress or loop.Progress(), lambda: None)
    return torch.stack(optimizer.gradients), figures


@pytest.mark.parametrize("loss", [config.Loss(smoothing=0.1), config.Loss(weights="learned"), config.Loss(weights={"size": 0.3})])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("limit", [5, 3, 1])
def test_pieces_of_a_batch_add_up_to_its_gradient(data, loss, accumulate, limit):
    whole, figures = gradients(data, Net(), loss, accumulate=accumulate)
    said, progress, net = [], loop.Progress(), Net(limit)
    pieces, other = gradients(data, net, loss, progress, said, accumulate=accumulate)
    assert torch.allclose(whole, pieces, atol=1e-6, rtol=1e-5)
    assert other["train_loss"] == pytest.approx(figures["train_loss"], rel=1e-5)
    assert progress.pieces == {5: 2, 3: 4, 1: 8}[limit]
    assert len(said) == {5: 1, 3: 2, 1: 3}[limit]
    assert net.seen[-1] <= limit


def test_late_memory_shortage_keeps_accumulated_gradients(data):
    whole, _ = gradients(data, Net(), accumulate=2)

    class Later(Net):
        def forward(self, x, side=None):
            self.limit = 10**6 if len(self.seen) < 1 else 4
            return super().forward(x, side)

    pieces, _ = gradients(data, Later(), accumulate=2)
    assert torch.allclose(whole, pieces, atol=1e-6, rtol=1e-5)


def test_one_image_too_large_for_memory_is_an_error(data):
    with pytest.raises(RuntimeError, match="out of memory"):
        gradients(data, Net(limit=0))


def test_other_errors_are_not_taken_for_short_memory(data):
    class Broken(Net):
        def forward(self, x, side=None):
            self.seen.append(len(x))
            raise RuntimeError("shapes differ")

    net = Broken()
    with pytest.raises(RuntimeError, match="shapes differ"):
        gradients(data, net)
    assert net.seen == [8]


def test_accumulated_batches_with_unknown_rows_are_one_batch(data):
    x, truth, weight = data
    label = truth["label"].clone()
    label[[1, 2, 3, 9]] = torch.nan  # the first four images have one label, the next four all
    known = (x, {"label": label}, weight)

    def gradient(**how):
        net, objective = Net(), Objective(config.Loss(), [CLASSES])
        net.size.requires_grad_(False)
        optimizer = ImageCache([p for p in net.parameters() if p.requires_grad])
        loop.train_epoch(net, objective, optimizer, Runtime(Engine("cpu", "32", False)), epoch(known, **how), loop.Progress(), lambda: None)
        return torch.stack(optimizer.gradients)

    assert torch.allclose(gradient(batch=4, accumulate=2), gradient(batch=8), atol=1e-6)


def test_accumulated_batches_make_the_gradient_of_their_weighted_mean(data):
    one, _ = gradients(data, Net(), batch=4)
    two, _ = gradients(data, Net(), batch=4, accumulate=2)
    known = torch.stack([~truth.isnan().any(dim=1) for truth in data[1].values()]).float().mean(dim=0)
    mass = (data[2] * known).reshape(2, 2, 4).sum(dim=2)
    by_hand = (one.reshape(2, 2, -1) * mass[..., None]).sum(dim=1) / mass.sum(dim=1, keepdim=True)
    assert torch.allclose(two, by_hand, atol=1e-6)


@pytest.mark.parametrize(("batch", "accumulate", "whole"), [(4, 3, 12), (3, 4, 12), (5, 2, 10), (6, 10, 16)])
def test_last_group_is_the_mean_of_its_rows(data, batch, accumulate, whole):
    x, truth, weight = data
    known = {"label": torch.nan_to_num(truth["label"], nan=1 / 3), "size": torch.nan_to_num(truth["size"])}
    groups, _ = gradients((x, known, weight), Net(), batch=batch, accumulate=accumulate)
    at_once, _ = gradients((x, known, weight), Net(), batch=whole)
    assert groups.shape == at_once.shape
    assert torch.allclose(groups, at_once, atol=1e-6)


def test_rows_without_weight_leave_an_accumulated_group_alone(data):
    x, truth, _ = data
    weight = torch.cat([torch.ones(8), torch.zeros(8)])
    group, _ = gradients((x, truth, weight), Net(), accumulate=2)
    alone, _ = gradients((x, truth, weight), Net())
    assert torch.allclose(group[0], alone[0], atol=1e-6)


def test_nonfinite_loss_names_its_rows_before_a_step(data):
    x, truth, weight = data
    x = x.clone()
    x[9] = float("nan")
    net, progress = Net(), loop.Progress()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(loop.NotFinite) as caught:
        gradients((x, truth, weight), net, progress=progress)
    assert caught.value.rows == list(range(8, 16))
    assert caught.value.step == 1
    assert (progress.step, progress.epoch) == (1, 0)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_rates_are_those_planned_times_the_factor_of_a_restart(data):
    net, progress = Net(), loop.Progress(rate_factor=0.5)
    objective = Objective(config.Loss(), [CLASSES, NUMBER])
    seen = []

    class Watching(torch.optim.SGD):
        def step(self, closure=None):
            seen.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    groups = [{"params": [net.trunk.weight], "scale": 0.1}, {"params": [net.label.weight], "scale": 1.0}]
    optimizer = Watching(groups, lr=1.0)
    planned = dataclasses.replace(epoch(data), rates=np.array([0.4, 0.2]))
    figures = loop.train_epoch(net, objective, optimizer, Runtime(Engine("cpu", "32", False)), planned, progress, lambda: None)
    assert np.allclose(seen, [[0.02, 0.2], [0.01, 0.1]])
    assert progress.step == 2
    assert figures["images"] == ROWS


def test_dropout_is_drawn_by_batch_alone(data):
    torch.manual_seed(1)
    first, _ = gradients(data, Net(dropout=0.5))
    torch.manual_seed(999)
    torch.rand(17)
    second, _ = gradients(data, Net(dropout=0.5))
    later, _ = gradients(data, Net(dropout=0.5), progress=loop.Progress(epoch=3))
    assert torch.equal(first, second)
    assert not torch.allclose(first, later)


def test_mixing_gets_one_keyed_generator_a_batch(data):
    def seen(progress):
        draws = []

        def mix(x, y, generator):
            draws.append(int(torch.randint(1 << 30, (), generator=generator)))
            return x, y

        gradients(data, Net(), mix=mix, progress=progress)
        return draws

    first = seen(loop.Progress())
    assert len(set(first)) == 2
    assert first == seen(loop.Progress())
    assert not set(first) & set(seen(loop.Progress(epoch=1)))


def test_clipping_bounds_the_step_by_the_gradients_norm(data):
    whole, _ = gradients(data, Net())
    clipped, _ = gradients(data, Net(), clip=1e-3)
    norms = clipped[:, : sum(p.numel() for p in Net().parameters())].norm(dim=1)
    assert torch.allclose(norms, torch.full_like(norms, 1e-3), rtol=1e-3)
    assert torch.allclose(whole / whole.norm(dim=1, keepdim=True), clipped / clipped.norm(dim=1, keepdim=True), atol=1e-4)
