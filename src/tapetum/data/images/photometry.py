"""Augmentations that change values in place: light, colour, holes. Right for any number of channels, or refused.

Images are (C, H, W), uint8 or float32 in [0, 1], before normalisation; fills are stated as 0 (black) to 1 (white).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tapetum.core.errors import UserError
from tapetum.core.words import plural

Fill = float | str  # 0 to 1, "mean" of each channel, or "noise"


def colour_jitter(
    x: Tensor,
    rng: np.random.Generator,
    *,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.0,
    probability: float = 1.0,
) -> Tensor:
    """Change brightness, contrast, saturation by factors within 1 ± the value, hue by a shift of up to ± the value, in random order.

    RGB as in torchvision. Gray has no saturation and hue: they change nothing there. With other numbers of channels, brightness and
    contrast work on each channel by itself.

    Raises:
        UserError: saturation or hue of an image that is neither gray nor RGB.
    """
    from torchvision.transforms.v2 import functional

    channels = x.shape[0]
    if channels not in (1, 3) and (saturation or hue):
        raise _no_colours("colour_jitter", channels, "set saturation = 0 and hue = 0, or use lighting")
    steps = [
        (functional.adjust_brightness, _factor(rng, brightness)),
        (functional.adjust_contrast, _factor(rng, contrast)),
        (functional.adjust_saturation, _factor(rng, saturation)),
        (functional.adjust_hue, float(rng.uniform(-hue, hue))),
    ]
    order = rng.permutation(4)
    if rng.random() >= probability:
        return x
    for i in order:
        apply, amount = steps[i]
        if amount == (0.0 if i == 3 else 1.0) or (channels != 3 and i > 1):
            continue
        x = apply(x, amount) if channels == 3 else apply(x[:, None], amount)[:, 0]
    return x


def lighting(
    x: Tensor,
    rng: np.random.Generator,
    *,
    brightness: float = 0.1,
    contrast: float = 0.1,
    channelwise: bool = False,
    probability: float = 1.0,
) -> Tensor:
    """Shift values by up to ± ``brightness`` of the full scale and stretch them about their mean.

    Args:
        x: the image, any number of channels.
        rng: where the draws come from.
        brightness: largest shift.
        contrast: c is drawn within ± the value; the factor is 1 + c, or 1 / (1 + |c|) below zero.
        channelwise: draw for each channel by itself, and stretch about its own mean.
        probability: share of images changed.

    Source: fastai 0.7, ``RandomLighting``.
    """
    count = x.shape[0] if channelwise else 1
    shift = rng.uniform(-brightness, brightness, count)
    c = rng.uniform(-contrast, contrast, count)
    if rng.random() >= probability:
        return x
    factor = np.where(c < 0, 1 / (1 - c), 1 + c)
    values = _unit(x)
    mean = values.mean(dim=(-2, -1), keepdim=True) if channelwise else values.mean()
    out = (values - mean) * _column(factor) + mean + _column(shift)
    return _back(out, x)


def grayscale(x: Tensor, rng: np.random.Generator, *, probability: float = 0.1) -> Tensor:
    """Make an RGB image gray, in three equal channels; a gray one stays.

    Raises:
        UserError: another number of channels.
    """
    from torchvision.transforms.v2 import functional

    if x.shape[0] not in (1, 3):
        raise _no_colours("grayscale", x.shape[0], "leave it out")
    return functional.rgb_to_grayscale(x, num_output_channels=3) if rng.random() < probability and x.shape[0] == 3 else x


def erasing(
    x: Tensor,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    fill: Fill = 0.0,
    probability: float = 0.25,
) -> Tensor:
    """Fill one random rectangle of a share ``scale`` of the area and an aspect within ``ratio``.

    Source: Zhong et al. 2017, arXiv 1708.04896; ten tries as in torchvision's RandomErasing.
    """
    if rng.random() >= probability:
        return x
    height, width = x.shape[-2:]
    for _ in range(10):
        area = rng.uniform(*scale) * height * width
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < tall < height and 0 < wide < width:
            top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
            return _filled(x, [(top, left, tall, wide)], fill, rng)
    return x


def coarse_dropout(
    x: Tensor,
    rng: np.random.Generator,
    *,
    holes: tuple[int, int] = (1, 8),
    size: tuple[float, float] = (0.05, 0.15),
    fill: Fill = 0.0,
    probability: float = 0.5,
) -> Tensor:
    """Fill several random rectangles that lie within the image; ``size`` is the range of their sides as shares of height and width."""
    if rng.random() >= probability:
        return x
    height, width = x.shape[-2:]
    boxes = []
    for _ in range(int(rng.integers(holes[0], holes[1] + 1))):
        tall, wide = (max(1, round(side * rng.uniform(*size))) for side in (height, width))
        boxes.append((int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1)), tall, wide))
    return _filled(x, boxes, fill, rng)


def cutout(
    x: Tensor, rng: np.random.Generator, *, holes: int = 1, size: float = 0.25, fill: Fill = 0.0, probability: float = 1.0
) -> Tensor:
    """Fill squares of ``size`` times the shorter side, centred anywhere: what leaves the image is cut off.

    Source: DeVries and Taylor 2017, arXiv 1708.04552.
    """
    if rng.random() >= probability:
        return x
    height, width = x.shape[-2:]
    side = max(1, round(size * min(height, width)))
    boxes = []
    for _ in range(holes):
        top, left = int(rng.integers(height)) - side // 2, int(rng.integers(width)) - side // 2
        boxes.append((max(top, 0), max(left, 0), side + min(top, 0), side + min(left, 0)))
    return _filled(x, boxes, fill, rng)


def _filled(x: Tensor, boxes: list[tuple[int, int, int, int]], fill: Fill, rng: np.random.Generator) -> Tensor:
    """Return a copy with the boxes (top, left, height, width) filled."""
    out = x.clone()
    for top, left, tall, wide in boxes:
        part = out[:, top : top + tall, left : left + wide]
        if fill == "noise":
            part.copy_(_back(torch.from_numpy(rng.random(part.shape, dtype=np.float32)), x))
        elif fill == "mean":
            part.copy_(_back(_unit(x).mean(dim=(-2, -1), keepdim=True).expand(part.shape), x))
        elif isinstance(fill, str):
            raise UserError(f"fill is {fill!r}", need="a number from 0 (black) to 1 (white), 'mean' or 'noise'")
        else:
            part.copy_(_back(torch.full(part.shape, float(fill)), x))
    return out


def _unit(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.float() / 255


def _back(values: Tensor, like: Tensor) -> Tensor:
    """Return values in [0, 1] in the dtype of ``like``, clipped and rounded."""
    values = values.clamp(0, 1)
    return values.to(like.dtype) if like.is_floating_point() else (values * 255).round().to(like.dtype)


def _factor(rng: np.random.Generator, spread: float) -> float:
    return float(rng.uniform(max(0.0, 1 - spread), 1 + spread))


def _column(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None]


def _no_colours(name: str, channels: int, fix: str) -> UserError:
    return UserError(f"augmentation {name!r} was given an image of {plural(channels, 'channel')}", need="RGB or gray", fix=fix)
