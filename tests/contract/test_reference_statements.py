"""Each statement of a write-up stands in a recipe, and what stands there does what was said: test_<ID>_… holds statement ID."""

from __future__ import annotations

import csv
import importlib.resources
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from typer.main import get_command

from images import plant
from tapetum import api, cli
from tapetum.core.config import Data, Input, flatten
from tapetum.core.errors import UserError
from tapetum.core.registry import find_recipes
from tapetum.core.targets import Target
from tapetum.data import layouts
from tapetum.data.images import views
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform, TrainTransform
from tapetum.learn import models
from tapetum.learn.training import averaging, fold, loop, losses, optimizers, schedules
from tapetum.systems import statements

ROOT = Path(__file__).parents[2]
STATEMENTS = {  # letter and how many
    "dogs": ("G", 20), "hpa": ("P", 20), "mask": ("M", 15), "sleep-yai": ("Y", 23), "sleep-dragon": ("D", 15),
}  # fmt: skip
SYSTEMS = tuple(STATEMENTS)
RECIPES = tuple(f"{system}{end}" for system in SYSTEMS for end in ("", "-plus"))
DOGS, HPA = (api.load_recipe(name).recipe for name in ("dogs", "hpa"))
DOGS_PLUS = api.load_recipe("dogs-plus").recipe
BREED = Target("breed", classes=tuple("abcde"))
PLACES = Target("Target", "multi", tuple(str(i) for i in range(28)))
SIZES_ALONE = {  # what a cpu profile may change; everything else is technique
    "input.size", "model.backbone", "model.drop_path", "stages", "split.folds", "split.holdout", "train.epochs", "train.batch",
    "average.epochs", "average.decay", "schedule.options.phases", "schedule.options.cycle", "optimizer.rate", "predict.views",
    "probe.size", "probe.views", "probe.strengths", "input.bands", "data.limit", "split.train_rows", "schedule.options.t0",
    "train.checkpoint", "model.weights", "sequence.features",
}  # fmt: skip


def augment(recipe, name):
    return next(spec for spec in recipe.augment if spec == name or (isinstance(spec, dict) and spec["name"] == name))


def drawn(recipe, name, image, draws=40, size=None):
    how = TrainTransform(Input(size=size or image.shape[0], resize="stretch"), [augment(recipe, name)])
    return [how([image], key) for key in range(draws)]


def tiny(recipe, **model):
    """Return the recipe's network around a tiny backbone, to look at the parts around it."""
    return models.build(recipe.model.model_copy(update={"backbone": "test_resnet", "weights": "none", **model}), [BREED], 3, recipe.input)


# ------------------------------------------------------------------------------------------------------- the accounting


def test_statement_list_has_every_line_once():
    text = (importlib.resources.files("tapetum") / "systems" / "statements.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    for system, (letter, count) in STATEMENTS.items():
        assert [r["id"] for r in rows if r["system"] == system] == [f"{letter}{i:02d}" for i in range(1, count + 1)]
    assert len({r["id"] for r in rows}) == len(rows)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_statement_stands_in_a_recipe(system):
    standing = set()
    for name in (system, f"{system}-plus"):
        standing |= set(statements.places(api.load_recipe(name).recipe))
    assert standing == {s.id for s in statements.statements(system)}


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_statement_has_a_test_of_its_own(system):
    sys.path.insert(0, str(ROOT))
    from bench.reference_systems import held_by

    assert {s.id for s in statements.statements(system)} <= set(held_by(ROOT / "tests"))


def test_a_key_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match=r"names the key 'input\.sise'"):
        statements.places(DOGS, {"G04": "input.sise"})
    with pytest.raises(UserError, match="Z99"):
        statements.places(DOGS, {"Z99": "input.size"})


@pytest.mark.parametrize("name", RECIPES)
def test_commands_that_statements_name_exist(name):
    known = set(get_command(cli.app).commands)
    for found in statements.places(api.load_recipe(name).recipe).values():
        for place in found:
            if place.kind == "command":
                assert place.name.split()[1] in known, place.name


