"""How many processors this process may use, and how many threads its environment asks for; imports nothing heavy."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

BF16 = ("avx512_bf16", "amx_bf16", "avx10_2", "sve_bf16", "bf16")  # instructions that multiply bf16, as torch names them


def cores() -> int:
    """Return how many processors this process may use: what its affinity and its container allow."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return allowed
    return max(1, min(allowed, -(-int(quota) // int(period)))) if quota.isdigit() else allowed


def threads_given() -> int | None:
    """Return the first number of ``OMP_NUM_THREADS`` (``4,2``: 4), where that is 1 or more; else None."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() and int(first) > 0 else None


@functools.cache
def cpuinfo() -> str:
    """Return what Linux tells of the processors; nothing elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def has_bf16() -> bool:
    """Tell whether the processor multiplies bf16 by itself, as far as Linux tells."""
    return not set(BF16).isdisjoint(re.findall(r"[\w.]+", cpuinfo()))
