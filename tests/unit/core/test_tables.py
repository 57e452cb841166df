"""Manifest and Predictions: round trips of every kind, rows matched by id, and what is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tapetum.core import files
from tapetum.core.errors import DataError, UserError
from tapetum.core.expressions import derive_target
from tapetum.core.schema import KEY
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.targets import Target

BREED = Target("breed", "single", ("akita", "boxer", "pug"))
TAGS = Target("tags", "multi", ("wet", "dark"))
SIZE = Target("size", "ordinal", ("small", "large"))
AGE = Target("age", "regression", borders=(2.0, 9.0))
BOTH = derive_target("both", "breed*2 + size", {"breed": BREED, "size": SIZE})
KINDS = (BREED, TAGS, SIZE, AGE)


def manifest(**columns):
    frame = pl.DataFrame(
        {
            "row_id": ["c", "a", "b"],
            "path": [["c.png"], ["x/a_1.png", "x/a_2.png"], ["b.zip!/b.png"]],
            "breed": ["pug", None, "akita"],
            "tags": pl.Series([["wet"], [], None], dtype=pl.List(pl.String)),
            "size": ["small", "large", "large"],
            "age": [1.5, None, 11.0],
            "count": [1, 2, 3],
        }
    ).with_columns(pl.Series(name, values) for name, values in columns.items())
    return Manifest(frame, (*KINDS, BOTH), Path("images"), ("count",))


def dense(target, n=4, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.random((n, target.width)).astype(np.float32)
    y = (rng.random((n, target.width)) < 0.5).astype(np.float32)
    if target.is_distribution:
        p, y = p / p.sum(axis=1, keepdims=True), np.eye(target.width, dtype=np.float32)[rng.integers(0, target.width, n)]
    p[1], y[2] = np.nan, np.nan
    status = np.array(["ok", "missing", "ok", "ok"], dtype=object)[:n]
    ids = np.array([f"row-{i}" for i in range(n)], dtype=object)
    return Dense(target, ids, p, y, np.arange(n, dtype=np.int16) % 2, status)


def assert_same(one, other):
    assert one.target == other.target
    for name in ("row_ids", "p", "y", "fold", "status"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


# ------------------------------------------------------------------------------------------------------------ manifest


def test_a_manifest_reads_back_as_it_was_written(tmp_path):
    written = manifest(
        group=["g", "g", None], split=["train", None, "test"], weight=[1.0, 2.0, None], position=[1, 2, 3], fold=[0, 1, None]
    )
    written.write(tmp_path / "manifest.parquet")
    read = Manifest.read(tmp_path / "manifest.parquet")
    assert read.frame.equals(written.frame)
    assert (read.targets, read.root, read.side) == (written.targets, written.root.absolute(), written.side)
    assert read.content_hash() == written.content_hash()
    moved = Manifest.read(tmp_path / "manifest.parquet", root=tmp_path)
    assert moved.paths(1) == [tmp_path / "x/a_1.png", tmp_path / "x/a_2.png"]
    assert moved.content_hash() == written.content_hash()


def test_columns_that_are_absent_or_null_have_their_defaults():
    bare = manifest()
    assert bare.split.tolist() == ["train"] * 3
    assert bare.fold.tolist() == [-1] * 3
    assert bare.weight.tolist() == [1.0] * 3
    assert bare.groups.tolist() == ["c", "a", "b"]
    assert bare.frame["sha256"].null_count() == 3
    given = manifest(
        group=["g", None, None], sequence=["s", "s", None], split=["test", None, "extra"], weight=[None, 0.5, 1], fold=[None, 2, 0]
    )
    assert given.groups.tolist() == ["g", "s", "b"]
    assert given.split.tolist() == ["test", "train", "extra"]
    assert given.fold.tolist() == [-1, 2, 0]
    assert given.weight.tolist() == [1.0, 0.5, 1.0]


def test_truth_is_coded_and_derived_truth_is_composed():
    rows = manifest()
    np.testing.assert_array_equal(rows.truth("breed"), [[0, 0, 1], [np.nan] * 3, [1, 0, 0]])
    np.testing.assert_array_equal(rows.truth("tags"), [[1, 0], [0, 0], [np.nan] * 2])
    np.testing.assert_array_equal(rows.truth("age"), [[1.5], [np.nan], [11]])
    both = rows.truth("both")
    assert (both[0].argmax(), both[2].argmax()) == (4, 1)
    assert np.isnan(both[1]).all()


def test_rows_are_picked_and_columns_replaced_without_touching_the_rest():
    rows = manifest(fold=[0, 1, 0])
    assert rows.where(rows.fold == 0).row_ids == ["c", "b"]
    assert rows.where(np.array([2, 0])).row_ids == ["b", "c"]
    assert rows.with_column("fold", [2, 2, 2]).fold.tolist() == [2, 2, 2]
    assert rows.fold.tolist() == [0, 1, 0]


def test_the_content_hash_follows_truth_and_images_but_not_folds():
    one = manifest().content_hash()
    assert manifest(fold=[0, 1, 2]).content_hash() == one
    assert manifest(breed=["pug", "pug", "akita"]).content_hash() != one
    assert manifest(sha256=["1", "2", "3"]).content_hash() != one


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"row_id": ["a", "a", "b"]}, "1 id is in more than one row: a"),
        ({"row_id": ["a", None, "b"]}, "row_id in every row"),
        ({"split": ["train", "tset", None]}, "row 'a' has split = 'tset'"),
        ({"position": ["1", "two", "3"]}, "column 'position'"),
        ({"fold": ["x", "1", "2"]}, "column 'fold'"),
    ],
)
def test_a_broken_manifest_is_refused(columns, says):
    with pytest.raises(DataError, match=says):
        manifest(**columns)


def test_target_without_a_column_or_reserved_is_refused():
    frame = manifest().frame
    with pytest.raises(DataError, match=r"no column 'bread'.*Did you mean 'breed'"):
        Manifest(frame, (Target("bread"),), Path())
    with pytest.raises(UserError, match="name with a meaning"):
        Manifest(frame, (Target("path"),), Path())
    with pytest.raises(UserError, match="Did you mean 'breed'"):
        manifest().target("bred")


def test_a_table_that_is_something_else_is_named(tmp_path):
    files.write_parquet(tmp_path / "t.parquet", pl.DataFrame({"a": [1]}))
    with pytest.raises(DataError, match="not a manifest"):
        Manifest.read(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="not predictions"):
        Predictions.read(tmp_path / "t.parquet")


# --------------------------------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("target", KINDS, ids=lambda t: t.kind)
def test_matrices_survive_the_table_and_the_file(target, tmp_path):
    before = dense(target)
    table = Predictions.from_dense(before, member="m", source="head", checkpoint="epoch-003", draw=2, manifest_hash="h", recipe_hash="r")
    table.write(tmp_path / "oof.parquet")
    read = Predictions.read(tmp_path / "oof.parquet")
    assert read.frame.equals(table.frame)
    assert (read.targets, read.manifest_hash, read.recipe_hash) == ((target,), "h", "r")
    assert_same(read.dense(target.name, "m"), before)
    assert read.frame["p"].null_count() == 1
    assert read.frame["y"].null_count() == 1
    assert not any(read.frame[name].null_count() for name in KEY)


def test_several_targets_share_a_table():
    parts = [dense(t, seed=i) for i, t in enumerate(KINDS)]
    table = Predictions.from_dense(parts)
    assert len(table) == 16
    for part in parts:
        assert_same(table.dense(part.target.name), part)


def test_rows_are_matched_by_id_never_by_place():
    part = dense(BREED)
    table = Predictions.from_dense(part)
    found = table.dense("breed", row_ids=["row-3", "unseen", "row-0"])
    np.testing.assert_array_equal(found.p[[0, 2]], part.p[[3, 0]])
    assert np.isnan(found.p[1]).all()
    assert found.status.tolist() == ["ok", "uncovered", "ok"]
    assert found.fold.tolist() == [1, -1, 0]
    assert found.scorable.tolist() == [True, False, True]


def test_no_rows_are_a_table_too(tmp_path):
    table = Predictions.from_dense(dense(BREED).where(np.zeros(4, bool)))
    assert len(Predictions.read(table.write(tmp_path / "none.parquet"))) == 0


def test_new_probabilities_forget_decisions_and_mark_what_is_lost():
    part = dense(BREED)
    decided = Dense(**{**part.__dict__, "answer": np.eye(3)[[0, 1, 2, 0]]})
    np.testing.assert_array_equal(decided.where(np.array([3, 1])).answer, np.eye(3)[[0, 1]])
    p = part.p.copy()
    p[3] = np.nan
    changed = decided.with_p(p)
    assert changed.answer is None
    assert changed.status.tolist() == ["ok", "missing", "ok", "uncovered"]
    assert part.status.tolist() == ["ok", "missing", "ok", "ok"]


def test_two_predictions_of_a_row_must_be_told_apart():
    part = dense(BREED)
    table = Predictions.concat([Predictions.from_dense(part, checkpoint=c) for c in ("epoch-001", "epoch-002")])
    with pytest.raises(DataError, match="row 'row-0' has 2 predictions of 'breed' by 'final'; needed: one"):
        table.dense("breed")
    assert_same(table.dense("breed", checkpoint="epoch-002"), part)
    assert table.members == ["final"]
    with pytest.raises(DataError, match="occurs twice"):
        Predictions.concat([table, table])


def test_another_class_order_is_refused():
    turned = Target("breed", "single", ("pug", "boxer", "akita"))
    with pytest.raises(DataError, match=r"classes akita, boxer, pug in one table and pug, boxer, akita in another"):
        Predictions.concat([Predictions.from_dense(dense(t), member=t.classes[0]) for t in (BREED, turned)])


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("p", [0.5, 0.5], "2 values in p for target 'breed'; needed: 3"),
        ("p", [0.5, 0.2, float("nan")], "finite"),
        ("p", [0.5, 0.2, 0.2], "sum to 1"),
        ("p", [1.5, -0.5, 0.0], "from 0 to 1"),
        ("p", None, "status 'ok' and p null"),
        ("y", [1.0, 1.0, 0.0], "sum to 1"),
        ("status", "missing", "status 'missing' and p set"),
        ("status", "gone", "status = 'gone'"),
        ("role", "train", "role = 'train'"),
        ("source", "guess", "source = 'guess'"),
        ("fold", None, "nulls in fold"),
        ("row_id", "row-2", "occurs twice"),
        ("target", "bread", "name target 'bread', whose classes are not stated"),
    ],
)
def test_a_broken_row_is_refused_and_named(column, value, says):
    frame = Predictions.from_dense(dense(BREED)).frame
    values = frame[column].to_list()
    values[0] = value
    if column == "row_id":
        frame = frame.with_columns(fold=pl.lit(0, pl.Int16))
    with pytest.raises(DataError, match=says):
        Predictions(frame.with_columns(pl.Series(column, values, dtype=frame.schema[column], strict=False)), (BREED,))


def said(target):
    """Return answers whose decided labels are not those of the largest p (or of p ≥ ½)."""
    part = dense(target)
    most = np.nan_to_num(part.p).argmax(axis=1)
    answer = (1 - (part.p >= 0.5) if target.kind == "multi" else np.eye(target.width)[most - 1]).astype(np.float32)
    answer[1] = np.nan  # the row that is missing
    return dataclasses.replace(part, answer=answer)


@pytest.mark.parametrize("target", [BREED, TAGS, SIZE], ids=lambda t: t.kind)
def test_decided_labels_survive_the_table_the_file_and_another_order(target, tmp_path):
    before = said(target)
    read = Predictions.read(Predictions.from_dense(before).write(tmp_path / "oof.parquet"))
    np.testing.assert_array_equal(read.dense(target.name).answer, before.answer)
    turned = read.dense(target.name, row_ids=["row-3", "unseen", "row-0"])
    np.testing.assert_array_equal(turned.answer, [before.answer[3], [np.nan] * target.width, before.answer[0]])
    both = Predictions.concat([read, Predictions.from_dense(dense(AGE))]).select(target=target.name)
    np.testing.assert_array_equal(both.dense(target.name).answer, before.answer)
    assert read.frame["answer"].null_count() == 1
    assert read.dense(target.name, row_ids=["unseen"]).answer is None


def test_numbers_and_undecided_answers_have_no_labels_in_the_table():
    number = dataclasses.replace(dense(AGE), answer=np.ones((4, 1), np.float32))
    table = Predictions.from_dense([number, dense(BREED)])
    assert table.frame["answer"].null_count() == len(table)
    assert table.dense("age").answer is None
    assert table.dense("breed").answer is None


def test_undecided_rows_get_the_plain_decision():
    part, decided_part = dense(BREED).where(np.array([0, 1])), said(BREED).where(np.array([2, 3]))
    found = Predictions.concat([Predictions.from_dense(part), Predictions.from_dense(decided_part)]).dense("breed")
    np.testing.assert_array_equal(found.answer[0], np.eye(3)[part.p[0].argmax()])
    assert np.isnan(found.answer[1]).all()
    np.testing.assert_array_equal(found.answer[2:], decided_part.answer)


def test_table_without_decided_labels_is_read_as_undecided(tmp_path):
    table = Predictions.from_dense(dense(BREED))
    meta = {"targets": [BREED.to_dict()], "manifest": "m", "recipe": "r"}
    read = Predictions.read(files.write_parquet(tmp_path / "old.parquet", table.frame.drop("answer"), meta))
    assert read.frame.equals(table.frame)
    assert read.dense("breed").answer is None


@pytest.mark.parametrize(
    ("target", "row", "value", "says"),
    [
        (BREED, 0, [1.0, 0.0], "2 values in answer for target 'breed'; needed: 3"),
        (BREED, 0, [1.0, 1.0, 0.0], r"row 'row-0' of target 'breed' has answer = .*; needed: 1 for one class"),
        (SIZE, 0, [0.0, 0.0], "1 for one class"),
        (TAGS, 0, [0.4, 0.6], "0 or 1 for each class"),
        (TAGS, 0, [float("nan"), 1.0], "0 or 1 for each class"),
        (BREED, 1, [1.0, 0.0, 0.0], "row 'row-1' has status 'missing' and an answer"),
        (AGE, 0, [1.0], "a regression, has an answer"),
    ],
)
def test_a_broken_decision_is_refused_and_named(target, row, value, says):
    frame = Predictions.from_dense(dense(target)).frame
    values = [value if i == row else None for i in range(4)]
    with pytest.raises(DataError, match=says):
        Predictions(frame.with_columns(pl.Series("answer", values, dtype=pl.List(pl.Float32))), (target,))


def test_no_label_is_a_decision_where_several_may_be():
    none = dataclasses.replace(dense(TAGS), answer=np.zeros((4, 2), np.float32))
    assert Predictions.from_dense(none).dense("tags").answer[[0, 2, 3]].tolist() == [[0, 0]] * 3


def test_a_table_without_its_columns_is_refused():
    with pytest.raises(DataError, match="lacks the columns p"):
        Predictions(Predictions.from_dense(dense(BREED)).frame.drop("p"), (BREED,))


@pytest.mark.parametrize(
    ("column", "cells", "says"),
    [
        ("weight", [1.0, -0.5], "no numbers of 0 or more"),
        ("weight", ["1", "nan"], "no numbers of 0 or more"),
        ("weight", [1.0, float("inf")], "no numbers of 0 or more"),
        ("weight", [[1.0], [2.0]], "no numbers of 0 or more"),
        ("position", [0.0, float("nan")], "no numbers"),
        ("fold", [0, -2], "no whole numbers"),
        ("fold", ["0.5", "1"], "no whole numbers"),
        ("fold", [0, 70000], "no whole numbers"),
        ("group", [["a"], ["b"]], "no texts"),
    ],
)
def test_an_optional_column_holds_what_its_name_says(column, cells, says):
    frame = pl.DataFrame({"row_id": ["a", "b"], "path": [["a.png"], ["b.png"]], column: cells})
    with pytest.raises(DataError, match=f"column '{column}' holds values that are {says}"):
        Manifest(frame, (), Path())


def test_folds_that_pandas_made_into_floats_are_folds():
    frame = pl.DataFrame({"row_id": ["a", "b", "c"], "path": [["a.png"], ["b.png"], ["c.png"]], "fold": ["0.0", "1.0", None]})
    assert Manifest(frame, (), Path()).fold.tolist() == [0, 1, -1]