@pytest.mark.parametrize("name", RECIPES)
def test_the_cpu_profile_changes_sizes_and_keeps_every_technique(name):
    whole, small = (api.load_recipe(name, profile=p).recipe.members() for p in (None, "cpu"))
    assert list(whole) == list(small)
    for member in whole:
        full, cpu = (dict(flatten(one[member].model_dump(exclude={"profile", "member"}))) for one in (whole, small))
        changed = {key for key in full.keys() | cpu.keys() if full.get(key) != cpu.get(key)}
        assert changed <= SIZES_ALONE, member
    stages = [key for key in ("predict", "trains") for one in full["stages"] for _ in one if one.get(key)]
    assert bool(stages) == bool([key for key in ("predict", "trains") for one in cpu["stages"] for _ in one if one.get(key)])


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_opens_with_source_command_and_expected_figure(name):
    lines = find_recipes()[name].read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# {name}: ")
    assert lines[1].startswith(f"# run     tapetum reproduce {name} ")
    assert lines[2].startswith("# expect")


def test_plus_shows_the_written_value_beside_its_own():
    rows = {row["id"]: row for row in statements.of_run(DOGS_PLUS)}
    assert len(rows) == 20
    assert rows["G09"]["places"] == [{"kind": "key", "name": "input.normalise", "value": "weights", "written": "none"}]
    assert "written" not in rows["G04"]["places"][0]


# ----------------------------------------------------------------------------------------------------------------- dogs


def test_G01_listed_images_are_left_out(tmp_path):
    planted = plant(tmp_path, classes=2, each=4)
    (tmp_path / "exclude.txt").write_text(f"{Path(planted.files[0]).name}\n")
    source, said = tmp_path / "images", []
    every = layouts.read(source, Data(), said.append).row_ids
    (tmp_path / "exclude.txt").write_text(f"{every[0]}  # gray\n# a comment\n{every[3]}\n")
    kept = layouts.read(source, Data(exclude=str(tmp_path / "exclude.txt")), said.append).row_ids
    assert set(every) - set(kept) == {every[0], every[3]}
    assert DOGS.data.exclude == "exclude.txt"


def test_G02_classes_are_numbered_in_alphabetical_order(tmp_path):
    planted = plant(tmp_path, classes=4, each=2)
    manifest = layouts.read(tmp_path / "images", Data(targets=DOGS.data.targets), lambda _: None)
    (target,) = manifest.targets
    assert target.name == "breed"
    assert target.classes == tuple(sorted(set(planted.labels)))


def test_G03_network_is_efficientnet_b2():
    network = models.build(DOGS.model.model_copy(update={"weights": "none"}), [BREED], 3, DOGS.input)
    assert network.backbone.default_cfg["architecture"] == "efficientnet_b2"
    assert DOGS.model.weights == "auto"


def test_G04_images_come_to_256_by_256():
    assert EvalTransform(DOGS.input)([np.zeros((300, 400, 3), np.uint8)]).shape == (3, 256, 256)


def test_G05_crops_scale_by_four_fifths_to_six_fifths():
    white = np.full((100, 100, 3), 255, np.uint8)
    covered = np.array([float((x > 0).float().mean()) for x in drawn(DOGS, "scaled_crop", white, 200)])
    assert covered.min() == pytest.approx(0.64, abs=0.02)  # at scale 0.8
    assert (covered == 1).mean() == pytest.approx(0.5, abs=0.12)  # at scales from 1 on


def test_G06_images_are_rotated_and_sheared():
    line = np.zeros((64, 64, 3), np.uint8)
    line[:, 31:33] = 255
    tilts = []
    for x in drawn(DOGS, "affine", line):
        column = x[0].float().numpy()
        centre = (column * np.arange(64)).sum(1) / np.maximum(column.sum(1), 1)
        inside = column.sum(1) > 0
        tilts.append(np.polyfit(np.arange(64)[inside], centre[inside], 1)[0])
    assert np.abs(tilts).max() < np.tan(np.radians(15 + 10)) + 0.05
    assert np.abs(tilts).max() > np.tan(np.radians(10))
    assert augment(DOGS, "affine")["degrees"] > 0 < augment(DOGS, "affine")["shear"]


def test_G07_brightness_and_hue_stay_within_bounds():
    spec = augment(DOGS, "colour_jitter")
    assert [spec[k] for k in ("brightness", "contrast", "saturation", "hue")] == [0.25, 0.25, 0.25, 0.1]
    gray = np.full((8, 8, 3), 128, np.uint8)
    values = np.array([float(x.float().mean()) for x in drawn(DOGS, "colour_jitter", gray, 200)]) / 128
    assert values.min() == pytest.approx(0.75, abs=0.03)
    assert values.max() == pytest.approx(1.25, abs=0.03)


