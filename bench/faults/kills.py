"""Kills at random times: of the process that fits, of the one that started it, of all at once; and two processes that want one run.

A run is killed up to four times and then goes on to its end, which must have the hashes of the uninterrupted one. Where the process that
started the fit is killed, the fit goes on as an orphan: a second start is refused as long as it holds the run.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

from bench.faults import trials
from bench.faults.forge import FINE, Forge
from bench.faults.journal import Outcome
from bench.faults.trials import Base

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
    assert not again, f"an uninterrupted repeat differs: {again}"
    runs, journal = [f"{seed}-{number}" for number in range(-(-kills // TIMES))], base.journal("random kills of fit")
    journal.begin(runs, kills)

    def one(forge: Forge, drawn: str) -> None:
        rng, place = random.Random(drawn), base.home / f"kills-{drawn}"
        place.mkdir()
        hit = collections.Counter(_killed(base, forge, place, rng, seconds) for _ in range(TIMES))
        code, printed = forge.run("fit", None, **base.given("fit", place))
        found = f"went on with {code}: {printed[-1500:]}" if code not in FINE else ""
        found = found or trials.differences(trials.results("fit", place), wanted)
        wrong = int(bool(found) and code in FINE)
        journal.add(
            drawn, [found] * TIMES if found else [], trials=TIMES, wrong=wrong, notes={f"killed: {who}": n for who, n in hit.items()}
        )
        shutil.rmtree(place, ignore_errors=True)

    trials.each(base, [one for one in runs if one not in journal.done], one)
    return journal.outcome()


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
    journal = base.journal("two writers of one run")
    journal.begin(map(str, range(count)), count)
    first, second = base.forges[:2]
    for number in (one for one in range(count) if str(one) not in journal.done):
        place = base.home / f"writers-{number}"
        place.mkdir()
        holder = first.start("fit", None, **base.given("fit", place))
        while not (place / "run" / ("manifest.parquet" if number % 2 else ".holder.json")).exists():
            time.sleep(0.005)
        os.kill(holder, signal.SIGSTOP)
        began = time.perf_counter()
        code, printed = second.run("fit", None, **base.given("fit", place))
        seconds = time.perf_counter() - began
        os.kill(holder, signal.SIGCONT)
        ended, _ = first.end()
        found = "" if code == HELD and f"process {holder}" in printed else f"the second one ended with {code}: {printed[-1000:]}"
        found = found or ("" if ended in FINE else f"the first one ended with {ended}")
        found = found or trials.differences(trials.results("fit", place), wanted)
        journal.add(str(number), [found] if found else [], notes={"seconds of all refusals": round(seconds, 2)})
        shutil.rmtree(place)
    return journal.outcome()
