"""Figures as HTML and SVG text: pure functions of numbers, coloured by the page's style sheet, so light, dark and print all work.

What has words in it is HTML placed by percentages, which stays readable on a phone; curves are SVG. Every function returns escaped
:class:`markupsafe.Markup`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from tapetum.core.marks import CROSS_VALIDATED
from tapetum.core.words import plural
from tapetum.show.words import interval, number

WIDTH, HEIGHT = 340, 225
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 10, 40


@dataclasses.dataclass(frozen=True)
class Dot:
    """One line of a dot-and-whisker figure.

    Args:
        label: what was measured.
        value, low, high: the figure and its interval; None where unknown.
        how: how it was measured, a word of :mod:`tapetum.core.marks`; decides the sign.
        note: small words under the label.
        strong: true for the line that the page is about.
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    how: str = CROSS_VALIDATED
    note: str = ""
    strong: bool = False


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve: points in order, a class of the style sheet, and a name for the key (empty: not in the key)."""

    x: np.ndarray
    y: np.ndarray
    style: str = "one"
    name: str = ""


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers (1, 2 or 5 times a power of ten apart) that lie within [low, high]."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return []
    if high <= low:
        return [low]
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def whiskers(dots: Sequence[Dot], *, zero: bool = False, shares: bool = True, label: str = "", signed: bool = False) -> Markup:
    """Draw values with their intervals, one a line, on a common scale.

    Args:
        dots: the lines, top to bottom.
        zero: draw a line at 0 (for differences).
        shares: values cannot leave [0, 1], so the scale does not either.
        label: for readers who cannot see it, and under the scale.
        signed: write plus signs.
    """
    known = [float(v) for dot in dots for v in (dot.value, dot.low, dot.high) if v is not None and math.isfinite(v)]
    if not known:
        return Markup("")
    low, high = _span(known + ([0.0] if zero else []), shares)
    place = _percent(low, high)
    marks = ticks(low, high)
    grid = Markup("").join(Markup('<u style="left:{}%"{}></u>').format(place(t), _zero(zero, t)) for t in marks)
    rows = Markup("").join(_whisker(dot, place, grid, signed) for dot in dots)
    scale = Markup("").join(Markup('<span style="left:{}%">{}</span>').format(place(t), _tick(t, signed)) for t in marks)
    foot = Markup('<div class="dot dot-scale"><div></div><div class="track">{}</div><div></div></div>').format(scale)
    return Markup('<div class="dots" role="group" aria-label="{}">{}{}<p class="axis">{}</p></div>').format(label, rows, foot, label)


def whisker_cell(value: float | None, low: float | None = None, high: float | None = None) -> Markup:
    """Draw one share with its interval on a track from 0 to 1, for a table's cell, the number beside it."""
    if value is None or not math.isfinite(value):
        return Markup('<span class="none">–</span>')
    place = _percent(0.0, 1.0)
    ends = "" if low is None or high is None else f"{number(low, 2)}–{number(high, 2)}"
    return Markup('<span class="cell"><span class="track">{}<b style="left:{}%"></b></span><span>{}<small>{}</small></span></span>').format(
        _bar(low, high, place), place(value), number(value, 2), ends
    )


def stacked(parts: Sequence[tuple[str, float]], most: float) -> Markup:
    """Draw one bar of several parts (style, amount) on a track that ends at ``most``."""
    pieces = Markup("").join(
        Markup('<i class="{}" style="width:{}%"></i>').format(style, rounded(100 * amount / most)) for style, amount in parts if amount > 0
    )
    return Markup('<span class="stack">{}</span>').format(pieces)


def curves(lines: Sequence[Line], *, x_label: str, y_label: str, low: float | None = None, whole_x: bool = False) -> Markup:
    """Draw curves in one frame, with a key of the named ones.

    Args:
        lines: what to draw; points that are not finite break a curve.
        x_label: the x axis.
        y_label: the y axis.
        low: where the y axis starts; None with the smallest value.
        whole_x: the x axis counts things, so its ticks are whole numbers.
    """
    x = np.concatenate([line.x for line in lines] or [np.zeros(0)]).astype(np.float64)
    y = np.concatenate([line.y for line in lines] or [np.zeros(0)]).astype(np.float64)
    seen = np.isfinite(x) & np.isfinite(y)
    if not seen.any():
        return Markup("")
    frame = Frame((x[seen].min(), x[seen].max()), (y[seen].min() if low is None else low, y[seen].max()))
    drawn = Markup("").join(
        Markup('<path class="line {}" d="{}"/>').format(line.style, frame.path(*thin(line.x, line.y))) for line in lines
    )
    spots = Markup("").join(
        Markup('<circle class="spot {}" cx="{}" cy="{}" r="3"/>').format(line.style, frame.x(line.x[0]), frame.y(line.y[0]))
        for line in lines
        if len(line.x) == 1 and np.isfinite(line.y[0])
    )
    named = {line.name: line.style for line in lines if line.name}
    key = Markup("").join(Markup('<span class="{}"><i></i>{}</span>').format(style, name) for name, style in named.items())
    body = frame.axes(x_label, y_label, whole_x) + drawn + spots
    return Markup('<figure class="chart">{}{}</figure>').format(svg(body, _told(lines, x_label, y_label)), key_of(key))


