"""A lock on a folder: one process at a time works in a run or in a job's folder."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from tapetum.core import disk
from tapetum.core.errors import DataError, EnvironmentFault
from tapetum.core.files import make_folder, read_json, write_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HOLDER, LOCK = ".holder.json", ".lock"  # in a folder that is or was locked: by whom
HELD = (HOLDER, LOCK)
PATIENCE = 0.2  # seconds, as another process may hold the lock for an instant where looks cannot share it
LOOKS = 100  # so often is the lock waited for while nobody holds it and others look at it


@contextlib.contextmanager
def lock(folder: Path | str, *, wait: bool = False) -> Iterator[int]:
    """Hold ``folder`` for this process; yield the generation number, which counts the holders so far.

    Args:
        folder: is made where it is not there.
        wait: until another process lets go of it, which may do the same work and then has done it.

    Where the folder is moved or removed meanwhile, nothing more is written under its name, and the block ends with a sentence that says so.

    Raises:
        EnvironmentFault: another live process holds the folder, this one may not write there, or it is gone.
    """
    with _writable(Path(folder)):
        folder = make_folder(folder)
        taken = _taken(folder, wait=wait)
    try:
        with _writable(folder):
            generation = _next_holder(folder / HOLDER)
        with disk.kept(folder):
            yield generation
    except Exception:
        if not folder.exists():
            raise _gone(folder) from None
        raise
    finally:
        taken.release()


def _next_holder(holder: Path) -> int:
    """Write that this process holds a folder; return its generation."""
    generation = 1 + (_holder(holder.parent)["generation"] if holder.exists() else 0)
    write_json(holder, {"process": os.getpid(), "host": socket.gethostname(), "generation": generation})
    return generation


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Say which folder cannot be written where the right to do so lacks.

    Raises:
        EnvironmentFault: names the folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        what = f"{error.filename or folder} cannot be written: {os.strerror(error.errno)}"
        raise EnvironmentFault(what, fix="give yourself the right to write there, or choose another place with -o") from None


def _gone(folder: Path) -> EnvironmentFault:
    """Return the error for a folder that was taken away from who works in it."""
    what = f"{folder} is not there any more: it was moved, renamed or removed while this command worked in it"
    return EnvironmentFault(what, fix="move it back and give the same command to go on: what was finished is in it")


def await_free(folder: Path | str) -> None:
    """Wait until no process holds a folder."""
    while is_held(folder):
        time.sleep(0.05)


def is_held(folder: Path | str) -> bool:
    """Tell whether another process holds a folder. Looks share the lock, so that any number of them stop neither one another nor a holder.

    Args:
        folder: need not be there.
    """
    place = Path(folder) / LOCK
    if not place.exists():
        return False
    with contextlib.suppress(OSError):  # one may not read it, or this file system has no locks to share
        if fcntl is not None:
            with place.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
                fcntl.flock(file, fcntl.LOCK_UN)  # by name: a process that was forked meanwhile has the file open, too
                return False
    try:
        filelock.FileLock(place, timeout=PATIENCE).acquire(poll_interval=PATIENCE / 8).lock.release()
    except filelock.Timeout:
        return True
    except OSError:  # one may look into the folder and not write there: then there is nothing to hold
        return False
    return False


def refuse_held(folder: Path | str) -> Path:
    """Return a folder, and refuse one that another process holds: before anything slow is imported, and without a lock of one's own.

    Args:
        folder: need not be there.

    Raises:
        EnvironmentFault: another live process holds the folder.
    """
    folder = Path(folder)
    if is_held(folder):
        raise _held(folder)
    return folder


def _taken(folder: Path, *, wait: bool = False) -> filelock.BaseFileLock:
    """Return a folder's lock, taken; other processes that look whether it is free are waited for, also slow ones.

    Raises:
        EnvironmentFault: another live process holds the folder.
    """
    found = filelock.FileLock(folder / LOCK, timeout=-1 if wait else PATIENCE)
    for _ in range(LOOKS):
        try:
            found.acquire(poll_interval=0.05 if wait else PATIENCE / 8)
        except filelock.Timeout:
            if is_held(folder):
                break
        else:
            return found
    raise _held(folder)


def _holder(folder: Path) -> dict[str, Any]:
    """Return who holds a folder, or held it last.

    Raises:
        DataError: the file says something else: counting its holders anew could let two of them write.
    """
    found = read_json(folder / HOLDER)
    if not isinstance(found, dict) or not isinstance(found.get("generation"), int):
        raise DataError(
            f"{folder / HOLDER} names no holder", fix="remove it once no process works in that folder, and run the command again"
        )
    return {"process": "unknown", "host": "an unknown machine", **found}


def _held(folder: Path) -> EnvironmentFault:
    holder = folder / HOLDER
    who = _holder(folder) if holder.exists() else {"process": "unknown", "host": "this machine"}
    what = f"{folder} is in use by process {who['process']} on {who['host']}"
    return EnvironmentFault(what, fix="wait for it to end, or choose another run with -o")


def generation_of(folder: Path | str) -> int:
    """Return the generation of who holds a folder: for a task that works there on its behalf and may outlive it."""
    return int(_holder(Path(folder))["generation"])


def check_generation(folder: Path | str, generation: int) -> None:
    """Refuse to write for a holder that another one has followed: on file systems whose locks do not reach other machines, both live.

    Args:
        folder: that is held.
        generation: what :func:`lock` yielded.

    Raises:
        EnvironmentFault: a later holder has the folder.
    """
    if not (Path(folder) / HOLDER).exists():
        raise _gone(Path(folder))
    now = _holder(Path(folder))
    if now["generation"] != generation:
        what = f"{folder} was taken over by process {now['process']} on {now['host']}"
        raise EnvironmentFault(what, fix="nothing is lost: that process goes on with the same work")
