import dataclasses

import numpy as np
import polars as pl
import pytest

from simulated_predictions import dense_of, names
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.decide.external import read_array, read_csv, write_array, write_csv

TARGET = Target("k", "single", ("ant", "bee", "cat"))
P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]], dtype=np.float32)


@pytest.fixture
def manifest(tmp_path):
    frame = pl.DataFrame(
        {
            "row_id": ["a", "b", "c", "t"],
            "path": [["a"], ["b"], ["c"], ["t"]],
            "k": ["ant", "bee", None, "cat"],
            "age": [1.0, 2.0, 3.0, 4.0],
            "group": ["g", "g", "h", "i"],
            "split": ["train", "train", "train", "test"],
            "fold": [0, 0, 1, None],
        }
    )
    return Manifest(frame, (TARGET, Target("age", "regression")), tmp_path)


def csv(tmp_path, rows, columns=("id", "p_ant", "p_bee", "p_cat")):
    path = tmp_path / "p.csv"
    path.write_text("\n".join(",".join(str(v) for v in row) for row in [columns, *rows]) + "\n")
    return path


def lines(order=(0, 1, 2, 3), ids="abct"):
    return [(ids[i], *P[i]) for i in order]


def test_rows_are_matched_by_id_and_columns_by_name(manifest, tmp_path):
    turned = [(row[0], row[3], row[1], row[2]) for row in lines((3, 2, 0, 1))]
    table = read_csv(csv(tmp_path, turned, ("id", "p_cat", "p_ant", "p_bee")), manifest, "k", member="theirs")
    dense = table.dense("k", "theirs", ["a", "b", "c", "t"])
    assert np.allclose(dense.p, P)
    assert dense.fold.tolist() == [0, 0, 1, -1]
    assert dense.y[0].tolist() == [1, 0, 0]
    assert np.isnan(dense.y[2]).all()
    assert table.select(role="test").frame["row_id"].to_list() == ["t"]


def test_ids_match_by_file_name_and_that_is_logged(manifest, tmp_path):
    frame = manifest.frame.with_columns(pl.concat_str(pl.lit("images/"), "row_id", pl.lit(".jpg")).alias("row_id"))
    said: list[str] = []
    table = read_csv(csv(tmp_path, lines((3, 0, 2, 1))), dataclasses.replace(manifest, frame=frame), "k", log=said.append)
    ids = [f"images/{name}.jpg" for name in "abct"]
    assert np.allclose(table.dense("k", row_ids=ids).p, P)
    assert any("4 ids are matched by the file name without its ending ('t' is row 'images/t.jpg')" in text for text in said)


def test_a_written_table_is_read_back(manifest, tmp_path):
    dense = dense_of(TARGET, P, P)
    dense = dataclasses.replace(dense, row_ids=np.array(list("abct"), dtype=object))
    again = read_csv(write_csv(tmp_path / "out.csv", dense, print), manifest, "k").dense("k", row_ids=list("abct"))
    assert (again.p == dense.p).all()
    array, ids = write_array(tmp_path / "out.npy", tmp_path / "ids.txt", dense)
    again = read_array(array, ids, manifest, "k", classes=TARGET.classes).dense("k", row_ids=list("abct"))
    assert (again.p == dense.p).all()


def test_ids_of_an_array_may_hold_line_ends_of_unicode(manifest, tmp_path):
    named = dataclasses.replace(manifest, frame=manifest.frame.with_columns(row_id=pl.Series(["a\u2028x", "b\x85x", "c", "t"])))
    dense = dataclasses.replace(dense_of(TARGET, P, P), row_ids=np.array(named.row_ids, dtype=object))
    array, ids = write_array(tmp_path / "out.npy", tmp_path / "ids.txt", dense)
    again = read_array(array, ids, named, "k", classes=TARGET.classes).dense("k", row_ids=named.row_ids)
    assert (again.p == dense.p).all()
    broken = dataclasses.replace(dense, row_ids=np.array(["a\rb", "b", "c", "t"], dtype=object))
    with pytest.raises(DataError, match="ids hold line ends"):
        write_array(tmp_path / "x.npy", tmp_path / "x.txt", broken)