def reliability(
    stated: np.ndarray, seen: np.ndarray, n: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None
) -> Markup:
    """Draw the share of correct predictions against the predicted probability, one dot a bin, its area the number of predictions.

    Args:
        stated: (bins,) mean probability; empty bins are left out.
        seen: (bins,) share that is correct.
        n: (bins,) predictions.
        low: (bins,) lower end of an interval of ``seen``.
        high: (bins,) upper end.
    """
    frame = Frame((0.0, 1.0), (0.0, 1.0), width=300, height=300)
    body = frame.axes("predicted probability", "share that is correct", False)
    body += Markup('<path class="ideal" d="M{} {}L{} {}"/>').format(frame.x(0), frame.y(0), frame.x(1), frame.y(1))
    most, told = max(float(n.max()), 1.0) if len(n) else 1.0, []
    for i in range(len(n)):
        if low is not None and high is not None:
            body += Markup('<path class="bar" d="M{0} {1}V{2}"/>').format(frame.x(stated[i]), frame.y(low[i]), frame.y(high[i]))
        words = f"{plural(int(n[i]), 'prediction')} at {stated[i]:.2f}: {seen[i]:.2f} correct"
        told.append(words)
        body += Markup('<circle class="bin" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
            frame.x(stated[i]), frame.y(seen[i]), rounded(2.5 + 6 * math.sqrt(n[i] / most)), words
        )
    return Markup('<figure class="chart square">{}</figure>').format(svg(body, "reliability: " + "; ".join(told), 300, 300))


def scatter(truth: np.ndarray, answer: np.ndarray) -> Markup:
    """Draw predictions against labels, with the line on which they are equal."""
    both = np.concatenate([truth, answer])
    ends = (float(both.min()), float(both.max()))
    frame = Frame(ends, ends, width=300, height=300)
    d = "".join(f"M{frame.x(a)} {frame.y(b)}h0" for a, b in zip(truth, answer, strict=True))
    ideal = Markup('<path class="ideal" d="M{} {}L{} {}"/>').format(*(f(v) for v in (both.min(), both.max()) for f in (frame.x, frame.y)))
    body = frame.axes("label", "prediction", False) + ideal + Markup('<path class="points" d="{}"/>').format(d)
    return Markup('<figure class="chart square">{}</figure>').format(
        svg(body, f"predictions against {plural(len(truth), 'label')}, correlation {_correlation(truth, answer)}", 300, 300)
    )


