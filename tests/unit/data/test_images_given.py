from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from tapetum.core.errors import KindError
from tapetum.data.images.given import Pixels, rows_of

IMAGE = np.arange(108, dtype=np.uint8).reshape(6, 6, 3)


@pytest.mark.parametrize("given", [1, (0,), (0, 1, 2), (1, 0), (0, 0), (0, float("inf")), (float("nan"), 1), ("0", "1"), "01"])
def test_a_range_of_values_is_two_finite_numbers(given):
    with pytest.raises(KindError, match=r"value_range is .*two finite numbers"):
        rows_of(IMAGE / 255, given)


@pytest.mark.parametrize(("dtype", "given"), [(np.uint16, (0, 4095)), (np.uint8, (0, 1)), (bool, (0, 255))])
def test_a_range_that_no_array_takes_is_refused(dtype, given):
    with pytest.raises(KindError, match="seen as in files: 0 to"):
        rows_of([IMAGE.astype(dtype)], given)


def test_range_beside_whole_numbers_is_for_the_floats():
    whole, floats = (row[0] for row in rows_of([IMAGE, IMAGE / 255], (0, 1)))
    assert isinstance(whole, Pixels)
    assert whole.value_range is None
    assert isinstance(floats, Pixels)
    assert floats.value_range == (0, 1)
    assert rows_of(IMAGE, (0, 255))
    assert rows_of("a.png", (0, 1)) == [["a.png"]]


def test_tensors_of_any_float_and_without_dense_values():
    planes = torch.from_numpy(IMAGE.astype(np.float32) / 64).permute(2, 0, 1)
    for tensor in (planes.bfloat16(), planes.half(), planes.double(), planes.clone().requires_grad_()):
        pixels = rows_of(tensor, (0, 1))[0][0]
        assert np.array_equal(pixels.array, planes.numpy().transpose(1, 2, 0))
    for tensor in (planes.to("meta"), planes.to_sparse()):
        with pytest.raises(KindError, match="dense"):
            rows_of(tensor, (0, 1))


def test_what_cannot_be_read_as_an_image_is_named(tmp_path):
    place = tmp_path / "x.png"
    place.write_bytes(b"\x89PNG")
    with open(place, encoding="utf-8") as text, pytest.raises(KindError, match="open as text"):
        rows_of(text)
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(KindError, match=r"cannot be read .*closed"):
        rows_of(closed)
    with pytest.raises(KindError, match="a masked array"):
        rows_of(np.ma.array(IMAGE, mask=IMAGE > 5))
