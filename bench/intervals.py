"""How often 95 % intervals hold the truth, from 2 to 100 groups: shares, macro scores, rankings, errors and paired differences.

Groups differ in size, in how hard they are and in their mix of classes. Each figure's true value comes from very many groups of the same
kind. Run: ``python bench/intervals.py [--draws N]``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

import recorded
from tapetum.core import intervals, metrics
from tapetum.core.targets import Target

GROUPS = (2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100)
MANY = 20_000  # groups that stand for all
ROWS = 20  # of a group, at the middle
SIZES = {"equal": 0.0, "unequal": 0.8}  # deviation of the logarithm of a group's rows
RARE, SEEN = "macro-F1, pairs", 15  # below so many pairs of rows the rarest class is often absent: shown, not asked for
MEAN, EACH = 0.93, 0.90  # what intervals must cover: all figures together, and each of them
SINGLE = Target("single", "single", tuple("abcd"))
MULTI = Target("multi", "multi", tuple("abcde"))
NUMBER = Target("number", "regression")
FIGURES: dict[str, tuple[str, Target, bool]] = {
    "accuracy": ("accuracy", SINGLE, False),
    "accuracy near 1": ("accuracy", SINGLE, False),
    "accuracy, pairs": ("accuracy", SINGLE, False),
    "macro-F1": ("macro_f1", SINGLE, False),
    "macro-F1, pairs": ("macro_f1", SINGLE, False),
    "log-loss": ("log_loss", SINGLE, False),
    "average precision": ("average_precision", MULTI, False),
    "area under ROC": ("roc_auc", MULTI, False),
    "mean absolute error": ("mae", NUMBER, False),
    "difference of accuracy": ("accuracy", SINGLE, True),
    "difference of macro-F1": ("macro_f1", SINGLE, True),
    "difference of average precision": ("average_precision", MULTI, True),
    "difference of mean absolute error": ("mae", NUMBER, True),
}


def sample(target: Target, groups: int, spread: float, ease: float, rng: np.random.Generator, rows: int = ROWS) -> dict[str, np.ndarray]:
    """Return truth, two answers and groups of rows; groups vary in size, ease and mix."""
    size = np.maximum(1, np.round(rows * np.exp(rng.normal(0, spread, groups)))).astype(int)
    of = np.repeat(np.arange(groups), size)
    n, hard = len(of), rng.normal(0, 0.8, groups)[of]
    if target.kind == "regression":
        y = rng.normal(40, 12, groups)[of] + rng.normal(0, 8, n)
        noise, shift = rng.normal(0, 1, n), rng.normal(0, 3, groups)[of]
        a = y + np.exp(1 + 0.5 * hard) * noise + shift
        b = y + np.exp(1 + 0.5 * hard) * (0.8 * noise + 0.8 * rng.normal(0, 1, n)) + 1.1 * shift
        return {"y": y[:, None], "a": a[:, None], "b": b[:, None], "groups": of}
    k = target.width
    rates = np.array([0.45, 0.3, 0.17, 0.08, 0.05])[:k]
    if target.kind == "multi":
        y = (rng.random((n, k)) < rng.beta(rates * 4, (1 - rates) * 4, (groups, k))[of]).astype(float)
    else:
        mix = rng.dirichlet(rates / rates.sum() * 6, groups)[of]
        y = np.eye(k)[(rng.random(n)[:, None] > np.cumsum(mix, axis=1)).sum(axis=1).clip(0, k - 1)]
    noise = rng.normal(0, 1, (n, k))
    both = {"a": noise, "b": 0.9 * noise + 0.6 * rng.normal(0, 1, (n, k))}
    z = {name: (ease + hard)[:, None] * y + 0.5 * rng.normal(0, 1, (groups, k))[of] + e for name, e in both.items()}
    if target.kind == "multi":
        p = {name: 1 / (1 + np.exp(1.5 - v)) for name, v in z.items()}
    else:
        p = {name: np.exp(v) / np.exp(v).sum(axis=1, keepdims=True) for name, v in z.items()}
    return {"y": y, **p, "groups": of}


def found(name: str, rows: dict[str, np.ndarray]) -> intervals.Interval:
    """Return a figure of a sample with its interval."""
    metric, target, paired = FIGURES[name]
    if paired:
        return intervals.difference(metric, target, (rows["a"], rows["b"]), rows["y"], rows["groups"])
    return intervals.interval(metric, target, rows["a"], rows["y"], rows["groups"])


def measured(name: str, spread: float, draws: int) -> list[dict[str, Any]]:
    """Return, for each number of groups, how often a figure's interval held the truth, and its mean width."""
    metric, target, paired = FIGURES[name]
    ease = 1.5 if name in ("accuracy", "macro-F1") or target is not SINGLE or paired else 4.0
    rows = 2 if name.endswith("pairs") else ROWS
    whole = sample(target, MANY, spread, ease, np.random.default_rng(1), rows)
    truth, other = (metrics.score(metric, target, whole[part], whole["y"]) or 0.0 for part in ("a", "b"))
    truth -= other if paired else 0.0
    out = []
    for groups in GROUPS:
        made = [found(name, sample(target, groups, spread, ease, np.random.default_rng([groups, draw]), rows)) for draw in range(draws)]
        known = [(*one.bounds, one.value) for one in made if one.bounds is not None]
        held = [low <= truth <= high for low, high, _ in known]
        line = {"groups": groups, "intervals": len(known) / draws, "coverage": float(np.mean(held)) if held else None}
        width = float(np.mean([high - low for low, high, _ in known])) if known else None
        out.append({**line, "width": width, "error": float(np.std([one.value for one in made]))})
    return out