def thin(x: np.ndarray, y: np.ndarray, most: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """Return at most about ``most`` points of a curve; each stretch keeps its lowest and highest, so peaks and restarts stay."""
    if len(x) <= most:
        return x, y
    keep = {0, len(x) - 1}
    for part in np.array_split(np.arange(len(x)), most // 2):
        values = y[part]
        if np.isfinite(values).any():
            keep |= {int(part[np.nanargmin(values)]), int(part[np.nanargmax(values)])}
    picked = np.array(sorted(keep))
    return x[picked], y[picked]


# ---------------------------------------------------------------------------------------------------------- small parts


class Frame:
    """A drawing area: data to pixels, and the axes."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], width: int = WIDTH, height: int = HEIGHT) -> None:
        (self.x0, self.x1), (self.y0, self.y1) = x, y
        if self.x1 <= self.x0:
            self.x0, self.x1 = self.x0 - 0.5, self.x1 + 0.5
        if self.y1 <= self.y0:
            pad = abs(self.y0) * 0.1 or 0.5
            self.y0, self.y1 = self.y0 - pad, self.y1 + pad
        self.width, self.height = width, height

    def x(self, value: float) -> float:
        """Return where a value is on the x axis, in pixels."""
        return rounded(LEFT + (float(value) - self.x0) / (self.x1 - self.x0) * (self.width - LEFT - RIGHT))

    def y(self, value: float) -> float:
        """Return where a value is on the y axis, in pixels."""
        return rounded(self.height - BOTTOM - (float(value) - self.y0) / (self.y1 - self.y0) * (self.height - TOP - BOTTOM))

    def path(self, x: np.ndarray, y: np.ndarray) -> str:
        """Return the path of a curve; points that are not finite break it."""
        out, move = [], True
        for a, b in zip(x, y, strict=True):
            if not (np.isfinite(a) and np.isfinite(b)):
                move = True
                continue
            out.append(f"{'M' if move else 'L'}{self.x(a)} {self.y(b)}")
            move = False
        return "".join(out)

    def axes(self, x_label: str, y_label: str, whole_x: bool) -> Markup:
        """Draw axes with their ticks and names."""
        base, end = self.height - BOTTOM, self.width - RIGHT
        out = Markup("")
        for t in ticks(self.y0, self.y1, 5):
            y = self.y(t)
            out += Markup('<path class="grid" d="M{} {}H{}"/><text class="tick end" x="{}" y="{}">{}</text>').format(
                LEFT, y, end, LEFT - 6, y + 4, _tick(t)
            )
        for t in ticks(self.x0, self.x1, 7 if whole_x else 5):
            if not whole_x or t == int(t):
                out += Markup('<text class="tick mid" x="{}" y="{}">{}</text>').format(self.x(t), base + 16, _tick(t))
        middle = (TOP + base) / 2
        out += Markup('<path class="axis" d="M{} {}H{}"/>').format(LEFT, base, end)
        out += Markup('<text class="name mid" x="{}" y="{}">{}</text>').format((LEFT + end) / 2, self.height - 6, x_label)
        return out + Markup('<text class="name mid" transform="translate(12 {})rotate(-90)">{}</text>').format(middle, y_label)


def svg(body: Markup, label: str, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    """Return a drawing with the text that says the same."""
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(width, height, label, body)


def key_of(inside: Markup) -> Markup:
    """Return the key below a drawing; nothing where it is empty."""
    return Markup('<figcaption class="key">{}</figcaption>').format(inside) if inside else Markup("")


def _correlation(a: np.ndarray, b: np.ndarray) -> str:
    return number(float(np.corrcoef(a, b)[0, 1])) if len(a) > 1 and a.std() > 0 and b.std() > 0 else "not defined"


def _told(lines: Sequence[Line], x_label: str, y_label: str) -> str:
    """Return in words what curves show: where each named one starts and ends."""
    ends = []
    for line in lines:
        known = np.flatnonzero(np.isfinite(line.y))
        if len(known) and (line.name or len(lines) == 1):
            ends.append(f"{line.name or 'the curve'} from {number(line.y[known[0]])} to {number(line.y[known[-1]])}")
    return f"{y_label} over {x_label}" + (f": {', '.join(ends)}" if ends else "")


def _whisker(dot: Dot, place: Callable[[float], float], grid: Markup, signed: bool) -> Markup:
    mark = Markup("")
    if dot.value is not None and math.isfinite(dot.value):
        mark = _bar(dot.low, dot.high, place) + Markup('<b style="left:{}%"></b>').format(place(dot.value))
    note = Markup("<small>{}</small>").format(dot.note) if dot.note else Markup("")
    return Markup(
        '<div class="dot {}{}"><div class="label">{}{}</div><div class="track">{}{}</div>'
        '<div class="value">{} <small>{}</small></div></div>'
    ).format(
        dot.how,
        " strong" if dot.strong else "",
        dot.label,
        note,
        grid,
        mark,
        number(dot.value, sign=signed),
        interval(dot.low, dot.high, sign=signed),
    )


def _bar(low: float | None, high: float | None, place: Callable[[float], float]) -> Markup:
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return Markup("")
    return Markup('<i style="left:{}%;width:{}%"></i>').format(place(low), rounded(place(high) - place(low)))


def _span(values: Sequence[float], shares: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or abs(high) * 0.1 or 0.05
    low, high = low - pad, high + pad
    return (max(low, 0.0), min(high, 1.0)) if shares and min(values) >= 0 and max(values) <= 1 else (low, high)


def _percent(low: float, high: float) -> Callable[[float], float]:
    return lambda value: rounded(100 * (float(value) - low) / (high - low))


def _tick(value: float, signed: bool = False) -> str:
    small = value != 0 and abs(value) < 0.001
    return (
        f"{value:.0e}".replace("e-0", "e-").replace("-", "−") if small else f"{value:{'+' if signed and value else ''},g}".replace("-", "−")
    )


def _zero(zero: bool, tick: float) -> Markup:
    return Markup(' class="zero"') if zero and tick == 0 else Markup("")


def rounded(value: float) -> float:
    """Return a number for a style or a path: two decimals, none where they are 0."""
    out = round(float(value), 2)
    return int(out) if out == int(out) else out
