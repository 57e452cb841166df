"""The files of a row become one numpy image (H, W, C), or several where the row has views.

The order is: each file is decoded, turned as its EXIF data says, laid on its ground where it has alpha, brought
to the colour asked for, cropped; the files of a row are joined or stacked; row bands are taken. Everything after that is transforms.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tapetum.core.config import Input
from tapetum.core.errors import UserError
from tapetum.core.words import plural
from tapetum.data.images import colour as colours
from tapetum.data.images import formats, pillow
from tapetum.data.images.archives import DecodeError, read_bytes
from tapetum.data.images.given import Pixels, Source
from tapetum.data.images.tiff import MAGIC as TIFF_MAGIC
from tapetum.data.images.tiff import read_tiff

MARGIN = 2  # times the network's size that a reduced JPEG keeps at least


@dataclasses.dataclass(frozen=True)
class Composition:
    """How the files of a row become an image; see :class:`tapetum.core.config.Input`, whose words these are.

    Args:
        colour: ``auto`` (as each file says; palettes, CMYK and YCbCr become RGB), ``rgb`` or ``gray``.
        alpha: what becomes of transparency: ``drop``, ``white``, ``black`` or ``keep``.
        paths: several files are ``channels`` of one image or ``views`` of one row.
        crop: (top, left, height, width) of each file, in pixels.
        bands: row bands (start, end), taken in this order from the joined image.
        bands_as: bands set under one another (``rows``), stacked as ``channels``, or as ``views``.
        max_pixels: a file with more is refused.
        join: several files set side by side (``x``) or under one another (``y``) instead of stacked.
        least: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size, where its shorter side then has this many pixels; None: never.
    """

    colour: str = "auto"
    alpha: str = "white"
    paths: str = "channels"
    crop: tuple[int, int, int, int] | None = None
    bands: tuple[tuple[int, int], ...] = ()
    bands_as: str = "rows"
    join: str = "none"
    max_pixels: int = 178_956_970
    least: int | None = None

    def __post_init__(self) -> None:
        if self.join != "none" and self.paths == "views":
            raise UserError("input.join and input.paths = 'views' exclude each other", fix="leave one of them at its default")
        for start, end in self.bands:
            if not 0 <= start < end:
                raise UserError(f"input.bands has {start}:{end}", need="0 ≤ start < end")
        heights = [end - start for start, end in self.bands]
        if self.bands_as == "channels" and len(set(heights)) > 1:
            raise UserError(f"bands as channels have heights {heights}", need="one height for all of input.bands")

    @classmethod
    def from_input(cls, settings: Input) -> Composition:
        """Return the part of the recipe's ``[input]`` that composes images."""
        whole = settings.decode == "whole" or settings.size == "native" or settings.crop or settings.bands or settings.join != "none"
        side = max(settings.size) if isinstance(settings.size, tuple) else settings.size
        least = None if whole else MARGIN * int(side)
        words = [field.name for field in dataclasses.fields(cls) if field.name != "least"]
        return cls(**{name: getattr(settings, name) for name in words}, least=least)

    def views(self, files: int) -> int:
        """Return how many views a row of so many files has."""
        return (files if self.paths == "views" else 1) * (len(self.bands) if self.bands and self.bands_as == "views" else 1)


def compose(paths: Sequence[Path | str], how: Composition) -> list[np.ndarray]:
    """Return the image of a row, one entry a view, each (H, W, C) uint8, uint16 or float32 in [0, 1].

    Raises:
        DecodeError: a file is missing, damaged or does not fit the others; it is named, with the reason.
    """
    return compose_bytes([(str(path), read_bytes(path)) for path in paths], how)


def read_row(
    sources: Sequence[Source], how: Composition, expected: str | None = None, seen: list[bytes] | None = None
) -> tuple[str, list[np.ndarray]]:
    """Return the content hash of a row and its image, as :func:`compose` gives it.

    Args:
        sources: the row's files, or what stands for them: bytes, PIL images, pixels (which have no hash: the hash is then empty).
        how: how they become an image.
        expected: the hash that the content must have; None accepts any.
        seen: gets the bytes of each file, for whoever looks at them too.

    Raises:
        DecodeError: its reason names the file where the row has several.
    """
    try:
        names = [str(one) if isinstance(one, (str, Path)) else f"file {i + 1}" for i, one in enumerate(sources)]
        contents = [read_bytes(one) if isinstance(one, (str, Path)) else one for one in sources]
        whole = [data for data in contents if isinstance(data, bytes)]
        if seen is not None:
            seen.extend(whole)
        digest = content_hash(whole) if whole and len(whole) == len(contents) else ""
        if expected is not None and digest != expected:
            raise DecodeError(names[0], "changed since it was listed: its content has another SHA-256")
        return digest, compose_bytes(list(zip(names, contents, strict=True)), how)
    except DecodeError as error:
        if len(sources) == 1:
            raise
        raise DecodeError(error.path, f"{error.path.rpartition('/')[2]}: {error.reason}") from None


def compose_bytes(contents: Sequence[tuple[str, bytes | Image.Image | Pixels]], how: Composition) -> list[np.ndarray]:
    """Return what :func:`compose` returns, of files already read (name, bytes), or of images at hand (name, image)."""
    if not contents:
        raise DecodeError("a row", "it names no file")
    names = [name for name, _ in contents]
    images = [_cropped(decode(data, name, how), how.crop, name) for name, data in contents]
    if how.paths == "views":
        views = list(zip(names, images, strict=True))
    elif how.join != "none":
        views = [(names[0], _joined(names, images, how.join))]
    else:
        views = [(names[0], _stacked(names, images))]
    return [np.ascontiguousarray(part) for name, image in views for part in _banded(image, how, name)]


