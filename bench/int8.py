"""What 8 bits lose: EfficientNet-Lite0 with ImageNet weights, heads on dogs, each way on the same out-of-fold rows.

Run: ``python bench/int8.py [--pairs P]``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import recorded
from tapetum import api
from tapetum.core import files
from tapetum.core.errors import DataError
from tapetum.core.metrics import score
from tapetum.core.runs import Run
from tapetum.pipeline import quantised
from tapetum.pipeline.exported import MARKER, Exported, write_spec

SIZE = 224
FIRST, DEPTHWISE = quantised.KEPT


def ways() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return name → what stays in 32 bits, and further arguments."""
    from onnxruntime.quantization import CalibrationMethod

    percentile = {"calibrate_method": CalibrationMethod.Percentile, "extra_options": {"CalibPercentile": 99.99}}
    return {
        "every layer, one scale a tensor": ("", {"per_channel": False}),
        "every layer, a scale a channel": ("", {}),
        "the same, ranges by 99.99th percentile": ("", percentile),
        "the same, ranges by entropy": ("", {"calibrate_method": CalibrationMethod.Entropy}),
        "the first layer in 32 bits": (FIRST, {}),
        "the first layer in 32 bits, one scale a tensor": (FIRST, {"per_channel": False}),
        "first layer and depthwise convolutions in 32 bits": (DEPTHWISE, {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home, run = Path(place), Path(place) / "run"
        how = {"probe__size": SIZE, "split__folds": 5, "probe__views": ["plain"]}
        api.fit(recorded.DATA / "dogs" / "images", run, preset="fast", log=recorded.log, **how)
        api.export(run, "onnx", home / "float", log=recorded.log)
        held = Run(run).manifest()
        held = held.where(np.flatnonzero(held.fold >= 0))
        quantised.SAMPLE = 96  # whole batches, which histograms of activations need
        opened = {"32 bits": Exported.load(home / "float")}
        whole = opened["32 bits"]
        (member,) = whole.members
        (name,) = member.spec["files"]
        images = list(quantised.inputs(whole, member, held))
        for number, (way, (kept, more)) in enumerate(ways().items()):
            recorded.log(way)
            folder = home / str(number)
            for file in (home / "float").iterdir():
                files.copy(file, folder / file.name)
            quantised.write_8_bits((home / "float" / name).read_bytes(), folder / name, images, kept, **more)
            spec = files.read_json(folder / MARKER)
            members = [{**one, "files": {name: files.sha256(folder / name)}} for one in spec["members"]]
            write_spec(folder, {**spec, "members": members})
            opened[way] = Exported.load(folder)
        figures = {way: scores_of(exported, held) for way, exported in opened.items()}
        sizes = {way: (exported.folder / name).stat().st_size for way, exported in opened.items()}
        spent = seconds_of(opened, held, asked.pairs)
        quantised.SAMPLE = 100
        try:
            shipped = str(api.export(run, "onnx", home / "int8", int8=True, log=recorded.log)["int8"]["summary"])
        except DataError as error:
            shipped = str(error)
    write(figures, sizes, spent, shipped, len(held))


def scores_of(exported: Exported, held: Any) -> dict[str, float]:
    """Return macro-F1 and accuracy of the rows that each network held out."""
    (by_fold,) = exported.by_member(held).values()
    (target,) = exported.scored
    p, y = np.zeros((len(held), exported.scored[target].width), dtype=np.float32), held.truth(target)
    for fold, found in by_fold.items():
        p[held.fold == fold] = found[target].p[held.fold == fold]
    return {metric: float(score(metric, exported.scored[target], p, y) or 0) for metric in ("macro_f1", "accuracy", "log_loss")}


def seconds_of(opened: dict[str, Exported], held: Any, pairs: int) -> dict[str, list[float]]:
    """Return CPU milliseconds of an image by each graph alone, in turns; images are at hand."""
    (member,) = opened["32 bits"].members
    x = opened["32 bits"].inputs(member, held, list(range(32)))
    spent: dict[str, list[float]] = {way: [] for way in opened}
    for pair in range(-1, pairs):
        for way, exported in opened.items():
            began = time.process_time()
            exported.members[0].session(*x)
            if pair >= 0:
                spent[way].append(1000 * (time.process_time() - began) / len(x[0]))
    return spent


def write(figures: dict[str, Any], sizes: dict[str, int], spent: dict[str, list[float]], shipped: str, rows: int) -> None:
    """Write the section of docs/benchmarks.md."""
    base = figures["32 bits"]
    lines = []
    for way, found in figures.items():
        loss = "" if way == "32 bits" else f"{base['macro_f1'] - found['macro_f1']:+.4f}"
        shown = [f"{found['macro_f1']:.4f}", loss, f"{found['accuracy']:.4f}", f"{found['log_loss']:.3f}"]
        lines.append([way, *shown, f"{sizes[way] / 1e6:.1f}", f"{np.median(spent[way]):.1f}"])
    text = (
        f"EfficientNet-Lite0 with ImageNet weights at {SIZE} pixels, five linear heads on vectors, {rows} photos of 25 dog breeds, each "
        f"answered by the head that held it out. Ranges of activations are of 96 training images, by minimum and maximum unless it says "
        f"otherwise. `tapetum export --int8` may lose {quantised.BOUND:g} of the metric (macro-F1). One thread; images are at hand.\n\n"
        + recorded.table(["in 8 bits", "macro-F1", "loss", "accuracy", "log-loss", "MB", "CPU ms an image"], lines)
        + f"\n\n`tapetum export RUN --to onnx --int8`: {shipped}."
        + " One photo of a breed with seven is 0.006 of accuracy, so differences of a few thousandths are of single photos."
    )
    values = {"figures": figures, "bytes": sizes, "cpu_ms": spent, "shipped": shipped, "rows": rows}
    recorded.record("int8", "8 bits", text, values, "onnxruntime", "onnx", "torch", "timm")


if __name__ == "__main__":
    main()
