"""Which part trains, what stays frozen, and which batches a BatchNorm refuses."""

from __future__ import annotations

import itertools

import pytest
import timm
import torch
from torch import nn

from tapetum.core.errors import UserError
from tapetum.learn.training import freezing


class Net(nn.Module):
    def __init__(self, backbone="test_resnet"):
        super().__init__()
        self.backbone = timm.create_model(backbone, num_classes=0) if isinstance(backbone, str) else backbone
        self.heads = nn.ModuleDict({"a": nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3))})


@pytest.mark.parametrize(("text", "layers"), [("head", 0), ("top-1", 1), ("top-16", 16), ("all", None)])
def test_words_are_read(text, layers):
    assert freezing.layers_of(text) == layers


@pytest.mark.parametrize("text", ["top", "top-0", "top-x", "heads", "top-6 ", "-1", ""])
def test_other_words_are_refused(text):
    with pytest.raises(UserError, match="'head', 'top-N'"):
        freezing.layers_of(text)


def training(net):
    return {name for name, p in net.named_parameters() if p.requires_grad}


def test_head_then_the_last_layers_then_all_grow_one_another():
    net = Net()
    everything = {name for name, _ in net.named_parameters()}
    most = max(freezing.depths(net).values())
    grown = []
    for trains in ["head", *(f"top-{n}" for n in range(1, most + 1)), "all"]:
        chosen = freezing.freeze(net, trains)
        assert training(net) == {name for name, on in chosen.items() if on}
        grown.append(training(net))
    assert grown[0] == {name for name in everything if name.startswith("heads.")}
    assert all(a < b for a, b in itertools.pairwise(grown[:-1]))
    assert grown[-2] == grown[-1] == everything
    assert any(name.startswith("backbone.layer4") for name in grown[1])
    assert not any(name.startswith(("backbone.layer3", "backbone.conv1")) for name in grown[1])


def test_what_follows_the_last_block_trains_with_the_first_layer():
    net = Net("test_convnext")
    assert freezing.depths(net)["backbone.head.norm.weight"] == 0
    freezing.freeze(net, "head")
    assert not net.backbone.head.norm.weight.requires_grad
    freezing.freeze(net, "top-1")
    assert net.backbone.head.norm.weight.requires_grad


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(UserError, match="backbone has 3 layers"):
        freezing.freeze(Net(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.Linear(2, 2))), "top-4")
    with pytest.raises(UserError, match="no backbone"):
        freezing.depths(nn.Linear(2, 2))


def test_a_frozen_batchnorm_keeps_its_statistics_through_training():
    net = Net()
    freezing.freeze(net, "top-1")
    freezing.train_mode(net)
    norms = {n: m for n, m in net.backbone.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {n: m.running_mean.clone() for n, m in norms.items()}
    net.backbone(torch.randn(4, 3, 64, 64))
    moved = {n for n, m in norms.items() if not torch.equal(m.running_mean, before[n])}
    assert moved
    assert all(n.startswith("layer4") for n in moved)
    net.eval()
    freezing.train_mode(net)
    assert not norms["bn1"].training
    freezing.freeze(net, "all")
    freezing.train_mode(net)
    assert all(m.training for m in norms.values())


def test_frozen_norm_holds_every_backbone_norm_and_not_the_heads():
    net = Net()
    freezing.train_mode(net, frozen_norm=True)
    assert freezing.training_norms(net) == ["heads.a.0"]


def test_a_wholly_frozen_trunk_gives_the_same_features_twice():
    net = Net(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5)))
    freezing.freeze(net, "head")
    freezing.train_mode(net)
    x = torch.randn(5, 4)
    assert torch.equal(net.backbone(x), net.backbone(x))
    assert net.heads["a"].training


def test_batch_of_one_is_refused_for_a_learning_batchnorm():
    net = Net()
    freezing.train_mode(net)
    with pytest.raises(UserError, match="a batch of 1"):
        freezing.check_batch(net, 1)
    freezing.check_batch(net, 2)
    still = Net(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)))
    still.heads["a"][0] = nn.Identity()
    freezing.check_batch(still, 1)
