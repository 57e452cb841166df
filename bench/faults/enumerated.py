"""Every file operation of a tiny fit, predict, export and review fails once, or from there on; then the same command runs again.

The operations are those that the process asks of the system below the folder that it writes into: opening, writing, syncing, renaming,
removing, making folders, changing rights. Each × {killed before, killed after, ENOSPC, EIO, EACCES, short write} × {once, forever}, where
it applies. After the fault no file may be torn under its own name, and what the command says it wrote must be right; the same
command then ends with the hashes of the uninterrupted one.
"""

from __future__ import annotations

import collections
import dataclasses
import random
import re
import shutil
import sqlite3
import tempfile
from pathlib import Path

from bench.faults import shim, trials
from bench.faults.forge import FINE, Forge
from bench.faults.journal import Outcome
from bench.faults.trials import Base

_DRAWN = re.compile(r"-[a-z0-9_]{8}(?=\.aside)|[0-9a-f]{12,}|\d+")  # names of files on their way, hashes, numbers


@dataclasses.dataclass(frozen=True)
class Trial:
    """One fault of one step, and the file that it happens to, without what is drawn or counted in its name."""

    step: str
    number: int
    kind: str
    mode: str
    forever: bool
    file: str = ""

    @property
    def key(self) -> str:
        """Return what tells it from others of its step, run after run."""
        return f"{self.number} {self.kind} {self.file}: {self.mode}{' forever' if self.forever else ''}"

    @property
    def sort(self) -> tuple[str, str, str, bool]:
        """Return what it has in common with faults of the same sort."""
        return self.kind, self.file, self.mode, self.forever


def every(step: str, operations: list[shim.Operation], place: Path) -> list[Trial]:
    """Return all faults of a step whose operations below a place are known."""
    out = []
    for number, operation in enumerate(operations, start=1):
        file = _named(operation, place)
        for mode in shim.MODES:
            if operation.kind in shim.APPLIES.get(mode, operation.kind):
                lasting = (False,) if mode.startswith("kill") else (False, True)
                out += [Trial(step, number, operation.kind, mode, forever, file) for forever in lasting]
    return out


def in_turn(possible: list[Trial], seed: int = 0) -> list[Trial]:
    """Return faults in an order in which each sort comes once before any comes twice, else drawn at random."""
    drawn = random.Random(seed).sample(possible, len(possible))
    before: collections.Counter[tuple[str, str, str, bool]] = collections.Counter()
    turns: dict[int, list[Trial]] = {}
    for trial in drawn:
        turns.setdefault(before[trial.sort], []).append(trial)
        before[trial.sort] += 1
    return [trial for _, one in sorted(turns.items()) for trial in one]


def operations_of(base: Base, step: str, with_data: bool = False) -> tuple[list[shim.Operation], dict[str, str], Path]:
    """Run a step whole; return its operations, what it left, and where."""
    place = Path(tempfile.mkdtemp(prefix=f"whole-{step}-", dir=base.home))
    trace = base.home / f"{step}.trace"
    code, printed = base.forges[0].run(
        step, dataclasses.asdict(shim.Fault(str(place), trace=str(trace), with_data=with_data)), **base.given(step, place)
    )
    assert code in FINE, printed
    return shim.read_trace(trace), trials.results(step, place), place


def campaign(base: Base, step: str, count: int | None, seed: int = 0) -> Outcome:
    """Run some of a step's faults, or all of them (``count`` None)."""
    operations, wanted, place = operations_of(base, step)
    assert wanted, step
    assert step != "export" or _as_traced(base, operations, wanted, place), "a graph that is kept is not written as one that is traced"
    possible = in_turn(every(step, operations, place), seed)
    sorts, journal = {one.key: one.sort for one in possible}, base.journal(f"faults: {step}")
    journal.begin(sorts, len(possible), **{"operations": len(operations), "sorts of faults": len(set(sorts.values()))})

    def one(forge: Forge, trial: Trial) -> None:
        wrong, found = attempt(base, forge, trial, wanted)
        journal.add(trial.key, [f"{trial}: {found}"] if found else [], wrong=wrong)

    trials.each(base, [one for one in possible[:count] if one.key not in journal.done], one)
    return journal.outcome()


def _as_traced(base: Base, operations: list[shim.Operation], wanted: dict[str, str], place: Path) -> bool:
    """Tell whether an export that takes the graph traced before does and leaves what the one does that traces it.

    The files of a new folder are flushed by several threads at once, so that their order is not compared.
    """
    whole = base.home / "traced"
    traced = collections.Counter((one.kind, _named(one, whole)) for one in shim.read_trace(base.home / "traced.trace"))
    taken = collections.Counter((one.kind, _named(one, place)) for one in operations)
    return traced == taken and trials.results("export", whole) == wanted


def _named(operation: shim.Operation, place: Path) -> str:
    """Return the file of an operation, without what is drawn or counted in its name."""
    return _DRAWN.sub("#", operation.path.removeprefix(str(place)))


def attempt(base: Base, forge: Forge, trial: Trial, wanted: dict[str, str]) -> tuple[int, str]:
    """Run a step with a fault and again without; return how many results are wrong, and what went wrong."""
    place = base.home / f"{trial.step}-{trial.number}-{trial.mode.replace(' ', '-')}-{trial.forever}"
    place.mkdir()
    given = base.given(trial.step, place)
    try:
        fault = shim.Fault(str(place), trial.mode, trial.number, trial.forever)
        code, printed = forge.run(trial.step, dataclasses.asdict(fault), **given)
        if found := trials.torn(place):
            return 1, found
        if code in FINE and (found := trials.differences(trials.results(trial.step, place), wanted)):
            return 1, f"ended well, but {found}"
        if trial.step == "review" and (found := forgotten(place)):
            return 1, found
        if found := trials.refusal(code, printed, trial.mode.startswith("kill")):
            return 0, found
        code, printed = forge.run(trial.step, None, **given)
        if code not in FINE:
            return 0, f"the same command then ended with {code}: {printed[-1500:]}"
        found = trials.differences(trials.results(trial.step, place), wanted)
        return int(bool(found)), found
    finally:
        shutil.rmtree(place, ignore_errors=True)
        Path(f"{place}.told").unlink(missing_ok=True)


def forgotten(place: Path) -> str:
    """Return a decision that was acknowledged and is not in the file; blank: none."""
    told = Path(f"{place}.told")
    rows = told.read_text(encoding="utf-8").split("\n")[:-1] if told.exists() else []
    if not rows:
        return ""
    with sqlite3.connect(place / "review.sqlite") as connection:
        kept = {row for (row,) in connection.execute("SELECT row_id FROM decisions WHERE undone IS NULL")}
    connection.close()
    lost = [row for row in rows if row not in kept]
    return f"decisions on {lost} were acknowledged and lost" if lost else ""
