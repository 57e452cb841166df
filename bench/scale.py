"""Time and memory at the size of the whole sleep challenge: 800 exams of 731 epochs, and at an eighth, a quarter and a half of that.

Each stage of work runs in a process of its own, so that its memory is its own. Images are tiny and repeat (hard links); stages, cues and
probabilities are the simulator's. Run: ``python bench/scale.py [--shares 0.125 0.25 0.5 1] [--home DIR]``.
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
from PIL import Image

import recorded
from tapetum.core import draws, files

EXAMS, EPOCHS, VECTOR, FOLDS, SIDE = 800, 731, 128, 5, 8
SHARES = (0.125, 0.25, 0.5, 1.0)
BOUND = 1.25  # of the exponent of time against rows: 1 is linear, 2 quadratic


def make(home: Path, exams: int) -> None:
    """Write exams in the challenge's layout, and the probabilities that a scorer's model might give."""
    from tapetum.systems.sleep_images import ceiling, cues, hypnograms
    from tapetum.systems.sleep_images.layout import TRAIN

    nights = hypnograms.nights(EPOCHS)
    prior = np.array(hypnograms.fitted()["shares"])
    lines, p = [], []
    for number in range(exams):
        rng = draws.generator("scale", number)
        name = f"A2019-NX-01-{number:04d}"
        folder = files.make_folder(home / "data" / name)
        first = folder / f"{name}_0001.png"
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(first)
        for epoch in range(1, EPOCHS):
            os.link(first, folder / f"{name}_{epoch + 1:04d}.png")
        stages = nights.draw(rng)
        labels = cues.draw_scores(stages, rng)
        lines += [f"{name},{name}_{t + 1:04d}.png,{hypnograms.STAGES[k]}\n" for t, k in enumerate(labels)]
        p.append(ceiling.labels_given_epochs(cues.draw_cues(stages, rng), prior))
    files.write_text(home / "data" / TRAIN, "".join(lines))
    files.write_array(home / "p.npy", np.concatenate(p).astype(np.float32))


def read_layout(home: Path) -> None:
    """Read the layout into a manifest, each file looked for; write it."""
    from tapetum.core.config import Data
    from tapetum.data import layouts

    layouts.read(home / "data", Data(), lambda _: None).write(home / "read.parquet")


def check_images(home: Path) -> None:
    """Read, hash and decode every image; write the table of the files and the manifest with the hashes."""
    from tapetum.core.config import Input
    from tapetum.core.tables import Manifest
    from tapetum.data import audit
    from tapetum.data.images.decode import Composition

    manifest = Manifest.read(home / "read.parquet")
    checked = audit.check_files(manifest, Composition.from_input(Input(size=SIDE)), lambda _: None)
    files.write_parquet(home / "audit.parquet", checked)
    manifest.with_column("sha256", checked["sha256"]).write(home / "read.parquet")


def image_vectors(home: Path) -> None:
    """Send every image through a tiny network, and keep the vectors in a run's store."""
    import torch
    from torch import nn

    from tapetum.core.config import Input
    from tapetum.core.tables import Manifest
    from tapetum.data.images.dataset import ImageDataset
    from tapetum.data.images.form import Form
    from tapetum.data.images.transforms import EvalTransform
    from tapetum.learn import features

    class Network(nn.Module):
        """The mean of each row of pixels."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.full((1,), 1 / 255))

        def features(self, x: torch.Tensor) -> torch.Tensor:
            """Return (B, H)."""
            return x.float().mean(dim=(1, 3)) * self.scale

    manifest, settings = Manifest.read(home / "manifest.parquet"), Input(size=SIDE)
    form = Form.of(files.read_parquet(home / "audit.parquet")[0])
    images = ImageDataset(manifest, settings, EvalTransform(settings), form=form)
    found = features.extract(Network(), images, store=home / "features", batch=64)
    if (found.status != "ok").any():
        raise SystemExit("an image was not read")


def split_by_exam(home: Path) -> None:
    """Draw folds by exam; write the manifest with them."""
    from tapetum.core.config import Split
    from tapetum.core.tables import Manifest
    from tapetum.data import split

    manifest = Manifest.read(home / "read.parquet")
    split.assign_folds(manifest, Split(folds=FOLDS), 0, lambda _: None).write(home / "manifest.parquet")


def write_predictions(home: Path) -> None:
    """Write the out-of-fold table, a fold's rows at a time as training does, and the whole."""
    from tapetum.core.tables import Dense, Manifest, Predictions

    manifest, p = Manifest.read(home / "manifest.parquet"), np.load(home / "p.npy")
    target, y, fold = manifest.target("stage"), manifest.truth("stage"), manifest.fold
    ids = np.array(manifest.row_ids, dtype=object)
    parts = []
    for k in range(FOLDS):
        own = fold == k
        ok = np.full(int(own.sum()), "ok", dtype=object)
        parts.append(Predictions.from_dense([Dense(target, ids[own], p[own], y[own], fold[own], ok)], role="oof"))
    Predictions.concat(parts).write(home / "oof.parquet")