def test_G08_originals_stay_in_memory_and_epochs_differ(tmp_path, monkeypatch):
    from tapetum.data.images import dataset

    planted = plant(tmp_path, classes=2, each=2)
    manifest = layouts.read(tmp_path / "images", Data(), lambda _: None)
    settings = DOGS.input.model_copy(update={"size": 32})
    images = dataset.ImageDataset(manifest, settings, TrainTransform(settings, DOGS.augment), form=Form(3))
    decoded = []
    own = images._decode
    monkeypatch.setattr(images, "_decode", lambda row: decoded.append(row) or own(row))
    first, second = (images.tensor(0, key) for key in (1, 2))
    assert not torch.equal(first, second)
    assert len(decoded) <= 1
    assert planted.files


def test_G09_images_are_not_normalised():
    x = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.allclose(tiny(DOGS).normalise(x), x.float() / 255)


def test_G10_smoothing_spreads_over_the_other_classes():
    smoothed = losses.smooth(torch.eye(25)[:1], DOGS.loss.smoothing, "single", DOGS.loss.smoothing_over)[0]
    assert smoothed[0] == pytest.approx(0.9)
    assert smoothed[1:].numpy() == pytest.approx(np.full(24, 0.1 / 24))


def test_G11_the_optimizer_is_sgd_with_momentum_nine_tenths():
    made = optimizers.build(tiny(DOGS), DOGS.optimizer)
    assert isinstance(made, torch.optim.SGD)
    assert {group["momentum"] for group in made.param_groups} == {0.9}


def planned(recipe, steps=10):
    return schedules.plan(recipe.schedule, steps_per_epoch=steps, epochs=recipe.train.epochs, base_rate=recipe.optimizer.rate)


def test_G12_the_rate_goes_up_and_down_within_a_phase():
    first = planned(DOGS)[:500]
    turns = np.flatnonzero(np.diff(np.sign(np.diff(first)))) + 1
    assert len(turns) >= 9  # five cycles of ten epochs


def test_G13_four_phases_of_fifty_epochs_between_the_stated_rates():
    rates = planned(DOGS).reshape(4, 50 * 10)
    for phase, (high, low) in zip(rates, [(1e-1, 1e-2), (1e-2, 1e-4), (1e-4, 1e-6), (1e-6, 1e-10)], strict=True):
        assert phase.max() == pytest.approx(high)
        assert phase.min() == pytest.approx(low)


def test_G14_weights_of_full_batch_steps_are_averaged():
    network = torch.nn.Linear(1, 1, bias=False)
    average = averaging.build(DOGS.average, network, steps_per_epoch=5, epochs=2)
    for step in range(10 + DOGS.average.epochs):
        network.weight.data.fill_(float(step))
        average.update(network)
    assert float(average.weights()["weight"]) == pytest.approx(np.mean(range(10, 10 + DOGS.average.epochs)))
    rates = schedules.with_average(np.ones(10), DOGS.average, steps_per_epoch=5)
    assert len(rates) == 10 + DOGS.average.epochs  # one step an epoch: the whole set is one batch
    assert set(rates[10:]) == {DOGS.average.rate}
    assert DOGS.train.checkpoint == "swa"


def test_G16_ten_random_crops_an_image():
    seen = list(views.expand(torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8), DOGS.predict.views, [1, 2]))
    assert len(seen) == 10
    assert len({x.numpy().tobytes() for x in seen}) == 10
    assert DOGS.predict.reduce == "mean"


def test_G19_search_space_names_recipe_keys_and_values():
    for key, space in DOGS_PLUS.tune.space.items():
        value = DOGS_PLUS
        for part in key.split("."):
            value = getattr(value, part)
        assert value in space if isinstance(space, tuple | list) else space["low"] <= value <= space["high"], key


def test_G20_gray_photos_are_kept_and_colour_ones_shown_gray():
    assert DOGS_PLUS.data.exclude is None
    colour = np.zeros((16, 16, 3), np.uint8)
    colour[..., 0] = 200
    gray = [bool((x[0] == x[2]).all()) for x in drawn(DOGS_PLUS, "grayscale", colour, 400)]
    assert np.mean(gray) == pytest.approx(augment(DOGS_PLUS, "grayscale")["probability"], abs=0.03)


