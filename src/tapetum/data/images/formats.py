"""What counts as an image file, by one list: the formats that are decoded, and image formats that are known and not decoded.

A file is an image where its name ends like one or its content begins like one. Every such file is a row; one that cannot be decoded is
a row with the reason, so that nothing that may be an image is left out silently.
"""

from __future__ import annotations

import re

from tapetum.core.stand_ins import stand_in

HEAD = 160  # bytes of a file that are enough to tell its format

SUFFIXES = {  # of the formats that are decoded
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif"), "JPEG"),
    **dict.fromkeys((".png", ".apng"), "PNG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    **dict.fromkeys((".bmp", ".dib"), "BMP"),
    **dict.fromkeys((".ppm", ".pgm", ".pbm", ".pnm"), "PPM"),
    ".webp": "WEBP",
    ".gif": "GIF",
}
DECODED = tuple(dict.fromkeys(SUFFIXES.values()))  # by Pillow, which would also start other programs, for EPS
FOREIGN = {  # image formats that are named in the reason and not decoded
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx"), "JPEG 2000"),
    **dict.fromkeys((".dcm", ".dicom"), "DICOM"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"), "camera raw"),
    ".avif": "AVIF",
    ".jxl": "JPEG XL",
    ".psd": "Photoshop",
    ".svg": "SVG",
    ".ico": "ICO",
    ".tga": "TGA",
    ".exr": "OpenEXR",
}
IMAGE_SUFFIXES = (*SUFFIXES, *FOREIGN)
TEXTS = (".txt", ".csv", ".tsv", ".md", ".json", ".jsonl", ".xml", ".html", ".htm", ".yaml", ".yml", ".toml", ".log")

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_FOREIGN_SIGNATURES = (
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "ICO"),
    (b"v/1\x01", "OpenEXR"),
    (b"%!PS-Adobe", "EPS"),
    (b"qoif", "QOI"),
    (b"<svg", "SVG"),
)
_BRANDS = ((b"avif", "AVIF"), (b"avis", "AVIF"), (b"crx ", "camera raw"), (b"heic", "HEIC"), (b"heix", "HEIC"), (b"mif1", "HEIC"))
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)
_PPM = re.compile(rb"P[1-6]\s(?:\s|#[^\n]*\n)*\d+\s(?:\s|#[^\n]*\n)*\d+\s")


def has_image_name(name: str) -> bool:
    """Tell whether a file's name ends like an image, decoded here or not."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_image(name: str, start: bytes) -> bool:
    """Tell whether a file is an image: by its name, else by its first :data:`HEAD` bytes.

    The text formats of PPM look like lines of a table; they do not count in a file that is called a text.
    """
    found = content_format(start) or foreign_format(start)
    return has_image_name(name) or (found is not None and not (found in ("PPM", "SVG", "EPS") and name.lower().endswith(TEXTS)))


def content_format(start: bytes) -> str | None:
    """Return the format among those decoded that the first bytes of a file belong to, or None."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[:2] == b"BM" and len(start) >= 18 and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if _PPM.match(start):
        return "PPM"
    return next((name for signature, name in _SIGNATURES if start.startswith(signature)), None)


def foreign_format(start: bytes) -> str | None:
    """Return the image format that is known and not decoded, which the first bytes of a file belong to, or None."""
    if start[4:8] == b"ftyp":
        return next((name for brand, name in _BRANDS if brand in start[8:64]), None)
    if start[128:132] == b"DICM":
        return "DICOM"
    return next((name for signature, name in _FOREIGN_SIGNATURES if start.startswith(signature)), None)


def not_decoded(name: str, start: bytes) -> str:
    """Return the reason for a file that no decoder knows: the format by its content, else by its name."""
    found = content_format(start)
    if found is not None:
        return f"a {found} file with a damaged header"
    other = stand_in(start)
    if other is not None:
        return other
    foreign = foreign_format(start) or next((kind for suffix, kind in FOREIGN.items() if name.lower().endswith(suffix)), None)
    if foreign is not None:
        return f"{foreign} is a format that is not read: convert it to PNG or JPEG"
    return "not an image of a known format"