def read_predictions(home: Path) -> None:
    """Read the out-of-fold table and lay it out in the manifest's order."""
    loaded(home)


def loaded(home: Path) -> Any:
    """Return predictions and rows, aligned."""
    from tapetum.core.tables import Manifest, Predictions
    from tapetum.decide.steps import Rows

    manifest = Manifest.read(home / "manifest.parquet")
    dense = Predictions.read(home / "oof.parquet").dense("stage", row_ids=manifest.row_ids)
    return dense, Rows.of(manifest)


def decode_hmm(home: Path) -> None:
    """Cross-fit forward–backward, its weight and exponent tuned on inner folds."""
    from tapetum.decide.context import Context
    from tapetum.decide.steps import crossfit

    crossfit(Context("forward-backward"), *loaded(home))


def decode_stack(home: Path) -> None:
    """Cross-fit the regression over ±8 neighbours."""
    from tapetum.decide.context import Context
    from tapetum.decide.steps import crossfit

    crossfit(Context("stack", tune=False), *loaded(home))


def lay_windows(home: Path) -> None:
    """Find the neighbours of every row for a sequence model."""
    from tapetum.core.tables import Manifest
    from tapetum.learn.windows import window_rows

    window_rows(Manifest.read(home / "manifest.parquet"), 16, "all")


def store_features(home: Path) -> None:
    """Put vectors, chunk by chunk, into a run's store and take them out again."""
    from tapetum.core.tables import Manifest
    from tapetum.learn import features

    manifest = Manifest.read(home / "manifest.parquet")
    ids = manifest.row_ids
    contents: list[str | None] = [f"{i:064x}" for i in range(len(ids))]
    rng = np.random.default_rng(0)
    starts = range(0, len(ids), features.CHUNK)
    parts = (rng.normal(size=(min(features.CHUNK, len(ids) - s), 1, VECTOR)).astype(np.float32) for s in starts)
    vectors, ok = features.gather(parts, len(ids)), np.full(len(ids), "ok", dtype=object)
    found = features.Features(np.array(ids, dtype=object), vectors, ok, {}, ("plain",), "key")
    features.keep(home / "features" / "key", found, contents, {})
    del vectors, found
    again = features.stored(home / "features" / "key", ids, contents)
    if again is None or len(again.vectors) != len(ids):
        raise SystemExit("the store does not give back what was put in")


STAGES: dict[str, Callable[[Path], None]] = {
    "layout": read_layout,
    "every image checked": check_images,
    "folds": split_by_exam,
    "vectors of images, stored": image_vectors,
    "predictions written": write_predictions,
    "predictions read": read_predictions,
    "windows": lay_windows,
    "forward–backward, cross-fitted": decode_hmm,
    "regression over neighbours, cross-fitted": decode_stack,
    "vectors of 128 numbers, stored and read": store_features,
}


