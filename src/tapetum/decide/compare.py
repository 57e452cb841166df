"""Is A better than B? The paired difference of any metric with its interval, McNemar's exact test, Holm's correction over many pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import metrics
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.intervals import Interval
from tapetum.core.tables import FINAL, Dense, Predictions, decided
from tapetum.core.words import plural
from tapetum.decide.align import check_targets
from tapetum.decide.simplest import paired


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a comparison of A and B found.

    Args:
        target, metric: what was compared.
        a, b: the score of each on the common rows; None where undefined.
        difference: a − b, with an interval clustered by group.
        better: ``a``, ``b``, or ``neither`` where the interval holds 0 or there is none.
        p: two-sided, that the difference is 0: Student's t, with the clustered standard error and its degrees of freedom.
        only_a, only_b: rows that only one of them has right; None for a regression.
        mcnemar: exact two-sided p of those; it takes rows as independent, so with several rows a group read it beside ``p``.
        n, groups: common rows and groups among them.
        left_out: rows that only one of them answers, and rows without truth.
    """

    target: str
    metric: str
    a: float | None
    b: float | None
    difference: Interval
    better: str
    p: float | None
    only_a: int | None
    only_b: int | None
    mcnemar: float | None
    n: int
    groups: int
    left_out: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**dataclasses.asdict(self), "difference": self.difference.to_dict()}


def compare(
    a: Dense | Predictions,
    b: Dense | Predictions,
    *,
    metric: str = "auto",
    target: str | None = None,
    groups: Mapping[str, str] | None = None,
    weight: Mapping[str, float] | None = None,
) -> Comparison:
    """Compare two answers to the same question on the rows that both answer and whose truth is known.

    Args:
        a: answers; of a table its member ``final`` is taken, or its only one.
        b: the same, matched by row_id.
        metric: any that suits the target; ``auto``: its default.
        target: which one, where tables hold several.
        groups: row_id → group (a manifest's); None: every row is a group of its own.
        weight: row_id → weight; None: each row counts 1.

    Raises:
        DataError: other classes or another truth for the same row, no common row, or a row without a group.
        UserError: several targets and none named; an unknown metric.
    """
    one, two = as_dense(a, target), as_dense(b, target)
    left, right = on_common_rows([one, two])
    rows = left.row_ids.tolist()
    chosen = metrics.default_metric(left.target) if metric == "auto" else metrics.named(metric, left.target).name
    of_row = _values_of(groups, rows, "group") if groups is not None else np.array(rows, dtype=object)
    weights = _values_of(weight, rows, "weight").astype(np.float64) if weight is not None else None
    found = paired(chosen, left, right, of_row, weights)
    only_a, only_b, exact = _mcnemar_of(left, right)
    return Comparison(
        left.target.name,
        chosen,
        metrics.score(chosen, left.target, left.p, left.y, weights, answer=left.answer),
        metrics.score(chosen, left.target, right.p, right.y, weights, answer=right.answer),
        found,
        _better(found, metrics.METRICS[chosen].greater_is_better),
        p_value(found),
        only_a,
        only_b,
        exact,
        len(rows),
        found.groups,
        len(set(one.row_ids.tolist()) | set(two.row_ids.tolist())) - len(rows),
    )


def compare_many(named: Mapping[str, Dense | Predictions], reference: str | None = None, **how: Any) -> pl.DataFrame:
    """Compare each with a reference, or every pair, and correct the p-values by Holm.

    Args:
        named: name → answers.
        reference: its name; None: every pair.
        how: as for :func:`compare`.

    Returns:
        One row a pair: ``a b metric value_a value_b difference low high p holm only_a only_b mcnemar holm_mcnemar n groups
        left_out method``; ``method`` says how bounds were found, or why there are none.
    """
    names = list(named)
    if reference is not None and reference not in named:
        raise UserError(f"there is no {reference!r} to compare with (there are: {listed(names)})")
    pairs = (
        [(n, reference) for n in names if n != reference] if reference else [(n, m) for i, n in enumerate(names) for m in names[i + 1 :]]
    )
    if not pairs:
        raise UserError(f"there is nothing to compare {listed(names)} with", need="two or more")
    check_targets({name: as_dense(one, how.get("target")) for name, one in named.items()})
    found = [compare(named[n], named[m], **how) for n, m in pairs]
    frame = pl.DataFrame(
        [
            {
                "a": n,
                "b": m,
                "metric": c.metric,
                "value_a": c.a,
                "value_b": c.b,
                "difference": c.difference.value,
                "low": c.difference.low,
                "high": c.difference.high,
                "p": c.p,
                "only_a": c.only_a,
                "only_b": c.only_b,
                "mcnemar": c.mcnemar,
                "n": c.n,
                "groups": c.groups,
                "left_out": c.left_out,
                "method": c.difference.method,
            }
            for (n, m), c in zip(pairs, found, strict=True)
        ]
    )
    corrected = [
        pl.Series(name, holm(frame[column].to_list()), dtype=pl.Float64) for name, column in (("holm", "p"), ("holm_mcnemar", "mcnemar"))
    ]
    order = [
        "a",
        "b",
        "metric",
        "value_a",
        "value_b",
        "difference",
        "low",
        "high",
        "p",
        "holm",
        "only_a",
        "only_b",
        "mcnemar",
        "holm_mcnemar",
    ]
    return frame.with_columns(corrected).select(*order, "n", "groups", "left_out", "method")


