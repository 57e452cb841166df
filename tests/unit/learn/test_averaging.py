"""Averages of weights against library twins and closed forms; states and swaps that come back bit for bit."""

from __future__ import annotations

import contextlib
import json

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.utils import ModelEmaV3
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from tapetum.core.config import Average
from tapetum.core.errors import DataError, UserError
from tapetum.learn.training import averaging


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))


def advance(net, step):
    """A step that changes weights and buffers; what it does depends on the step alone."""
    g = torch.Generator().manual_seed(step)
    net.train()
    net(torch.randn(5, 4, generator=g))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=g))


def test_ema_is_timms_where_the_warm_up_is_over():
    net = network()
    ours, theirs = averaging.Ema(net, 0.9, 10_000), ModelEmaV3(net, decay=0.9)
    ours.step = 10**6
    for step in range(20):
        advance(net, step)
        ours.update(net)
        theirs.update(net)
    for name, value in theirs.module.state_dict().items():
        torch.testing.assert_close(ours.weights()[name], value)


def test_ema_by_its_formula_with_warm_up():
    net = nn.Linear(1, 1, bias=False)
    ema = averaging.Ema(net, 0.99, 10_000)
    average = net.weight.item()
    for t in range(50):
        with torch.no_grad():
            net.weight.fill_(float(t))
        ema.update(net)
        d = min(0.99, (1 + t) / (10 + t))
        average = d * average + (1 - d) * t
        assert ema.weights()["weight"].item() == pytest.approx(average, rel=1e-4)


@given(steps=st.integers(1, 5000), decay=st.floats(0.5, 0.9999))
@settings(max_examples=50, deadline=None)
def test_the_horizon_stays_within_a_tenth_of_the_steps(steps, decay):
    ema = averaging.Ema(nn.Linear(1, 1), decay, steps)
    assert ema.decay <= decay
    assert 1 / (1 - ema.decay) <= max(steps / 10, 1) + 1e-6
    assert bool(ema.remarks) == (ema.decay < decay)


def test_a_short_trainings_ema_has_left_the_initial_weights():
    net = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        net.weight.fill_(100.0)
    ema = averaging.Ema(net, 0.9999, 60)
    for _ in range(60):
        with torch.no_grad():
            net.weight.fill_(1.0)
        ema.update(net)
    assert ema.weights()["weight"].item() == pytest.approx(1.0, abs=0.01)


def test_swa_is_torchs_at_the_ends_of_the_late_epochs():
    net = network()
    ours = averaging.build(Average(name="swa", start=0.5), net, steps_per_epoch=5, epochs=4)
    theirs = AveragedModel(net)
    for step in range(1, 21):
        advance(net, step)
        ours.update(net)
        if step in (15, 20):
            theirs.update_parameters(net)
        assert (ours.weights() is None) == (step < 15)
    assert ours.count == 2
    for name, value in theirs.module.state_dict().items():
        torch.testing.assert_close(ours.weights()[name], value)


def test_swa_after_the_schedule_and_at_every_full_batch_step():
    net, seen = network(), []
    ours = averaging.build(Average(name="swa", epochs=3, full_batch=True), net, steps_per_epoch=5, epochs=2)
    for step in range(1, 14):
        advance(net, step)
        ours.update(net)
        if step > 10:
            seen.append(net[0].weight.detach().clone())
    assert ours.count == 3
    torch.testing.assert_close(ours.weights()["0.weight"], torch.stack(seen).mean(0))


@pytest.mark.parametrize("name", ["ema", "swa", "none", "soup"])
@pytest.mark.parametrize("cut", [3, 12, 17])
def test_a_restored_average_goes_on_bit_for_bit(name, cut):
    def make(net):
        return averaging.build(Average(name=name, decay=0.97, start=0.5), net, steps_per_epoch=4, epochs=5)

    net = network()
    whole = make(net)
    for step in range(cut):
        advance(net, step)
        whole.update(net)
    tensors, rest = whole.state()
    again_net = network(seed=9)
    again_net.load_state_dict(net.state_dict())
    again = make(again_net)
    again.load(safetensors.torch.load(safetensors.torch.save(tensors)), json.loads(json.dumps(rest)))
    for step in range(cut, 20):
        for n, a in ((net, whole), (again_net, again)):
            advance(n, step)
            a.update(n)
    one, other = whole.weights(), again.weights()
    assert (one is None) == (other is None) == (name in ("none", "soup"))
    assert one is None or all(torch.equal(one[k], other[k]) for k in one)


