"""What each piece of training is worth on small real sets: dogs (25 breeds, 175 photos) and faces (nine ordered ages, 360 photos).

Seven pieces are switched off one at a time and judged at the last epoch, so that the choice of epochs hides none of them; then the whole
recipe, with its epochs chosen on other folds as always, is set against the probe: the same folds, three seeds, short epochs. Each set has
a process and a thread of its own. Half-done work is kept in ``.bench/ablate`` and gone on with.
Run: ``python bench/ablate.py [--data DIR] [--seeds 3] [--epochs 3]``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import recorded
from tapetum import api

PIECES = ("augment", "mix", "smoothing", "average", "layer_decay", "start", "transfer", "finetune")
CHOSEN = "fine-tuning, epochs chosen (against the probe)"
NAMES = {"finetune": "fine-tuning to the last epoch (against the probe)", "transfer": "transfer (against from scratch)"}
RECIPE = (
    "split.folds=2", "mix=[{name = 'cutmix', probability = 0.5}]", "loss.smoothing=0.1", "average.name=ema", "optimizer.layer_decay=0.75",
    "train.batch=16", "train.precision='32'", "train.threads=1",
)  # fmt: skip
AGES = "0-2<3-9<10-19<20-29<30-39<40-49<50-59<60-69<70+"


def one(name: str, data: Path, out: Path, seeds: int, epochs: int, size: int) -> dict[str, Any]:
    """Ablate on one set; return its rows, the row of chosen epochs last, with the seconds that it took."""
    target = {"dogs": "breed", "faces": f"age_group:ordinal={AGES}"}[name]
    sets = (*RECIPE, f"data.targets=['{target}']", f"train.epochs={epochs}", f"input.size={size}", f"probe.size={size}")
    began = time.perf_counter()

    def measured(epoch: str, pieces: tuple[str, ...]) -> list[dict[str, Any]]:
        recipe = api.load_recipe(sets=(*sets, f"train.checkpoint='{epoch}'"))
        found = api.ablate(
            data / name / "labels.csv", out / name / epoch, recipe=recipe, pieces=pieces, seeds=range(seeds), log=recorded.log
        )
        return list(found["pieces"])

    rows = [{**row, "piece": NAMES.get(row["piece"], row["piece"])} for row in measured("last", PIECES)]
    rows += [{**row, "piece": CHOSEN} for row in measured("best", ("finetune",))]
    return {"pieces": rows, "seconds": round(time.perf_counter() - began, 1)}


def shown(name: str, result: dict[str, Any]) -> str:
    """Return one set's table as Markdown."""
    pieces = result["pieces"]
    return f"**{name}**, {pieces[0]['metric']}, {pieces[0]['groups']} groups, {result['seconds']:.0f} s:\n\n{worths(pieces)}"


def worths(pieces: list[dict[str, Any]]) -> str:
    """Return what pieces of a recipe are worth as a Markdown table, the most first."""
    rows = [
        [
            row["piece"],
            *(f"{row[k]:.3f}" for k in ("with", "without")),
            f"{row['worth']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            ", ".join(f"{value:+.3f}" for value in row["by_seed"].values()),
        ]
        for row in sorted(pieces, key=lambda row: -row["worth"])
    ]
    return recorded.table(["piece", "with", "without", "worth, 95 % interval", "by seed"], rows)


def main(argv: list[str] | None = None) -> int:
    """Ablate on both sets, print the tables and write them into the page of benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=recorded.DATA)
    parser.add_argument("--out", type=Path, default=recorded.ROOT / ".bench" / "ablate")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--sets", nargs="+", default=["dogs", "faces"])
    parser.add_argument("--dry", action="store_true", help="print only; the page of benchmarks stays")
    wish = parser.parse_args(argv)
    place = wish.out / f"{wish.epochs}-epochs-{wish.size}-pixels"
    began = time.perf_counter()
    with ProcessPoolExecutor(len(wish.sets), mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {name: pool.submit(one, name, wish.data, place, wish.seeds, wish.epochs, wish.size) for name in wish.sets}
        results = {name: future.result() for name, future in running.items()}
    minutes = (time.perf_counter() - began) / 60
    about = (
        f"`tf_efficientnet_lite0` at {wish.size} pixels, 2 folds, {wish.epochs} epochs, seeds 0 to {wish.seeds - 1}. *Worth* is the score "
        "with the piece less the score without it (for errors the other way round), so more is better; the rows of all seeds stand "
        "together, and groups are drawn again for the interval. Pieces are judged at the last epoch; with epochs chosen on the other fold, "
        f"the network before training, which answers as the probe does, is one of them. {minutes:.0f} minutes, a thread a set."
    )
    text = "\n\n".join([about, *(shown(name, result) for name, result in results.items())])
    print(text)
    if not wish.dry:
        recorded.record("ablate", "What pieces of training are worth", text, {"sets": results}, "torch", "timm", "numpy")
    worse = [
        name for name, r in results.items() for row in r["pieces"] if row["piece"] == CHOSEN and row["high"] is not None and row["high"] < 0
    ]
    print(f"fine-tuning is worse than the probe on: {', '.join(worse) or 'neither'}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
