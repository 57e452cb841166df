from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from tapetum.core.config import Input
from tapetum.core.errors import DataError
from tapetum.core.files import read_parquet, read_text
from tapetum.data.images.decode import Composition, DecodeError, compose, decode

KEEP = Composition(alpha="keep")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def noise(height: int, width: int, channels: int, dtype=np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(7).integers(0, top, (height, width, channels), endpoint=True).astype(dtype)


def saved(image: Image.Image, kind: str, **how) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def with_chunk(png: bytes, *added: bytes) -> bytes:
    return png[:33] + b"".join(added) + png[33:]


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


PNG_EXTRAS = {
    "text bomb": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (1 << 27))),
    "international text bomb": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * (1 << 27))),
    "damaged text": chunk(b"zTXt", b"Comment\0\0no zlib"),
    "odd compression": chunk(b"zTXt", b"Comment\0\7no zlib"),
    "wrong checksum": chunk(b"tEXt", b"a\0b", crc=1),
    "short resolution": chunk(b"pHYs", b"\0\0"),
    "zero resolution": chunk(b"pHYs", struct.pack(">IIB", 0, 0, 1)),
    "short gamma": chunk(b"gAMA", b"\0"),
    "short chromaticities": chunk(b"cHRM", b"\0\0\0"),
    "damaged profile": chunk(b"iCCP", b"icc\0\0no zlib"),
    "profile bomb": chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"x" * (1 << 27))),
    "short intent": chunk(b"sRGB", b""),
    "damaged EXIF": chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    "no EXIF at all": chunk(b"eXIf", b"garbage"),
    "short animation": chunk(b"acTL", b"\0"),
    "unknown": chunk(b"prVt", b"\xff" * 9),
}


@pytest.mark.parametrize("extra", PNG_EXTRAS.values(), ids=PNG_EXTRAS)
def test_no_chunk_beside_the_pixels_makes_a_png_unreadable(extra):
    image = noise(5, 7, 3)
    png = saved(Image.fromarray(image), "PNG")
    assert np.array_equal(decode(with_chunk(png, extra)), image)


def test_many_text_chunks_together_are_read_past():
    image = noise(5, 7, 3)
    texts = [chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 1_000_000))] * 80
    assert np.array_equal(decode(with_chunk(saved(Image.fromarray(image), "PNG"), *texts)), image)


