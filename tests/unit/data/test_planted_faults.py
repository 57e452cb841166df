"""Faults that other code plants in photographs are found, and little else is."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from skimage import data as photographs

from images import quiet

sys.path.insert(0, str(Path(__file__).parents[3]))
from bench import planted

from tapetum.core.config import Data, Split
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data import audit, layouts, split
from tapetum.data.audit import image_statistics
from tapetum.data.audit.channels import channel_faults
from tapetum.data.audit.image_statistics import measure_image, sharpness
from tapetum.data.audit.neighbours import ALONE, loneliness
from tapetum.data.audit.sets import about_the_data, gaps, small_classes
from tapetum.data.images.decode import Composition

SIDE, COUNT = 112, 4


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Thirty-nine crops of photographs that do not overlap."""
    folder = tmp_path_factory.mktemp("crops")
    out = []
    for number, image in enumerate((photographs.astronaut(), photographs.coffee(), photographs.chelsea())):
        places = [(y, x) for y in range(0, image.shape[0] - SIDE + 1, SIDE) for x in range(0, image.shape[1] - SIDE + 1, SIDE)]
        for y, x in places[:16]:
            path = folder / f"{number}-{y}-{x}.jpg"
            Image.fromarray(image[y : y + SIDE, x : x + SIDE]).save(path, quality=95)
            out.append((path, f"photo{number}"))
    return out


@pytest.mark.parametrize(
    "kinds",
    [
        ("truncated", "unreadable", "misnamed", "turned"),
        ("animated", "odd size", "odd aspect", "odd mode"),
        ("blank", "dark", "bright"),
        ("gray", "blank channel", "equal channels", "swapped channels"),
        ("exact duplicate", "near duplicate"),
    ],
    ids=lambda kinds: kinds[0],
)
def test_planted_faults_are_found(crops, tmp_path, kinds):
    made = planted.plant(crops, tmp_path / "data", kinds, COUNT, seed=1)
    manifest = layouts.read(made.table, Data(targets=("label",)), quiet)
    table = audit.examine(manifest, Composition(), quiet)
    found = {row_id: set(kinds or []) for row_id, kinds in table.select("row_id", "findings").iter_rows()}
    for kind in kinds:
        if kind == "swapped channels":  # 39 crops of three photographs tell too little of the order
            continue
        flagged = {row_id for row_id, kinds in found.items() if kind in kinds}
        flat = {row_id for row_id, kinds in found.items() if "blank" in kinds and kind in ("dark", "bright")}  # sky, made dark
        assert flagged | flat >= made.faults[kind], kind
        if kind not in ("gray", "blank"):  # crops of sky and of a wall are what they look like
            assert flagged <= made.faults[kind], kind
    decided = dict(table.select("row_id", "decision").iter_rows())
    assert {decided[row_id] for kind in ("truncated", "unreadable") for row_id in made.faults.get(kind, ())} <= {"exclude"}
    if made.pairs:
        conflicts = {row_id for row_id, kinds in found.items() if "label conflict" in kinds}
        assert conflicts == made.faults["label conflict"]


def test_blurred_images_lose_detail_whatever_they_show():
    image = Image.fromarray(photographs.astronaut())
    blurred = planted.CHANGES["blurred"]
    assert sharpness(np.asarray(image)) > 0.5
    image.format = "PNG"
    import io

    for seed in range(3):
        soft = np.asarray(Image.open(io.BytesIO(blurred(image, np.random.default_rng(seed)))))
        assert sharpness(soft) < 0.3
    assert sharpness(np.zeros((64, 64, 3), np.uint8)) is None
    assert sharpness(np.zeros((20, 64, 3), np.uint8)) is None


def test_copies_across_parts_and_folds_are_leaks(tmp_path):
    for name, image in (("a", photographs.astronaut()), ("b", photographs.coffee()), ("c", photographs.chelsea())):
        Image.fromarray(image).resize((64, 64)).save(tmp_path / f"{name}.png")
    for name, of in (("d", "a"), ("e", "b"), ("f", "c")):
        (tmp_path / f"{name}.png").write_bytes((tmp_path / f"{of}.png").read_bytes())
    frame = pl.DataFrame(
        {
            "row_id": list("abcdef"),
            "path": [[f"{n}.png"] for n in "abcdef"],
            "split": ["train", "train", "train", "test", "train", "train"],
            "fold": pl.Series([0, 0, 0, -1, 1, 0], dtype=pl.Int16),
        }
    )
    table = audit.examine(Manifest(frame, (), tmp_path), Composition(), quiet)
    kinds = dict(table.select("row_id", "findings").iter_rows())
    assert kinds["a"] == kinds["d"] == ["leak", "exact duplicate"]
    assert kinds["b"] == kinds["e"] == ["leak", "exact duplicate"]
    assert kinds["c"] == kinds["f"] == ["exact duplicate"]
    assert "in the other part" in table["note"][0]
    assert "in another fold" in table["note"][1]


