"""What one decoded image shows of itself: its colour, a thumbnail, and the format that its bytes are in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from tapetum.data.images import formats
from tapetum.data.images.archives import read_head
from tapetum.data.images.colour import full_scale

GRAY_DIFFERENCE = 8.0  # 99 % of a gray image's pixels have channels closer than this, of 255
GRAY_DEVIATION = 3.0  # and the differences hardly vary; a sepia print is no gray image
THUMBNAIL = 32
FLAT = 2.0  # a thumbnail that deviates less, of 255, shows nothing to compare by
_STRIDE = 256  # colour is measured on so many rows and columns at most


@dataclasses.dataclass(frozen=True)
class ImageStatistics:
    """Statistics of an image.

    Args:
        difference: 99th percentile of the largest difference of two channels of a pixel, of 255; None but for three channels.
        deviation: of red and blue against green over the image, likewise.
        thumbnail: (32, 32) float32, mean 0 and norm 1; zeros where the image is flat.
        formats: of the files by their content, where it is another than their name says: ``"cat.jpg is PNG"``.
    """

    difference: float | None
    deviation: float | None
    thumbnail: np.ndarray
    formats: tuple[str, ...]

    @property
    def gray(self) -> bool | None:
        """Whether an image of three channels is gray; None for others."""
        if self.difference is None or self.deviation is None:
            return None
        return self.difference < GRAY_DIFFERENCE and self.deviation < GRAY_DEVIATION


def measure_image(paths: list[Path], images: list[np.ndarray]) -> ImageStatistics:
    """Return the statistics of a row from its files and its views (H, W, C), of which the first counts."""
    difference, deviation = chroma(images[0])
    return ImageStatistics(
        difference, deviation, thumbnail(images[0]), tuple(text for path in paths if (text := misnamed(path)) is not None)
    )


def chroma(image: np.ndarray) -> tuple[float | None, float | None]:
    """Return difference and deviation of an image (H, W, 3), of 255, as in :class:`ImageStatistics`; None for other channels."""
    if image.shape[-1] != 3:
        return None, None
    step = (-(-image.shape[0] // _STRIDE), -(-image.shape[1] // _STRIDE))
    part = image[:: step[0], :: step[1]].astype(np.float32) * (255 / full_scale(image.dtype))
    red, green, blue = part[..., 0], part[..., 1], part[..., 2]
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return float(np.percentile(spread, 99)), float(np.sqrt(np.var(red - green) + np.var(blue - green)))


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, C) as 32×32, the mean of its channels, mean 0 and norm 1; zeros where it is flat."""
    mean = image.mean(axis=-1, dtype=np.float32) * np.float32(255 / full_scale(image.dtype))
    small = np.asarray(Image.fromarray(mean).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX))
    small = small - small.mean()
    norm = float(np.linalg.norm(small))
    return small / norm if norm > FLAT * THUMBNAIL else np.zeros_like(small)


def misnamed(path: Path) -> str | None:
    """Return ``"cat.jpg is PNG"`` where a file's content is another format than its name says, else None."""
    named = formats.SUFFIXES.get(path.suffix.lower())
    found = formats.content_format(read_head(path))
    return None if named is None or found is None or named == found else f"{path.name} is {found}"
