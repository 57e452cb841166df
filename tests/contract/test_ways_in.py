"""One composition for every way in: a path, bytes, an open file, a PIL image, an array or an archive's member give the same bits."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image, ImageOps

import small_runs
from images import plant, write_table
from tapetum.core.errors import DataError, UserError
from tapetum.data.images import given
from tapetum.pipeline import Pipeline

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (24, 20, 3), dtype=np.uint8)


def of_mode(mode: str) -> Image.Image:
    """Return an image of a mode, with transparency where it has any."""
    if mode in ("I", "I;16"):
        return Image.fromarray(RNG.integers(0, 65536, (24, 20), dtype=np.uint16)).convert(mode)
    if mode == "F":
        return Image.fromarray(RNG.random((24, 20), dtype=np.float32))
    if mode in ("LA", "RGBA", "PA", "La", "RGBa"):
        alpha = Image.fromarray(RNG.integers(0, 256, (24, 20), dtype=np.uint8))
        image = Image.fromarray(RGB).convert("LA" if mode in ("LA", "La", "PA") else "RGBA")
        image.putalpha(alpha)
        return image if image.mode == mode else image.convert(mode)
    return Image.fromarray(RGB).convert(mode)


FORMATS = {  # mode → formats that hold it without loss
    "1": ("PNG", "TIFF", "BMP", "PPM"),
    "L": ("PNG", "TIFF", "BMP", "GIF", "PPM"),
    "LA": ("PNG", "TIFF"),
    "P": ("PNG", "GIF", "BMP", "TIFF"),
    "RGB": ("PNG", "TIFF", "BMP", "PPM"),
    "RGBA": ("PNG", "TIFF"),
    "CMYK": ("TIFF", "JPEG"),
    "YCbCr": ("TIFF", "JPEG"),
    "I;16": ("PNG", "TIFF"),
    "I": ("PPM", "TIFF"),
    "F": ("TIFF",),
}
PAIRS = [(mode, kind) for mode, kinds in FORMATS.items() for kind in kinds]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Pipelines that were fitted on ordinary images, with a crop and in gray, and one of 16-bit images."""
    root = tmp_path_factory.mktemp("ways")
    plant(root / "plain", classes=2, each=4, size=24)
    for name in ("ant", "bee"):
        for i in range(4):
            (root / "deep" / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, 65536, (24, 24), dtype=np.uint16)).save(root / "deep" / "images" / name / f"{i}.png")
    common = {"data__targets": [], "data__group": None, "train__epochs": 0, "split__folds": 2, "input__size": 16}
    how = {
        "plain": {},
        "cropped": {"input__crop": [2, 3, 12, 10], "input__alpha": "black"},
        "gray": {"input__colour": "gray", "input__alpha": "drop"},
        "deep": {"input__alpha": "white"},
    }
    for name, more in how.items():
        small_runs.fit(root / ("deep" if name == "deep" else "plain") / "images", root / name / "run", **common, **more)
    return {name: Pipeline.load(root / name / "run") for name in how}


@pytest.mark.parametrize(("mode", "kind"), PAIRS)
@pytest.mark.parametrize("model", ["plain", "cropped", "gray", "deep"])
def test_every_way_in_gives_the_same_bits(models, tmp_path, model, mode, kind):
    pipeline, path = models[model], tmp_path / f"a.{kind.lower()}"
    exif = Image.Exif()
    exif[0x0112] = 6
    of_mode(mode).save(path, kind, **({"exif": exif} if kind in ("PNG", "JPEG") else {}))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed, tarfile.open(tmp_path / "a.tar", "w") as tar:
        packed.write(path, "x/a")
        tar.add(path, "x/a")
    loaded = Image.open(path)
    loaded.load()
    ways = {
        "text": str(path),
        "bytes": path.read_bytes(),
        "bytearray": bytearray(path.read_bytes()),
        "open file": path.open("rb"),
        "buffer": io.BytesIO(path.read_bytes()),
        "PIL": Image.open(path),
        "PIL loaded": loaded,
        "PIL turned": ImageOps.exif_transpose(Image.open(path)),
        "zip": tmp_path / "a.zip!/x/a",
        "tar": tmp_path / "a.tar!/x/a",
    }
    if (mode, kind) == ("I", "TIFF"):  # a copy no longer says that its numbers are of 32 bits
        del ways["PIL turned"]
    expected = pipeline.predict_proba([path])
    for name, way in ways.items():
        found = pipeline.predict_proba([way])
        assert np.array_equal(found, expected, equal_nan=True), name
        assert set(found.problems) == set(expected.problems), name
    mixed = pipeline.predict_proba([str(path), path.read_bytes(), Image.open(path)])
    assert np.array_equal(mixed, pipeline.predict_proba([path] * 3), equal_nan=True)  # batches of one size are alike to the bit


@pytest.mark.parametrize("mode", ["PA", "La", "RGBa", "HSV", "LAB"])
def test_memory_only_modes_are_read_as_converted(models, mode):
    image = of_mode(mode) if mode != "LAB" else Image.frombytes("LAB", (20, 24), RGB.tobytes())
    plain = image.convert({"PA": "RGBA", "La": "LA", "RGBa": "RGBA"}.get(mode, "RGB"))
    assert np.array_equal(models["plain"].predict_proba(image), models["plain"].predict_proba(plain))


