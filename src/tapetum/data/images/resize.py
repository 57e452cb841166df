"""From numpy images of any size to tensors of the size that the network takes."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from tapetum.core.config import Input

Size = tuple[int, int]  # height, width
_MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


@dataclasses.dataclass(frozen=True)
class Frame:
    """The image that the network takes.

    Args:
        size: (height, width); None keeps every image's own.
        resize: ``stretch`` to the size, ``crop`` the largest centred part of its aspect, or ``pad`` with black around the whole.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``; the last two with antialias.
    """

    size: Size | None
    resize: str = "stretch"
    interpolation: str = "bilinear"

    @classmethod
    def from_input(cls, settings: Input) -> Frame:
        """Return the frame of the recipe's ``[input]``."""
        size = settings.size
        if size == "native":
            return cls(None, settings.resize, settings.interpolation)
        return cls((size, size) if isinstance(size, int) else (size[0], size[1]), settings.resize, settings.interpolation)

    def size_of(self, x: Tensor) -> Size:
        """Return the size that an image (C, H, W) is brought to."""
        return self.size or (x.shape[-2], x.shape[-1])

    def part_of(self, x: Tensor) -> Size:
        """Return height and width of the part of an image (C, H, W) that is shown: less than the whole only with ``crop``."""
        height, width = x.shape[-2:]
        if self.resize != "crop" or self.size is None:
            return height, width
        aspect = self.size[1] / self.size[0]
        return min(height, max(1, round(width / aspect))), min(width, max(1, round(height * aspect)))

    def fill(self, x: Tensor, size: Size | None = None) -> Tensor:
        """Return an image (C, h, w), or part of one, brought to the size: stretched, or with ``pad`` fitted inside and padded."""
        height, width = size or self.size_of(x)
        if self.resize != "pad":
            return stretched(x, (height, width), self.interpolation)
        scale = min(height / x.shape[-2], width / x.shape[-1])
        inside = (max(1, round(x.shape[-2] * scale)), max(1, round(x.shape[-1] * scale)))
        return placed(stretched(x, inside, self.interpolation), (height, width), (height - inside[0]) // 2, (width - inside[1]) // 2)

    def show(self, x: Tensor) -> Tensor:
        """Return an image (C, H, W) as evaluation shows it, (C, height, width)."""
        height, width = self.part_of(x)
        top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
        return self.fill(x[..., top : top + height, left : left + width])


def to_tensor(image: np.ndarray) -> Tensor:
    """Return an image (H, W, C) as a tensor (C, H, W): uint8 as it is, 16-bit and float as float32 in [0, 1]."""
    if image.dtype == np.uint16:
        image = image.astype(np.float32) / 65535
    if not image.flags.writeable:  # as of np.asarray(a PIL image); torch has no tensors that are read only
        image = image.copy()
    return torch.from_numpy(image).permute(2, 0, 1)


def stretched(x: Tensor, size: Size, interpolation: str = "bilinear") -> Tensor:
    """Return images (…, C, H, W) interpolated to ``size``, with antialias, in their dtype; equal to torchvision's ``resize``."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    flat = x.reshape(-1, *x.shape[-3:]) if x.ndim != 4 else x
    smooth = interpolation != "nearest"
    out = torch.nn.functional.interpolate(flat, size=size, mode=_MODES[interpolation], antialias=smooth)
    if interpolation == "bicubic" and out.is_floating_point():
        out = out.clamp(0, 1)  # bicubic overshoots
    return out.reshape(*x.shape[:-2], *size)


def placed(x: Tensor, size: Size, top: int, left: int) -> Tensor:
    """Return a canvas (…, *size) of black with images (…, h, w) at (top, left); what leaves the canvas is cut off."""
    height, width = size
    out = x.new_zeros((*x.shape[:-2], height, width))
    rows = slice(max(top, 0), min(top + x.shape[-2], height))
    cols = slice(max(left, 0), min(left + x.shape[-1], width))
    if rows.start < rows.stop and cols.start < cols.stop:
        out[..., rows, cols] = x[..., rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
    return out
