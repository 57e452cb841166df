"""The API as a notebook uses it: one value is enough, no folder need be named, results are tables."""

from __future__ import annotations

import pytest

from tapetum import api

SMALL = {"folds": 2, "epochs": 0, "size": 32, "backbone": "test_efficientnet", "weights": "none"}


def test_a_fit_without_a_folder_makes_a_new_one(planted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = api.fit(planted / "images", target="class", **SMALL)
    second = api.fit(planted / "labels.csv", target="label", group="group", **SMALL)
    assert [found.path.as_posix() for found in (first, second)] == ["runs/run", "runs/run-2"]
    assert repr(first).startswith("accuracy ")
    assert first.to_polars().height == len(first["figures"])
    assert "target='label', group='group'" in (second.path / "run.json").read_text()


def test_results_are_tables(probed, other_images, tmp_path):
    answers = api.predict(probed, other_images)
    written = api.predict(probed, other_images, tmp_path / "p.csv")
    assert answers.to_polars().equals(written.to_polars())
    assert (answers.path, written.path) == (None, tmp_path / "p.csv")
    assert answers.to_pandas()["label"].tolist() == [one["answers"]["label"]["answer"] for one in answers["answers"]]
    board = api.leaderboard(probed)
    assert board.to_polars()["name"].to_list() == [line["name"] for line in board["leaderboard"]]
    assert "<table>" in board._repr_html_()


def test_sources_to_compare_may_be_a_list(probed, tmp_path):
    found = api.compare([probed, probed / "oof.parquet"], manifest=probed / "manifest.parquet")
    assert found.to_polars().height == 1
    named = api.compare({"a": probed, "b": probed / "oof.parquet"}, manifest=probed / "manifest.parquet")
    assert named.to_polars()["a"].to_list() == ["a"]


@pytest.mark.parametrize("name", ["audit.csv", "audit.parquet"])
def test_an_audit_is_read_back(planted, tmp_path, name):
    found = api.audit(planted / "labels.csv", tmp_path / name, target="label")
    assert found.to_polars().height == found["rows"] == 24
