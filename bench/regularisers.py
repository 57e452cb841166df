"""What each regulariser of ``hpa-plus`` is worth, and what its pretrained weights are: simulated cells of a seed of their own, cpu profile.

The recipe's pieces are switched off one at a time on the same rows, folds (by antibody) and seeds, and judged at the last epoch. Half-done
work is kept in ``.bench/regularisers`` and gone on with. Run: ``python bench/regularisers.py [--seeds 2]``.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import ablate
import recorded
from tapetum import api

SAMPLES, SEED = 600, 100  # no acceptance run reads this seed
PIECES = ("transfer", "augment", "dropout", "weight_decay", "average", "clip", "loss")
NAMES = {"transfer": "transfer (against from scratch)", "loss": "focal + Lovász (against cross-entropy)"}
# every piece is judged where it acts: on weights that were trained, at the end of training, started from a probe of the same size
SETS = ("split.folds=2", "train.threads=1", "train.checkpoint='last'", "probe.size=96", "predict.views=['plain']", "predict.reduce='mean'")


def measure(out: Path, seeds: int) -> dict[str, Any]:
    """Simulate samples and ablate; return the pieces with the seconds that it took."""
    began = time.perf_counter()
    made = api.simulate("hpa", out / "simulated", size=SAMPLES, seed=SEED, log=recorded.log)
    recipe = api.load_recipe("hpa-plus", profile="cpu", sets=(*SETS, f"data.join=['{made['paths']['antibodies']}']"))
    found = api.ablate(made["paths"]["source"], out / "runs", recipe=recipe, pieces=PIECES, seeds=range(seeds), log=recorded.log)
    pieces = [{**row, "piece": NAMES.get(row["piece"], row["piece"])} for row in found["pieces"]]
    return {"pieces": pieces, "seconds": round(time.perf_counter() - began, 1)}


def main(argv: list[str] | None = None) -> int:
    """Ablate, print the table and write it into the page of benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=recorded.ROOT / ".bench" / "regularisers")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--dry", action="store_true", help="print only; the page of benchmarks stays")
    wish = parser.parse_args(argv)
    found = measure(wish.out, wish.seeds)
    about = (
        f"`hpa-plus`, cpu profile, {SAMPLES} simulated samples (seed {SEED}), 2 folds by antibody, {found['pieces'][0]['metric']}, seeds 0 "
        f"to {wish.seeds - 1} of training, {found['seconds'] / 60:.0f} minutes on one thread. *Worth* is the figure with the piece less "
        "the figure without it; antibodies are drawn again for the interval."
    )
    text = f"{about}\n\n{ablate.worths(found['pieces'])}"
    print(text)
    if not wish.dry:
        recorded.record("regularisers", "What the regularisers of hpa-plus are worth", text, found, "torch", "timm", "numpy")
    return 0


if __name__ == "__main__":
    sys.exit(main())
