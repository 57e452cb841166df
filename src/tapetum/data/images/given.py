"""What may be given as an image beside a path: bytes, open files, PIL images, arrays and tensors. Each is checked here, once.

What comes out is composed by :mod:`tapetum.data.images.decode` as files are.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tapetum.core.errors import KindError
from tapetum.data.images.formats import DECODED

TAKEN = (
    "a path, bytes, an open binary file, a PIL image, an array (H, W) or (H, W, C) of uint8 or uint16, or of floats with value_range, "
    "a torch tensor (H, W) or (C, H, W); a list or an iterator of these, a tuple of several for a row of several files; "
    "or a table of paths (CSV, Parquet, polars, pandas), a folder or an archive"
)
_CHANNELS = range(1, 5)  # numbers of channels that say which side of a tensor they are
_READ_FORMATS = (*DECODED, "MPO")


@dataclasses.dataclass(frozen=True)
class Pixels:
    """An image at hand as an array.

    Args:
        array: (H, W, C) uint8, uint16 or float.
        value_range: the values of black and white of floats.
        alpha: the last channel is alpha.
        eight_bit: floats are rounded to 8 bits, as the images are that the network learned from.
    """

    array: np.ndarray
    value_range: tuple[float, float] | None = None
    alpha: bool = False
    eight_bit: bool = False

    def seen_as(self, channels: int, files: int, *, keeps_alpha: bool, dtype: str) -> Pixels:
        """Return the array as a network takes it: 2 or 4 channels end with alpha, unless that is how many channels a row has.

        Args:
            channels: that a row has in the end.
            files: how many files or arrays make the row.
            keeps_alpha: alpha is one of these channels.
            dtype: of the images that the network learned from.
        """
        channels_given = self.array.shape[-1]
        return dataclasses.replace(
            self, alpha=channels_given in (2, 4) and (keeps_alpha or channels_given * files != channels), eight_bit=dtype == "uint8"
        )

    def samples(self) -> tuple[np.ndarray, bool]:
        """Return (H, W, C) uint8, uint16 or float32 in [0, 1], and whether the last channel is alpha.

        Raises:
            ValueError: values beyond the stated range; the text is the reason.
        """
        if self.value_range is None:
            return self.array, self.alpha
        low, high = self.value_range
        least, most = (float(self.array.min()), float(self.array.max())) if self.array.size else (low, low)
        if not (low <= least and most <= high):  # written so that NaN fails
            raise ValueError(f"values run from {least:g} to {most:g}; value_range is {low:g} to {high:g}")
        scaled = (self.array.astype(np.float64) - low) / (high - low)
        return (np.rint(scaled * 255).astype(np.uint8) if self.eight_bit else scaled.astype(np.float32)), self.alpha


Source = str | Path | bytes | Image.Image | Pixels


def rows_of(images: Any, value_range: tuple[float, float] | None = None) -> list[list[Source]]:
    """Return the rows of what a caller gives: one input is one row, a list or an iterator is a row for each item.

    Bytes of open files are read at once, so that no file stays open.

    Args:
        images: see :data:`TAKEN`.
        value_range: what black and white are in arrays and tensors of floats.

    Raises:
        KindError: anything else; the message has what is taken.
    """
    value_range = _checked_range(value_range)
    if isinstance(images, np.ndarray) and images.dtype.kind in "OUS":
        images = images.tolist()
    if _is_one(images):
        return _used([[_source(images, value_range)]], value_range)
    if isinstance(images, (Mapping, Set)) or not isinstance(images, Iterable) or 1 < _sides(images) < 4:
        raise _refused(images)
    return _used([_row(one, number, value_range) for number, one in enumerate(images)], value_range)


def within_two_levels(rows: Iterable[Iterable[Source]]) -> str | None:
    """Say that floats are within one or two of 256 levels: values from 0 to 1 under ``value_range=(0, 255)`` are black; None elsewhere."""
    pixels = [one for row in rows for one in row if isinstance(one, Pixels) and one.value_range is not None]
    if not pixels:
        return None
    black, white = pixels[0].value_range or (0.0, 1.0)
    least, most = min(float(one.array.min()) for one in pixels), max(float(one.array.max()) for one in pixels)
    if not 0 < (most - least) * 255 < 2 * (white - black):
        return None
    return (
        f"the values of all images run from {least:g} to {most:g}, and value_range is {black:g} to {white:g}: they differ by less"
        " than two of 256 levels"
    )


def _row(one: Any, number: int, value_range: tuple[float, float] | None) -> list[Source]:
    """Return what one item of a list is composed of.

    Raises:
        KindError: names the item's number.
    """
    try:
        return [_source(part, value_range) for part in one] if isinstance(one, (list, tuple)) else [_source(one, value_range)]
    except KindError as error:
        raise KindError(f"number {number}: {error.what}", need=error.need, fix=error.fix) from None


def _checked_range(value_range: Any) -> tuple[float, float] | None:
    """Return (black, white) as numbers.

    Raises:
        KindError: not two finite numbers, the second greater.
    """
    if value_range is None:
        return None
    try:
        low, high = (float(value) for value in value_range if not isinstance(value, (str, bytes)))
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise KindError(f"value_range is {value_range!r}", need="(black, white), two finite numbers as (0, 1) or (0, 255)")
    return low, high


def _used(rows: list[list[Source]], value_range: tuple[float, float] | None) -> list[list[Source]]:
    """Refuse a range of values that no array takes: whole numbers are seen as files are, from 0 to the most that their type holds."""
    pixels = [one for row in rows for one in row if isinstance(one, Pixels)]
    if value_range is None or any(one.value_range is not None for one in pixels):
        return rows
    for one in pixels:
        most = 1 if one.array.dtype.kind == "b" else np.iinfo(one.array.dtype).max
        if value_range != (0, most):
            low, high = value_range
            raise KindError(
                f"value_range is {low:g} to {high:g}, and the values are {one.array.dtype}, seen as in files: 0 to {most}",
                need="floats, where black and white are others",
                fix="convert them, as x.astype('float32')",
            )
    return rows


def _is_one(image: Any) -> bool:
    alone = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)
    return isinstance(image, alone) or hasattr(image, "read") or _is_tensor(image)


def _source(image: Any, value_range: tuple[float, float] | None) -> Source:
    """Return one image as it is composed: a path, bytes, a loaded PIL image or pixels."""
    if isinstance(image, str):
        return image
    if isinstance(image, os.PathLike):
        return Path(os.fsdecode(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, Image.Image):
        return _unloaded(image) or image
    if isinstance(image, np.ndarray):
        return _pixels(image, "array", value_range)
    if _is_tensor(image):
        return _pixels(_channels_last(image), "tensor", value_range)
    if hasattr(image, "read"):
        return _content(image)
    raise _refused(image)


def _unloaded(image: Image.Image) -> bytes | None:
    """Return the bytes of the file that a PIL image was opened from, if nothing of it was loaded or changed yet."""
    file = getattr(image, "fp", None)
    if file is None or getattr(image, "_im", None) is not None or image.format not in _READ_FORMATS or image.tell():
        return None
    try:
        at = file.tell()
        file.seek(0)
        content = file.read()
        file.seek(at)
    except (OSError, ValueError):
        return None
    return bytes(content)


def _content(file: Any) -> bytes:
    try:
        if getattr(file, "seekable", lambda: False)():
            file.seek(0)
        content = file.read()
    except UnicodeDecodeError:
        content = ""  # open as text
    except ValueError as error:
        raise KindError(
            f"a file that cannot be read ({error})", need="an open binary file", fix="give its path, or open it again"
        ) from None
    if not isinstance(content, (bytes, bytearray)):
        raise KindError("a file that is open as text", need="bytes", fix="open it with open(path, 'rb')")
    return bytes(content)


def _pixels(array: np.ndarray, what: str, value_range: tuple[float, float] | None) -> Pixels:
    shape = "x".join(map(str, array.shape)) or "()"
    if isinstance(array, np.ma.MaskedArray):
        raise KindError(f"a masked {what}", need="every value of the image", fix="fill the masked ones, as x.filled(0)")
    if array.ndim not in (2, 3) or not array.size:
        fix = f"give the images of a batch one by one: list({what})" if array.ndim == 4 else None
        raise KindError(f"an {what} of shape {shape}".replace("an tensor", "a tensor"), need="one image, (H, W) or (H, W, C)", fix=fix)
    if array.ndim == 3 and array.shape[0] in _CHANNELS and array.shape[-1] not in _CHANNELS and what == "array":
        raise KindError(f"an array of shape {shape} may be (C, H, W)", need="(H, W, C)", fix="x.transpose(1, 2, 0)")
    array = array[..., None] if array.ndim == 2 else array
    if array.dtype.kind == "f":
        if value_range is None:
            raise KindError(
                f"{array.dtype} values whose range is not stated", need="what black and white are", fix="state it, as value_range=(0, 1)"
            )
        return Pixels(array, (float(value_range[0]), float(value_range[1])))
    if array.dtype.kind == "b" or array.dtype in (np.uint8, np.uint16):
        return Pixels(array)
    raise KindError(f"{array.dtype} values", need="uint8, uint16, or floats with value_range", fix="convert them, as x.astype('uint8')")


def _channels_last(tensor: Any) -> np.ndarray:
    """Return a tensor (H, W) or (C, H, W) as (H, W, C); one that may be (H, W, C) is refused."""
    tensor = tensor.detach()
    if tensor.is_meta or str(tensor.layout) != "torch.strided":
        raise KindError("a tensor without dense values", need="a dense tensor", fix="tensor.to_dense()")
    if tensor.is_floating_point():
        tensor = tensor.double() if tensor.element_size() > 4 else tensor.float()  # numpy has no bfloat16
    array: np.ndarray = tensor.cpu().numpy()
    if array.ndim != 3:
        return array
    if array.shape[-1] in _CHANNELS:
        shape = "x".join(map(str, array.shape))
        raise KindError(f"a tensor of shape {shape} may be (H, W, C)", need="(C, H, W)", fix="tensor.permute(2, 0, 1), or tensor.numpy()")
    return array.transpose(1, 2, 0)


def _is_tensor(image: Any) -> bool:
    return type(image).__module__.partition(".")[0] == "torch" and hasattr(image, "detach")


def _sides(image: Any) -> int:
    """Return how many sides an array of another library has (h5py, zarr, jax), whose rows of pixels would be taken for images; else 0."""
    return len(getattr(image, "shape", ())) if hasattr(image, "dtype") else 0


def _refused(image: Any) -> KindError:
    name = type(image).__name__
    if _sides(image) > 1:
        return KindError(f"an array of {type(image).__module__.partition('.')[0]}", need=TAKEN, fix="convert it, as numpy.asarray(x)")
    return KindError(f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name} is no image", need=TAKEN)
