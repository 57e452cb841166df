"""Cells that a spreadsheet takes for formulas: escaped in tables for people and given back to the bit, counted elsewhere."""

from __future__ import annotations

import csv

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tapetum.core import spreadsheets, table_files

FORMULAS = ["=1+1", '=HYPERLINK("http://192.0.2.1")', "+x", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", " =1+1", "-", "-5-5", "＝1"]
PLAIN = ["-5", "+1.5", "-1e-5", "-.5", "-0,25", "a=b", "'tis", "1-2", "", " ", "\t", "'"]
CELLS = st.text(st.one_of(st.sampled_from("'=+-@\t\r\n 1.e,x"), st.characters(exclude_categories=["Cs"])), max_size=8)


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_formula_gets_an_apostrophe(cell):
    assert spreadsheets.escape(cell) == f"'{cell}"
    assert spreadsheets.escape(f"'{cell}") == f"''{cell}"


@pytest.mark.parametrize("cell", PLAIN)
def test_what_is_no_formula_stays(cell):
    assert spreadsheets.escape(cell) == cell == spreadsheets.unescape(cell)


@given(CELLS)
@example("'=1")
@example("''\t=1")
@example("'-5")
def test_every_cell_comes_back(cell):
    written = spreadsheets.escape(cell)
    assert not spreadsheets.is_formula(written)
    assert spreadsheets.unescape(written) == cell


@given(st.lists(CELLS, max_size=5, unique=True))
def test_cells_stay_different(cells):
    assert len({spreadsheets.escape(cell) for cell in cells}) == len(cells)


@given(
    st.lists(st.tuples(CELLS, CELLS, st.none() | st.lists(CELLS, max_size=3), st.floats(allow_nan=False, allow_infinity=False)), max_size=4)
)
def test_a_table_for_people_comes_back(tmp_path_factory, rows):
    """Cells of delimited text have no outer spaces, and a blank one is null; lists keep all."""
    kept = [
        (a.strip(), b.strip() or None, texts, number)
        for a, b, texts, number in rows
        if a.strip() and "\0" not in "".join([a, b, *(texts or ())])
    ]
    schema = {"row_id": pl.String, "comment": pl.String, "labels": pl.List(pl.String), "score": pl.Float64}
    frame = pl.DataFrame(kept, schema=schema, orient="row")
    place = table_files.write_table(tmp_path_factory.mktemp("people") / "t.csv", frame, for_people=True)
    assert table_files.read_table(place, schema, escaped=True).equals(frame)
    with place.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert [cell for cell in cells if spreadsheets.is_formula(cell)] == []


def test_an_id_that_was_never_escaped_is_known():
    assert spreadsheets.unescape("=a", {"=a"}) == "=a"
    assert spreadsheets.unescape("'=a", {"'=a"}) == "'=a"  # of a table that was written before cells were escaped
    assert spreadsheets.unescape("'=a", {"=a", "'=a"}) == "=a"
    assert spreadsheets.unescape("'=a", {"=a"}) == "=a"


def test_formulas_in_a_table_for_machines_are_told_once(tmp_path):
    frame = pl.DataFrame({"row_id": ["=1", "-5", "@a", "b"], "-p": [-0.5, 1.0, 2.0, 3.0]})
    told: list[str] = []
    spreadsheets.warn(tmp_path / "t.csv", frame, told.append)
    spreadsheets.warn(tmp_path / "t.parquet", frame, told.append)
    spreadsheets.warn(tmp_path / "t.csv", frame.select("-p").rename({"-p": "p"}), told.append)
    assert told == ["warning: t.csv: a spreadsheet may take 3 cells for formulas; import the file there as text"]
