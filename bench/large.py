"""Manifests of 1,000,000 and 10,000,000 rows, the plan of 100,000,000 images, a long prediction with a stub network, and how cost grows.

Each stage runs in a process of its own, so that its memory is its own. Run: ``python bench/large.py [--only NAME ...] [--home DIR]``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import recorded
from tapetum.core import draws, files
from tapetum.core.config import Data, Decide, Split
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target

PARTS = ("read", "folds", "write", "answers", "metrics", "decide", "temperature")
CLASSES, GROUP, FOLDS = 5, 20, 5
BOUNDS = {  # stage → seconds of processor, GiB
    "table": (20.0, 2.0),
    "rows": (60.0, 4.0),
    "plan": (60.0, 16.0),
}
GROWTH: dict[str, list[int]] = {  # what grows → its values; the rest stays as BASE has it
    "rows": [50_000, 100_000, 200_000, 400_000],
    "classes": [10, 20, 40, 80],
    "members": [2, 4, 8, 16],
    "folds": [5, 10, 20, 40],
}
BASE = {"rows": 100_000, "classes": 10, "members": 2, "folds": 5}


def target_of(classes: int = CLASSES) -> Target:
    return Target("label", "single", tuple(f"c{k:03d}" for k in range(classes)))


def frame_of(rows: int, labelled: bool = True) -> pl.DataFrame:
    """Return ids, paths, labels and groups, made without Python's loops."""
    number = pl.int_range(rows, eager=True)
    label = pl.Series(draws.generator("large", rows).integers(0, CLASSES, rows))
    frame = pl.DataFrame({"n": number, "label": label}).select(
        pl.format("r{}", "n").alias("row_id"),
        pl.format("i{}.png", pl.col("n") % 1000).alias("path"),
        pl.format("c{}", pl.col("label").cast(pl.String).str.zfill(3)).alias("label"),
        pl.format("g{}", pl.col("n") // GROUP).alias("group"),
    )
    return frame if labelled else frame.select("row_id", "path")


def table(home: Path, rows: int = 1_000_000) -> dict[str, float]:
    """Read a CSV file of rows and labels, draw grouped stratified folds, write the manifest."""
    from PIL import Image

    from tapetum.data import layouts, split

    for n in range(1000):
        Image.new("L", (8, 8), n % 256).save(home / f"i{n}.png")
    files.write_csv(home / "labels.csv", frame_of(rows))
    out, began = {"start_gb": recorded.peak_gb()}, time.process_time()
    data = Data(targets=("label",), id="row_id", path="path", group="group")
    manifest = layouts.read(home / "labels.csv", data, lambda _: None)
    out["read"] = time.process_time() - began
    manifest = split.assign_folds(manifest, Split(folds=FOLDS), 0, lambda _: None)
    out["folds"] = time.process_time() - began - out["read"]
    manifest.write(home / "manifest.parquet")
    return {**out, "seconds": time.process_time() - began, "rows": len(manifest)}


def dense_of(manifest: Manifest, target: Target) -> Dense:
    """Return a member's answers, made in place."""
    rows = len(manifest)
    y = manifest.truth("label")
    p = np.random.default_rng(0).standard_normal((rows, target.width), dtype=np.float32)
    p += 2 * y
    np.exp(p, out=p)
    p /= p.sum(axis=1, keepdims=True)
    return Dense(target, np.array(manifest.row_ids, dtype=object), p, y, manifest.fold, np.full(rows, "ok", dtype=object))


def make_rows(home: Path, count: int = 10_000_000) -> dict[str, float]:
    """Write a manifest, for the stage that reads it."""
    frame = frame_of(count).with_columns(pl.concat_list("path"))
    Manifest(frame, (target_of(),), home).write(home / "m.parquet")
    return {"rows": count}


def rows(home: Path) -> dict[str, float]:
    """Read a manifest, draw folds, write it; every metric of a member's answers; decide as the recipe's defaults do; calibrate."""
    from tapetum.core import metrics
    from tapetum.data import split
    from tapetum.decide import chain
    from tapetum.decide.steps import Rows

    out: dict[str, float] = {"start_gb": recorded.peak_gb()}
    began = time.process_time()

    def mark(name: str) -> None:
        out[name] = time.process_time() - began - sum(v for k, v in out.items() if k in PARTS)
        out[f"{name}_gb"] = recorded.peak_gb()

    manifest = Manifest.read(home / "m.parquet")
    mark("read")
    manifest = split.assign_folds(manifest, Split(folds=FOLDS), 0, lambda _: None)
    mark("folds")
    manifest.write(home / "folds.parquet")
    mark("write")
    dense = dense_of(manifest, target_of())
    mark("answers")
    metrics.scores(dense.target, dense.p, dense.y)
    mark("metrics")
    known = Rows.of(manifest)
    del manifest
    chain.fit({"main": dense}, known, Decide())
    mark("decide")
    out |= {"seconds": time.process_time() - began - out["answers"], "rows": len(dense.row_ids), "bound_gb": recorded.peak_gb()}
    chain.fit({"main": dense}, known, Decide(calibrate="temperature"))
    mark("temperature")
    return out


def plan(home: Path, count: int = 100_000_000) -> dict[str, float]:
    """Divide a prediction of 100,000,000 rows into tasks of about 50,000, and write each task's spec."""
    from tapetum.workflow.commands import predict
    from tapetum.workflow.commands.predict_apart import ranges

    out: dict[str, float] = {"start_gb": recorded.peak_gb()}
    began = time.process_time()
    sizes = [len(part) for part in predict.in_order(count)]
    tasks = ranges(sizes, range(len(sizes)))
    for number, one in enumerate(tasks):
        files.write_json(
            home / f"task-{number}" / "spec.json", {"first": one.first, "parts": list(zip(one.numbers, one.sizes, strict=True))}
        )
    return {**out, "seconds": time.process_time() - began, "tasks": len(tasks), "rows": count}


class Stub:
    """A pipeline whose network is a draw from the row's number."""

    def __init__(self) -> None:
        self.target = target_of()
        self.members: list[Any] = []
        self.problems: dict[int, str] = {}
        self.scored = {"label": self.target}
        self.spec = {
            "targets": [self.target.to_dict()],
            "decisions": {},
            "manifest_hash": "",
            "recipe_hash": "",
            "sources": {"label": "head"},
        }

    def answer(self, manifest: Manifest, log: Any = None, tick: Any = None, *, told: Any = None) -> dict[str, Dense]:
        n = len(manifest)
        p = np.full((n, CLASSES), 1 / CLASSES, dtype=np.float32)
        ids = np.array(manifest.row_ids, dtype=object)
        found = {"label": Dense(self.target, ids, p, p * np.nan, np.full(n, -1, dtype=np.int16), np.full(n, "ok", dtype=object))}
        if told is not None:
            told({"main": {-1: found}}, None)
        if tick is not None:
            tick(n, n)
        return found


def predicted(home: Path, count: int) -> dict[str, float]:
    """Predict rows with a stub network; the memory after the manifest stands, and the most."""
    from tapetum.core.runs import Record
    from tapetum.workflow.commands import predict

    frame = frame_of(count, labelled=False).with_columns(pl.concat_list("path"))
    work = predict.Work(Stub(), Manifest(frame, (), home), Record(None))  # type: ignore[arg-type]
    work.__dict__["is_joint"] = False
    del frame
    held, began = recorded.peak_gb(), time.process_time()
    predict.write(work, home / "p.parquet")
    return {"start_gb": held, "seconds": time.process_time() - began, "rows": count, "bytes": (home / "p.parquet").stat().st_size}


def grown(home: Path, what: str, value: int) -> dict[str, float]:
    """Deal folds, score and decide (blend with fitted weights, temperature), with one number changed."""
    from tapetum.core import folds, metrics
    from tapetum.decide import chain
    from tapetum.decide.steps import Rows

    sizes = {**BASE, what: value}
    n, target = sizes["rows"], target_of(sizes["classes"])
    rng = np.random.default_rng(0)
    truth = rng.integers(0, target.width, n)
    y = np.eye(target.width, dtype=np.float32)[truth]
    groups = np.array([f"g{g}" for g in range(n // GROUP)], dtype=object)[np.arange(n) // GROUP]
    ids, status = np.array([f"r{i}" for i in range(n)], dtype=object), np.full(n, "ok", dtype=object)
    out, began = {}, time.process_time()
    fold = folds.assign({"label": y}, [target], groups, sizes["folds"], 0)
    out["folds"] = time.process_time() - began
    made = {}
    for m in range(sizes["members"]):
        p = rng.standard_normal((n, target.width), dtype=np.float32) + (1.5 + 0.1 * m) * y
        p = np.exp(p)
        made[f"m{m}"] = Dense(target, ids, p / p.sum(axis=1, keepdims=True), y, fold, status)
    began = time.process_time()
    for dense in made.values():
        metrics.scores(target, dense.p, dense.y)
    out["metrics"] = time.process_time() - began
    began = time.process_time()
    chain.fit(made, Rows(groups, fold), Decide(blend={"name": "weighted", "weights": "fit", "metric": "log_loss"}, calibrate="temperature"))
    return {**out, "decide": time.process_time() - began, "value": value}


def exponent(values: list[float], seconds: list[float]) -> float:
    """Return the slope of log seconds over log values."""
    return float(np.polyfit(np.log(values), np.log(np.maximum(seconds, 1e-3)), 1)[0])


STAGES: dict[str, Callable[..., dict[str, float]]] = {
    "table": table, "make_rows": make_rows, "rows": rows, "plan": plan, "predicted": predicted, "grown": grown,
}  # fmt: skip


def apart(home: Path, stage: str, *given: str | int) -> dict[str, float]:
    """Run a stage in a process of its own."""
    words = [sys.executable, __file__, "--stage", stage, "--home", str(home), *(f"--given={one}" for one in given)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    if told.returncode:
        raise SystemExit(f"{stage}: {told.stderr[-2000:]}")
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    print(stage, *given, found, file=sys.stderr, flush=True)
    return found


def measured(home: Path, only: list[str]) -> dict[str, Any]:
    """Return what each of the wanted parts measured."""
    found: dict[str, Any] = {}
    if "table" in only:
        found["table"] = apart(files.make_folder(home / "table"), "table")
    if "rows" in only:
        place = files.make_folder(home / "rows")
        apart(place, "make_rows")
        found["rows"] = apart(place, "rows")
        files.remove(place)
    if "plan" in only:
        found["plan"] = apart(files.make_folder(home / "plan"), "plan")
    if "predicted" in only:
        found["predicted"] = [
            apart(files.make_folder(home / f"p{count}"), "predicted", count) for count in (125_000, 250_000, 500_000, 1_000_000)
        ]
    if "grown" in only:
        found["grown"] = {what: [apart(home, "grown", what, value) for value in values] for what, values in GROWTH.items()}
    return found


def main() -> int:
    """Measure, print and record; the exit code is 1 where a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("table", "rows", "plan", "predicted", "grown"), help="these parts; print only")
    parser.add_argument("--home", type=Path, help="where tables are written")
    parser.add_argument("--stage", help="run this stage alone, in --home")
    parser.add_argument("--given", action="append", default=[], help="arguments of the stage")
    parser.add_argument("--dry", action="store_true", help="print only; leave docs alone")
    args = parser.parse_args()
    if args.stage:
        given = [int(one) if one.isdigit() else one for one in args.given]
        print(json.dumps({**STAGES[args.stage](args.home, *given), "gb": recorded.peak_gb()}))
        return 0
    with tempfile.TemporaryDirectory(dir=args.home) as folder:
        found = measured(Path(folder), args.only or ["table", "rows", "plan", "predicted", "grown"])
    if args.only:
        return 0
    text = page(found)
    print(text)
    if not args.dry:
        recorded.record("large", "Scale: manifests of millions of rows", text, found, "numpy", "polars")
    return int(not all(holds(found[name], *bounds) for name, bounds in BOUNDS.items()))


def holds(found: dict[str, float], seconds: float, gb: float) -> bool:
    """Tell whether a stage kept its bounds."""
    return found["seconds"] <= seconds and found.get("bound_gb", found["gb"]) <= gb


def page(found: dict[str, Any]) -> str:
    """Return the section's text."""
    titles = {
        "table": "1,000,000 rows: CSV read, grouped stratified folds, written",
        "rows": "10,000,000 rows: manifest read, folds, written, all metrics, decided by the defaults",
        "plan": "100,000,000 images: the plan of their prediction, {tasks:,} specs written",
    }
    first = [
        [
            titles[name].format(**{k: int(v) for k, v in found[name].items()}),
            f"{found[name]['seconds']:.1f} s",
            f"{seconds:.0f} s",
            f"{found[name].get('bound_gb', found[name]['gb']):.2f} GiB",
            f"{gb:.0f} GiB",
            "yes" if holds(found[name], seconds, gb) else "no",
        ]
        for name, (seconds, gb) in BOUNDS.items()
    ]
    second = [
        [f"{one['rows']:,}", f"{one['seconds']:.1f} s", f"{one['start_gb']:.2f} GiB", f"{one['gb'] - one['start_gb']:.2f} GiB"]
        for one in found["predicted"]
    ]
    third = []
    for what, measured_ in found["grown"].items():
        values = [one["value"] for one in measured_]
        parts = [exponent(values, [one[name] for one in measured_]) for name in ("folds", "metrics", "decide")]
        third.append([what, f"{values[0]:,.0f} to {values[-1]:,.0f}", *(f"{part:.2f}" for part in parts)])
    shown = ", ".join(f"{name} {found['rows'][name]:.1f} s" for name in PARTS if name != "answers")
    return (
        f"Seconds of processor and the most memory of a process of its own, on {CLASSES} classes in groups of {GROUP}. Load of the machine "
        f"meanwhile: {os.getloadavg()[0]:.1f}.\n\n"
        + recorded.table(["", "measured", "bound", "memory", "bound", "holds"], first)
        + f"\n\nThe 10,000,000 rows in parts: {shown}.\n\nA prediction with a stub network, in parts of 1,024 rows: the memory before "
        "it (the manifest of ids and paths is in memory) and what it adds.\n\n"
        + recorded.table(["rows", "seconds", "before", "added"], second)
        + "\n\nHow cost grows: the exponent of time when one number grows and the others stay at "
        + ", ".join(f"{value:,} {name}" for name, value in BASE.items())
        + " (1: linear). Deciding fits blend weights and a temperature, cross-fitted.\n\n"
        + recorded.table(["what grows", "from, to", "folds", "metrics", "deciding"], third)
    )


if __name__ == "__main__":
    sys.exit(main())