# ------------------------------------------------------------------------------------------------------------------ hpa


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hpa")
    return api.simulate("hpa", folder / "plain", size=110, px=32), api.simulate("hpa", folder / "zipped", size=110, px=32, zip=True)


def read(made):
    return layouts.read(Path(made["paths"]["source"]), HPA.data, lambda _: None)


def test_P01_twenty_eight_labels_several_a_sample(cells):
    manifest = read(cells[0])
    truth = manifest.truth("Target")[manifest.split == "train"]
    assert truth.shape[1] == 28
    assert set(truth.sum(axis=1)) >= {1, 2}


def test_P02_four_channel_files_make_one_image(cells):
    from PIL import Image

    from tapetum.data.images.decode import Composition, compose

    paths = read(cells[0]).paths(0)
    (image,) = compose(paths, Composition.from_input(HPA.input))
    assert image.shape == (32, 32, 4)
    for channel, path in enumerate(paths):
        assert str(path).endswith(("_red.png", "_green.png", "_blue.png", "_yellow.png")[channel])
        assert np.array_equal(image[..., channel], np.asarray(Image.open(path)))


def test_P04_network_is_resnet34():
    network = models.build(HPA.model.model_copy(update={"weights": "none"}), [PLACES], 4, HPA.input)
    assert network.backbone.default_cfg["architecture"] == "resnet34"
    assert HPA.model.weights == "auto"


def test_P05_the_fourth_channel_copies_the_weights_of_red():
    from tapetum.learn.models.channels import adapt

    colours = torch.randn(8, 3, 3, 3)
    adapted = adapt(colours, 4, HPA.model.channels)
    assert torch.equal(adapted[:, :3], colours)
    assert torch.equal(adapted[:, 3], colours[:, 0])


def test_P06_images_are_turned_mirrored_rotated_and_lit_otherwise():
    corner = np.zeros((32, 32, 4), np.uint8)
    corner[:4, 2:10] = 200
    assert len({x.numpy().tobytes() for x in drawn(HPA, "dihedral", corner, 100)}) == 8
    assert len({x.numpy().tobytes() for x in drawn(HPA, "rotation", corner, 20)}) == 20
    gray = np.full((8, 8, 4), 100, np.uint8)
    shifts = np.array([float(x.float().mean()) for x in drawn(HPA, "lighting", gray, 100)]) - 100
    assert np.abs(shifts).max() == pytest.approx(0.05 * 255, abs=1.5)


def test_P07_mean_and_deviation_of_each_channel_are_measured(cells):
    from PIL import Image

    from tapetum.data.images import dataset

    manifest = read(cells[0])
    settings = HPA.input.model_copy(update={"size": 32})
    rows = np.arange(12)
    mean, std = dataset.channel_statistics(dataset.ImageDataset(manifest, settings, EvalTransform(settings), form=Form(4)), rows)
    pixels = np.stack([[np.asarray(Image.open(p)) / 255 for p in manifest.paths(int(r))] for r in rows])
    assert mean == pytest.approx(pixels.mean(axis=(0, 2, 3)), abs=1e-4)
    assert std == pytest.approx(pixels.std(axis=(0, 2, 3)), abs=1e-3)
    assert HPA.input.normalise == "data"


def test_P08_both_poolings_then_batch_norm_and_dropout():
    model = HPA.model.model_copy(update={"backbone": "test_resnet", "weights": "none"})
    network = models.build(model, [PLACES], 4, Input(size=32))
    plain = models.build(model.model_copy(update={"pooling": "avg"}), [PLACES], 4, Input(size=32))
    x = torch.randint(0, 256, (2, 4, 32, 32), dtype=torch.uint8)
    assert network.eval().features(x).shape[1] == 2 * plain.eval().features(x).shape[1]
    kinds = [type(module).__name__ for module in network.head("Target").modules()]
    assert "BatchNorm1d" in kinds
    assert "Dropout" in kinds


def test_P09_focal_loss_plays_sure_answers_down():
    ((share, name),) = [(1.0, HPA.loss.name)]
    x, y = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 1.0]])
    p = torch.sigmoid(x)
    expected = (-((1 - p) ** 2) * torch.log(p)).sum()
    assert float(getattr(losses, name)(x, y, **HPA.loss.options["focal"])) * share == pytest.approx(float(expected), rel=1e-5)


