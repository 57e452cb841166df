"""Groups, truths and parts of a manifest go through columns: the same values as row by row, and no object for each row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapetum.core import folds
from tapetum.core.config import Split
from tapetum.core.errors import DataError
from tapetum.core.schema import statuses
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target, encode
from tapetum.data import split
from tapetum.decide import steps

LABEL = Target("label", "single", ("b", "a", "ä"))
AGE = Target("age", "regression", ())


def manifest(labels, groups=None, targets=(LABEL,), **columns):
    ids = [f"r{n}" for n in range(len(labels))]
    frame = pl.DataFrame({"row_id": ids, "path": [[f"{i}.png"] for i in ids], targets[0].name: labels, **columns})
    return Manifest(frame if groups is None else frame.with_columns(pl.Series("group", groups, dtype=pl.String)), targets, Path())


@given(st.lists(st.sampled_from(["a", "b", "ä", None]), min_size=1, max_size=30))
def test_a_truth_matrix_is_that_of_each_row(labels):
    found = manifest(pl.Series(labels, dtype=pl.String)).truth("label")
    assert found.dtype == np.float32
    assert np.array_equal(found, encode(LABEL, labels), equal_nan=True)


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-5, 5).map(float)), min_size=1, max_size=20))
def test_a_column_of_numbers_is_that_of_each_row(values):
    found = manifest(pl.Series(values, dtype=pl.Float64), targets=(AGE,)).truth("age")
    assert np.array_equal(found, encode(AGE, values), equal_nan=True)
    assert found.flags.writeable


def test_a_label_of_other_bytes_is_still_its_class():
    assert manifest(["a\u0308", "a"]).truth("label").argmax(axis=1).tolist() == [2, 1]


def test_an_unknown_label_still_names_its_row():
    with pytest.raises(DataError, match="row 'r1' has label = 'c'"):
        manifest(["a", "c"]).truth("label")


@given(st.lists(st.sampled_from(["g", "h", "i", None]), min_size=1, max_size=30))
def test_groups_are_those_of_each_row(groups):
    found = manifest(["a"] * len(groups), groups).groups
    assert found.tolist() == [f"r{n}" if group is None else group for n, group in enumerate(groups)]
    assert found.dtype == object


def test_alike_groups_are_one_object():
    """Of ten million rows each object is 60 bytes."""
    found = manifest(["a"] * 100, [f"group {n % 3}" for n in range(100)]).groups
    assert len({id(group) for group in found}) == 3


def test_alike_splits_sequences_and_statuses_are_one_object():
    half = np.arange(100) < 50
    whole = manifest(["a"] * 100, split=["train"] * 50 + ["test"] * 50, sequence=["night 1"] * 50 + ["night 2"] * 50)
    rows = steps.Rows.of(whole)
    assert rows.sequence is not None
    found = {"split": whole.split, "sequence": rows.sequence, "status": statuses(half), "uncovered": statuses(half, missing=~half)}
    assert {name: len({id(value) for value in values}) for name, values in found.items()} == dict.fromkeys(found, 2)
    assert found["status"].tolist() == ["ok"] * 50 + ["missing"] * 50


def test_what_is_neither_there_nor_missing_is_uncovered():
    found = statuses(np.array([True, False, False]), missing=np.array([False, True, False]))
    assert found.tolist() == ["ok", "missing", "uncovered"]


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
def test_a_part_has_its_rows(mask, data):
    whole = manifest(["a"] * len(mask))
    numbers = np.flatnonzero(mask)
    assert whole.where(np.array(mask)).row_ids == whole.where(numbers).row_ids == [f"r{n}" for n in numbers]
    start = data.draw(st.integers(0, len(mask)))
    stop = data.draw(st.integers(start, len(mask)))
    assert whole.where(range(start, stop)).row_ids == [f"r{n}" for n in range(start, stop)]


def test_rows_taken_twice_are_still_refused():
    with pytest.raises(DataError, match="more than one row"):
        manifest(["a", "b"]).where(np.array([0, 0]))


@given(st.permutations([f"g{n % 7}" for n in range(40)]))
def test_folds_do_not_depend_on_the_order_of_groups(groups):
    rows = np.array(groups, dtype=object)
    truth = {"label": encode(LABEL, ["a" if int(g[1:]) % 2 else "b" for g in groups])}
    found = folds.assign(truth, [LABEL], rows, 3, 0)
    by_group = {g: {int(f) for g_, f in zip(groups, found, strict=True) if g_ == g} for g in set(groups)}
    assert all(len(one) == 1 for one in by_group.values())
    assert by_group == BY_GROUP


PLAIN = [f"g{n % 7}" for n in range(40)]
_FOLD = folds.assign(
    {"label": encode(LABEL, ["a" if int(g[1:]) % 2 else "b" for g in PLAIN])}, [LABEL], np.array(PLAIN, dtype=object), 3, 0
)
BY_GROUP = {g: {int(f)} for g, f in zip(PLAIN, _FOLD, strict=True)}


def test_extra_rows_follow_their_group_all_the_same():
    parts = ["train"] * 8 + ["extra"] * 2
    rows = manifest(["a", "b"] * 5, [f"g{n % 4}" for n in range(10)], split=parts)
    found = split.assign_folds(rows, Split(folds=2), 0, lambda _: None)
    assert found.fold[8:].tolist() == found.fold[:2].tolist()