def test_orientation_is_obeyed_beside_a_large_text():
    image = noise(5, 7, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    png = with_chunk(saved(Image.fromarray(image), "PNG", exif=exif), PNG_EXTRAS["text bomb"])
    assert np.array_equal(decode(png), np.rot90(image, -1))


JPEG_EXTRAS = {
    "damaged EXIF": (0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    "no EXIF at all": (0xE1, b"Exif\0\0garbage"),
    "EXIF with a bad resolution": (0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0\x1a\1\5\0\1\0\0\0\xff\xff\0\0\0\0\0\0"),
    "short JFIF": (0xE0, b"JFIF"),
    "damaged profile": (0xE2, b"ICC_PROFILE\0\1\2garbage"),
    "profile without parts": (0xE2, b"ICC_PROFILE\0"),
    "damaged MPF": (0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
    "damaged Photoshop": (0xED, b"Photoshop 3.0\08BIM\x04\x04\0"),
    "XMP": (0xE1, b"http://ns.adobe.com/xap/1.0/\0<broken"),
    "comment": (0xFE, b"\xff\xfe"),
}


@pytest.mark.parametrize(("marker", "body"), JPEG_EXTRAS.values(), ids=JPEG_EXTRAS)
def test_no_segment_beside_the_pixels_makes_a_jpeg_unreadable(marker, body):
    jpeg = saved(Image.fromarray(noise(16, 16, 3)), "JPEG")
    assert np.array_equal(decode(with_segment(jpeg, marker, body)), decode(jpeg))


def test_cmyk_of_adobe_keeps_its_meaning_beside_damaged_exif():
    jpeg = saved(Image.fromarray(noise(16, 16, 4), "CMYK"), "JPEG")
    assert np.array_equal(decode(with_segment(jpeg, 0xE1, b"Exif\0\0garbage")), decode(jpeg))


def test_damaged_metadata_of_webp_and_tiff_are_read_past(tmp_path):
    image = Image.fromarray(noise(16, 16, 3))
    webp = saved(image, "WEBP", lossless=True, exif=b"Exif\0\0garbage", icc_profile=b"garbage", xmp=b"<broken")
    assert np.array_equal(decode(webp), np.asarray(image))
    for tag, kind, value in ((282, 5, (0, 0)), (34675, 7, b"garbage"), (700, 7, b"<broken"), (270, 2, "\xff"), (34665, 4, 1 << 30)):
        count = len(value) if isinstance(value, (bytes, str)) else 1
        tifffile.imwrite(tmp_path / "x.tif", np.asarray(image), photometric="rgb", extratags=[(tag, kind, count, value, True)])
        assert np.array_equal(compose([tmp_path / "x.tif"], Composition())[0], np.asarray(image)), tag


def test_tiff_in_lab_is_read_as_its_colours(tmp_path):
    image = Image.fromarray(np.full((16, 16, 3), (200, 60, 40), dtype=np.uint8))
    lab = image.convert("LAB")
    found = decode(saved(lab, "TIFF"))
    assert np.abs(found.astype(int) - np.asarray(image)).max() <= 3
    assert np.array_equal(found, decode(lab))


@pytest.mark.parametrize("kind", ["palette pages", "16-bit CMYK", "16-bit LAB"])
def test_tiff_whose_samples_are_no_colours_is_refused(kind, tmp_path):
    if kind == "palette pages":
        pages = [Image.fromarray(noise(16, 16, 3)).quantize(16) for _ in range(3)]
        content = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    else:
        channels, how = (4, "separated") if "CMYK" in kind else (3, "cielab")
        tifffile.imwrite(tmp_path / "x.tif", np.full((16, 16, channels), 500, dtype=np.uint16), photometric=how, planarconfig="contig")
        content = (tmp_path / "x.tif").read_bytes()
    with pytest.raises(DecodeError, match="convert it to RGB"):
        decode(content)


def test_damaged_pixels_are_still_refused_whatever_stands_beside_them():
    png = bytearray(with_chunk(saved(Image.fromarray(noise(50, 70, 3)), "PNG"), PNG_EXTRAS["text bomb"]))
    png[-40] ^= 255
    with pytest.raises(DecodeError, match="checksum of IDAT"):
        decode(bytes(png))
    jpeg = with_segment(saved(Image.fromarray(noise(50, 70, 3)), "JPEG"), *JPEG_EXTRAS["damaged EXIF"])
    with pytest.raises(DecodeError, match="truncated"):
        decode(jpeg[:-900])


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG"])
def test_large_image_is_refused_with_its_key(kind):
    data = saved(Image.new("RGB", (40, 30)), kind)
    with pytest.raises(DecodeError, match=r"large: 40x30 = 1,200 pixels, more than input\.max_pixels = 1000"):
        decode(data, how=Composition(max_pixels=1000))
    assert decode(data, how=Composition.from_input(Input(max_pixels=1200))).shape == (30, 40, 3)


def test_the_limit_of_pillow_itself_does_not_count(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF"):
        assert decode(saved(Image.new("RGB", (40, 30)), kind)).shape == (30, 40, 3)
    wide = saved(Image.fromarray(np.zeros((30, 40), np.uint16)), "TIFF")
    assert decode(wide).shape == (30, 40, 1)
    with pytest.raises(DecodeError, match="large: 40x30"):
        decode(wide, how=Composition(max_pixels=1000))


def png16(image: np.ndarray, colour_type: int, extra: bytes = b"") -> bytes:
    height, width = image.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("extra", [b"", chunk(b"bKGD", b"\0\1"), PNG_EXTRAS["text bomb"]])
def test_gray_with_alpha_of_16_bits_keeps_depth_and_alpha(extra):
    image = noise(5, 7, 2, np.uint16)
    data = png16(image, 4, extra)
    assert decode(data, how=KEEP).dtype == np.uint16
    assert np.array_equal(decode(data, how=KEEP), image)
    assert np.array_equal(decode(data, how=Composition(alpha="drop")), image[..., :1])
    share = image[..., 1:].astype(float) / 65535
    assert np.array_equal(decode(data), np.rint(image[..., :1] * share + 65535 * (1 - share)).astype(np.uint16))


def test_one_clear_colour_of_16_bits_is_alpha():
    gray, colour = noise(5, 7, 1, np.uint16), noise(5, 7, 3, np.uint16)
    out = decode(png16(gray, 0, chunk(b"tRNS", struct.pack(">H", gray[2, 3, 0]))), how=KEEP)
    assert (out.dtype, out.shape) == (np.uint16, (5, 7, 2))
    assert out[2, 3, 1] == 0
    assert out[..., 1].mean() > 60000
    out = decode(png16(colour, 2, chunk(b"tRNS", struct.pack(">3H", *colour[2, 3]))), how=KEEP)
    assert np.array_equal(out[..., :3], colour)
    assert np.argwhere(out[..., 3] == 0).tolist() == [[2, 3]]


@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (3, 2), (4, 6)])
@pytest.mark.parametrize("extra", [b"", chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"sBIT", b"\x0c\x0c\x0c")])
def test_16_bit_png_is_read_as_stored(channels, colour_type, extra):
    image = noise(6, 5, channels, np.uint16)
    out = decode(png16(image, colour_type, extra), how=KEEP)
    assert out.dtype == np.uint16
    assert np.array_equal(out, image)


def test_an_interlaced_png_of_16_bits_is_read(capfd):
    image = noise(9, 11, 3, np.uint16)
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
    parts = [image[top::down, left::right] for top, down, left, right in passes]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts if part.size for row in part)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 11, 9, 16, 2, 0, 0, 1))
    damaged = chunk(b"iCCP", b"x")  # libpng would print a warning of it
    data = b"\x89PNG\r\n\x1a\n" + head + damaged + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.array_equal(decode(data, how=KEEP), image)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("compression", ["lzw", "zstd", "jpeg2000", "packbits"])
