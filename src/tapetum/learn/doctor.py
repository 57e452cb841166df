"""What this machine can do: devices, precisions, weights at hand, versions. Nothing is fetched."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import torch

from tapetum.core import config
from tapetum.learn import machine, runtime, speed
from tapetum.learn.models import weights

PACKAGES = ("tapetum", "torch", "torchvision", "timm", "lightning-fabric", "numpy", "polars", "scikit-learn", "pillow", "safetensors")


def doctor(*, measure: bool = True, folder: Path | str = weights.FOLDER) -> dict[str, Any]:
    """Return what was found, as JSON values.

    Args:
        measure: time the precisions on a small network of the weights at hand (a few seconds).
        folder: where folders of weights are looked for.
    """
    found = weights.at_hand(folder)
    device = runtime.find_device()
    return {
        "devices": _devices(),
        "device": device,
        "threads": torch.get_num_threads(),
        "precisions": list(speed.candidates(device)),
        "bf16_in_hardware": machine.bf16_in_hardware(device),
        "measured": _measured(found, device) if measure else None,
        "weights": [{"backbone": w.backbone, "source": w.source, "size": w.size, "channels": w.channels} for w in found],
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _devices() -> list[str]:
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return names + (["mps"] if torch.backends.mps.is_available() else [])


def _measured(found: list[weights.Weights], device: str) -> dict[str, Any] | None:
    """Time training and answering of the first weights at hand, at a small size."""
    from tapetum.core.targets import Target
    from tapetum.learn.models import network

    if not found:
        return None
    target = Target("class", "single", ("a", "b"))
    model = config.Model(backbone=found[0].backbone)
    net = network.build(model, [target], found[0].channels, weights=found[0])
    one = speed.Work((found[0].channels, 128, 128), training=True)
    tried = {
        name: speed.decide_engine(config.Train(), net, work, device=device, remembered=False)
        for name, work in (("training", one), ("answering", dataclasses.replace(one, training=False)))
    }
    return {"backbone": found[0].backbone, "size": 128, **{name: one.to_dict() for name, one in tried.items()}}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
