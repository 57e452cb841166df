"""Augmentations that move pixels. Each takes an image (C, H, W), uint8 or float32 in [0, 1], and a generator, and gives a new one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tapetum.core.errors import UserError
from tapetum.data.images.resize import Frame, placed


def hflip(x: Tensor, rng: np.random.Generator, *, probability: float = 0.5) -> Tensor:
    """Mirror left and right."""
    return x.flip(-1) if rng.random() < probability else x


def vflip(x: Tensor, rng: np.random.Generator, *, probability: float = 0.5) -> Tensor:
    """Mirror top and bottom."""
    return x.flip(-2) if rng.random() < probability else x


def dihedral(x: Tensor, rng: np.random.Generator, *, probability: float = 1.0) -> Tensor:
    """Take one of the eight turns and mirrorings of a square; of an image that is not square, one of the four that keep its shape."""
    turns = turns_of(x)
    which = int(rng.integers(turns))
    return turned(x, which) if rng.random() < probability else x


def turns_of(x: Tensor) -> int:
    """Return how many dihedral views images (…, H, W) have: 8 if square, else 4."""
    return 8 if x.shape[-1] == x.shape[-2] else 4


def turned(x: Tensor, which: int) -> Tensor:
    """Return dihedral view 0-7 of images (…, H, W): bit 0 mirrors left and right, bit 1 top and bottom, bit 2 swaps rows and columns."""
    sides = [axis for bit, axis in ((1, -1), (2, -2)) if which & bit]
    x = x.flip(sides) if sides else x
    return x.transpose(-1, -2) if which & 4 else x


def resized_crop(
    x: Tensor,
    rng: np.random.Generator,
    frame: Frame,
    *,
    scale: tuple[float, float] = (0.6, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Tensor:
    """Cut out a random part and bring it to the frame's size.

    Args:
        x: the image (C, H, W) before resizing.
        rng: where the draws come from.
        frame: the size to come to, and how.
        scale: share of the shown area that the part covers.
        ratio: aspect of the part against the aspect that evaluation shows, drawn evenly in its logarithm; 1 trains in the proportions
            of evaluation. (torchvision states it in pixels; the two agree on square images.)

    Raises:
        UserError: a scale beyond 1.

    Source: Szegedy et al. 2014, arXiv 1409.4842; ten tries as in torchvision's RandomResizedCrop.
    """
    if not 0 < scale[0] <= scale[1] <= 1:
        raise UserError(
            f"resized_crop has scale {list(scale)}", need="shares of the area, 0 < low ≤ high ≤ 1", fix="to zoom out too, use scaled_crop"
        )
    shown = frame.part_of(x)
    height, width = shown
    for _ in range(10):
        area, aspect = rng.uniform(*scale), math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        tried = round(shown[0] * math.sqrt(area / aspect)), round(shown[1] * math.sqrt(area * aspect))
        if 0 < tried[0] <= x.shape[-2] and 0 < tried[1] <= x.shape[-1]:
            height, width = tried
            break
    top = int(rng.integers(x.shape[-2] - height + 1))
    left = int(rng.integers(x.shape[-1] - width + 1))
    return frame.fill(x[..., top : top + height, left : left + width], frame.size_of(x))


def scaled_crop(x: Tensor, rng: np.random.Generator, frame: Frame, *, scale: tuple[float, float] = (0.8, 1.2)) -> Tensor:
    """Bring the image to a random multiple of the frame's size, then cut the frame out, or lay the image on black, at a random place.

    Args:
        x: the image (C, H, W) before resizing.
        rng: where the draws come from.
        frame: the size to come to, and how.
        scale: the multiple of height and width.
    """
    factor = float(rng.uniform(*scale))
    size = frame.size_of(x)
    large = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
    height, width = frame.part_of(x)
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    grown = frame.fill(x[..., top : top + height, left : left + width], large)
    return placed(grown, size, *(_offset(rng, a, b) for a, b in zip(size, large, strict=True)))


def rotation(x: Tensor, rng: np.random.Generator, *, degrees: float = 15.0, fill: float = 0.0, probability: float = 1.0) -> Tensor:
    """Turn about the centre by up to ``degrees`` either way, bilinear; ``fill`` (0 black to 1 white) covers what was outside."""
    angle = float(rng.uniform(-degrees, degrees))
    if rng.random() >= probability:
        return x
    return _affine(x, fill, angle=angle, translate=[0, 0], scale=1.0, shear=[0.0, 0.0])


def affine(
    x: Tensor,
    rng: np.random.Generator,
    *,
    degrees: float = 10.0,
    translate: float | tuple[float, float] = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shear: float | tuple[float, float] = 0.0,
    fill: float = 0.0,
    probability: float = 1.0,
) -> Tensor:
    """Rotate, shift, scale and shear at once, bilinear.

    Args:
        x: the image (C, H, W).
        rng: where the draws come from.
        degrees: largest rotation either way.
        translate: largest shift either way as a share of width and height; one number for both.
        scale: range of the factor.
        shear: largest shear in degrees along x and y; one number for x alone, as in torchvision.
        fill: the value of pixels from outside of the image, 0 black to 1 white.
        probability: share of images changed.
    """
    right, down = translate if isinstance(translate, tuple) else (translate, translate)
    along_x, along_y = shear if isinstance(shear, tuple) else (shear, 0.0)
    signs = rng.uniform(-1, 1, 5)
    factor = float(rng.uniform(*scale))
    if rng.random() >= probability:
        return x
    return _affine(
        x,
        fill,
        angle=float(signs[0] * degrees),
        translate=[round(signs[1] * right * x.shape[-1]), round(signs[2] * down * x.shape[-2])],
        scale=factor,
        shear=[float(signs[3] * along_x), float(signs[4] * along_y)],
    )


def _affine(x: Tensor, fill: float, **how: Any) -> Tensor:
    from torchvision.transforms.v2 import InterpolationMode, functional

    value = fill if x.is_floating_point() else fill * torch.iinfo(x.dtype).max
    return functional.affine(x, interpolation=InterpolationMode.BILINEAR, fill=[value], **how)


def _offset(rng: np.random.Generator, size: int, large: int) -> int:
    """Return where a side of ``large`` starts on a canvas of ``size``: it covers the canvas, or lies within it."""
    low, high = min(size - large, 0), max(size - large, 0)
    return int(rng.integers(low, high + 1))
