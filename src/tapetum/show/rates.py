"""The curves of a learning-rate range test as an image file: loss over rate, each repeat, and the suggestion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tapetum.core.drawings import save_figure

Curve = tuple[np.ndarray, np.ndarray, np.ndarray]  # rates, losses, smoothed losses


def draw(curves: Sequence[Curve], found: Mapping[str, float], path: Path | str) -> Path:
    """Write the plot; the suffix of ``path`` says the format (PNG, SVG, PDF).

    Args:
        curves: one a repeat.
        found: ``steepest``, ``tenth`` and ``suggestion``.
        path: the file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for number, (rates, losses, smoothed) in enumerate(curves):
        axes.plot(rates, losses, color=f"C{number}", alpha=0.25, linewidth=0.8)
        axes.plot(rates, smoothed, color=f"C{number}", linewidth=1.6, label=f"test {number + 1}")
    kept = np.concatenate([smoothed for _, _, smoothed in curves])
    low, high = float(kept.min()), float(np.quantile(kept, 0.95))
    margin = 0.1 * max(high - low, 1e-6)
    axes.set_ylim(low - margin, high + 2 * margin)
    axes.set_xscale("log")
    for name, style in (("steepest", ":"), ("tenth", "--")):
        words = {"steepest": "steepest", "tenth": "a tenth of the minimum"}[name]
        axes.axvline(found[name], color="0.4", linestyle=style, linewidth=1, label=f"{words}: {found[name]:.2g}")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss of a batch")
    axes.legend(frameon=False, fontsize=8)
    return save_figure(figure, path, dpi=150)
