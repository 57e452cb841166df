"""Members of archives are read from the file as it is now."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile

import pytest

from tapetum.data.images.archives import read_bytes


def _write(path, content):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/x.png", content)
    else:
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo("a/x.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize("size", [5, 5000], ids=["same size", "other size"])
def test_an_archive_that_was_replaced_is_read_anew(tmp_path, ending, size):
    place = tmp_path / f"a.{ending}"
    _write(place, b"first")
    assert read_bytes(f"{place}!/a/x.png") == b"first"

    before = os.stat(place).st_mtime_ns
    _write(place, b"s" * size)
    os.utime(place, ns=(before + 10, before + 10))
    assert read_bytes(f"{place}!/a/x.png") == b"s" * size
