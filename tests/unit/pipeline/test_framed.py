"""Images brought to size without torch are those that torch brings to size, within a step of 8-bit rounding."""

from __future__ import annotations

import numpy as np
import pytest

from images import draw
from tapetum.core.config import Input
from tapetum.core.errors import UserError
from tapetum.data.images.resize import Frame, to_tensor
from tapetum.pipeline.framed import framed, one_view, size_of


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_framed_images_are_those_of_the_transform(resize, interpolation, dtype):
    settings = Input(size=(24, 32), resize=resize, interpolation=interpolation)
    image = draw(1, np.random.default_rng(0), size=70)[:, :45]
    image = np.concatenate([image, image[..., :1]], axis=-1)  # four channels, the last one no alpha
    image = image if dtype == np.uint8 else image.astype(np.uint16) * 257 if dtype == np.uint16 else image.astype(np.float32) / 255
    mine, theirs = framed(image, settings), Frame.from_input(settings).show(to_tensor(image)).numpy()
    assert (
        (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape) == (np.dtype(np.uint8 if dtype == np.uint8 else np.float32), (4, 24, 32))
    )
    difference = np.abs(mine.astype(np.float64) - theirs)
    assert difference.max() <= (1 if dtype == np.uint8 else 1e-5)


def test_images_without_one_size_or_one_view_are_refused():
    with pytest.raises(UserError, match="own size"):
        size_of(Input(size="native"))
    assert size_of(Input(size=96)) == (96, 96)
    image = np.zeros((2, 2, 1), np.uint8)
    assert one_view([image]) is image
    with pytest.raises(UserError, match="several views"):
        one_view([image, image])
