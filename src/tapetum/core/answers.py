"""Answers as people and programs read them: labels, one entry a row, and the table that a terminal shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tapetum.core.tables import Dense
from tapetum.core.targets import decode

TOP = 5  # classes shown for a row


def labels(dense: Dense) -> list[Any]:
    """Return the decided label, number or list of labels of each row; None where there is no answer."""
    if dense.answer is None:
        return decode(dense.target, dense.p)
    return decode(dense.target, np.where(dense.ok[:, None], dense.answer, np.nan))


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
    lines = [["image", *(["target"] if several else []), "answer", "probabilities" if _any_classes(answered) else ""]]
    for one in entries(answered, problems, top):
        if not one["answers"]:
            lines.append([one["id"], *([""] if several else []), "-", f"{one['status']}: {one['reason'] or 'no answer'}"])
        for name, entry in one["answers"].items():
            shares = ", ".join(f"{label} {p:.3f}" for label, p in entry.get("p", {}).items())
            lines.append([one["id"], *([name] if several else []), _shown(entry["answer"]), shares])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


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
