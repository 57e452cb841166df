"""Images at hand become files, without loss: what a folder of them is read as is what they are seen as when they are given directly."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tapetum.core import files
from tapetum.core.errors import UserError
from tapetum.core.words import plural
from tapetum.data.images.archives import DecodeError
from tapetum.data.images.decode import Composition, decode
from tapetum.data.images.formats import HEAD, content_format, not_decoded
from tapetum.data.images.given import Pixels, Source, within_two_levels


class ImagesError(UserError, ValueError):
    """What was given as images or labels is not what an image classifier takes."""


def write_rows(rows: Sequence[Sequence[Source]], folder: Path) -> list[str]:
    """Return a path for each image; those that are no files are written to a folder, without loss.

    Raises:
        ImagesError: a row of several images, one that cannot be decoded, or floats that all lie within one level of 8 bits.
    """
    if (doubt := within_two_levels(rows)) is not None:
        raise ImagesError(doubt, need="the values of black and white", fix="state them, as value_range=(0, 1)")
    found = []
    for number, row in enumerate(rows):
        if len(row) != 1:
            raise ImagesError(f"row {number} of X holds {plural(len(row), 'image')}", need="one image a row")
        image = row[0]
        if isinstance(image, (str, Path)):
            found.append(os.path.abspath(image))
            continue
        try:
            content, suffix = _encoded(image)
        except DecodeError as error:
            raise ImagesError(f"number {number} of X cannot be read ({error.reason})", fix="repair it, or leave it out") from None
        found.append(os.path.abspath(files.write_bytes(folder / f"{number:07d}.{suffix}", content)))
    return found


def _encoded(image: bytes | Image.Image | Pixels) -> tuple[bytes, str]:
    """Return an image as the bytes of a file, and the ending of its name.

    An image at hand is composed as every other: turned as its EXIF data say, palettes and print colours as RGB, with its alpha.

    Raises:
        DecodeError: it cannot be.
    """
    if isinstance(image, bytes):
        found = content_format(image[:HEAD])
        if found is None:
            raise DecodeError("bytes", not_decoded("", image[:HEAD]))
        return image, found.lower()
    given = dataclasses.replace(image, eight_bit=True) if isinstance(image, Pixels) else image
    array = decode(given, how=Composition(alpha="keep"))
    out = io.BytesIO()
    if array.dtype == np.uint8 and array.shape[-1] <= 4:
        Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(out, "PNG")
        return out.getvalue(), "png"
    import tifffile

    alpha = isinstance(image, Image.Image) and array.shape[-1] in (2, 4)
    is_colour = array.shape[-1] - alpha == 3
    packed = array if is_colour or alpha else array.transpose(2, 0, 1)
    extra = ["unassalpha"] if alpha else None
    tifffile.imwrite(
        out, packed, photometric="rgb" if is_colour else "minisblack", planarconfig="contig" if alpha else None, extrasamples=extra
    )
    return out.getvalue(), "tiff"