def test_an_ema_counts_batches_as_the_network_does():
    net = network()
    ema = averaging.Ema(net, 0.9, 1000)
    for step in range(7):
        advance(net, step)
        ema.update(net)
    assert int(ema.weights()["1.num_batches_tracked"]) == 7  # an average of whole numbers would be cut to one


def test_another_networks_average_is_refused():
    with pytest.raises(DataError, match="another network"):
        averaging.Ema(network(), 0.9, 100).load({"x": torch.zeros(1)}, {"step": 0, "count": 0})


def test_averaged_weights_are_in_the_network_only_inside_the_block():
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    other = {k: v.clone() for k, v in network(seed=3).state_dict().items()}
    with contextlib.suppress(RuntimeError), averaging.averaged(net, other):
        assert torch.equal(net[0].weight, other["0.weight"])
        raise RuntimeError("stop")
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    with averaging.averaged(net, None):
        assert torch.equal(net[0].weight, before["0.weight"])


def test_a_soup_is_the_mean_and_of_one_is_itself():
    states = [network(seed=s).state_dict() for s in range(3)]
    mixed = averaging.soup(states)
    torch.testing.assert_close(mixed["0.weight"], torch.stack([s["0.weight"] for s in states]).mean(0))
    assert mixed["1.num_batches_tracked"].dtype == torch.int64
    assert all(torch.equal(v, states[1][k]) for k, v in averaging.soup(states[1:2]).items())
    with pytest.raises(UserError, match="no checkpoints"):
        averaging.soup([])


def test_the_best_are_ranked_with_the_earlier_of_equals_first():
    scores = [0.2, None, 0.9, float("nan"), 0.9, 0.1]
    assert averaging.best(scores, 3, greater_is_better=True) == [2, 4, 0]
    assert averaging.best(scores, 2, greater_is_better=False) == [5, 0]
    assert averaging.best([None], 2, greater_is_better=True) == []


@pytest.mark.parametrize("sizes", [(10, 10, 10), (16, 3, 11), (28, 2)])
def test_refreshed_statistics_are_those_of_all_rows_together(sizes):
    torch.manual_seed(0)
    net = network()
    rows = torch.cat([torch.randn(15, 4) - 3, torch.randn(15, 4) + 3])  # sorted by class, far apart
    assert averaging.refresh_norm(net, rows.split(sizes)) == 1
    inner = net[0](rows)
    torch.testing.assert_close(net[1].running_mean, inner.mean(0))
    torch.testing.assert_close(net[1].running_var, inner.var(0))
    assert net[1].momentum == 0.1
    assert int(net[1].num_batches_tracked) == len(sizes)


def test_refreshed_statistics_of_images_far_from_zero_lose_no_digits():
    net = nn.Sequential(nn.BatchNorm2d(2))
    x = 1e4 + torch.randn(12, 2, 3, 3, dtype=torch.float64)
    averaging.refresh_norm(net.double(), x.split(5))
    torch.testing.assert_close(net[0].running_var, x.transpose(0, 1).flatten(1).var(1), rtol=1e-9, atol=0)


def test_one_batch_gives_what_torch_gives():
    net, twin = network(), network()
    batch = torch.randn(10, 4).mul(3).add(2)
    averaging.refresh_norm(net, [batch])
    update_bn([batch], twin)
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], value)


def test_only_the_named_layers_are_measured():
    net = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4))
    before = net[0].running_mean.clone()
    assert averaging.refresh_norm(net, [torch.randn(10, 4) + 5], only=["1"]) == 1
    assert torch.equal(net[0].running_mean, before)
    assert (net[1].running_mean > 2).all()


def test_refreshing_leaves_modes_weights_and_dropout_alone():
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 6), nn.BatchNorm1d(6))
    net.train()
    net[2].eval()
    x = torch.randn(10, 4)
    averaging.refresh_norm(net, [(x, None)], forward=lambda batch: net(batch[0]))
    torch.testing.assert_close(net[2].running_mean, net[1](x).mean(0))  # nothing was dropped
    assert [m.training for m in net] == [True, True, False]
    assert averaging.refresh_norm(nn.Linear(2, 2), [x]) == 0
    assert torch.isfinite(net[2].running_var).all()