def test_an_array_must_say_its_class_order(manifest, tmp_path):
    path = tmp_path / "p.npy"
    np.save(path, P[:, [2, 0, 1]])
    with pytest.raises(UserError, match="ant,bee,cat"):
        read_array(path, list("abct"), manifest, "k")
    dense = read_array(path, list("abct"), manifest, "k", classes=("cat", "ant", "bee")).dense("k", row_ids=list("abct"))
    assert np.allclose(dense.p, P)
    with pytest.raises(DataError, match=r"\(3, 3\)"):
        read_array(path, list("abc"), manifest, "k", classes=TARGET.classes)


def test_numbered_columns_need_the_order_stated(manifest, tmp_path):
    path = csv(tmp_path, lines(), ("id", "p_0", "p_1", "p_2"))
    with pytest.raises(DataError, match="unknown 0, 1, 2"):
        read_csv(path, manifest, "k")
    assert np.allclose(read_csv(path, manifest, "k", classes=TARGET.classes).dense("k", row_ids=list("abct")).p, P)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", 0.7, 0.2, 0.1), ("b", 0.1, 0.8, 0.1), ("c", "nan", 0.2, 0.6), ("t", *P[3])], "'c'.*finite"),
        ([("a", 0.7, 0.2, 0.1), ("b", "", 0.8, 0.1), ("c", *P[2]), ("t", *P[3])], "'b'.*finite"),
        ([("a", 0.7, 0.2, 0.1), ("b", 0.5, 0.8, 0.1), ("c", *P[2]), ("t", *P[3])], "'b'.*sum to 1"),
        ([("a", 2.5, -1.0, 0.1), *lines((1, 2, 3))], "'a'.*logits"),
        ([("a", "many", 0.2, 0.1), *lines((1, 2, 3))], "'a' has p_ant = 'many'"),
        ([*lines(), ("zz", *P[0])], "not in the manifest: zz"),
        ([*lines(), ("a", *P[0])], "twice: a"),
        ([*lines(), ("", *P[0])], "without an id"),
        (lines((0, 2, 3)), "lacks 1 of 4 rows: b"),
        ([], "no rows"),
    ],
)
def test_what_does_not_fit_is_named_and_refused(manifest, tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read_csv(csv(tmp_path, rows), manifest, "k")


def test_rows_that_lack_can_be_left_uncovered(manifest, tmp_path):
    dense = read_csv(csv(tmp_path, lines((0, 2))), manifest, "k", partial=True).dense("k", row_ids=["a", "b", "c"])
    assert dense.status.tolist() == ["ok", "uncovered", "ok"]
    only_test = read_csv(csv(tmp_path, lines((3,))), manifest, "k")  # a split that is not predicted at all lacks nothing
    assert len(only_test) == 1


def test_other_folds_are_a_leak(manifest, tmp_path):
    columns = ("id", "p_ant", "p_bee", "p_cat", "fold")
    good = [(*row, fold) for row, fold in zip(lines(), (0, 0, 1, -1), strict=True)]
    assert len(read_csv(csv(tmp_path, good, columns), manifest, "k")) == 4
    bad = [(*row, fold) for row, fold in zip(lines(), (1, 0, 1, -1), strict=True)]
    with pytest.raises(DataError, match="another fold than in the manifest: a"):
        read_csv(csv(tmp_path, bad, columns), manifest, "k")
    unsplit = manifest.with_column("fold", [None] * 4)
    assert read_csv(csv(tmp_path, good, columns), unsplit, "k").dense("k", row_ids=list("abct")).fold.tolist() == [0, 0, 1, -1]
    with pytest.raises(DataError, match="more than one fold: g"):
        read_csv(csv(tmp_path, bad, columns), unsplit, "k")


def test_numbers_and_wrong_columns(manifest, tmp_path):
    path = csv(tmp_path, [("a", 1.5), ("b", 2.0), ("c", 2.0), ("t", 9.0)], ("id", "p_age"))
    assert read_csv(path, manifest, "age").dense("age", row_ids=["t"]).p.tolist() == [[9.0]]
    with pytest.raises(DataError, match="absent cat"):
        read_csv(csv(tmp_path, [("a", 0.5, 0.5)], ("id", "p_ant", "p_bee")), manifest, "k")
    with pytest.raises(DataError, match="Did you mean 'id'"):
        read_csv(csv(tmp_path, lines()), manifest, "k", id="idd")
    with pytest.raises(DataError, match="does not exist"):
        read_csv(tmp_path / "no.csv", manifest, "k")
    assert names(2) == ("c0", "c1")
