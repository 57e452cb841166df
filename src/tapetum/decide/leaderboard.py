"""Members, ensembles and decision steps side by side, on the same rows, with what separates each from the best."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import intervals, metrics
from tapetum.core.errors import UserError, listed
from tapetum.core.marks import GIVEN, IN_SAMPLE
from tapetum.core.tables import Dense
from tapetum.core.words import plural
from tapetum.decide.compare import holm, on_common_rows, p_value
from tapetum.decide.simplest import paired
from tapetum.decide.steps import Rows


def leaderboard(
    entries: Sequence[tuple[str, Dense]],
    rows: Rows,
    metric: str = "auto",
    *,
    how: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Score entries on the rows that all of them answer.

    The best entry is the best of those that are not in-sample: a figure that was chosen on the rows it is scored on leads nothing.

    Args:
        entries: (name, answers) of one target.
        rows: aligned with the first entry; its groups cluster the intervals, and its weights count in every figure.
        metric: its name; ``auto``: the target's default.
        how: name → how its figure was measured, a word of :mod:`tapetum.core.marks`; others are taken as given.

    Returns:
        Best first: ``rank name metric value low high difference difference_low difference_high p holm tied how n groups answered
        method``. ``difference`` is to the best entry (its own row: 0); ``tied``: the interval of the difference holds 0, or there is
        none; ``answered``: rows that the entry answers, common or not; ``method``: how bounds were found, or why there are none.

    Raises:
        UserError: no entries, or doubled names.
        DataError: as :func:`tapetum.decide.compare.on_common_rows`.
    """
    names = [name for name, _ in entries]
    doubled = sorted(n for n, times in Counter(names).items() if times > 1)
    if not names or doubled:
        raise UserError(
            f"the leaderboard has {plural(len(names), 'entry', 'entries')}{', doubled: ' + listed(doubled) if doubled else ''}",
            need="each name once",
        )
    if len(rows) != len(entries[0][1].row_ids):
        raise UserError(
            f"{plural(len(rows), 'row')} for {plural(len(entries[0][1].row_ids), 'answer')} of {names[0]!r}",
            need="rows aligned with the first entry",
        )
    tables = on_common_rows([dense for _, dense in entries])
    target, y = tables[0].target, tables[0].y
    place = {row: i for i, row in enumerate(entries[0][1].row_ids.tolist())}
    inside = rows.where(np.array([place[row] for row in tables[0].row_ids.tolist()], dtype=np.int64))
    chosen = metrics.default_metric(target) if metric == "auto" else metrics.named(metric, target).name
    sign = metrics.METRICS[chosen].sign
    shared: dict[str, Any] = {"weight": inside.weight}
    estimates = [intervals.interval(chosen, target, t.p, y, inside.groups, answer=t.answer, **shared) for t in tables]
    hows = [(how or {}).get(name, GIVEN) for name in names]

    def standing(i: int) -> tuple[bool, float]:
        value = estimates[i].value
        return hows[i] == IN_SAMPLE, -sign * value if not math.isnan(value) else math.inf

    best = min(range(len(names)), key=standing)
    apart = [paired(chosen, tables[i], tables[best], inside.groups, inside.weight) for i in range(len(names))]
    p = [None if i == best else p_value(d) for i, d in enumerate(apart)]
    corrected = holm(p)
    order = sorted(range(len(names)), key=lambda i: standing(i)[1])
    board = [
        {
            "rank": rank,
            "name": names[i],
            "metric": chosen,
            "value": _plain(estimates[i].value),
            "low": estimates[i].low,
            "high": estimates[i].high,
            "difference": _plain(apart[i].value),
            "difference_low": apart[i].low,
            "difference_high": apart[i].high,
            "p": p[i],
            "holm": corrected[i],
            "tied": i == best or not apart[i].excludes_zero,
            "how": hows[i],
            "n": estimates[i].n,
            "groups": estimates[i].groups,
            "answered": int(entries[i][1].ok.sum()),
            "method": estimates[i].method,
        }
        for rank, i in enumerate(order, start=1)
    ]
    return pl.DataFrame(board, infer_schema_length=None)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