def decode(data: bytes | Image.Image | Pixels, name: str = "an image", how: Composition | None = None) -> np.ndarray:
    """Return one file's image (H, W, C) after orientation, alpha and colour.

    Args:
        data: the bytes of the file, or the image itself.
        name: what errors call it.
        how: the policies; None for the defaults.

    Raises:
        DecodeError: with the reason.
    """
    how = how or Composition()
    if data == b"":
        raise DecodeError(name, "an empty file")
    try:
        image, alpha = _read(data, how.max_pixels, how.least) if isinstance(data, bytes) else _at_hand(data)
        image = colours.with_depth(image)
        if alpha:
            image, alpha = colours.without_alpha(image, how.alpha), how.alpha == "keep"
        return colours.in_colour(image, how.colour, alpha)
    except Exception as error:  # decoders raise whatever they stumble over: struct.error, SyntaxError, IndexError, …
        raise DecodeError(name, _reason(error, data if isinstance(data, bytes) else b"", name)) from None


def content_hash(contents: Sequence[bytes]) -> str:
    """Return the SHA-256 of a row: of its one file's bytes, or of its files' digests in order."""
    digests = [hashlib.sha256(data).hexdigest() for data in contents]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _read(data: bytes, most: int, least: int | None) -> tuple[np.ndarray, bool]:
    """Return (H, W, C) as stored, turned upright, and whether the last channel is alpha; ``most`` is how many pixels it may have."""
    is_tiff = data[:4] in TIFF_MAGIC
    read = read_tiff(data, most) if is_tiff else None
    if read is None:
        try:
            read = pillow.read(data, most, least)
        except Exception:
            read = read_tiff(data, most, ordinary=True) if is_tiff else None
            if read is None:
                raise
    image, alpha, orientation = read
    if image.ndim == 2:
        image = image[..., None]
    return colours.oriented(image, orientation), alpha


def _at_hand(opened: Image.Image | Pixels) -> tuple[np.ndarray, bool]:
    """Return what :func:`_read` returns, of an image that is at hand.

    A PIL image is turned as the EXIF data that it still carries say; ``ImageOps.exif_transpose`` turns it and takes them away.
    """
    if not isinstance(opened, Image.Image):
        return opened.samples()
    image, alpha, orientation = pillow.pixels(opened)
    return colours.oriented(image if image.ndim == 3 else image[..., None], orientation), alpha


def _reason(error: Exception, data: bytes, name: str) -> str:
    """Return why a decoder failed, in the words of the audit table."""
    text = str(error).strip() or type(error).__name__
    if text.startswith(("truncated after", "damaged", "large: ")):
        return text
    if re.search(r"truncat|end of file|\bEOF\b|not enough|failed to read|unexpected end", text, re.IGNORECASE):
        return f"truncated after {len(data):,} bytes"
    if isinstance(error, Image.UnidentifiedImageError):
        return formats.not_decoded(name, data)
    if isinstance(error, MemoryError):
        return "larger than the memory"
    return text if isinstance(error, ValueError) else f"damaged: {text}"


def _cropped(image: np.ndarray, box: tuple[int, int, int, int] | None, name: str) -> np.ndarray:
    if box is None:
        return image
    top, left, height, width = box
    if top < 0 or left < 0 or top + height > image.shape[0] or left + width > image.shape[1]:
        raise DecodeError(name, f"input.crop {list(box)} (top, left, height, width) leaves the image, which is {_size(image)}")
    return image[top : top + height, left : left + width]


def _stacked(names: Sequence[str], images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the files' channels in the order of the files."""
    if len(images) == 1:
        return images[0]
    _same(names, images, _size, "channel files of one row must have one size")
    _same(names, images, lambda p: p.dtype.name, "channel files of one row must have one depth")
    return np.concatenate(images, axis=-1)


def _joined(names: Sequence[str], images: Sequence[np.ndarray], axis: str) -> np.ndarray:
    """Return the files side by side along x or y."""
    side, word = (0, "height") if axis == "x" else (1, "width")
    _same(names, images, lambda p: p.shape[side], f"images joined along {axis} must have one {word}")
    _same(
        names, images, lambda p: f"{plural(p.shape[2], 'channel')} of {p.dtype.name}", "joined images must have the same channels and depth"
    )
    return np.concatenate(images, axis=1 - side)


def _same(names: Sequence[str], images: Sequence[np.ndarray], of: Any, rule: str) -> None:
    """Refuse a file that differs from the first; both are named."""
    for name, image in zip(names, images, strict=True):
        if of(image) != of(images[0]):
            raise DecodeError(name, f"{of(image)}, and {Path(names[0]).name} is {of(images[0])}; {rule}")


def _banded(image: np.ndarray, how: Composition, name: str) -> list[np.ndarray]:
    """Return the row bands of an image as the composition wants them; the image itself without bands."""
    if not how.bands:
        return [image]
    for start, end in how.bands:
        if end > image.shape[0]:
            raise DecodeError(name, f"row band {start}:{end} leaves the image, which is {_size(image)}")
    parts = [image[start:end] for start, end in how.bands]
    if how.bands_as == "views":
        return parts
    return [np.concatenate(parts, axis=0 if how.bands_as == "rows" else -1)]


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