def test_P10_gradients_are_clipped_to_a_global_norm():
    from tapetum.learn.runtime import Engine, Runtime

    network = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    for group in optimizer.param_groups:
        group["scale"] = 1.0
    before = [p.detach().clone() for p in network.parameters()]
    (1e3 * network(torch.ones(2, 4)).sum()).backward()
    Runtime(Engine("cpu", "32", False)).step(network, optimizer, 1.0, HPA.train.clip)
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, network.parameters(), strict=True)])
    assert float(moved.detach().norm()) == pytest.approx(HPA.train.clip, rel=1e-4)


def test_P11_the_rate_repeats_every_eight_epochs_in_three_cycles():
    large = HPA.stages[1:]
    assert [stage.epochs for stage in large] == [8, 8, 8]
    rates = schedules.plan(HPA.schedule, steps_per_epoch=10, epochs=HPA.stages[0].epochs, base_rate=1.0).reshape(3, 80)
    assert np.allclose(rates, rates[0])
    assert rates[0].max() > 5 * rates[0].min()


def test_P12_256_pixels_then_512():
    sizes = [stage.size for stage in HPA.stages]
    assert sizes == sorted(sizes)
    assert set(sizes) == {256, 512}


def test_P13_batch_falls_to_16_when_memory_runs_out():
    said = []
    training = SimpleNamespace(recipe=HPA, progress=loop.Progress(pieces=4), fold=SimpleNamespace(log=said.append))
    training._batch = lambda stage: fold.Training._batch(training, stage)
    assert training._batch(HPA.stages[0]) == 64
    fold.Training._after_short_memory(training, HPA.stages[0])
    assert training._batch(HPA.stages[0]) == 16
    training.progress.pieces = 4
    fold.Training._after_short_memory(training, HPA.stages[0])
    assert training._batch(HPA.stages[0]) == HPA.memory.floor == 16


def test_P15_eight_views_of_each_image():
    corner = torch.zeros(1, 4, 8, 8, dtype=torch.uint8)
    corner[..., :2, 1:5] = 9
    assert len({x.numpy().tobytes() for x in views.expand(corner, HPA.predict.views)}) == 8


def test_P18_random_start_is_a_piece_of_the_ablation():
    from tapetum.workflow.commands.ablate import pieces_of

    plus = api.load_recipe("hpa-plus").recipe
    off = pieces_of(plus)["transfer"]
    scratch = api.load_recipe("hpa-plus", flags=off).recipe
    assert scratch.model.weights == "none"
    assert scratch.model.model_copy(update={"weights": plus.model.weights}) == plus.model


def test_P19_every_regulariser_is_a_piece_of_the_ablation():
    from tapetum.workflow.commands.ablate import pieces_of

    plus = api.load_recipe("hpa-plus").recipe
    pieces = pieces_of(plus)
    assert {"augment", "augment:dihedral", "augment:lighting", "dropout", "weight_decay", "average", "clip"} <= set(pieces)
    for name in ("augment", "dropout", "weight_decay", "average", "clip"):
        without = api.load_recipe("hpa-plus", flags=pieces[name]).recipe
        assert without.hash() != plus.hash(), name


def test_P20_zip_archives_are_read_as_they_come(cells):
    folder, zipped = (read(made) for made in cells)
    assert zipped.row_ids == folder.row_ids
    assert any(".zip" in path for path in zipped.frame["path"][0].to_list())
    from tapetum.data.images.decode import Composition, compose

    how = Composition.from_input(HPA.input)
    assert np.array_equal(compose(zipped.paths(3), how)[0], compose(folder.paths(3), how)[0])
    assert isinstance(zipped.frame, pl.DataFrame)


def test_plus_takes_the_antibodies_beside_the_data_as_groups(cells):
    source = Path(cells[0]["paths"]["source"])
    manifest = layouts.read(source, api.load_recipe("hpa-plus").recipe.data, lambda _: None)
    known = dict(pl.read_csv(source / "antibodies.csv", infer_schema=False).iter_rows())
    groups = dict(zip(manifest.row_ids, manifest.groups, strict=True))
    assert {row_id: groups[row_id] for row_id in known} == known
    assert len(set(known.values())) < len(known)
