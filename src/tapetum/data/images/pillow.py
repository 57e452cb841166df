"""Images that Pillow decodes (libpng, where a PNG has 16 bits): their pixels alone count; no metadata makes one unreadable."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Iterator

import imagecodecs
import numpy as np
from PIL import Image, UnidentifiedImageError

from tapetum.data.images.formats import DECODED
from tapetum.data.images.tiff import check_size

PNG = b"\x89PNG\r\n\x1a\n"
_unlimited = threading.Lock()  # while Pillow's limit is lifted for an image that input.max_pixels allows
ORIENTATION = 0x0112
_PLAIN_MODE = {
    "1": "L",
    "P": "RGB",
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
    "HSV": "RGB",
}
_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")  # chunks of a PNG that say what the pixels are


def read(data: bytes, most: int, least: int | None = None) -> tuple[np.ndarray, bool, int]:
    """Return (image (H, W) or (H, W, C), whether the last channel is alpha, orientation).

    Args:
        data: the file.
        most: pixels that the image may have.
        least: pixels that each side of a JPEG keeps where it is decoded at a part of its size; None: it is decoded whole.

    Raises:
        ValueError, OSError and whatever else decoders raise: of the file as it is, where it cannot be read without its metadata either.
    """
    is_png = data.startswith(PNG)
    if is_png:
        _check_png(data)
    try:
        return _loaded(data, most, is_png, least)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # Pillow's own limit, while it loads a TIFF, WebP or GIF
        with _unlimited:
            before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return _loaded(data, most, is_png, least)
            finally:
                Image.MAX_IMAGE_PIXELS = before
    except Exception as error:
        for bare in _without_metadata(data):
            try:
                return _loaded(bare, most, is_png, least)
            except Exception:
                continue
        raise error from None


def opened(data: bytes, most: int) -> Image.Image:
    """Return an image that is not yet decoded. Unlike ``Image.open``, the limit of pixels is ours.

    Raises:
        UnidentifiedImageError: no format fits.
        ValueError: it has more than ``most`` pixels.
    """
    Image.init()
    why: Exception | None = None
    for name in DECODED:
        factory, accept = Image.OPEN[name]
        fits = True if accept is None else accept(data[:16])
        if not fits or isinstance(fits, str):  # a text says why this Pillow does not know the format
            continue
        try:
            pil = factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            why = error
            continue
        check_size(*pil.size, most)
        return pil
    raise UnidentifiedImageError(str(why) if why else "no format fits")


def _loaded(data: bytes, most: int, is_png: bool, least: int | None) -> tuple[np.ndarray, bool, int]:
    with opened(data, most) as pil:
        if least is not None:
            pil.draft(None, (least, least))  # of a JPEG; other formats know nothing of it
        pil.load()
        orientation = _orientation(pil)  # after load: PNG keeps it behind the image; TIFF is turned by now
        if is_png and data[24] == 16:  # Pillow would cut it to 8 bits
            image = imagecodecs.png_decode(PNG + _png_chunks(data[8:], _PIXELS))
            return image, image.ndim == 3 and image.shape[-1] in (2, 4), orientation
        return *_with_clear(*_plain(pil), pil), orientation


def pixels(pil: Image.Image) -> tuple[np.ndarray, bool, int]:
    """Return what :func:`read` returns, of an image that is at hand: as much as Pillow kept of it, and the EXIF data that it still has."""
    if getattr(pil, "_im", pil) is None and getattr(pil, "fp", None) is None:  # Pillow's own load fails on an assert
        raise ValueError("it was closed before its pixels were read")
    pil.load()
    if pil.mode == "I" and pil.format == "TIFF":  # 32 bits there, and 16 in a PGM file
        return np.array(pil), False, 1
    return *_with_clear(*_plain(pil), pil), _orientation(pil)


def _with_clear(image: np.ndarray, alpha: bool, pil: Image.Image) -> tuple[np.ndarray, bool]:
    """Return a 16-bit image with alpha, where one of its colours is clear; others as they are."""
    clear = pil.info.get("transparency")
    if clear is None or image.dtype != np.uint16 or alpha:
        return image, alpha
    image = image.reshape(*image.shape[:2], -1)
    shown = (image != np.asarray(clear, dtype=np.uint16)).any(axis=-1, keepdims=True)
    return np.concatenate([image, shown.astype(np.uint16) * 65535], axis=-1), True


def _orientation(pil: Image.Image) -> int:
    try:
        return int(pil.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF data say nothing about the pixels
        return 1


def _plain(pil: Image.Image) -> tuple[np.ndarray, bool]:
    """Return the samples of a loaded image, palettes and print colours as RGB, and whether the last channel is alpha."""
    mode = _PLAIN_MODE.get(pil.mode, pil.mode)
    if "transparency" in pil.info and pil.mode in ("1", "L", "P", "RGB"):
        mode = "LA" if mode == "L" else "RGBA"
    if mode != pil.mode:
        pil = pil.convert(mode)
    image = np.array(pil)
    if mode == "I":  # 16-bit PGM
        if image.min() < 0 or image.max() > 65535:
            raise ValueError("values beyond 16 bits")
        image = image.astype(np.uint16)
    return image, mode in ("LA", "RGBA")


def _check_png(data: bytes) -> None:
    """Check the sums of the chunks that make the image; Pillow skips those of the pixels."""
    at = 8
    while True:
        if at + 12 > len(data):
            raise ValueError(f"truncated after {len(data):,} bytes")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ValueError(f"truncated after {len(data):,} bytes")
        if kind in (b"IHDR", b"PLTE", b"IDAT") and zlib.crc32(data[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(f"damaged: the checksum of {kind.decode()} at byte {at:,} is wrong")
        if kind == b"IEND":
            return
        at = end


def _without_metadata(data: bytes) -> Iterator[bytes]:
    """Yield a file without what is not needed for its pixels: first with its EXIF data, then without."""
    if data.startswith(PNG):
        yield PNG + _png_chunks(data[8:], (*_PIXELS, b"eXIf"))
        yield PNG + _png_chunks(data[8:], _PIXELS)
    elif data.startswith(b"\xff\xd8"):
        yield _jpeg_segments(data, exif=True)
        yield _jpeg_segments(data, exif=False)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        yield _webp_chunks(data)


def _png_chunks(chunks: bytes, kept: tuple[bytes, ...]) -> bytes:
    out, at = [], 0
    while at + 12 <= len(chunks):
        length, kind = struct.unpack_from(">I4s", chunks, at)
        if kind in kept:
            out.append(chunks[at : at + 12 + length])
        at += 12 + length
        if kind == b"IEND":
            break
    return b"".join(out)


def _jpeg_segments(data: bytes, exif: bool) -> bytes:
    """Return a JPEG without application segments and comments but Adobe's, which says what the colours are."""
    out, at = [data[:2]], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        if data[at + 1] == 0xFF:  # fill
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        extra = 0xE0 <= data[at + 1] <= 0xEF or data[at + 1] == 0xFE
        if not extra or data[at + 1] == 0xEE or (exif and data[at + 4 : at + 10] == b"Exif\0\0"):
            out.append(data[at:end])
        at = end
    return b"".join(out) + data[at:]


def _webp_chunks(data: bytes) -> bytes:
    out, at = [], 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        if kind == b"VP8X":
            out.append(data[at : at + 8] + bytes([data[at + 8] & 0x12]) + data[at + 9 : end])  # alpha and animation stay announced
        elif kind not in (b"EXIF", b"XMP ", b"ICCP"):
            out.append(data[at:end])
        at = end
    body = b"".join(out)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
