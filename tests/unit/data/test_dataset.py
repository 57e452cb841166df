import io
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import tifffile
import torch
from PIL import Image

from tapetum.core import draws
from tapetum.core.config import Input
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest
from tapetum.data.audit import check_files
from tapetum.data.images.dataset import ImageDataset, Packed, batches, channel_statistics
from tapetum.data.images.decode import Composition
from tapetum.data.images.form import Form, without_odd
from tapetum.data.images.transforms import EvalTransform, TrainTransform

ROWS = 11
AUGMENTS = ("hflip", "resized_crop", "rotation", "colour_jitter", "erasing")


def png(image):
    file = io.BytesIO()
    Image.fromarray(image.squeeze()).save(file, "PNG")
    return file.getvalue()


def manifest_of(root, names, **columns):
    names = [[n] if isinstance(n, str) else n for n in names]
    frame = pl.DataFrame({"row_id": [f"r{i}" for i in range(len(names))], "path": names, **columns})
    return Manifest(frame, (), root)


@pytest.fixture
def some(tmp_path):
    """Eleven RGB images of different sizes."""
    rng = np.random.default_rng(0)
    for i in range(ROWS):
        (tmp_path / f"{i}.png").write_bytes(png(rng.integers(0, 256, (20 + i, 40 - i, 3), dtype=np.uint8)))
    return manifest_of(tmp_path, [f"{i}.png" for i in range(ROWS)])


def key_of(row_id, occurrence):
    return draws.key(0, "main", 0, 3, row_id, occurrence, 0)


def images_of(manifest, settings, transform, **more):
    """Return images whose form is that of all rows."""
    found = check_files(manifest, Composition.from_input(settings), lambda _: None)
    return ImageDataset(manifest, settings, transform, form=Form.of(found), **more)


def joined(parts):
    parts = list(parts)
    return torch.cat([p.x for p in parts]), torch.cat([p.rows for p in parts]), torch.cat([p.ok for p in parts])


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_workers_and_batch_size_change_nothing(some, cache):
    rows = np.random.default_rng(1).permutation(np.repeat(np.arange(ROWS), 2))
    settings = Input(size=24, cache=cache)
    seen = []
    for workers, size in ((0, 4), (2, 4), (3, 7), (0, 1)):
        seen.append(joined(batches(images_of(some, settings, TrainTransform(settings, AUGMENTS)), rows, size, key_of, workers)))
    for x, numbers, ok in seen:
        assert torch.equal(x, seen[0][0])
        assert numbers.tolist() == rows.tolist()
        assert ok.all()
    first, second = np.flatnonzero(rows == 5)
    assert not torch.equal(seen[0][0][first], seen[0][0][second])  # a second occurrence has draws of its own


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_row_keeps_its_slot_and_changes_no_other(some, workers):
    settings = Input(size=24, cache="none")
    transform = TrainTransform(settings, AUGMENTS)
    whole = list(batches(images_of(some, settings, transform), range(ROWS), 4, key_of, workers))
    path = some.paths(5)[0]
    path.write_bytes(path.read_bytes()[:600])
    some.paths(9)[0].unlink()
    broken = list(batches(images_of(some, settings, transform), range(ROWS), 4, key_of, workers))
    assert {row: why for b in broken for row, why in b.reasons.items()} == {5: "truncated after 600 bytes", 9: "no such file"}
    for a, b in zip(whole, broken, strict=True):
        assert a.x.shape == b.x.shape
        assert torch.equal(a.rows, b.rows)
        for i, row in enumerate(b.rows.tolist()):
            assert bool(b.ok[i]) == (row not in (5, 9))
            assert torch.equal(b.x[i], a.x[i] if b.ok[i] else torch.zeros_like(a.x[i]))


def test_a_batch_of_nothing_readable_still_has_its_shape(tmp_path, some):
    for i in (0, 1):
        some.paths(i)[0].write_bytes(b"")
    (batch,) = batches(images_of(some, Input(size=(10, 12)), EvalTransform(Input(size=(10, 12)))), [0, 1], 4)
    assert batch.x.shape == (2, 3, 10, 12)
    assert not batch.ok.any()


def test_a_file_changed_since_it_was_listed_is_named(some):
    from tapetum.core import files

    hashed = some.with_column("sha256", [files.sha256(some.paths(i)[0]) for i in range(ROWS)])
    (whole,) = batches(images_of(hashed, Input(size=8), EvalTransform(Input(size=8))), range(ROWS), ROWS)
    assert whole.ok.all()
    some.paths(3)[0].write_bytes(some.paths(2)[0].read_bytes())  # a whole image, and another one
    (batch,) = batches(images_of(hashed, Input(size=8), EvalTransform(Input(size=8))), range(ROWS), ROWS)
    assert list(batch.reasons) == [3]
    assert "changed" in batch.reasons[3]


