"""A table is CSV or Parquet as its name says, and comes back from a spreadsheet as it was."""

from __future__ import annotations

import polars as pl
import pytest

from tapetum.core import table_files
from tapetum.core.errors import DataError, UserError

SCHEMA = {
    "row_id": pl.String,
    "p": pl.List(pl.Float32),
    "labels": pl.List(pl.String),
    "flag": pl.Boolean,
    "count": pl.Int32,
    "share": pl.Float32,
    "note": pl.String,
}
ROWS = pl.DataFrame(
    {
        "row_id": ["a/1.png", "b,;2", 'ü "3"', "4"],
        "p": [[0.25, 0.75], None, [1.0], []],
        "labels": [["bee"], ["a", 'b"c'], None, ["[x"]],
        "flag": [True, False, None, True],
        "count": [1, None, -3, 4],
        "share": [0.125, 1e-7, None, 2.0],
        "note": ["one, two", None, "line\nbreak", "1,5"],
    },
    schema=SCHEMA,
)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "T.CSV"])
def test_a_table_reads_back_as_it_was(tmp_path, name):
    table_files.write_table(tmp_path / name, ROWS)
    assert table_files.read_table(tmp_path / name, SCHEMA).equals(ROWS)


def test_csv_is_text_and_one_label_stands_plain(tmp_path):
    text = table_files.write_table(tmp_path / "t.csv", ROWS).read_text(encoding="utf-8")
    assert text.splitlines()[:2] == ["row_id,p,labels,flag,count,share,note", 'a/1.png,"[0.25, 0.75]",bee,true,1,0.125,"one, two"']


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.tsv"])
def test_another_ending_is_refused_by_name(tmp_path, name):
    with pytest.raises(UserError, match=rf"{name}.*\.csv or \.parquet"):
        table_files.write_table(tmp_path / name, ROWS)
    assert list(tmp_path.iterdir()) == []


def test_what_a_spreadsheet_makes_of_it_is_read(tmp_path):
    lines = ["sep=;", "share;flag;labels;row_id;;", "0,125;WAHR;bee;a;;", ";;;;;", '1,5;FALSE;"[""x"", ""y""]";b;;']
    (tmp_path / "t.csv").write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n").encode())
    table = table_files.read_table(tmp_path / "t.csv", SCHEMA)
    assert table["row_id"].to_list() == ["a", "b"]
    assert table["share"].to_list() == [0.125, 1.5]
    assert table["flag"].to_list() == [True, False]
    assert table["labels"].to_list() == [["bee"], ["x", "y"]]
    assert table["p"].null_count() == 2


@pytest.mark.parametrize(
    ("column", "cell", "need"), [("flag", "maybe", "true or false"), ("count", "1.5", "a whole number"), ("p", "[1,", "a list")]
)
def test_a_cell_of_another_type_is_named(tmp_path, column, cell, need):
    (tmp_path / "t.csv").write_text(f'row_id,{column}\na,"{cell}"\n', encoding="utf-8")
    with pytest.raises(DataError, match=rf"t\.csv row 'a' has {column} = .*{need}"):
        table_files.read_table(tmp_path / "t.csv", SCHEMA)
    with pytest.raises(DataError, match="no column 'row_id'"):
        table_files.read_table(table_files.write_table(tmp_path / "u.csv", ROWS.drop("row_id")), SCHEMA)


@pytest.mark.parametrize("cell", ["a\rb", "a\nb", "a\r\nb", 'a"b', "a,b"])
def test_cells_with_line_ends_stay_in_their_row(tmp_path, cell):
    frame = pl.DataFrame({"row_id": [cell, "c"], "n": [1, 2]})
    place = table_files.write_table(tmp_path / "t.csv", frame)
    assert table_files.read_table(place, {"row_id": pl.String, "n": pl.Int64}).equals(frame)
    assert b"\r\n" not in place.read_bytes().replace(cell.encode(), b"")
