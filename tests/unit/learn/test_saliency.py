"""Saliency: derivatives equal finite differences, captum agrees, and a planted square is found."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

from tapetum.core.config import Model
from tapetum.core.errors import EnvironmentFault, UserError
from tapetum.core.targets import Target
from tapetum.learn.models.network import build
from tapetum.learn.saliency import Shown, evaluating, normalised, overlay, saliency, write_sheets


class Linear(nn.Module):
    """A network whose logits are linear in the pixels, so that its gradient is its weights."""

    def __init__(self, side=6, classes=3, channels=3):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(channels * side * side, classes)

    def forward(self, x, side=None):
        return {"t": self.layer(x.flatten(1))}


class Bright(nn.Module):
    """A timm-like backbone with weights set by hand: one channel lights up where 8×8 pixels are bright, the other where they are dark."""

    num_features = 2

    def __init__(self):
        super().__init__()
        self.cell = nn.Conv2d(3, 2, 8, 8)
        with torch.no_grad():
            self.cell.weight[0], self.cell.weight[1] = 1 / 192, -1 / 192
            self.cell.bias[0], self.cell.bias[1] = 0.0, 1.0

    def forward_features(self, x):
        return self.cell(x)

    def forward(self, x):
        return self.forward_features(x).mean((2, 3))


class Planted(nn.Module):
    """Class 0 asks for brightness, class 1 for darkness."""

    def __init__(self):
        super().__init__()
        self.backbone = Bright()

    def forward(self, x, side=None):
        return {"t": self.backbone(x)}


def wrapped(name: str, size: int = 64):
    """Return a real network around a tiny timm backbone with random weights."""
    targets = [Target("t", "single", ("a", "b", "c")), Target("m", "multi", ("x", "y"))]
    from tapetum.core.config import Input

    return build(Model(backbone=name, weights="none"), targets, 3, Input(size=size), seed=1)


def images(n=2, size=64, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8))


def test_the_gradient_of_a_linear_network_is_its_weights():
    network, x = Linear(), torch.rand(2, 3, 6, 6)
    expected = network.layer.weight[[2, 0]].detach().view(2, 3, 6, 6).abs().amax(1)
    assert torch.allclose(saliency(network, x, "t", torch.tensor([2, 0])), expected)


def test_the_gradient_equals_a_finite_difference():
    network, x = wrapped("test_resnet", 32), torch.rand(1, 3, 32, 32, generator=torch.manual_seed(3))
    network.eval()
    map_ = saliency(network, x, "t", 1)
    spots = [(0, 0), (7, 20), (31, 31)]
    for row, column in spots:
        slopes = []
        for channel in range(3):
            step = torch.zeros_like(x)
            step[0, channel, row, column] = 1e-2
            with torch.no_grad():
                slopes.append(float((network(x + step)["t"][0, 1] - network(x - step)["t"][0, 1]) / 2e-2))
        assert float(map_[0, row, column]) == pytest.approx(max(map(abs, slopes)), rel=0.05, abs=1e-5)


def test_loss_gradient_is_that_of_cross_entropy():
    network, x = Linear(), torch.rand(2, 3, 6, 6)
    truth = torch.tensor([1, 2])
    own = x.clone().requires_grad_(True)
    nn.functional.cross_entropy(network(own)["t"], truth, reduction="sum").backward()
    assert torch.allclose(saliency(network, x, "t", truth, "loss"), own.grad.abs().amax(1), atol=1e-7)


def test_sure_answers_loss_vanishes_but_not_its_logit():
    network, x = Linear(), torch.rand(1, 3, 6, 6)
    with torch.no_grad():
        network.layer.bias.copy_(torch.tensor([60.0, 0.0, 0.0]))
    assert float(saliency(network, x, "t", 0, "loss").max()) < 1e-12
    assert float(saliency(network, x, "t", 0, "gradient").max()) > 0.01


def test_integrated_gradients_sum_to_the_difference_from_black():
    pytest.importorskip("captum")
    network, x = Linear(channels=1), torch.rand(3, 1, 6, 6)
    maps = saliency(network, x, "t", torch.tensor([0, 1, 2]), "integrated", steps=8)
    expected = (network.layer.weight.view(3, 6, 6) * x[:, 0]).abs()
    assert torch.allclose(maps, expected.detach(), atol=1e-5)


def test_integrated_gradients_without_captum_name_the_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("captum"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentFault, match=r"tapetum\[explain\]"):
        saliency(Linear(), torch.rand(1, 3, 6, 6), "t", 0, "integrated")


def test_gradcam_finds_a_planted_square():
    x = torch.zeros(2, 3, 64, 64)
    x[0, :, 8:16, 40:48] = 1.0  # bright in the dark
    x[1] = 1.0
    x[1, :, 48:56, 16:24] = 0.0  # dark in the light
    maps = saliency(Planted(), x, "t", torch.tensor([0, 1]), "gradcam")
    for map_, (top, left) in zip(maps, [(8, 40), (48, 16)], strict=True):
        row, column = divmod(int(map_.argmax()), 64)
        assert top <= row < top + 8
        assert left <= column < left + 8
        assert float(map_[32, 32]) < 1e-6 < float(map_.max())


def test_gradcam_equals_captum_on_a_convolutional_network():
    attr = pytest.importorskip("captum.attr")
    network, x = wrapped("test_resnet"), images()
    mine = saliency(network, x, "t", 2, "gradcam")
    with evaluating(network):
        explain = attr.LayerGradCam(lambda images: network(images)["t"], network.backbone.layer4)
        theirs = explain.attribute(x / 255, target=2, relu_attributions=True)
    theirs = attr.LayerAttribution.interpolate(theirs, (64, 64), "bilinear")[:, 0]
    assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_vit2"])
@pytest.mark.parametrize("method", ["gradient", "loss", "gradcam"])
def test_any_backbone_gives_a_map_of_the_image(name, method):
    size = 160 if "vit" in name else 64
    network, x = wrapped(name, size), images(size=size)
    maps = saliency(network, x, "t", None if method != "loss" else 0, method)
    assert maps.shape == (2, size, size)
    assert maps.dtype == torch.float32
    assert torch.isfinite(maps).all()
    assert (maps >= 0).all()
    found = (
        saliency(network, x, "t", 0, method).sum() + saliency(network, x, "t", 1, method).sum() + saliency(network, x, "t", 2, method).sum()
    )
    assert float(found) > 0  # a transformer whose class token is read would give none at its last tokens


def test_views_get_a_map_each():
    network, x = wrapped("test_resnet"), images(4).view(2, 2, 3, 64, 64)
    assert saliency(network, x, "t", 0).shape == (2, 2, 64, 64)
    both = saliency(network, x, "t", 0, "gradcam")
    assert both.shape == (2, 2, 64, 64)
    swapped = saliency(network, x.flip(1), "t", 0, "gradcam")
    assert torch.allclose(both, swapped.flip(1), atol=1e-6)


def test_the_network_is_left_as_it_was():
    network = wrapped("test_resnet")
    network.train()
    network.backbone.bn1.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for method in ("gradient", "gradcam"):
        saliency(network, images(), "t", 0, method)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert network.training
    assert not network.backbone.bn1.training
    assert all(p.grad is None for p in network.parameters())
    assert "forward_features" not in vars(network.backbone)


def test_frozen_weights_still_explain():
    network = wrapped("test_vit", 160).requires_grad_(False)
    assert saliency(network, images(1, 160), "t", 0, "gradcam").shape == (1, 160, 160)


def test_ordinal_heads_with_fewer_logits_than_classes_are_explained():
    target = Target("age", "ordinal", ("young", "grown", "old"))
    network = build(Model(backbone="test_resnet", weights="none", head="coral"), [target], 3)
    assert network(images())["age"].shape[1] == 2
    maps = [saliency(network, images(), "age", k) for k in range(3)]
    assert all(float(m.max()) > 0 for m in maps)
    with pytest.raises(UserError, match="0 to 2"):
        saliency(network, images(), "age", 3)


def test_ordinal_loss_is_the_negative_log_probability():
    target = Target("age", "ordinal", ("young", "grown", "old"))
    x = images()
    for head in ("coral", "linear"):
        network = build(Model(backbone="test_resnet", weights="none", head=head), [target], 3).eval()
        own = (x / 255).requires_grad_(True)
        network.probabilities(network(own))["age"][:, 2].log().sum().backward()
        assert torch.allclose(saliency(network, x, "age", 2, "loss"), own.grad.abs().amax(1), atol=1e-6)


def test_wrong_names_are_answered_with_the_nearest():
    network = Linear()
    x = torch.rand(1, 3, 6, 6)
    with pytest.raises(UserError, match="Did you mean 'gradcam'"):
        saliency(network, x, "t", 0, "grad-cam")
    with pytest.raises(UserError, match="answers no target 'tt'"):
        saliency(network, x, "tt", 0)
    with pytest.raises(UserError, match="timm backbone"):
        saliency(network, x, "t", 0, "gradcam")
    with pytest.raises(UserError, match="0 to 2"):
        saliency(network, x, "t", 7)


def test_normalised_maps_lie_between_0_and_1():
    maps = torch.rand(3, 20, 20)
    maps[1, 0, 0] = 1e6
    maps[2] = 0
    out = normalised(maps)
    assert float(out.min()) >= 0
    assert float(out.max()) == 1
    assert float(out[1].median()) > 0.3
    assert float(out[2].max()) == 0
    single = torch.zeros(1, 20, 20)
    single[0, 3, 4] = 5.0
    assert float(normalised(single)[0, 3, 4]) == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_an_overlay_shows_the_image_where_the_map_is_empty(channels):
    image = torch.full((channels, 8, 8), 200, dtype=torch.uint8)
    map_ = torch.zeros(8, 8)
    map_[2, 3] = 1
    shown = overlay(image, map_)
    assert shown.shape == (8, 8, 3)
    assert shown[0, 0, 0] == 150
    assert (shown[2, 3] != shown[0, 0]).any()


def test_sheets_are_written_and_listed_for_the_report(tmp_path):
    network, x = wrapped("test_resnet"), images(3)
    listing = write_sheets(tmp_path / "saliency", network, Shown(x[:2], ["a/1.png", "b"]), "t", class_index=1)
    write_sheets(tmp_path / "saliency", network, Shown(x[2:], ["c"]), "t")
    entries = json.loads(listing.read_text())
    assert [entry["row_id"] for entry in entries] == ["a/1.png", "b", "c"]
    assert [entry["class"] for entry in entries[:2]] == ["b", "b"]
    assert {entry["method"] for entry in entries} == {"gradient, gradcam"}
    assert len({entry["file"] for entry in entries}) == 3
    for i, entry in enumerate(entries):
        with Image.open(tmp_path / "saliency" / entry["file"]) as sheet:
            assert sheet.size == (3 * 64, 64)
            assert np.array_equal(np.asarray(sheet)[:, :64], x[i].permute(1, 2, 0).numpy())


def test_timm_still_names_what_gradcam_looks_for():
    assert hasattr(timm.create_model("test_vit").blocks[-1], "norm1")
    assert not hasattr(timm.create_model("test_efficientnet").blocks[-1], "norm1")
