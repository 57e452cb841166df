"""RandAugment for any number of channels, on torchvision's scale of magnitudes (M of 30; the paper and timm count to 10)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tapetum.core.errors import UserError

BINS = 31  # magnitudes 0 to 30
_SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")
OPERATIONS = ("Identity", *_SIGNED, "Posterize", "Solarize", "AutoContrast", "Equalize")


def randaugment(
    x: Tensor,
    rng: np.random.Generator,
    *,
    n: int = 2,
    magnitude: int = 9,
    fill: float = 0.0,
    interpolation: str = "nearest",
) -> Tensor:
    """Apply ``n`` operations drawn from the paper's fourteen, each at the same magnitude.

    With channels other than three, operations on values work on each channel as on a gray image of its own, and ``Color``, which mixes
    red, green and blue, is not among the draws. ``Equalize`` counts values in 256 steps, also in 16-bit images.

    Args:
        x: the image (C, H, W), uint8 or float32 in [0, 1].
        rng: where the draws come from.
        n: operations in a row.
        magnitude: 0 to 30.
        fill: the value of pixels from outside of the image, 0 black to 1 white.
        interpolation: of the moving operations, ``nearest`` or ``bilinear``.

    Raises:
        UserError: a magnitude beyond the scale, or another interpolation.

    Source: Cubuk et al. 2019, arXiv 1909.13719; magnitudes as torchvision's ``RandAugment``.
    """
    if not 0 <= magnitude < BINS:
        raise UserError(f"randaugment has magnitude {magnitude}", need="0 to 30, as torchvision counts (paper and timm: times 3)")
    if interpolation not in ("nearest", "bilinear"):
        raise UserError(f"randaugment has interpolation {interpolation!r}", need="'nearest' or 'bilinear'")
    names = [name for name in OPERATIONS if x.shape[0] == 3 or name != "Color"]
    for _ in range(n):
        name = names[int(rng.integers(len(names)))]
        amount = magnitude_of(name, magnitude, (x.shape[-2], x.shape[-1]))
        if rng.random() < 0.5 and name in _SIGNED:
            amount = -amount
        x = operate(x, name, amount, fill, interpolation)
    return x


def magnitude_of(name: str, magnitude: int, size: tuple[int, int]) -> float:
    """Return what magnitude 0-30 means for an operation on an image of ``size`` (height, width)."""
    share = magnitude / (BINS - 1)
    top = {"ShearX": 0.3, "ShearY": 0.3, "TranslateX": 150 / 331 * size[1], "TranslateY": 150 / 331 * size[0], "Rotate": 30.0}
    if name in _SIGNED:
        return top.get(name, 0.9) * share
    if name == "Posterize":
        return float(round(8 - 4 * share))
    return 1 - share if name == "Solarize" else 0.0


def operate(x: Tensor, name: str, amount: float, fill: float = 0.0, interpolation: str = "nearest") -> Tensor:
    """Apply one operation to an image (C, H, W); values are changed channel by channel unless it is RGB."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    if name == "Identity":
        return x
    if name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"):
        how = {"interpolation": InterpolationMode(interpolation), "fill": [fill if x.is_floating_point() else fill * 255]}
        return _moved(x, name, amount, how)
    on_values: dict[str, Callable[[Tensor], Tensor]] = {
        "Brightness": lambda p: functional.adjust_brightness(p, 1 + amount),
        "Color": lambda p: functional.adjust_saturation(p, 1 + amount),
        "Contrast": lambda p: functional.adjust_contrast(p, 1 + amount),
        "Sharpness": lambda p: functional.adjust_sharpness(p, 1 + amount),
        "Posterize": lambda p: functional.posterize(p, int(amount)),
        "Solarize": lambda p: functional.solarize(p, amount if p.is_floating_point() else amount * torch.iinfo(p.dtype).max),
        "AutoContrast": functional.autocontrast,
        "Equalize": functional.equalize,
    }
    return on_values[name](x) if x.shape[0] == 3 else on_values[name](x[:, None])[:, 0]


def _moved(x: Tensor, name: str, amount: float, how: dict) -> Tensor:
    from torchvision.transforms.v2 import functional

    if name == "Rotate":
        return functional.rotate(x, amount, **how)
    if name.startswith("Translate"):
        shift = [int(amount), 0] if name == "TranslateX" else [0, int(amount)]
        return functional.affine(x, angle=0.0, translate=shift, scale=1.0, shear=[0.0, 0.0], **how)
    angle = math.degrees(math.atan(amount))
    shear = [angle, 0.0] if name == "ShearX" else [0.0, angle]
    return functional.affine(x, angle=0.0, translate=[0, 0], scale=1.0, shear=shear, center=[0, 0], **how)
