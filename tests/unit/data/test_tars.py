"""Every file of a tar archive is a row or is named: links, sparse files, archives that end early, names that are there twice."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile

import pytest

from images import plant, quiet
from tapetum.core.config import Data
from tapetum.core.errors import DataError
from tapetum.data import layouts
from tapetum.data.images.archives import DecodeError, read_bytes, read_head


@pytest.fixture
def photos(tmp_path):
    planted = plant(tmp_path, each=2)
    return [(tmp_path / name).read_bytes() for name in planted.files]


def pack(place, members):
    """Write a tar archive of (name, bytes), or (name, type, target) for links."""
    with tarfile.open(place, "w") as out:
        for name, *what in members:
            info = tarfile.TarInfo(name)
            if len(what) == 2:
                info.type, info.linkname = what
                out.addfile(info)
            else:
                info.size = len(what[0])
                out.addfile(info, io.BytesIO(what[0]))
    return place


def ids(place):
    return layouts.loose([place], Data(), quiet).row_ids


def test_links_are_rows_of_what_they_lead_to(tmp_path, photos):
    soft, hard = tarfile.SYMTYPE, tarfile.LNKTYPE
    links = [("h.png", hard, "a.png"), ("d/s.png", soft, "../a.png"), ("out.png", soft, "/etc/passwd"), ("round.png", soft, "round.png")]
    place = pack(tmp_path / "x.tar", [("a.png", photos[0]), *links, ("pipe.png", tarfile.FIFOTYPE, "")])
    assert ids(place) == ["a", "h", "d/s", "out", "round", "pipe"]
    for name in ("h.png", "d/s.png"):
        assert read_bytes(f"{place}!/{name}") == photos[0]
        assert read_head(f"{place}!/{name}", 8) == photos[0][:8]
    with pytest.raises(DecodeError, match=r"a link to /etc/passwd, which is not in the archive"):
        read_bytes(f"{place}!/out.png")
    with pytest.raises(DecodeError, match="not in the archive"):
        read_bytes(f"{place}!/round.png")
    with pytest.raises(DecodeError, match="not a file"):
        read_bytes(f"{place}!/pipe.png")


@pytest.mark.parametrize("how", ["in a header", "between two files", "damaged header", "two archives"])
def test_an_archive_that_holds_more_is_refused(how, tmp_path, photos):
    place = pack(tmp_path / "x.tar", [(f"{number}.png", photo) for number, photo in enumerate(photos)])
    content = bytearray(place.read_bytes())
    with tarfile.open(place) as tar:
        third = [info.offset for info in tar][2]
    assert ids(place) == [str(number) for number in range(len(photos))]
    if how == "damaged header":
        content[third + 150] ^= 0x55
    elif how == "two archives":
        content = content + content
    else:
        content = content[: third + (100 if how == "in a header" else 0)]
    place.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.tar is not a plain tar archive that can be read .*fetch it again, or unpack it"):
        ids(place)


def test_a_name_that_is_there_twice_is_refused(tmp_path, photos):
    place = pack(tmp_path / "x.tar", [("a.png", photos[0]), ("b.png", photos[1]), ("a.png", photos[2])])
    with pytest.raises(DataError, match=r"several files of one name: a\.png"):
        ids(place)


def test_shards_with_large_letters_are_read_too(tmp_path, photos):
    folder = tmp_path / "shards"
    folder.mkdir()
    pack(folder / "a.tar", [("0.png", photos[0])])
    pack(folder / "B.TAR", [("1.png", photos[1])])
    assert sorted(ids(folder)) == ["0", "1"]


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_sparse_files_are_read_whole(form, tmp_path):
    if shutil.which("tar") is None or b"GNU" not in subprocess.run(["tar", "--version"], capture_output=True, check=True).stdout:
        pytest.skip("GNU tar writes sparse files")
    with open(tmp_path / "x.bmp", "wb") as file:
        file.write(b"BM" + b"head" * 10)
        file.seek(300_000)
        file.write(b"middle")
        file.truncate(500_000)
    subprocess.run(["tar", "-S", f"--format={form}", "-cf", "x.tar", "x.bmp"], cwd=tmp_path, check=True)
    with tarfile.open(tmp_path / "x.tar") as tar:
        if tar.next().sparse is None:
            pytest.skip("this file system keeps no holes")
    assert read_bytes(tmp_path / "x.tar!/x.bmp") == (tmp_path / "x.bmp").read_bytes()
    assert read_head(tmp_path / "x.tar!/x.bmp", 12) == b"BM" + b"head" * 2 + b"he"
