"""Composed images → the arrays that an exported network takes, by Pillow and numpy: no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from tapetum.core.config import Input
from tapetum.core.errors import UserError
from tapetum.data.images.colour import full_scale

RESAMPLING = {"nearest": Image.Resampling.NEAREST, "bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def size_of(settings: Input) -> tuple[int, int]:
    """Return height and width that images are brought to.

    Raises:
        UserError: each image keeps its own size.
    """
    if settings.size == "native":
        raise UserError("the pipeline takes images at their own size (input.size = 'native')", need="one size", fix="fit with input.size")
    return (settings.size, settings.size) if isinstance(settings.size, int) else (settings.size[0], settings.size[1])


def framed(image: np.ndarray, settings: Input) -> np.ndarray:
    """Return an image (H, W, C) as (C, height, width), as ``data.images.resize.Frame.show`` brings it there, within rounding."""
    if image.dtype == np.uint16:
        image = image.astype(np.float32) / np.float32(full_scale(image.dtype))
    height, width = size_of(settings)
    if settings.resize == "crop":
        tall, wide = image.shape[0], image.shape[1]
        tall, wide = min(tall, max(1, round(wide * height / width))), min(wide, max(1, round(tall * width / height)))
        top, left = (image.shape[0] - tall) // 2, (image.shape[1] - wide) // 2
        image = image[top : top + tall, left : left + wide]
    if settings.resize != "pad":
        return _stretched(image, (height, width), settings.interpolation)
    scale = min(height / image.shape[0], width / image.shape[1])
    inside = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
    out = np.zeros((image.shape[-1], height, width), dtype=image.dtype)
    top, left = (height - inside[0]) // 2, (width - inside[1]) // 2
    out[:, top : top + inside[0], left : left + inside[1]] = _stretched(image, inside, settings.interpolation)
    return out


def one_view(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the only view of a row."""
    if len(images) != 1:
        raise UserError("rows of several views cannot be answered by an exported pipeline", need="one image a row")
    return images[0]


def _stretched(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Return an image (H, W, C) as (C, *size); Pillow resizes the channels of a colour image together, to the same values."""
    if image.dtype == np.uint8 and image.shape[-1] == 3 and image.shape[:2] != size:
        whole = Image.fromarray(np.ascontiguousarray(image)).resize((size[1], size[0]), RESAMPLING[interpolation])
        return np.ascontiguousarray(np.asarray(whole).transpose(2, 0, 1))
    return np.stack([_resized(image[..., c], size, interpolation) for c in range(image.shape[-1])])


def _resized(channel: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Return one channel (H, W) at a size; uint8 stays uint8, float stays float32 in [0, 1]."""
    if channel.shape == size:
        return channel
    out = np.asarray(Image.fromarray(np.ascontiguousarray(channel)).resize((size[1], size[0]), RESAMPLING[interpolation]))
    return out.clip(0, 1) if out.dtype == np.float32 else out
