"""Tasks on Slurm: one array job, each of its tasks a command line; what ended is seen in files, what was lost in ``squeue`` and ``sacct``.

``sbatch`` reads its own environment variables (``SBATCH_PARTITION``, ``SBATCH_ACCOUNT``, …), so a site's settings need no option here.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import time
import uuid
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from tapetum.core import files
from tapetum.core.errors import EnvironmentFault, UserError
from tapetum.workflow.launch.tasks import GONE, KEPT, Ended, Task, called, environment

POLL = 5.0  # seconds between two looks
SILENT = 720  # looks without an answer of squeue, an hour of them: then nobody knows whether the tasks run
AT_ONCE = 1000  # tasks of one array: Slurm's MaxArraySize is 1001 unless a site sets another
COMMANDS = ("sbatch", "squeue", "sacct", "scancel")
OWN = ("--array", "-a", "--wrap", "--parsable", "--output", "-o", "--error", "-e", "--wait", "-W")  # options that are set here
CANCELLED = 2  # the exit code of a task that a person or the site took away


@dataclasses.dataclass
class _Array:
    """An array that was submitted.

    Args:
        job: its id.
        folder: its files: ``N.out``, ``N.err`` and, when task N ended, ``N.end`` with its exit code.
        left: number → task that has not ended.
        unseen: numbers that ``squeue`` did not have at the last look.
        silent: how many times in a row ``squeue`` did not answer.
    """

    job: str
    folder: Path
    left: dict[int, Task]
    unseen: set[int] = dataclasses.field(default_factory=set)
    silent: int = 0


class Slurm:
    """The Slurm cluster that this machine submits to.

    Args:
        home: a folder that all machines see, for scripts and what tasks write.
        options: of ``sbatch``, as ``["--partition=gpu", "--time=2:00:00"]``.
    """

    name = "Slurm"

    def __init__(self, home: Path, options: Sequence[str] = ()) -> None:
        self.home, self.options = home, list(options)

    def run(self, tasks: Sequence[Task]) -> Generator[tuple[Task, Ended]]:
        """Yield each task when it has ended; arrays that are not done when the caller stops are cancelled."""
        arrays: list[_Array] = []
        try:
            for start in range(0, len(tasks), AT_ONCE):
                arrays.append(self._submitted(tasks[start : start + AT_ONCE]))
            while arrays:
                for array in arrays:
                    yield from _ended(array)
                arrays = [array for array in arrays if array.left]
                if arrays:
                    time.sleep(POLL)
        finally:
            for array in arrays:
                called(["scancel", array.job])

    def close(self) -> None:
        """Remove the scripts and what tasks wrote; a command that is killed leaves them."""
        files.remove(self.home)

    def _submitted(self, tasks: Sequence[Task]) -> _Array:
        """Submit an array.

        Raises:
            EnvironmentFault: ``sbatch`` refuses it.
        """
        folder = files.make_folder(self.home / uuid.uuid4().hex[:12])
        script = files.write_text(folder / "array.sh", _script(tasks, folder))
        most = max(tasks, key=lambda task: task.processors)
        needs = [f"--cpus-per-task={most.processors * most.devices}", *([f"--gpus-per-task={most.devices}"] if most.gpu else [])]
        own = ["--parsable", f"--array=0-{len(tasks) - 1}", "--job-name=tapetum", "--output=/dev/null", "--error=/dev/null"]
        done = called(["sbatch", *needs, *self.options, *own, str(script)])
        job = _job_id(done.stdout)
        if done.returncode or not job:
            said = (done.stderr.strip().splitlines() or [f"it printed no job id, but {done.stdout.strip()[:200]!r}"])[-1]
            raise EnvironmentFault(
                f"sbatch refused the array: {said}", fix="give sbatch's own options behind --on slurm:, as docs/clusters.md shows"
            )
        return _Array(job, folder, dict(enumerate(tasks)))


def check(options: Sequence[str]) -> None:
    """Refuse options that are set here, and a machine without Slurm's commands.

    Raises:
        UserError: an option of :data:`OWN`.
        EnvironmentFault: names the command that is absent.
    """
    for option in options:
        if option.partition("=")[0] in OWN:
            raise UserError(f"--on slurm was given {option!r}, which Tapetum sets itself", need="other options of sbatch")
    for command in COMMANDS:
        if shutil.which(command) is None:
            raise EnvironmentFault(f"--on slurm needs {command}, which is not on the PATH", fix="run it on a login node of the cluster")


def _script(tasks: Sequence[Task], folder: Path) -> str:
    """Return the array's script: the command line of each number, its output, and its exit code once it has ended."""
    place = shlex.quote(str(folder.resolve()))
    variables = [f"export {name}={shlex.quote(value)}" for name, value in environment().items()]
    lines = [f"{number}) set -- {shlex.join(task.words)} ;;" for number, task in enumerate(tasks)]
    return "\n".join(
        [
            "#!/bin/sh",
            f"cd {shlex.quote(os.getcwd())} || exit 5",
            *variables,
            "number=$SLURM_ARRAY_TASK_ID",
            'case "$number" in',
            *lines,
            "esac",
            f"place={place}/$number",
            '"$@" > "$place.out" 2> "$place.err"',
            "code=$?",
            'echo "$code" > "$place.part" && mv "$place.part" "$place.end"',
            'exit "$code"',
            "",
        ]
    )


def _ended(array: _Array) -> Iterator[tuple[Task, Ended]]:
    """Yield the tasks of an array that have ended since the last look."""
    for number in list(array.left):
        code = _text(array.folder / f"{number}.end").strip()
        if code.isdecimal():  # else the file is not whole yet
            yield array.left.pop(number), _written(array, number, int(code))
    there = _queued(array.job)
    if there is None:  # Slurm does not answer now
        array.silent += 1
        if array.silent == SILENT:
            raise EnvironmentFault(
                f"squeue has not answered {SILENT} times", fix="give the same command to go on once it does: what ended by then is kept"
            )
        return
    array.silent = 0
    gone = set(array.left) - there
    for number in sorted(gone & array.unseen):  # twice: a file may come later than the state
        if (array.folder / f"{number}.end").exists():
            continue
        state = _state(array.job, number)
        yield array.left.pop(number), Ended(CANCELLED if "CANCELLED" in state else GONE, err=f"Slurm tells: {state or 'it is gone'}")
    array.unseen = gone


def _written(array: _Array, number: int, code: int) -> Ended:
    # a shell reports a signal as 128 and more
    return Ended(128 - code if code > 128 else code, _text(array.folder / f"{number}.out"), _text(array.folder / f"{number}.err")[-KEPT:])


def _text(place: Path) -> str:
    try:
        return place.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _job_id(text: str) -> str:
    """Return the id that ``sbatch --parsable`` prints last, behind what a site greets with; nothing where there is none."""
    job = (text.strip().splitlines() or [""])[-1].strip().partition(";")[0]
    return job if job.isascii() and job.isdigit() else ""


def _queued(job: str) -> set[int] | None:
    """Return the numbers of an array that wait or run; None where ``squeue`` does not answer."""
    done = called(["squeue", "--noheader", "--array", f"--jobs={job}", "--format=%K"])
    if done.returncode:
        return set() if "invalid job id" in done.stderr.lower() else None
    return {int(word) for word in done.stdout.split() if word.isdigit()}


def _state(job: str, number: int) -> str:
    """Return the state that Slurm's accounting has of a task, as ``NODE_FAIL``; nothing where it has none."""
    done = called(["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}_{number}", "--format=State"])
    return done.stdout.strip().splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else ""
