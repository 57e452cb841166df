"""CPU seconds from JPEG files to a table of answers, and to vectors on disk: each engine against timm's own loop and eager torch.

Each way is a process of its own with its own allocator; they take turns on the same photos (``bench/turns.py``).
Run: ``python bench/engines.py [--images N] [--pairs P] [--files N]``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import photos
import recorded
import turns
from tapetum import api
from tapetum.core import processors

SIZE, STARTS = 224, 9
SCRIPTS = recorded.ROOT / "bench" / "peer_runs"
TIMM, PLAIN = "timm's inference.py, 32 bits", "eager torch in 32 bits, a plain script"
EAGER = "torch-32"
ENGINES = ("torch-32", "onnx-32", "openvino-32", "torch-bf16", "openvino-bf16")
TITLES = {"torch-32": "torch, 32 bits, eager", "torch-bf16": "torch, bf16"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256, help="photos answered in a turn; timm's batch has 256")
    parser.add_argument("--files", type=int, default=2000, help="files of the features, a part in each turn")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--starts", type=int, default=STARTS)
    parser.add_argument("--engines", nargs="+", default=list(engines()), choices=ENGINES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        mixed = photos.mixed()
        weights = home / "lite0.pth"
        subprocess.run([sys.executable, SCRIPTS / "weights.py", weights], check=True)
        values = predicting(home, mixed, weights, asked) | features(home, mixed, weights, asked)
        values["starts"] = [start_of(home / "export-onnx", Path(mixed[0]["path"])) for _ in range(asked.starts)]
    write(values | {"images": asked.images, "files": asked.files, "photos": 2 * len(mixed)})


def engines() -> tuple[str, ...]:
    """Return the engines of this machine."""
    return ENGINES if processors.has_bf16() else tuple(name for name in ENGINES if not name.endswith("bf16"))


def predicting(home: Path, mixed: list[photos.Row], weights: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Fit on every second photo, and let each way answer; return what each spent, and how far the engines agree on all photos."""
    seen = photos.derived(mixed, 2 * len(mixed), home / "seen")  # as they are, and mirrored
    table, run = photos.write(seen, home / "photos.csv"), home / "run"
    photos.write(mixed[::2], home / "learn.csv")
    how: dict[str, Any] = {"probe__size": SIZE, "split__folds": 2, "probe__views": ["plain"], "train__precision": "32"}
    api.fit(home / "learn.csv", run, target="label", path="path", preset="fast", log=recorded.log, **how)
    common = ["--size", str(SIZE), "--images", str(asked.images)]
    ways = {TIMM: [str(SCRIPTS / "timm_inference.py"), str(table), str(home / "timm.csv"), "--weights", str(weights), *common]}
    for name in asked.engines:
        ways[name] = [*ours(table, home / f"{name}.parquet", name), "--model", str(run), *common]
    for to in ("onnx", "openvino"):
        api.export(run, to, home / f"export-{to}", log=recorded.log)
        name = f"export to {to}"
        ways[name] = [*ours(table, home / f"export-{to}.parquet", "export"), "--model", str(home / f"export-{to}"), *common]
    with turns.workers(ways, home) as workers:
        spent = turns.by_turns(workers, asked.pairs)
        for name in ways:
            if name != TIMM:
                workers[name].turn("all")
        peaks = {name: worker.peak_gb() for name, worker in workers.items()}
    p = {name: np.array(pl.read_parquet(words[2])["p"].to_list()) for name, words in ways.items() if name != TIMM}
    agree = {name: agreement(q, p[EAGER], [row["set"] for row in seen]) for name, q in p.items() if EAGER in p}
    return {"predict": spent, "agreement": agree, "peak_gb": peaks}


def agreement(q: np.ndarray, p: np.ndarray, sets: list[str]) -> dict[str, Any]:
    """Return the photos of each set whose label is that of eager torch, of how many, and the largest difference of a probability."""
    same, of = q.argmax(1) == p.argmax(1), np.array(sets)
    counts = {name: [int(same[of == name].sum()), int((of == name).sum())] for name in sorted(set(sets))}
    return {"labels": counts, "difference": float(np.abs(q - p).max())}


def ours(table: Path, out: Path, engine: str) -> list[str]:
    return [str(SCRIPTS / "tapetum_answers.py"), str(table), str(out), "--engine", engine]


