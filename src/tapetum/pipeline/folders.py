"""A folder that predicts, opened: a pipeline, or its export to another format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tapetum.core.places import EXPORT, pipeline_folder


def is_export(place: object) -> bool:
    """Tell whether a path leads to an exported pipeline."""
    return isinstance(place, (str, os.PathLike)) and (Path(place) / EXPORT).exists()


def open_folder(place: Path | str) -> Any:
    """Return a loaded pipeline or export; torch is imported for a pipeline alone.

    Args:
        place: an export, a pipeline, or the run of one.

    Raises:
        UserError: it holds none; this is said before anything heavy is imported.
    """
    if is_export(place):
        from tapetum.pipeline.exported import Exported

        return Exported.load(Path(place))
    folder = pipeline_folder(place)
    from tapetum.pipeline import Pipeline

    return Pipeline.load(folder)
