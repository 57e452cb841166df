"""Figures of a night (spectrogram, hypnogram, hypnodensity) and of two scorers (confusion, kappa of each stage, Bland–Altman)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core.drawings import save_figure
from tapetum.core.errors import UserError
from tapetum.core.words import plural
from tapetum.sleep.agreement import agreement
from tapetum.sleep.hypnogram import Hypnogram, runs
from tapetum.sleep.montage import Signal
from tapetum.sleep.spectra import multitaper
from tapetum.sleep.stages import REM, STAGES
from tapetum.sleep.statistics import of_both

COLOURS = ("#c9a227", "#8fb8de", "#4a86c5", "#1d3f72", "#b5485d")  # Wake, N1, N2, N3, REM; distinct also without colour vision
LEVEL = np.array([4, 2, 1, 0, 3])  # height in a hypnogram: Wake on top, then REM, N1, N2, N3
COMPARED = ("TST", "SE", "SOL", "WASO", "REM latency", "N1", "N2", "N3", "REM")
WINDOW, TOP = 30.0, 25.0  # seconds of a column of the spectrogram, and Hz at its top
PIXELS = 110  # an inch


def night_figure(path: Path | str, night: Hypnogram, signal: Signal | None = None, title: str = "") -> Path:
    """Write a .png or .svg: the spectrogram of a signal, the hypnogram, and probabilities, as far as there are any.

    Args:
        path: the file.
        night: stages.
        signal: an EEG; None for no spectrogram.
        title: above; it should name nobody.
    """
    _check(path)
    figure, axes = _axes([name for name, there in (("spectrum", signal), ("stages", night), ("density", night.p)) if there is not None])
    hours = np.arange(len(night) + 1) * night.epoch / 3600
    if signal is not None:
        _spectrum(axes["spectrum"], signal)
    _stages(axes["stages"], night, hours)
    if night.p is not None:
        _density(axes["density"], night.p, hours)
    last = list(axes.values())[-1]
    last.set_xlim(0, hours[-1])
    last.set_xlabel("hours from the start" if night.clock is None else f"hours from the start ({night.clock:%H:%M})")
    figure.suptitle(title, fontsize=10)
    return save_figure(figure, path)


def agreement_figure(path: Path | str, pairs: Sequence[tuple[Hypnogram, Hypnogram]]) -> Path:
    """Write a .png or .svg of two scorers: confusion with the kappa of each stage, and Bland–Altman plots of the nights' statistics.

    Args:
        path: the file.
        pairs: the two hypnograms of each night.
    """
    _check(path)
    from matplotlib.figure import Figure

    together = agreement(*(_joined([pair[i] for pair in pairs]) for i in range(2)))
    figure = Figure(figsize=(12, 7), dpi=PIXELS, layout="constrained")
    grid = figure.add_gridspec(3, 5)
    _confusion(figure.add_subplot(grid[:, :2]), together)
    of = [of_both(*pair) for pair in pairs]
    for number, name in enumerate(COMPARED):
        _bland_altman(figure.add_subplot(grid[number // 3, 2 + number % 3]), name, of)
    return save_figure(figure, path)


def bland_altman(a: np.ndarray, b: np.ndarray) -> dict[str, float | None]:
    """Return the mean difference b − a, its limits of agreement (mean ± 1.96 deviations), and the number of pairs.

    Source: Bland and Altman 1986, doi 10.1016/S0140-6736(86)90837-8.
    """
    apart = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    if not len(apart):
        return {"n": 0, "mean": None, "low": None, "high": None}
    mean, spread = float(apart.mean()), float(apart.std(ddof=1)) if len(apart) > 1 else None
    low, high = (None, None) if spread is None else (mean - 1.96 * spread, mean + 1.96 * spread)
    return {"n": len(apart), "mean": mean, "low": low, "high": high}


def _axes(names: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    from matplotlib.figure import Figure

    heights = {"spectrum": 1.4, "stages": 1.2, "density": 1.0}
    figure = Figure(figsize=(10, 0.6 + 1.5 * sum(heights[name] for name in names)), dpi=PIXELS, layout="constrained")
    axes = figure.subplots(len(names), 1, sharex=True, squeeze=False, height_ratios=[heights[name] for name in names])[:, 0]
    return figure, dict(zip(names, axes, strict=True))


def _spectrum(axis: Any, signal: Signal) -> None:
    window = min(WINDOW, len(signal.values) / signal.rate)
    frequency, times, power = multitaper(signal.values, signal.rate, window, window)
    inside = (frequency >= 0.3) & (frequency <= TOP)
    decibels = 10 * np.log10(np.maximum(_thinned(power[inside]), 1e-12))
    known = decibels[:, ~np.isnan(decibels).any(axis=0)]
    low, high = np.percentile(known, [5, 98]) if known.size else (0.0, 1.0)
    edges = (0.0, float(times[-1] + window / 2) / 3600, 0.3, TOP)
    axis.imshow(decibels, origin="lower", aspect="auto", extent=edges, cmap="magma", vmin=low, vmax=high, interpolation="nearest")
    unit = "µV²/Hz" if signal.unit == "uV" else "dB, no known unit"
    axis.set_ylabel(f"{signal.source}\nHz ({low:.0f} to {high:.0f} {'dB ' if signal.unit == 'uV' else ''}{unit})", fontsize=8)


def _thinned(power: np.ndarray, most: int = 150) -> np.ndarray:
    """Return means of neighbouring frequencies, no more rows than a figure can show."""
    step = max(len(power) // most, 1)
    return power[: len(power) // step * step].reshape(-1, step, power.shape[1]).mean(axis=1)


def _stages(axis: Any, night: Hypnogram, hours: np.ndarray) -> None:
    level = np.where(night.stages >= 0, LEVEL[np.maximum(night.stages, 0)], np.nan).astype(float)
    axis.step(hours, np.append(level, level[-1]), where="post", color="#333", linewidth=0.9)
    for stage, first, end in runs(night.stages):
        if stage == REM:
            axis.hlines(LEVEL[REM], hours[first], hours[end], color=COLOURS[REM], linewidth=3)
        elif stage < 0:
            axis.axvspan(hours[first], hours[end], color="#ddd", linewidth=0)
    for time in (night.lights.off, night.lights.on):
        if time is not None:
            axis.axvline(time / 3600, color="#777", linewidth=0.8, linestyle="--")
    order = np.argsort(LEVEL)
    axis.set_yticks(range(len(STAGES)), [STAGES[stage] for stage in order])
    axis.set_ylim(-0.4, 4.4)


def _density(axis: Any, p: np.ndarray, hours: np.ndarray) -> None:
    order = (3, 2, 1, 4, 0)
    edges = np.repeat(hours, 2)[1:-1]
    axis.stackplot(edges, *(np.repeat(np.nan_to_num(p[:, k]), 2) for k in order), colors=[COLOURS[k] for k in order], linewidth=0)
    axis.set_ylim(0, 1)
    axis.set_ylabel("probability", fontsize=8)
    axis.legend([STAGES[k] for k in order], loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=5, fontsize=7, frameon=False)


def _joined(nights: Sequence[Hypnogram]) -> Hypnogram:
    return Hypnogram(np.concatenate([night.stages for night in nights]), nights[0].epoch)


def _confusion(axis: Any, found: Mapping[str, Any]) -> None:
    table = np.array(found["confusion"], dtype=np.float64)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i in range(len(STAGES)):
        for j in range(len(STAGES)):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axis.text(j, i, f"{int(table[i, j])}\n{100 * shares[i, j]:.0f}%", ha="center", va="center", fontsize=8, color=colour)
    names = [f"{name}\nκ {'–' if kappa is None else f'{kappa:.2f}'}" for name, kappa in found["by_stage"].items()]
    axis.set_xticks(range(len(STAGES)), STAGES)
    axis.set_yticks(range(len(STAGES)), names)
    axis.set_xlabel("second scorer")
    axis.set_ylabel("first scorer")
    whole = "–" if found["kappa"] is None else f"{found['kappa']:.3f}"
    axis.set_title(f"kappa {whole}, accuracy {found['accuracy']:.3f}, {plural(found['epochs'], 'epoch')}", fontsize=9)


def _bland_altman(axis: Any, name: str, of: Sequence[tuple[Mapping[str, Any], ...]]) -> None:
    both = [(a[name], b[name]) for a, b in of if a[name] is not None and b[name] is not None]
    a, b = (np.array([pair[i] for pair in both], dtype=np.float64) for i in range(2))
    axis.plot((a + b) / 2, b - a, "o", markersize=4, color=COLOURS[2])
    found = bland_altman(a, b)
    for key, style in (("mean", "-"), ("low", ":"), ("high", ":")):
        if found[key] is not None:
            axis.axhline(float(found[key] or 0.0), color="#555", linewidth=0.8, linestyle=style)
    unit = "%" if name in ("SE", "SME") else "min"
    axis.set_title(f"{name}, {plural(len(both), 'night')}", fontsize=8)
    axis.set_xlabel(f"mean of both ({unit})", fontsize=7)
    axis.set_ylabel(f"second − first ({unit})", fontsize=7)
    axis.tick_params(labelsize=7)


def _check(path: Path | str) -> None:
    if Path(path).suffix.lower() not in (".png", ".svg"):
        raise UserError(f"{path} is no place for a figure", need="a name that ends in .png or .svg")
