"""Real EEG as images: wakefulness against deep sleep by subject, against band power; and five stages of one night, as a figure.

Run: ``python bench/eeg_images.py [--ways trace spectrum] [--dry]``; needs the nights beside the repository. An epoch of 30 seconds becomes
an image of one band, its trace drawn as the sleep challenge draws EEG (``spectrum``: power by frequency and time). The general pipeline
learns from a folder and a table, folds by subject. The baseline is a logistic regression on the power of bands 2 Hz wide, on the same
folds. Runs stay in ``.bench/eeg-images``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from sklearn.linear_model import LogisticRegression

import recorded
from tapetum import api
from tapetum.core import files, intervals, metrics
from tapetum.core.runs import Run
from tapetum.core.tables import Dense, Predictions
from tapetum.systems.sleep_images import drawing

HOME = recorded.ROOT / ".bench" / "eeg-images"
FIGURE = recorded.ROOT / "docs" / "eeg-night.svg"
STAGES = ("W", "N1", "N2", "N3", "REM")
RATE, HEIGHT, FULL_SCALE = 128, 64, 1.5
NIGHT, BLOCK = "ucddb018", 10  # the one night with all stages; its folds are of blocks of so many epochs
WORDS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "kappa": "kappa"}
WITHIN = 0.02  # of the baseline's accuracy
COMMON = {
    "train.epochs": 0, "augment": [], "probe.views": ["plain"], "model.pooling": "levels", "split.folds": 5, "train.threads": 1,
    "data.path": "file", "data.group": "group",
}  # fmt: skip


def traced(x: np.ndarray) -> np.ndarray:
    """Return an epoch's trace (64, 480) uint8, every subject at the same scale."""
    group = drawing.Group("EEG", (0, HEIGHT), ("EEG",), -FULL_SCALE, FULL_SCALE)
    return drawing.draw({"EEG": x}, {"EEG": RATE}, (group,))[:HEIGHT]


def spectrum(x: np.ndarray) -> np.ndarray:
    """Return an epoch's power (80, 240) uint8, 0.5 Hz a row up to 40 Hz at the top, windows of 2 seconds, in decibels."""
    windows = sliding_window_view(x - x.mean(), 2 * RATE)[:: RATE // 4] * np.hanning(2 * RATE)
    power = np.abs(np.fft.rfft(windows, axis=1))[:, 1:81] ** 2
    level = np.clip((10 * np.log10(power + 1e-9) + 20) / 60, 0, 1).T[::-1]
    return np.asarray(Image.fromarray((255 * level).astype(np.uint8)).resize((240, 80), Image.Resampling.BILINEAR))


WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"trace": traced, "spectrum": spectrum}
SIZES = {"trace": (HEIGHT, 480), "spectrum": (80, 240)}


def band_power(x: np.ndarray) -> np.ndarray:
    """Return the logarithm of the power in bands 2 Hz wide up to 40 Hz (N, 20), from windows of 4 seconds."""
    windows = sliding_window_view(x, 4 * RATE, axis=1)[:, :: 2 * RATE]
    windows = (windows - windows.mean(axis=2, keepdims=True)) * np.hanning(4 * RATE)
    power = (np.abs(np.fft.rfft(windows, axis=2)) ** 2).mean(axis=1)
    hertz = np.fft.rfftfreq(4 * RATE, 1 / RATE)
    return np.stack([np.log(power[:, (hertz >= low) & (hertz < low + 2)].sum(axis=1) + 1e-9) for low in range(0, 40, 2)], axis=1)


