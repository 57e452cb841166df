import hashlib
import io
import zipfile

import numpy as np
import polars as pl
import pytest
import tifffile
from PIL import Image

from tapetum.core.tables import Manifest
from tapetum.data.audit import FILES_SCHEMA, check_files, summary
from tapetum.data.images.decode import Composition
from tapetum.data.images.form import Form, odd_sizes


def jpeg(seed, size=(64, 48)):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture
def rows(tmp_path):
    contents = {f"{i}.jpg": jpeg(i) for i in range(6)}
    contents["1.jpg"] = contents["1.jpg"][:3000]
    contents["2.jpg"] = b"not an image"
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "3.jpg").unlink()
    tifffile.imwrite(tmp_path / "6.tif", np.zeros((2, 10, 12), dtype=np.uint16), photometric="minisblack")
    names = [*contents, "6.tif"]
    return Manifest(pl.DataFrame({"row_id": names, "path": [[n] for n in names]}), (), tmp_path)


@pytest.mark.parametrize("workers", [1, 3, None])
def test_every_row_is_listed_once_in_order_with_its_reason(rows, workers):
    said = []
    found = check_files(rows, Composition(), said.append, workers)
    assert dict(found.schema) == FILES_SCHEMA
    assert found["row_id"].to_list() == rows.row_ids
    bad = {r["row_id"]: r["reason"] for r in found.filter(pl.col("status") == "missing").iter_rows(named=True)}
    assert bad == {"1.jpg": "truncated after 3,000 bytes", "2.jpg": "not an image of a known format", "3.jpg": "no such file"}
    assert found["sha256"][0] == hashlib.sha256(jpeg(0)).hexdigest()
    assert found.row(0, named=True)["width"] == 64
    assert found.row(6)[4:] == (10, 12, 2, "uint16")
    assert found["reason"].null_count() == 4
    assert "3 of 7 images cannot be read: 1.jpg (truncated after 3,000 bytes)" in said[-1]


def test_damaged_file_that_decodes_is_found_by_hash(rows):
    """One changed byte in the scan of a JPEG gives another image and no error."""
    first = check_files(rows, Composition(), lambda _: None)
    known = rows.with_column("sha256", first["sha256"])
    data = bytearray(jpeg(4))
    data[len(data) // 2] ^= 4
    (rows.root / "4.jpg").write_bytes(data)
    assert check_files(rows, Composition(), lambda _: None)["status"][4] == "ok"
    again = check_files(known, Composition(), lambda _: None)
    assert again["status"][4] == "missing"
    assert "changed" in again["reason"][4]
    assert again["status"].to_list()[5:] == first["status"].to_list()[5:]


def test_several_files_are_named_and_hashed_in_order(tmp_path):
    for i in range(2):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(i))
    paths = [["0.jpg", "1.jpg"], ["1.jpg", "0.jpg"], ["0.jpg", "9.jpg"]]
    manifest = Manifest(pl.DataFrame({"row_id": ["a", "b", "c"], "path": paths}), (), tmp_path)
    found = check_files(manifest, Composition(), lambda _: None)
    assert found["channels"].to_list() == [6, 6, None]
    assert found["sha256"][0] != found["sha256"][1]
    assert found["reason"][2] == "9.jpg: no such file"
    assert Form.of(found) == Form(6, "uint8", (48, 64))
    assert summary(found[:2]) == "checked 2 images: all can be read"


def test_threads_read_one_archive_side_by_side(tmp_path):
    names = [f"{i}.jpg" for i in range(40)]
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i, name in enumerate(names):
            archive.writestr(name, jpeg(i, (16, 16)))
    manifest = Manifest(pl.DataFrame({"row_id": names, "path": [[f"a.zip!/{n}"] for n in names]}), (), tmp_path)
    found = check_files(manifest, Composition(), lambda _: None, workers=8)
    assert found["sha256"].to_list() == [hashlib.sha256(jpeg(i, (16, 16))).hexdigest() for i in range(40)]


def test_few_images_of_another_size_are_named():
    def table(*sizes):
        rows = [(f"{i}.png", "ok", h, w) for i, (h, w) in enumerate(sizes)]
        return pl.DataFrame(rows, schema=["row_id", "status", "height", "width"], orient="row")

    said = odd_sizes(table(*[(270, 480)] * 19, (360, 640)))
    assert said is not None
    assert "1 of 20 images is not 480 × 270 as the others: 19.png (640 × 360)" in said
    assert odd_sizes(table(*[(270, 480)] * 20)) is None
    assert odd_sizes(table(*[(270, 480)] * 12, *[(360, 640)] * 8)) is None
    assert odd_sizes(table()) is None


def test_checking_files_names_images_of_another_size(tmp_path):
    for i in range(12):
        Image.new("L", (9, 5) if i == 7 else (8, 5)).save(tmp_path / f"{i}.png")
    names = [f"{i}.png" for i in range(12)]
    said = []
    check_files(Manifest(pl.DataFrame({"row_id": names, "path": [[n] for n in names]}), (), tmp_path), Composition(), said.append)
    assert any("7.png (9 × 5)" in line for line in said)
