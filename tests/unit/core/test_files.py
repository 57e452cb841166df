"""Files are whole or absent, also when writing fails in the middle or two processes want one folder."""

import errno
import multiprocessing
import os
import re
import resource
import signal
import stat
import time

import numpy as np
import polars as pl
import pytest

from tapetum.core import files
from tapetum.core.errors import DataError


def nothing_aside(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "old")

    def fails():
        with files.whole(path) as aside:
            aside.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        fails()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_path_aside_has_the_same_folder_and_suffix(tmp_path):
    with files.whole(tmp_path / "deep" / "a.parquet") as aside:
        assert aside.parent == tmp_path / "deep"
        assert aside.suffix == ".parquet"
        assert not (tmp_path / "deep" / "a.parquet").exists()
    assert (tmp_path / "deep" / "a.parquet").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_others_may_read_what_the_umask_lets_them(tmp_path):
    path = files.write_text(tmp_path / "a.txt", "x")
    plain = tmp_path / "plain.txt"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "pipeline"
    with files.whole_folder(folder) as aside:
        (aside / "one").write_text("1")

    def fails():
        with files.whole_folder(folder) as aside:
            (aside / "two").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert nothing_aside(folder) == ["one"]
    with files.whole_folder(folder) as aside:
        (aside / "two").write_text("2")
    assert nothing_aside(folder) == ["two"]
    assert [p.name for p in tmp_path.iterdir()] == ["pipeline"]


def _writes_for_ever(path):
    number = 0
    while True:
        files.write_json(path, [number] * 20_000)
        number += 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "state.json"
    for wait in (0.02, 0.05, 0.09):
        process = multiprocessing.get_context("fork").Process(target=_writes_for_ever, args=(path,))
        process.start()
        while not path.exists():
            time.sleep(0.001)
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        values = files.read_json(path)
        assert len(values) == 20_000
        assert len(set(values)) == 1


def test_json_takes_numpy_and_paths_and_refuses_nan(tmp_path):
    value = {"a": np.float32(0.5), "b": np.arange(3), "c": tmp_path / "x", "d": {2, 1}, "e": np.int64(4), "ü": None}
    read = files.read_json(files.write_json(tmp_path / "a.json", value))
    assert read == {"a": 0.5, "b": [0, 1, 2], "c": (tmp_path / "x").as_posix(), "d": [1, 2], "e": 4, "ü": None}
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "b.json", float("nan"))
    with pytest.raises(TypeError, match="object cannot be written"):
        files.write_json(tmp_path / "b.json", object())
    assert not (tmp_path / "b.json").exists()


def test_tables_and_arrays_read_back(tmp_path):
    frame = pl.DataFrame({"a": [1, None], "p": [[0.5], None]})
    read, meta = files.read_parquet(files.write_parquet(tmp_path / "t.parquet", frame, {"k": [1, "zwei"]}))
    assert read.equals(frame)
    assert meta == {"k": [1, "zwei"]}
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    np.testing.assert_array_equal(np.load(files.write_array(tmp_path / "a.npy", array), allow_pickle=False), array)
    files.write_csv(tmp_path / "t.csv", pl.DataFrame({"id": ["a,b", 'q"']}))
    assert pl.read_csv(tmp_path / "t.csv")["id"].to_list() == ["a,b", 'q"']
    with pytest.raises(ValueError, match="pickle"):
        files.write_array(tmp_path / "o.npy", np.array([object()]))
    assert not (tmp_path / "o.npy").exists()


def test_lines_are_appended(tmp_path):
    for value in ({"n": 1}, {"n": 2}):
        files.append_line(tmp_path / "ledger.jsonl", value)
    assert (tmp_path / "ledger.jsonl").read_text() == '{"n": 1}\n{"n": 2}\n'