def test_memory_holds_what_fits_and_no_more(some):
    sizes = [(20 + i) * (40 - i) * 3 for i in range(ROWS)]
    images = images_of(some, Input(size=8), EvalTransform(Input(size=8)), cache_bytes=sum(sizes[:3]))
    list(batches(images, range(ROWS), 4))
    assert [images.kept.get(i) is not None for i in range(4)] == [True, True, True, False]
    assert images.kept.free == 0
    for i in range(ROWS):
        some.paths(i)[0].unlink()
    (batch,) = batches(images.with_transform(TrainTransform(Input(size=8), ["hflip"])), range(ROWS), ROWS)
    assert batch.ok.tolist() == [True] * 3 + [False] * (ROWS - 3)


def test_gray_among_rgb_is_repeated_and_other_mixtures_are_named(tmp_path):
    gray, rgb, four = (np.full((8, 8, c), 50 * c, dtype=np.uint8) for c in (1, 3, 4))
    for name, image in (("a", gray), ("b", rgb), ("c", four)):
        (tmp_path / f"{name}.png").write_bytes(png(image))
    settings = Input(size=8, alpha="keep")
    (batch,) = batches(images_of(manifest_of(tmp_path, ["a.png", "b.png"]), settings, EvalTransform(settings)), [0, 1], 2)
    assert batch.x.shape == (2, 3, 8, 8)
    assert (batch.x[0] == 50).all()
    with pytest.raises(DataError, match=r"r0 has 3, r1 has 4"):
        images_of(manifest_of(tmp_path, ["b.png", "c.png"]), settings, EvalTransform(settings))
    known = ImageDataset(manifest_of(tmp_path, ["b.png", "c.png"]), settings, EvalTransform(settings), form=Form(3))
    (batch,) = batches(known, [0, 1], 2)
    assert batch.reasons == {1: "4 channels; the images that the network learns from have 3"}


def test_depths_are_brought_together_for_all_rows(tmp_path):
    (tmp_path / "a.png").write_bytes(png(np.full((4, 4, 1), 51, dtype=np.uint8)))
    tifffile.imwrite(tmp_path / "b.tif", np.full((4, 4), 13107, dtype=np.uint16))
    images = images_of(manifest_of(tmp_path, ["a.png", "b.tif"]), Input(size="native"), EvalTransform(Input(size="native")))
    assert images.form == Form(1, "float32", (4, 4))
    (batch,) = batches(images, [0, 1], 2)
    assert torch.allclose(batch.x, torch.tensor(0.2))
    (alone,) = batches(images, [0], 1)
    assert torch.equal(alone.x[0], batch.x[0])


def test_channel_order_of_four_files_reaches_the_tensor(tmp_path):
    for c in range(4):
        (tmp_path / f"{c}.png").write_bytes(png(np.full((8, 8, 1), 10 + c, dtype=np.uint8)))
    manifest = manifest_of(tmp_path, [[f"{c}.png" for c in (2, 0, 3, 1)]])
    (batch,) = batches(images_of(manifest, Input(size=4), EvalTransform(Input(size=4))), [0], 1)
    assert batch.x[0, :, 0, 0].tolist() == [12, 10, 13, 11]
    (tmp_path / "3.png").unlink()
    images = ImageDataset(manifest, Input(size=4), EvalTransform(Input(size=4)), form=Form(4))
    (batch,) = batches(images, [0], 1)
    assert batch.reasons == {0: "3.png: no such file"}
    views = Input(size=4, paths="views")
    (batch,) = batches(ImageDataset(manifest, views, EvalTransform(views), form=Form(1)), [0], 1)
    assert batch.x.shape == (1, 4, 1, 4, 4)


def test_native_sizes_that_differ_are_named(some):
    with pytest.raises(DataError, match=r"r0 is 3x20x40.*input\.size"):
        list(batches(images_of(some, Input(size="native"), EvalTransform(Input(size="native"))), [0, 1], 2))
    with pytest.raises(UserError, match="at least one"):
        list(batches(images_of(some, Input(size=8), EvalTransform(Input(size=8))), [0], 0))


def test_leaving_early_stops_the_workers(some):
    import threading

    stream = batches(images_of(some, Input(size=8), EvalTransform(Input(size=8))), range(ROWS), 1, workers=2)
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("images")]


def test_statistics_equal_numpys_over_all_pixels(tmp_path):
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)
    for i, image in enumerate(stack):
        (tmp_path / f"{i}.png").write_bytes(png(image))
    manifest = manifest_of(tmp_path, [f"{i}.png" for i in range(6)])
    images = images_of(manifest, Input(size="native"), EvalTransform(Input(size="native")))
    (tmp_path / "4.png").unlink()
    images = images_of(manifest, Input(size="native"), EvalTransform(Input(size="native")))
    mean, std = channel_statistics(images, [0, 2, 3, 4])
    used = stack[[0, 2, 3]] / 255
    assert np.allclose(mean, used.mean(axis=(0, 1, 2)), atol=1e-12)
    assert np.allclose(std, used.std(axis=(0, 1, 2)), atol=1e-12)
    with pytest.raises(DataError, match="not one"):
        channel_statistics(images, [4])


