"""Images at hand are written so that their files are read as they themselves are seen."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tapetum.data.images.decode import Composition, decode
from tapetum.data.images.encode import ImagesError, write_rows
from tapetum.data.images.given import rows_of

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def _turned() -> Image.Image:
    image = Image.fromarray(RGB)
    image.getexif()[0x0112] = 6
    return image


def _clear(mode: str) -> Image.Image:
    image = Image.fromarray(RGB).convert(mode)
    image.info["transparency"] = 0 if mode in ("L", "P") else (1, 2, 3)
    return image


IMAGES = {
    **{mode: Image.fromarray(RGB).convert(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "RGBX", "RGBa")},
    "PA": Image.fromarray(RGB).convert("P").convert("PA"),
    "F": Image.fromarray(RGB[..., 0] / np.float32(255)),
    "I;16": Image.fromarray(RGB[..., 0].astype(np.uint16) * 256),
    "turned": _turned(),
    **{f"clear {mode}": _clear(mode) for mode in ("L", "P", "RGB")},
}


@pytest.mark.parametrize("alpha", ["white", "keep", "drop"])
@pytest.mark.parametrize("name", IMAGES)
def test_file_of_a_pil_image_is_seen_as_it(tmp_path, name, alpha):
    path = write_rows(rows_of([IMAGES[name]]), tmp_path)[0]

    how = Composition(alpha=alpha)
    expected, found = decode(IMAGES[name], how=how), decode(Path(path).read_bytes(), how=how)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def test_bytes_that_pillow_cannot_open_are_written(tmp_path):
    out, stack = io.BytesIO(), RNG.integers(0, 65536, (5, 4, 6), dtype=np.uint16)
    tifffile.imwrite(out, stack, photometric="minisblack")

    path = write_rows(rows_of([out.getvalue()]), tmp_path)[0]
    np.testing.assert_array_equal(decode(Path(path).read_bytes()), stack.transpose(1, 2, 0))


@pytest.mark.parametrize(
    ("images", "value_range", "says"),
    [
        ([RGB, b"abc"], None, "number 1 of X cannot be read"),
        ([RGB / 255, RGB / 1.0], (0, 1), "number 1 of X cannot be read .values run from"),
        ([RGB / 255, RGB * np.nan], (0, 1), "number 1 of X cannot be read"),
        ([RGB / 255, RGB / 300], (0, 255), "less than two of 256 levels"),
        ([RGB[..., 0] / 1000.0], (0, 65535), "less than two of 256 levels"),
    ],
)
def test_an_image_that_would_be_lost_is_named(tmp_path, images, value_range, says):
    with pytest.raises(ImagesError, match=says):
        write_rows(rows_of(images, value_range), tmp_path)


@pytest.mark.parametrize("image", [RGB / 255, np.full((4, 4), 0.5), RGB / 2550], ids=["full", "one value", "dark"])
def test_floats_of_the_stated_range_are_written(tmp_path, image):
    path = write_rows(rows_of([image], (0, 1)), tmp_path)[0]
    np.testing.assert_array_equal(decode(Path(path).read_bytes()).squeeze(), np.rint(image * 255).astype(np.uint8))