def mcnemar(only_a: int, only_b: int) -> float:
    """Return McNemar's exact two-sided p-value: are the rows that one alone has right split evenly?

    Source: McNemar 1947 (doi 10.1007/BF02295996), with the binomial in place of chi-square.
    """
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for their number, step down; None stays None and does not count.

    Source: Holm 1979, Scand. J. Stat. 6, 65.
    """
    known = [i for i, value in enumerate(p) if value is not None]
    out: list[float | None] = [None] * len(p)
    worst = 0.0
    for rank, i in enumerate(sorted(known, key=lambda i: p[i])):  # type: ignore[arg-type, return-value]
        worst = max(worst, min(1.0, (len(known) - rank) * float(p[i])))  # type: ignore[arg-type]
        out[i] = worst
    return out


def p_value(difference: Interval) -> float | None:
    """Return the two-sided p-value of a difference by Student's t; None without an interval."""
    from scipy.special import stdtr

    if difference.bounds is None or difference.standard_error is None or difference.freedom is None:
        return None
    if not difference.standard_error:
        return 1.0  # the same answers, or right in the same rows
    return float(2 * stdtr(difference.freedom, -abs(difference.value) / difference.standard_error))


def as_dense(answers: Dense | Predictions, target: str | None = None) -> Dense:
    """Return one target of a table: of its member ``final``, or of its only member."""
    if isinstance(answers, Dense):
        if target is not None and answers.target.name != target:
            raise UserError(f"answers are for target {answers.target.name!r}, not {target!r}")
        return answers
    names = [t.name for t in answers.targets]
    if target is None and len(names) != 1:
        raise UserError(
            f"the predictions hold {plural(len(names), 'target')}: {listed(names)}", need="one of them named", fix="name it: --target NAME"
        )
    members = answers.members
    if FINAL not in members and len(members) != 1:
        raise UserError(
            f"the predictions hold {plural(len(members), 'member')}: {listed(members)}",
            need="one of them named",
            fix="keep the rows of one member",
        )
    return answers.dense(target or names[0], FINAL if FINAL in members else members[0])


def on_common_rows(tables: Sequence[Dense]) -> list[Dense]:
    """Return the tables on the rows that all of them answer and whose truth is known, in the order of the first.

    Raises:
        DataError: different questions, another truth for the same row, or no common row.
    """
    check_targets({f"{i + 1}": t for i, t in enumerate(tables)})
    frames = [pl.DataFrame({"row_id": t.row_ids.tolist()}).with_row_index(f"at{i}").filter(t.ok) for i, t in enumerate(tables)]
    common = frames[0]
    for frame in frames[1:]:
        common = common.join(frame, on="row_id", how="inner", maintain_order="left")
    out = [t.where(common[f"at{i}"].to_numpy()) for i, t in enumerate(tables)]
    y = out[0].y
    for other in out[1:]:
        both = ~np.isnan(y).any(axis=1) & ~np.isnan(other.y).any(axis=1)
        apart = np.flatnonzero(both & (y != other.y).any(axis=1))
        if len(apart):
            raise DataError(
                f"{plural(len(apart), 'row has', 'rows have')} two labels: {listed(out[0].row_ids[apart])}",
                need="the same labels in both",
                fix="where labels were corrected in between, fit the older one again with them",
            )
        y = np.where(np.isnan(y), other.y, y)
    known = np.flatnonzero(~np.isnan(y).any(axis=1))
    if not len(known):
        raise _nothing_common(tables, len(common))
    return [dataclasses.replace(t, y=y).where(known) for t in out]


def _nothing_common(tables: Sequence[Dense], common: int) -> DataError:
    if common:
        return DataError(f"none of the {plural(common, 'row')} that all predict has a label", need="labels in one of the tables")
    ids = " and ".join(dict.fromkeys(repr(str(t.row_ids[0])) for t in tables if len(t.row_ids)))
    return DataError(
        f"no row is predicted by all; the first row ids are {ids}",
        need="common row ids",
        fix="fit all of them on the same folder or table",
    )


def _mcnemar_of(a: Dense, b: Dense) -> tuple[int | None, int | None, float | None]:
    if a.target.kind == "regression":
        return None, None, None
    right_a, right_b = ((decided(t) == (t.y >= 0.5)).all(axis=1) for t in (a, b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return only_a, only_b, mcnemar(only_a, only_b)


def _better(found: Interval, greater: bool) -> str:
    if not found.excludes_zero:
        return "neither"
    return "a" if (found.value > 0) == greater else "b"


def _values_of(table: Mapping[str, Any], rows: Sequence[str], what: str) -> np.ndarray:
    lacking = [row for row in rows if row not in table]
    if lacking:
        raise DataError(
            f"{plural(len(lacking), 'row has', 'rows have')} no {what}: {listed(lacking)}",
            need=f"a {what} for each",
            fix="compare with the manifest that they were made from",
        )
    return np.array([table[row] for row in rows], dtype=object)