def test_files_that_are_absent_or_broken_are_named(tmp_path):
    (tmp_path / "broken").write_text("{")
    with pytest.raises(DataError, match=r"none.json does not exist"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(DataError, match="broken is not JSON"):
        files.read_json(tmp_path / "broken")
    with pytest.raises(DataError, match=r"none.parquet does not exist"):
        files.read_parquet(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="broken is not a Parquet file"):
        files.read_parquet(tmp_path / "broken")
    with pytest.raises(DataError, match="broken is a file; needed: a folder"):
        files.make_folder(tmp_path / "broken")


def test_hashes_are_those_of_the_bytes_and_of_the_values(tmp_path):
    empty = files.write_bytes(tmp_path / "empty", b"")
    assert files.sha256(empty) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert files.fingerprint({"a": 1, "b": 2}) == files.fingerprint({"b": 2, "a": 1}) != files.fingerprint({"a": 2, "b": 1})


def test_a_copy_is_whole_and_removal_is_quiet(tmp_path):
    source = files.write_bytes(tmp_path / "a", b"\0\1")
    assert files.copy(source, tmp_path / "deep" / "b").read_bytes() == b"\0\1"
    for path in (source, tmp_path / "deep", tmp_path / "never"):
        files.remove(path)
    assert list(tmp_path.iterdir()) == []


def test_old_leftovers_of_killed_writers_are_swept(tmp_path):
    import os
    import tempfile

    def left(old, folder=False):
        make = tempfile.mkdtemp if folder else tempfile.mkstemp
        path = make(prefix=".state-", suffix=".aside" if folder else ".aside.json", dir=files.make_folder(tmp_path / "members" / "fold-0"))
        path = path if folder else path[1]
        os.utime(path, (old, old))
        return path

    kept = [files.write_text(tmp_path / ".hidden.json", "{}"), files.write_text(tmp_path / "state.json", "{}"), left(2**33)]
    stale = [left(1.0), left(1.0, folder=True)]
    os.utime(kept[0], (1.0, 1.0))
    assert sorted(map(str, files.sweep(tmp_path))) == sorted(map(str, stale))
    assert all(os.path.exists(path) for path in kept)
    assert not any(os.path.exists(path) for path in stale)


def test_a_folder_that_cannot_be_replaced_stays_as_it_was(tmp_path, monkeypatch):
    folder = tmp_path / "pipeline"
    with files.whole_folder(folder) as aside:
        (aside / "one").write_text("1")
    replace = os.replace

    def second_fails(source, target):
        if str(source).endswith(".aside"):
            raise OSError("no")
        replace(source, target)

    def fails():
        with files.whole_folder(folder) as aside:
            (aside / "two").write_text("2")

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(OSError, match="no"):
        fails()
    assert nothing_aside(folder) == ["one"]
    assert [p.name for p in tmp_path.iterdir()] == ["pipeline"]


def test_folder_moved_by_a_dead_writer_is_restored(tmp_path):
    left = tmp_path / ".pipeline-abcd1234.old"
    left.mkdir()
    (left / "one").write_text("1")
    os.utime(left, (0, 0))
    files.sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["pipeline"]
    assert nothing_aside(tmp_path / "pipeline") == ["one"]


def test_the_umask_is_never_set_while_files_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("another thread's file would be open to all"))
    files.write_text(tmp_path / "a.txt", "x")
    with files.whole_folder(tmp_path / "folder") as aside:
        (aside / "one").write_text("1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name\nö\n".encode("latin-1"), r"a\.csv is not UTF-8 \(line 2: b'\\xf6'\).*save it again as UTF-8"),
        (b"\xef\xbb\xbfa\nb\xe9", r"line 2: b'b\\xe9'"),
        ("a,b\n".encode("utf-16"), "UTF-16"),
        ("a,b\n".encode("utf-16-le"), "UTF-16"),
    ],
)
def test_text_that_is_not_utf8_is_named(tmp_path, content, words):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        files.read_text(tmp_path / "a.csv")


