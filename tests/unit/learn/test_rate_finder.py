"""The range test: what it suggests on curves whose answer is known, and that nothing of it remains."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from tapetum.core import config
from tapetum.core.errors import DataError
from tapetum.learn.training import optimizers, rate_finder

RATES = np.geomspace(1e-7, 10.0, 100)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2))
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.backbone(x))


def setting(name="adamw"):
    torch.manual_seed(0)
    net = Net()
    optimizer = optimizers.build(net, config.Optimizer(name=name, rate=0.01, layer_decay=0.5))

    def step(number):
        x = torch.randn(16, 3)
        loss = (net(x) - x.sum(1, keepdim=True) + 0.01 * np.random.rand() + 0.01 * random.random()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return net, optimizer, step


@pytest.mark.parametrize("name", ["adamw", "sgd", "ranger", "adamp"])
def test_everything_is_put_back_bit_for_bit(name):
    def run(look):
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        net, optimizer, step = setting(name)
        values = [step(i) for i in range(5)]
        net.backbone[1].eval()
        optimizers.set_rate(optimizer, 0.003)
        if look:
            gradient = net.head.weight.grad.clone()
            rate_finder.find(step, net, optimizer, RATES[:30])
            assert torch.equal(net.head.weight.grad, gradient)
            assert not net.backbone[1].training
        rates = [g["lr"] for g in optimizer.param_groups]
        values += [step(i) for i in range(8)]
        return values, rates, list(net.state_dict().values()), torch.rand(1), np.random.rand(), random.random()

    one, other = run(False), run(True)
    assert one[:2] == other[:2]
    assert all(torch.equal(a, b) for a, b in zip(one[2], other[2], strict=True))
    assert one[3:] == other[3:]


def test_it_is_put_back_after_an_error_too():
    net, optimizer, step = setting()
    before = net.head.weight.detach().clone()

    def fails(number):
        if number == 7:
            raise KeyboardInterrupt
        return step(number)

    with pytest.raises(KeyboardInterrupt):
        rate_finder.find(fails, net, optimizer, RATES)
    assert torch.equal(net.head.weight, before)
    assert not optimizer.state_dict()["state"]


def test_rates_are_a_geometric_row_with_the_groups_scales():
    net, optimizer, _ = setting()
    seen = []

    def step(number):
        seen.append([g["lr"] / g["scale"] for g in optimizer.param_groups])
        return 1.0

    curve = rate_finder.find(step, net, optimizer, 10.0 ** np.arange(-7, 2))
    np.testing.assert_allclose(curve.rates, 10.0 ** np.arange(-7, 2))
    np.testing.assert_allclose(seen, np.repeat(curve.rates[:, None], len(seen[0]), 1))


def test_smoothing_is_bias_corrected():
    np.testing.assert_allclose(rate_finder.smooth([3.0] * 20, 0.98), 3.0)
    got = rate_finder.smooth([1.0, 2.0], 0.9)  # hand-computed
    assert got[1] == pytest.approx((0.9 * 0.1 * 1 + 0.1 * 2) / (1 - 0.81))


def test_rate_finder_stops_at_four_times_best_or_nan():
    net, optimizer, _ = setting()
    rising = rate_finder.find(lambda i: 1.0 if i < 50 else 1000.0, net, optimizer, RATES)
    assert len(rising.rates) == 51
    broken = rate_finder.find(lambda i: 1.0 if i < 50 else float("nan"), net, optimizer, RATES)
    assert len(broken.rates) == 50
    with pytest.raises(DataError, match="after 0 steps"):
        rate_finder.find(lambda i: float("nan"), net, optimizer, RATES)


def test_suggestions_on_a_curve_whose_answer_is_known():
    rates = np.geomspace(1e-7, 10, 401)
    place = np.log10(rates)
    losses = 2 - 1 / (1 + np.exp(-4 * (place + 3))) + np.exp(6 * (place + 0.5))  # falls fastest at 1e-3, then blows up
    curve = rate_finder.read(rates, losses, smoothing=0.0)
    assert curve.steepest == pytest.approx(1e-3, rel=0.1)
    assert curve.tenth == pytest.approx(rates[losses.argmin()] / 10)
    noisy = losses.copy()
    noisy[0] = 0.0  # one easy batch at the start is no suggestion
    assert rate_finder.read(rates, noisy, smoothing=0.0).tenth == pytest.approx(curve.tenth)


def test_slopes_are_those_of_straight_lines():
    x = np.linspace(0, 3, 13)
    np.testing.assert_allclose(rate_finder.slopes(x, 5 - 2 * x, 4), -2)
    np.testing.assert_allclose(rate_finder.slopes(x, x**2, 1)[1:-1], 2 * x[1:-1])  # the central difference


def test_repeats_are_averaged_on_the_scale_of_rates():
    def curve(steepest, tenth):
        return rate_finder.Curve(np.ones(1), np.ones(1), np.ones(1), steepest, tenth)

    got = rate_finder.suggest([curve(1e-4, 1e-2), curve(1e-2, 1e-2), curve(1e-3, 1e-2)])
    assert got == pytest.approx({"steepest": 1e-3, "tenth": 1e-2, "suggestion": 1e-3})


def test_on_a_real_training_the_suggestion_trains():
    net, optimizer, step = setting("sgd")
    curve = rate_finder.find(step, net, optimizer, RATES)
    optimizers.set_rate(optimizer, rate_finder.suggest([curve])["suggestion"])
    losses = [step(i) for i in range(150)]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:5])
