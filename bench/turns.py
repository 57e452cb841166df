"""Ways to do the same work, each in a process of its own that is started once, sets up, and then takes its turn when it is told to.

So each has the memory allocator, the threads and the settings that its users have, and imports, weights and conversion are not counted.
The CPU seconds of a turn are those of the process and all its children, in user mode and in the kernel, as Linux counts them (``/proc``).
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import recorded

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TICK = 1 / os.sysconf("SC_CLK_TCK")
Spent = dict[str, float]  # seconds in user mode and in the kernel


class Worker:
    """A process that does one way's work, a turn at a time.

    Args:
        words: its command line after Python; it calls ``turn.take``.
        log: where its standard error goes.
    """

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self.words, self.log = list(words), log
        with log.open("w", encoding="utf-8") as text:
            self._process = subprocess.Popen(
                [sys.executable, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=text,
                text=True,
                env={**os.environ, **ONE_THREAD},
            )
        self._answer()

    def turn(self, word: str = "") -> tuple[Spent, Any]:
        """Let it work once; return the CPU seconds and what it answered."""
        before = cpu_of(self._process.pid)
        assert self._process.stdin is not None
        print(word, file=self._process.stdin, flush=True)
        found = self._answer()
        after = cpu_of(self._process.pid)
        return {key: after[key] - before[key] for key in after}, found

    def peak_gb(self) -> float:
        """Return the most memory that the process itself has held."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20

    def end(self) -> None:
        """Let it end."""
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.words[0]} ended with {self._process.wait()}: {self.log.read_text(encoding='utf-8')[-2000:]}")
        return json.loads(line)


@contextlib.contextmanager
def workers(ways: Mapping[str, Sequence[str]], place: Path) -> Iterator[dict[str, Worker]]:
    """Yield a worker for each way, by name; they end with the block."""
    found: dict[str, Worker] = {}
    try:
        for number, (name, words) in enumerate(ways.items()):
            found[name] = Worker(words, place / f"worker-{number}.log")
            recorded.log(f"{name}: ready")
        yield found
    finally:
        for one in found.values():
            one.end()


def by_turns(ways: Mapping[str, Worker], pairs: int) -> dict[str, list[Spent]]:
    """Return the CPU seconds of each way in each of ``pairs`` turns; a turn of each before them warms up."""
    spent: dict[str, list[Spent]] = {name: [] for name in ways}
    for pair in range(-1, pairs):
        for name, worker in ways.items():
            used, _ = worker.turn()
            if pair >= 0:
                spent[name].append(used)
        recorded.log(f"pair {pair + 1}: " + ", ".join(f"{name} {sum(some[-1].values()):.1f} s" for name, some in spent.items() if some))
    return spent


def milliseconds(some: Sequence[Spent], images: int) -> list[float]:
    """Return the CPU milliseconds of an image in each turn."""
    return [1000 * (one["user"] + one["kernel"]) / images for one in some]


def kernel_share(some: Sequence[Spent]) -> float:
    """Return the median share of the kernel in the CPU seconds."""
    return statistics.median(one["kernel"] / max(one["user"] + one["kernel"], 1e-9) for one in some)


def times_as_fast(base: Sequence[Spent], own: Sequence[Spent], scale: float = 1.0) -> float:
    """Return the lower quartile over the turns of how many times as fast; ``scale``: own images ÷ base images."""
    ratios = [scale * sum(b.values()) / sum(o.values()) for b, o in zip(base, own, strict=True)]
    return float(np.percentile(ratios, 25))


def cpu_of(pid: int) -> Spent:
    """Return the CPU seconds of a process and its children so far, those that have ended and those that live."""
    user = kernel = 0
    for one in _tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            user += int(words[11]) + int(words[13])
            kernel += int(words[12]) + int(words[14])
    return {"user": user * TICK, "kernel": kernel * TICK}


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="utf-8").split():
                yield from _tree(int(child))