def features(home: Path, mixed: list[photos.Row], weights: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Return what each way spends from many files to vectors on disk, each turn on the next part of the files."""
    table = photos.write(photos.derived(mixed, asked.files, home / "files"), home / "files.csv")
    common = ["--size", str(SIZE), "--images", str(-(-asked.files // (asked.pairs + 1))), "--features"]
    ways = {PLAIN: [str(SCRIPTS / "timm_inference.py"), str(table), str(home / "plain.npy"), "--weights", str(weights), *common]}
    for name in asked.engines:
        if name not in ("openvino-32", "torch-bf16"):
            ways[name] = [*ours(table, home / f"features-{name}", name), *common]
    with turns.workers(ways, home) as workers:
        return {"features": turns.by_turns(workers, asked.pairs)}


def start_of(export: Path, photo: Path) -> dict[str, float]:
    """Return the seconds of ``tapetum predict EXPORT one.jpg`` in a fresh process, by the clock and of CPU."""
    began = time.perf_counter()
    words = [sys.executable, "-m", "tapetum", "predict", str(export), str(photo)]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    child = os.posix_spawn(sys.executable, words, {**os.environ, **turns.ONE_THREAD}, file_actions=quiet)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"predict ended with {os.waitstatus_to_exitcode(status)}")
    return {"wall": time.perf_counter() - began, "cpu": used.ru_utime + used.ru_stime}


def lines_of(spent: dict[str, Any], base: str, images: int, values: dict[str, Any], title: str) -> list[list[str]]:
    """Return the rows of a table, and add the ratios to the values."""
    lines = []
    for name, some in spent.items():
        ratio = values["ratios"][f"{title}, {name}"] = turns.times_as_fast(spent[base], some)
        same = values["agreement"].get(name, {}) if title == "predict" else {}
        labels = ", ".join(f"{right}/{of}" for right, of in same["labels"].values()) + f", {same['difference']:.0e}" if same else ""
        named = TITLES.get(name, name.replace("-32", ", 32 bits").replace("-bf16", ", bf16"))
        ms = statistics.median(turns.milliseconds(some, images))
        lines.append(
            [named if name == base else f"{title}, {named}", f"{ms:.1f}", f"{turns.kernel_share(some):.0%}", f"{ratio:.2f}", labels]
        )
    return lines


def verdict_on(title: str, goal: int, values: dict[str, Any]) -> str:
    """Say how far the fastest engine of the pipeline reaches a goal, and how many labels are those of torch in 32 bits."""
    name = max((name for name in ENGINES if f"{title}, {name}" in values["ratios"]), key=lambda name: values["ratios"][f"{title}, {name}"])
    ratio = values["ratios"][f"{title}, {name}"]
    shown = f"`{title}` {ratio:.1f} times as fast, goal {goal}, {'reached' if ratio >= goal else 'not reached'}"
    counts = values["agreement"].get(name, {}).get("labels", {}).values()
    right, of = (sum(each) for each in zip(*counts, strict=True)) if counts else (0, 0)
    return f"{shown}, with {right / of:.2%} of the labels" if title == "predict" and of else shown


def write(values: dict[str, Any]) -> None:
    """Write the section of docs/benchmarks.md."""
    values["ratios"] = {}
    part = -(-values["files"] // (len(values["features"][PLAIN]) + 1))
    lines = lines_of(values["predict"], TIMM, values["images"], values, "predict")
    lines += lines_of(values["features"], PLAIN, part, values, "features")
    wanted = {"predict": 8 if processors.has_bf16() else 5, "features": 5}
    verdict = "; ".join(verdict_on(title, goal, values) for title, goal in wanted.items())
    wall, cpu = (statistics.median(one[key] for one in values["starts"]) for key in ("wall", "cpu"))
    text = (
        f"EfficientNet-Lite0 at {SIZE} pixels, one thread, {len(values['predict'][TIMM])} turns, each way in a process of its own with the "
        "allocator's settings that its users have; imports and conversion are not counted, loading processes are. `predict`: "
        f"{values['images']} JPEG photos of dogs (about 400 × 300) and faces (224 × 224) in a turn, to a Parquet table, against the calls "
        f"of timm's `inference.py` with its defaults (batches of 256, two loading processes). `features`: {values['files']:,} different "
        "JPEG files, the next part in each turn, to vectors on disk, against a plain script with timm's transform. The ratio is the lower "
        f"quartile over the turns. Agreement with torch in 32 bits: labels of {values['photos']} photos, dogs / faces (25 breeds and two "
        "genders are one target; three quarters were not learned from), and the largest difference of a probability.\n\n"
        + recorded.table(["way", "CPU ms an image", "in the kernel", "times as fast", "agreement"], lines)
        + f"\n\nThe goals: {verdict}.\n\n`tapetum predict EXPORT one.jpg`, start and all, median of {len(values['starts'])} fresh "
        f"processes: {cpu:.2f} CPU seconds, {wall:.2f} by the clock (goal 1.5)."
    )
    recorded.record("engines", "Engines", text, values, "torch", "timm", "onnxruntime", "openvino", "pillow")


if __name__ == "__main__":
    main()
