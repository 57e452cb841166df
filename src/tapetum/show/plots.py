"""Drawings of the report beyond :mod:`tapetum.show.figures`: curves in the unit square, maps of vectors, sequences."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from tapetum.core.words import plural
from tapetum.show.figures import Frame, Line, key_of, rounded, svg

COLOURS = 10  # styles c0, c1, … of the style sheet


def unit_curves(lines: Sequence[Line], *, x_label: str, y_label: str, title: str, diagonal: bool = False) -> Markup:
    """Draw curves between 0 and 1 on both axes, with a key of their names, which also is the text for who cannot see them.

    Args:
        lines: the curves.
        x_label: the x axis.
        y_label: the y axis.
        title: what the numbers in the key are.
        diagonal: draw what a random order gives.
    """
    frame = Frame((0.0, 1.0), (0.0, 1.0), width=300, height=300)
    body = frame.axes(x_label, y_label, False)
    if diagonal:
        body += Markup('<path class="ideal" d="M{} {}L{} {}"/>').format(frame.x(0), frame.y(0), frame.x(1), frame.y(1))
    body += Markup("").join(Markup('<path class="line {}" d="{}"/>').format(line.style, frame.path(line.x, line.y)) for line in lines)
    key = Markup("").join(Markup('<span class="{}"><i></i>{}</span>').format(line.style, line.name) for line in lines)
    label = f"{title}: " + ", ".join(line.name for line in lines)
    return Markup('<figure class="chart square">{}{}</figure>').format(svg(body, label, 300, 300), key_of(key))


def point_map(points: np.ndarray, labels: Sequence[str], ringed: np.ndarray, names: Sequence[str], most: int, other: str) -> Markup:
    """Draw points in the plane, a colour for each of the first few names, and a ring around some.

    Args:
        points: (N, 2).
        labels: of each point (N,).
        ringed: (N,) bool.
        names: of the labels, the most frequent first; a group each, which the page can bring forward.
        most: names that have a colour of their own.
        other: what the rest is called in the key.
    """
    width, height = 640, 400
    low, high = points.min(axis=0), points.max(axis=0)
    scale = np.array([width - 24, height - 24]) / np.maximum(high - low, 1e-12)
    at = np.round((points - low) * scale + 12, 1)
    at[:, 1] = height - at[:, 1]
    code = np.array([names.index(label) for label in labels])
    groups = []
    for number in range(len(names)):
        inside = np.flatnonzero(code == number)
        dots = "".join(f"M{x:g} {y:g}h0" for x, y in at[inside])
        rings = "".join(f"M{x - 4:g} {y:g}a4 4 0 1 0 8 0a4 4 0 1 0-8 0" for x, y in at[inside[ringed[inside]]])
        groups.append(
            Markup('<g class="c{}" data-name="{}"><path class="dots2" d="{}"/>{}</g>').format(
                min(number, most), number, dots, Markup('<path class="rings" d="{}"/>').format(rings) if rings else ""
            )
        )
    shown = [(name, number) for number, name in enumerate(names[:most])] + ([(other, most)] if len(names) > most else [])
    key = Markup("").join(Markup('<span class="c{}"><i></i>{}</span>').format(number, name) for name, number in shown)
    label = (
        f"map of {plural(len(points), 'image')} of {plural(len(names), 'label')} by two principal "
        f"components; {plural(int(ringed.sum()), 'error is', 'errors are')} ringed"
    )
    return Markup('<figure class="chart map2">{}{}</figure>').format(svg(Markup("").join(groups), label, width, height), key_of(key))


def hypnogram(truth: np.ndarray, answer: np.ndarray, names: Sequence[str], label: str) -> Markup:
    """Draw the labels and the predictions of a sequence over its positions, as two staircases, and where they differ.

    Args:
        truth: (N,) place of the label in ``names``, −1 where unknown.
        answer: (N,) likewise, of the prediction.
        names: from the top down.
        label: what is drawn, in words.
    """
    n, left, right, row = len(truth), 92, 640, 15
    tall = row * len(names)
    body, step = Markup(""), (right - left) / max(n, 1)
    for panel, (title, places) in enumerate((("label", truth), ("prediction", answer))):
        top = 14 + panel * (tall + 26)
        body += Markup('<text class="name" x="0" y="{}">{}</text>').format(top - 3, title)
        for k, name in enumerate(names):
            y = top + row * k + row / 2
            short = name if len(name) <= 13 else name[:12] + "…"
            body += Markup('<path class="grid" d="M{} {}H{}"/><text class="tick end" x="{}" y="{}">{}</text>').format(
                left, y, right, left - 6, y + 4, short
            )
        body += Markup('<path class="line {}" d="{}"/>').format("two" if panel else "one", _staircase(places, left, top, step, row))
    top = 14 + 2 * (tall + 26) - 14
    marks = "".join(f"M{rounded(left + step * a)} {top}h{rounded(step * (b - a))}" for a, b in _stretches((truth != answer) & (truth >= 0)))
    body += Markup('<text class="tick end" x="{}" y="{}">differs</text><path class="differs" d="{}"/>').format(left - 6, top + 4, marks)
    return Markup('<figure class="chart wide">{}</figure>').format(svg(body, label, right, top + 10))


def density(p: np.ndarray, names: Sequence[str], label: str, most: int = 160) -> Markup:
    """Draw the probabilities of a sequence stacked over its positions, with a key.

    Args:
        p: (N, K); NaN rows leave a gap.
        names: K.
        label: what is drawn, in words.
        most: stretches, each the mean of its rows.
    """
    left, right, top, tall = 92, 640, 4, 90
    parts = np.array_split(np.arange(len(p)), min(most, len(p)))
    mean = np.stack([np.nan_to_num(np.nanmean(p[part], axis=0)) if np.isfinite(p[part]).any() else np.zeros(p.shape[1]) for part in parts])
    ends = np.concatenate([[0], np.cumsum([len(part) for part in parts])]) / len(p)
    x = [rounded(left + (right - left) * end) for end in ends]
    below = np.concatenate([np.zeros((len(mean), 1)), np.cumsum(mean, axis=1)], axis=1)
    body = Markup("")
    for k in range(p.shape[1]):
        upper = "".join(f"L{x[i]} {_height(below[i, k + 1], top, tall)}H{x[i + 1]}" for i in range(len(mean)))
        lower = "".join(f"L{x[i + 1]} {_height(below[i, k], top, tall)}H{x[i]}" for i in reversed(range(len(mean))))
        body += Markup('<path class="c{} area" d="M{}{}z"/>').format(k % COLOURS, upper[1:], lower)
    body += Markup('<text class="tick end" x="{}" y="{}">probability</text>').format(left - 6, top + tall / 2)
    key = Markup("").join(Markup('<span class="c{}"><i></i>{}</span>').format(k % COLOURS, name) for k, name in enumerate(names))
    return Markup('<figure class="chart wide">{}{}</figure>').format(svg(body, label, right, top + tall + 4), key_of(key))


def _height(share: float, top: int, tall: int) -> float:
    return rounded(top + tall * (1 - min(float(share), 1.0)))


def _staircase(places: np.ndarray, left: float, top: float, step: float, row: float) -> str:
    """Return the path of places over positions; unknown ones break it."""
    out, before = [], -1
    for a, b in _runs(places):
        if (k := int(places[a])) >= 0:
            y = rounded(top + row * k + row / 2)
            out.append(f"{'V' if before >= 0 else f'M{rounded(left + step * a)} '}{y}H{rounded(left + step * b)}")
        before = k
    return "".join(out)


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    """Return first and end of each stretch of equal values."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]])
    return [(int(a), int(b)) for a, b in itertools.pairwise(edges)]


def _stretches(flags: np.ndarray) -> list[tuple[int, int]]:
    return [(a, b) for a, b in _runs(flags.astype(int)) if flags[a]]
