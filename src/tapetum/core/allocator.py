"""Memory that was freed stays with the process on glibc: every batch of images otherwise asks the kernel for the same pages again.

glibc takes blocks of 128 KiB and more by ``mmap`` and gives them back when they are freed. A batch of images or of activations is such a
block, so each batch is mapped, filled with zeros by the kernel page by page, and unmapped. :func:`keep_memory` lets these blocks come from
the heap, which is then trimmed only above :data:`KEPT`. Values are the same; ``docs/speed.md`` has what it saves.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

KEPT = 1 << 30  # bytes free at the end of the heap before any goes back to the kernel
PAD = 64 << 20  # bytes that the heap grows by at least
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # the numbers of malloc.h
_OWN = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_TRIM_THRESHOLD_")


@functools.cache
def keep_memory() -> bool:
    """Tell glibc's allocator once to keep what is freed; return whether it was told.

    Other C libraries are left alone, and so is glibc where the environment sets its allocator (``MALLOC_…_``, ``GLIBC_TUNABLES``).
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _OWN):
        return False
    if "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        libc = ctypes.CDLL(None)
        if not hasattr(libc, "gnu_get_libc_version"):
            return False
        mallopt = libc.mallopt
    except (AttributeError, OSError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    told = [mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, KEPT), mallopt(_TOP_PAD, PAD)]
    return all(told)
