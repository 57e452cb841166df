"""Trials of one campaign over several processes; a process that dies ends the campaign with an error.

The functions are not in ``__main__``, which a fresh process does not import.
"""

from __future__ import annotations

import concurrent.futures
import functools
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.faults import trials
from bench.faults.journal import Outcome
from bench.faults.trials import Base

PARTS = {"images": 2_500, "bugs": 1}  # trials of one line in the journal; else 250


def over(base: Base, name: str, work: Callable[..., dict[str, Any]], count: int, workers: int) -> Outcome:
    """Divide the trials of a campaign into parts, those over processes, and add up what they found."""
    os.environ |= {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "XDG_CACHE_HOME": str(base.home / "cache")}
    size = PARTS.get(work.__name__, 250)
    parts = {f"{a}-{min(a + size, count)}": (a, min(a + size, count)) for a in range(0, count, size)}
    journal, end = base.journal(name), time.time() + 60 * trials.MINUTES if trials.MINUTES else math.inf
    journal.begin(parts, count)
    given = (name, str(base.run), str(base.home))
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(work, *given, *part, end): key for key, part in parts.items() if key not in journal.done}
        for future in concurrent.futures.as_completed(waiting):
            one, (first, last) = future.result(), parts[waiting[future]]
            counts = {"trials": one["trials"], "lost": one.get("lost", 0), "notes": one.get("notes")}
            journal.add(waiting[future], one["wrong"], whole=one["trials"] >= last - first, **counts)
    return journal.outcome()


def _until(end: float) -> Callable[[], bool]:
    return lambda: time.time() > end


@functools.cache
def _checker(run: str, home: str) -> Any:
    from bench.faults import tables as hostile

    return hostile.Checker(Path(run), Path(tempfile.mkdtemp(dir=home)))


@functools.cache
def _fuzz(run: str, home: str) -> Any:
    from bench.faults import fuzzed

    return fuzzed.Fuzz(Path(run), Path(tempfile.mkdtemp(dir=home)))


def tables(name: str, run: str, home: str, first: int, last: int, end: float) -> dict[str, Any]:
    from bench.faults import tables as hostile

    checker = _checker(run, home)
    checker.tables = checker.rows = checker.refused = 0
    checker.faults = []
    hostile.run(checker, last - first, first, _until(end))
    notes = {"rows": checker.rows, "refused, as two ids are one": checker.refused}
    return {"trials": checker.tables, "wrong": checker.faults, "lost": len(checker.faults), "notes": notes}


def bugs(name: str, run: str, home: str, first: int, last: int, end: float) -> dict[str, Any]:
    from bench.faults import tables as hostile

    after = {mutant: hostile.caught(_checker(run, home), mutant) for mutant in list(hostile.MUTANTS)[first:last]}
    wrong = [f"not found: {mutant}" for mutant, tried in after.items() if not tried]
    return {"trials": len(after), "wrong": wrong, "notes": {f"tables until: {mutant}": tried for mutant, tried in after.items()}}


def images(name: str, run: str, home: str, first: int, last: int, end: float) -> dict[str, Any]:
    from bench.faults import images as mutated

    if _until(end)():
        return {"trials": 0, "wrong": []}
    found = mutated.run(range(first, last))
    return {"trials": last - first, "wrong": found["wrong"], "notes": found["counts"]}


def fuzz(name: str, run: str, home: str, first: int, last: int, end: float) -> dict[str, Any]:
    from bench.faults import fuzzed

    done, wrong = fuzzed.run(_fuzz(run, home), name, range(first, last), _until(end))
    return {"trials": done, "wrong": wrong}