def test_statistics_of_images_far_from_zero_lose_no_digits(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{i}.tif" for i in range(5)]
    for name in names:
        tifffile.imwrite(tmp_path / name, (1e8 + rng.normal(size=(6, 6))).astype(np.float64).astype(np.float32) / np.float32(1e8))
    images = images_of(manifest_of(tmp_path, names), Input(size="native"), EvalTransform(Input(size="native")))
    pixels = np.stack([images.read(i)[0] for i in range(5)]).astype(np.float64)
    mean, std = channel_statistics(images, range(5))
    assert mean[0] == pytest.approx(pixels.mean(), rel=1e-12)
    assert std[0] == pytest.approx(pixels.std(), rel=1e-6)


# ------------------------------------------------------------------------------------------------------- what is missing


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_packed_batches_hold_every_row_once_in_place(some, seed, share):
    rng = np.random.default_rng(seed)
    wanted = rng.permutation(np.repeat(np.arange(ROWS), 4))[:42]
    gone = {some.row_ids[i]: "gone" for i in np.flatnonzero(rng.random(ROWS) < share)}
    images = images_of(some, Input(size=8), EvalTransform(Input(size=8)), missing=gone)
    plain = torch.cat([batch.x for batch in batches(images, wanted, 5)])
    told, seen = [], []
    packed = Packed(batches(images, wanted, 5), told.append)
    for batch, at in packed:
        assert len(batch.x) == (2 if at.max() >= 40 else 5)  # 42 rows in batches of 5: the last has 2
        for place, number in enumerate(at):
            assert bool(batch.ok[place]) == (number >= 0)
            if number >= 0:
                assert number % 5 == place
                assert int(batch.rows[place]) == wanted[number]
                assert torch.equal(batch.x[place], plain[number])
                seen.append(int(number))
    readable = [i for i, row in enumerate(wanted) if some.row_ids[row] not in gone]
    assert sorted(seen) == readable
    assert told == [5, 10, 15, 20, 25, 30, 35, 40, 42]
    assert set(packed.reasons) == {int(row) for row in wanted if some.row_ids[row] in gone}


def test_few_readable_rows_make_few_batches(some):
    images = images_of(
        some, Input(size=8), EvalTransform(Input(size=8)), missing={r: "gone" for r in some.row_ids if r not in ("r1", "r7")}
    )
    rows = np.tile(np.arange(ROWS), 8)
    assert len(list(Packed(batches(images, rows, 8)))) == 2  # 16 readable rows, two at each place


def test_batches_whose_rows_wait_take_bounded_memory(some):
    """The first place of every batch is always missing: a batch is given up once four batches' rows wait."""
    images = images_of(some, Input(size=8), EvalTransform(Input(size=8)), missing={"r0": "gone"})
    rows, waiting = np.tile([0, 1, 2, 3], 40), []
    packed = Packed(batches(images, rows, 4))
    for _ in packed:
        waiting.append(sum(map(len, packed._waiting)))
    assert max(waiting) <= 16
    assert len(waiting) == 40


def test_what_cannot_be_read_is_found_out_once(some, monkeypatch):
    (some.root / "3.png").unlink()
    images = ImageDataset(some, Input(size=8), EvalTransform(Input(size=8)), form=Form(3))
    tries, decode = [], ImageDataset._decode
    monkeypatch.setattr(ImageDataset, "_decode", lambda self, row: tries.append(row) or decode(self, row))
    other = images.with_transform(TrainTransform(Input(size=8), ["hflip"]))
    for seen in (images, other, images):
        (batch,) = batches(seen, [3], 1)
        assert batch.reasons == {3: "no such file"}
    assert tries == [3]


def test_images_unlike_most_are_missing_with_the_reason():
    schema = {"row_id": pl.String, "status": pl.String, "reason": pl.String, "channels": pl.Int16}
    rows = [("a", "ok", None, 3), ("b", "ok", None, 1), ("c", "ok", None, 4), ("d", "missing", "gone", None), ("e", "ok", None, 3)]
    found = without_odd(pl.DataFrame(rows, schema=schema, orient="row"))
    assert found["status"].to_list() == ["ok", "ok", "missing", "missing", "ok"]
    assert found["reason"].to_list() == [None, None, "4 channels; most images have 3", "gone", None]
    gray = without_odd(pl.DataFrame([("a", "ok", None, 1), ("b", "ok", None, 1), ("c", "ok", None, 2)], schema=schema, orient="row"))
    assert gray["reason"].to_list() == [None, None, "2 channels; most images have 1"]
    tie = without_odd(pl.DataFrame([("a", "ok", None, 1), ("b", "ok", None, 4)], schema=schema, orient="row"))
    assert tie["status"].to_list() == ["missing", "ok"]


def test_decoding_needs_no_torch():
    code = "import sys, tapetum.data.images.decode, tapetum.data.choices, tapetum.data.audit; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_transforms_import_torchvision_only_when_used():
    code = (
        "import sys, tapetum.data.images.dataset, tapetum.data.images.transforms, tapetum.data.images.views;"
        "sys.exit('torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
