from __future__ import annotations

import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from images import quiet, save
from tapetum.core.config import Data
from tapetum.core.errors import DataError
from tapetum.core.targets import Target
from tapetum.data import layouts
from tapetum.data.layouts import several


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Read a table whose target ``t`` has these cells, from CSV where they are text, else from a pandas or polars table."""
    monkeypatch.chdir(tmp_path)

    def read(cells, spec="t:multi", how="csv", log=quiet):
        names = [f"{i}.png" for i in range(len(cells))]
        for name in names:
            save(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
        if how == "pandas":
            return layouts.read(pd.DataFrame({"file": names, "t": cells}), Data(targets=(spec,)), log)
        if how == "polars":
            return layouts.read(pl.DataFrame({"file": names, "t": cells}), Data(targets=(spec,)), log)
        pl.DataFrame({"file": names, "t": cells}).write_csv(tmp_path / "labels.csv")
        return layouts.read(tmp_path / "labels.csv", Data(targets=(spec,)), log)

    return read


@pytest.mark.parametrize(
    "cells",
    [
        ["x|y", "y", "x"],
        ["x;y", "y", "x"],
        ["x,y", "y", "x"],
        ["x , y", " y", "x ,"],
        ["x y", "y", "x"],
        ["'x','y'", "y", "x"],
        ['["x", "y"]', '["y"]', '["x"]'],
        ["['x', 'y']", "['y']", "x"],
        ["['x' 'y']", "['y']", "['x']"],
        ["{'x', 'y'}", "{'y'}", "{'x'}"],
        ["('x', 'y')", "('y',)", "('x',)"],
        ["frozenset({'x', 'y'})", "frozenset({'y'})", "frozenset({'x'})"],
        ["array(['x', 'y'], dtype=object)", "array(['y'], dtype=object)", "['x']"],
        ["[x, y]", "[y]", "[x]"],
    ],
)
def test_separator_of_several_labels_is_found(rows, cells):
    manifest = rows(cells)
    assert [sorted(cell) for cell in manifest.frame["t"].to_list()] == [["x", "y"], ["y"], ["x"]]
    assert manifest.targets[0].classes == ("x", "y")


@pytest.mark.parametrize("how", ["pandas", "polars"])
@pytest.mark.parametrize(
    "cells",
    [
        [["x", "y"], ["y"], []],
        [("x", "y"), ("y",), ()],
        [{"x", "y"}, {"y"}, set()],
        [np.array(["x", "y"]), np.array(["y"]), np.array([], dtype=str)],
    ],
)
def test_lists_tuples_sets_and_arrays_are_labels(rows, how, cells):
    if how == "polars":
        cells = pl.Series("t", cells, dtype=pl.Object) if isinstance(cells[0], set) else [list(cell) for cell in cells]
    assert [sorted(c) for c in rows(cells, how=how).frame["t"].to_list()] == [["x", "y"], ["y"], []]


def test_names_with_blanks_and_commas_stay_whole_beside_another_separator(rows):
    assert rows(["golden retriever|cat", "cat", "cat"]).targets[0].classes == ("cat", "golden retriever")
    assert rows(["Smith, John|Doe, Jane", "Smith, John", "Doe, Jane"]).targets[0].classes == ("Doe, Jane", "Smith, John")
    assert rows(['"Smith, John","Doe, Jane"', '"Doe, Jane"', '"Smith, John"']).targets[0].classes == ("Doe, Jane", "Smith, John")
    assert rows(["['golden retriever', 'cat']", "golden retriever", "cat"]).targets[0].classes == ("cat", "golden retriever")
    whole = {"name": "t", "kind": "multi", "classes": ["golden retriever", "cat"]}
    assert rows(["golden retriever;cat", "golden retriever", "cat"], whole).frame["t"][1].to_list() == ["golden retriever"]
    assert rows(["golden retriever", "golden retriever", "cat"], whole).frame["t"][1].to_list() == ["golden retriever"]


def test_an_answer_is_written_with_the_separator_that_was_read(rows):
    said = []
    assert rows(["x|y", "y", "x"], log=said.append).targets[0].separator == "|"
    assert "labels of one cell are separated by '|' (in 1 of 3 different cells)" in "\n".join(said)
    assert rows([["golden retriever", "cat"], ["cat"], ["cat"]], how="pandas").targets[0].separator == "|"


def test_the_test_table_is_split_as_the_training_table(tmp_path, rows):
    rows(["big cat|dog", "dog", "big cat"])
    save(tmp_path / "new.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "test.csv").write_text("file,t\nnew.png,big cat\n")
    data = Data(targets=("t:multi",), test=(str(tmp_path / "test.csv"),))
    assert layouts.read(tmp_path / "labels.csv", data, quiet).frame["t"].to_list()[-1] == ["big cat"]


def test_two_separators_are_named_with_a_working_flag(rows):
    with pytest.raises(DataError, match=r"separated in 2 ways \('\|', ';'\): row '?1'?: 'x\|y', row '?2'?: 'y;z'") as error:
        rows(["x|y", "y;z", "x"])
    assert 'separator="|"' in str(error.value)
    assert rows(["x|y", "y;z", "x"], {"name": "t", "kind": "multi", "separator": "|"}).targets[0].classes == ("x", "y", "y;z")
    with pytest.raises(DataError, match="printed lists"):
        rows(["['x', 'y']", "x|y", "y"])
    with pytest.raises(DataError, match="separated in 2 ways"):
        rows(["x|y", "z,x", "y"])


def test_empty_list_is_no_label_and_blank_is_unknown(tmp_path, rows):
    assert rows(["x|y", "[]", "y"]).frame["t"].to_list() == [["x", "y"], [], ["y"]]
    with pytest.raises(DataError, match="names a label twice"):
        rows(["x|x", "y", "x"])


@pytest.mark.parametrize(
    "cells",
    [
        ["x|y", "y"],
        ["x;y", "z"],
        ["x,y", "y"],
        ["a, b", "a", "b"],
        ["16 0", "25", "3"],
        ["x y", "x", "y"],
        ["x|y", "y|z", "z|x"],
        ['["x", "y"]', '["y"]'],
        ["['x']", "y"],
        ["{'x', 'y'}", "{'x'}"],
        ["[1, 2]", "[3]"],
    ],
)
def test_cells_like_several_labels_are_named_where_undeclared(rows, cells):
    with pytest.raises(DataError, match="look like several labels") as error:
        rows(cells, "t")
    assert "--target t:multi" in str(error.value)
    assert len(rows(cells, "t:single").targets[0].classes) == len(set(cells))


@pytest.mark.parametrize(
    "cells",
    [
        ["golden retriever", "labrador retriever", "cat"],
        ["Smith, John", "Doe, Jane", "Doe"],
        ["tench, Tinca tinca", "goldfish, Carassius auratus", "crane", "crane, bird"],
        ["New York", "York", "Jersey"],
        ["hot dog", "dog", "cat"],
        ["no tumor", "tumor"],
        ["animal|dog", "animal|cat", "plant|rose"],
        ["1,000", "500", "2,500"],
        ["0-9", "10-19"],
        ["(unknown)", "known"],
        ["[other]", "x", "y"],
        ["a/b", "b/c"],
        ["it's", "isn't"],
        ["2020-01-01 10:00", "2020-01-02 11:30"],
    ],
)
def test_ordinary_names_are_not_taken_for_several_labels(rows, cells):
    assert set(rows(cells, "t").targets[0].classes) == set(cells)


def test_many_different_numbers_suggest_a_regression(rows):
    def said(cells, spec="t"):
        heard = []
        rows(cells, spec, log=heard.append)
        return [text for text in heard if ":regression" in text]

    assert "--target t:regression" in said([str(i) for i in range(30)] * 2)[0]
    assert said([str(i / 10) for i in range(12)] * 9)
    assert not said([str(i) for i in range(30)] * 6)  # thirty classes of six rows
    assert not said(["0", "1", "2"] * 5)
    assert not said([str(i) for i in range(30)], "t:single")
    assert not said([f"n{i}" for i in range(30)])


def test_printed_lists_are_read_in_every_dialect():
    for labels in (["x"], ["a b", "c,d"], ["it's", 'say "x"'], []):
        assert several.read_list(json.dumps(labels)) == labels
        assert several.read_list(repr(labels)) == labels
    assert several.read_list(str(np.array(["x", "y z"]))) == ["x", "y z"]
    assert several.read_list(str(np.array([1, 20]))) == ["1", "20"]
    assert several.read_list("set()") == []
    assert several.read_list("x|y") is None
    assert several.split_cell("[left", Target("t", "multi")) == ["[left"]


@pytest.mark.parametrize("mark", ["/", "+", " & ", "\n", "\t", "\uff1b", "\u3001"])
def test_oddly_joined_labels_never_become_a_class(rows, mark):
    cells = [f"x{mark}y", "y", "x", "z"]
    if mark.strip():
        with pytest.raises(DataError, match="one label or several with") as error:
            rows(cells)
        assert "separator=" in str(error.value)
        with pytest.raises(DataError, match="look like several labels"):
            rows(cells, "t")
        assert f"x{mark}y" in rows(cells, "t:single").targets[0].classes
    else:  # blanks of any kind separate
        assert rows(cells).targets[0].classes == ("x", "y", "z")
    own = {"name": "t", "kind": "multi", "separator": mark.strip() or mark}
    assert rows(cells, own).targets[0].classes == ("x", "y", "z")


def test_names_with_blanks_are_not_split(rows):
    cells = ["golden retriever", "border collie", "pug"]
    with pytest.raises(DataError, match="one label or several with blanks between them"):
        rows(cells)
    assert rows(cells, {"name": "t", "kind": "multi", "separator": "|"}).targets[0].classes == ("border collie", "golden retriever", "pug")
    assert rows(["x y", "y z", "w"]).targets[0].classes == ("w", "x", "y", "z")
    assert rows(["1 2", "3 4", "5"]).targets[0].classes == ("1", "2", "3", "4", "5")


@pytest.mark.parametrize("cell", ['{"x": 1, "y": 0}', "{'x': 1}", '[["x"]]', "[{'x'}]"])
def test_tables_and_nested_lists_in_a_cell_make_no_classes(rows, cell):
    with pytest.raises(DataError, match="one flat list"):
        rows([cell, "x", "y"])


def test_numbers_in_printed_lists_are_called_as_numbers_elsewhere(rows):
    assert rows(["[1.0, 2]", "[2.0]", "[1]"]).targets[0].classes == ("1", "2")


def test_unicode_forms_are_one_class_and_lookalikes_are_logged(rows):
    heard: list[str] = []
    assert rows(["caf\u00e9", "cafe\u0301", "tea"], "t", log=heard.append).targets[0].classes == ("caf\u00e9", "tea")
    assert rows(["caf\u00e9|tea", "cafe\u0301", "tea"]).targets[0].classes == ("caf\u00e9", "tea")
    assert rows(["caf\u00e9", "tea", "tea"], "t:single=cafe\u0301,tea").targets[0].classes == ("caf\u00e9", "tea")
    assert "differ only" not in "\n".join(heard)
    rows(["Cat", "cat", "dog\u200b", "dog", "01", "1.0"], "t", log=heard.append)
    said = "\n".join(heard)
    assert all(f"classes {names} differ only" in said for names in ("'Cat', 'cat'", "'dog', 'dog\\u200b'", "'01', '1.0'"))