def nights(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return subject → signal (n, 3840), stage (n,) and place in the night (n,), without epochs whose signal is a constant."""
    found = {}
    for file in sorted(folder.glob("*.npz")):
        with np.load(file, allow_pickle=False) as night:
            lives = night["x"].max(axis=1) > night["x"].min(axis=1)  # a flat line is the same image in every subject
            x = night["x"][lives] * float(night["scale"])
            found[file.stem] = (x, night["stage"][lives].astype(int), night["epoch_index"][lives].astype(int))
    return found


def write(known: dict[str, Any], way: str, place: Path) -> None:
    """Write images and two tables: ``two.csv`` (W and N3 of all subjects) and ``five.csv`` (the one night, groups are blocks)."""
    with files.whole_folder(place) as aside:
        two, five = ["file,stage,group"], ["file,stage,group"]
        for name, (x, stage, at) in known.items():
            for signal, k, t in zip(x, stage, at, strict=True):
                if k not in (0, 3) and name != NIGHT:
                    continue
                file = f"{name}/{t:04d}.png"
                files.make_folder(aside / name)
                Image.fromarray(WAYS[way](signal.astype(np.float32))).save(aside / file)
                if k in (0, 3):
                    two.append(f"{file},{STAGES[k]},{name}")
                if name == NIGHT:
                    five.append(f"{file},{STAGES[k]},block {t // BLOCK:02d}")
        files.write_text(aside / "two.csv", "\n".join(two) + "\n")
        files.write_text(aside / "five.csv", "\n".join(five) + "\n")


def fit(way: str, table: str, classes: tuple[str, ...]) -> Run:
    """Return a run of the linear probe on kept vectors, at the images' own size."""
    size, data, out = SIZES[way], HOME / way / f"{table}.csv", HOME / f"{way}-{table}"
    target = {"name": "stage", "classes": list(classes)}
    recipe = api.load_recipe(flags={**COMMON, "data.targets": [target], "input.size": list(size)})
    return Run(Path(api.fit(data, out, recipe=recipe, log=recorded.log, command="python bench/eeg_images.py")["run"]))


def heldout(run: Run) -> tuple[Dense, np.ndarray, np.ndarray]:
    """Return the out-of-fold answers, and each row's group and fold."""
    manifest = run.manifest()
    return Predictions.read(run.file("oof.parquet")).dense("stage", row_ids=manifest.row_ids), manifest.groups, manifest.fold


def baseline(known: dict[str, Any], ids: list[str], y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return held-out probabilities (N, 2) of band power and logistic regression, on given rows and folds."""
    power = {f"{name}/{t:04d}.png": row for name, (x, _, at) in known.items() for t, row in zip(at, band_power(x), strict=True)}
    x = np.stack([power[row_id] for row_id in ids])
    p = np.zeros((len(ids), 2))
    for k in np.unique(fold):
        mean, spread = x[fold != k].mean(axis=0), x[fold != k].std(axis=0)
        model = LogisticRegression(max_iter=1000).fit((x[fold != k] - mean) / spread, y[fold != k].argmax(axis=1))
        p[fold == k] = model.predict_proba((x[fold == k] - mean) / spread)
    return p


def by_subject(known: dict[str, Any], ways: list[str]) -> dict[str, Any]:
    """Return accuracy of W against N3 of each rendering and of the baseline, and the paired differences, clustered by subject."""
    found: dict[str, Any] = {}
    for way in ways:
        data = HOME / way
        if not data.exists():
            write(known, way, data)
        dense, groups, fold = heldout(fit(way, "two", ("W", "N3")))
        p = baseline(known, dense.row_ids.tolist(), dense.y, fold)
        if "band power" not in found:
            found["band power"] = figures(dense.target, p, dense.y, groups)
        found[way] = figures(dense.target, dense.p, dense.y, groups)
        found[way]["difference"] = intervals.difference("accuracy", dense.target, (dense.p, p), dense.y, groups).to_dict()
    return found


def figures(target: Any, p: np.ndarray, y: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Return accuracy with its interval, balanced accuracy and area under ROC."""
    out = {"accuracy": intervals.interval("accuracy", target, p, y, groups).to_dict(), "n": len(y)}
    return out | {name: metrics.score(name, target, p, y) for name in ("balanced_accuracy", "roc_auc")}


def one_night(way: str, draw: bool) -> dict[str, Any]:
    """Draw the night's stages and the predicted ones; return the figures, clustered by block."""
    dense, groups, _ = heldout(fit(way, "five", STAGES))
    order = np.argsort(dense.row_ids)
    true, said = dense.y.argmax(axis=1)[order], dense.p.argmax(axis=1)[order]
    if draw:
        files.write_text(FIGURE, hypnogram(true, said, dense.p[order]))
    out = {m: intervals.interval(m, dense.target, dense.p, dense.y, groups).to_dict() for m in ("accuracy", "macro_f1", "kappa")}
    table = np.zeros((5, 5), dtype=int)
    np.add.at(table, (true, said), 1)
    return {**out, "n": len(true), "blocks": len(set(groups.tolist())), "confusion": table.tolist(), "way": way}


def hypnogram(true: np.ndarray, said: np.ndarray, p: np.ndarray) -> str:
    """Return an SVG: stages as scored, stages as predicted out of fold, and the probabilities, over the hours of the night."""
    order, colours = (0, 4, 1, 2, 3), ("#d9a441", "#8fb8de", "#4f81bd", "#1f3f77", "#b5485d")  # from top to bottom; by stage
    left, width, high = 60, 820, 100
    x = left + width * np.arange(len(true) + 1) / len(true)
    parts = []
    for panel, (name, codes) in enumerate((("as scored", true), ("predicted", said))):
        top = 24 + panel * (high + 40)
        level = {k: top + high * (i + 0.5) / 5 for i, k in enumerate(order)}
        parts.append(f'<text x="{left}" y="{top - 8}" font-weight="bold">{name}</text>')
        parts += [f'<text x="{left - 8}" y="{level[k] + 4:.1f}" text-anchor="end">{STAGES[k]}</text>' for k in order]
        steps = " ".join(f"{x[i]:.1f},{level[k]:.1f} {x[i + 1]:.1f},{level[k]:.1f}" for i, k in enumerate(codes.tolist()))
        parts.append(f'<polyline points="{steps}" fill="none" stroke="#333" stroke-width="1"/>')
        wrong = np.flatnonzero(codes != true).tolist()
        parts += [f'<rect x="{x[i]:.1f}" y="{top + high + 2}" width="{x[1] - x[0]:.1f}" height="4" fill="#c00"/>' for i in wrong]
    top, below = 24 + 2 * (high + 40), np.zeros(len(true))
    parts.append(f'<text x="{left}" y="{top - 8}" font-weight="bold">probabilities</text>')
    for i, k in enumerate(order):
        upper, middle = below + p[:, k], (x[:-1] + x[1:]) / 2
        outline = [*zip(middle, below, strict=True), *zip(middle[::-1], upper[::-1], strict=True)]
        points = " ".join(f"{a:.1f},{top + high * b:.1f}" for a, b in outline)
        parts.append(f'<polygon points="{points}" fill="{colours[k]}"/>')
        parts.append(
            f'<text x="{left - 8}" y="{top + high * (i + 0.5) / 5 + 4:.1f}" text-anchor="end" fill="{colours[k]}">{STAGES[k]}</text>'
        )
        below = upper
    for hour in range(int(len(true) / 120) + 1):
        parts.append(f'<text x="{left + width * hour * 120 / len(true):.1f}" y="{top + high + 18}" text-anchor="middle">{hour} h</text>')
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 450" font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="900" height="450" fill="white"/>', *parts, "</svg>", ""])


def page(two: dict[str, Any], night: dict[str, Any], subjects: int) -> str:
    """Return the section of the page."""
    rows = []
    for name, one in two.items():
        more = [f"{one[metric]:.3f}" for metric in ("balanced_accuracy", "roc_auc")]
        rows.append([name, recorded.span(one["accuracy"]), *more, recorded.difference(one["difference"]) if "difference" in one else ""])
    confused = [[STAGES[i], *map(str, row)] for i, row in enumerate(night["confusion"])]
    drawn = {
        "trace": f"*trace*: the signal drawn as the sleep challenge draws EEG, one band of {HEIGHT} × 480 pixels, white on black, one "
        "scale for all subjects. ",
        "spectrum": "*spectrum*: power up to 40 Hz by time, 80 × 240 pixels. ",
    }
    said = ", ".join(f"{WORDS[name]} {recorded.span(night[name])}" for name in WORDS)
    return "\n\n".join(
        (
            f"{two['band power']['n']:,} epochs of 30 seconds of {subjects} subjects (St Vincent's / UCD, one EEG channel), wakefulness or "
            "N3, without flat lines; 5 folds by subject, 95 % intervals clustered by subject. "
            f"{''.join(drawn[way] for way in two if way in drawn)}The images go through the general pipeline: a folder, a table, vectors "
            "of EfficientNet-Lite0 with ImageNet weights, a linear probe; no network was trained. *band power*: logistic regression on the "
            "logarithm of power in 20 bands, same rows, same folds. Bound: "
            f"within {WITHIN:.2f} of its accuracy.",
            recorded.table(["", "accuracy", "balanced accuracy", "area under ROC", "accuracy less that of band power"], rows),
            f"`{NIGHT}`, the one night with all stages: {night['n']} epochs, each an image of its {night['way']}. The probe that answers "
            f"for an epoch was fitted on other parts of **the same night** (5 folds of {night['blocks']} blocks of 5 minutes): this is no "
            "figure for another sleeper, and epochs at a block's border have neighbours in training. Neighbours and context decide nothing "
            f"here. Out of fold, clustered by block: {said}.",
            "![stages of a night as scored and as predicted](eeg-night.svg)",
            recorded.table(["scored ╲ predicted", *STAGES], confused),
        )
    )


def main() -> int:
    """Measure, print and record; the exit code is 1 where no rendering comes within the bound of band power."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=["trace"])
    parser.add_argument("--dry", action="store_true", help="print only; leave docs alone")
    args = parser.parse_args()
    known = nights(recorded.DATA / "eeg-nights")
    two = by_subject(known, args.ways)
    night = one_night(max(args.ways, key=lambda way: two[way]["accuracy"]["value"]), not args.dry)
    text = page(two, night, len(known))
    print(text)
    if not args.dry:
        packages = ("torch", "timm", "numpy", "scikit-learn", "pillow")
        recorded.record("eeg_images", "Real EEG as images", text, {"two": two, "night": night}, *packages)
    return int(max(two[way]["difference"]["value"] for way in args.ways) < -WITHIN)


if __name__ == "__main__":
    sys.exit(main())
