"""Figures of matplotlib as files: the same figure gives the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tapetum.core import files

METADATA = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}  # what says when and by what it was made


def save_figure(figure: Any, path: Path | str, dpi: int | None = None) -> Path:
    """Write a figure of matplotlib; the ending of ``path`` says the format. ``dpi``: pixels an inch; None: the figure's own."""
    import matplotlib

    with files.whole(path) as aside, matplotlib.rc_context({"svg.hashsalt": "tapetum"}):  # ids within SVG are drawn at random otherwise
        figure.savefig(aside, dpi=dpi or "figure", metadata=METADATA.get(aside.suffix.lower()))
    return Path(path)
