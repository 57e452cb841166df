"""Every campaign in turn, and one table: ``python -m bench.faults`` (``make faults``), with ``--long`` all of it (``make faults-long``).

``--only NAME`` runs the campaigns whose name begins so; ``--scale 0.1`` makes a tenth of the trials; ``--minutes`` ends each campaign.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import recorded
from bench.faults import trials
from bench.faults.trials import Base, Outcome

PAGE = recorded.ROOT / "docs" / "reliability.md"
SHORT = {
    "fit": 360,
    "predict": 160,
    "review": 160,
    "export": 16,
    "states": 10_000,
    "resumed": 40,
    "kills": 200,
    "writers": 6,
    "tables": 10_000,
    "images": 200_000,
    "fuzz": 3_000,
    "pipelines": 200,
}
LONG: dict[str, Any] = {
    **dict.fromkeys(("fit", "predict", "review", "export")),  # None: all
    "states": 100_000,
    "resumed": 1_000,
    "kills": 3_000,
    "writers": 60,
    "tables": 100_000,
    "images": 1_000_000,
    "fuzz": 100_000,
    "pipelines": 3_000,
}


def main() -> int:
    asked = _asked()
    trials.MINUTES = asked.minutes
    counts = {name: None if n is None else max(1, round(n * asked.scale)) for name, n in (LONG if asked.long else SHORT).items()}
    outcomes: list[Outcome] = []
    base = trials.begin(asked.workers)
    try:
        for name, campaign in campaigns(base, counts, asked.workers).items():
            if not name.startswith(asked.only):
                continue
            at = time.perf_counter()
            outcome = campaign()
            outcome.notes["seconds"] = round(time.perf_counter() - at, 1)
            outcomes.append(outcome)
            if asked.record:
                write([outcome])
            print(line(outcome), outcome.notes, *outcome.failures[:8], sep="\n  ", file=sys.stderr, flush=True)
    finally:
        base.close()
    text = table(outcomes)
    print(text)
    return int(any(one.survived < one.trials for one in outcomes))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--minutes", type=float, default=0, help="the most that one campaign takes; 0: no end")
    parser.add_argument("--workers", type=int, default=max(2, os.cpu_count() or 2))
    parser.add_argument("--record", action="store_true", help="write the table into docs/reliability.md")
    return parser.parse_args()


def campaigns(base: Base, counts: dict[str, Any], workers: int) -> dict[str, Callable[[], Outcome]]:
    """Return name → what runs it."""
    from bench.faults import enumerated, kills, replay

    def faults_of(step: str) -> Callable[[], Outcome]:
        return lambda: enumerated.campaign(base, step, counts[step])

    needs_shim = {f"faults: {step}": faults_of(step) for step in trials.RESULTS}
    needs_shim["states"] = lambda: replay.campaign(base, counts["states"], counts["resumed"])
    return {
        **(needs_shim if base.library is not None else {}),
        "kills": lambda: kills.campaign(base, counts["kills"]),
        "writers": lambda: kills.two_writers(base, counts["writers"]),
        "tables": lambda: spread(base, "hostile tables", _tables, counts["tables"], workers),
        "bugs": lambda: spread(base, "planted bugs", _bugs, 1, 1),
        "images": lambda: spread(base, "mutated images", _images, counts["images"], workers),
        **{
            kind: _fuzz_of(base, kind, counts["pipelines" if kind.endswith("pipelines") else "fuzz"], workers)
            for kind in ("changed recipes", "changed predictions", "changed submissions", "changed pipelines")
        },
    }


def _fuzz_of(base: Base, kind: str, count: int, workers: int) -> Callable[[], Outcome]:
    return lambda: spread(base, kind, _fuzz, count, workers)


def spread(base: Base, name: str, work: Callable[..., dict[str, Any]], count: int, workers: int) -> Outcome:
    """Divide the trials of a campaign over processes, and add up what they found."""
    os.environ |= {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "XDG_CACHE_HOME": str(base.home / "cache")}
    ends = [count * part // workers for part in range(workers + 1)]
    shares = [(name, str(base.run), str(base.home), a, b, trials.MINUTES) for a, b in itertools.pairwise(ends) if b > a]
    with multiprocessing.get_context("spawn").Pool(len(shares)) as pool:
        found = pool.starmap(work, shares)
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


def _tables(name: str, run: str, home: str, first: int, last: int, minutes: float) -> dict[str, Any]:
    from bench.faults import tables

    checker = tables.Checker(Path(run), Path(tempfile.mkdtemp(dir=home)))
    tables.run(checker, last - first, first, _until(minutes))
    notes = {"rows": checker.rows, "refused, as two ids are one": checker.refused}
    return {"trials": checker.tables, "wrong": checker.faults, "lost": len(checker.faults), "notes": notes}


def _bugs(name: str, run: str, home: str, first: int, last: int, minutes: float) -> dict[str, Any]:
    from bench.faults import tables

    checker = tables.Checker(Path(run), Path(tempfile.mkdtemp(dir=home)))
    after = {mutant: tables.caught(checker, mutant) for mutant in tables.MUTANTS}
    return {"trials": len(after), "wrong": [f"not found: {mutant}" for mutant, tables in after.items() if not tables]}


def _images(name: str, run: str, home: str, first: int, last: int, minutes: float) -> dict[str, Any]:
    from bench.faults import images

    counts: dict[str, int] = {}
    wrong: list[str] = []
    done, over = 0, _until(minutes)
    for start in range(first, last, 5_000):
        if over():
            break
        found = images.run(range(start, min(start + 5_000, last)))
        counts = {kind: counts.get(kind, 0) + n for kind, n in found["counts"].items()}
        wrong += found["wrong"]
        done += min(5_000, last - start)
    return {"trials": done, "wrong": wrong, "notes": counts}


def _fuzz(name: str, run: str, home: str, first: int, last: int, minutes: float) -> dict[str, Any]:
    from bench.faults import fuzzed

    done, wrong = fuzzed.run(fuzzed.Fuzz(Path(run), Path(tempfile.mkdtemp(dir=home))), name, range(first, last), _until(minutes))
    return {"trials": done, "wrong": wrong}


def line(one: Outcome) -> str:
    """Return a line of the table."""
    bound = "–" if not one.trials or one.survived < one.trials or one.campaign == "planted bugs" else f"{3 / one.trials:.2g}"
    of = f"{one.trials:,} of {one.of:,}" if one.of and one.of != one.trials else f"{one.trials:,}"
    return f"| {one.campaign} | {of} | {one.survived:,} | {one.lost} | {one.wrong} | {bound} |"


def table(outcomes: list[Outcome]) -> str:
    """Return the table of all campaigns."""
    head = "| campaign | trials | survived | rows lost | wrong results | bound 3/n |\n|---|---|---|---|---|---|"
    return "\n".join([head, *map(line, outcomes)])


def write(outcomes: list[Outcome]) -> None:
    """Write docs/benchmarks/faults.json, where campaigns that did not run now stay, and the table of all into docs/reliability.md."""
    from tapetum.core import files

    kept = recorded.ROOT / "docs" / "benchmarks" / "faults.json"
    before = {one["campaign"]: one for one in files.read_json(kept)["campaigns"]} if kept.exists() else {}
    every = [*(before | {one.campaign: vars(one) for one in outcomes}).values()]
    about = {"machine": recorded.machine(), "versions": recorded.versions("torch", "timm", "polars", "pillow")}
    files.write_json(kept, {**about, "campaigns": every})
    text = table([Outcome(**one) for one in every])
    first, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- faults -->\n")
    _, _, after = rest.partition("<!-- end:faults -->")
    held = about["machine"]
    foot = f"{held['processor']}, {held['cores']} cores. All values: [benchmarks/faults.json](benchmarks/faults.json)."
    files.write_text(PAGE, f"{first}<!-- faults -->\n{text}\n\n{foot}\n<!-- end:faults -->{after}")


if __name__ == "__main__":
    sys.exit(main())
