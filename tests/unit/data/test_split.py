from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images import quiet
from tapetum.core.config import Split
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data.split import assign_folds, by_group, divided_sequences, fold_table, fold_text, join_duplicates, refuse_divided


def table(labels: str, **columns: list) -> Manifest:
    ids = [f"r{i}" for i in range(len(labels))]
    frame = pl.DataFrame({"row_id": ids, "path": [[f"{i}.png"] for i in ids], "t": list(labels), **columns})
    return Manifest(frame, (Target("t", "single", tuple(sorted(set(labels)))),), Path())


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=6, max_size=20),
    folds=st.integers(2, 5),
    seed=st.integers(0, 3),
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=2),
)
def test_neither_groups_nor_duplicates_nor_extra_rows_cross_folds(sizes, folds, seed, pairs):
    groups = [f"g{i}" for i, size in enumerate(sizes) for _ in range(size)]
    labels = "".join("ab"[i % 2] for i in range(len(groups)))
    splits = ["extra" if i % 7 == 3 else "train" for i in range(len(groups))]
    manifest = table(labels, group=groups, split=splits)
    twins: dict[str, str] = {}
    for n, (one, two) in enumerate(pairs):
        for group in (one, two):
            twins.setdefault(manifest.row_ids[groups.index(f"g{group}")], f"set{n}")
    if len(set(join_duplicates(manifest, twins, quiet).where(manifest.split == "train").groups)) < folds:
        with pytest.raises(DataError, match="groups for"):
            assign_folds(manifest, Split(folds=folds), seed, quiet, duplicates=twins)
        return
    done = assign_folds(manifest, Split(folds=folds), seed, quiet, duplicates=twins)
    fold, train = done.fold, done.split == "train"
    assert set(fold[train]) == set(range(folds))
    for group in set(groups):
        rows = np.array(groups) == group
        assert len(set(fold[rows & train])) <= 1
        if (rows & train).any():
            assert set(fold[rows & ~train]) <= set(fold[rows & train])
    for name in set(twins.values()):
        rows = np.array([twins.get(i) == name for i in done.row_ids]) & train
        assert len(set(fold[rows])) <= 1


def test_folds_by_group_are_drawn_beside_those_by_image():
    manifest = table("abababababab", group=[f"g{i // 2}" for i in range(12)], split=["train"] * 10 + ["test"] * 2)
    how = Split(folds=3, scheme="image", allow_leak="as written")
    images = assign_folds(manifest, how, 0, quiet)
    apart = by_group(images, how, 0)
    crossing = [len(set(images.fold[images.groups == g])) > 1 for g in set(images.groups[:10])]
    assert any(crossing)  # the folds that it starts from cut groups
    assert all(len(set(apart.fold[apart.groups == g])) == 1 for g in set(apart.groups))
    assert set(apart.fold[:10]) == {0, 1, 2}
    assert set(apart.fold[10:]) == {-1}


def test_duplicates_join_whole_groups_and_chains_of_them():
    said: list[str] = []
    manifest = table("ababab", group=["g", "g", "h", "i", "j", "k"], duplicate=["1", None, "1", None, "2", None])
    done = assign_folds(manifest, Split(folds=2), 0, said.append, duplicates={"r2": "x", "r3": "x", "r5": "2"})
    # the column says that r0 and r2 are one image, the mapping that r2 and r3 are; what they call 2 are two sets
    assert done.groups.tolist() == ["g", "g", "g", "g", "j", "k"]
    assert any("2 groups hold duplicates" in text for text in said)


def test_equal_bytes_do_not_hide_the_duplicates_of_the_data():
    manifest = table("abab" * 5, duplicate=["same", "same", *[None] * 18])
    for seed in range(6):  # r1 is in a set by its bytes, too
        fold = assign_folds(manifest, Split(folds=5), seed, quiet, duplicates={"r1": "ab12", "r19": "ab12"}).fold
        assert fold[0] == fold[1] == fold[19]


def test_an_image_found_twice_leaks_once():
    said: list[str] = []
    manifest = table("abab", split=["train", "train", "train", "test"], duplicate=["x", None, None, "x"])
    assign_folds(manifest, Split(folds=2), 0, said.append, duplicates={"r0": "ab12", "r3": "ab12"})
    assert any("1 image is in both the training and the test part" in text for text in said)


