"""What decays, what moves at which rate, Lookahead by its paper, and states that come back bit for bit."""

from __future__ import annotations

import copy
import inspect
import json

import pytest
import safetensors.torch
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from tapetum.core import config
from tapetum.core.errors import UserError
from tapetum.learn.choices import OPTIMIZERS
from tapetum.learn.training import optimizers, state


class Small(nn.Module):
    def __init__(self, backbone="test_resnet"):
        super().__init__()
        self.backbone = timm.create_model(backbone, num_classes=0) if isinstance(backbone, str) else backbone
        self.heads = nn.ModuleDict({"a": nn.Linear(self.backbone.num_features, 3)})


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 5))
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.backbone(x))


def of_parameter(optimizer, key):
    return {id(p): group[key] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_layer_rates_and_decay_are_timms(name):
    network, whole = Small(name), timm.create_model(name, num_classes=3)
    keep = whole.no_weight_decay() if hasattr(whole, "no_weight_decay") else ()
    groups = param_groups_layer_decay(whole, layer_decay=0.7, weight_decay=0.05, no_weight_decay_list=keep)
    expected = {id(p): (g["lr_scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    names = dict(whole.named_parameters())
    built = optimizers.build(network, config.Optimizer(layer_decay=0.7, weight_decay=0.05))
    scale, decay = of_parameter(built, "scale"), of_parameter(built, "weight_decay")
    assert len(scale) == len(list(network.parameters()))
    for own, parameter in network.backbone.named_parameters():
        assert (scale[id(parameter)], decay[id(parameter)]) == pytest.approx(expected[id(names[own])]), own
    assert {scale[id(p)] for p in network.heads.parameters()} == {1.0}


def test_biases_and_norms_do_not_decay_and_head_rate_applies():
    network, learned = Tiny(), nn.Parameter(torch.zeros(()))
    built = optimizers.build(network, config.Optimizer(rate=0.1, weight_decay=0.3, head_rate=10), extra=[learned])
    decay, rate = of_parameter(built, "weight_decay"), of_parameter(built, "lr")
    for name, parameter in network.named_parameters():
        assert decay[id(parameter)] == (0.3 if parameter.ndim == 2 else 0.0)
        assert rate[id(parameter)] == pytest.approx(1.0 if name.startswith("head") else 0.1)
    assert decay[id(learned)] == 0
    optimizers.set_rate(built, 0.01)
    assert of_parameter(built, "lr")[id(network.head.weight)] == pytest.approx(0.1)


def test_frozen_parameters_are_left_out():
    network = Tiny()
    network.backbone.requires_grad_(False)
    assert len(of_parameter(optimizers.build(network, config.Optimizer()), "lr")) == 2
    network.requires_grad_(False)
    with pytest.raises(UserError, match="no parameter trains"):
        optimizers.build(network, config.Optimizer())


def test_adam_is_l2_and_adamw_is_decoupled():
    for name, expected in (("adamw", 1 - 0.1 * 0.5), ("adam", 1 - 0.1)):  # adam: a step of the rate, whatever the decay
        network = Tiny()
        before = network.head.weight.detach().clone()
        built = optimizers.build(network, config.Optimizer(name=name, rate=0.1, weight_decay=0.5))
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        built.step()
        shrunk = before * expected if name == "adamw" else before - 0.1 * before.sign()
        torch.testing.assert_close(network.head.weight.detach(), shrunk, rtol=1e-4, atol=1e-4)


def test_lookahead_by_the_papers_formula():
    theta = nn.Parameter(torch.tensor([1.0, -2.0]))
    built = optimizers.Lookahead(torch.optim.SGD([theta], lr=0.1), k=3, alpha=0.5)
    fast, slow = torch.tensor([1.0, -2.0]), torch.tensor([1.0, -2.0])
    for step in range(1, 10):
        theta.grad = theta.detach().clone()  # of ½θ²
        built.step()
        fast = fast - 0.1 * fast
        if step % 3 == 0:
            slow = slow + 0.5 * (fast - slow)
            fast = slow.clone()
        torch.testing.assert_close(theta.detach(), fast)
        with optimizers.slow_weights(built):
            torch.testing.assert_close(theta.detach(), slow)
        torch.testing.assert_close(theta.detach(), fast)


def test_slow_weights_of_a_late_parameter_begin_as_it_did():
    first, second = (nn.Parameter(torch.ones(2)) for _ in range(2))
    built = optimizers.ranger([{"params": [first]}, {"params": [second]}], lr=0.1, k=2)
    for step in range(5):
        first.grad, second.grad = torch.ones(2), (torch.ones(2) if step > 2 else None)
        built.step()
    with optimizers.slow_weights(built):
        assert second.tolist() == pytest.approx([0.95, 0.95])  # half of its one step, which the sync followed
        assert (first < 1).all()


def test_slow_weights_leave_other_optimizers_alone():
    theta = nn.Parameter(torch.ones(2))
    with optimizers.slow_weights(torch.optim.SGD([theta], lr=0.1)):
        assert theta.tolist() == [1, 1]


NAMES = [*OPTIMIZERS, "timm:adopt", "timm:adafactor", "timm:muon", "timm:laprop", "timm:rmsprop", "timm:nadam"]


def advance(network, built, steps, first=0):
    for step in range(first, first + steps):
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
        built.zero_grad()
        network(x).square().mean().backward()
        optimizers.set_rate(built, 1e-2 / (step + 1))
        built.step()


@pytest.mark.parametrize(("name", "cut"), [*((name, 8) for name in NAMES), ("ranger", 3), ("ranger", 6)])  # before and at the first sync
def test_a_saved_state_goes_on_bit_for_bit(name, cut):
    torch.manual_seed(0)
    whole = Tiny()
    built = optimizers.build(whole, config.Optimizer(name=name, rate=1e-2, layer_decay=0.5))
    advance(whole, built, cut)
    broken = copy.deepcopy(whole)
    tensors, rest = state.pack(built.state_dict())
    kept, text = safetensors.torch.save(tensors), json.dumps(rest, allow_nan=False)
    again = optimizers.build(broken, config.Optimizer(name=name, rate=1e-2, layer_decay=0.5))
    again.load_state_dict(state.unpack(safetensors.torch.load(kept), json.loads(text)))
    with optimizers.slow_weights(built), optimizers.slow_weights(again):
        assert torch.equal(whole.head.weight, broken.head.weight)
    advance(whole, built, 8, first=cut)
    advance(broken, again, 8, first=cut)
    for one, other in zip(whole.state_dict().values(), broken.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    with optimizers.slow_weights(built), optimizers.slow_weights(again):
        assert torch.equal(whole.head.weight, broken.head.weight)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_lowers_a_simple_loss(name):
    torch.manual_seed(1)
    network = Tiny()
    built = optimizers.build(network, config.Optimizer(name=name, rate=1e-2))
    x = torch.randn(32, 4)
    before = network(x).square().mean().item()
    for _ in range(60):
        built.zero_grad()
        network(x).square().mean().backward()
        built.step()
    assert network(x).square().mean().item() < before


def test_packing_keeps_types_and_refuses_what_is_no_value():
    given = {"a": (1, 2.5, None), 3: [torch.tensor(2.0), True], "inf": float("inf"), "d": torch.float16, "n": {"x": {}}, "$odd": 1}
    tensors, rest = state.pack(given)
    back = state.unpack(tensors, json.loads(json.dumps(rest, allow_nan=False)))
    assert list(back) == list(given)
    assert back["a"] == (1, 2.5, None)
    assert back[3][0].shape == ()
    assert back[3][1] is True
    assert (back["inf"], back["d"], back["n"], back["$odd"]) == (float("inf"), torch.float16, {"x": {}}, 1)
    with pytest.raises(UserError, match=r"state\.f"):
        state.pack({"f": print})


def test_unknown_names_and_options_are_refused_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'adamw'"):
        optimizers.build(Tiny(), config.Optimizer(name="adamww"))
    with pytest.raises(UserError, match="timm has no optimizer 'adoptt'"):
        optimizers.build(Tiny(), config.Optimizer(name="timm:adoptt"))
    with pytest.raises(UserError, match="bnbadam"):
        optimizers.build(Tiny(), config.Optimizer(name="timm:bnbadam"))
    with pytest.raises(UserError, match="cannot be made"):
        optimizers.build(Tiny(), config.Optimizer(name="timm:adopt", options={"betass": 1}))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_tables_defaults_are_the_functions(name):
    parameters = inspect.signature(OPTIMIZERS[name].load()).parameters
    for key, value in OPTIMIZERS[name].parameters.items():
        assert parameters[key].default == value, key
