"""The places by name: ``local``, ``ray[:ADDRESS]``, ``slurm[:OPTIONS]``."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from tapetum.core import extras
from tapetum.core.errors import UserError, nearest
from tapetum.core.progress import Log
from tapetum.workflow.launch.tasks import Ended, Place, Task, called

NAMES = ("local", "ray", "slurm")
DEVICES = 64  # of one machine, at most


@dataclasses.dataclass(frozen=True)
class At:
    """Where the jobs of a command run.

    Args:
        on: ``local``, ``ray``, ``ray:ADDRESS``, ``slurm`` or ``slurm:OPTIONS``; None is ``local``.
        devices: processes that train a fold together, each on a device of its own.
    """

    on: str | None = None
    devices: int = 1


LOCAL = At()


class Processes:
    """This machine, a process for each task, one after another."""

    name = "this machine"

    def run(self, tasks: Sequence[Task]) -> Generator[tuple[Task, Ended]]:
        """Yield each task when it has ended."""
        for task in tasks:
            done = called(task.words)
            yield task, Ended(done.returncode, done.stdout, done.stderr)

    def close(self) -> None:
        """Hold nothing."""


def check(at: At, *, budget: float | None = None) -> None:
    """Refuse a place that there is not, before anything is read.

    Args:
        at: which.
        budget: seconds, which are planned by the speed of this machine.

    Raises:
        UserError: a budget for another place, no device, or another word than :data:`NAMES`, or options that a place does not take.
        EnvironmentFault: what the place needs is not installed.
    """
    on = at.on
    name, colon, rest = (on or "local").partition(":")
    if not 1 <= at.devices <= DEVICES:
        raise UserError(f"--devices is {at.devices}", need=f"from 1 to {DEVICES}: they are of one machine")
    if budget is not None and (name != "local" or at.devices > 1):
        what = "--devices" if name == "local" else f"--on {name}"
        need = "no budget there (nor a preset that has one)"
        raise UserError(f"{what} was given with a budget of {budget:.0f} s", need=need, fix="say how much to train: --set train.epochs=10")
    if name not in NAMES:
        raise UserError(f"--on is {on!r}.{nearest(name, NAMES)}", need="local, ray, ray:ADDRESS, slurm or 'slurm:OPTIONS'")
    if colon and not rest.strip():
        raise UserError(f"--on is {on!r}", need=f"something after the colon, or {name} alone")
    if name == "local" and rest:
        raise UserError(f"--on is {on!r}", need="local alone")
    if name == "ray":
        extras.need("ray", "--on ray", "ray")
        from tapetum.workflow.launch import rays

        rays.check(rest)
    if name == "slurm":
        from tapetum.workflow.launch import slurm

        slurm.check(_options(rest))


@contextlib.contextmanager
def opened(at: At, home: Path, log: Log) -> Iterator[Place | None]:
    """Yield the place that ``--on`` names; None where jobs run in this process. SIGTERM ends its jobs as Ctrl-C does.

    Args:
        at: which; several devices never train in this process.
        home: a folder that all machines see, for a place's own files.
        log: told what a place has to say.
    """
    name, _, rest = (at.on or "local").partition(":")
    place: Place | None = Processes() if at.devices > 1 else None
    if name == "ray":
        from tapetum.workflow.launch.rays import Ray

        place = Ray(rest, log)
    elif name == "slurm":
        from tapetum.workflow.launch.slurm import Slurm

        place = Slurm(home / ".slurm", _options(rest))
    if place is None:
        yield None
        return
    with _interrupted_by_term():
        try:
            yield place
        finally:
            place.close()


@contextlib.contextmanager
def _interrupted_by_term() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does inside the block, where nobody asked for something else."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _options(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"the options {text!r} of --on slurm cannot be read ({error})", need="options of sbatch") from None
