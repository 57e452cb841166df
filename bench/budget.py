"""Does ``--budget 60s`` end within 72 seconds? Photos of dogs, from the command's start to its end, with a cold and a warm cache of rates.

Each run is a process of its own, as on a command line. It is repeated as on a processor without bf16: torch is held to AVX2, so that bf16
is no candidate. Run it on an idle machine: ``python bench/budget.py [--data DIR] [--budget 60] [--rows 75]``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

import recorded
from tapetum.core import files

ALLOWED = 1.2  # times the budget


def rows_of(data: Path, rows: int, out: Path) -> Path:
    """Write a table of some photos, equally many of each of the first breeds."""
    table = pl.read_csv(data / "dogs" / "labels.csv")
    path = next(name for name in ("path", "file", "image") if name in table.columns)
    some = table.group_by("breed", maintain_order=True).head(5).head(rows)
    full = some.with_columns(pl.format("{}/{}", pl.lit(str((data / "dogs").resolve())), pl.col(path)).alias(path))
    return files.write_csv(out / "labels.csv", full.select(path, "breed"))


def one(table: Path, out: Path, cache: Path, budget: float, *, without_bf16: bool) -> dict[str, Any]:
    """Run the command once; return its wall seconds and what was done in them."""
    own = {"XDG_CACHE_HOME": str(cache)} | ({"ATEN_CPU_CAPABILITY": "avx2"} if without_bf16 else {})
    command = [sys.executable, "-m", "tapetum", "fit", str(table), "--target", "breed", "-o", str(out), "--budget", f"{budget:g}s"]
    began = time.perf_counter()
    read = {"capture_output": True, "text": True, "encoding": "utf-8", "errors": "replace"}
    done: Any = subprocess.run(command, check=False, env={**os.environ, **own}, **read)  # type: ignore[call-overload]
    wall = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    plan, kept = files.read_json(out / "plan.json"), files.read_json(out / "run.json")
    member = plan["members"]["main"]
    engine = plan["probe"]["engine"]
    return {
        "wall_seconds": round(wall, 1),
        "stages": kept["starts"][-1]["seconds"],
        "threads": plan.get("threads"),
        "engine": f"{engine['precision']}{'-channels_last' if engine['channels_last'] else ''}",
        "folds": len(member["folds"]),
        "epochs": member["epochs"],
        "why": member["why"],
    }


def main(argv: list[str] | None = None) -> int:
    """Run all four, print the table and write it into the page of benchmarks; 1 where one takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=recorded.DATA)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--rows", type=int, default=75)
    parser.add_argument("--dry", action="store_true", help="print only; the page of benchmarks stays")
    wish = parser.parse_args(argv)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="tapetum-budget-") as place:
        table = rows_of(wish.data, wish.rows, Path(place))
        for name, without in (("with its own instructions", False), ("held to AVX2, without bf16", True)):
            for cache in ("cold", "warm"):
                key = f"{name}, {cache} cache"
                recorded.log(key)
                folder = Path(place) / f"{'avx2' if without else 'own'}-{cache}"
                store = Path(place) / f"cache-{'avx2' if without else 'own'}"
                found[key] = one(table, folder, store, wish.budget, without_bf16=without)
                recorded.log(f"{found[key]['wall_seconds']} s, {found[key]['why']}")
    head = ["processor and cache", "seconds", "probe computes with", "threads", "fine-tuned"]
    lines = [
        [
            key,
            f"{one['wall_seconds']:.0f}",
            one["engine"],
            str(one["threads"] or "default"),
            f"{one['folds']} folds, {one['epochs']} epochs",
        ]
        for key, one in found.items()
    ]
    worst = max(one["wall_seconds"] for one in found.values())
    about = (
        f"`tapetum fit labels.csv --target breed --budget {wish.budget:g}s` on {wish.rows} photos of dogs, the default recipe, from the "
        f"start of the process to its end. The longest took {worst:.0f} s; {ALLOWED * wish.budget:.0f} s are allowed."
    )
    text = f"{about}\n\n{recorded.table(head, lines)}"
    print(text)
    if not wish.dry:
        recorded.record("budget", "A budget is kept", text, {"budget": wish.budget, "rows": wish.rows, "runs": found}, "torch", "timm")
    return 1 if worst > ALLOWED * wish.budget else 0


if __name__ == "__main__":
    sys.exit(main())
