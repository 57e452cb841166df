"""What a run notes of its starts and of its machine: the log and the seconds in ``run.json``, the versions in ``environment.json``."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from typing import Any


def logged(record: Mapping[str, Any]) -> list[str]:
    """Return the log in a ``run.json``; earlier versions kept it under ``said``."""
    return list(record.get("log") or record.get("said") or [])


def stage_seconds(record: Mapping[str, Any]) -> tuple[dict[str, float], int]:
    """Return how long each stage of a ``run.json`` took over all of its starts, and how many starts there were."""
    starts = {start.get("started"): start for start in record.get("starts") or [record]}  # the last state of each start
    stages: dict[str, float] = {}
    for start in starts.values():
        for name, seconds in (start.get("seconds") or {}).items():
            stages[name] = stages.get(name, 0.0) + float(seconds)
    return stages, len(starts)


def environment() -> dict[str, Any]:
    """Return versions and machine, as they are kept in ``environment.json``."""
    names = ("tapetum", "torch", "torchvision", "timm", "numpy", "polars", "scikit-learn", "pillow", "lightning-fabric")
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {"python": sys.version.split()[0], "system": platform.system(), "machine": platform.machine(), "versions": versions}
