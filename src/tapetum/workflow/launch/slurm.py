"""Tasks on Slurm: one array job, each of its tasks a command line; what ended is seen in files, what was lost in ``squeue`` and ``sacct``.

``sbatch`` reads its own environment variables (``SBATCH_PARTITION``, ``SBATCH_ACCOUNT``, …), so a site's settings need no option here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from tapetum.core import files
from tapetum.core.errors import EnvironmentFault, UserError
from tapetum.workflow.launch.tasks import GONE, KEPT, Ended, Task, called, environment

POLL = 5.0  # seconds between two looks
SILENT = 720  # looks without an answer of squeue, an hour of them: then nobody knows whether the tasks run
LATE = 12  # looks, a minute of them, after which a file must be seen here that another machine wrote, and accounting must know an end
AT_ONCE = 1000  # tasks of one array: Slurm's MaxArraySize is 1001 unless a site sets another
ANSWER, SUBMITTED = 60.0, 300.0  # seconds that a question and sbatch may take
COMMANDS = ("sbatch", "squeue", "sacct", "scancel")
OWN = ("--array", "--wrap", "--parsable", "--output", "--error", "--wait")  # options that are set here
OWN_SHORT = ("-a", "-o", "-e", "-W")
CANCELLED = 2  # the exit code of a task that a person or the site took away
TOO_MANY = ("array", "limit", "policy")  # one of them is in what sbatch says where it takes fewer tasks at once
LIVES = ("PENDING", "RUNNING", "REQUEUED", "SUSPENDED", "COMPLETING", "CONFIGURING", "RESIZING")  # states of what squeue would list
WROTE = ("COMPLETED", "FAILED")  # states of a task whose script came to its end


class _Refused(EnvironmentFault):
    """``sbatch`` took no job.

    Args:
        said: its last words.
    """

    def __init__(self, said: str) -> None:
        super().__init__(f"sbatch refused the array: {said}", fix="give sbatch's own options behind --on slurm:, as docs/clusters.md shows")
        self.said = said


@dataclasses.dataclass
class _Array:
    """An array that was submitted.

    Args:
        job: its id.
        cluster: where, if sbatch named one: other clusters count their own ids.
        folder: its files: ``N.out``, ``N.err`` and, when task N ended, ``N.end`` with its exit code.
        left: number → task that has not ended.
        unseen: number → at how many looks in a row ``squeue`` did not have it.
        silent: how many times in a row ``squeue`` did not answer.
    """

    job: str
    cluster: str
    folder: Path
    left: dict[int, Task]
    unseen: dict[int, int] = dataclasses.field(default_factory=dict)
    silent: int = 0

    def ask(self, command: str, *words: str) -> subprocess.CompletedProcess[str] | None:
        """Return what one of Slurm's commands answers about the array; None where it does not."""
        where = [f"--clusters={self.cluster}"] if self.cluster else []
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            return called([command, *where, *words], timeout=ANSWER)
        return None


