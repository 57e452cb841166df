"""The images of a review in the order of their worth: leaks, certain errors, suspect labels, other findings, then what is least sure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target

WORTH = ("leak", "label conflict", "label suspect")  # before all other findings
PLAIN = "nothing found"
MOST_TWINS = 4
AROUND = 2  # neighbours of a sequence shown on either side


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a run predicted of each row, by its number; rows without a prediction have NaN.

    Args:
        sure: (N,) probability of the predicted class.
        apart: (N,) how far the members' predictions are from one another.
    """

    sure: np.ndarray
    apart: np.ndarray


@dataclasses.dataclass(frozen=True)
class Queue:
    """The rows to review; lists and arrays go by the number of a row in the manifest.

    Args:
        manifest: rows and files.
        target: whose labels are decided; None: only whether an image is used.
        order: rows, those of most worth first.
        kinds: findings of each.
        notes: the same in words.
        given: labels that each has; an empty tuple is none of the classes, None is unknown.
        suggested: labels that a model would answer, in the same way.
        twins: row → rows that show the same image.
        around: row → rows before and after it in its sequence, in their order.
        sure: (N,) probability of the predicted class; NaN where unknown.
        shares: row → its classes' probabilities, where they are shown.
    """

    manifest: Manifest
    target: Target | None
    order: np.ndarray
    kinds: list[tuple[str, ...]]
    notes: list[str]
    given: list[tuple[str, ...] | None]
    suggested: list[tuple[str, ...] | None]
    twins: Mapping[int, tuple[int, ...]]
    around: Mapping[int, tuple[int, ...]]
    sure: np.ndarray
    shares: Mapping[int, tuple[tuple[str, float], ...]] = dataclasses.field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that a label can be."""
        return () if self.target is None else tuple(self.target.classes)


def build(manifest: Manifest, table: pl.DataFrame, target: Target | None, answers: Answers | None = None) -> Queue:
    """Return the queue of an audit.

    Args:
        manifest: the rows.
        table: an audit of them, rows in any order; rows that it lacks have no findings.
        target: whose labels are decided.
        answers: of a run; None where there is none.
    """
    place = {row_id: row for row, row_id in enumerate(manifest.row_ids)}
    count = len(manifest)
    kinds: list[tuple[str, ...]] = [()] * count
    notes, suspicion = [""] * count, np.full(count, -1.0)
    suggested: list[tuple[str, ...] | None] = [None] * count
    sets: dict[str, list[int]] = {}
    columns = ("row_id", "findings", "note", "suggested", "suspicion", "duplicate", "target")
    for row_id, found, note, labels, score, copies, about in table.select(columns).iter_rows():
        row = place.get(row_id)
        if row is None:
            continue
        kinds[row], notes[row] = tuple(found or ()), note or ""
        answered = labels or (labels is not None and score is not None and target is not None and target.kind == "multi")
        if answered and target is not None and about in (None, target.name):
            suggested[row] = tuple(labels)
        suspicion[row] = -1.0 if score is None else score
        if copies is not None:
            sets.setdefault(copies, []).append(row)
    answers = answers or Answers(np.full(count, np.nan), np.full(count, np.nan))
    return Queue(
        manifest,
        target,
        _order(kinds, suspicion, answers),
        kinds,
        notes,
        _labels(manifest, target),
        suggested,
        {row: tuple(other for other in rows if other != row)[:MOST_TWINS] for rows in sets.values() for row in rows},
        _around(manifest),
        answers.sure,
    )


def disagreement(members: Sequence[Sequence[Dense]], row_ids: Sequence[str]) -> np.ndarray:
    """Return how far members' probabilities are from their mean (total variation), for each row; NaN below two members.

    Args:
        members: the held-out predictions of each, fold by fold.
        row_ids: the rows.
    """
    place = {row_id: row for row, row_id in enumerate(row_ids)}
    if len(members) < 2:
        return np.full(len(row_ids), np.nan)
    stacked = np.full((len(members), len(row_ids), members[0][0].p.shape[1]), np.nan)
    for number, parts in enumerate(members):
        for dense in parts:
            known = np.array([row_id in place for row_id in dense.row_ids])
            stacked[number, [place[row_id] for row_id in dense.row_ids[known]]] = dense.p[known]
    return np.asarray(np.abs(stacked - stacked.mean(axis=0)).sum(axis=2).mean(axis=0) / 2)


def _order(kinds: Sequence[Sequence[str]], suspicion: np.ndarray, answers: Answers) -> np.ndarray:
    ranks = np.full(len(kinds), len(WORTH) + 1.0)
    for row, found in enumerate(kinds):
        if found:
            ranks[row] = min(WORTH.index(kind) if kind in WORTH else len(WORTH) for kind in found)
    unsure = np.where(np.isnan(answers.sure), 1.0, answers.sure) - np.nan_to_num(answers.apart)
    return np.lexsort((np.arange(len(kinds)), unsure, -suspicion, ranks))


def _labels(manifest: Manifest, target: Target | None) -> list[tuple[str, ...] | None]:
    if target is None or target.name not in manifest.frame.columns:
        return [None] * len(manifest)
    cells = manifest.frame[target.name].to_list()
    return [None if cell is None else tuple(cell) if isinstance(cell, list) else (str(cell),) for cell in cells]


def _around(manifest: Manifest) -> dict[int, tuple[int, ...]]:
    columns = manifest.frame.columns
    if "sequence" not in columns or "position" not in columns:
        return {}
    rows: dict[str, list[tuple[float, int]]] = {}
    for row, (name, at) in enumerate(manifest.frame.select("sequence", "position").iter_rows()):
        if name is not None and at is not None:
            rows.setdefault(str(name), []).append((float(at), row))
    out: dict[int, tuple[int, ...]] = {}
    for found in rows.values():
        ordered = [row for _, row in sorted(found)]
        for i, row in enumerate(ordered):
            out[row] = (*ordered[max(i - AROUND, 0) : i], *ordered[i + 1 : i + 1 + AROUND])
    return out
