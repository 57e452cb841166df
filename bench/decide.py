"""How long deciding takes: a million rows, thirty classes, five members; a thousand nights; intervals.

Each part runs in a process of its own, so that the memory it reports is its own. Run: ``python bench/decide.py [--rows N]``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import recorded
from tapetum.core import intervals, metrics
from tapetum.core.config import Decide
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.decide import chain
from tapetum.decide.align import align
from tapetum.decide.context import Context
from tapetum.decide.ensemble import mean
from tapetum.decide.steps import Rows

CLASSES, MEMBERS = 30, 5
TARGET = Target("label", "single", tuple(f"c{i:02d}" for i in range(CLASSES)))
BOUNDS = {
    "read": ("read 5 members from Parquet", 20.0),
    "blend": ("blend and all metrics", 10.0),
    "weights": ("fit blend weights for log-loss", 60.0),
    "weights_f1": ("fit blend weights for macro-F1", 60.0),
    "context": ("decode 1,000 nights of 1,000 epochs", 5.0),
    "interval": ("interval of macro-F1, 100,000 rows, 1,000 groups", 20.0),
    "interval_rows": ("interval of macro-F1, 100,000 rows, each its own group", 20.0),
}
HELD = ("read", "blend", "weights", "weights_f1")  # parts whose memory is measured against the table


@contextmanager
def timed(out: dict[str, float], name: str = "seconds") -> Iterator[None]:
    """Add wall and processor seconds of a block to ``out``."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    out[name] = out.get(name, 0.0) + time.perf_counter() - wall
    out[f"cpu_{name}"] = out.get(f"cpu_{name}", 0.0) + time.process_time() - cpu


def members(rows: int) -> tuple[dict[str, Dense], Rows]:
    """Return members that err apart, made in place so that making them costs little memory."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, rows)
    y = np.zeros((rows, CLASSES), dtype=np.float32)
    y[np.arange(rows), truth] = 1
    ids = np.array([f"row-{i:07d}" for i in range(rows)], dtype=object)
    group = np.arange(rows) // 20
    fold, status = (group % 5).astype(np.int16), np.full(rows, "ok", dtype=object)
    made = {}
    for m in range(MEMBERS):
        p = rng.standard_normal((rows, CLASSES), dtype=np.float32)
        p[np.arange(rows), truth] += 1.5 + 0.3 * m
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        made[f"m{m}"] = Dense(TARGET, ids, p, y, fold, status)
    return made, Rows(np.array([f"g{g}" for g in range(group[-1] + 1)], dtype=object)[group], fold)


def part_write(rows: int, folder: Path) -> dict[str, float]:
    """A predictions file a member, as a run keeps them."""
    made, _ = members(rows)
    out: dict[str, float] = {}
    with timed(out):
        for name, dense in made.items():
            Predictions.from_dense(dense, member=name).write(folder / f"{name}.parquet")
    return out


def part_read(rows: int, folder: Path) -> dict[str, float]:
    """Parquet to five dense matrices."""
    out: dict[str, float] = {"base_gb": recorded.peak_gb()}
    with timed(out):
        held = [Predictions.read(file).dense("label", file.stem) for file in sorted(folder.glob("*.parquet"))]
    return {**out, "rows": float(sum(len(d.row_ids) for d in held))}


def part_blend(rows: int, folder: Path) -> dict[str, float]:
    """Mean of five members, and every metric of it."""
    out: dict[str, float] = {"base_gb": recorded.peak_gb()}
    made, known = members(rows)
    with timed(out):
        aligned, _ = align(made)
        blended = mean().apply(list(aligned.values()), known, mean().fit(list(aligned.values()), known))
        found = metrics.scores(TARGET, blended.p, blended.y)
    return {**out, "macro_f1": float(found["macro_f1"] or 0)}


def weights(metric: str, rows: int) -> dict[str, float]:
    """Fit weights once, then cross-fit them: each fold's from the other folds, the final ones, and both blends."""
    out: dict[str, float] = {"base_gb": recorded.peak_gb()}
    made, known = members(rows)
    how = {"name": "weighted", "weights": "fit", "metric": metric}
    alone, _ = chain.build(Decide(blend=how), TARGET, list(made))
    with timed(out):
        alone.fit(made, known, np.arange(rows))
    with timed(out, "crossfit"):
        found = chain.fit(made, known, Decide(blend=how))
    return {**out, "log_loss": float(metrics.score("log_loss", TARGET, found.nested.p, found.nested.y) or 0)}


def part_weights(rows: int, folder: Path) -> dict[str, float]:
    """For log-loss."""
    return weights("log_loss", rows)


def part_weights_f1(rows: int, folder: Path) -> dict[str, float]:
    """For macro-F1."""
    return weights("macro_f1", rows)