def test_positions_left_out_and_repeated_are_gaps():
    frame = pl.DataFrame(
        {
            "row_id": list("abcdefg"),
            "path": [[f"{n}.png"] for n in "abcdefg"],
            "sequence": ["s"] * 5 + ["t"] * 2,
            "position": pl.Series([0, 1, 2, 5, 5, 3, 4], dtype=pl.Float64),
        }
    )
    found = gaps(Manifest(frame, (), Path()))
    assert found == {3: "position 5 of sequence s follows 2: 2 left out", 4: "position 5 of sequence s is there twice"}
    assert gaps(Manifest(frame.drop("position"), (), Path())) == {}


def test_small_classes_and_imagenet_names_are_said():
    names = [f"n02085620_{i}.JPEG" if i < 5 else f"{i}.jpg" for i in range(400)]
    frame = pl.DataFrame({"row_id": names, "path": [[n] for n in names], "kind": ["few"] * 30 + ["many"] * 370})
    manifest = Manifest(frame, (Target("kind", "single", ("few", "many")),), Path())
    (text,) = small_classes(manifest)
    assert "1 of 2 classes of 'kind'" in text
    assert "few (30)" in text
    assert any(text.startswith("5 files have names of ImageNet") for text in about_the_data(manifest))
    grouped = manifest.with_column("group", [str(i % 20) for i in range(400)])
    assert "many (20)" in small_classes(grouped)[0]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("Basset_Hound", "beagle", "chihuahua", "american_bulldog"), "3 of 4 classes of 'kind' are of ImageNet"),
        (("beagle", "chihuahua"), None),  # too few to tell
        (("mask", "wig", "bonnet", "a", "b", "c", "d"), None),  # less than half
    ],
)
def test_classes_of_imagenet_are_said(classes, said):
    names = [f"{i}.jpg" for i in range(len(classes))]
    frame = pl.DataFrame({"row_id": names, "path": [[n] for n in names], "kind": list(classes)})
    texts = [text for text in about_the_data(Manifest(frame, (Target("kind", "single", classes),), Path())) if "ImageNet" in text]
    assert [text.split(":")[0] for text in texts] == ([] if said is None else [said])


def test_rows_far_from_all_others_are_lonely():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 8)).astype(np.float32) * 0.2 + np.eye(8, dtype=np.float32)[rng.integers(0, 3, 200)]
    vectors[7] = -vectors[7]
    vectors[9] = np.nan
    found = loneliness(vectors)
    assert np.isnan(found[9])
    assert found[7] == np.nanmax(found) > ALONE
    assert (np.nan_to_num(found) > ALONE).sum() <= 3


def test_exchanged_channels_are_found_where_the_order_can_be_told():
    rng = np.random.default_rng(0)
    grids = [np.stack([base + rng.normal(0, 0.03, 10) for base in (0.7, 0.4, 0.2)]).astype(np.float32) for _ in range(80)]
    grids[3] = grids[3][[2, 1, 0]]
    pairs = [np.stack([base + rng.normal(0, 0.03, 10) for base in (0.7, 0.2)]).astype(np.float32) for _ in range(60)]
    pairs[11] = pairs[11][::-1]
    found = channel_faults(grids, [()] * 80, [None] * 80)
    assert [row for row, notes in enumerate(found) if notes] == [3]
    assert re.fullmatch(r"swapped channels: probably 1 and 3 \(\d+%\), by the other images", found[3][0])
    assert [row for row, notes in enumerate(channel_faults(pairs, [()] * 60, [None] * 60)) if notes] == [11]
    alike = [np.abs(rng.normal(0.5, 0.1, (3, 10))).astype(np.float32) for _ in range(80)]
    assert channel_faults(alike, [()] * 80, [None] * 80) == [[]] * 80


