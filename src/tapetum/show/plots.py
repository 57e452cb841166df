"""Drawings of the report beyond :mod:`tapetum.show.figures`: curves in the unit square, maps of vectors, sequences."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from tapetum.show.figures import Frame, Line, key_of, svg

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
