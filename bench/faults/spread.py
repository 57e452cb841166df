"""Trials of one campaign over several processes; a process that dies ends the campaign with an error.

The functions are not in ``__main__``, which a fresh process does not import.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.faults import trials
from bench.faults.trials import Base, Outcome


def over(base: Base, name: str, work: Callable[..., dict[str, Any]], count: int, workers: int) -> Outcome:
    """Divide the trials of a campaign over processes, and add up what they found."""
    os.environ |= {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "XDG_CACHE_HOME": str(base.home / "cache")}
    ends = [count * part // workers for part in range(workers + 1)]
    shares = [(name, str(base.run), str(base.home), a, b, trials.MINUTES) for a, b in itertools.pairwise(ends) if b > a]
    fresh = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(len(shares), mp_context=fresh) as pool:
        found = [one.result() for one in [pool.submit(work, *share) for share in shares]]
    outcome = Outcome(name, of=count)
    for one in found:
        outcome.trials += one["trials"]
        outcome.survived += one["trials"] - len(one["wrong"])
        outcome.lost += one.get("lost", 0)
        outcome.failures += one["wrong"]
        for key, value in one.get("notes", {}).items():
            outcome.notes[key] = outcome.notes.get(key, 0) + value
    return outcome


def _until(minutes: float) -> Callable[[], bool]:
    end = time.perf_counter() + 60 * minutes
    return lambda: bool(minutes) and time.perf_counter() > end


def tables(name: str, run: str, home: str, first: int, last: int, minutes: float) -> dict[str, Any]:
    from bench.faults import tables as hostile

    checker = hostile.Checker(Path(run), Path(tempfile.mkdtemp(dir=home)))
    hostile.run(checker, last - first, first, _until(minutes))
    notes = {"rows": checker.rows, "refused, as two ids are one": checker.refused}
    return {"trials": checker.tables, "wrong": checker.faults, "lost": len(checker.faults), "notes": notes}


def bugs(name: str, run: str, home: str, first: int, last: int, minutes: float) -> dict[str, Any]:
    from bench.faults import tables as hostile

    checker = hostile.Checker(Path(run), Path(tempfile.mkdtemp(dir=home)))
    after = {mutant: hostile.caught(checker, mutant) for mutant in list(hostile.MUTANTS)[first:last]}
    wrong = [f"not found: {mutant}" for mutant, tried in after.items() if not tried]
    return {"trials": len(after), "wrong": wrong, "notes": {f"tables until: {mutant}": tried for mutant, tried in after.items()}}


def images(name: str, run: str, home: str, first: int, last: int, minutes: float) -> dict[str, Any]:
    from bench.faults import images as mutated

    counts: dict[str, int] = {}
    wrong: list[str] = []
    done, over = 0, _until(minutes)
    for start in range(first, last, 5_000):
        if over():
            break
        found = mutated.run(range(start, min(start + 5_000, last)))
        counts = {kind: counts.get(kind, 0) + n for kind, n in found["counts"].items()}
        wrong += found["wrong"]
        done += min(5_000, last - start)
    return {"trials": done, "wrong": wrong, "notes": counts}


def fuzz(name: str, run: str, home: str, first: int, last: int, minutes: float) -> dict[str, Any]:
    from bench.faults import fuzzed

    done, wrong = fuzzed.run(fuzzed.Fuzz(Path(run), Path(tempfile.mkdtemp(dir=home))), name, range(first, last), _until(minutes))
    return {"trials": done, "wrong": wrong}
