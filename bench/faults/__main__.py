"""Every campaign in turn, and one table: ``python -m bench.faults`` (``make faults``), with ``--long`` all of it (``make faults-long``).

``--only NAME`` runs the campaigns whose name begins so; ``--scale 0.1`` makes a tenth of the trials (of planted bugs: all).
``--minutes`` is the time of all together: each campaign gets its part of what is left, and what it does not need goes to those behind it.
With ``--long`` each finished trial is kept in a journal (``.bench/faults/journal``): the same command, stopped at any point, goes on where
it stopped, and ``--long --finished --record`` writes the table of what is there, also while another process goes on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import recorded
from bench.faults import trials
from bench.faults.journal import Journal, Outcome
from bench.faults.trials import Base

JOURNALS = recorded.ROOT / ".bench" / "faults" / "journal"
PAGE = recorded.ROOT / "docs" / "reliability.md"
SHORT: dict[str, Any] = {  # of the first four: about as many as there are sorts of faults
    "fit": 2_600,
    "predict": 240,
    "review": 200,
    "export": 400,
    "states": 10_000,
    "resumed": 40,
    "kills": 200,
    "writers": 6,
    "tables": 10_000,
    "images": 20_000,
    "fuzz": 3_000,
    "pipelines": 200,
}
PARTS = {
    "states": 3,
    "kills": 5,
    "tables": 14,
    "faults: review": 3,
    "faults: predict": 4,
    "faults: export": 4,
    "faults: fit": 12,
}  # of the time; else 1
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


NAMES = {  # campaign → its line in the table, where that is another
    "bugs": "planted bugs",
    "writers": "two writers of one run",
    "states": "crash states of fit",
    "tables": "hostile tables",
    "images": "mutated images",
    "kills": "random kills of fit",
}
FUZZED = ("changed recipes", "changed predictions", "changed submissions", "changed pipelines")


def main() -> int:
    asked = _asked()
    outcomes = _finished(asked) if asked.finished else _run(asked)
    if asked.finished and asked.record:
        write(outcomes)
    print(table(outcomes))
    return int(any(one.survived < one.trials for one in outcomes))


def _finished(asked: argparse.Namespace) -> list[Outcome]:
    every = [*NAMES, *FUZZED, *(f"faults: {step}" for step in trials.RESULTS)]
    found = [Journal(NAMES.get(name, name), asked.journal).finished() for name in every if name.startswith(asked.only)]
    return [one for one in found if one is not None]


def _run(asked: argparse.Namespace) -> list[Outcome]:
    counts = {name: None if n is None else max(1, round(n * asked.scale)) for name, n in (LONG if asked.long else SHORT).items()}
    outcomes: list[Outcome] = []
    end = time.perf_counter() + 60 * asked.minutes
    steps = [step for step in trials.RESULTS if f"faults: {step}".startswith(asked.only)]
    base = trials.begin(asked.workers, steps or ["fit"])
    base.journals, base.also = asked.journal if asked.long else None, asked.also
    chosen = {name: one for name, one in campaigns(base, counts, asked.workers).items() if name.startswith(asked.only)}
    names = list(chosen)
    try:
        for place, (name, campaign) in enumerate(chosen.items()):
            at = time.perf_counter()
            share = PARTS.get(name, 1) / sum(PARTS.get(later, 1) for later in names[place:])
            trials.MINUTES = asked.minutes and max((end - at) * share, 1) / 60
            outcome = campaign()
            outcome.notes["seconds"] = round(time.perf_counter() - at, 1)
            outcomes.append(outcome)
            if asked.record:
                write([outcome])
            print(line(outcome), outcome.notes, *outcome.failures[:8], sep="\n  ", file=sys.stderr, flush=True)
    finally:
        base.close()
    return outcomes


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--finished", action="store_true", help="run nothing: the table of what the journals hold")
    parser.add_argument("--journal", type=Path, default=JOURNALS, help="the folder of the journals")
    parser.add_argument("--also", nargs="*", default=(), help="sources (see the journal) whose trials count too, where they survived")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--minutes", type=float, default=0, help="the most that all campaigns take together; 0: no end")
    parser.add_argument("--workers", type=int, default=max(2, os.cpu_count() or 2))
    parser.add_argument("--record", action="store_true", help="write the table into docs/reliability.md")
    return parser.parse_args()


def campaigns(base: Base, counts: dict[str, Any], workers: int) -> dict[str, Callable[[], Outcome]]:
    """Return name → what runs it."""
    from bench.faults import enumerated, kills, replay, spread

    def faults_of(step: str) -> Callable[[], Outcome]:
        return lambda: enumerated.campaign(base, step, counts[step])

    fuzzed = {kind: _fuzz_of(base, kind, counts["pipelines" if kind.endswith("pipelines") else "fuzz"], workers) for kind in FUZZED}
    every = {
        "bugs": lambda: _bugs(base, workers),
        "writers": lambda: kills.two_writers(base, counts["writers"]),
        "states": lambda: replay.campaign(base, counts["states"], counts["resumed"]),
        "tables": lambda: spread.over(base, "hostile tables", spread.tables, counts["tables"], workers),
        "images": lambda: spread.over(base, "mutated images", spread.images, counts["images"], workers),
        **fuzzed,
        "kills": lambda: kills.campaign(base, counts["kills"]),
        **{f"faults: {step}": faults_of(step) for step in reversed(trials.RESULTS)},
    }
    return {name: one for name, one in every.items() if base.library is not None or not (name == "states" or name.startswith("faults"))}


def _bugs(base: Base, workers: int) -> Outcome:
    from bench.faults import spread, tables

    return spread.over(base, "planted bugs", spread.bugs, len(tables.MUTANTS), workers)


def _fuzz_of(base: Base, kind: str, count: int, workers: int) -> Callable[[], Outcome]:
    from bench.faults import spread

    return lambda: spread.over(base, kind, spread.fuzz, count, workers)


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
