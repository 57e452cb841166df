import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tapetum.core.config import Input
from tapetum.core.errors import UserError
from tapetum.data.images.archives import DecodeError, read_bytes
from tapetum.data.images.colour import luma, oriented, without_alpha
from tapetum.data.images.decode import Composition, compose, content_hash, decode

RNG = np.random.default_rng(0)


def noise(height, width, channels=3, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return RNG.integers(0, top, (height, width, channels), dtype=dtype, endpoint=True)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_by_hand(image, colour_type, filters=(0,)):
    """A PNG written from the specification, with the filter types in turn."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = image.shape
    rows = image.astype(">u2").reshape(height, -1).view(np.uint8).astype(int)
    step = image.shape[2] * 2
    lines = b""
    for y in range(height):
        kind = filters[y % len(filters)]
        left = np.concatenate([np.zeros(step, int), rows[y][:-step]])
        up = rows[y - 1] if y else np.zeros_like(rows[y])
        predicted = {0: 0, 1: left, 2: up, 3: (left + up) // 2}[kind]
        lines += bytes([kind]) + ((rows[y] - predicted) % 256).astype(np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_give_the_stored_values(kind, channels):
    image = noise(13, 17, channels)
    options = {"lossless": True} if kind == "WEBP" else {}
    out = decode(encoded(Image.fromarray(image.squeeze()), kind, **options))
    expected = np.repeat(image, 3, -1) if kind == "WEBP" and channels == 1 else image  # WebP knows no gray
    assert np.array_equal(out, expected)


def test_jpeg_equals_pillow():
    data = encoded(Image.fromarray(noise(20, 30)), "JPEG")
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(kind, orientation):
    image = Image.fromarray(noise(16, 24))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, kind, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(decode(data), expected)
    assert np.array_equal(oriented(np.asarray(image), orientation).shape, expected.shape)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_16_bit_tiff(tmp_path, orientation):
    image = noise(5, 7, 1, np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", image[..., 0], extratags=[(274, 3, 1, orientation, True)])
    small = Image.fromarray((image[..., 0] >> 8).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded(small, "PNG", exif=exif)))))
    (out,) = compose([tmp_path / "x.tif"], Composition())
    assert np.array_equal((out[..., 0] >> 8), expected)


@pytest.mark.parametrize("colour_type", [2, 6])
def test_16_bit_rgb_png_keeps_its_low_bytes(colour_type):
    image = noise(8, 5, 3 if colour_type == 2 else 4, np.uint16)
    out = decode(png_by_hand(image, colour_type, filters=(0, 1, 2, 3)), how=Composition(alpha="keep"))
    assert out.dtype == np.uint16
    assert np.array_equal(out, image)


def test_16_bit_gray_png():
    image = noise(8, 5, 1, np.uint16)
    assert np.array_equal(decode(encoded(Image.fromarray(image[..., 0]), "PNG")), image)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_stack_of_pages_becomes_channels_in_order(tmp_path, compression, dtype):
    pages = noise(6, 9, 5, np.uint16).transpose(2, 0, 1)
    pages = pages if dtype == np.uint16 else (pages / 65535).astype(np.float32)
    tifffile.imwrite(tmp_path / "x.tif", pages, photometric="minisblack", compression=compression)
    (out,) = compose([tmp_path / "x.tif"], Composition())
    assert out.dtype == dtype
    assert np.array_equal(out, pages.transpose(1, 2, 0))


def test_pages_written_one_by_one_and_interleaved_samples(tmp_path):
    image = noise(6, 9, 5, np.uint8)
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for channel in range(5):
            file.write(image[..., channel], metadata=None)
    tifffile.imwrite(tmp_path / "samples.tif", image, photometric="minisblack", planarconfig="contig")
    for name in ("pages.tif", "samples.tif"):
        assert np.array_equal(compose([tmp_path / name], Composition())[0], image)


def test_pages_of_different_sizes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(noise(6, 9, 1)[..., 0], metadata=None)
        file.write(noise(5, 9, 1)[..., 0], metadata=None)
    with pytest.raises(DecodeError, match="different sizes"):
        compose([tmp_path / "x.tif"], Composition())


def test_float_values_beyond_one_are_refused(tmp_path):
    for bad, word in ((np.full((4, 4), 300.0, np.float32), "300"), (np.full((4, 4), np.nan, np.float32), "nan")):
        tifffile.imwrite(tmp_path / "x.tif", bad)
        with pytest.raises(DecodeError, match=word):
            compose([tmp_path / "x.tif"], Composition())


@given(at=st.floats(0.02, 0.98), kind=st.sampled_from(["PNG", "JPEG", "TIFF", "BMP", "WEBP", "wide"]))
def test_a_truncated_file_is_never_an_image(at, kind):
    if kind == "wide":
        file = io.BytesIO()
        tifffile.imwrite(file, np.random.default_rng(1).integers(0, 60000, (3, 32, 32), dtype=np.uint16), photometric="minisblack")
        data = file.getvalue()
    else:
        data = encoded(Image.fromarray(np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)), kind)
    with pytest.raises(DecodeError) as caught:
        decode(data[: int(len(data) * at)], "x")
    assert caught.value.reason
    assert caught.value.exit_code == 3


def test_the_reason_names_the_size(tmp_path):
    data = encoded(Image.fromarray(noise(64, 64)), "JPEG")
    (tmp_path / "pug.jpg").write_bytes(data[:3000])
    with pytest.raises(DecodeError) as caught:
        compose([tmp_path / "pug.jpg"], Composition())
    assert caught.value.reason == "truncated after 3,000 bytes"
    assert "pug.jpg" in str(caught.value)


def test_a_flipped_byte_in_a_png_is_found():
    data = bytearray(encoded(Image.fromarray(noise(64, 64)), "PNG", compress_level=0))
    data[len(data) // 2] ^= 1
    with pytest.raises(DecodeError, match="checksum of IDAT"):
        decode(bytes(data))


def test_not_an_image_empty_and_absent(tmp_path):
    (tmp_path / "a.jpg").write_text("hello, this is text")
    (tmp_path / "b.jpg").write_bytes(b"")
    reasons = []
    for name in ("a.jpg", "b.jpg", "c.jpg", "."):
        with pytest.raises(DecodeError) as caught:
            compose([tmp_path / name], Composition())
        reasons.append(caught.value.reason)
    assert reasons == ["not an image of a known format", "an empty file", "no such file", "a folder"]


def test_zip_members_are_read_in_place(tmp_path):
    image = noise(9, 9)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train/x.png", encoded(Image.fromarray(image), "PNG"))
    (out,) = compose([tmp_path / "a.zip!/train/x.png"], Composition())
    assert np.array_equal(out, image)
    with pytest.raises(DecodeError, match=r"no such member.*train/x\.png"):
        read_bytes(tmp_path / "a.zip!/train/y.png")
    with pytest.raises(DecodeError, match="there is no archive"):
        read_bytes(tmp_path / "b.zip!/train/x.png")


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_policies(channels):
    image = noise(9, 9, channels)
    data = encoded(Image.fromarray(image), "PNG")
    colour, share = image[..., :-1].astype(float), image[..., -1:] / 255
    assert np.array_equal(decode(data, how=Composition(alpha="keep")), image)
    assert np.array_equal(decode(data, how=Composition(alpha="drop")), image[..., :-1])
    for policy, ground in (("white", 255), ("black", 0)):
        out = decode(data, how=Composition(alpha=policy))
        assert np.abs(out - (colour * share + ground * (1 - share))).max() <= 0.5 + 1e-9


def test_palette_with_transparency_and_cmyk():
    image = Image.fromarray(noise(9, 9)).quantize(8)
    assert np.array_equal(decode(encoded(image, "PNG")), np.asarray(image.convert("RGB")))
    clear = encoded(image, "PNG", transparency=0)
    out = decode(clear)
    assert (out[np.asarray(image) == 0] == 255).all()  # laid on white
    cmyk = Image.fromarray(noise(8, 8)).convert("CMYK")
    for kind in ("TIFF", "JPEG"):
        data = encoded(cmyk, kind)
        assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_alpha_of_white_is_the_same_in_every_depth():
    image = np.array([[[10, 20, 30, 128], [0, 255, 7, 0]]], dtype=np.uint8)
    wide = (image.astype(np.uint16) * 257, (image / 255).astype(np.float32))
    narrow = without_alpha(image, "white") / 255
    assert np.abs(without_alpha(wide[0], "white") / 65535 - narrow).max() < 0.5 / 255 + 1e-4
    assert np.abs(without_alpha(wide[1], "white") - narrow).max() < 0.5 / 255 + 1e-4


def test_gray_equals_pillows_and_rgb_repeats():
    image = noise(31, 33)
    assert np.array_equal(luma(image)[..., 0], np.asarray(Image.fromarray(image).convert("L")))
    gray = encoded(Image.fromarray(image[..., 0]), "PNG")
    assert np.array_equal(decode(gray, how=Composition(colour="rgb")), np.repeat(image[..., :1], 3, -1))


def test_four_files_make_four_channels_in_their_order(tmp_path):
    image = noise(12, 12, 4)
    paths = []
    for channel, name in enumerate(("red", "green", "blue", "yellow")):
        paths.append(tmp_path / f"1_{name}.png")
        paths[-1].write_bytes(encoded(Image.fromarray(image[..., channel]), "PNG"))
    assert np.array_equal(compose(paths, Composition())[0], image)
    views = compose(paths, Composition(paths="views"))
    assert [np.array_equal(v[..., 0], image[..., c]) for c, v in enumerate(views)] == [True] * 4
    paths[2].write_bytes(encoded(Image.fromarray(noise(10, 12, 1)[..., 0]), "PNG"))
    with pytest.raises(DecodeError, match=r"1_blue\.png.*12x10.*1_red\.png is 12x12"):
        compose(paths, Composition())
    paths[2].unlink()
    with pytest.raises(DecodeError, match=r"1_blue\.png.*no such file"):
        compose(paths, Composition())


def test_crop_join_and_bands_in_that_order(tmp_path):
    parts = [noise(20, 10, 1), noise(20, 10, 1)]
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(encoded(Image.fromarray(part[..., 0]), "PNG"))
    crop = (2, 1, 16, 8)
    a, b = (p[2:18, 1:9] for p in parts)
    side = np.concatenate([a, b], axis=1)
    assert np.array_equal(compose(paths, Composition(crop=crop, join="x"))[0], side)
    assert np.array_equal(compose(paths, Composition(crop=crop, join="y"))[0], np.concatenate([a, b], axis=0))
    bands = ((10, 14), (0, 4))
    how = {"crop": crop, "join": "x", "bands": bands}
    assert np.array_equal(compose(paths, Composition(**how))[0], np.concatenate([side[10:14], side[0:4]]))
    assert np.array_equal(compose(paths, Composition(**how, bands_as="channels"))[0], np.concatenate([side[10:14], side[0:4]], axis=-1))
    views = compose(paths, Composition(**how, bands_as="views"))
    assert np.array_equal(views[0], side[10:14])
    assert np.array_equal(views[1], side[0:4])
    assert Composition(**how, bands_as="views").views(2) == 2
    with pytest.raises(DecodeError, match="leaves the image, which is 10x20"):
        compose(paths[:1], Composition(crop=(0, 0, 21, 10)))
    with pytest.raises(DecodeError, match="row band 15:25"):
        compose(paths[:1], Composition(bands=((15, 25),)))


def test_composition_is_the_recipes_and_refuses_contradictions():
    how = Composition.from_input(Input(colour="gray", bands=((0, 4), (4, 8)), bands_as="channels"))
    assert (how.colour, how.bands, how.bands_as) == ("gray", ((0, 4), (4, 8)), "channels")
    with pytest.raises(UserError, match=r"input\.join"):
        Composition(join="x", paths="views")
    with pytest.raises(UserError, match="one height"):
        Composition(bands=((0, 4), (4, 9)), bands_as="channels")


def test_hash_of_one_file_is_its_sha256_and_order_counts():
    import hashlib

    assert content_hash([b"a"]) == hashlib.sha256(b"a").hexdigest()
    assert content_hash([b"a", b"b"]) != content_hash([b"b", b"a"])


@pytest.mark.parametrize(("settings", "shape"), [({}, (256, 320, 3)), ({"decode": "reduced"}, (64, 80, 3)),
                                                 ({"decode": "reduced", "size": (16, 64)}, (128, 160, 3)),
                                                 ({"decode": "reduced", "size": 200}, (256, 320, 3)),
                                                 ({"decode": "reduced", "crop": (0, 0, 100, 100)}, (100, 100, 3)),
                                                 ({"decode": "reduced", "size": "native"}, (256, 320, 3))])  # fmt: skip
def test_a_reduced_jpeg_keeps_twice_the_size(tmp_path, settings, shape):
    ramp = np.repeat(np.linspace(0, 255, 320)[None], 256, axis=0).astype(np.uint8)
    Image.fromarray(np.stack([ramp] * 3, axis=-1)).save(tmp_path / "a.jpg", quality=95)
    (image,) = compose([tmp_path / "a.jpg"], Composition.from_input(Input(**{"size": 32, **settings})))
    assert image.shape == shape
    assert abs(float(image.mean()) - float(ramp[: shape[0], : shape[1] if "crop" in settings else 320].mean())) < 2


def test_only_jpeg_files_are_reduced_and_turned_as_before(tmp_path):
    how = Composition.from_input(Input(size=16, decode="reduced"))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))
    image.save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert compose([tmp_path / "a.png"], how)[0].shape == (64, 96, 3)
    assert compose([tmp_path / "a.jpg"], how)[0].shape == (48, 32, 3)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-300])
    with pytest.raises(DecodeError, match="truncated"):
        compose([tmp_path / "cut.jpg"], how)
