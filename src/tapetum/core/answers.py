"""Answers as people and programs read them: labels, one entry a row, and the table that a terminal shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import columns
from tapetum.core.labels import cells_of
from tapetum.core.tables import FINAL, Dense, Predictions, free_name
from tapetum.core.targets import decode

TOP = 5  # classes shown for a row


class Labels(list[Any]):
    """The labels of some images, in order: a list, with the reasons of those that have none.

    Args:
        items: label, number or list of labels of each image; None where it cannot be read.
        problems: place in the list → why the image there cannot be read.
    """

    def __init__(self, items: Iterable[Any] = (), problems: Mapping[int, str] | None = None) -> None:
        super().__init__(items)
        self.problems = dict(problems or {})


class Probabilities(np.ndarray[Any, Any]):
    """Probabilities (N, K) of some images, in order, with ``problems``: row → why the image cannot be read (its row is NaN)."""

    problems: dict[int, str]

    @classmethod
    def of(cls, p: np.ndarray, problems: Mapping[int, str]) -> Probabilities:
        """Return an array with its problems; they stay with the whole array, and not with what is computed from it."""
        out = p.view(cls)
        out.problems = dict(problems)
        return out

    def __array_finalize__(self, whole: Any) -> None:
        self.problems = {}


class ByTarget(dict[str, Any]):
    """Target → labels or probabilities, where a pipeline has several targets, with the same ``problems``."""

    def __init__(self, items: Mapping[str, Any], problems: Mapping[int, str]) -> None:
        super().__init__(items)
        self.problems = dict(problems)


def of_targets(found: Mapping[str, Any], problems: Mapping[int, str]) -> Any:
    """Return the answers of the only target, or those of all by name."""
    return next(iter(found.values())) if len(found) == 1 else ByTarget(found, problems)


def labels(dense: Dense) -> list[Any]:
    """Return the decided label, number or list of labels of each row; None where there is no answer."""
    return decode(dense.target, _decided(dense))


def entries(answered: Mapping[str, Dense], problems: Mapping[int, str], top: int = TOP) -> list[dict[str, Any]]:
    """Return one entry a row.

    Args:
        answered: target → answers, all of the same rows.
        problems: row number → why it has no answer.
        top: most classes listed.

    Returns:
        ``{"id", "status", "reason", "answers": {target: {"answer", "p"}}}``: ``p`` maps the likeliest classes to their probabilities
        (several labels: the decided ones), and is absent for numbers; ``answers`` is empty where the row has none.
    """
    first = next(iter(answered.values()))
    found: list[dict[str, Any]] = [
        {"id": row_id, "status": status, "reason": problems.get(row), "answers": {}}
        for row, (row_id, status) in enumerate(zip(first.row_ids.tolist(), first.status.tolist(), strict=True))
    ]
    for name, dense in answered.items():
        for row, label in enumerate(labels(dense)):
            if label is not None:
                found[row]["answers"][name] = _entry(dense, row, label, top)
    return found


def text_of(answered: Mapping[str, Dense], problems: Mapping[int, str], top: int = TOP) -> str:
    """Return a table for people: a line for each row and target, a row without an answer with its reason."""
    several = len(answered) > 1
    lines = [["image", *(["target"] if several else []), "answer"]]
    ends: list[str | list[str]] = ["probabilities" if _any_classes(answered) else ""]
    for one in entries(answered, problems, top):
        if not one["answers"]:
            lines.append([one["id"], *([""] if several else []), "-"])
            ends.append(f"{one['status']}: {one['reason'] or 'no answer'}")
        for name, entry in one["answers"].items():
            lines.append([one["id"], *([name] if several else []), _shown(entry["answer"])])
            ends.append([f"{label} {p:.3f}" for label, p in entry.get("p", {}).items()])
    before = len(lines[0])
    width = columns.WIDTH - sum(max(len(line[i]) for line in lines) + 2 for i in range(before))
    cells = [end if isinstance(end, str) else _fitting(end, width) for end in ends]
    return columns.aligned([[*line, cell] for line, cell in zip(lines, cells, strict=True)], whole=range(before))


def _fitting(shares: Sequence[str], width: int) -> str:
    """Return classes with their probabilities, the likeliest first and as many as fit, but never none."""
    many = len(shares)
    while many > 1 and len(", ".join(shares[:many])) + 3 * (many < len(shares)) > width:
        many -= 1
    return ", ".join([*shares[:many], *(["…"] if many < len(shares) else [])])


def table_of(answered: Mapping[str, Dense], spec: Mapping[str, Any]) -> Predictions:
    """Return the answers as a Predictions table, member ``final``, role ``test``."""
    hashes = {"manifest_hash": spec["manifest_hash"], "recipe_hash": spec["recipe_hash"]}
    tables = [Predictions.from_dense(d, member=FINAL, source=spec["sources"][name], role="test", **hashes) for name, d in answered.items()]
    return Predictions.concat(tables)


def flat_table(answered: Mapping[str, Dense]) -> pl.DataFrame:
    """Return the answers as one row an image: id, status, then for each target its label and the probability of each class.

    A column of ours that a target is called like gives way: ``row_id`` for ``id``, else ``tapetum_…``.
    """
    first = next(iter(answered.values()))
    id_column = free_name("row_id" if "id" in answered else "id", answered)
    flat: dict[str, Any] = {id_column: first.row_ids.tolist(), free_name("status", answered): first.status.tolist()}
    for name, dense in answered.items():
        before = f"{name}_" if len(answered) > 1 else ""
        flat[name] = cells_of(dense.target, _decided(dense)) if dense.target.kind == "multi" else labels(dense)
        if dense.target.kind != "regression":
            used = {*answered, *flat}
            shares = {free_name(f"{before}p_{c}", used): dense.p[:, k] for k, c in enumerate(dense.target.classes)}
            flat |= {column: np.where(dense.ok, p, np.nan) for column, p in shares.items()}
    return pl.DataFrame(flat, nan_to_null=True, strict=False)


def _decided(dense: Dense) -> np.ndarray:
    """Return what labels are decoded from (N, K): what a step decided, else p; NaN where there is no answer."""
    return dense.p if dense.answer is None else np.where(dense.ok[:, None], dense.answer, np.nan)


def _entry(dense: Dense, row: int, label: Any, top: int) -> dict[str, Any]:
    if dense.target.kind == "regression":
        return {"answer": label}
    p = dense.p[row]
    shown = [k for k in np.argsort(-p, kind="stable").tolist() if dense.target.kind != "multi" or dense.target.classes[k] in label]
    return {"answer": label, "p": {dense.target.classes[k]: float(p[k]) for k in (shown if dense.target.kind == "multi" else shown[:top])}}


def _shown(answer: Any) -> str:
    if isinstance(answer, list):
        return ", ".join(answer) or "no label"
    return f"{answer:.6g}" if isinstance(answer, float) else str(answer)


def _any_classes(answered: Mapping[str, Dense]) -> bool:
    return any(dense.target.kind != "regression" for dense in answered.values())