class Slurm:
    """The Slurm cluster that this machine submits to.

    Args:
        home: a folder that all machines see, for scripts and what tasks write.
        options: of ``sbatch``, as ``["--partition=gpu", "--time=2:00:00"]``.
    """

    name = "Slurm"

    def __init__(self, home: Path, options: Sequence[str] = ()) -> None:
        self.home, self.options = home, list(options)
        self._most = AT_ONCE  # tasks of an array: fewer where the site says so
        self._folders: list[Path] = []

    def run(self, tasks: Sequence[Task]) -> Generator[tuple[Task, Ended]]:
        """Yield each task when it has ended; arrays that are not done when the caller stops are cancelled."""
        arrays: list[_Array] = []
        waiting, moved = list(tasks), True
        try:
            while waiting or arrays:
                while waiting and moved:
                    waiting, moved = self._submit(waiting, arrays)
                moved = False
                for array in arrays:
                    for ended in _ended(array):
                        moved = True
                        yield ended
                arrays = [array for array in arrays if array.left]
                if arrays and not moved:
                    time.sleep(POLL)
        finally:
            for array in arrays:
                array.ask("scancel", array.job)

    def close(self) -> None:
        """Remove the scripts and what tasks wrote; a command that is killed leaves them."""
        for folder in self._folders:
            files.remove(folder)
        with contextlib.suppress(OSError):  # it holds those of another command, or was never made
            self.home.rmdir()

    def _submit(self, waiting: list[Task], arrays: list[_Array]) -> tuple[list[Task], bool]:
        """Submit one more array; return the tasks that still wait, and whether another try makes sense before a task has ended.

        Raises:
            EnvironmentFault: ``sbatch`` refuses even one task, while none runs.
        """
        some = waiting[: self._most]
        try:
            arrays.append(self._submitted(some))
        except _Refused as error:
            if not any(word in error.said.lower() for word in TOO_MANY):
                raise
            if len(some) > 1:
                self._most = len(some) // 2
                return waiting, True
            if not arrays:
                raise
            return waiting, False  # those that run count, until one ends
        return waiting[len(some) :], True

    def _submitted(self, tasks: Sequence[Task]) -> _Array:
        """Submit an array.

        Raises:
            EnvironmentFault: ``sbatch`` refuses it.
        """
        folder = files.make_folder(self.home / uuid.uuid4().hex[:12]).resolve()
        self._folders.append(folder)
        script = files.write_bytes(folder / "array.sh", os.fsencode(_script(tasks, folder)))
        most = max(tasks, key=lambda task: task.processors)
        needs = [f"--cpus-per-task={most.processors * most.devices}", *([f"--gpus-per-task={most.devices}"] if most.gpu else [])]
        own = ["--parsable", f"--array=0-{len(tasks) - 1}", "--job-name=tapetum", "--output=/dev/null", "--error=/dev/null"]
        try:
            done = called(["sbatch", *needs, *self.options, *own, str(script)], timeout=SUBMITTED)
        except subprocess.TimeoutExpired:
            what = f"sbatch did not answer within {SUBMITTED:.0f} s"
            fix = "look with squeue for jobs named tapetum and cancel them with scancel; then give the same command to go on"
            raise EnvironmentFault(what, fix=fix) from None
        job, cluster = _job_id(done.stdout)
        if done.returncode or not job:
            said = (done.stderr.strip().splitlines() or [f"it printed no job id, but {done.stdout.strip()[:200]!r}"])[-1]
            raise _Refused(said)
        return _Array(job, cluster, folder, dict(enumerate(tasks)))


def check(options: Sequence[str]) -> None:
    """Refuse options that are set here or are none, and a machine without Slurm's commands.

    Raises:
        UserError: an option of :data:`OWN`, or a word that sbatch would take for a script.
        EnvironmentFault: names the command that is absent.
    """
    before = ""
    for option in options:
        name = option.partition("=")[0]
        if option[:2] in OWN_SHORT or (len(name) > 3 and any(own.startswith(name) for own in OWN)):
            raise UserError(f"--on slurm was given {option!r}, which Tapetum sets itself", need="other options of sbatch")
        if option == "--" or not (option.startswith("-") or (before.startswith("-") and "=" not in before)):
            raise UserError(f"--on slurm was given {option!r}", need="options of sbatch alone")
        before = option
    for command in COMMANDS:
        if shutil.which(command) is None:
            raise EnvironmentFault(f"--on slurm needs {command}, which is not on the PATH", fix="run it on a login node of the cluster")


def _script(tasks: Sequence[Task], folder: Path) -> str:
    """Return the array's script: the command line of each number, its output, and its exit code once it has ended."""
    variables = [f"export {name}={shlex.quote(value)}" for name, value in environment().items()]
    lines = [f"{number}) set -- {shlex.join(task.words)} ;;" for number, task in enumerate(tasks)]
    return "\n".join(
        [
            "#!/bin/sh",
            "number=$SLURM_ARRAY_TASK_ID",
            f"place={shlex.quote(str(folder))}/$number",
            'end() { echo "$1" > "$place.part" && mv "$place.part" "$place.end"; exit "$1"; }',
            f'cd {shlex.quote(os.getcwd())} 2> "$place.err" || end 5',
            *variables,
            'case "$number" in',
            *lines,
            "esac",
            '"$@" > "$place.out" 2> "$place.err"',
            "end $?",
            "",
        ]
    )