def test_tints_tell_exchanged_channels_where_brightness_does_not():
    rng = np.random.default_rng(1)

    def drawn() -> np.ndarray:
        """Return a gray image with a red area; as a whole it is warmer or colder by chance."""
        image = np.repeat(rng.integers(60, 200, (64, 64, 1)), 3, axis=2).astype(np.float32)
        image[:, :, 0] += rng.normal(0, 25)
        y, x = rng.integers(0, 48, 2)
        image[y : y + 14, x : x + 14] = (170, 60, 80)
        return np.clip(image, 0, 255).astype(np.uint8)

    images = [drawn() for _ in range(80)]
    images[5], images[60] = images[5][..., ::-1].copy(), images[60][..., ::-1].copy()
    seen = [measure_image([], [image]) for image in images]
    found = channel_faults([one.channels for one in seen], [()] * 80, [one.chroma for one in seen])
    assert [row for row, notes in enumerate(found) if notes] == [5, 60]


def test_planted_twins_across_folds_are_impossible_after_the_audit(crops, tmp_path):
    made = planted.plant(crops, tmp_path / "data", ("exact duplicate", "near duplicate"), COUNT, seed=3)
    manifest = layouts.read(made.table, Data(targets=("label",)), quiet)
    found = audit.duplicates(audit.examine(manifest, Composition(), quiet))
    alone, known = 0, 0
    for seed in range(5):
        for duplicates, count in ((None, False), (found, True)):
            done = split.assign_folds(manifest, Split(folds=3), seed, quiet, duplicates=duplicates)
            fold = dict(zip(done.row_ids, done.fold.tolist(), strict=True))
            apart = sum(fold[a] != fold[b] for a, b in made.pairs)
            alone, known = (alone, known + apart) if count else (alone + apart, known)
    assert known == 0
    assert alone > 0


def test_other_depths_measure_as_bytes_do():
    image = photographs.astronaut()[:301, :403]
    wide, real = image.astype(np.uint16) * 257, image.astype(np.float32) / 255
    plain, *others = (measure_image([], [one]) for one in (image, wide, real))
    for other in others:
        assert np.abs(other.thumbnail - plain.thumbnail).max() < 1e-5
        assert np.abs(other.channels - plain.channels).max() < 1e-5
        assert other.sharpness == pytest.approx(plain.sharpness, rel=1e-3)
        for name in ("difference", "deviation", "low", "middle", "high"):
            assert getattr(other, name) == pytest.approx(getattr(plain, name), abs=0.3), name
    bright = image.astype(np.float64).mean(axis=-1)[::2, ::2] / 255
    assert [plain.low, plain.middle, plain.high] == pytest.approx(np.percentile(bright, [5, 50, 99]), abs=0.01)


def test_features_tell_exchanged_channels_where_colours_do_not():
    rng = np.random.default_rng(2)
    grids, tints = [rng.normal(0.5, 0.1, (3, 10)).astype(np.float32) for _ in range(80)], [np.zeros(63, np.float32)] * 80
    exchanged = rng.normal(0, 1, (80, 20)) + np.linspace(1, 2, 20)
    exchanged[[7, 40]] *= -1
    told = channel_faults(grids, [()] * 80, tints, exchanged)
    assert [row for row, notes in enumerate(told) if notes] == [7, 40]
    assert channel_faults(grids, [()] * 80, tints) == [[]] * 80


def test_measures_depend_on_neither_strips_nor_types(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, size=(300, 200, 3), dtype=np.uint8).cumsum(axis=0).astype(np.uint8)
    whole = image_statistics.thumbnail(image)
    rows = [part.mean(axis=0) for part in np.array_split(image[:288].astype(float).mean(axis=2), 32)]
    small = np.stack([[part.mean() for part in np.array_split(row[:192], 32)] for row in rows])
    even = image_statistics.thumbnail(image[:288, :192])
    np.testing.assert_allclose(even, (small - small.mean()) / np.linalg.norm(small - small.mean()), atol=1e-5)
    assert sharpness(image) == pytest.approx(sharpness(image.astype(np.float32) / 255), rel=1e-4)
    monkeypatch.setattr(image_statistics, "_STRIP", 5_000)
    np.testing.assert_allclose(image_statistics.thumbnail(image), whole, atol=1e-6)
