"""What context is worth: macro-F1 before and after decoding real nights, everything nested by subject.

Four base models stand for any framework's: scikit-learn's logistic regression and gradient boosting, on the features of one epoch and on
those of an epoch and its neighbours. Their out-of-fold probabilities go through a CSV file into Tapetum. Then each decision step is
cross-fitted by subject. Run: ``python bench/context.py [--data DIR]``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

import recorded
from tapetum.core import folds, intervals, metrics
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target
from tapetum.decide import external, hmm
from tapetum.decide.bias import ClassBias
from tapetum.decide.context import Context
from tapetum.decide.rules import Rules
from tapetum.decide.smoothing import Smooth
from tapetum.decide.steps import Rows, crossfit

STAGES = ("Wake", "N1", "N2", "N3", "REM")
TARGET = Target("stage", "single", STAGES)
HALF_HOUR = 60  # epochs of wakefulness kept on either side of a night, as in the features
BASES = ("logistic, one epoch", "boosting, one epoch", "logistic, ±2 epochs", "boosting, ±2 epochs")


def nights(folder: Path) -> tuple[Manifest, dict[str, np.ndarray]]:
    """Return the manifest of all epochs, and each night's features z-scored within the night."""
    frames, features = [], {}
    for file in sorted(folder.glob("*.npz")):
        with np.load(file, allow_pickle=False) as night:
            x, stage = night["features"].astype(np.float64), night["stage"]
        name = file.stem
        features[name] = np.clip((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9), -8, 8)
        frames.append(
            pl.DataFrame(
                {
                    "row_id": [f"{name}-{i:04d}" for i in range(len(x))],
                    "path": [[name]] * len(x),
                    "group": name[3:5],
                    "sequence": name,
                    "position": np.arange(len(x), dtype=np.float64),
                    "stage": [STAGES[s] for s in stage],
                }
            )
        )
    manifest = Manifest(pl.concat(frames), (TARGET,), folder)
    fold = folds.assign({"stage": manifest.truth("stage")}, [TARGET], manifest.groups, 5, 0)
    return Manifest(manifest.frame.with_columns(pl.Series("fold", fold)), (TARGET,), folder), features


def with_neighbours(x: np.ndarray, reach: int) -> np.ndarray:
    """Return each epoch's features and its neighbours' (N, (2·reach + 1)·F); edges repeat."""
    place = np.clip(np.arange(len(x))[:, None] + np.arange(-reach, reach + 1), 0, len(x) - 1)
    return x[place].reshape(len(x), -1)


def out_of_fold(base: str, manifest: Manifest, features: dict[str, np.ndarray]) -> np.ndarray:
    """Return held-out probabilities (N, 5) of a base model."""
    x = np.concatenate([with_neighbours(night, 2 if "±2" in base else 0) for night in features.values()]).astype(np.float32)
    y, fold = manifest.truth("stage").argmax(axis=1), manifest.fold
    p = np.zeros((len(y), len(STAGES)))
    for k in np.unique(fold):
        model: Any = (
            LogisticRegression(max_iter=300) if "logistic" in base else HistGradientBoostingClassifier(max_iter=60, max_leaf_nodes=15)
        )
        p[fold == k] = model.fit(x[fold != k], y[fold != k]).predict_proba(x[fold == k])
    return p


def through_csv(p: np.ndarray, manifest: Manifest, folder: Path) -> Dense:
    """Write the probabilities as any framework would, and read them with Tapetum."""
    file = folder / "oof.csv"
    pl.DataFrame({"id": manifest.row_ids, **{f"p_{s}": p[:, i] for i, s in enumerate(STAGES)}}).sample(
        fraction=1, shuffle=True, seed=0
    ).write_csv(file)
    return external.read_csv(file, manifest, "stage").dense("stage", row_ids=manifest.row_ids)


def transitions_without(hypnograms: Path, subjects: set[str], longest: int = 0) -> dict[str, Any]:
    """Count transitions in whole nights of other subjects, trimmed to half an hour around sleep."""
    kept = []
    with np.load(hypnograms, allow_pickle=False) as stages:
        for name in stages.files:
            if name[3:5] not in subjects:
                stage = stages[name].astype(np.int64)
                asleep = np.flatnonzero(stage > 0)
                kept.append(stage[max(0, asleep[0] - HALF_HOUR) : asleep[-1] + HALF_HOUR + 1][None])
    return hmm.estimate(kept, len(STAGES), longest=longest).to_dict()


def measured(a: Dense, b: Dense, groups: np.ndarray) -> dict[str, Any]:
    """Return macro-F1 and accuracy of ``a``, their gains over ``b`` in points with intervals by subject, and each subject's gain."""
    out: dict[str, Any] = {}
    for name in ("macro_f1", "accuracy"):
        found = intervals.difference(name, TARGET, (a.p, b.p), a.y, groups, answers=(a.answer, b.answer))
        value = metrics.score(name, TARGET, a.p, a.y, answer=a.answer)
        out[name] = {"value": 100 * value, "gain": 100 * found.value, "low": 100 * found.low, "high": 100 * found.high}
    out["by_subject"] = {}
    for group in sorted(set(groups.tolist())):
        part_a, part_b = a.where(groups == group), b.where(groups == group)
        own = [metrics.score("macro_f1", TARGET, d.p, d.y, answer=d.answer) for d in (part_a, part_b)]
        out["by_subject"][group] = 100 * (own[0] - own[1])
    return out


