"""TIFF files that Pillow would flatten: 16-bit, float, many channels, stacks of pages."""

from __future__ import annotations

import io

import numpy as np
import tifffile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PILLOW_SAMPLES = {"MINISBLACK": 1, "MINISWHITE": 1, "RGB": 3, "PALETTE": 1, "SEPARATED": 4, "YCBCR": 3}
_ALPHA = (1, 2)  # associated, unassociated


def read_tiff(data: bytes) -> tuple[np.ndarray, bool, int] | None:
    """Return (picture (H, W, C), whether the last channel is alpha, orientation); pages become channels, in their order.

    None means an ordinary 8-bit picture of one page, which Pillow reads with all its compressions and colour spaces.

    Raises:
        ValueError: what is wrong with the file; the text is the reason.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = list(file.pages)
        if not pages:
            raise ValueError(f"truncated after {len(data):,} bytes: no pages")
        _check_whole(pages, len(data))
        first = file.pages.first
        if len(pages) == 1 and _is_ordinary(first):
            return None
        whole = [s for s in file.series if not s.keyframe.is_reduced]
        if len(whole) != 1:
            raise ValueError(f"pages of different sizes: {', '.join('x'.join(map(str, s.shape)) for s in whole)}")
        series = whole[0]
        picture = _channels_last(series.asarray(), series.axes)
        if _photometric(first) == "MINISWHITE" and picture.dtype.kind == "u":
            picture = np.iinfo(picture.dtype).max - picture
        tag = first.tags.get("Orientation")
        return picture, _has_alpha(first) and picture.shape[-1] == 4, int(tag.value) if tag is not None else 1


def _check_whole(pages: list, size: int) -> None:
    """Refuse a file that ends before its pictures do: tifffile may fill what is not there with zeros."""
    for page in pages:
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if not ends or max(ends) > size:
            raise ValueError(f"truncated after {size:,} bytes")


def _is_ordinary(page: tifffile.TiffPage) -> bool:
    if page.dtype is None or page.dtype.name not in ("uint8", "bool"):
        return False
    samples = _PILLOW_SAMPLES.get(_photometric(page))
    return page.samplesperpixel == samples or (page.samplesperpixel == 4 and _has_alpha(page))


def _has_alpha(page: tifffile.TiffPage) -> bool:
    return _photometric(page) == "RGB" and page.samplesperpixel == 4 and any(int(e) in _ALPHA for e in page.extrasamples)


def _channels_last(array: np.ndarray, axes: str) -> np.ndarray:
    """Return (H, W, C): every axis but Y and X becomes channels, in the file's order."""
    y, x = (axes.index("Y"), axes.index("X")) if "Y" in axes and "X" in axes else (array.ndim - 2, array.ndim - 1)
    others = [i for i in range(array.ndim) if i not in (y, x)]
    moved = array.transpose(y, x, *others)
    return moved.reshape(*moved.shape[:2], -1)


def _photometric(page: tifffile.TiffPage) -> str:
    return tifffile.PHOTOMETRIC(page.photometric).name