def test_duplicates_across_training_and_test_are_said_and_join_nothing():
    said: list[str] = []
    manifest = table("abab", split=["train", "train", "train", "test"])
    done = assign_folds(manifest, Split(folds=2), 0, said.append, duplicates={"r0": "x", "r3": "x"})
    assert done.groups.tolist() == ["r0", "r1", "r2", "r3"]
    assert any("1 image is in both the training and the test part" in text for text in said)


def test_given_folds_win_and_a_crossing_group_is_named():
    said: list[str] = []
    done = assign_folds(table("abab", fold=[1, 0, 0, 1]), Split(folds=5), 0, said.append)
    assert done.fold.tolist() == [1, 0, 0, 1]
    assert any("are those of the data" in text for text in said)
    with pytest.raises(DataError, match="group 'g' is in folds 0, 1"):
        assign_folds(table("abab", fold=[1, 0, 0, 1], group=["g", "g", "h", "i"]), Split(), 0, quiet)
    with pytest.raises(DataError, match="group 'g' is in folds 0, always trains"):
        assign_folds(table("abab", fold=[0, None, None, None], group=["g", "g", "h", "i"]), Split(), 0, quiet)
    with pytest.raises(DataError, match="group 'g' is in splits test, train"):
        assign_folds(table("abab", split=["train", "test", "train", "train"], group=["g", "g", "h", "i"]), Split(), 0, quiet)
    with pytest.raises(DataError, match="every training row out in fold 3"):
        assign_folds(table("abab", fold=[3, 3, 3, 3]), Split(), 0, quiet)


def test_folds_by_image_need_a_reason_and_then_say_so():
    manifest = table("abababab", group=list("gghhiijj"))
    for reason in (None, "", " "):
        with pytest.raises(UserError, match="lets groups cross"):
            assign_folds(manifest, Split(scheme="image", allow_leak=reason), 0, quiet)
        with pytest.raises(UserError, match="heldout_trains"):
            assign_folds(manifest, Split(heldout_trains=True, allow_leak=reason), 0, quiet)
    said: list[str] = []
    done = assign_folds(manifest, Split(scheme="image", folds=4, allow_leak="the write-up did"), 0, said.append)
    assert any("the write-up did" in text for text in said)
    assert sorted(np.bincount(done.fold)) == [2, 2, 2, 2]


NIGHTS = {"sequence": list("nnnnmmmm"), "position": [1.0, 2.0, 3.0, 4.0] * 2}


@pytest.mark.parametrize(
    ("columns", "divided"),
    [
        ({"group": list("ghijklop")}, ["m", "n"]),  # finer than the sequence: each row its own
        ({"group": list("gggghhhh")}, []),
        ({}, []),  # without a group the sequence is it
        ({"group": list("ghijklop"), "fold": [0, 0, 0, 0, 1, 1, 0, 1]}, ["m"]),
        ({"group": list("ghijklop"), "fold": [0, 0, 0, 0, 1, 1, 1, None]}, ["m"]),  # the last row always trains
        ({"group": list("ghijklop"), "fold": [0, 0, 1, 1, 0, 0, 0, 0], "split": ["train"] * 6 + ["test"] * 2}, ["m", "n"]),
        ({"group": list("gghhklop"), "split": ["train"] * 4 + ["test"] * 3 + ["spare"]}, ["n"]),
    ],
)
def test_sequences_that_folds_divide_are_named_and_refused(columns, divided):
    said: list[str] = []
    done = assign_folds(table("abababab", **NIGHTS, **columns), Split(folds=2), 0, said.append)
    assert divided_sequences(done) == divided
    assert any("neighbours of held-out rows train" in text for text in said) == bool(divided)
    refuse_divided(done, Split(), [])  # nothing looks at neighbours
    refuse_divided(done, Split(allow_leak="as written"), ["windows"])
    if divided:
        with pytest.raises(DataError, match=r"--group .*split.allow_leak"):
            refuse_divided(done, Split(), ["windows"])


def test_a_holdout_holds_its_share_out_as_fold_0():
    done = assign_folds(table("ab" * 50), Split(holdout=0.2), 0, quiet)
    assert (done.fold == 0).sum() == 20
    assert (done.fold == -1).sum() == 80
    truth = done.truth("t")
    assert truth[done.fold == 0].sum(axis=0).tolist() == [10, 10]


