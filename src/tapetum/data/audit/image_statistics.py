"""What one decoded image shows of itself (colour, light, detail, channels, a thumbnail) and what its files say beside the pixels."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.data.images import formats, pillow
from tapetum.data.images.colour import full_scale

GRAY_DIFFERENCE = 8.0  # 99 % of a gray image's pixels have channels closer than this, of 255
GRAY_DEVIATION = 3.0  # and the differences hardly vary; a sepia print is no gray image
THUMBNAIL = 32
FLAT = 2.0  # a thumbnail that deviates less, of 255, shows nothing to compare by
TINTS = (-40, -16, -5, 5, 16, 40)  # borders of red and blue against green, of 255
_BELOW = np.tril_indices(len(TINTS) + 1, -1)  # pairs of tints, each once
LEVELS = 3  # of brightness, for each of which tints are counted
GRID = 3  # a channel is described by so many means along each side
_STRIDE = 256  # colour is measured on so many rows and columns at most
_DETAIL = 512  # sharpness is measured on so many rows and columns in the middle
_STRIP = 1 << 20  # samples that are averaged at once
_ROUNDING = 20 / 48  # variance of the Laplacian of means of four values rounded to whole numbers
_MARKS = {  # bytes without which a file of a format is neither turned nor animated
    "JPEG": (b"Exif\0\0",),
    "PNG": (b"eXIf", b"acTL"),
    "WEBP": (b"EXIF", b"ANIM"),
    "GIF": (b"",),
    "TIFF": (b"",),
    "BMP": (),
    "PPM": (),
}


@dataclasses.dataclass(frozen=True)
class ImageStatistics:
    """Statistics of an image.

    Args:
        difference: 99th percentile of the largest difference of two channels of a pixel, of 255; None but for three channels.
        deviation: of red and blue against green over the image, likewise.
        thumbnail: (32, 32) float32, mean 0 and norm 1; zeros where the image is flat.
        formats: of the files by their content, where it is another than their name says: ``"cat.jpg is PNG"``.
        low, middle, high: 5th, 50th and 99th percentile of the brightness, 0…1.
        sharpness: detail at half size beside that at an eighth; small in blurred images; None where it is too small.
        channels: (C, GRID² + 1) mean of each channel in a grid, 0…1, and its standard deviation.
        doubled: pairs of channels that are equal in every pixel.
        chroma: which colours there are, and how much more of each than of the same with red and blue exchanged; None but for three
            channels.
        orientation: what the EXIF data of the first file say, 1 where they say nothing.
        frames: of the file with most; more than 1 for an animation or several pages.
    """

    difference: float | None
    deviation: float | None
    thumbnail: np.ndarray
    formats: tuple[str, ...]
    low: float
    middle: float
    high: float
    sharpness: float | None
    channels: np.ndarray
    doubled: tuple[tuple[int, int], ...]
    chroma: np.ndarray | None
    orientation: int
    frames: int

    @property
    def gray(self) -> bool | None:
        """Whether an image of three channels is gray; None for others."""
        if self.difference is None or self.deviation is None:
            return None
        return self.difference < GRAY_DIFFERENCE and self.deviation < GRAY_DEVIATION


def measure_image(paths: Sequence[Path], images: list[np.ndarray], contents: Sequence[bytes] = ()) -> ImageStatistics:
    """Return the statistics of a row from its files, their bytes and its views (H, W, C), of which the first counts."""
    part = sampled(images[0])
    values = part.astype(np.float32, copy=False)
    difference, deviation = chroma(part)
    low, middle, high = _percentiles(_total(part), (5, 50, 99), len(part))
    named = tuple(text for path, data in zip(paths, contents, strict=False) if (text := misnamed(path, data)) is not None)
    orientation, frames = 1, 1
    for number, data in enumerate(contents):
        turned, several = header(data)
        orientation, frames = turned if number == 0 else orientation, max(frames, several)
    return ImageStatistics(
        difference,
        deviation,
        thumbnail(images[0]),
        named,
        low / 255,
        middle / 255,
        high / 255,
        sharpness(images[0]),
        _channels(values),
        _doubled(part),
        _colours(values),
        orientation,
        frames,
    )


def sampled(image: np.ndarray) -> np.ndarray:
    """Return at most 256 rows and columns of an image (H, W, C) as planes (C, h, w): bytes as they are, other samples as float32 of 255."""
    step = (-(-image.shape[0] // _STRIDE), -(-image.shape[1] // _STRIDE))
    part = np.ascontiguousarray(image[:: step[0], :: step[1]].transpose(2, 0, 1))
    return part if image.dtype == np.uint8 else part.astype(np.float32) * np.float32(255 / full_scale(image.dtype))


def chroma(part: np.ndarray) -> tuple[float | None, float | None]:
    """Return difference and deviation of planes (3, h, w), of 255, as in :class:`ImageStatistics`; None for other channels."""
    if len(part) != 3:
        return None, None
    red, green, blue = part
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    red, green, blue = part.astype(np.float32, copy=False)
    return _percentiles(spread, (99,))[0], math.sqrt(_variance(red - green) + _variance(blue - green))


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, C) as 32×32, the mean of its channels, mean 0 and norm 1; zeros where it is flat."""
    small = _reduced(image, THUMBNAIL)
    small = (small - small.mean()).astype(np.float32)
    norm = float(np.linalg.norm(small))
    return small / norm if norm > FLAT * THUMBNAIL else np.zeros_like(small)


