from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from images import plant, quiet
from tapetum.core.config import Data
from tapetum.core.errors import DataError
from tapetum.data import layouts
from tapetum.data.images import formats
from tapetum.data.images.archives import read_head
from tapetum.data.images.decode import DecodeError, decode
from tapetum.data.images.formats import DECODED
from tapetum.data.layouts.webdataset import read as read_tar

RGB = Image.fromarray(np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3))
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def saved(kind: str) -> bytes:
    out = io.BytesIO()
    RGB.save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", DECODED)
def test_what_is_decoded_is_known_by_name_and_by_content(kind):
    data = saved(kind)
    assert formats.content_format(data[: formats.HEAD]) == kind
    assert kind in formats.SUFFIXES.values()
    assert formats.is_image("no-ending", data[: formats.HEAD])
    assert decode(data).shape == (12, 10, 3)


@pytest.mark.parametrize("name", ["README", "LICENSE", "notes.txt", "labels.csv", "points.npy", "model.bin"])
@pytest.mark.parametrize("content", [b"", b"BMW and others\n", b"P7 23 45\n", b"{}", b"\x93NUMPY", b"\0" * 200])
def test_other_files_are_no_images(name, content):
    assert not formats.is_image(name, content)
    assert not formats.is_image("points.txt", b"P1 23 45\n")


def test_formats_that_are_not_read_are_named_in_the_reason():
    for name, data, kind in (("a.heic", b"no image", "HEIC"), ("a", HEIC, "HEIC"), ("a.psd", b"8BPS....", "Photoshop")):
        assert formats.is_image(name, data)
        with pytest.raises(DecodeError, match=f"{kind} is a format that is not read: convert it"):
            decode(data, name)
    with pytest.raises(DecodeError, match="a GIF file with a damaged header"):
        decode(b"GIF8" + b"junk" * 9, "x.gif")


def lay(root):
    root.mkdir()
    for name, kind in (("a.png", "PNG"), ("b.jfif", "JPEG"), ("c.gif", "GIF"), ("d.ppm", "PPM"), ("e.JPE", "JPEG"), ("f", "PNG")):
        (root / name).write_bytes(saved(kind))
    (root / "g.heic").write_bytes(HEIC)
    (root / "odd.dat").write_bytes(saved("TIFF"))
    for name in ("README.txt", "LICENSE", "labels.csv", "x.json"):
        (root / name).write_text("{}")
    return root


IDS = ["a.png", "b.jfif", "c.gif", "d.ppm", "e.JPE", "f", "g.heic", "odd.dat"]


def test_no_image_vanishes_and_no_text_becomes_one(tmp_path):
    folder = lay(tmp_path / "new")
    with zipfile.ZipFile(tmp_path / "new.zip", "w") as packed, tarfile.open(tmp_path / "new.tar", "w") as tar:
        for file in sorted(folder.iterdir()):
            packed.write(file, file.name)
            if file.name in IDS:
                tar.add(file, file.name)
    said: list[str] = []
    assert layouts.loose([folder], Data(), said.append).row_ids == IDS
    assert any("4 files that are no images left out" in text and "1 .json" in text for text in said)
    assert layouts.loose([tmp_path / "new.zip"], Data(), quiet).row_ids == IDS
    assert len(read_tar(tmp_path / "new.tar", Data(), quiet).frame) == len(IDS)
    assert read_head(tmp_path / "new.tar!/f") == read_head(tmp_path / "new.zip!/f") == (folder / "f").read_bytes()[: formats.HEAD]


def test_class_folders_of_other_endings_train(tmp_path):
    plant(tmp_path, classes=2, each=2)
    for file in sorted((tmp_path / "images").rglob("*_000.png")):
        file.rename(file.with_suffix(""))
    for file in sorted((tmp_path / "images").rglob("*_001.png")):
        Image.open(file).save(file.with_suffix(".gif"))
        file.unlink()
    manifest = layouts.read(tmp_path / "images", Data(), quiet)
    assert manifest.row_ids == ["ant/ant_000", "ant/ant_001.gif", "bee/bee_000", "bee/bee_001.gif"]


def test_a_folder_of_texts_holds_no_images(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "README").write_text("BMP files are elsewhere")
    with pytest.raises(DataError, match="holds no images"):
        layouts.loose([tmp_path / "new"], Data(), quiet)
