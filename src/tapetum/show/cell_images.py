"""The images behind the cells of a confusion matrix: which rows a cell opens, and thumbnails of as many as the page has space for."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapetum.core.tables import Dense
from tapetum.show import words
from tapetum.show.thumbnails import Thumbnails

MOST_ROWS = 12  # named for a cell
MOST_NAMED = 2400  # named in all, over the targets
MOST_SHOWN = 72  # thumbnails in all, over the targets


def openable(rows: Dense, given: np.ndarray, thumbnails: Thumbnails, targets: int) -> dict[str, Any]:
    """Return what the cells of a single or ordinal target's confusion matrix open.

    Cells of errors come before those of right predictions, larger ones before smaller; of more cells than can be named, the largest
    errors and the largest right ones are left. Each shows its most confident rows; the first row of every cell gets a thumbnail before
    the second of any.

    Args:
        rows: that have a label and a prediction.
        given: the predicted class of each (N,).
        thumbnails: made here as far as there is space.
        targets: of the run, which share the space.

    Returns:
        ``{"cells": {"i,j": {"n", "rows": [[row_id, p of the prediction, p of the label, image]]}}, "images": [data URI]}``; ``image`` is
        a place in ``images``, −1 where there is none.
    """
    true = rows.y.argmax(1)
    places: dict[tuple[int, int], list[int]] = {}
    for i in np.argsort(-rows.p[np.arange(len(true)), given], kind="stable").tolist():
        places.setdefault((int(true[i]), int(given[i])), []).append(i)
    most = max(MOST_NAMED // targets, 20)
    order = sorted(places, key=lambda cell: (cell[0] == cell[1], -len(places[cell]), cell))
    right = [cell for cell in order if cell[0] == cell[1]][: most // 2]
    order = [*[cell for cell in order if cell[0] != cell[1]][: most - len(right)], *right]
    left, cells = most - len(order), {}  # rows that may be named beside the first of each cell
    for cell in order:
        kept = places[cell][: min(MOST_ROWS, 1 + left)]
        left -= len(kept) - 1
        cells[cell] = kept
    images: list[str] = []
    shown: dict[int, int] = {}
    space = max(MOST_SHOWN // targets, 6)
    for i in [kept[turn] for turn in range(MOST_ROWS) for kept in cells.values() if turn < len(kept)][:space]:
        image, _ = thumbnails.small(str(rows.row_ids[i]))
        if image is not None:
            shown[i] = len(images)
            images.append(image)

    def line(i: int) -> list[Any]:
        name = words.without_middle(str(rows.row_ids[i]), words.LONGEST_ID)
        stated, of_label = (words.percent(float(rows.p[i, k])) for k in (given[i], true[i]))
        return [name, stated, of_label, shown.get(i, -1)]

    opened = {f"{a},{b}": {"n": len(places[a, b]), "rows": [line(i) for i in kept]} for (a, b), kept in cells.items()}
    return {"cells": opened, "images": images, "classes": list(rows.target.classes)}
