"""Kills at random times: of the process that fits, of the one that started it, of all at once; and two processes that want one run.

A run is killed up to four times and then goes on to its end, which must have the hashes of the uninterrupted one. Where the process that
started the fit is killed, the fit goes on as an orphan: a second start is refused as long as it holds the run.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

from bench.faults import trials
from bench.faults.forge import FINE, Forge
from bench.faults.trials import Base, Outcome

TIMES = 4  # kills of one run
HELD = 5  # exit code of a start that is refused


def campaign(base: Base, kills: int, seed: int = 0) -> Outcome:
    """Kill so many times; a trial is a kill."""
    wanted = trials.results("fit", base.run.parent)
    began = time.perf_counter()
    reference = base.home / "unkilled"
    reference.mkdir()
    code, printed = base.forges[0].run("launched", None, **base.given("fit", reference))
    assert code in FINE, printed
    seconds = time.perf_counter() - began
    again = trials.differences(trials.results("fit", reference), wanted)
    outcome, lock = Outcome("random kills of fit"), threading.Lock()
    outcome.notes |= {"seconds of a fit": round(seconds, 2), "killed": {"worker": 0, "launcher": 0, "group": 0, "too late": 0}}
    if again:
        outcome.add(f"an uninterrupted repeat differs: {again}", wrong=1)

    def one(forge: Forge, number: int) -> None:
        rng, place = random.Random(f"{seed}-{number}"), base.home / f"kills-{number}"
        place.mkdir()
        hit = [_killed(base, forge, place, rng, seconds) for _ in range(TIMES)]
        code, printed = forge.run("fit", None, **base.given("fit", place))
        found = f"went on with {code}: {printed[-1500:]}" if code not in FINE else ""
        found = found or trials.differences(trials.results("fit", place), wanted)
        with lock:
            for who in hit:
                outcome.notes["killed"][who] += 1
                outcome.add("")
            if found:
                outcome.survived -= TIMES
                outcome.wrong += code in FINE
                outcome.failures.append(found)
        shutil.rmtree(place, ignore_errors=True)

    trials.each(base, range(-(-kills // TIMES)), one)
    return outcome


def _killed(base: Base, forge: Forge, place: Path, rng: random.Random, seconds: float) -> str:
    """Start a fit and kill at a random time; return whom."""
    launcher = forge.start("launched", None, **base.given("fit", place))
    time.sleep(rng.uniform(0, seconds))
    who = rng.choice(("worker", "launcher", "group"))
    worker = next((one for one in _alive(launcher) if one != launcher), 0)
    if who == "worker" and not worker:  # it has not begun yet
        who = "launcher"
    try:
        if who == "group":
            os.killpg(launcher, signal.SIGKILL)
        else:
            os.kill(worker if who == "worker" else launcher, signal.SIGKILL)
    except ProcessLookupError:  # it has ended
        who = "too late"
    forge.end()
    while orphans := _alive(launcher):  # they go on, and may be killed as well
        if rng.random() < 0.2:
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphans[0], signal.SIGKILL)
        time.sleep(0.05)
    return who


def _alive(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of = place.read_text(encoding="ascii", errors="replace").rpartition(") ")[2].split()[:4]
            if int(of) == session and state not in "ZX":
                found.append(int(place.parent.name))
    return found


def two_writers(base: Base, count: int) -> Outcome:
    """Start a second fit into a run that another one holds: refused by name; then the first one ends right."""
    wanted = trials.results("fit", base.run.parent)
    outcome = Outcome("two writers of one run")
    first, second = base.forges[:2]
    slowest = 0.0
    for number in range(count):
        place = base.home / f"writers-{number}"
        place.mkdir()
        holder = first.start("fit", None, **base.given("fit", place))
        while not (place / "run" / ("manifest.parquet" if number % 2 else ".holder.json")).exists():
            time.sleep(0.005)
        os.kill(holder, signal.SIGSTOP)
        began = time.perf_counter()
        code, printed = second.run("fit", None, **base.given("fit", place))
        slowest = max(slowest, time.perf_counter() - began)
        os.kill(holder, signal.SIGCONT)
        ended, _ = first.end()
        found = "" if code == HELD and f"process {holder}" in printed else f"the second one ended with {code}: {printed[-1000:]}"
        found = found or ("" if ended in FINE else f"the first one ended with {ended}")
        found = found or trials.differences(trials.results("fit", place), wanted)
        outcome.add(found)
        shutil.rmtree(place)
    outcome.notes["slowest refusal in seconds"] = round(slowest, 2)
    return outcome