def test_text_is_read_with_and_without_a_byte_order_mark(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffgröße\n".encode())
    (tmp_path / "b.txt").write_bytes("größe\n".encode())
    assert files.read_text(tmp_path / "a.txt") == files.read_text(tmp_path / "b.txt") == "größe\n"


def test_json_keeps_the_bytes_of_undecodable_names(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    assert files.read_json(files.write_json(tmp_path / "a.json", {"file": name})) == {"file": name}


@pytest.fixture
def little_room():
    """Files larger than 2,000 bytes cannot be written: what a full disk does, by another number."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("write", [files.write_parquet, lambda path, frame: files.write_streamed(path, frame.lazy()), files.write_csv])
def test_a_table_without_room_names_its_file(tmp_path, little_room, write):
    frame = pl.DataFrame({"a": np.random.default_rng(0).random(5000)})
    with pytest.raises(OSError, match="too large") as raised:
        write(tmp_path / "a.parquet", frame)
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(tmp_path / "a.parquet"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_content_that_did_not_reach_the_disk_is_an_error(tmp_path, monkeypatch, number):
    def fails(_):
        raise OSError(number, os.strerror(number))

    files.write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match=re.escape(str(tmp_path / "a.txt"))):
        files.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_system_that_cannot_flush_is_no_error(tmp_path, monkeypatch):
    def cannot(_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", cannot)
    assert files.write_text(tmp_path / "a.txt", "new").read_text() == "new"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Linux says what a handle is of")
def test_all_names_of_a_folder_are_flushed_before_it_appears(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.readlink(f"/proc/self/fd/{handle}")))
    with files.whole_folder(tmp_path / "pipeline") as aside:
        (aside / "inner").mkdir()
        (aside / "inner" / "a").write_text("a")
    assert {str(aside), str(aside / "inner"), str(aside / "inner" / "a")} <= set(flushed)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="Linux says what a handle is of")
@pytest.mark.parametrize("write", [lambda place: files.write_text(place / "a.txt", "x"), files.make_folder])
def test_new_folders_are_on_the_disk_too(tmp_path, monkeypatch, write):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.readlink(f"/proc/self/fd/{handle}")))
    write(tmp_path / "one" / "two")
    assert {str(tmp_path), str(tmp_path / "one")} <= set(flushed)


def test_a_parquet_file_that_breaks_its_reader_is_named(tmp_path, monkeypatch):
    """Changed bytes made polars 2.1 panic, which is no ``Exception``: found by ``make faults``."""
    place = files.write_parquet(tmp_path / "p.parquet", pl.DataFrame({"a": [1]}))

    def broken(*_, **__):
        raise pl.exceptions.PanicException("assertion failed: offset + length <= self.length")

    monkeypatch.setattr(pl, "read_parquet", broken)
    with pytest.raises(DataError, match=r"p\.parquet is not a Parquet file \(assertion failed"):
        files.read_parquet(place)


@pytest.mark.parametrize(("reader", "polars"), [(files.read_csv, "read_csv"), (files.read_parquet, "read_parquet")])
def test_a_reader_refused_by_the_system_names_number_and_file(tmp_path, monkeypatch, reader, polars):
    """polars' errors have neither, so that a command ended with a traceback: found by ``make faults``."""
    files.write_parquet(tmp_path / "t", pl.DataFrame({"a": [1]}))

    def refused(*_, **__):
        raise PermissionError("Permission denied (os error 13): ...me/t (set POLARS_VERBOSE=1 to see full path)")

    monkeypatch.setattr(pl, polars, refused)
    with pytest.raises(PermissionError) as caught:
        reader(tmp_path / "t")
    assert (caught.value.errno, caught.value.filename) == (errno.EACCES, str(tmp_path / "t"))


def test_own_tables_go_on_with_fractions(tmp_path):
    place = tmp_path / "history.csv"
    place.write_text("seconds\n" + "1\n" * 200 + "1.5\n")
    assert files.read_csv(place)["seconds"].sum() == 201.5
    place.write_bytes(b"")
    assert files.read_csv(place).columns == []


def test_an_array_that_does_not_fit_names_its_file(tmp_path):
    """numpy's own writing says ``6144 requested and 0 written``, without a number: found by ``make faults``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(OSError, match=r"a\.npy") as caught:
            files.write_array(tmp_path / "a.npy", np.zeros(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())


def test_an_array_comes_back(tmp_path):
    for array in (np.arange(12.0).reshape(3, 4), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((0, 3), np.float32)):
        assert np.array_equal(np.load(files.write_array(tmp_path / "a.npy", array)), array)


def test_json_that_nests_too_deep_is_named(tmp_path):
    (tmp_path / "pipeline.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="nests too deep"):
        files.read_json(tmp_path / "pipeline.json")


def test_lines_end_where_editors_end_them(tmp_path):
    place = files.write_text(tmp_path / "ids.txt", "a\u2028b\nc\x85d\r\ne\x0cf\rg")
    assert files.read_lines(place) == ["a\u2028b", "c\x85d", "e\x0cf", "g"]
