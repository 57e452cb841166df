"""Mixing: the weight of the truth is the mean of the mask, class mass is kept, the rest of the image is untouched."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.core import draws
from tapetum.core.errors import UserError
from tapetum.data.choices import MIXES
from tapetum.data.images import mixing

BANDS = ((0, 6), (6, 10), (10, 18))
B, H, W, K = 6, 20, 17, 4
TECHNIQUES = ["mixup", "cutmix", "fmix", "half_cutmix", "line_mix"]


def batch(seed=0, kind=torch.uint8, views=None):
    """Each image is one gray value: what a mixture keeps can be read off it."""
    g = torch.Generator().manual_seed(seed)
    x = torch.arange(1, B + 1, dtype=torch.uint8).mul(30).view(B, 1, 1, 1).expand(B, 3, H, W)
    x = x if views is None else x[:, None].expand(B, views, 3, H, W)
    x = x.clone() if kind == torch.uint8 else x / 255
    y = {"a": torch.eye(K)[torch.randint(K, (B,), generator=g)], "b": (torch.rand(B, 3, generator=g) < 0.5).float()}
    return x, y


def pool(n, rng):
    return torch.full((n, 3, H, W), 255, dtype=torch.uint8), {"a": torch.eye(K)[[3] * n], "b": torch.ones(n, 3)}


def mix(*specs, **more):
    full = [{"name": s, "probability": 1.0, "until": 1.0} if isinstance(s, str) else s for s in specs]
    return mixing.Mix(full, bands=BANDS, pool=pool, **more)


def mask_of(name, rng, **options):
    if name == "line_mix":
        options["bands"] = BANDS
    return MIXES[name].load()(H, W, rng, **options)


@given(seed=st.integers(0, 500), name=st.sampled_from(TECHNIQUES))
@settings(max_examples=60, deadline=None)
def test_label_weight_is_the_masks_mean(seed, name):
    mask = mask_of(name, np.random.default_rng(seed))
    assert ((mask >= 0) & (mask <= 1)).all()
    x, y = batch(seed, torch.float32)
    partner = torch.roll(torch.arange(B), 1)
    mixed, truths = mixing.blend(x, y, x[partner], {k: v[partner] for k, v in y.items()}, mask)
    kept = mask.double().mean().item()
    assert 0 <= kept <= 1
    torch.testing.assert_close(truths["a"], kept * y["a"] + (1 - kept) * y["a"][partner])
    own, other = x[:, 0, 0, 0], x[partner][:, 0, 0, 0]
    torch.testing.assert_close((mixed.mean((1, 2, 3)) - other) / (own - other), torch.full((B,), kept), rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 500), name=st.sampled_from(["mixup", "cutmix", "fmix", "line_mix"]), p=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_rows_stay_distributions_and_the_input_is_left_alone(seed, name, p):
    x, y = batch(seed)
    before = x.clone(), {k: v.clone() for k, v in y.items()}
    mixed, truths = mix({"name": name, "probability": p})(x, y, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(truths["a"].sum(1), torch.ones(B))
    assert ((truths["b"] >= 0) & (truths["b"] <= 1)).all()
    assert torch.equal(x, before[0])
    assert all(torch.equal(y[k], before[1][k]) for k in y)
    assert mixed.shape == x.shape
    if p == 0:
        torch.testing.assert_close(mixing.as_float(mixed), x / 255)


@pytest.mark.parametrize("name", ["mixup", "cutmix", "fmix", "line_mix"])
def test_with_every_image_mixed_the_batchs_class_mass_is_kept(name):
    for seed in range(20):
        x, y = batch(seed)
        _, truths = mix(name)(x, y, torch.Generator().manual_seed(seed))
        for target, truth in truths.items():  # the partners are a permutation, so each truth gives away what it gets
            torch.testing.assert_close(truth.sum(0), y[target].sum(0), rtol=1e-5, atol=1e-5)


def test_half_the_images_are_mixed_where_the_recipe_says_half():
    x, y = batch()
    changed = 0
    for step in range(400):
        mixed, truths = mix({"name": "fmix", "probability": 0.5})(x, y, draws.generator(0, "m", 0, step))
        same = (mixed == x).flatten(1).all(1)
        torch.testing.assert_close(truths["a"][same], y["a"][same])
        changed += int((~same).sum())
    # a permutation keeps 1 of B images in its place, on average
    assert changed / 400 / B == pytest.approx(0.5 * (1 - 1 / B), abs=0.04)


@pytest.mark.parametrize("shape", [(20, 17), (21, 16), (8, 8)])
def test_fmix_spectrum_is_real_with_the_drawn_share(shape):
    shares, drawn = [], []
    for seed in range(60):
        mask = mixing.fmix(*shape, np.random.default_rng(seed))
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        shares.append(mask.mean().item())
        drawn.append(np.random.default_rng(seed).beta(1.0, 1.0))
    np.testing.assert_allclose(shares, drawn, atol=1 / (shape[0] * shape[1]) + 1e-6)


def test_fmix_is_low_frequency_and_higher_decay_is_smoother():
    def borders(decay):
        masks = [mixing.fmix(64, 64, np.random.default_rng(s), alpha=50.0, decay=decay) for s in range(10)]
        return np.mean([(m.diff(dim=0) != 0).sum().item() + (m.diff(dim=1) != 0).sum().item() for m in masks])

    assert borders(3.0) < 0.5 * borders(1.0) < 0.25 * borders(0.0)


def test_fmix_is_the_papers_formula():
    """The published recipe in numpy: Gaussian spectrum ÷ max(f, 1/n)^δ, inverse real transform, top share of the pixels."""
    h, w, seed = 12, 15, 4
    rng = np.random.default_rng(seed)
    share = rng.beta(1, 1)
    fy, fx = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[: w // 2 + 1]
    scale = 1 / np.maximum(np.sqrt(fx**2 + fy**2), 1 / max(h, w)) ** 3
    noise = rng.standard_normal((h, w // 2 + 1, 2))
    gray = np.fft.irfft2(scale * (noise[..., 0] + 1j * noise[..., 1]), s=(h, w))
    got = mixing.fmix(h, w, np.random.default_rng(seed)).numpy().astype(bool)
    assert abs(got.sum() - share * h * w) <= 1
    assert gray[got].min() >= gray[~got].max()


@given(seed=st.integers(0, 200), soft=st.floats(0.05, 1.0))
@settings(max_examples=30, deadline=None)
def test_a_soft_border_keeps_the_share(seed, soft):
    mask = mixing.fmix(H, W, np.random.default_rng(seed), soft=soft)
    hard = mixing.fmix(H, W, np.random.default_rng(seed))
    assert mask.mean().item() == pytest.approx(hard.mean().item(), abs=2 / (H * W))
    x, y = batch()
    mixed, _ = mix({"name": "fmix", "soft": 0.5})(x, y, np.random.default_rng(seed))
    assert mixed.dtype in (torch.uint8, torch.float32)


def test_cutmix_is_one_box_and_its_area_is_clipped():
    for seed in range(50):
        mask = mixing.cutmix(H, W, np.random.default_rng(seed))
        rows, columns = torch.nonzero((mask == 0).any(1)).flatten(), torch.nonzero((mask == 0).any(0)).flatten()
        assert (mask == 0).sum() == len(rows) * len(columns)
        rng = np.random.default_rng(seed)
        assert (mask == 0).float().mean() <= 1 - rng.beta(1, 1) + 1e-6


def test_half_cutmix_takes_one_half_from_the_pool():
    x, y = batch()
    sides = set()
    for seed in range(10):
        mixed, truths = mix("half_cutmix")(x, y, torch.Generator().manual_seed(seed))
        new = (mixed == 255).all(1)[0].all(0)
        assert int(new.sum()) == W // 2
        sides.add(bool(new[0]))
        assert torch.equal(mixed[..., ~new], x[..., ~new])
        kept = 1 - (W // 2) / W
        torch.testing.assert_close(truths["a"], kept * y["a"] + (1 - kept) * torch.eye(K)[3])
    assert sides == {True, False}


def test_line_out_blanks_one_band_and_leaves_the_truth():
    x, y = batch()
    seen = set()
    for seed in range(30):
        mixed, truths = mix({"name": "line_out", "probability": 1.0, "fill": 0.2})(x, y, torch.Generator().manual_seed(seed))
        changed = (mixed != x).any(1).any(-1)[0]
        start, end = int(torch.nonzero(changed)[0]), int(torch.nonzero(changed)[-1]) + 1
        seen.add((start, end))
        assert int(changed.sum()) == end - start
        assert (mixed[:, :, start:end] == 51).all()
        assert torch.equal(truths["a"], y["a"])
    assert seen == set(BANDS)


def test_line_mix_swaps_bands_that_follow_the_size():
    mask = mixing.lines(40, 5, np.random.default_rng(0), bands=[(5, 10)], of=20)
    assert torch.nonzero(mask[:, 0] == 0).flatten().tolist() == list(range(10, 20))
    assert mixing.lines(20, 5, np.random.default_rng(0), bands=BANDS, count=3).mean().item() == pytest.approx(2 / 20)


def test_unknown_labels_stay_unknown_for_both_partners():
    x, y = batch()
    y["a"][2] = torch.nan
    for seed in range(10):
        mixed, truths = mix("mixup")(x, y, torch.Generator().manual_seed(seed))
        unknown = torch.isnan(truths["a"]).any(1)
        assert bool(unknown[2])
        assert int(unknown.sum()) <= 2
        assert not torch.isnan(truths["b"]).any()
        assert torch.isfinite(mixed).all()


def test_mixup_gives_floats_and_pasting_keeps_bytes():
    x, y = batch()
    assert mix("mixup")(x, y, torch.Generator())[0].dtype == torch.float32
    assert mix("mixup")(x, y, torch.Generator())[0].max() <= 1
    assert mix("cutmix")(x, y, torch.Generator())[0].dtype == torch.uint8
    rest = mix({"name": "mixup", "probability": 0.0})(x, y, torch.Generator())[0]
    torch.testing.assert_close(mixing.as_float(rest), x / 255)


def test_several_techniques_share_the_images():
    x, y = batch()
    both = mix({"name": "line_out", "probability": 1.0, "fill": 1.0}, {"name": "half_cutmix", "probability": 1.0})
    counts = np.zeros(2)
    for step in range(300):
        mixed, _ = both(x, y, draws.generator(step))
        rows = (mixed == 255).all(1).all(-1).any(1)  # whole rows: line-out
        halves = (mixed == 255).all(1).all(1).any(1)  # whole columns: half-cutmix
        assert not (rows & halves).any()
        assert (rows | halves).all()
        counts += [rows.sum(), halves.sum()]
    assert counts[0] / counts.sum() == pytest.approx(0.5, abs=0.05)


def test_until_ends_mixing_and_keys_repeat_batches():
    x, y = batch()
    cut = mix({"name": "cutmix", "probability": 1.0, "until": 0.9})
    rested, truths = cut(x, y, torch.Generator().manual_seed(1), progress=0.9)
    assert torch.equal(rested, x)
    assert torch.equal(truths["a"], y["a"])
    one, other = (cut(x, y, torch.Generator().manual_seed(1), progress=0.5) for _ in range(2))
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[0], x)


def test_several_views_are_mixed_alike():
    x, y = batch(views=2)
    mixed, _ = mix("cutmix")(x, y, torch.Generator().manual_seed(3))
    assert torch.equal(mixed[:, 0], mixed[:, 1])


@pytest.mark.parametrize("name", [*TECHNIQUES, "line_out"])
def test_class_numbers_are_refused(name):
    x, _ = batch()
    for numbers in (torch.zeros(B, dtype=torch.long), torch.zeros(B, K, dtype=torch.long), torch.zeros(B)):
        with pytest.raises(UserError, match="class numbers"):
            mix(name)(x, {"a": numbers}, torch.Generator())


def test_options_out_of_range_are_refused():
    with pytest.raises(UserError, match="probability"):
        mixing.Mix([{"name": "mixup", "probability": 1.5}])
    with pytest.raises(UserError, match="alpha"):
        mixing.Mix([{"name": "cutmix", "alpha": 0}])
    with pytest.raises(UserError, match="no bands"):
        mixing.Mix(["line_mix"])
    with pytest.raises(UserError, match="no pool"):
        mixing.Mix(["half_cutmix"])
    with pytest.raises(UserError, match="Did you mean 'cutmix'"):
        mixing.Mix(["cutmixx"])


GENERIC = {"probability", "until", "numbers", "fill", "target", "classes", "rarest"}


@pytest.mark.parametrize("name", MIXES)
def test_the_tables_defaults_are_the_functions(name):
    parameters = inspect.signature(MIXES[name].load()).parameters
    for key, value in MIXES[name].parameters.items():
        assert key in GENERIC or parameters[key].default == value
