from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from images import save
from tapetum.core.config import Data
from tapetum.core.errors import DataError
from tapetum.data import layouts

NAMES = [f"{i}.png" for i in range(4)]
LABELS = ["x", "y", "x", "y"]


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        save(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    heard: list[str] = []

    def go(frame, **data):
        heard.clear()
        return layouts.read(frame, Data(**{"targets": ("label",), **data}), heard.append), "\n".join(heard)

    return go


def test_named_index_is_the_id_column(read):
    index = pd.Index(["a", "b", "c", "d"], name="image_id")
    manifest, said = read(pd.DataFrame({"file": NAMES, "label": LABELS}, index=index))
    assert manifest.row_ids == ["a", "b", "c", "d"]
    assert "index 'image_id' is read as the id column" in said
    manifest, _ = read(pd.DataFrame({"file": NAMES, "label": LABELS}, index=pd.Index([7, 8, 9, 10], name="number")))
    assert manifest.row_ids == ["7", "8", "9", "10"]


def test_an_index_may_hold_files_groups_or_the_target(read):
    frame = pd.DataFrame({"file": NAMES, "label": LABELS})
    assert read(frame.set_index("file"))[0].row_ids == NAMES
    manifest, _ = read(frame.assign(patient=["p", "p", "q", "q"]).set_index("patient"), group="patient")
    assert (manifest.row_ids, manifest.groups.tolist()) == (NAMES, ["p", "p", "q", "q"])
    assert read(frame.set_index("label"))[0].frame["label"].to_list() == LABELS
    both, _ = read(frame.assign(n=range(4), m=[1, 1, 2, 2]).set_index(["m", "n"]), group="m")
    assert both.groups.tolist() == ["1", "1", "2", "2"]
    unnamed, said = read(frame.set_axis(["a", "b", "c", "d"]))
    assert unnamed.row_ids == NAMES
    assert "index has no name and is left out" in said
    assert "index" not in read(frame.iloc[::-1])[1]


def test_index_differing_from_its_namesake_is_refused(read):
    frame = pd.DataFrame({"file": NAMES, "label": LABELS, "n": [1, 2, 3, 4]})
    assert read(frame.set_index("n", drop=False))[0].row_ids == ["1", "2", "3", "4"]
    with pytest.raises(DataError, match="index and one of its columns are both called 'n'"):
        read(frame.set_index(pd.Index([5, 6, 7, 8], name="n")))


def test_doubled_columns_are_refused_by_name(read):
    frame = pd.DataFrame([[n, x, x] for n, x in zip(NAMES, LABELS, strict=True)], columns=["file", "label", "label"])
    with pytest.raises(DataError, match="two columns called label"):
        read(frame)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (pd.Series(["x", "y", "x", "y"], dtype="category"), ("x", "y")),
        (pd.Series([1, 2, 1, 2], dtype="category"), ("1", "2")),
        (pd.Series(["x", "y", "x", "y"], dtype="string"), ("x", "y")),
        (pd.Series([1, 2, 1, 2], dtype="Int64"), ("1", "2")),
        (pd.Series([1.0, 2.0, 1.0, 2.0]), ("1", "2")),
        (pd.Series([True, False, True, False]), ("False", "True")),
        (pd.Series([True, False, True, False], dtype="boolean"), ("False", "True")),
        (pd.Series([1, "b", 1, "b"], dtype=object), ("1", "b")),
        (pd.Series([2**63 + 1, 5, 2**63 + 1, 5], dtype="uint64"), ("5", str(2**63 + 1))),
        (pd.Series(pd.to_datetime(["2020-01-01", "2021-01-01"] * 2)), ("2020-01-01 00:00:00", "2021-01-01 00:00:00")),
        (pd.Series(["01", "1", "01", "1"]), ("01", "1")),
        (pd.Series(["None", "nan", "null", "NA"]), ("NA", "None", "nan", "null")),
    ],
)
def test_every_type_of_a_pandas_column_can_hold_classes(read, labels, classes):
    manifest, _ = read(pd.DataFrame({"file": NAMES, "label": labels}))
    assert set(manifest.targets[0].classes) == set(classes)


@pytest.mark.parametrize("blank", [None, np.nan, pd.NA, pd.NaT])
def test_every_missing_value_of_pandas_is_null(read, blank):
    manifest, _ = read(pd.DataFrame({"file": NAMES, "label": pd.Series(["x", "y", blank, "y"], dtype=object)}), blank="context")
    assert manifest.frame["label"].to_list() == ["x", "y", None, "y"]
    manifest, _ = read(pd.DataFrame({"file": NAMES, "label": pd.Series([1, 2, None, 2], dtype="Int64")}), blank="context")
    assert manifest.frame["label"].to_list() == ["1", "2", None, "2"]


