from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from images import quiet
from tapetum.core.config import Split
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data.lacking import lacking
from tapetum.data.split import assign_folds


def table(labels: str, **columns: list) -> Manifest:
    ids = [f"r{i}" for i in range(len(labels))]
    cells = [None if label == "-" else label for label in labels]
    frame = pl.DataFrame({"row_id": ids, "path": [[f"{i}.png"] for i in ids], "t": cells, **columns})
    return Manifest(frame, (Target("t", "single", tuple(sorted(set(labels) - {"-"}))),), Path())


def test_a_class_wholly_held_out_is_named():
    folds = [-1, -1, 0, 0, 0, 0]
    found = lacking(table("ababcc", fold=folds))
    assert len(found) == 1
    assert "t = c is in the held-out part only (2 rows)" in found[0]
    assert lacking(table("ababab", fold=[-1, -1, -1, -1, 0, 0])) == []


def test_holdout_names_the_class_it_took_whole():
    said: list[str] = []
    manifest = table("a" * 40 + "c" * 10, group=[f"g{i}" for i in range(40)] + ["only"] * 10)
    done = assign_folds(manifest, Split(holdout=0.2), 0, said.append)
    held = bool((done.fold[-10:] == 0).all())
    assert any("t = c" in text for text in lacking(done))
    assert any(("alone (10 rows)" if held else "no held-out row") in text for text in lacking(done))
    assert not [text for text in said if "0 rows in 0 groups" in text]


def test_class_in_one_part_alone_is_named():
    found = lacking(table("ababccd", fold=[0, 1, 1, 0, 1, 1, -1], split=["train"] * 6 + ["test"]))
    assert any(text.startswith("no row trains t = d") for text in found)
    assert any("t = c is in fold 1 only (2 rows)" in text for text in found)
    assert len(found) == 2


def test_extra_rows_teach_a_class_and_unreadable_rows_do_not():
    manifest = table("ababcc", fold=[0, 1, 1, 0, 1, -1], split=["train"] * 5 + ["extra"])
    assert lacking(manifest) == []
    assert "t = c is in fold 1 only" in lacking(manifest, np.arange(6) < 5)[0]


def test_class_without_heldout_rows_is_named_with_one_split():
    assert "t = c has no held-out row" in lacking(table("ababcc", fold=[-1, -1, 0, 0, -1, -1]))[0]


def test_extra_rows_of_test_groups_are_named():
    columns = {"fold": [0, 1, 0, 1, -1, -1], "split": ["train"] * 4 + ["extra", "test"], "group": ["u", "v", "w", "x", "p", "p"]}
    found = lacking(table("abbaab", **columns))
    assert len(found) == 1
    assert "1 extra row shares 1 group with test rows (p)" in found[0]
    assert lacking(table("abbaab", **{**columns, "group": ["u", "v", "w", "x", "p", "q"]})) == []
    assert lacking(table("abbaab", **columns, pseudo=[False] * 4 + [True, False])) == []


def test_several_labels_of_a_row_are_checked_singly():
    frame = pl.DataFrame(
        {"row_id": list("abcd"), "path": [[f"{i}.png"] for i in "abcd"], "m": [["x"], ["x", "y"], ["x"], ["z", "x"]], "fold": [0, 0, 1, 1]}
    )
    found = lacking(Manifest(frame, (Target("m", "multi", ("x", "y", "z")),), Path()))
    assert ["m = y" in found[0], "m = z" in found[1]] == [True, True]


def test_splits_that_leave_nothing_out_say_nothing():
    assert lacking(assign_folds(table("ab" * 20), Split(folds=4), 0, quiet)) == []


@pytest.mark.parametrize("name", ["groups", "split"])
def test_no_column_is_made_anew_for_each_row(monkeypatch, name):
    made, plain = [], getattr(Manifest, name).fget
    monkeypatch.setattr(Manifest, name, property(lambda self: made.append(name) or plain(self)))
    parts = ["train"] * 20 + ["extra"] * 40 + ["test"] * 40
    found = lacking(table("ab" * 50, split=parts, group=[f"g{i % 20}" for i in range(100)]))
    assert any("40 extra rows share 20 groups with test rows" in text for text in found)
    assert len(made) < 10