def main() -> int:
    """Measure every figure, print the tables and write them into the page of benchmarks; 1 where an interval does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--dry", action="store_true", help="print only; the page of benchmarks stays")
    wish = parser.parse_args()
    fewest, intervals.FEWEST = intervals.FEWEST, 2  # measured from two groups on, to show where they begin to hold
    began = time.perf_counter()
    jobs = [(name, sizes) for sizes in SIZES for name in FIGURES]
    with ProcessPoolExecutor(wish.processes, mp_context=multiprocessing.get_context("fork")) as pool:
        parts = pool.map(measured, *zip(*((name, SIZES[sizes], wish.draws) for name, sizes in jobs), strict=True))
        results = dict(zip(jobs, parts, strict=True))
    text, holds = [], True
    for sizes in SIZES:
        lines = []
        for name in FIGURES:
            lines.append([name, *("–" if one["coverage"] is None else f"{one['coverage']:.3f}" for one in results[name, sizes])])
        cells = np.array([[one["coverage"] for one in results[name, sizes]] for name in FIGURES], dtype=np.float64)
        shown = np.array(GROUPS) >= fewest
        cells[list(FIGURES).index(RARE), np.array(GROUPS) < SEEN] = np.nan
        middle = np.nanmean(cells, axis=0)
        holds &= bool((middle >= MEAN)[shown].all() and not (cells < EACH)[:, shown].any())
        lines.append(["**mean**", *(f"**{mean:.3f}**" for mean in middle)])
        head = [f"groups of {sizes} size", *(str(groups) for groups in GROUPS)]
        text.append(recorded.table(head, lines))
    seconds, width = time.perf_counter() - began, results["accuracy", "unequal"][0]["width"]
    about = (
        f"Share of 95 % intervals that hold the true figure, {wish.draws:,} samples a cell (a standard error of "
        f"{np.sqrt(0.95 * 0.05 / wish.draws):.3f}); groups of about {ROWS} rows that differ in size, ease and mix of classes; "
        "*pairs*: of about 2 rows, few of which are wrong. Intervals "
        f"count as holding where each figure's cover {EACH:.2f} or more and their mean {MEAN:.2f} or more: from {fewest} groups on. This "
        f"{'holds' if holds else '**does not hold**'} here, but for macro-F1 of fewer than {SEEN} pairs, which is left out of the mean: "
        "where rows are so few that the rarest class is absent, no interval knows of it. With two groups Tapetum gives no interval: "
        f"it would rest on one degree of freedom and say next to nothing (that of accuracy is {width:.2f} wide). {seconds:.0f} s."
    )
    page = "\n\n".join([about, *text])
    print(page)
    if not wish.dry:
        values = {
            "draws": wish.draws,
            "results": [{"figure": name, "sizes": sizes, "by_groups": results[name, sizes]} for name, sizes in jobs],
        }
        recorded.record("intervals", "Intervals: how often they hold", page, values, "numpy", "scipy")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
