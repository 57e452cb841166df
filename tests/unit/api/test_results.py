"""Results of the API: mappings that print well, tables in notebooks, data frames."""

from __future__ import annotations

import pickle
import sys

import pytest

from tapetum.api.results import Result
from tapetum.core.errors import EnvironmentFault, UserError

ROWS = [{"class": "<b>cat</b>", "n": 3, "marks": ["a & b"]}, {"class": "dog", "n": None, "marks": []}]


def shown(**more):
    return Result({"table": "class  n\ncat    3", "rows": 2}, rows=ROWS, path="runs/<run>", **more)


def test_a_result_is_the_mapping_that_it_was():
    result = shown()
    assert result == {"table": "class  n\ncat    3", "rows": 2}
    assert {**result}["rows"] == 2
    assert pickle.loads(pickle.dumps(result)).path == result.path


def test_it_prints_its_table_and_where_it_was_written():
    assert repr(shown()) == "class  n\ncat    3\nwritten to runs/<run>"
    assert repr(Result({"a": 1}, lines=["one line"])) == "one line"


def test_html_escapes_every_text():
    page = shown(lines=["<script>alert(1)</script>"])._repr_html_()
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<run>" not in page
    assert "&lt;b&gt;cat&lt;/b&gt;" in page
    assert "a &amp; b" in page


def test_html_shows_first_rows_and_counts_the_rest():
    page = Result({}, rows=[{"n": number} for number in range(1030)])._repr_html_()
    assert page.count("<tr>") == 21
    assert "1,010 more rows" in page


def test_frames_hold_the_rows():
    polars, pandas = shown().to_polars(), shown().to_pandas()
    assert polars["class"].to_list() == pandas["class"].tolist() == ["<b>cat</b>", "dog"]
    assert polars["n"].to_list() == [3, None]


def test_pandas_that_is_absent_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EnvironmentFault, match=r"pandas is not installed.*to_polars"):
        shown().to_pandas()


def test_a_result_without_a_table_says_what_it_has():
    with pytest.raises(UserError, match=r"no table; needed: one of its values: out"):
        Result({"out": "x"}).to_polars()
