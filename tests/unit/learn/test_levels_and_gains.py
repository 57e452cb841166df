"""Vectors over all levels of a backbone, and how loud each channel is to it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapetum.core.config import Input, Model
from tapetum.core.errors import UserError
from tapetum.core.targets import Target
from tapetum.learn import models
from tapetum.learn.models import backbone as trunk
from tapetum.learn.models.weights import find

TARGET = Target("label", "single", ("a", "b"))


def built(channels=3, pooling="levels", name="test_efficientnet", **values):
    network = models.build(Model(backbone=name, weights="none", pooling=pooling), [TARGET], channels, Input(size=32, **values), seed=0)
    return network.eval()


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_vit"])
def test_levels_vector_ends_with_the_pooled_last_map(name):
    backbone = trunk.create(find(name, "none"), pooling="levels", size=(160, 160)).eval()
    x = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        f, pooled = trunk.vector(backbone, x), backbone(x)
    assert f.shape == (2, trunk.width(backbone))
    assert torch.allclose(f[:, -pooled.shape[1] :], torch.nn.functional.normalize(pooled, dim=1), atol=1e-5)


def test_each_level_gives_mean_and_deviation_of_length_one():
    backbone = trunk.create(find("test_resnet", "none"), pooling="levels").eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        f, maps = trunk.vector(backbone, x)[0].numpy(), backbone.forward_intermediates(x)[1]
    first = maps[0][0].numpy().reshape(maps[0].shape[1], -1)
    both = np.concatenate([first.mean(1), np.sqrt(first.var(1) + 1e-6)])  # a channel may be constant
    assert np.allclose(f[: len(both)], both / np.linalg.norm(both), atol=1e-5)


def test_averaged_texture_changes_the_levels_vector():
    network = built()
    plain = torch.full((1, 3, 32, 32), 0.5)
    checked = plain + 0.2 * (torch.arange(32)[:, None] + torch.arange(32)[None]).remainder(2).sub(0.5)
    with torch.no_grad():
        f = network.features(torch.cat([plain, checked]))
    assert (f[0] - f[1]).abs().max() > 1e-3


def test_gain_scales_a_channel_after_measured_statistics():
    network = built(channels=4, pooling="default", gains=(0.5, 1.0, 0.5, 2.0))
    network.set_normalisation([0.1] * 4, [0.2] * 4)
    x = torch.rand(1, 4, 32, 32)
    expected = (x - 0.1) / 0.2 * torch.tensor([0.5, 1.0, 0.5, 2.0]).view(4, 1, 1)
    assert torch.allclose(network.normalise(x), expected, atol=1e-5)


@pytest.mark.parametrize("gains", [(1.0, 1.0), (1.0, 0.0, 1.0)])
def test_gains_for_other_channels_or_of_nothing_are_refused(gains):
    with pytest.raises(UserError, match=r"input\.gains"):
        built(gains=gains)
