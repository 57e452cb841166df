"""What this machine is and how busy it is: its processor, bf16 in hardware, and how many threads compute fastest now."""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tapetum.core.processors import BF16, cores, threads_given
from tapetum.core.processors import cpuinfo as _cpuinfo
from tapetum.core.words import plural

SAMPLE = 0.25  # seconds over which the load of the processors is looked at
FRESH = 30.0  # seconds for which such a look holds
DEFAULT_THREADS = torch.get_num_threads()  # torch's own number, before anything here changes it


@dataclasses.dataclass(frozen=True)
class Load:
    """How busy the processors are with other work than ours.

    Args:
        cores: that this process may use.
        idle: of them, on average; None where the system does not tell.
    """

    cores: int
    idle: float | None


def bf16_in_hardware(device: str = "cpu") -> bool:
    """Tell whether bf16 is computed in hardware; emulated, a step takes many times as long as in 32 bits."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    capability = torch.backends.cpu.get_cpu_capability()
    if capability in ("DEFAULT", "AVX2") and platform.machine().lower() in ("x86_64", "amd64", "i386", "i686"):
        return False  # also where ATEN_CPU_CAPABILITY holds torch to these
    found = _capabilities()
    return any(bool(found.get(name)) for name in BF16)


def _capabilities() -> Mapping[str, Any]:
    """Return the processor's instruction sets as torch names them; from ``/proc/cpuinfo`` where this torch does not tell."""
    tell = getattr(torch.cpu, "get_capabilities", None)
    if tell is not None:
        return dict(tell())
    words = set(re.findall(r"[\w.]+", _cpuinfo()))
    return {name: name in words for name in BF16}


def processor(device: str = "cpu") -> str:
    """Return the name of the processor or GPU."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    named = re.search(r"model name\s*:\s*(.+)", _cpuinfo())
    return named[1].strip() if named else platform.processor() or platform.machine()


_looked: list[tuple[float, Load]] = []


def load() -> Load:
    """Return how busy the machine is now; this process must not compute meanwhile. A look holds for half a minute."""
    if _looked and time.monotonic() - _looked[0][0] < FRESH:
        return _looked[0][1]
    found = Load(cores(), _idle())
    _looked[:] = [(time.monotonic(), found)]
    return found


def _idle() -> float | None:
    """Return how many processors are idle on average over a moment; None where the system does not tell."""
    before = _ticks()
    if before is not None:
        time.sleep(SAMPLE)
        after = _ticks()
        if after is not None and after[1] > before[1]:
            return (os.cpu_count() or 1) * (after[0] - before[0]) / (after[1] - before[1])
    if hasattr(os, "getloadavg"):
        try:
            return max(0.0, (os.cpu_count() or 1) - os.getloadavg()[0])
        except OSError:
            return None
    return None


def _ticks() -> tuple[int, int] | None:
    """Return (idle, all) clock ticks of all processors so far, from ``/proc/stat``."""
    try:
        first = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
    except OSError:
        return None
    values = [int(value) for value in first[1:9]] if first and first[0] == "cpu" else []
    return (values[3] + values[4], sum(values)) if len(values) == 8 else None


def threads_now() -> tuple[int, str]:
    """Return how many threads to compute with, and why: torch's number, or fewer where other programs keep processors busy.

    More threads than idle processors wait for each other: beside one busy process, two threads on two virtual processors ran at a third of
    the speed of one.
    """
    found = load()
    most = max(1, min(DEFAULT_THREADS, found.cores))
    if found.idle is None:
        return most, plural(found.cores, "processor")
    count = max(1, min(most, round(found.idle)))
    if found.idle > found.cores:
        return count, plural(found.cores, "processor")
    return count, f"{found.idle:.1f} of {plural(found.cores, 'processor is', 'processors are')} idle"


def threads(recipe: int | None, planned: int | None) -> int | None:
    """Return the number of threads to set: the recipe's, else torch's own under ``OMP_NUM_THREADS`` (None), else the planned one."""
    if recipe is not None:
        return recipe
    return None if threads_are_given() else planned


def threads_are_given() -> bool:
    """Tell whether ``OMP_NUM_THREADS`` says how many threads to compute with: a number of 1 or more, or a list of such (``4,2``)."""
    return threads_given() is not None
