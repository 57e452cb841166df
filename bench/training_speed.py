"""CPU seconds of a training step from JPEG files: the loop of ``fit`` against timm's defaults and against random tensors.

The three take turns in one process, on the same photos. Run: ``python bench/training_speed.py [--pairs P]``.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import recorded
from tapetum import api
from tapetum.core import files
from tapetum.core.tables import Manifest
from tapetum.learn.models import weights

BACKBONE, SIZE, BATCH, BREEDS = "tf_efficientnet_lite0", 224, 32, 13
OURS, TIMM, RANDOM = "fit", "timm's train.py, defaults", "forward, backward and step on random tensors"
LIMIT = (
    " bf16 saves half of the forward pass, but torch's backward pass of depthwise convolutions with a step of 2 or 5 × 5 kernels takes "
    "two to three times as long in bf16 as in 32 bits (a batch of 32, channels last: 260 and 90 ms, 155 and 61 ms, 118 and 44 ms), so "
    "all in all an image took 81 ms in bf16 and 69 in 32 bits, and the speed check takes 32 bits."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        for breed in sorted((recorded.DATA / "dogs" / "images").iterdir())[:BREEDS]:
            shutil.copytree(breed, home / "photos" / breed.name)
        training, optimizer = ours(home)
        paths = [training.fold.manifest.paths(int(row))[0] for row in training.fold.train]
        ways = {OURS: epochs_of(training, optimizer), TIMM: timm_loop(paths), RANDOM: on_tensors(training, optimizer)}
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for pair in range(-1, asked.pairs):  # the first one warms up, and decodes what stays in memory
            for name, way in ways.items():
                began = time.process_time()
                images = way()
                if pair >= 0:
                    spent[name].append(1000 * (time.process_time() - began) / images)
            recorded.log(f"pair {pair + 1}: " + ", ".join(f"{name} {values[-1]:.1f}" for name, values in spent.items() if values))
    write(spent, training.runtime.engine.name, len(paths))


def ours(home: Path) -> tuple[Any, Any]:
    """Return the training of a fold as ``fit`` makes it, and its optimizer."""
    from tapetum.learn.training import job
    from tapetum.learn.training.fold import Training
    from tapetum.learn.training.keep import Keeper

    how: dict[str, Any] = {"model__backbone": BACKBONE, "input__size": SIZE, "train__batch": BATCH, "split__folds": 3}
    api.trace(home / "photos", home / "run", steps=1, log=recorded.log, **how)
    spec = next((home / "run" / "trace").rglob("spec.json"))
    manifest = Manifest.read(home / "run" / "manifest.parquet", files.read_json(spec)["data_root"])
    training = Training(job.build(files.read_json(spec), manifest, Keeper(spec.parent), recorded.log))
    return training, training.begin()


def epochs_of(training: Any, optimizer: Any) -> Callable[[], int]:
    """Return what trains one more epoch."""
    from tapetum.learn.training import loop

    def epoch() -> int:
        row = loop.train_epoch(
            training.network, training.fold.objective, optimizer, training.runtime, training.epoch(0), training.progress, lambda: None
        )
        return int(row["images"])

    return epoch


def on_tensors(training: Any, optimizer: Any) -> Callable[[], int]:
    """Return what trains the same network on the same engine, by random images that are in memory already."""
    runtime, network = training.runtime, training.network
    x = runtime.to_device(torch.rand(BATCH, 3, SIZE, SIZE))
    y = torch.nn.functional.one_hot(torch.arange(BATCH) % BREEDS, BREEDS).float()

    def steps() -> int:
        for _ in range(2):
            with runtime.autocast():
                (logits,) = network(x).values()
            loss = torch.nn.functional.cross_entropy(logits.float(), y)
            runtime.backward(loss)
            runtime.step(network, optimizer, 1e-6)
            optimizer.zero_grad(set_to_none=True)
        return 2 * BATCH

    return steps


def timm_loop(paths: list[Path]) -> Callable[[], int]:
    """Return an epoch of timm's ``train.py`` by default: its augmentation, loader and SGD, smoothed labels, 32 bits."""
    import timm
    from PIL import Image
    from timm.data import create_transform, resolve_data_config
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2

    model = timm.create_model(BACKBONE, num_classes=BREEDS).train()
    found = weights.find(BACKBONE, "auto")
    model.load_state_dict({k: v for k, v in found.state().items() if not k.startswith("classifier")}, strict=False)
    settings = resolve_data_config({"input_size": (3, SIZE, SIZE)}, model=model)
    transform = create_transform(
        settings["input_size"], is_training=True, interpolation="random", mean=settings["mean"], std=settings["std"]
    )
    optimizer = create_optimizer_v2(model, "sgd", lr=1e-4, weight_decay=2e-5, momentum=0.9)
    criterion = LabelSmoothingCrossEntropy(0.1)

    class Photos(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, row: int) -> Any:
            return transform(Image.open(paths[row]).convert("RGB")), row % BREEDS

    def epoch() -> int:
        images = 0
        for x, y in torch.utils.data.DataLoader(Photos(), batch_size=BATCH, shuffle=True, drop_last=True):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
            images += len(x)
        return images

    return epoch


def write(spent: dict[str, list[float]], engine: str, images: int) -> None:
    """Write the section of docs/benchmarks.md."""
    ratio = {name: [other / own for other, own in zip(spent[name], spent[OURS], strict=True)] for name in (TIMM, RANDOM)}
    lower = {name: float(np.percentile(each, 25)) for name, each in ratio.items()}
    lines = [[name, f"{np.median(values):.1f}"] for name, values in spent.items()]
    text = (
        f"EfficientNet-Lite0 at {SIZE} pixels, batches of {BATCH}, {images} JPEG photos of dogs, one thread, {len(spent[OURS])} turns in "
        f"one process. `fit` trains by {engine} with the recipe's own augmentation; decoded images stay in its memory after the first "
        "epoch. timm's `train.py` is not in its package: the same calls, in 32 bits.\n\n"
        + recorded.table(["way", "CPU ms an image"], lines)
        + f"\n\n`fit` trains {lower[TIMM]:.2f} times as fast as timm's defaults (goal 2.3 with bf16), and at {lower[RANDOM]:.2f} of the "
        "rate on random tensors (goal 0.95); lower quartiles over the turns." + LIMIT
    )
    values = {"cpu_ms": spent, "ratios": lower, "engine": engine, "images": images}
    recorded.record("training_speed", "Training", text, values, "torch", "timm", "pillow")


if __name__ == "__main__":
    main()
