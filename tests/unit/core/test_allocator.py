"""The heap keeps what is freed where the C library is glibc; the environment's own settings win."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from tapetum.core import allocator

GLIBC = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
# Blocks of 32 MB are taken and freed ten times; each that the kernel maps anew costs 8,192 page faults.
FAULTS = """
import ctypes, resource
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
def once():
    block = libc.malloc(ctypes.c_size_t(32 << 20))
    ctypes.memset(block, 1, 32 << 20)
    libc.free(block)
once()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    once()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
KEEP = "from tapetum.core.allocator import keep_memory; print(keep_memory())"


def run(code, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run([sys.executable, "-c", code], env={**clean, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(not GLIBC, reason="the C library is not glibc")
def test_freed_memory_is_used_again_without_new_pages():
    told, kept = run(FAULTS.format(first=KEEP))
    (plain,) = run(FAULTS.format(first=""))
    assert told == "True"
    assert int(kept) < 100 < 8192 < int(plain)


@pytest.mark.parametrize("own", [{"MALLOC_MMAP_MAX_": "9"}, {"GLIBC_TUNABLES": "glibc.malloc.top_pad=4096"}])
def test_own_settings_of_the_allocator_stay(own):
    assert run(KEEP, **own) == ["False"]


def test_other_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    for name in allocator._OWN:
        monkeypatch.delenv(name, raising=False)
    assert allocator.keep_memory.__wrapped__() is False
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert allocator.keep_memory.__wrapped__() is False
