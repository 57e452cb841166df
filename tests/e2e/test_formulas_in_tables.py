"""Ids like formulas: escaped in tables for people and understood again, kept and told in tables that are matched by id."""

from __future__ import annotations

import csv

import polars as pl
import pytest

import small_runs
from images import plant
from tapetum.core.tables import Manifest
from tapetum.data.audit import read_decisions

IDS = ["=1+1", "@b", "'=1+1", "+c", "-d", "e", "-6", "g", "h", "i", "j", "k"]
WARNED = "a spreadsheet may take 4 cells for formulas"


def _cells(place, column):
    with place.open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    place = tmp_path_factory.mktemp("formulas")
    plant(place, classes=2, each=6, size=24)
    files = sorted(path.relative_to(place).as_posix() for path in (place / "images").rglob("*.png"))
    labels = [file.split("/")[1] for file in files]
    pl.DataFrame({"id": IDS, "file": files, "label": labels}).write_csv(place / "labels.csv")
    pl.DataFrame({"id": IDS, "label": [labels[0]] * 12}).write_csv(place / "template.csv")
    flags = small_runs.flags(train__epochs=0, data__group=None)
    declared = ("--id", "id", "--path", "file")
    words = {
        "fit": (place / "labels.csv", "-o", place / "run", *flags, *declared),
        "audit": (place / "run", "-o", place / "audit.csv"),
        "review": (place / "run", "--export", "--audit", place / "audit.csv", "--decisions", place / "r.sqlite", "-o", place / "d.csv"),
        "split": (place / "labels.csv", "--target", "label", *declared, "-o", place / "folds.csv"),
        "predict": (place / "run", place / "labels.csv", *declared, "-o", place / "p.csv"),
        "evaluate": (place / "run", place / "labels.csv", *declared, "-o", place / "e.csv"),
        "submit": (place / "run", "--template", place / "template.csv", "-o", place / "s.csv"),
    }
    said = {name: small_runs.cli(name, *given, verbose=False) for name, given in words.items()}
    assert {name: one.err for name, one in said.items() if one.code} == {}
    return place, said


def test_tables_for_people_escape_formulas(told):
    place, _ = told
    wanted = ["'=1+1", "'@b", "''=1+1", "'+c", "'-d", "e", "-6", "g", "h", "i", "j", "k"]
    assert sorted(_cells(place / "audit.csv", "row_id")) == sorted(wanted)
    assert sorted(_cells(place / "d.csv", "row_id")) == sorted(wanted)


@pytest.mark.parametrize(
    ("command", "table", "column"), [("predict", "p.csv", "id"), ("split", "folds.csv", "row_id"), ("submit", "s.csv", "id")]
)
def test_tables_matched_by_id_keep_ids_and_tell(told, command, table, column):
    place, said = told
    assert sorted(_cells(place / table, column)) == sorted(IDS)
    assert said[command].err.count(WARNED) == 1


def test_an_evaluation_tells_of_formulas_once(told):
    assert told[1]["evaluate"].err.count(WARNED) == 1


@pytest.mark.parametrize("is_escaped", [True, False])
def test_edited_decisions_find_their_rows(told, tmp_path, is_escaped):
    place, _ = told
    rows = pl.read_csv(place / "d.csv", infer_schema=False)
    if not is_escaped:  # a spreadsheet took the apostrophe away
        rows = rows.with_columns(pl.col("row_id").str.strip_prefix("'"))
    of = "'=1+1" if is_escaped else "=1+1"
    rows = rows.with_columns(decision=pl.when(pl.col("row_id") == of).then(pl.lit("exclude")).otherwise(pl.lit("keep")))
    (rows if is_escaped else rows.filter(pl.col("row_id").str.starts_with("'").not_())).write_csv(tmp_path / "d.csv")
    manifest = Manifest.read(place / "run" / "manifest.parquet")
    found = read_decisions(tmp_path / "d.csv", manifest, lambda _: None)
    assert found.filter(pl.col("decision") == "exclude")["row_id"].to_list() == ["=1+1"]
    assert set(found["row_id"]) == (set(IDS) if is_escaped else set(IDS) - {"'=1+1"})
