"""The reference systems end to end on simulated data: as written against plus, judged on a test part that neither saw.

``python -m bench.acceptance [dogs hpa …]`` (``make acceptance``) simulates, runs the recipes from layout to submission in their cpu
profile, and writes the table into docs/reference-systems.md. SEEDS (default 1) repeats all of it; SIZE is what the simulators draw.
"""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from bench import recorded, reference_systems

from tapetum import api
from tapetum.core import files, intervals
from tapetum.core.registry import system_with
from tapetum.systems.judge import answers

SYSTEMS = ("dogs", "hpa", "mask", "sleep-yai", "sleep-dragon")
HOME = Path(".bench/acceptance")
RESULTS = Path("docs/benchmarks/acceptance.json")


def main() -> None:
    began = time.perf_counter()
    systems = [name for name in sys.argv[1:] if name in SYSTEMS] or list(SYSTEMS)
    seeds, size = int(os.environ.get("SEEDS", "1")), os.environ.get("SIZE", "small")
    runs = [(system, name, seed, size) for seed in range(seeds) for system in systems for name in (system, f"{system}-plus")]
    for simulator, seed in dict.fromkeys((simulator_of(run[0]), run[2]) for run in runs):
        place = HOME / f"{simulator}-{size}-{seed}" / "simulated"
        if not (place / "simulation.json").exists():  # written last
            api.simulate(simulator, place, size=size, seed=seed, log=recorded.log)
    runs.sort(key=lambda run: run[1] == run[0])  # the lifted ones take longer and go first
    # one process a core and one thread a process: decoding, augmentation and torch then keep every core busy
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        done = dict(zip(runs, pool.map(run_one, *zip(*runs, strict=True)), strict=True))
    rows = [compare(system, seed, size, done) for seed in range(seeds) for system in systems]
    known = files.read_json(RESULTS)["rows"] if RESULTS.exists() else []
    kept = [row for row in known if row["system"] not in systems]
    command = "make acceptance" if systems == list(SYSTEMS) else f"python -m bench.acceptance {' '.join(systems)}"
    about = {
        "command": f"SEEDS={seeds} SIZE={size} {command}",
        "date": str(datetime.date.today()),
        "cores": os.cpu_count(),
        "minutes": round((time.perf_counter() - began) / 60, 1),  # of this start
    }
    rows = [{**row, "measured": about} for row in rows]
    every = sorted([*kept, *rows], key=lambda row: (SYSTEMS.index(row["system"]), row["seed"]))
    files.write_json(RESULTS, {"rows": every})
    print(json.dumps(rows, indent=1))
    print(reference_systems.write())


def simulator_of(system: str) -> str:
    """Return the name under which a system's data are simulated; systems on the same task share them."""
    found = system_with(system)
    if found is None:
        raise ValueError(f"no system has the recipe {system!r}")
    return found.name


def run_one(system: str, name: str, seed: int, size: str) -> dict[str, Any]:
    """Run one recipe from layout to submission; return its folder, its submission, and seconds by the clock and of the processor."""
    began, busy = time.perf_counter(), time.process_time()
    home = HOME / f"{simulator_of(system)}-{size}-{seed}"
    simulated = files.read_json(home / "simulated" / "simulation.json")
    simulated["paths"] = {key: str(home / "simulated" / place) for key, place in simulated["paths"].items()}
    sets = {"seed": seed, "train.threads": 1}
    where = home / f"{name}-{api.load_recipe(name, profile='cpu', flags=sets).recipe.hash()[:8]}"  # a changed recipe gets its own
    spent = home / f"{where.name}.json"  # earlier starts count, too
    before = files.read_json(spent) if spent.exists() else {"seconds": 0.0, "processor": 0.0}
    if "submission" in before and Path(before["submission"]).exists():
        return {"run": str(where), "simulated": simulated, **before}
    done: dict[str, Any] = {}
    try:
        result = api.reproduce(name, where, simulated=simulated, profile="cpu", sets=sets, log=recorded.log, command="make acceptance")
        done = {"submission": result["submission"]}
    finally:
        seconds = round(before["seconds"] + time.perf_counter() - began, 1)
        processor = None if before.get("processor") is None else round(before["processor"] + time.process_time() - busy, 1)
        spending = {"seconds": seconds, "processor": processor}
        files.write_json(spent, {**spending, **done})
    return {"run": str(where), "simulated": simulated, **spending, **done}


def compare(system: str, seed: int, size: str, done: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    """Judge a system as written and plus on the test part of one simulation.

    The submissions are judged, as an organiser would: labels by the template's ids against the simulator's truth. That truth carries the
    planted wrong labels too, as a real one does; the ceiling is the best score to be expected of who knows the generator.
    """
    runs = {name: done[system, name, seed, size] for name in (system, f"{system}-plus")}
    simulated = runs[system]["simulated"]
    written, plus = (answers(Path(run["submission"]), Path(run["run"]), simulated, system) for run in runs.values())
    metric, target, y, groups = simulated["metric"], written["target"], written["y"], written["groups"]
    alike = {"answer": written["answer"]}
    a = intervals.interval(metric, target, written["p"], y, groups, **alike)
    b = intervals.interval(metric, target, plus["p"], y, groups, answer=plus["answer"])
    d = intervals.difference(metric, target, (plus["p"], written["p"]), y, groups, answers=(plus["answer"], written["answer"]))
    gap = simulated["ceiling"] - a.value
    return {
        "system": system,
        "seed": seed,
        "size": size,
        "metric": metric,
        "n": len(y),
        "written": a.to_dict(),
        "plus": b.to_dict(),
        "difference": d.to_dict(),
        "ceiling": simulated["ceiling"],
        "share_of_gap": d.value / gap if gap > 0 else None,
        "seconds": {name: run["seconds"] for name, run in runs.items()},
        "processor": {name: run["processor"] for name, run in runs.items()},
    }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the acceptance table as Markdown lines, a line a seed and the mean over seeds where there are several."""
    head = "| system | seed | metric | n | as written | plus | difference | ceiling | gain / gap | minutes | of processor |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|---|---|"]

    def shown(value: dict[str, Any]) -> str:
        return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"

    for row in rows:
        minutes, busy = sum(row["seconds"].values()) / 60, row.get("processor", {}).values()
        processor = f"{sum(busy) / 60:.1f}" if busy and None not in busy else "–"
        share = "–" if row["share_of_gap"] is None else f"{row['share_of_gap']:.0%}"
        name = f"{row['system']} ({row['size']})"
        figures = f"{shown(row['written'])} | {shown(row['plus'])} | {shown(row['difference'])} | {row['ceiling']:.3f} | {share}"
        lines.append(f"| {name} | {row['seed']} | {row['metric']} | {row['n']} | {figures} | {minutes:.1f} | {processor} |")
    for system in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == system]
        if len(own) > 1:
            mean = {key: statistics.mean(row[key]["value"] for row in own) for key in ("written", "plus", "difference")}
            shares = [row["share_of_gap"] for row in own if row["share_of_gap"] is not None]
            share = f"{statistics.mean(shares):.0%}" if shares else "–"
            figures = f"{mean['written']:.3f} | {mean['plus']:.3f} | {mean['difference']:+.3f} | | {share}"
            lines.append(f"| {system} | mean of {len(own)} | | | {figures} | | |")
    return lines


if __name__ == "__main__":
    main()