def part_context(rows: int, folder: Path) -> dict[str, float]:
    """Order a million rows, decode them by forward–backward, by Viterbi, and with durations of up to 40 epochs."""
    nights, slots = max(1, rows // 1000), 1000
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), nights * slots).astype(np.float32)
    target = Target("stage", "single", ("Wake", "N1", "N2", "N3", "REM"))
    name = np.repeat([f"night-{i}" for i in range(nights)], slots).astype(object)
    n = len(p)
    known = Rows(name, np.zeros(n, dtype=np.int16), name, np.tile(np.arange(slots, dtype=np.float64), nights))
    ids = np.array([f"e{i}" for i in range(n)], dtype=object)
    dense = Dense(target, ids, p, np.full_like(p, np.nan), known.fold, np.full(n, "ok", dtype=object))
    move = (np.full((5, 5), 0.05) + 0.75 * np.eye(5)).tolist()
    off = (np.full((5, 5), 0.25) - 0.25 * np.eye(5)).tolist()
    chains: dict[str, tuple[str, Any]] = {
        "seconds": ("forward-backward", move),
        "viterbi": ("viterbi", move),
        "durations": ("forward-backward", {"move": off, "start": [0.2] * 5, "ending": [[0.1] * 40] * 5}),
    }
    out: dict[str, float] = {}
    for what, (method, table) in chains.items():
        step = Context(method, tune=False, transitions=table, prior=(0.2,) * 5)
        fitted = step.fit(dense, known)
        with timed(out, what):
            step.apply(dense, known, fitted)
    return out


def interval(groups: np.ndarray) -> dict[str, float]:
    """Return the time of an interval at 100,000 rows."""
    rng = np.random.default_rng(0)
    y = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, len(groups))]
    p = rng.dirichlet(np.ones(CLASSES), len(groups)).astype(np.float32)
    out: dict[str, float] = {}
    with timed(out):
        intervals.interval("macro_f1", TARGET, p, y, groups)
    return out


def part_interval(rows: int, folder: Path) -> dict[str, float]:
    """A hundred rows a group."""
    return interval(np.array([f"g{i // 100}" for i in range(100_000)], dtype=object))


def part_interval_rows(rows: int, folder: Path) -> dict[str, float]:
    """Every row a group."""
    return interval(np.array([f"g{i}" for i in range(100_000)], dtype=object))


PARTS: dict[str, Callable[[int, Path], dict[str, float]]] = {
    name.removeprefix("part_"): function for name, function in list(globals().items()) if name.startswith("part_")
}


def main() -> int:
    """Run every part, print and record; the exit code is 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=Path(), help=argparse.SUPPRESS)
    parser.add_argument("--dry", action="store_true", help="print only; leave docs alone")
    args = parser.parse_args()
    if args.part:
        found = PARTS[args.part](args.rows, args.folder)
        print(json.dumps({**found, "peak_gb": recorded.peak_gb()}))
        return 0
    found = run_all(args.rows)
    table_gb = args.rows * CLASSES * 4 * (MEMBERS + 1) / 2**30
    read_gb = args.rows * CLASSES * 4 * 2 * MEMBERS / 2**30
    lines, holds = [], True
    for name, (what, bound) in BOUNDS.items():
        part = found[name]
        memory = (part["peak_gb"] - part["base_gb"]) / (read_gb if name == "read" else table_gb) if name in HELD else None
        good = part["seconds"] < bound and (memory is None or memory < 3)
        holds &= good
        lines.append(
            [
                what,
                f"{part['seconds']:.1f}",
                f"{part['cpu_seconds']:.1f}",
                f"{bound:g}",
                f"{memory:.1f}" if memory else "",
                "yes" if good else "**no**",
            ]
        )
        print("  ".join(lines[-1]), flush=True)
    part = found["context"]
    extra = (
        f"The same nights by Viterbi: {part['viterbi']:.1f} s; with explicit durations up to 40 epochs: {part['durations']:.1f} s. "
        f"Cross-fitted over 5 folds with both blends made, weights for log-loss took {found['weights']['crossfit']:.0f} s, for macro-F1 "
        f"{found['weights_f1']['crossfit']:.0f} s."
    )
    print(extra)
    if not args.dry:
        head = ["part", "seconds", "of processor", "bound", "memory ÷ table", "holds"]
        text = (
            f"{args.rows:,} rows, {CLASSES} classes, {MEMBERS} members, dense in memory ({table_gb:.2f} GB with the truth); memory is the "
            "peak above the interpreter's, and bounded by 3 tables (a predictions file holds the truth beside every member, so reading is "
            f"set against {read_gb:.2f} GB). Load of the machine meanwhile: {os.getloadavg()[0]:.1f}.\n\n"
            f"{recorded.table(head, lines)}\n\n{extra}"
        )
        recorded.record(
            "decide",
            "Deciding: time and memory",
            text,
            {"rows": args.rows, "table_gb": table_gb, "parts": found},
            "numpy",
            "scipy",
            "polars",
        )
    return 0 if holds else 1


def run_all(rows: int) -> dict[str, dict[str, float]]:
    """Run each part in a process of its own."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in PARTS:
            command = [sys.executable, __file__, "--part", name, "--rows", str(rows), "--folder", folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8")
            found[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, {k: round(v, 2) for k, v in found[name].items()}, file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
