"""TIFF files that Pillow would flatten: 16-bit, float, many channels, stacks of pages."""

from __future__ import annotations

import io

import numpy as np
import tifffile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PILLOW_SAMPLES = {"MINISBLACK": 1, "MINISWHITE": 1, "RGB": 3, "PALETTE": 1, "SEPARATED": 4, "YCBCR": 3, "CIELAB": 3}
ASSOCIATED = 1  # colours are multiplied by alpha
_ALPHA = (ASSOCIATED, 2)
_NO_COLOURS = ("PALETTE", "YCBCR", "CIELAB", "ICCLAB", "ITULAB", "CFA", "LOGL", "LOGLUV")  # samples that are neither gray nor RGB
_JPEG = (6, 7)  # compressions that give RGB of YCbCr
_CMYK = 1


def read_tiff(data: bytes, most: int, *, ordinary: bool = False) -> tuple[np.ndarray, bool, int] | None:
    """Return (image (H, W, C), whether the last channel is alpha, orientation); pages become channels, in their order.

    None means an ordinary 8-bit image of one page, which Pillow reads with all its compressions and colour spaces.

    Args:
        data: the file.
        most: pixels that the image may have.
        ordinary: read gray and RGB images of one page here, too.

    Raises:
        ValueError: what is wrong with the file; the text is the reason.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pages = list(file.pages)
        if not pages:
            raise ValueError(f"truncated after {len(data):,} bytes: no pages")
        first = file.pages.first
        check_size(first.imagewidth, first.imagelength, most)
        _check_whole(pages, len(data))
        _check_chain(data)
        if len(pages) == 1 and _is_ordinary(first) and not (ordinary and _photometric(first) in ("MINISBLACK", "RGB")):
            return None
        _check_colours(first)
        whole = [s for s in file.series if not s.keyframe.is_reduced]
        if len(whole) != 1:
            raise ValueError(f"pages of different sizes: {', '.join('x'.join(map(str, s.shape)) for s in whole)}")
        series = whole[0]
        image = _channels_last(series.asarray(), series.axes)
        alpha = _alpha(first) if image.shape[-1] == first.samplesperpixel else 0
        if _photometric(first) == "MINISWHITE" and image.dtype.kind == "u":
            colour = image[..., : image.shape[-1] - bool(alpha)]
            image = np.concatenate([np.iinfo(image.dtype).max - colour, image[..., colour.shape[-1] :]], axis=-1)
        if alpha == ASSOCIATED:
            image = _apart(image)
        tag = first.tags.get("Orientation")
        return image, bool(alpha), int(tag.value) if tag is not None else 1


def _check_colours(page: tifffile.TiffPage) -> None:
    """Refuse samples that would be taken for gray or RGB and are neither: Pillow makes RGB of 8-bit images of one page alone."""
    kind = _photometric(page)
    ink = page.tags.get("InkSet")
    is_print = kind == "SEPARATED" and page.samplesperpixel == 4 and (ink is None or int(ink.value) == _CMYK)
    if is_print or (kind in _NO_COLOURS and not (kind == "YCBCR" and int(page.compression) in _JPEG)):
        raise ValueError(f"colours as {'CMYK' if is_print else kind}, which are read of 8-bit images of one page alone: convert it to RGB")


def check_size(width: int, height: int, most: int) -> None:
    """Refuse an image that is too large to be decoded.

    Raises:
        ValueError: the text is the reason, with the key that allows it.
    """
    if width * height > most:
        raise ValueError(f"large: {width}x{height} = {width * height:,} pixels, more than input.max_pixels = {most}")


def _check_chain(data: bytes) -> None:
    """Refuse a file whose chain of pages leads behind its end; tifffile would read the pages before that alone."""
    order = "little" if data[:1] == b"I" else "big"
    big = int.from_bytes(data[2:4], order) == 43  # type: ignore[arg-type]
    count, entry, offset, start = (8, 20, 8, 8) if big else (2, 12, 4, 4)

    def number(at: int, size: int) -> int:
        if at + size > len(data):
            raise ValueError(f"truncated after {len(data):,} bytes")
        return int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]

    at, seen = number(start, offset), set[int]()
    while at and at not in seen:
        seen.add(at)
        at = number(at + count + entry * number(at, count), offset)


def _apart(image: np.ndarray) -> np.ndarray:
    """Return an image whose colours were multiplied by alpha, its last channel, with colours as they were."""
    top = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)
    share = image[..., -1:].astype(np.float64) / top
    colour = np.clip(np.divide(image[..., :-1], share, out=np.zeros(image[..., :-1].shape), where=share > 0), 0, top)
    colour = colour if image.dtype.kind == "f" else np.rint(colour)
    return np.concatenate([colour.astype(image.dtype), image[..., -1:]], axis=-1)


def _check_whole(pages: list, size: int) -> None:
    """Refuse a file that ends before its images do: tifffile may fill what is not there with zeros."""
    for page in pages:
        ends = [start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False)]
        if not ends or max(ends) > size:
            raise ValueError(f"truncated after {size:,} bytes")


def _is_ordinary(page: tifffile.TiffPage) -> bool:
    if page.dtype is None or page.dtype.name not in ("uint8", "bool"):
        return False
    samples = _PILLOW_SAMPLES.get(_photometric(page))
    alpha = _alpha(page)
    return page.samplesperpixel == samples or (page.samplesperpixel == 4 and bool(alpha)) or (page.samplesperpixel == 2 and alpha == 2)


def _alpha(page: tifffile.TiffPage) -> int:
    """Return 1 or 2 where the last sample of gray or RGB pixels is alpha (associated, unassociated), else 0."""
    needed = {"RGB": 4, "MINISBLACK": 2, "MINISWHITE": 2}.get(_photometric(page))
    extra = [int(e) for e in page.extrasamples]
    return extra[-1] if page.samplesperpixel == needed and extra and extra[-1] in _ALPHA else 0


def _channels_last(array: np.ndarray, axes: str) -> np.ndarray:
    """Return (H, W, C): every axis but Y and X becomes channels, in the file's order."""
    y, x = (axes.index("Y"), axes.index("X")) if "Y" in axes and "X" in axes else (array.ndim - 2, array.ndim - 1)
    others = [i for i in range(array.ndim) if i not in (y, x)]
    moved = array.transpose(y, x, *others)
    return moved.reshape(*moved.shape[:2], -1)


def _photometric(page: tifffile.TiffPage) -> str:
    return tifffile.PHOTOMETRIC(page.photometric).name