def _ended(array: _Array) -> Iterator[tuple[Task, Ended]]:
    """Yield the tasks of an array that have ended since the last look."""
    codes = {number: code for number in array.left if (code := _code(array, number)) is not None}
    for number, code in codes.items():
        if code <= 128:
            yield array.left.pop(number), Ended(code, *_written(array, number))
    there = _queued(array)
    if there is None:  # Slurm does not answer now
        array.silent += 1
        if array.silent == SILENT:
            raise EnvironmentFault(
                f"squeue has not answered {SILENT} times", fix="give the same command to go on once it does: what ended by then is kept"
            )
        return
    array.silent = 0
    array.unseen = {number: array.unseen.get(number, 0) + 1 for number in sorted(set(array.left) - there)}
    for number, looks in array.unseen.items():
        if looks > 1 and (ended := _lost(array, number, looks)) is not None:  # twice: a file may come later than the state
            yield array.left.pop(number), ended


def _lost(array: _Array, number: int, looks: int) -> Ended | None:
    """Return how a task ended that Slurm lists no more and that left no exit code of its own; None where that may still come.

    A shell reports a signal as 128 and more. Who sent it is Slurm's to tell: a time limit, a lack of memory, a person.
    """
    code, state = _code(array, number), _state(array, number)
    if code is not None and code <= 128:
        return None  # it has come by now
    if looks < LATE and state.partition(" ")[0] in (LIVES if code is not None else (*LIVES, *WROTE)):
        return None
    if code is not None and state.partition(" ")[0] in ("", *LIVES, *WROTE):
        return Ended(128 - code, *_written(array, number))
    unseen = not (array.folder / f"{number}.err").exists()
    hint = f", and it wrote nothing into {array.folder}: do all machines see it?" if unseen and state.startswith(WROTE) else ""
    return Ended(CANCELLED if "CANCELLED" in state else GONE, err=f"Slurm tells: {state or 'it is gone'}{hint}")


def _code(array: _Array, number: int) -> int | None:
    """Return the exit code that a task left; None where it has not ended, or the file is not whole yet."""
    text = _text(array.folder / f"{number}.end").strip()
    return int(text) if text.isascii() and text.isdecimal() else None


def _written(array: _Array, number: int) -> tuple[str, str]:
    return _text(array.folder / f"{number}.out"), _text(array.folder / f"{number}.err")[-KEPT:]


def _text(place: Path) -> str:
    try:
        return place.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not there, or not now: a disk of a network may take a while
        return ""


def _job_id(text: str) -> tuple[str, str]:
    """Return the id and the cluster that ``sbatch --parsable`` prints last, behind what a site greets with; blank where there is none."""
    job, _, cluster = (text.strip().splitlines() or [""])[-1].strip().partition(";")
    return (job, cluster) if job.isascii() and job.isdigit() else ("", "")


def _queued(array: _Array) -> set[int] | None:
    """Return the numbers of an array that wait or run; None where ``squeue`` does not answer."""
    done = array.ask("squeue", "--noheader", "--array", f"--jobs={array.job}", "--format=%K")
    if done is None:
        return None
    if done.returncode:
        return set() if "invalid job id" in done.stderr.lower() else None
    return {int(word) for word in done.stdout.split() if word.isascii() and word.isdigit()}


def _state(array: _Array, number: int) -> str:
    """Return the state that Slurm's accounting has of a task, as ``NODE_FAIL``; nothing where it has none."""
    done = array.ask("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={array.job}_{number}", "--format=State")
    return done.stdout.strip().splitlines()[0].strip() if done is not None and done.returncode == 0 and done.stdout.strip() else ""
