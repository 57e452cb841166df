"""The frozen pipeline: a folder that predicts with nothing else at hand, by learn's inference and decide's steps.

``export`` writes its parts, ``load`` reads them, ``compose`` turns whatever is given into rows, ``answer`` runs one member on them and
``combine`` makes the final answers of all members'. ``frozen`` is what a pipeline and an export have in common.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapetum.pipeline.pipeline import Pipeline

__all__ = ["Pipeline"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tapetum.pipeline import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'tapetum.pipeline' has no attribute {name!r}")
