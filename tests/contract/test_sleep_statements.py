"""Each statement of the two write-ups on sleep stages, and what stands for it in the recipes: test_<ID>_… holds statement ID."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from tapetum import api
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target
from tapetum.data import layouts, split
from tapetum.data.images import mixing, sampling
from tapetum.data.images.decode import Composition, compose
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform, TrainTransform
from tapetum.decide import chain
from tapetum.decide.steps import Rows
from tapetum.learn import models, speed
from tapetum.learn.models import sequence as over
from tapetum.learn.training import fold, loop, losses, optimizers, schedules
from tapetum.workflow.session import Prepared

STAGES = ("Wake", "N1", "N2", "N3", "REM")
STAGE = Target("stage", classes=STAGES)
YAI, DRAGON = (api.load_recipe(name).recipe for name in ("sleep-yai", "sleep-dragon"))
YAI_PLUS, DRAGON_PLUS = (api.load_recipe(f"{name}-plus").recipe for name in ("sleep-yai", "sleep-dragon"))
WHOLE, BILSTM = ("efficientnet-b4", "resnext50", "resnet50"), ("bilstm-eog", "bilstm-groups")


@pytest.fixture(scope="module")
def exam(tmp_path_factory) -> Path:
    """A folder in the layout of the challenge: two exams of four gray images, each row of pixels as bright as its number."""
    root = tmp_path_factory.mktemp("exams")
    gray = np.repeat(np.arange(270, dtype=np.uint8)[:, None] % 251, 480, axis=1)
    lines = {"train": [], "test": []}
    for name, part in (("A2019-NX-01-0001", "train"), ("A2019-NX-01-0002", "test")):
        (root / name).mkdir()
        for number in range(1, 5):
            file = f"{name}_{number:04d}.png"
            Image.fromarray(gray).save(root / name / file)
            lines[part].append(f"{name},{file}" + (f",{STAGES[number]}" if part == "train" else ""))
    (root / "trainset-for_user.csv").write_text("\ufeff" + "\n".join(lines["train"]) + "\n", encoding="utf-8")
    (root / "testset-for_user.csv").write_text("\ufeff" + "\n".join(lines["test"]) + "\n", encoding="utf-8")
    return root


def member(recipe, name):
    return recipe.members()[name]


def network(recipe, name, backbone=None):
    own = member(recipe, name)
    kept = {"weights": "none"} | ({"backbone": backbone} if backbone else {})
    return models.build(own.model.model_copy(update=kept), [STAGE], 3, own.input)


def composed(recipe, name, exam):
    return compose([exam / "A2019-NX-01-0001" / "A2019-NX-01-0001_0001.png"], Composition.from_input(member(recipe, name).input))


def nights(exams=4, length=50, seed=0) -> Manifest:
    """Return rows of some exams, with N1 rarer than the rest."""
    rng = np.random.default_rng(seed)
    stage = rng.choice(STAGES, exams * length, p=[0.2, 0.05, 0.4, 0.2, 0.15])
    frame = pl.DataFrame(
        {
            "row_id": [f"{e}_{i:04d}.png" for e in range(exams) for i in range(length)],
            "path": [[f"{e}_{i:04d}.png"] for e in range(exams) for i in range(length)],
            "sequence": [f"exam-{e}" for e in range(exams) for _ in range(length)],
            "group": [f"exam-{e}" for e in range(exams) for _ in range(length)],
            "position": [float(i) for _ in range(exams) for i in range(length)],
            "stage": stage,
        }
    )
    return Manifest(frame, (STAGE,), Path())


def dense(p: np.ndarray, fold: int = 0) -> Dense:
    ids = np.array([f"r{i}" for i in range(len(p))], dtype=object)
    ok = np.full(len(p), "ok", dtype=object)
    return Dense(STAGE, ids, p.astype(np.float32), np.eye(5, dtype=np.float32)[np.zeros(len(p), int)], np.full(len(p), fold, np.int16), ok)


def rows(n: int) -> Rows:
    return Rows.new(np.array([f"r{i}" for i in range(n)], dtype=object))


# ------------------------------------------------------------------------------------------------------------ sleep-yai


def test_Y01_images_of_exams_are_told_apart_in_five_stages(exam):
    manifest = layouts.read(exam, YAI.data, lambda _: None)
    (target,) = manifest.targets
    assert target.classes == STAGES
    assert manifest.frame["sequence"].n_unique() == 2
    assert (manifest.split == "test").sum() == 4


def test_Y02_gray_is_repeated_to_three_channels(exam):
    (image,) = composed(YAI, "efficientnet-b4", exam)
    assert image.shape == (270, 480, 3)
    assert all(np.array_equal(image[..., 0], image[..., c]) for c in (1, 2))
    x = EvalTransform(member(YAI, "efficientnet-b4").input)([image])
    assert np.array_equal(x.permute(1, 2, 0).numpy(), image)  # the images as they are


@pytest.mark.parametrize("name", ["efficientnet_b4"])
def test_Y03_efficientnet_b4_starts_from_imagenet(name):
    assert network(YAI, "efficientnet-b4").backbone.default_cfg["architecture"] == name
    assert member(YAI, "efficientnet-b4").model.weights == "auto"


def test_Y04_resnext50_starts_from_imagenet():
    assert network(YAI, "resnext50").backbone.default_cfg["architecture"] == "resnext50_32x4d"
    assert member(YAI, "resnext50").model.weights == "auto"


def test_Y05_resnet50_is_the_third_whole_image_network():
    assert network(YAI, "resnet50").backbone.default_cfg["architecture"] == "resnet50"
    assert all(member(YAI, name).input.bands == () for name in WHOLE)


def test_Y06_rows_that_train_are_drawn_by_stage():
    assert YAI.split.train_rows == 200_000
    assert YAI.data.limit / YAI.split.folds == 100_000  # held out in a fold
    manifest = split.assign_folds(nights(8), YAI.split, 0, lambda _: None)
    every = np.arange(len(manifest))
    none = np.zeros(0, dtype=np.int64)
    prepared = Prepared(manifest, frozenset(), every, none, none, Form(3), train_rows=100)
    drawn = prepared.fitting(0)
    assert len(drawn) == 100
    assert set(drawn) <= set(dataclass_without(prepared).fitting(0))
    assert np.array_equal(drawn, prepared.fitting(0))
    assert set(drawn) != set(prepared.fitting(1))
    share = lambda part: manifest.truth("stage")[part].mean(axis=0)  # noqa: E731
    assert share(drawn) == pytest.approx(share(dataclass_without(prepared).fitting(0)), abs=0.011)


def dataclass_without(prepared: Prepared) -> Prepared:
    import dataclasses

    return dataclasses.replace(prepared, train_rows=None)


def test_Y07_four_epochs_are_joined_into_one_image():
    how = member(YAI, "bilstm-eog").sequence
    assert (how.length, how.target) == (4, "last")
    assert how.length * 30 == 120  # seconds
    x = torch.arange(4 * 480).float().view(1, 4, 1, 1, 480)
    joined = over.windows(x, 1, 4 * 480, 0)
    assert torch.equal(joined.flatten(), torch.arange(4 * 480).float())


def test_Y08_five_windows_overlap_and_cross_the_images_borders():
    how = member(YAI, "bilstm-eog").sequence
    x = torch.arange(4 * 480).float().view(1, 4, 1, 1, 480)
    cut = over.windows(x, how.windows, how.window_width, how.window_stride)[0, :, 0, 0]
    assert cut.shape == (5, 400)
    first, last = cut[:, 0].int().tolist(), cut[:, -1].int().tolist()
    assert all(a > b for a, b in zip(last, first[1:], strict=False))  # each overlaps the next
    assert (first[0], last[-1]) == (0, 1919)  # the whole of the four images
    assert any(start // 480 != end // 480 for start, end in zip(first, last, strict=True))


def test_Y09_network_outputs_go_into_a_bilstm():
    own = member(YAI, "bilstm-eog")
    base = network(YAI, "bilstm-eog", "test_resnet")
    whole = over.around(base, base_model(own), own.sequence)
    lstm = whole.body.lstm
    assert (lstm.num_layers, lstm.hidden_size, lstm.bidirectional, whole.body.project.out_features) == (2, 128, True, 128)
    seen = []
    whole.body.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    out = whole.eval()(torch.zeros(2, 4, 3, 21, 480, dtype=torch.uint8))
    assert seen == [25]
    assert out["stage"].shape == (2, 5)


def base_model(own):
    return own.model.model_copy(update={"backbone": "test_resnet", "weights": "none"})


def test_Y10_one_band_shows_the_eyes(exam):
    (image,) = composed(YAI, "bilstm-eog", exam)
    assert image[:, 0, 0].tolist() == list(range(75, 96))


def test_Y11_three_groups_show_brain_eyes_and_chin(exam):
    (image,) = composed(YAI, "bilstm-groups", exam)
    assert image[:, 0, 0].tolist() == list(range(32, 107))


def test_Y12_gradients_are_scaled_where_precision_is_fp16(monkeypatch):
    from lightning_fabric.plugins.precision.amp import MixedPrecision

    assert YAI.train.precision == "auto"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: False)
    assert "fp16" in speed.candidates("cuda")
    assert MixedPrecision("16-mixed", "cuda").scaler is not None


def test_Y13_training_ends_after_five_epochs_without_lower_loss():
    state = SimpleNamespace(
        recipe=member(YAI, "resnet50"), progress=loop.Progress(), history=[], prior_loss=1.6, stop="",
        fold=SimpleNamespace(heldout=[0, 1], epochs=99, until=None),
    )  # fmt: skip
    ended = []
    for epoch, loss in enumerate([1.0, 0.9, 0.95, 0.85, 0.9, 0.91, 0.92, 0.93, 0.94], start=1):
        state.progress.epoch = epoch
        row = {"valid_loss": loss, "monitor": 0.5, "seconds": 1.0}
        fold.Training._watch(state, row, None)
        state.history.append(row)
        ended.append(state.stop)
    assert ended[-2] == ""
    assert "5 epochs" in ended[-1]


def test_Y14_weight_decay_is_decoupled():
    assert type(optimizers.build(network(YAI, "resnet50", "test_resnet"), YAI.optimizer)) is torch.optim.AdamW


@pytest.mark.parametrize("name", WHOLE)
def test_Y15_the_rate_of_the_cnns_restarts(name):
    own = member(YAI, name)
    rates = schedules.plan(own.schedule, steps_per_epoch=5, epochs=20, base_rate=own.optimizer.rate)
    assert rates[:25].argmax() == 0
    assert rates[25] == pytest.approx(rates[0])
    assert rates[24] < 0.1 * rates[0]


@pytest.mark.parametrize("name", BILSTM)
def test_Y16_the_rate_of_the_bilstms_falls_on_a_plateau(name):
    own = member(YAI, name)

    def last(history):
        plan = schedules.plan(own.schedule, steps_per_epoch=1, epochs=6, base_rate=1.0, history=history)
        return plan[len(history)]

    assert last([1.0, 0.9, 0.8, 0.7]) == pytest.approx(1.0)
    assert last([1.0, 1.0, 1.0, 1.0]) == pytest.approx(0.1)


def test_Y17_five_stratified_folds_for_the_eog_bilstm_alone():
    assert YAI.only_folds("bilstm-eog") is None
    assert {name: YAI.only_folds(name) for name in (*WHOLE, "bilstm-groups")} == dict.fromkeys((*WHOLE, "bilstm-groups"), (0,))
    manifest = split.assign_folds(nights(10, 100), YAI.split, 0, lambda _: None)
    assert sorted(set(manifest.fold.tolist())) == [0, 1, 2, 3, 4]
    y = manifest.truth("stage")
    shares = np.stack([y[manifest.fold == k].mean(axis=0) for k in range(5)])
    assert np.ptp(shares, axis=0).max() < 0.011  # stratified by image
    assert len(set(manifest.fold[manifest.groups == "exam-0"].tolist())) == 5  # exams cross folds, as written


def test_Y18_cnns_and_bilstm_vote_by_mean_probability():
    rng = np.random.default_rng(0)
    p = {name: rng.dirichlet(np.ones(5), 20) for name in YAI.members()}
    found = chain.fit({name: dense(x) for name, x in p.items()}, rows(20), YAI.decide, fixed=True).nested.p
    assert found == pytest.approx(np.mean([p[name] for name in ("efficientnet-b4", "resnext50", "bilstm-eog")], axis=0), abs=1e-6)


def test_Y19_epoch_five_votes_with_epoch_two():
    assert [member(YAI, name).train.checkpoint for name in ("efficientnet-b4", "resnext50")] == [5, 2]
    assert all(member(YAI, name).train.epochs >= member(YAI, name).train.checkpoint for name in ("efficientnet-b4", "resnext50"))


def test_Y21_features_of_efficientnet_go_into_a_bilstm():
    own = member(YAI_PLUS, "nights")
    assert own.sequence.features == "efficientnet-b4"
    assert own.model.backbone == member(YAI_PLUS, "efficientnet-b4").model.backbone == "efficientnet_b4"
    whole = over.around(network(YAI_PLUS, "nights", "test_resnet"), base_model(own), own.sequence)
    assert isinstance(whole.body, over.BiLSTM)


def test_Y22_the_best_network_is_trained_on_every_fold():
    assert YAI_PLUS.only_folds("efficientnet-b4") is None
    manifest = split.assign_folds(nights(10), YAI_PLUS.split, 0, lambda _: None)
    assert sorted(set(manifest.fold.tolist())) == [0, 1, 2, 3, 4]
    assert all(len(set(manifest.fold[manifest.groups == g].tolist())) == 1 for g in set(manifest.groups))  # by exam


def test_Y23_all_channels_are_seen_for_longer(exam):
    (image,) = composed(YAI_PLUS, "efficientnet-b4", exam)
    assert image.shape[:2] == (270, 480)
    assert member(YAI_PLUS, "efficientnet-b4").train.epochs > member(YAI, "efficientnet-b4").train.epochs


# --------------------------------------------------------------------------------------------------------- sleep-dragon


def test_D01_a_vision_transformer_sees_224_pixels():
    vit = network(DRAGON, "vit").backbone
    assert (vit.embed_dim, len(vit.blocks), vit.patch_embed.patch_size) == (768, 12, (16, 16))
    x = EvalTransform(member(DRAGON, "vit").input)([np.zeros((270, 480, 3), np.uint8)])
    assert x.shape == (3, 224, 224)


def test_D02_efficientnet_b4_has_the_weights_of_the_noisy_student():
    import timm

    known = timm.get_pretrained_cfg(member(DRAGON, "efficientnet-b4").model.backbone)
    assert (known.architecture, known.tag) == ("tf_efficientnet_b4", "ns_jft_in1k")


def test_D03_epoch_four_and_epoch_one_of_fold_nought_answer():
    chosen = {name: (own.train.checkpoint, DRAGON.only_folds(name)) for name, own in DRAGON.members().items()}
    assert chosen == {"vit": (4, (0,)), "efficientnet-b4": (1, (0,))}


def test_D05_square_roots_of_probabilities_are_averaged():
    rng = np.random.default_rng(1)
    vit, eff = rng.dirichlet(np.ones(5), 200), rng.dirichlet(np.ones(5), 200)
    decide = DRAGON.decide.model_copy(update={"steps": ()})
    found = chain.fit({"vit": dense(vit), "efficientnet-b4": dense(eff)}, rows(200), decide, fixed=True).nested.p
    written = 0.06 * np.sqrt(vit) + 0.94 * np.sqrt(eff)
    assert np.array_equal(found.argmax(axis=1), written.argmax(axis=1))
    assert not np.array_equal(found.argmax(axis=1), vit.argmax(axis=1))


def test_D07_rules_of_context_never_cross_exams():
    codes = np.array([STAGES.index(s) for s in ("N2", "N2", "REM", "N2", "N2", "N1", "N3", "REM", "REM")])
    table = Manifest(
        pl.DataFrame(
            {
                "row_id": [f"r{i}" for i in range(9)],
                "path": [["x"]] * 9,
                "sequence": ["a"] * 6 + ["b"] * 3,
                "group": ["a"] * 6 + ["b"] * 3,
                "position": [float(i) for i in range(9)],
                "stage": ["N2"] * 9,
            }
        ),
        (STAGE,),
        Path(),
    )
    decide = DRAGON.decide.model_copy(update={"blend": "mean"})
    found = chain.fit({"one": dense(np.eye(5)[codes] * 0.8 + 0.04)}, Rows.of(table), decide, fixed=True).nested.answer.argmax(axis=1)
    assert [STAGES[k] for k in found] == ["N2", "N2", "N2", "N2", "N2", "N1", "N3", "REM", "REM"]  # N1 | N3 are of two exams


def test_D08_fmix_takes_half_of_the_images():
    mix = mixing.Mix(DRAGON.mix)
    x = torch.stack([torch.full((1, 32, 32), k, dtype=torch.uint8) for k in range(64)])
    y = {"stage": torch.eye(64)}
    mixed, truths = mix(x, y, np.random.default_rng(0), 0.99)  # to the end of training
    changed = (mixed != x).flatten(1).any(dim=1)
    assert 20 < int(changed.sum()) < 44
    own = truths["stage"].diagonal()[changed]
    kept = torch.stack([(mixed[i] == x[i]).float().mean() for i in torch.nonzero(changed).flatten()])
    assert torch.allclose(own, kept, atol=1e-6)


@pytest.mark.parametrize(("name", "share"), [("coarse_dropout", 0.5), ("cutout", 0.5)])
def test_D09_holes_are_cut_into_half_of_the_images(name, share):
    spec = next(one for one in DRAGON.augment if one["name"] == name)
    how = TrainTransform(member(DRAGON, "efficientnet-b4").input.model_copy(update={"size": (64, 64)}), [spec])
    white = np.full((64, 64, 3), 255, np.uint8)
    holed = [bool((how([white], key) == 0).any()) for key in range(200)]
    assert np.mean(holed) == pytest.approx(share, abs=0.12)


def test_D10_labels_are_smoothed_by_a_tenth():
    smoothed = losses.smooth(torch.eye(5)[:1], DRAGON.loss.smoothing, "single", DRAGON.loss.smoothing_over)[0]
    assert smoothed.tolist() == pytest.approx([0.92, 0.02, 0.02, 0.02, 0.02])


def test_D11_adam_moves_the_vit_and_adamp_the_efficientnet():
    made = {name: optimizers.build(network(DRAGON, name, "test_resnet"), own.optimizer) for name, own in DRAGON.members().items()}
    assert type(made["vit"]) is torch.optim.Adam
    assert type(made["efficientnet-b4"]).__name__ == "AdamP"
    assert {own.optimizer.rate for own in DRAGON.members().values()} == {1e-4}


def test_D12_precision_is_the_devices_best():
    assert {own.train.precision for own in DRAGON.members().values()} == {"auto"}
    assert {"fp16", "bf16"} & set(speed.candidates("cuda"))


def test_D13_the_rate_restarts_every_ten_epochs():
    rates = schedules.plan(DRAGON.schedule, steps_per_epoch=4, epochs=20, base_rate=1.0)
    assert rates[40] == pytest.approx(rates[0])
    assert (np.diff(rates[:40]) < 0).all()


def test_D14_bands_as_inputs_of_their_own_can_be_run(exam):
    sets = ["input.bands=[[32, 75], [75, 96], [96, 107]]", "input.bands_as=views", "input.size=[43, 480]"]
    recipe = api.load_recipe("sleep-dragon", sets=sets).recipe
    images = composed(recipe, "efficientnet-b4", exam)
    assert [len(image) for image in images] == [43, 21, 11]
    x = EvalTransform(member(recipe, "efficientnet-b4").input)(images)
    assert network(recipe, "efficientnet-b4", "test_resnet").eval()(x[None])["stage"].shape == (1, 5)


def test_D15_rare_stages_can_be_drawn_as_often():
    recipe = api.load_recipe("sleep-dragon", sets=["sample=balanced"]).recipe
    y = nights(8).truth("stage")
    training = sampling.Training(targets=[STAGE], truths={"stage": y}, weight=np.ones(len(y)), groups=np.arange(len(y)))

    def shares(sample):
        drawn = sampling.order(sample, training, seed=0, member="vit", fold=0, epoch=0).rows
        return y[drawn].mean(axis=0)

    assert DRAGON.sample == "shuffle"
    assert shares(DRAGON.sample) == pytest.approx(y.mean(axis=0))
    assert shares(recipe.sample) == pytest.approx(np.full(5, 0.2), abs=0.05)
