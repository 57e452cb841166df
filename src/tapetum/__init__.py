"""Tapetum: labelled images in, an image classifier that one can trust out, with the evidence."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapetum.estimator import TapetumClassifier
    from tapetum.pipeline import Pipeline

__version__ = "0.1.0"
__all__ = ["TapetumClassifier", "__version__", "load"]

# Telemetry of dependencies is off before any of them is imported. ONNX Runtime 1.32 opens a store of events on import, which a call after
# it (onnxruntime.disable_telemetry_events) does not undo.
for _switch in ("HF_HUB_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY"):
    os.environ.setdefault(_switch, "1")


def load(path: str) -> Pipeline:
    """Return the frozen pipeline in a folder, ready for ``predict`` and ``predict_proba``.

    Args:
        path: a pipeline folder, or a run that holds one.
    """
    from tapetum.pipeline import Pipeline

    return Pipeline.load(path)


_LAZY = {"api": ("tapetum.api", None), "TapetumClassifier": ("tapetum.estimator", "TapetumClassifier")}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        place, inside = _LAZY[name]
        module = importlib.import_module(place)
        return module if inside is None else getattr(module, inside)
    raise AttributeError(f"module 'tapetum' has no attribute {name!r}")