@pytest.mark.parametrize("model", ["plain", "cropped", "gray"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA"])
def test_arrays_and_tensors_are_composed_as_files(models, tmp_path, model, mode):
    image, pipeline = of_mode(mode), models[model]
    image.save(tmp_path / "a.png")
    expected = pipeline.predict_proba(tmp_path / "a.png")
    array = np.array(image)
    last = array if array.ndim == 2 else array.transpose(2, 0, 1)
    scaled = array if mode == "1" else array / 255
    for one in (array, torch.from_numpy(last), Image.fromarray(array)):
        assert np.array_equal(pipeline.predict_proba(one), expected)
    for one in (scaled.astype(np.float32), scaled.astype(np.float64), torch.from_numpy(last / (1 if mode == "1" else 255))):
        assert np.array_equal(pipeline.predict_proba(one, value_range=(0, 1)), expected)


def test_deep_arrays_are_composed_as_deep_files(models, tmp_path):
    array = RNG.integers(0, 65536, (24, 20), dtype=np.uint16)
    Image.fromarray(array).save(tmp_path / "a.png")
    expected = models["deep"].predict_proba(tmp_path / "a.png")
    assert np.array_equal(models["deep"].predict_proba(array), expected)
    assert np.array_equal(models["deep"].predict_proba(array.astype(np.float64), value_range=(0, 65535)), expected)
    assert "16-bit" not in models["plain"].predict(array).problems[0]
    assert "uint16 values" in models["plain"].predict(array).problems[0]


# ------------------------------------------------------------------------------------------------------- one input, one answer


@pytest.fixture
def files(tmp_path):
    plant(tmp_path, classes=2, each=2, size=24, seed=4)
    return sorted((tmp_path / "images").rglob("*.png"))


def test_one_input_gives_one_answer_and_n_in_order(models, files, tmp_path):
    m = models["plain"]
    expected = m.predict_proba(files)
    assert expected.shape == (4, 2)
    for one in (str(files[0]), files[0], np.array(Image.open(files[0])), Image.open(files[0]), files[0].read_bytes()):
        assert len(m.predict(one)) == 1
        assert np.array_equal(m.predict_proba(one), m.predict_proba([files[0]]))
    table = write_table(tmp_path / "t.csv", ["file"], [[f.relative_to(tmp_path).as_posix()] for f in files])
    frame = pl.DataFrame({"file": [str(f) for f in files]})
    pandas = pytest.importorskip("pandas").DataFrame({"file": [str(f) for f in files]})
    many = (
        tuple(files), iter(files), (Image.open(f) for f in files), map(str, files), np.array([str(f) for f in files]),
        frame["file"], pandas["file"], frame, frame.lazy(), pandas, table, str(table), tmp_path / "images",
        [str(files[0]), Image.open(files[1]), files[2].read_bytes(), np.array(Image.open(files[3]))], [[f] for f in files],
    )  # fmt: skip
    for number, images in enumerate(many):
        assert np.array_equal(m.predict_proba(images), expected), number
    for nothing in ([], (), iter(()), frame[:0], pandas[:0]):
        assert m.predict(nothing) == []
        assert m.predict_proba(nothing).shape == (0, 2)


def test_a_generator_of_open_images_leaves_no_file_open(files):
    opened = Path("/dev/fd")
    if not opened.is_dir():
        pytest.skip("needs a system that lists the open files of a process")
    before = len(list(opened.iterdir()))
    rows = given.rows_of(Image.open(files[i % 4]) for i in range(50))
    assert len(rows) == 50
    assert len(list(opened.iterdir())) == before


def test_what_cannot_be_read_has_no_answer_and_a_reason(models, files):
    m = models["plain"]
    images = [files[0], "gone.png", b"", b"text", "https://example.org/a.png", np.full((8, 8, 3), 2.0), np.zeros((8, 8, 7), np.uint8)]
    answers = m.predict(images, value_range=(0, 1))
    p = m.predict_proba(images, value_range=(0, 1))
    assert answers[0] is not None
    assert answers[1:] == [None] * 6
    assert np.isnan(p[1:]).all()
    assert sorted(answers.problems) == sorted(p.problems) == [1, 2, 3, 4, 5, 6]
    reasons = ("no such file", "an empty file", "not an image", "nothing is downloaded", "value_range is 0 to 1", "7 channels")
    assert all(part in answers.problems[i + 1] for i, part in enumerate(reasons))


@pytest.mark.parametrize(
    ("images", "part"),
    [
        (None, "a NoneType is no image"),
        (7, "an int is no image"),
        ({"a": 1}, "a dict is no image"),
        ({"a.png"}, "a set is no image"),
        ([None], "a NoneType is no image"),
        ([[1, 2], [3, 4]], "an int is no image"),
        (np.zeros((8, 8, 3)), "value_range"),
        ([np.zeros((8, 8, 3))], "value_range"),
        (np.zeros((8, 8, 3), np.int64), "uint8, uint16"),
        (np.zeros((2, 8, 8, 3), np.uint8), "one by one"),
        (np.zeros(8, np.uint8), "one image"),
        (torch.zeros((8, 8, 3), dtype=torch.uint8), r"\(C, H, W\)"),
        (torch.zeros((3, 8, 3), dtype=torch.uint8), r"\(C, H, W\)"),
        (io.StringIO("text"), "'rb'"),
    ],
)
def test_other_types_are_refused_with_what_is_taken(models, images, part):
    with pytest.raises(TypeError, match=part) as refused:
        models["plain"].predict(images)
    assert isinstance(refused.value, UserError)


def test_a_row_of_several_files_may_mix_ways_in(tmp_path):
    rows = []
    for i in range(8):
        for part in ("a", "b"):
            Image.fromarray(RNG.integers(0, 256, (16, 16), dtype=np.uint8) // (1 + i % 2)).save(tmp_path / f"{i}_{part}.png")
        rows.append([f"{i}_a.png", f"{i}_b.png", "ant" if i % 2 else "bee"])
    table = write_table(tmp_path / "t.csv", ["one", "two", "label"], rows)
    how = {"data__path": ["one", "two"], "data__group": None, "train__epochs": 0, "split__folds": 2, "input__size": 16}
    small_runs.fit(table, tmp_path / "run", **how)
    m = Pipeline.load(tmp_path / "run")
    a, b = tmp_path / "0_a.png", tmp_path / "0_b.png"
    expected = m.predict_proba([(a, b)])
    assert not np.isnan(expected).any()
    assert np.array_equal(m.predict_proba([(a.read_bytes(), np.array(Image.open(b)))]), expected)
    assert np.array_equal(m.predict_proba([[Image.open(a), str(b)]]), expected)
    both = np.stack([np.array(Image.open(a)), np.array(Image.open(b))], axis=-1)
    assert np.array_equal(m.predict_proba(both), expected)  # two channels that are no alpha here
    assert m.predict([(a, b"")]).problems[0].endswith("an empty file")


# ------------------------------------------------------------------------------------------------------- from Python alone


class Foreign:
    """An array of another library: its items are arrays of numpy, as those of h5py are."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __iter__(self):
        return iter(self.array)


def test_arrays_of_other_libraries_are_not_taken_by_rows(models):
    with pytest.raises(TypeError, match=r"convert it, as numpy.asarray"):
        models["plain"].predict(Foreign(RGB))
    assert len(models["plain"].predict(Foreign(np.stack([RGB, RGB])))) == 2


def test_floats_that_are_black_are_told(models):
    dark = RGB / 255
    with pytest.warns(UserWarning, match=r"run from 0 to 1, and value_range is 0 to 255"):
        models["plain"].predict(dark, value_range=(0, 255))


def test_each_answer_has_its_own_problems(models, files, tmp_path, monkeypatch):
    from tapetum.pipeline import pipeline

    m = models["plain"]

    def another_thread(_):
        monkeypatch.setattr(pipeline, "warn_caller", lambda _: None)
        m.predict([files[0]])

    monkeypatch.setattr(pipeline, "warn_caller", another_thread)
    assert m.predict([files[0], tmp_path / "gone.png"]).problems == {1: "no such file"}


def test_an_image_closed_before_it_was_read_says_so(models, files):
    with Image.open(files[0]) as image:
        pass
    with pytest.warns(UserWarning, match="closed before its pixels were read"):
        assert models["plain"].predict([image]) == [None]


def test_the_item_that_is_no_image_is_numbered(models, files):
    with pytest.raises(TypeError, match="number 1: a float is no image"):
        models["plain"].predict([files[0], float("nan")])


def test_a_path_like_of_bytes_is_a_path(models, files):
    class OfBytes:
        def __fspath__(self):
            return str(files[0]).encode()

    assert models["plain"].predict(OfBytes()) == models["plain"].predict(files[0])


def test_a_table_of_images_at_hand_is_refused(models, files):
    content = [files[0].read_bytes()]
    with pytest.raises(DataError, match=r"table\['image'\].to_list\(\)"):
        models["plain"].predict(pl.DataFrame({"image": content}))
    pandas = pytest.importorskip("pandas")
    with pytest.raises(DataError, match=r"table\['image'\].to_list\(\)"):
        models["plain"].predict(pandas.DataFrame({"image": [Image.open(files[0])]}))


@pytest.mark.parametrize(("place", "says"), [("~/x", "write the home folder out"), ("file:///x", "an address"), ("s3://x/y", "an address")])
def test_home_and_addresses_are_no_places(models, files, tmp_path, monkeypatch, place, says):
    from tapetum import api, load

    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: load(place),
        lambda: api.predict(models["plain"], files[0], f"{place}.csv"),
        lambda: api.evaluate(place, tmp_path),
    ):
        with pytest.raises(UserError, match=says):
            call()
    assert {one.name for one in tmp_path.iterdir()} == {"images", "labels.csv"}
