"""Tasks and the places that run them. A task is a command line: its exit code says whether another try makes sense.

What is done is seen in files and never in what a place reports, so a driver that dies loses nothing: the same command goes on. A process
that outlives its driver (an orphan) holds its folder's lock; whoever is started for the same folder waits for it, and then finds the work
done.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tapetum.core import errors, progress
from tapetum.core.errors import REFUSALS, EnvironmentFault, ending, said_by
from tapetum.core.progress import Log

TRIES = 3  # a task that ends by a signal, for want of memory or with its machine is started so often at most
GONE = -999  # the exit code of a task whose process or machine is gone
DONE = (0, errors.PARTLY)
GRACE = 30.0  # seconds that a process has to end once it is asked to
KEPT = 4000  # characters of what a task wrote that are looked at for its error
PASSED_ON = ("HF_HUB_OFFLINE", "HF_HOME", "XDG_CACHE_HOME")  # of the environment


@dataclasses.dataclass(frozen=True)
class Task:
    """A command line to be run somewhere.

    Args:
        name: for messages, as ``main fold 2``.
        spec: the ``spec.json`` that ``tapetum job`` is given.
        processors: threads that it computes with.
        devices: processes that train it together, each on a device of its own.
        gpu: whether each of them needs a GPU.
    """

    name: str
    spec: Path
    processors: int = 1
    devices: int = 1
    gpu: bool = False

    @property
    def words(self) -> list[str]:
        """The command line."""
        several = ["--devices", str(self.devices)] if self.devices > 1 else []
        return [sys.executable, "-m", "tapetum", "job", str(self.spec.resolve()), "--wait", "--json", *several]


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a task ended.

    Args:
        code: its exit code; negative: the signal, or that its machine is gone.
        out: what it wrote to stdout.
        err: what it wrote to stderr, the end of it.
    """

    code: int
    out: str = ""
    err: str = ""

    @property
    def result(self) -> dict[str, Any]:
        """What the command printed with ``--json``; empty where that cannot be read."""
        try:
            found = json.loads(self.out)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def reason(self) -> str:
        """The signal or the sentence that the command ended with, or the last line of what it wrote."""
        if -64 <= self.code < 0:
            return ending(self.code)
        sentence, last = said_by(self.err)
        return sentence or last or ending(self.code)


class Place(Protocol):
    """Runs tasks."""

    name: str

    def run(self, tasks: Sequence[Task]) -> Generator[tuple[Task, Ended]]:
        """Yield each task when it has ended, in any order; what still runs when the caller stops is ended."""
        ...

    def close(self) -> None:
        """Give back what the place holds."""
        ...


def called(words: Sequence[str], *, timeout: float | None = None, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a command line and return what it wrote; its exit code is the caller's to judge.

    Where this process is interrupted, the command is asked to end: one that started others (several devices) ends them too.

    Raises:
        subprocess.TimeoutExpired: it did not end within ``timeout`` seconds.
    """
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, encoding="utf-8", errors="replace", **pipes, **how) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            _end(process)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def _end(process: subprocess.Popen[str]) -> None:
    """Ask a process to end, and end it where it does not."""
    process.terminate()
    try:
        process.wait(GRACE)
    except BaseException:  # of patience, the machine's or a person's
        process.kill()
        process.wait()


def environment() -> dict[str, str]:
    """Return the variables of this process that a task must have wherever it runs."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def run_all(place: Place, tasks: Sequence[Task], log: Log, what: str, *, refuse: bool = True) -> dict[str, dict[str, Any]]:
    """Run tasks until all are done; return name → what each printed.

    Args:
        place: where.
        tasks: with names of their own.
        log: told of progress and of tries that failed.
        what: the work, for progress.
        refuse: raise at once where a task refuses what it was given; else it is left out.

    Raises:
        UserError: a task refused what it was given (exit code 2); it is not tried again.
        DataError: a task refused its data (exit code 3); it is not tried again.
        EnvironmentFault: a task ended otherwise, each time.
    """
    tick, found, left = progress.share(log, f"{what} on {place.name}"), {}, list(tasks)
    tick(0, len(tasks))
    for attempt in range(1, TRIES + 1):
        again = []
        running = place.run(left)
        for task, ended in running:
            if ended.code in REFUSALS and not refuse:
                continue
            if ended.code in REFUSALS:
                running.close()
                raise REFUSALS[ended.code](f"{task.name}: {ended.reason}")
            if ended.code not in DONE:
                again.append((task, ended))
                log(f"warning: {task.name} failed (try {attempt} of {TRIES}): {ended.reason}")
                continue
            found[task.name] = ended.result
            tick(len(found), len(tasks))
        if not again:
            break
        left = [task for task, _ in again]
    else:
        task, ended = again[0]
        raise EnvironmentFault(f"{task.name} failed {TRIES} times on {place.name}: {ended.reason}", fix="give the same command to go on")
    return found
