"""Tapetum: labelled images in, an image classifier that one can trust out, with the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapetum.pipeline import Pipeline

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(path: str) -> Pipeline:
    """Return the frozen pipeline in a folder, ready for ``predict`` and ``predict_proba``.

    Args:
        path: a pipeline folder, or a run that holds one.
    """
    from tapetum.pipeline import Pipeline

    return Pipeline.load(path)


def __getattr__(name: str) -> Any:
    if name == "api":
        import importlib

        return importlib.import_module("tapetum.api")
    raise AttributeError(f"module 'tapetum' has no attribute {name!r}")
