"""``tapetum show``: what training would see, drawn for people."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from kinds import plant_hpa, plant_people, plant_tiff
from tapetum import api, cli
from tapetum.core.errors import UserError
from tapetum.show.batches import GAP, HEAD, LABELS, TILE, Shown, draw


def tile_of(image: Image.Image, part: int, column: int, row: int, columns: int, lines: int = 0) -> np.ndarray:
    """Return one tile of a sheet."""
    left = LABELS + part * (columns * (TILE + GAP) + 3 * GAP) + column * (TILE + GAP)
    top = HEAD + row * (TILE + 2 * GAP + 12 * lines)
    return np.asarray(image.crop((left, top, left + TILE, top + TILE)))


def test_the_command_draws_originals_draws_and_labels(tmp_path):
    table = plant_people(tmp_path / "data", rows=12)
    options = ["--target", "mask", "--target", "age:regression", "--rows", "3", "--draws", "2", "--size", "32"]
    ran = CliRunner().invoke(cli.app, ["show", str(table), *options, "-o", str(tmp_path / "sheet.png")])
    assert ran.exit_code == 0, ran.output
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width == LABELS + 3 * (TILE + GAP + 3 * GAP)
        assert image.height == HEAD + 3 * (TILE + 2 * GAP) + GAP


def test_other_channels_are_drawn_one_by_one(tmp_path):
    plant_hpa(tmp_path / "data", rows=6, test=0)
    (tmp_path / "data" / "sample_submission.csv").unlink()
    found = api.show(tmp_path / "data", tmp_path / "sheet.png", rows=2, draws=1, input__size=32, augment=[])
    assert found["channels"] == 4
    with Image.open(tmp_path / "sheet.png") as image:
        levels = [tile_of(image, 0, c, 0, 4).mean() for c in range(4)]
        assert levels == sorted(levels)  # red is drawn darkest, yellow brightest
        for c in range(4):
            np.testing.assert_array_equal(
                tile_of(image, 0, c, 1, 4), tile_of(image, 1, c, 1, 4)
            )  # nothing augments: the draw is the original


def test_a_draw_of_sixteen_bits_shows_a_change_of_brightness(tmp_path):
    original = np.full((8, 8, 1), 1000, dtype=np.uint16)
    original[:4] = 2000
    brighter = (original / 65535 + 500 / 65535).astype(np.float32)
    draw([Shown(("a",), [original], [[brighter]])], tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as image:
        before, after = tile_of(image, 0, 0, 0, 1).astype(int), tile_of(image, 1, 0, 0, 1).astype(int)
    assert before[-1].max() <= 2
    assert 120 <= after[-1].mean() <= 135  # half of the original's range above its darkest


def test_views_and_mixtures_stand_on_the_sheet(tmp_path):
    table = plant_people(tmp_path / "data", rows=8)
    more = {"input__bands": [[0, 16], [16, 32]], "input__bands_as": "views", "mix": [{"name": "cutmix"}], "data__targets": ["mask"]}
    api.show(table, tmp_path / "a.png", rows=2, draws=2, input__size=[16, 32], **more)
    api.show(table, tmp_path / "b.png", rows=2, draws=2, input__size=[16, 32], **more)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.width == LABELS + 3 * (2 * (TILE + GAP) + 3 * GAP)  # two views an image


def test_pages_of_a_tiff_are_its_channels(tmp_path):
    table = plant_tiff(tmp_path / "data", rows=4)
    assert api.show(table, tmp_path / "s.png", rows=1, draws=1, data__targets=["label"], input__size=32)["channels"] == 5


def test_only_a_png_is_drawn(tmp_path):
    with pytest.raises(UserError, match=r"\.pdf"):
        api.show(plant_people(tmp_path, rows=6), tmp_path / "s.pdf", data__targets=["mask"])