def test_paths_may_be_path_objects_categories_or_lists(read):
    manifest, _ = read(pd.DataFrame({"file": [Path(n) for n in NAMES], "label": LABELS}))
    assert manifest.row_ids == NAMES
    assert read(pd.DataFrame({"file": pd.Categorical(NAMES), "label": LABELS}))[0].row_ids == NAMES
    assert read(pd.DataFrame({"file": np.array(NAMES), "label": np.array(LABELS)}))[0].row_ids == NAMES
    pairs, _ = read(pd.DataFrame({"file": [(Path(n), Path(n)) for n in NAMES], "label": LABELS}))
    assert pairs.frame["path"].to_list() == [[n, n] for n in NAMES]


def test_polars_categories_enums_and_objects_are_read_as_text(read):
    for labels in (pl.Series(LABELS, dtype=pl.Categorical), pl.Series(LABELS, dtype=pl.Enum(["y", "x"]))):
        assert read(pl.DataFrame({"file": NAMES, "label": labels}))[0].frame["label"].to_list() == LABELS
    paths = pl.Series("file", [Path(n) for n in NAMES], dtype=pl.Object)
    assert read(pl.DataFrame([paths, pl.Series("label", LABELS)]))[0].row_ids == NAMES


def test_categories_of_a_parquet_table_are_read_as_text(tmp_path, read):
    pl.DataFrame({"file": NAMES, "label": pl.Series(LABELS, dtype=pl.Categorical)}).write_parquet(tmp_path / "labels.parquet")
    assert read(tmp_path / "labels.parquet")[0].targets[0].classes == ("x", "y")


def test_a_cell_that_no_table_can_hold_is_named(read):
    with pytest.raises(DataError, match=r"row 2 has a dict in column 'label'"):
        read(pd.DataFrame({"file": NAMES, "label": ["x", {"a": 1}, "x", "y"]}))
    with pytest.raises(DataError, match=r"row 1 has a bytes in column 'label'"):
        read(pd.DataFrame({"file": NAMES, "label": [b"x", b"y", b"x", b"y"]}))
    with pytest.raises(DataError, match=r"row 1 has a bytes in column 'label'"):
        read(pl.DataFrame({"file": NAMES, "label": [b"x", b"y", b"x", b"y"]}))
    manifest, said = read(pd.DataFrame({"file": NAMES, "label": LABELS, "box": [{"a": 1}] * 4}))
    assert "row 1 has a dict in column 'box': the column is left out" in said
    assert manifest.row_ids == NAMES
    assert read(pd.DataFrame({"file": NAMES, "label": [datetime.date(2020, 1, i % 2 + 1) for i in range(4)]}))[0]


def test_text_of_labels_beside_lists_is_no_class(read):
    with pytest.raises(DataError, match="separated in 2 ways"):
        read(pd.DataFrame({"file": NAMES, "label": [["x", "y"], "x|y", ["y"], "x"]}), targets=("label:multi",))
    manifest, _ = read(pd.DataFrame({"file": NAMES, "label": [["x", "y"], "x", ["y"], None]}), targets=("label:multi",), blank="context")
    assert manifest.frame["label"].to_list() == [["x", "y"], ["x"], ["y"], None]


def test_numbers_are_called_the_same_whatever_stands_beside_them(read):
    manifest, _ = read(pd.DataFrame({"file": NAMES, "label": [1.0, 2.0, "x", 1]}))
    assert manifest.frame["label"].to_list() == ["1", "2", "x", "1"]
    manifest, _ = read(pd.DataFrame({"file": NAMES, "label": [[1, 2.0], [1.0], [2], []]}), targets=("label:multi",))
    assert manifest.targets[0].classes == ("1", "2")
    manifest, _ = read(pd.DataFrame({"file": NAMES, "label": [np.array("x"), np.array(["x", "y"])] * 2}), targets=("label:multi",))
    assert manifest.frame["label"].to_list() == [["x"], ["x", "y"]] * 2


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_classes_of_short_floats_are_called_as_they_are_written(read, make):
    manifest, _ = read(make({"file": NAMES, "label": np.array([1.1, 2.2, 1.1, 2.2], np.float32)}))
    assert manifest.targets[0].classes == ("1.1", "2.2")


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_list_columns_are_refused_where_one_cell_is_needed(read, make):
    frame = {"file": NAMES, "label": LABELS, "odd": [[1, 2]] * 4}
    with pytest.raises(DataError, match=r"odd = \[1, 2\] \(4 of 4 cells are no numbers\)"):
        read(make(frame), side=("odd",))
    for role in ("group", "id", "split", "weight", "fold", "position"):
        with pytest.raises(DataError, match=r"lists|\[1, 2\]"):
            read(make(frame), **{role: "odd"})


def test_group_has_one_name_despite_blanks_in_the_column(read):
    manifest, _ = read(pd.DataFrame({"file": NAMES, "label": LABELS, "group": [1.0, np.nan, 2.0, 1.0]}))
    assert manifest.frame["group"].to_list() == ["1", None, "2", "1"]


def test_a_split_of_numbers_is_refused_by_name(read):
    with pytest.raises(DataError, match="split = '0'"):
        read(pd.DataFrame({"file": NAMES, "label": LABELS, "split": [0, 0, 1, 1]}))