def test_compressed_tiffs_of_16_bits_are_read(tmp_path, compression):
    image = noise(33, 40, 1, np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", image[..., 0], compression=compression, photometric="minisblack")
    assert np.array_equal(compose([tmp_path / "x.tif"], KEEP)[0], image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_alpha_of_a_tiff_follows_the_policy_at_every_depth(tmp_path, dtype, channels, compression):
    image, path = noise(5, 7, channels, dtype), tmp_path / "x.tif"
    how = {"photometric": "rgb" if channels == 4 else "minisblack", "compression": compression, "planarconfig": "contig"}
    tifffile.imwrite(path, image, extrasamples=["unassalpha"], **how)
    assert np.array_equal(compose([path], KEEP)[0], image)
    assert np.array_equal(compose([path], Composition(alpha="drop"))[0], image[..., :-1])
    top = np.iinfo(dtype).max
    share = image[..., -1:].astype(float) / top
    assert np.array_equal(compose([path], Composition())[0], np.rint(image[..., :-1] * share + top * (1 - share)).astype(dtype))
    tifffile.imwrite(path, image, extrasamples=["unspecified"], **how)
    if channels == 2:  # a second channel that is no alpha
        assert np.array_equal(compose([path], Composition())[0], image)


def test_colours_multiplied_by_alpha_are_divided_by_it(tmp_path):
    for dtype in (np.uint8, np.uint16):
        top = np.iinfo(dtype).max
        image = np.full((4, 4, 2), top // 2, dtype)
        tifffile.imwrite(tmp_path / "x.tif", image, photometric="minisblack", planarconfig="contig", extrasamples=["assocalpha"])
        assert compose([tmp_path / "x.tif"], Composition(alpha="drop"))[0][0, 0, 0] == top


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_gray_with_alpha_follows_the_policy_in_every_format(kind):
    image = noise(5, 7, 2)
    image[..., 1] = np.where(image[..., 1] < 128, 0, 255)
    how = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = saved(Image.fromarray(image, "LA"), kind, **how)
    expected = np.where(image[..., 1:] == 0, 255, image[..., :1])
    assert np.array_equal(decode(data, how=Composition(colour="gray")), expected)
    assert np.array_equal(decode(data, how=Composition(colour="gray", alpha="keep"))[..., 1], image[..., 1])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (LFS, "a Git LFS pointer"),
        (b"/annex/objects/SHA256E-s12--ab.png\n", "a git-annex pointer"),
        (b"../../.git/annex/objects/xX/yY/SHA256E-s12--ab.png/SHA256E-s12--ab.png", "a git-annex pointer"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "a web page"),
        (b"\n<html lang='en'>", "a web page"),
        (b"\0\x05\x16\x07\0\2\0\0Mac OS X        ", "resource fork"),
        (b"", "an empty file"),
        (b"\0" * 300, "nothing but zero bytes"),
        (b"%PDF-1.7", "a PDF"),
        (b"PK\x03\x04\x14\0", "zip archive"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(tmp_path, content, what):
    with pytest.raises(DecodeError, match=what):
        decode(content, "x.png")
    for name, read in (("x.csv", read_text), ("x.parquet", read_parquet)):
        (tmp_path / name).write_bytes(content)
        if content:
            with pytest.raises(DataError, match=rf"{name} is .*{what}|no text at all"):
                read(tmp_path / name)


def test_git_annex_link_without_content_is_named(tmp_path):
    (tmp_path / "a.png").symlink_to(".git/annex/objects/x/y/key")
    (tmp_path / "b.png").symlink_to("elsewhere.png")
    with pytest.raises(DecodeError, match="git annex get"):
        compose([tmp_path / "a.png"], Composition())
    with pytest.raises(DecodeError, match=r"a link to elsewhere\.png, which does not exist"):
        compose([tmp_path / "b.png"], Composition())
