"""What order is worth: on recordings whose classes lie in their order, how far a sequence model gets towards the best known score.

For each seed: the frame-wise twin (the probe on the same kept vectors, without neighbours), the model over 16 neighbours, and what could be
known (Bayes from one image, forward–backward from the whole recording). Run: ``python bench/sequences.py [--seeds 5]``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import recorded
from tapetum import api
from tapetum.data.simulate import ordered

RECIPE = (
    "data.targets=['stage']", "data.sequence=night", "data.position=place", "data.path=file", "split.folds=2", "augment=[]",
    "input.size=16", "model.backbone=test_resnet", "model.weights=none", "probe.size=16", "probe.views=['plain']",
    "probe.strengths=[1e5]", "decide.choose=finetune", "train.threads=1", "train.precision='32'", "train.start=random",
    "optimizer.rate=3e-3", "sequence.length=16", "sequence.features=frozen", "train.epochs=5",
)  # fmt: skip


def one(seed: int, folder: Path) -> dict[str, float]:
    """Return the accuracies of one seed and the share of the gap that the sequence model closes."""
    data = ordered.simulate(folder / "data", nights=24, length=40, seed=seed)
    result = api.fit(data.root / "labels.csv", folder / "run", recipe=api.load_recipe(sets=(*RECIPE, f"seed={seed}")))
    figure = {f["name"]: f["value"] for f in result["figures"] if f["metric"] == "accuracy" and f["how"] == "cross-validated"}
    best = data.best()
    gap = best["together"] - figure["probe"]
    return {
        "frame-wise": figure["probe"],
        "best alone": best["alone"],
        "neighbours": figure["final"],
        "best": best["together"],
        "closed": (figure["final"] - figure["probe"]) / gap,
    }


def main(argv: list[str] | None = None) -> int:
    """Print a line a seed, write the section of the page of benchmarks, and fail where less than 60 % of the gap is closed on average."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dry", action="store_true", help="print only; the page of benchmarks stays")
    wish = parser.parse_args(argv)
    rows = []
    for seed in range(wish.seeds):
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            rows.append(one(seed, Path(folder)))
        shown = ", ".join(f"{name} {value:.3f}" for name, value in rows[-1].items())
        print(f"seed {seed}: {shown} ({time.perf_counter() - began:.0f} s)", flush=True)
    closed = np.array([row["closed"] for row in rows])
    print(f"closed: mean {closed.mean():.2f}, from {closed.min():.2f} to {closed.max():.2f} over {len(closed)} seeds")
    if not wish.dry:
        recorded.record("sequences", "What order is worth", text(rows), {"seeds": rows}, "torch", "timm", "numpy")
    return 0 if closed.mean() >= 0.6 else 1


def text(rows: list[dict[str, float]]) -> str:
    """Return the section of the page."""
    closed = [row["closed"] for row in rows]
    names = list(rows[0])
    lines = [[str(seed), *(f"{row[name]:.3f}" for name in names)] for seed, row in enumerate(rows)]
    return (
        "24 simulated recordings of 40 images, four classes of which two look alike; accuracy, two folds by recording. The model over 16 "
        "neighbours (BiLSTM on kept vectors, 5 epochs) against its frame-wise twin (the probe on the same vectors), the best that one "
        "image allows and the best that a whole recording allows (forward–backward with the true numbers).\n\n"
        f"{recorded.table(['seed', *names], lines)}\n\n"
        f"The sequence model closes {np.mean(closed):.0%} of the gap between its twin and the best ({min(closed):.0%} to "
        f"{max(closed):.0%} over {len(closed)} seeds; bound: 60 %)."
    )


if __name__ == "__main__":
    sys.exit(main())
