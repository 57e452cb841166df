"""One process at a time holds a folder."""

import contextlib
import multiprocessing
import os
import threading

import filelock
import pytest

from tapetum.core import files, locks
from tapetum.core.errors import DataError, EnvironmentFault


def _holds(folder, ready, done):
    with locks.lock(folder):
        ready.set()
        done.wait(20)


@contextlib.contextmanager
def held_elsewhere(folder):
    """Yield a process that holds a folder, and the event that lets it end."""
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_holds, args=(folder, ready, done))
    other.start()
    try:
        assert ready.wait(20)
        yield other, done
    finally:
        done.set()
        other.join()


@pytest.mark.skipif(os.name == "nt", reason="fork")
def test_folder_has_one_holder_at_a_time(tmp_path):
    with locks.lock(tmp_path / "run") as first:
        pass
    with (
        held_elsewhere(tmp_path / "run") as (other, _),
        pytest.raises(EnvironmentFault, match=f"in use by process {other.pid}"),
        locks.lock(tmp_path / "run"),
    ):
        pass
    with locks.lock(tmp_path / "run") as third:
        assert (first, third) == (1, 3)


@pytest.mark.skipif(os.name == "nt", reason="fork")
def test_a_waiting_process_follows_the_holder(tmp_path):
    with held_elsewhere(tmp_path / "run") as (_, done):
        threading.Timer(0.2, done.set).start()
        with locks.lock(tmp_path / "run", wait=True) as generation:
            assert done.is_set()
            assert generation == 2


def test_a_holder_that_was_followed_is_refused(tmp_path):
    with locks.lock(tmp_path / "run") as mine:
        locks.check_generation(tmp_path / "run", mine)
        # another machine, which the lock of this file system does not reach
        files.write_json(tmp_path / "run" / locks.HOLDER, {"process": 7, "host": "other", "generation": mine + 1})
        with pytest.raises(EnvironmentFault, match="taken over by process 7 on other"):
            locks.check_generation(tmp_path / "run", mine)


@pytest.mark.skipif(os.name == "nt", reason="fork")
def test_a_held_folder_is_refused_before_any_work(tmp_path):
    locks.refuse_held(tmp_path / "run")  # is not there
    with held_elsewhere(tmp_path / "run") as (other, _), pytest.raises(EnvironmentFault, match=f"in use by process {other.pid}"):
        locks.refuse_held(tmp_path / "run")


def test_what_a_killed_holder_left_stops_nobody(tmp_path):
    files.write_json(tmp_path / "run" / locks.HOLDER, {"process": os.getpid(), "host": "other", "generation": 3})
    (tmp_path / "run" / locks.LOCK).touch()
    locks.refuse_held(tmp_path / "run")
    with locks.lock(tmp_path / "run") as generation:
        assert generation == 4


@contextlib.contextmanager
def looked_at(run, seconds):
    """Let a process look whether a run is free, one that is kept from going on for so long meanwhile."""
    with locks.lock(run):
        pass
    with (run / locks.LOCK).open("rb") as look:
        locks.fcntl.flock(look, locks.fcntl.LOCK_SH)
        letting_go = threading.Timer(seconds, locks.fcntl.flock, (look, locks.fcntl.LOCK_UN))
        letting_go.start()
        try:
            yield
        finally:
            letting_go.join()


@pytest.mark.skipif(os.name == "nt", reason="no shared locks")
@pytest.mark.parametrize("seconds", [0.0, 3 * locks.PATIENCE])
def test_a_look_at_the_lock_stops_nobody(tmp_path, seconds):
    with looked_at(tmp_path / "run", seconds), locks.lock(tmp_path / "run") as generation:
        assert generation == 2


@pytest.mark.skipif(os.name == "nt", reason="no shared locks")
def test_two_looks_at_a_lock_refuse_neither(tmp_path):
    """Two processes of one fold look at the same time (``--devices 2``): one of them was refused now and then."""
    with looked_at(tmp_path / "run", 3 * locks.PATIENCE):
        locks.refuse_held(tmp_path / "run")


@pytest.mark.skipif(os.name == "nt", reason="fork")
@pytest.mark.parametrize("shared", [True, False])
def test_a_look_leaves_the_lock_as_it_is(tmp_path, monkeypatch, shared):
    """Also where locks cannot be shared, as on Windows."""
    if not shared:
        monkeypatch.setattr(locks, "fcntl", None)
    assert not locks.is_held(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with held_elsewhere(tmp_path / "run"):
        assert locks.is_held(tmp_path / "run")
    assert not locks.is_held(tmp_path / "run")
    with locks.lock(tmp_path / "run") as generation:
        assert generation == 2


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"generation": "x"}', "{"])
def test_a_holder_that_cannot_be_read_is_named(tmp_path, content):
    (tmp_path / locks.HOLDER).write_text(content)
    with pytest.raises(DataError, match=locks.HOLDER), locks.lock(tmp_path):
        pass
    files.remove(tmp_path / locks.HOLDER)
    with locks.lock(tmp_path) as generation:  # the lock was let go
        assert generation == 1


@pytest.mark.parametrize("kind", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
@pytest.mark.parametrize("where", ["acquire", "holder"])
def test_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch, kind, where):
    def refused(*_, **__):
        raise kind

    if where == "acquire":
        monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    else:
        monkeypatch.setattr(locks, "write_json", refused)
    with pytest.raises(EnvironmentFault, match=r"run cannot be written: .*-o"), locks.lock(tmp_path / "run"):
        pass


def test_errors_of_the_holder_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError), locks.lock(tmp_path / "run"):
        raise PermissionError(13, "of another file")


@pytest.mark.parametrize("write", [files.write_json, files.append_line])
def test_a_folder_that_is_moved_is_never_made_anew(tmp_path, write):
    def work():
        with locks.lock(tmp_path / "run"):
            write(tmp_path / "run" / "below" / "a.json", 1)
            (tmp_path / "run").rename(tmp_path / "other")
            write(tmp_path / "run" / "below" / "a.json", 2)

    with pytest.raises(EnvironmentFault, match=r"run is not there any more: it was moved.* move it back"):
        work()
    assert not (tmp_path / "run").exists()
    assert files.read_json(tmp_path / "other" / "below" / "a.json") == 1
    (tmp_path / "other").rename(tmp_path / "run")
    with locks.lock(tmp_path / "run") as generation:
        assert generation == 2
    files.remove(tmp_path / "run")
    write(tmp_path / "run" / "a.json", 3)  # nobody works in it now


def test_other_errors_in_a_held_folder_stay_as_they_are(tmp_path):
    with pytest.raises(DataError, match=r"a\.json does not exist"), locks.lock(tmp_path / "run"):
        files.read_json(tmp_path / "run" / "a.json")


@pytest.mark.skipif(os.name == "nt", reason="fork")
def test_a_free_folder_is_awaited_without_taking_it(tmp_path):
    locks.await_free(tmp_path / "run")  # is not there
    with held_elsewhere(tmp_path / "run") as (_, done):
        threading.Timer(0.2, done.set).start()
        locks.await_free(tmp_path / "run")
        assert done.is_set()
    with locks.lock(tmp_path / "run") as generation:
        assert generation == 2