def detail(image: np.ndarray, side: int) -> np.ndarray:
    """Return an image (H, W, C) as (side, side) uint8, the mean of its channels."""
    return _reduced(image, side).round().clip(0, 255).astype(np.uint8)


def _reduced(image: np.ndarray, side: int) -> np.ndarray:
    """Return the mean of the channels as (side, side), each pixel the mean of what it covers."""
    height, width, channels = image.shape
    flat = image.reshape(height, width * channels)  # whole rows in memory order: to take a channel out first takes longer
    strips = _strips(height, side, max(_STRIP // (width * channels), 1))
    rows = np.concatenate([weights @ flat[start:end].astype(np.float32) for start, end, weights in strips])
    mixed = sum(rows[:, channel::channels] for channel in range(channels))
    return np.asarray(mixed @ _areas(width, side).T) * np.float32(255 / full_scale(image.dtype) / channels)


def _total(planes: np.ndarray) -> np.ndarray:
    """Return the sum (H, W) of planes (C, H, W); bytes are added up as the shortest whole numbers, which is several times as fast."""
    total = planes[0].astype(np.uint16 if planes.dtype == np.uint8 and len(planes) < 256 else np.float32)
    for plane in planes[1:]:
        total += plane
    return np.asarray(total)


def sharpness(image: np.ndarray) -> float | None:
    """Return the detail of the middle of an image at half its size beside that at an eighth; None below 64 pixels.

    Detail is the root mean square of the Laplacian. In photographs the amplitude falls as the inverse of the frequency whatever they show
    (Field 1987), so that the ratio is about the same; blur takes the fine detail alone. At full size compression would count as detail.
    """
    height, width = (min(side, _DETAIL) & ~7 for side in image.shape[:2])
    if min(height, width) < 64:
        return None
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    part = np.ascontiguousarray(image[top : top + height, left : left + width, 1 if image.shape[2] == 3 else 0])
    half = _halved(part, np.int16 if image.dtype == np.uint8 else np.float32)
    eighth = _halved(_halved(half)).astype(np.float32)
    white = 255 / full_scale(image.dtype)
    fine, coarse = _detail(half) * (white / 4) ** 2, _detail(eighth) * (white / 64) ** 2
    return math.sqrt(max(fine - _ROUNDING, 0) / coarse) if coarse > 1 else None


def header(data: bytes) -> tuple[int, int]:
    """Return the orientation that a file's EXIF data say and how many frames it has; 1 and 1 where that cannot be told."""
    kind = formats.content_format(data[: formats.HEAD])
    if kind is None or not any(mark in data for mark in _MARKS[kind]):  # most files say nothing, and are not opened again
        return 1, 1
    try:
        with pillow.opened(data, 1 << 62) as opened:
            turned = int(opened.getexif().get(pillow.ORIENTATION, 1))
            return (turned if turned in range(1, 9) else 1), int(getattr(opened, "n_frames", 1))
    except Exception:  # damaged metadata say nothing about the image
        return 1, 1


def misnamed(path: Path, data: bytes) -> str | None:
    """Return ``"cat.jpg is PNG"`` where a file's content is another format than its name says, else None."""
    named = formats.SUFFIXES.get(path.suffix.lower())
    found = formats.content_format(data[: formats.HEAD])
    return None if named is None or found is None or named == found else f"{path.name} is {found}"


def _percentiles(values: np.ndarray, which: Sequence[int], parts: int = 1) -> list[float]:
    """Return percentiles of values of 255, each the sum of so many parts, to a quarter: a count is several times as fast as an order."""
    unit = 4 / parts
    if values.dtype.kind == "f":  # bytes and their sums are counted as they are
        values, unit = np.clip(np.nan_to_num(values) * np.float32(unit) + 0.5, 0, 1020).astype(np.int16), 1.0
    counts = np.bincount(values.ravel()).cumsum()
    return [math.floor(int(np.searchsorted(counts, counts[-1] * share / 100)) * unit + 0.5) / 4 for share in which]


def _halved(gray: np.ndarray, kind: Any = None) -> np.ndarray:
    """Return the sums of squares of four values (H, W), whose sides are even; as another type where one is given."""
    rows = np.add(gray[::2], gray[1::2], dtype=kind)
    return np.asarray(rows[:, ::2] + rows[:, 1::2])


def _detail(gray: np.ndarray) -> float:
    """Return the mean square of the Laplacian of values (H, W): float32, or int16 up to 4,095."""
    middle = 4 * gray[1:-1, 1:-1]
    for other in (gray[:-2, 1:-1], gray[2:, 1:-1], gray[1:-1, :-2], gray[1:-1, 2:]):
        middle -= other
    flat = middle.astype(np.float32, copy=False).ravel()
    return float(flat @ flat) / flat.size


def _variance(values: np.ndarray) -> float:
    flat = (values - values.mean()).ravel()
    return float(flat @ flat) / flat.size


def _channels(part: np.ndarray) -> np.ndarray:
    means = _areas(part.shape[1], GRID) @ part @ _areas(part.shape[2], GRID).T
    deviations = [math.sqrt(_variance(plane)) for plane in part]
    return np.column_stack([means.reshape(len(part), -1), deviations]).astype(np.float32) / 255


def _colours(part: np.ndarray) -> np.ndarray | None:
    """Return the histogram of tints at each level of brightness, as the difference of roots from that with red and blue exchanged."""
    if len(part) != 3:
        return None
    rows = [_sparse_areas(part.shape[1], THUMBNAIL) @ plane for plane in part]
    red, green, blue = small = np.stack(rows) @ _areas(part.shape[2]).T
    borders, count = np.array(TINTS, dtype=np.float32), len(TINTS) + 1
    level = np.clip(small.sum(axis=0) * (LEVELS / 3 / 256), 0, LEVELS - 1).astype(np.int64)
    codes = (level * count + borders.searchsorted(red - green, "right")) * count + borders.searchsorted(blue - green, "right")
    shares = np.bincount(codes.ravel(), minlength=LEVELS * count**2).reshape(LEVELS, count, count) / codes.size
    apart = np.sqrt(shares) - np.sqrt(shares).transpose(0, 2, 1)
    return np.asarray(apart[:, *_BELOW].reshape(-1), dtype=np.float32)


def _doubled(part: np.ndarray) -> tuple[tuple[int, int], ...]:
    pairs = [(a, b) for a in range(len(part)) for b in range(a + 1, len(part))]
    return tuple((a, b) for a, b in pairs if part[a, 0, 0] == part[b, 0, 0] and np.array_equal(part[a], part[b]))


@functools.lru_cache(maxsize=256)
def _areas(side: int, parts: int = THUMBNAIL) -> Any:
    """Return (parts, side) weights that make each part the mean of the area that it covers, pixels at its edges by their share."""
    edges = np.arange(parts + 1) * (side / parts)
    pixel = np.arange(side)
    share = np.clip(np.minimum(pixel + 1, edges[1:, None]) - np.maximum(pixel, edges[:-1, None]), 0, None)
    return (share / share.sum(axis=1, keepdims=True)).astype(np.float32)


@functools.lru_cache(maxsize=256)
def _sparse_areas(side: int, parts: int) -> Any:
    """Return :func:`_areas` for large images, most of whose weights are 0."""
    from scipy.sparse import csr_array

    return csr_array(_areas(side, parts))


@functools.lru_cache(maxsize=256)
def _strips(side: int, parts: int, most: int) -> list[tuple[int, int, Any]]:
    """Return :func:`_sparse_areas` of about so many pixels at once at most: start and end of the pixels, and their weights."""
    at_once = max(most * parts // side, 1)
    out = []
    for part in range(0, parts, at_once):
        start, end = part * side // parts, -(-min(part + at_once, parts) * side // parts)
        out.append((start, end, _sparse_areas(side, parts)[part : part + at_once, start:end]))
    return out
