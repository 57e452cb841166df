"""Gradients of depthwise convolutions by forward convolutions and tiles: the same as torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import nn

from tapetum.learn import depthwise
from tapetum.learn.runtime import Engine, Runtime

BF16 = Engine("cpu", "bf16", channels_last=True)


def gradients(conv, x, weights, answer):
    x = x.clone().requires_grad_()
    conv.zero_grad()
    out = answer(x)
    (out * weights).sum().backward()
    return [x.grad, *(parameter.grad.clone() for parameter in conv.parameters())]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([3, 5, 7]),
    st.integers(1, 3),
    st.integers(0, 4),
    st.integers(7, 12),
    st.integers(7, 12),
    st.booleans(),
    st.sampled_from([nn.Conv2d, Conv2dSame]),
)
def test_gradients_are_those_of_torch(side, step, pad, height, width, bias, kind):
    torch.manual_seed(0)
    conv = kind(3, 3, side, step, padding=pad if kind is nn.Conv2d else 0, groups=3, bias=bias).double()
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    weights = torch.randn_like(conv(x))

    def ours(x):
        out = depthwise._Depthwise.apply(x, conv.weight, step, depthwise._pads(conv, x))
        return out if conv.bias is None else out + conv.bias[:, None, None]

    found, wanted = gradients(conv, x, weights, ours), gradients(conv, x, weights, conv)
    assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
def test_a_step_in_bf16_learns_the_same_to_rounding(kind):
    torch.manual_seed(0)
    conv = kind(8, 8, 5, 2, padding=2 if kind is nn.Conv2d else 0, groups=8)
    ours = Runtime(BF16).to_device(copy.deepcopy(conv))
    x = torch.randn(4, 8, 16, 16)
    weights = torch.randn_like(conv(x))
    exact = gradients(conv, x, weights, conv)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(ours, x, weights, ours)
    for a, b in zip(found, exact, strict=True):
        assert (a.float() - b).norm() < 0.02 * b.norm()


def test_only_what_is_slow_is_changed_and_taken_back():
    network = nn.Sequential(
        nn.Conv2d(4, 4, 5, groups=4),  # slow
        nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4),  # slow
        nn.Conv2d(4, 4, 3, padding=1, groups=4),  # torch is as fast
        nn.Conv2d(4, 4, 5, padding=2),  # not depthwise
        nn.Conv2d(4, 4, 5, padding=2, groups=4, padding_mode="reflect"),
        nn.Conv2d(4, 4, 5, padding="same", groups=4),
        nn.Conv2d(4, 8, 5, groups=4),
        nn.Conv2d(4, 4, (5, 3), groups=4),
    )
    depthwise.attach(network, BF16)
    assert ["forward" in vars(one) for one in network] == [True, True] + [False] * 6
    for engine in (Engine(), Engine("cpu", "bf16", backend="openvino"), Engine("cuda", "bf16")):
        depthwise.attach(network, BF16)
        depthwise.attach(network, engine)
        assert not any("forward" in vars(one) for one in network)


def test_a_copy_computes_with_its_own_weights():
    conv = Runtime(BF16).to_device(nn.Conv2d(4, 4, 5, groups=4))
    twin = copy.deepcopy(conv)
    twin.weight.data.zero_()
    twin.bias.data.zero_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not twin(torch.randn(1, 4, 8, 8)).any()


def test_without_gradients_or_autocast_torch_answers():
    conv, x = Runtime(BF16).to_device(nn.Conv2d(4, 4, 5, groups=4)), torch.randn(1, 4, 8, 8)
    plain = nn.Conv2d.forward(conv, x)
    assert torch.equal(conv(x), plain)
    with torch.no_grad():
        assert torch.equal(conv(x), plain)
