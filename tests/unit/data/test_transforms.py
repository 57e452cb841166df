import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tapetum.core.config import Input, Recipe
from tapetum.core.errors import DataError, UserError
from tapetum.data.choices import AUGMENTS, SIZERS
from tapetum.data.images import geometry, photometry
from tapetum.data.images.randaugment import OPERATIONS, magnitude_of, operate, randaugment
from tapetum.data.images.resize import Frame, placed, stretched, to_tensor
from tapetum.data.images.transforms import EvalTransform, TrainTransform

RNG = np.random.default_rng(0)


def image(height=40, width=60, channels=3, dtype=np.uint8):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    values = RNG.random((height, width, channels)) * top
    return values.astype(dtype)


def tensor(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


# -- resizing --


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_stretch_equals_torchvision(mode, channels, dtype):
    p = image(channels=channels, dtype=dtype)
    out = EvalTransform(Input(size=(24, 90), interpolation=mode))([p])
    how = {
        "nearest": v2.InterpolationMode.NEAREST_EXACT,
        "bilinear": v2.InterpolationMode.BILINEAR,
        "bicubic": v2.InterpolationMode.BICUBIC,
    }
    expected = F.resize(to_tensor(p).contiguous(), [24, 90], interpolation=how[mode], antialias=True)
    assert out.dtype == (torch.uint8 if dtype == np.uint8 else torch.float32)
    if dtype == np.uint8:
        assert (out.int() - expected.int()).abs().max() <= 1  # channels-last kernels may round the other way
    else:
        assert torch.allclose(out, expected.clamp(0, 1), atol=1e-6)


def test_16_bit_depth_survives():
    p = np.array([[[1], [65535], [257]]], dtype=np.uint16)
    assert torch.equal(EvalTransform(Input(size="native"))([p])[0, 0], torch.tensor([1 / 65535, 1.0, 257 / 65535]))


def test_crop_is_the_middle_and_pad_is_black_around():
    p = image(40, 100)
    x = torch.from_numpy(p).permute(2, 0, 1)
    assert torch.equal(EvalTransform(Input(size=20, resize="crop"))([p]), stretched(x[:, :, 30:70], (20, 20), "bicubic"))
    padded = EvalTransform(Input(size=20, resize="pad"))([p])
    assert torch.equal(padded[:, 6:14], stretched(x, (8, 20), "bicubic"))
    assert padded[:, :6].sum() == 0
    assert padded[:, 14:].sum() == 0
    assert torch.equal(EvalTransform(Input(size="native", resize="crop"))([p]), x)


def test_views_are_stacked_or_refused():
    a, b = image(10, 10), image(8, 10)
    assert EvalTransform(Input(size=6))([a, b]).shape == (2, 3, 6, 6)
    with pytest.raises(DataError, match="one shape"):
        EvalTransform(Input(size="native"))([a, b])


@given(h=st.integers(1, 9), w=st.integers(1, 9), top=st.integers(-8, 8), left=st.integers(-8, 8))
def test_placed_copies_what_lies_on_the_canvas(h, w, top, left):
    x = tensor(2, 5, 6) + 1
    out = placed(x, (h, w), top, left)
    for i in range(h):
        for j in range(w):
            inside = 0 <= i - top < 5 and 0 <= j - left < 6
            assert torch.equal(out[:, i, j], x[:, i - top, j - left] if inside else torch.zeros(2, dtype=torch.uint8))


# -- the list of augmentations --


@pytest.mark.parametrize("name", AUGMENTS)
def test_choices_state_the_defaults_of_the_functions(name):
    parameters = inspect.signature(AUGMENTS[name].load()).parameters.values()
    assert AUGMENTS[name].parameters == {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def spec(name):
    return {"name": name, "probability": 1.0} if "probability" in AUGMENTS[name].parameters else {"name": name}


@pytest.mark.parametrize("name", AUGMENTS)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_every_augmentation_serves_any_channels_or_refuses(name, channels, dtype):
    p = image(channels=channels, dtype=dtype)
    augment = TrainTransform(Input(size=32), [spec(name)])
    if channels == 4 and name in ("colour_jitter", "grayscale"):
        with pytest.raises(UserError, match=name):
            augment([p], 1)
        return
    before = p.copy()
    seen = [augment([p], key) for key in range(6)]
    assert np.array_equal(p, before)
    for x in seen:
        assert x.shape == (channels, 32, 32)
        assert x.dtype == (torch.uint8 if dtype == np.uint8 else torch.float32)
        assert x.min() >= 0
        assert x.max() <= (255 if dtype == np.uint8 else 1)
    assert torch.equal(seen[2], augment([p], 2))
    plain = EvalTransform(Input(size=32))([p])
    if not (name == "grayscale" and channels == 1):
        assert any(not torch.equal(x, plain) for x in seen)


def test_adding_a_last_step_keeps_other_draws():
    p = image()
    first = TrainTransform(Input(size=32), ["resized_crop", "rotation"])([p], 5)
    both = TrainTransform(Input(size=32), ["resized_crop", "rotation", {"name": "vflip", "probability": 1.0}])([p], 5)
    assert torch.equal(both, first.flip(-2))


def test_the_sizer_goes_first_and_is_alone():
    p = image()
    a = TrainTransform(Input(size=32), [{"name": "hflip", "probability": 1.0}, "resized_crop"])([p], 3)
    b = TrainTransform(Input(size=32), ["resized_crop"])([p], 3)
    assert torch.equal(a, b.flip(-1))
    with pytest.raises(UserError, match="resized_crop and scaled_crop"):
        TrainTransform(Input(), SIZERS)


def test_the_default_recipe_and_typos():
    recipe = Recipe()
    assert TrainTransform(recipe.input, recipe.augment)([image()], 0).shape == (3, 224, 224)
    with pytest.raises(UserError, match="rotation"):
        TrainTransform(Input(), ["rotatoin"])
    with pytest.raises(UserError, match="degrees"):
        TrainTransform(Input(), [{"name": "rotation", "degree": 3}])


def test_views_of_a_row_are_changed_alike():
    p = image(32, 32)
    x = TrainTransform(Input(size=32), ["resized_crop", "dihedral", "erasing", "lighting"])([p, p, p], 11)
    assert x.shape == (3, 3, 32, 32)
    assert torch.equal(x[0], x[1])
    assert torch.equal(x[0], x[2])


# -- geometry --


def test_the_eight_turns_are_the_group_of_the_square():
    x = tensor(1, 5, 5)
    seen = {bytes(geometry.turned(x, which).contiguous().numpy().tobytes()) for which in range(8)}
    expected = {np.ascontiguousarray(np.rot90(y, k)).tobytes() for y in (x[0].numpy(), x[0].numpy().T) for k in range(4)}
    assert seen == expected
    assert torch.equal(geometry.turned(x, 0), x)
    flat = tensor(1, 4, 6)
    assert all(geometry.dihedral(flat, np.random.default_rng(s)).shape == flat.shape for s in range(20))


@settings(max_examples=60)
@given(
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    low=st.floats(0.05, 1),
    seed=st.integers(0, 10**6),
    mode=st.sampled_from(["stretch", "crop", "pad"]),
)
def test_resized_crop_always_gives_the_size(height, width, low, seed, mode):
    frame = Frame((12, 20), mode)
    x = tensor(1, height, width)
    assert geometry.resized_crop(x, np.random.default_rng(seed), frame, scale=(low, 1.0)).shape == (1, 12, 20)
    assert geometry.scaled_crop(x, np.random.default_rng(seed), frame).shape == (1, 12, 20)


def test_resized_crop_takes_the_stated_share_in_the_shown_proportions():
    """An image that holds its own coordinates tells which part was taken."""
    ys, xs = np.meshgrid(np.arange(400) / 400, np.arange(800) / 800, indexing="ij")
    x = torch.from_numpy(np.stack([ys, xs]).astype(np.float32))
    shares = []
    for seed in range(200):
        out = geometry.resized_crop(x, np.random.default_rng(seed), Frame((50, 50), "stretch", "nearest"), scale=(0.25, 0.5), ratio=(1, 1))
        tall, wide = (float(o.max() - o.min()) * 50 / 49 for o in out)
        assert abs(tall - wide) < 0.02
        shares.append(tall * wide)
    assert min(shares) > 0.23
    assert max(shares) < 0.52
    assert abs(np.mean(shares) - 0.375) < 0.02
    with pytest.raises(UserError, match="scaled_crop"):
        geometry.resized_crop(x, np.random.default_rng(0), Frame((50, 50)), scale=(0.8, 1.2))


def test_scaled_crop_zooms_in_and_out():
    white = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    inside = geometry.scaled_crop(white, np.random.default_rng(0), Frame((64, 64)), scale=(1.2, 1.2))
    assert (inside == 255).all()
    outside = geometry.scaled_crop(white, np.random.default_rng(0), Frame((64, 64)), scale=(0.5, 0.5))
    assert (outside == 255).sum() == 3 * 32 * 32
    assert (outside == 0).sum() == 3 * (64 * 64 - 32 * 32)


def test_affine_equals_torchvision_on_the_drawn_numbers():
    x = tensor(3, 40, 50)
    out = geometry.rotation(x, np.random.default_rng(4), degrees=30, fill=0.5)
    angle = np.random.default_rng(4).uniform(-30, 30)
    expected = F.rotate(x, -angle, interpolation=v2.InterpolationMode.BILINEAR, fill=[127.5])  # rotate counts the other way round
    assert (out.int() - expected.int()).abs().max() <= 1
    assert torch.equal(geometry.affine(x, np.random.default_rng(0), degrees=0), x)
    moved = geometry.affine(x, np.random.default_rng(1), degrees=0, translate=0.5)
    right, down = (round(s * 0.5 * n) for s, n in zip(np.random.default_rng(1).uniform(-1, 1, 5)[1:3], (50, 40), strict=True))
    assert torch.equal(moved, placed(x, (40, 50), down, right))


# -- values --


def test_colour_jitter_equals_torchvision_in_the_drawn_order():
    x = tensor(3, 20, 20)
    out = photometry.colour_jitter(x, np.random.default_rng(9), brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1)
    rng = np.random.default_rng(9)
    amounts = [rng.uniform(1 - s, 1 + s) for s in (0.4, 0.3, 0.2)] + [rng.uniform(-0.1, 0.1)]
    steps = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    expected = x
    for i in rng.permutation(4):
        expected = steps[i](expected, amounts[i])
    assert torch.equal(out, expected)


def test_gray_jitters_as_its_rgb_copy_does():
    gray = tensor(1, 20, 20)
    a = photometry.colour_jitter(gray, np.random.default_rng(2), brightness=0.4, contrast=0.4)
    b = photometry.colour_jitter(gray.expand(3, -1, -1), np.random.default_rng(2), brightness=0.4, contrast=0.4)
    assert (a.int() - b.int()).abs().max() <= 2  # torchvision rounds the gray of an RGB image


def test_channels_are_jittered_one_by_one():
    x = tensor(5, 20, 20)
    whole = photometry.colour_jitter(x, np.random.default_rng(2), saturation=0.0)
    for c in range(5):
        assert torch.equal(whole[c : c + 1], photometry.colour_jitter(x[c : c + 1], np.random.default_rng(2), saturation=0.0))


@pytest.mark.parametrize("channelwise", [False, True])
def test_lighting_is_its_formula(channelwise):
    x = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    out = photometry.lighting(x, np.random.default_rng(3), brightness=0.1, contrast=0.2, channelwise=channelwise)
    rng = np.random.default_rng(3)
    shift, c = rng.uniform(-0.1, 0.1, 4 if channelwise else 1), rng.uniform(-0.2, 0.2, 4 if channelwise else 1)
    factor = np.where(c < 0, -1 / (c - 1), c + 1)[:, None, None]
    v = x.numpy().astype(np.float64)
    mean = v.mean(axis=(1, 2), keepdims=True) if channelwise else v.mean()
    assert np.allclose(out.numpy(), np.clip((v - mean) * factor + mean + shift[:, None, None], 0, 1), atol=1e-6)


def test_grayscale_is_torchvisions():
    x = tensor(3, 9, 9)
    assert torch.equal(photometry.grayscale(x, RNG, probability=1.0), F.rgb_to_grayscale(x, 3))
    assert photometry.grayscale(x, RNG, probability=0.0) is x


@pytest.mark.parametrize(("fill", "value"), [(0.0, 0), (1.0, 255), ("mean", 100)])
def test_holes_hold_the_stated_fill(fill, value):
    x = torch.full((4, 50, 50), 100, dtype=torch.uint8)
    out = photometry.erasing(x, np.random.default_rng(0), probability=1.0, scale=(0.1, 0.1), fill=fill)
    hole = out != 100
    assert set(out.unique().tolist()) == {100, value}
    if value != 100:
        assert 0.08 < hole[0].float().mean() < 0.12
        assert (hole == hole[:1]).all()
    assert (x == 100).all()
    noise = photometry.erasing(x, np.random.default_rng(0), probability=1.0, fill="noise")
    assert len(noise.unique()) > 50
    with pytest.raises(UserError, match="'noise'"):
        photometry.erasing(x, np.random.default_rng(0), probability=1.0, fill="black")


@given(seed=st.integers(0, 10**6))
def test_cutout_is_one_square_cut_at_the_border(seed):
    x = torch.full((1, 40, 30), 9, dtype=torch.uint8)
    hole = photometry.cutout(x, np.random.default_rng(seed), size=0.5)[0] == 0
    rows, cols = hole.any(1).nonzero(), hole.any(0).nonzero()
    tall, wide = int(rows.max() - rows.min()) + 1, int(cols.max() - cols.min()) + 1
    assert hole.sum() == tall * wide
    assert 7 <= tall <= 15
    assert 7 <= wide <= 15
    assert tall == 15 or rows.min() == 0 or rows.max() == 39
    assert wide == 15 or cols.min() == 0 or cols.max() == 29


def test_coarse_dropout_makes_at_most_the_stated_holes():
    x = torch.full((1, 100, 100), 9, dtype=torch.uint8)
    areas = [
        int((photometry.coarse_dropout(x, np.random.default_rng(s), holes=(2, 3), size=(0.1, 0.1), probability=1.0) == 0).sum())
        for s in range(50)
    ]
    assert max(areas) <= 300
    assert min(areas) >= 100
    assert 200 in areas
    assert 300 in areas


# -- RandAugment --


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("magnitude", [0, 6, 9, 30])
def test_randaugment_operations_equal_torchvision(name, magnitude):
    twin = v2.RandAugment()
    magnitudes, signed = twin._AUGMENTATION_SPACE[name]
    table = magnitudes(31, 40, 50)
    amount = magnitude_of(name, magnitude, (40, 50))
    if table is not None:
        assert amount == pytest.approx(float(table[magnitude]), abs=1e-5)
    x = tensor(3, 40, 50)
    for sign in (1, -1) if signed else (1,):
        expected = twin._apply_image_or_video_transform(x, name, sign * amount, interpolation=v2.InterpolationMode.NEAREST, fill=twin._fill)
        assert torch.equal(operate(x, name, sign * amount), expected)


def test_randaugment_draws_every_operation_and_treats_channels_alone():
    x = tensor(4, 20, 20)
    for name in OPERATIONS:
        if name == "Color":
            continue
        whole = operate(x, name, magnitude_of(name, 9, (20, 20)))
        for c in range(4):
            assert torch.equal(whole[c : c + 1], operate(x[c : c + 1], name, magnitude_of(name, 9, (20, 20))))
    with pytest.raises(UserError, match="30"):
        randaugment(x, RNG, magnitude=31)
    assert torch.equal(randaugment(x, RNG, n=0), x)


def test_an_array_that_is_read_only_is_never_written():
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image.setflags(write=False)
    to_tensor(image).fill_(7)
    assert not image.any()
