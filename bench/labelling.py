"""Labels needed to reach the full set's score: the most uncertain and diverse first, against random order, with a probe.

Run: ``python bench/labelling.py [--seeds 5]``; needs the dogs and faces beside the repository. Two thirds of each set are the pool from
which images are labelled; the rest is scored and never chosen from.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

import ordinal
import recorded
from tapetum.core.config import Data
from tapetum.data import layouts
from tapetum.decide.labelling import uncertainty, worth_labelling

SETS = {"dogs": "breed", "faces": "gender"}
WAYS = ("random", "uncertain", "diverse", "uncertain and diverse")
SHARE = 0.95  # of the full pool's accuracy is reached
STEPS = 15


def main() -> int:
    args = recorded.seeds_of(__doc__, 5, "the parts and of the first labels")
    warnings.filterwarnings("ignore", message="The number of unique classes")  # few labels of many classes are the question here
    found = {name: measured(name, args.seeds) for name in SETS}
    text = "\n\n".join(
        [
            "Probe on Lite0 vectors; a third of each set is held out and scored. Labels of the pool needed until accuracy first reaches "
            f"all of the full pool's, and {SHARE:.0%} of it, {args.seeds} seeds, mean (range); and the mean accuracy over all steps of "
            "labelling. All ways begin with the same images drawn at random.",
            *(set_text(name, one) for name, one in found.items()),
        ]
    )
    print(text)
    if not args.dry:
        recorded.record("labelling", "Active labelling against random order", text, found, "torch", "timm", "numpy", "scikit-learn")
    return 0


def measured(name: str, seeds: int) -> dict[str, Any]:
    """Return, for each seed and way, accuracy at each number of labels."""
    target = SETS[name]
    manifest = layouts.read(recorded.DATA / name / "labels.csv", Data(targets=(target,)), lambda _: None)
    vectors = ordinal.vectors_of(manifest).mean(axis=1)
    truth = manifest.truth(target).argmax(axis=1)
    draws = []
    for seed in range(seeds):
        pool, held = next(StratifiedKFold(3, shuffle=True, random_state=seed).split(vectors, truth))
        full = accuracy(vectors, truth, pool, held)
        draws.append(
            {"seed": seed, "pool": len(pool), "full": full, **{way: curve(way, vectors, truth, (pool, held), seed) for way in WAYS}}
        )
        recorded.log(f"{name} seed {seed}")
    return {"draws": draws}


def curve(way: str, vectors: np.ndarray, truth: np.ndarray, parts: tuple[np.ndarray, np.ndarray], seed: int) -> list[tuple[int, float]]:
    """Return (labels, accuracy on the held-out part) as the pool is labelled in steps."""
    pool, held = parts
    step = max(len(pool) // STEPS, 1)
    order = np.random.default_rng(seed).permutation(pool)
    labelled, left = order[:step], order[step:]
    out = [(len(labelled), accuracy(vectors, truth, labelled, held))]
    while len(left):
        unsure = np.ones(len(left))
        if "uncertain" in way and len(set(truth[labelled].tolist())) > 1:
            unsure = uncertainty(fitted(vectors, truth, labelled).predict_proba(unit(vectors[left])), "single")
        chosen = np.arange(min(step, len(left)))
        if way == "uncertain":
            chosen = np.argsort(-unsure, kind="stable")[:step]
        elif way != "random":
            chosen = worth_labelling(unsure, vectors[left], step, vectors[labelled])[:step]
        labelled, left = np.concatenate([labelled, left[chosen]]), np.delete(left, chosen)
        out.append((len(labelled), accuracy(vectors, truth, labelled, held)))
    return out


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def fitted(vectors: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> LogisticRegression:
    """Return a probe on some rows."""
    return LogisticRegression(C=30, max_iter=500).fit(unit(vectors[rows]), truth[rows])


def accuracy(vectors: np.ndarray, truth: np.ndarray, rows: np.ndarray, held: np.ndarray) -> float:
    """Return the accuracy on the held-out rows of a probe on some rows."""
    if len(set(truth[rows].tolist())) < 2:
        return float((truth[held] == truth[rows[0]]).mean())
    return float((fitted(vectors, truth, rows).predict(unit(vectors[held])) == truth[held]).mean())


def needed(points: list[tuple[int, float]], bound: float) -> int:
    """Return the fewest labels at which a bound is reached; the whole pool reaches it."""
    return next((labels for labels, value in points if value >= bound - 1e-9), points[-1][0])


def set_text(name: str, found: dict[str, Any]) -> str:
    """Return the table of a set, and what it says."""
    draws = found["draws"]
    rows, means = [], {}
    for way in WAYS:
        counts = {share: [needed(one[way], share * one["full"]) for one in draws] for share in (1.0, SHARE)}
        area = [float(np.mean([value for _, value in one[way]])) for one in draws]
        means[way] = float(np.mean(counts[1.0]))
        rows.append([way, *(f"{np.mean(c):.0f} ({min(c)}–{max(c)})" for c in counts.values()), f"{np.mean(area):.3f} ± {np.std(area):.3f}"])
    ours = means["uncertain and diverse"]
    wins = sum(needed(one["uncertain and diverse"], one["full"]) < needed(one["random"], one["full"]) for one in draws)
    full = np.mean([one["full"] for one in draws])
    verdict = "fewer" if ours < means["random"] else "not fewer"
    return (
        f"{name} (`{SETS[name]}`), a pool of {draws[0]['pool']}, accuracy of the full pool {full:.3f}: "
        f"{ours:.0f} labels against {means['random']:.0f} in random order, {verdict}; {wins} of {len(draws)} seeds need fewer.\n\n"
        + recorded.table(["order", "labels to the full pool's accuracy", f"to {SHARE:.0%} of it", "mean accuracy"], rows)
    )


if __name__ == "__main__":
    sys.exit(main())
