"""Members of archives are read from the file as it is now."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile

import pytest

from tapetum.data.images.archives import DecodeError, read_bytes, read_head


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_no_images(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe.zip")
    os.symlink("/dev/zero", tmp_path / "device.png")
    for name in ("pipe.png", "pipe.zip!/x.png", "device.png"):
        with pytest.raises(DecodeError, match="a pipe, a socket or a device"):
            read_bytes(tmp_path / name)
        assert read_head(tmp_path / name) == b""
