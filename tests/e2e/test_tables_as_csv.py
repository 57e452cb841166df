"""Every table that is written to .csv is CSV, and a spreadsheet's version of it is read back."""

from __future__ import annotations

import csv
import shutil

import polars as pl
import pytest

import small_runs
from images import plant
from tapetum.core.tables import Manifest

QUICK = {"train__epochs": 0, "data__targets": None, "data__group": None}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    place = tmp_path_factory.mktemp("csv")
    plant(place, classes=2, each=6, size=24)
    return place / "images"


def test_decisions_edited_in_a_spreadsheet_are_obeyed(images, tmp_path):
    assert small_runs.cli("audit", images, "-o", tmp_path / "a.csv").code == 0
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["decision"] for row in rows] == ["keep"] * 12
    changed = {
        "ant/ant_000.png": {"decision": "exclude"},
        "bee/bee_001.png": {"decision": "Relabel", "target": "label", "suggested": "ant"},
    }
    rows = [{**row, **changed.get(row["row_id"], {})} for row in reversed(rows)]
    kept = [name for name in reversed(rows[0]) if any(row[name] for row in rows)]  # columns in another order, empty ones dropped
    with (tmp_path / "edited.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, kept, delimiter=";", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    flags = small_runs.flags(**QUICK, data__audit=str(tmp_path / "edited.csv"))
    said = small_runs.cli("fit", images, "-o", tmp_path / "run", *flags)
    assert said.code == 0, said.err
    frame = Manifest.read(tmp_path / "run" / "manifest.parquet").frame
    split = dict(zip(frame["row_id"], frame["split"], strict=True))
    label = dict(zip(frame["row_id"], frame["label"], strict=True))
    assert [row for row, part in split.items() if part == "spare"] == ["ant/ant_000.png"]
    assert label["bee/bee_001.png"] == "ant"
    said = small_runs.cli("audit", tmp_path / "run", "-o", tmp_path / "after.csv")  # what the run was trained on is not lost
    assert said.code == 0, said.err
    after = pl.read_csv(tmp_path / "after.csv")
    assert set(after.filter(pl.col("decision") != "keep").select("row_id", "decision", "suggested").iter_rows()) == {
        ("ant/ant_000.png", "exclude", None),
        ("bee/bee_001.png", "relabel", "ant"),
    }


def test_what_an_audit_recommends_trains_with_damaged_files(images, tmp_path):
    """It excludes them, and said the very command that then refused them."""
    shutil.copytree(images, tmp_path / "images")
    (tmp_path / "images" / "ant" / "ant_003.png").write_bytes(b"no image")
    assert small_runs.cli("audit", tmp_path / "images", "-o", tmp_path / "a.csv").code == 0
    flags = small_runs.flags(**QUICK, data__audit=str(tmp_path / "a.csv"))
    said = small_runs.cli("fit", tmp_path / "images", "-o", tmp_path / "run", *flags)
    assert said.code == 0, said.err
    frame = Manifest.read(tmp_path / "run" / "manifest.parquet").frame
    assert frame.filter(pl.col("split") == "spare")["row_id"].to_list() == ["ant/ant_003.png"]
    assert len(frame) == 12


def test_decision_of_an_absent_row_is_refused(images, tmp_path):
    (tmp_path / "a.csv").write_text("row_id,decision\nant/ant_001.png,keep\nant/ant_01.png,exclude\n", encoding="utf-8")
    flags = small_runs.flags(**QUICK, data__audit=str(tmp_path / "a.csv"))
    assert "ant/ant_01.png" in small_runs.cli("fit", images, "-o", tmp_path / "run", *flags).error


def test_folds_in_csv_are_those_of_the_fit(images, tmp_path):
    said = small_runs.cli("split", images, "--folds", "3", "-o", tmp_path / "folds.csv")
    assert said.code == 0, said.err
    assert "tapetum fit" in said.err
    assert "--target label" in said.err
    written = pl.read_csv(tmp_path / "folds.csv")
    values = {**QUICK, "data__targets": ["label"], "split__folds": 3}
    assert small_runs.cli("fit", tmp_path / "folds.csv", "-o", tmp_path / "run", *small_runs.flags(**values)).code == 0
    frame = Manifest.read(tmp_path / "run" / "manifest.parquet").frame
    assert dict(zip(frame["row_id"], frame["fold"], strict=True)) == dict(zip(written["row_id"], written["fold"], strict=True))
    oof = tmp_path / "run" / "oof.parquet"
    how = ("--manifest", tmp_path / "folds.csv", "--target", "label")
    decided = small_runs.cli("decide", oof, *how, "-o", tmp_path / "decided")
    assert decided.code == 0, decided.err
    again = small_runs.cli("decide", tmp_path / "decided" / "oof.csv", *how, "-o", tmp_path / "again")
    assert again.code == 0, again.err
    compared = small_runs.cli("compare", oof, tmp_path / "decided" / "oof.parquet", "--manifest", tmp_path / "folds.csv")
    assert compared.code == 0, compared.err
    assert "--target" in small_runs.cli("decide", oof, "--manifest", tmp_path / "folds.csv", "-o", tmp_path / "third").error


@pytest.mark.parametrize("command", ["audit", "split"])
def test_another_ending_is_refused_before_the_work(images, tmp_path, command):
    error = small_runs.cli(command, images, "-o", tmp_path / "new" / "a.xlsx").error
    assert ".csv or .parquet" in error
    assert list(tmp_path.iterdir()) == []


def test_rows_are_excluded_by_a_table_too(images, tmp_path):
    (tmp_path / "out.csv").write_bytes("\ufeffnote;row_id\r\nblurred;ant/ant_000.png\r\n".encode())
    said = small_runs.cli("split", images, "--folds", "2", "-o", tmp_path / "f.csv", "--set", f"data.exclude={tmp_path / 'out.csv'}")
    assert said.code == 0, said.err
    assert "ant/ant_000.png" not in pl.read_csv(tmp_path / "f.csv")["row_id"].to_list()
