"""CPU seconds of a training step from JPEG files: the loop of ``fit`` against timm's defaults and against random tensors.

Each is a process of its own with its own allocator; they take turns on the same photos (``bench/turns.py``).
With ``--held-to-avx2`` all ways are kept from newer instructions, so that bf16 is not computed by the processor.
Run: ``python bench/training_speed.py [--pairs P] [--held-to-avx2]``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import photos
import recorded
import turns
from tapetum import api
from tapetum.core import files, processors
from tapetum.learn.runtime import Engine

BACKBONE, SIZE, IMAGES = "tf_efficientnet_lite0", 224, 128
SCRIPTS = recorded.ROOT / "bench" / "peer_runs"
HELD = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
OURS, TIMM, TENSORS = "fit", "timm's train.py, defaults", "forward, backward and step on random tensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--batch", type=int, default=32, help="of fit")
    parser.add_argument("--timm-batch", type=int, default=128, help="timm's default takes 11 GB")
    parser.add_argument("--held-to-avx2", action="store_true")
    asked = parser.parse_args()
    if asked.held_to_avx2 and not held():  # torch reads it when it is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **HELD})
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        rows = photos.derived(photos.mixed([("dogs", "breed")]), 3 * IMAGES // 2, home / "photos")
        table = photos.write(rows, home / "photos.csv")
        how: dict[str, Any] = {"model__backbone": BACKBONE, "input__size": SIZE, "train__batch": asked.batch, "split__folds": 3}
        api.trace(table, home / "run", steps=1, log=recorded.log, target="label", path="path", **how)
        spec = next((home / "run" / "trace").rglob("spec.json"))
        train = files.read_json(spec)["train"][:IMAGES]
        files.write_json(spec, files.read_json(spec) | {"train": train})
        weights = home / "lite0.pth"
        subprocess.run([sys.executable, SCRIPTS / "weights.py", weights], check=True)
        epochs = [str(SCRIPTS / "tapetum_epochs.py"), str(spec), str(home / "run" / "manifest.parquet")]
        timms = photos.write(rows[:IMAGES], home / "timm.csv")
        ways = {
            OURS: epochs,
            TIMM: [
                str(SCRIPTS / "timm_epochs.py"),
                str(timms),
                "--weights",
                str(weights),
                "--size",
                str(SIZE),
                "--batch",
                str(asked.timm_batch),
            ],
            TENSORS: [*epochs, "--tensors"],
        }
        with turns.workers(ways, home) as workers:
            spent = turns.by_turns(workers, asked.pairs)
            peaks = {name: worker.peak_gb() for name, worker in workers.items()}
        engine = files.read_json(spec)["engine"]
    write({"spent": spent, "peak_gb": peaks, "engine": engine, "images": IMAGES, "batch": asked.batch, "timm_batch": asked.timm_batch})


def held() -> bool:
    """Tell whether this process and those that it starts are kept from instructions newer than AVX2."""
    return all(os.environ.get(name) == value for name, value in HELD.items())


def write(values: dict[str, Any]) -> None:
    """Write the section of docs/benchmarks.md."""
    spent, images, engine = values["spent"], values["images"], Engine.from_dict(values["engine"]).name
    lower = values["ratios"] = {name: turns.times_as_fast(spent[name], spent[OURS]) for name in (TIMM, TENSORS)}
    lines = [
        [
            name,
            f"{statistics.median(turns.milliseconds(some, images)):.1f}",
            f"{turns.kernel_share(some):.0%}",
            f"{values['peak_gb'][name]:.1f}",
        ]
        for name, some in spent.items()
    ]
    middle = statistics.median(sum(t.values()) / sum(o.values()) for t, o in zip(spent[TENSORS], spent[OURS], strict=True))
    goal = 1.4 if held() or not processors.has_bf16() else 2.3
    verdicts = ["reached" if held else "not reached" for held in (lower[TIMM] >= goal, lower[TENSORS] >= 0.95)]
    less = "" if values["timm_batch"] == 128 else " in place of its 128, which take 11 GB"
    kept = "Torch and oneDNN were held to AVX2 in all ways (`--held-to-avx2`). " if held() else ""
    text = (
        kept
        + f"EfficientNet-Lite0 at {SIZE} pixels, epochs of {images} JPEG photos of dogs (about 400 × 300), one thread, {len(spent[OURS])} "
        f"turns, each way in a process of its own. `fit` trains by {engine} with batches of {values['batch']} and the recipe's own "
        "augmentation; decoded images stay in its memory after the first epoch, which is not counted. timm's `train.py` is not in its "
        "package: its calls with its defaults: four loading processes, 32 bits, glibc's own settings, and batches of "
        f"{values['timm_batch']}{less}.\n\n"
        + recorded.table(["way", "CPU ms an image", "in the kernel", "peak GB"], lines)
        + f"\n\n`fit` trains {lower[TIMM]:.2f} times as fast as timm's defaults (goal {goal}, {verdicts[0]}), and at {lower[TENSORS]:.2f} "
        f"of the rate on random tensors (goal 0.95, {verdicts[1]}; the median is {middle:.2f}); lower quartiles over the turns."
    )
    packages = ("torch", "timm", "pillow")
    if held():
        recorded.record("training_speed_avx2", "Training without bf16", text, values, *packages, again="training_speed.py --held-to-avx2")
    else:
        recorded.record("training_speed", "Training", text, values, *packages)


if __name__ == "__main__":
    main()