def steps(table: dict[str, Any], with_ages: dict[str, Any]) -> dict[str, Any]:
    """Return what is compared; the first six learn little or nothing."""
    return {
        "mode of 3": Smooth("mode", 3),
        "mode of 5": Smooth("mode", 5),
        "class bias": ClassBias(),
        "hand rules": Rules("sleep-dragon"),
        "default, nothing fitted": Context("forward-backward", tune=False, transitions=table),
        "same with durations": Context("forward-backward", tune=False, transitions=with_ages),
        "forward-backward": Context("forward-backward"),
        "viterbi": Context("viterbi"),
        "stack + bias": Context("stack"),
        "log-mean + bias": Context("log-mean"),
        "auto": Context(),
    }


def claims(found: dict[str, dict[str, Any]]) -> list[tuple[str, float, float, bool]]:
    """Return (claim, figure, bound, holds)."""
    out = []

    def claim(text: str, figure: float, bound: float, above: bool = True) -> None:
        out.append((text, figure, bound, figure > bound if not above else figure >= bound))

    first = found[BASES[0]]
    auto, plain = first["auto"]["macro_f1"], first["default, nothing fitted"]["macro_f1"]
    best = max(first[name]["macro_f1"]["gain"] for name in ("mode of 3", "mode of 5", "class bias"))
    claim("logistic, one epoch: gain", auto["gain"], 4.0)
    claim("logistic, one epoch: lower bound", auto["low"], 2.0)
    claim("logistic, one epoch: above the best of mode and bias", auto["gain"] - best, 2.0)
    claim("logistic, one epoch: accuracy gained", first["auto"]["accuracy"]["gain"], 0.0)
    claim("logistic, one epoch: default, nothing fitted", plain["gain"], 3.0)
    for base in BASES[2:]:
        claim(f"{base}: gain", found[base]["auto"]["macro_f1"]["gain"], 0.0)
        claim(f"{base}: lower bound", found[base]["auto"]["macro_f1"]["low"], -0.5, above=False)
    return out


def main() -> int:
    """Measure, print and record; the exit code is 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=recorded.DATA, help="folder with sleep-features and hypnograms")
    parser.add_argument("--dry", action="store_true", help="print only; leave docs alone")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    manifest, features = nights(args.data / "sleep-features")
    rows = Rows.of(manifest)
    subjects = set(manifest.groups.tolist())
    hypnograms = args.data / "hypnograms" / "stages.npz"
    compared = steps(transitions_without(hypnograms, subjects), transitions_without(hypnograms, subjects, longest=40))
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for base in BASES:
            start = time.perf_counter()
            dense = through_csv(out_of_fold(base, manifest, features), manifest, Path(folder))
            found[base] = {"alone": {**measured(dense, dense, rows.groups), "seconds": time.perf_counter() - start}}
            print(f"{base}: {found[base]['alone']['macro_f1']['value']:.2f} ({found[base]['alone']['seconds']:.0f} s)", flush=True)
            for name, step in compared.items():
                start = time.perf_counter()
                fitted = crossfit(step, dense, rows)
                found[base][name] = {**measured(fitted.nested, dense, rows.groups), "seconds": time.perf_counter() - start}
                found[base][name]["chosen"] = [values.get("method") for values in fitted.by_fold.values()]
                f1 = found[base][name]["macro_f1"]
                print(
                    f"  {name:26s} {f1['gain']:+.2f} [{f1['low']:+.2f}, {f1['high']:+.2f}]  {found[base][name]['seconds']:.1f} s",
                    flush=True,
                )
    checked = claims(found)
    for text, figure, bound, holds in checked:
        print(f"{'ok  ' if holds else 'FAIL'} {text}: {figure:+.2f} (bound {bound:+.1f})")
    if not args.dry:
        values = {"found": found, "claims": [dict(zip(("claim", "figure", "bound", "holds"), c, strict=True)) for c in checked]}
        title = "Context: what neighbouring images are worth"
        recorded.record("context", title, page(found, checked, manifest), values, "numpy", "scipy", "scikit-learn", "polars")
    return 0 if all(holds for *_, holds in checked) else 1


def page(found: dict[str, dict[str, Any]], checked: list[tuple[str, float, float, bool]], manifest: Manifest) -> str:
    """Return the section's text."""

    def cell(value: dict[str, Any]) -> str:
        return f"{value['gain']:+.1f} [{value['low']:+.1f}, {value['high']:+.1f}]"

    names = [name for name in found[BASES[0]] if name != "alone"]
    gains = [["macro-F1 alone", *(f"{found[b]['alone']['macro_f1']['value']:.1f}" for b in BASES)]]
    gains += [[name, *(cell(found[b][name]["macro_f1"]) for b in BASES)] for name in names]
    gains += [["accuracy, auto", *(cell(found[b]["auto"]["accuracy"]) for b in BASES)]]
    shown = ("default, nothing fitted", "auto", "mode of 3", "hand rules")
    first = found[BASES[0]]
    subjects = [[s, *(f"{first[name]['by_subject'][s]:+.1f}" for name in shown)] for s in first["auto"]["by_subject"]]
    held = [[text, f"{figure:+.2f}", f"{bound:+.1f}", "yes" if holds else "**no**"] for text, figure, bound, holds in checked]
    many = len(set(manifest.groups.tolist()))
    return "\n\n".join(
        (
            f"{len(manifest):,} epochs of {manifest.frame['sequence'].n_unique()} nights, {many} subjects (Sleep-EDF features), 5 folds "
            "by subject; predictions of scikit-learn models read from CSV. Gains in points of macro-F1 over the model alone, each fold "
            "decided with values from the other folds, 95 % intervals clustered by subject. `default, nothing fitted` has its "
            "transitions from other subjects' nights.",
            recorded.table(["step", *BASES], gains),
            f"Gain by subject, {BASES[0]}:",
            recorded.table(["subject", *shown], subjects),
            recorded.table(["claim", "measured", "bound", "holds"], held),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
