"""Hand-written label rules as data: short patterns of labels in a sequence and what becomes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tapetum.core.config import read_toml
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.tables import Dense, decided
from tapetum.decide.bias import one_hot
from tapetum.decide.sequences import arrange
from tapetum.decide.steps import Rows

Rule = tuple[tuple[str, ...], tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Rules:
    """Change labels where patterns match; probabilities stay as they are.

    Args:
        table: the name of a built-in table, a TOML file with ``[[rule]] match = […] becomes = […]``, or a list of such rules.
    """

    table: str | Sequence[Mapping[str, Any]] = "sleep-dragon"
    joint: ClassVar[bool] = True

    @property
    def learns(self) -> bool:
        """Whether fitting reads the labels."""
        return False

    def fit(self, dense: Dense, rows: Rows) -> dict[str, Any]:
        """Return the rules themselves, so that a frozen pipeline needs no file, and the distance between neighbours."""
        rules = read_rules(self.table)
        coded(rules, dense.target.classes)
        return {"rules": [[list(match), list(becomes)] for match, becomes in rules], "step": arrange(rows).step}

    def apply(self, dense: Dense, rows: Rows, fitted: dict[str, Any]) -> Dense:
        """Return the same probabilities with the labels that the rules leave."""
        rules = [(tuple(match), tuple(becomes)) for match, becomes in fitted["rules"]]
        labels = np.where(dense.ok, np.nan_to_num(decided(dense)).argmax(axis=1), -1)
        changed = labels.copy()
        for block in arrange(rows, step=fitted.get("step")):
            block.put(apply_rules(block.take(labels, -1), coded(rules, dense.target.classes)), changed)
        return dataclasses.replace(dense, answer=one_hot(changed, dense))


def apply_rules(labels: np.ndarray, rules: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return class numbers (S, T) after the rules.

    Args:
        labels: (S, T) class numbers, one sequence a row; −1 (no answer) matches nothing.
        rules: pairs of class numbers (L,), pattern and replacement; every pattern is matched on ``labels`` as given, and where two rules
            change one slot the earlier wins.
    """
    out, claimed = labels.copy(), np.zeros(labels.shape, dtype=bool)
    for match, becomes in rules:
        if labels.shape[1] < len(match):
            continue
        hits = (np.lib.stride_tricks.sliding_window_view(labels, len(match), axis=1) == match).all(axis=2)
        s, t = np.nonzero(hits)
        for offset in np.flatnonzero(match != becomes).tolist():
            free = ~claimed[s, t + offset]
            out[s[free], t[free] + offset] = becomes[offset]
            claimed[s[free], t[free] + offset] = True
    return out


def coded(rules: Sequence[Rule], classes: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return rules as class numbers.

    Raises:
        DataError: a rule names a class that the target has not.
    """
    place = {name: i for i, name in enumerate(classes)}
    for name in dict.fromkeys(name for rule in rules for part in rule for name in part):
        if name not in place:
            raise DataError(f"a rule names class {name!r}, the target has {listed(classes)}.{nearest(name, classes)}")
    return [(np.array([place[n] for n in match]), np.array([place[n] for n in becomes])) for match, becomes in rules]


def read_rules(table: str | Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Return the rules of a table: (pattern, replacement) in class names.

    Raises:
        UserError: an unknown table, or a rule whose sides differ in length.
    """
    entries: Any = table
    if isinstance(table, str):
        found = {p.name.removesuffix(".toml"): p for p in (resources.files("tapetum.decide") / "tables").iterdir()}
        if table not in found and not table.endswith(".toml"):
            raise UserError(f"there is no table of rules {table!r} (there are: {listed(sorted(found))}).{nearest(table, found)}")
        entries = read_toml(found[table] if table in found else Path(table)).get("rule")
    if not isinstance(entries, Sequence) or not entries:
        raise UserError(f"rules {table!r} hold no [[rule]]", need="match = […] and becomes = […] in each")
    rules: list[Rule] = []
    for number, entry in enumerate(entries, start=1):
        if set(entry) != {"match", "becomes"} or len(entry["match"]) != len(entry["becomes"]) or not entry["match"]:
            raise UserError(f"rule {number} is {dict(entry)}", need="match and becomes, lists of one length")
        rules.append((tuple(entry["match"]), tuple(entry["becomes"])))
    return rules
