"""Confusion matrices: a table with numbers, a map without numbers, and an order in which similar classes are neighbours."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from markupsafe import Markup

from tapetum.core.words import plural
from tapetum.show.figures import rounded

MOST_SQUARES = 20_000  # of a large matrix, over the targets


def confusion_table(counts: np.ndarray, names: Sequence[str], order: Sequence[int], opened: Collection[str]) -> Markup:
    """Draw a confusion matrix as a table: rows are labels, columns predictions, colour the share of the row.

    Args:
        counts: (K, K), label by prediction.
        names: K class names.
        order: how classes are arranged.
        opened: cells, as ``i,j``, whose images a click opens.
    """
    totals = counts.sum(axis=1)
    heads = Markup("").join(Markup('<th scope="col"><span>{}</span></th>').format(names[j]) for j in order)
    body = []
    for i in order:
        cells = Markup("").join(_count_cell(counts, totals[i], (i, j), names, opened) for j in order)
        body.append(
            Markup('<tr><th scope="row" title="{0}">{0}</th>{1}<td class="sum">{2}</td></tr>').format(names[i], cells, _amount(totals[i]))
        )
    sums = Markup("").join(Markup('<td class="sum">{}</td>').format(_amount(counts[:, j].sum())) for j in order)
    size = "wide" if len(order) <= 8 else "tight" if len(order) > 16 else "normal"
    return Markup(
        '<div class="scroll"><table class="confusion {}"><thead><tr><th class="corner"><span>label ↓ &nbsp; prediction →</span></th>{}'
        '<th scope="col" class="sum"><span>all</span></th></tr></thead><tbody>{}<tr class="sum"><th scope="row">all</th>{}'
        '<td class="sum">{}</td></tr></tbody></table></div>'
    ).format(size, heads, Markup("").join(body), sums, _amount(counts.sum()))


def confusion_map(counts: np.ndarray, names: Sequence[str], order: Sequence[int], opened: Collection[str], targets: int = 1) -> Markup:
    """Draw a large confusion matrix without numbers: one square for each cell that is not empty.

    Squares of one shade are one path, and so the map stays small however many classes and rows there are.

    Args:
        counts: (K, K), label by prediction.
        names: K class names.
        order: how classes are arranged.
        opened: cells, as ``i,j``, that have a tooltip, and whose images a click opens.
        targets: of the run, which share the space.
    """
    k = len(names)
    place = np.argsort(np.asarray(order))
    totals = np.maximum(counts.sum(axis=1), 1e-12)
    there = np.argwhere(counts > 0)
    there = there[np.argsort(-counts[there[:, 0], there[:, 1]], kind="stable")][: MOST_SQUARES // targets]
    paths: dict[tuple[str, float], list[str]] = {}
    for i, j in there.tolist():
        shade = max(round(float(counts[i, j] / totals[i]), 1), 0.15)
        paths.setdefault(("right" if i == j else "wrong", shade), []).append(f"M{place[j]} {place[i]}h1v1h-1z")
    drawn = Markup("").join(
        Markup('<path class="{}" opacity="{}" d="{}"/>').format(kind, shade, "".join(d)) for (kind, shade), d in sorted(paths.items())
    )
    named = Markup("").join(
        Markup('<rect x="{}" y="{}" width="1" height="1" class="over" data-cell="{},{}"><title>{}</title></rect>').format(
            place[j], place[i], i, j, f"{names[i]} predicted as {names[j]}: {_amount(counts[i, j])}"
        )
        for i, j in there.tolist()
        if f"{i},{j}" in opened
    )
    right = float(np.trace(counts) / max(counts.sum(), 1e-12))
    label = (
        f"confusion matrix of {plural(k, 'class', 'classes')}: "
        f"{100 * right:.0f} % of the images are on the diagonal; the largest errors are listed below"
    )
    return Markup('<svg class="map" viewBox="0 0 {0} {0}" role="img" aria-label="{1}">{2}{3}</svg>').format(k, label, drawn, named)


def similar_order(counts: np.ndarray) -> list[int]:
    """Return an order of classes in which those that are often confused are neighbours (optimal leaf order)."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    k = len(counts)
    if k < 4:
        return list(range(k))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    alike = (shares + shares.T) / 2
    apart = 1.0 / (1.0 + 20.0 * alike)
    np.fill_diagonal(apart, 0.0)
    order = [int(i) for i in leaves_list(linkage(squareform(apart, checks=False), "average", optimal_ordering=True))]
    return order if order[0] <= order[-1] else order[::-1]


def _count_cell(counts: np.ndarray, total: float, cell: tuple[int, int], names: Sequence[str], opened: Collection[str]) -> Markup:
    """Return a cell; a click on its button opens its images, if it opens any."""
    (i, j), value = cell, counts[cell]
    if value <= 0:
        return Markup('<td class="d"></td>') if i == j else Markup("<td></td>")
    share = value / total
    words = f"{names[i]} predicted as {names[j]}: {_amount(value)} of {_amount(total)}"
    style, shade = "d" if i == j else "e", rounded(max(share, 0.12))
    if f"{i},{j}" not in opened:
        return Markup('<td class="{}" style="--a:{}" title="{}">{}</td>').format(style, shade, words, _amount(value))
    return Markup('<td class="{}" style="--a:{}"><button type="button" data-cell="{},{}" title="{}">{}</button></td>').format(
        style, shade, i, j, words, _amount(value)
    )


def _amount(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{value:.1f}"
