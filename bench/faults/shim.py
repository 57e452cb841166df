"""The library that counts file operations and makes one of them fail: built with the system's C compiler, loaded with LD_PRELOAD."""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
NONE, KILL_BEFORE, KILL_AFTER, ERROR, SHORT = range(5)
MODES = {
    "kill before": (KILL_BEFORE, 0),
    "kill after": (KILL_AFTER, 0),
    "ENOSPC": (ERROR, errno.ENOSPC),
    "EIO": (ERROR, errno.EIO),
    "EACCES": (ERROR, errno.EACCES),
    "short write": (SHORT, 0),
}
# Kinds of operations (see shim.c): o open to write, w write, s sync, m mkdir, n rename, t truncate, r open to read, u unlink, c chmod.
APPLIES = {"ENOSPC": "owsmnt", "EACCES": "ormnuc", "short write": "w"}


def build(place: Path) -> Path:
    """Compile the library into a folder and return it; one that is there and newer than its source is kept."""
    library = place.resolve() / "shim.so"
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        place.mkdir(parents=True, exist_ok=True)
        aside = library.with_suffix(f".{os.getpid()}")
        command = [compiler(), "-shared", "-fPIC", "-O2", "-o", str(aside), str(SOURCE), "-ldl", "-lpthread"]
        subprocess.run(command, check=True, capture_output=True)
        aside.replace(library)
    return library


def compiler() -> str:
    """Return the C compiler; blank where there is none, or the system is not Linux."""
    return (shutil.which("cc") or "") if sys.platform == "linux" else ""


@dataclasses.dataclass(frozen=True)
class Fault:
    """What goes wrong in a process.

    Args:
        root: only operations below this folder count.
        mode: one of :data:`MODES`; blank: nothing goes wrong.
        at: the number of the operation, from 1.
        forever: every later one fails too, where it can.
        trace: a file that gets the operations; blank: none.
        with_data: the record holds what was written.
    """

    root: str
    mode: str = ""
    at: int = 0
    forever: bool = False
    trace: str = ""
    with_data: bool = False

    def arm(self) -> None:
        """Let it happen in this process, which has the library loaded."""
        library = ctypes.CDLL(None)
        library.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        how, error = MODES.get(self.mode, (NONE, 0))
        trace = os.open(self.trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600) if self.trace else -1
        library.fault_arm(os.fsencode(self.root), how, error, self.at, self.forever, trace, self.with_data)


@dataclasses.dataclass(frozen=True)
class Operation:
    """One file operation: its kind, its path (and the new name), the place and what was written."""

    kind: str
    path: str
    second: str
    place: int
    size: int
    data: bytes


def read_trace(file: Path) -> list[Operation]:
    """Return the operations that a process recorded."""
    content, at, out = file.read_bytes(), 0, []
    while at < len(content):
        end = content.index(b"\n", at)
        kind, path, second, place, size, kept = content[at:end].split(b"\x1f")
        at = end + 1
        data = content[at : at + int(size)] if int(kept) else b""
        at += len(data)
        out.append(Operation(kind.decode(), os.fsdecode(path), os.fsdecode(second), int(place), int(size), data))
    return out