def test_classes_too_rare_for_every_fold_are_named():
    said: list[str] = []
    done = assign_folds(table("a" * 8 + "b" * 8 + "cc"), Split(folds=4), 0, said.append)
    text = next(text for text in said if "too rare" in text)
    assert "t = c: 2 rows in 2 groups, in 2 folds" in text
    assert "t = a" not in text
    assert len(set(done.fold)) == 4


def test_identities_stand_in_one_fold_and_nobody_counts_them():
    people = [f"p{i // 2}" for i in range(16)]
    plain = table("ab" * 8, group=people, who=people)
    manifest = Manifest(plain.frame, (*plain.targets, Target("who", "single", tuple(sorted(set(people))), scored=False)), Path())
    said: list[str] = []
    done = assign_folds(manifest, Split(folds=4), 0, said.append)
    assert not [text for text in said if "too rare" in text]
    assert "who" not in fold_table(done)["target"].to_list()


def test_sequence_is_a_group_and_few_groups_are_refused():
    manifest = table("abab", sequence=["n1", "n1", "n2", "n2"])
    done = assign_folds(manifest, Split(folds=2), 0, quiet)
    assert done.fold[0] == done.fold[1] != done.fold[2] == done.fold[3]
    with pytest.raises(DataError, match="2 groups for 5 folds"):
        assign_folds(manifest, Split(folds=5), 0, quiet)


def test_table_counts_rows_and_groups_by_class_and_fold():
    manifest = table("aabb", group=["g", "g", "h", "i"], fold=[0, 0, 1, 1])
    counted = fold_table(manifest)
    want = {
        ("all", "", 0): (2, 1),
        ("all", "", 1): (2, 2),
        ("t", "a", 0): (2, 1),
        ("t", "a", 1): (0, 0),
        ("t", "b", 0): (0, 0),
        ("t", "b", 1): (2, 2),
    }
    assert {(t, c, f): (r, g) for t, c, f, r, g in counted.iter_rows()} == want
    assert fold_text(manifest).splitlines() == [
        "             fold 0  fold 1",
        "rows/groups     2/1     2/2",
        "t = a           2/1     0/0",
        "t = b           0/0     2/2",
    ]


def test_several_labels_a_row_and_unknown_targets_to_balance():
    ids = [f"r{i}" for i in range(40)]
    many = [["a"], ["b", "c"], ["a", "c"], None] * 10
    frame = pl.DataFrame({"row_id": ids, "path": [[i] for i in ids], "m": many, "v": [float(i % 10) for i in range(40)]})
    manifest = Manifest(frame, (Target("m", "multi", ("a", "b", "c")), Target("v", "regression")), Path())
    done = assign_folds(manifest, Split(folds=5), 0, quiet)
    by_fold = fold_table(done).filter(pl.col("target") == "m")
    assert by_fold.filter(pl.col("class") == "a")["rows"].to_list() == [4] * 5
    assert by_fold.filter(pl.col("class") == "c")["rows"].to_list() == [4] * 5
    with pytest.raises(UserError, match="Did you mean 'v'"):
        assign_folds(manifest, Split(folds=5, stratify=("vv",)), 0, quiet)


def test_image_in_two_given_folds_is_refused_with_files():
    frame = pl.DataFrame(
        {"row_id": ["train/a", "valid/b", "train/c", "valid/d"], "path": [["x"]] * 4, "t": ["x", "y"] * 2, "fold": [-1, 0] * 2}
    )
    manifest = Manifest(frame, (Target("t", "single", ("x", "y")),), Path())
    twins = {"train/a": "s", "valid/b": "s"}
    with pytest.raises(DataError, match=r"train/a \(always trains\) and valid/b \(held out as fold 0\) show the same image") as error:
        assign_folds(manifest, Split(), 0, quiet, duplicates=twins)
    assert "data.exclude" in str(error.value)
    assert "column" not in str(error.value)
    same = {"train/a": "s", "train/c": "s"}
    assert assign_folds(manifest, Split(), 0, quiet, duplicates=same).fold.tolist() == [-1, 0, -1, 0]
    leaking = Split(scheme="image", allow_leak="as its write-up")
    assert assign_folds(manifest, leaking, 0, quiet, duplicates=twins).fold.tolist() == [-1, 0, -1, 0]
