"""One fold is held out (`--holdout`, a split column): what answers, and what its figures are called wherever they stand."""

from __future__ import annotations

import html
import json
import re

import polars as pl
import pytest

import small_runs
from tapetum.core import files
from tapetum.core.ledger import Ledger


def cli(*words):
    said = small_runs.cli(*words)
    assert said.code == 0, said.err
    return said


def fit(planted, out, *more, **values):
    return cli("fit", planted / "labels.csv", "-o", out, *small_runs.flags(split__folds=None, **values), *more)


def test_holdout_is_answered_by_the_probe_as_held_out(planted, tmp_path):
    said = fit(planted, tmp_path / "run", "--holdout", "0.4", train__epochs=1)
    assert re.search(r"selected: probe; one fold alone is scored", said.out), said.out
    assert "held-out" in said.out
    assert "cross-validated" not in said.out
    figures = files.read_json(tmp_path / "run/metrics.json")["figures"]
    assert {f["how"] for f in figures if f["name"] != "chance"} == {"held-out"}
    assert "Held-out: measured on one fold" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "| held-out |" in (tmp_path / "run/pipeline/README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def soup(tmp_path_factory, planted):
    """A split column, and a soup of the best of two epochs, told to answer."""
    place = tmp_path_factory.mktemp("one-fold")
    table = pl.read_csv(planted / "labels.csv")
    groups = table["group"].unique(maintain_order=True).to_list()
    held = pl.col("group").is_in(groups[::3])
    table = table.with_columns(split=pl.when(held).then(pl.lit("val")).otherwise(pl.lit("train")))
    table.with_columns(file=pl.concat_str(pl.lit(f"{planted}/"), "file")).write_csv(place / "one-fold.csv")
    sets = small_runs.flags(split__folds=None, average__name="soup", average__best=1, decide__choose="finetune")
    return place / "run", cli("fit", place / "one-fold.csv", "-o", place / "run", *sets)


def test_soup_of_judged_rows_is_in_sample_everywhere(soup, tmp_path):
    run, said = soup
    (mark,) = files.read_json(run / "metrics.json")["marks"]
    assert "soup" in mark
    assert "in-sample [1]" in said.out
    assert mark in said.out
    assert "cross-validated" not in said.out
    report = html.unescape((run / "report.html").read_text(encoding="utf-8"))
    assert "In-sample: something was chosen on the same rows" in report
    assert f"[1] {mark}" in report
    assert "| in-sample [1] |" in (run / "pipeline/README.md").read_text(encoding="utf-8")
    board = cli("leaderboard", run)
    assert f"marked final: {mark}" in board.out
    lines = {line["name"]: line["how"] for line in json.loads(cli("leaderboard", run, "--json").out)["leaderboard"]}
    assert lines == {"final": "in-sample", "main": "in-sample", "probe": "held-out"}
    compared = cli("compare", run, run / "oof.parquet")
    assert f"{run.as_posix()}: in-sample" in compared.out
    assert mark in compared.out


def test_the_ledger_keeps_how_an_estimate_was_measured(soup, tmp_path):
    run, _ = soup
    ids = pl.read_parquet(run / "oof.parquet")["row_id"].unique(maintain_order=True)
    pl.DataFrame({"id": ids, "label": ["ant"] * len(ids)}).write_csv(tmp_path / "template.csv")
    cli("submit", run, "--template", tmp_path / "template.csv", "-o", tmp_path / "mine.csv")
    (entry,) = Ledger(run).submissions()
    assert entry.own["how"] == "in-sample"
    assert "soup" in entry.own["marks"][0]
    assert "in-sample" in cli("ledger", run).out