def one(stage: str, home: Path) -> dict[str, float]:
    """Run a stage in a process of its own."""
    told = subprocess.run([sys.executable, __file__, "--stage", stage, "--home", str(home)], capture_output=True, text=True, check=False)
    if told.returncode:
        raise SystemExit(f"{stage}: {told.stderr[-2000:]}")
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def exponent(rows: list[int], seconds: list[float]) -> float:
    """Return the slope of log time over log rows."""
    return float(np.polyfit(np.log(rows), np.log(seconds), 1)[0])


def main() -> int:
    """Measure, print and record; the exit code is 1 where a stage's time grows faster than the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of the 585,000 rows")
    parser.add_argument("--home", type=Path, help="where the exams are written; a new folder for each share is made in it")
    parser.add_argument("--stage", help="run this stage alone, in --home")
    parser.add_argument("--dry", action="store_true", help="print only; leave docs alone")
    args = parser.parse_args()
    if args.stage:
        imported = recorded.peak_gb()
        busy = time.process_time()
        STAGES[args.stage](args.home)
        print(json.dumps({"seconds": time.process_time() - busy, "gb": recorded.peak_gb(), "start_gb": imported}))
        return 0
    found: dict[str, list[dict[str, float]]] = {name: [] for name in STAGES}
    rows = []
    with tempfile.TemporaryDirectory(dir=args.home) as folder:
        for share in args.shares:
            home = files.make_folder(Path(folder) / f"{share}")
            make(home, round(EXAMS * share))
            rows.append(round(EXAMS * share) * EPOCHS)
            for name in STAGES:
                found[name].append(one(name, home))
                print(f"{rows[-1]:,} rows, {name}: {found[name][-1]['seconds']:.1f} s, {found[name][-1]['gb']:.2f} GB", flush=True)
            files.remove(home)
    values: dict[str, Any] = {"rows": rows, "found": found}
    values["exponents"] = {name: exponent(rows, [m["seconds"] for m in measured]) for name, measured in found.items() if len(rows) > 1}
    text = page(rows, found, values["exponents"])
    print(text)
    if not args.dry:
        recorded.record("scale", "Scale: 585,000 rows of 800 exams", text, values, "numpy", "polars", "torch")
    return int(any(value > BOUND for value in values["exponents"].values()))


def page(rows: list[int], found: dict[str, list[dict[str, float]]], exponents: dict[str, float]) -> str:
    """Return the section's text."""
    lines = [
        [
            name,
            *(f"{m['seconds']:.1f} s, {m['gb']:.2f} GB" for m in measured),
            f"{exponents.get(name, float('nan')):.2f}",
            f"{(measured[-1]['gb'] - measured[0]['gb']) * 2**20 / max(rows[-1] - rows[0], 1):.1f}",
        ]
        for name, measured in found.items()
    ]
    return (
        f"The size of the SNUH sleep challenge: {EXAMS} exams of {EPOCHS} epochs, on simulated rows whose images are tiny and repeat. "
        "Seconds of processor and the most memory that each stage's process held, at growing numbers of rows; then the exponent of time "
        f"(1: linear; bound {BOUND}) and the kilobytes that each further row takes: tables and vectors are in memory, images are not "
        "(a cache of 2 GB at most holds those that fit). A process that has only imported numpy and this script holds "
        f"{found['layout'][0]['start_gb']:.2f} GB, one with torch about 0.6 GB. The last line has vectors of {VECTOR} numbers. Load of "
        f"the machine meanwhile: {os.getloadavg()[0]:.1f}.\n\n"
        + recorded.table(["stage", *(f"{n:,} rows" for n in rows), "exponent", "kB a row"], lines)
    )


if __name__ == "__main__":
    sys.exit(main())
