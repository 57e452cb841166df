"""Test-time views of held-out rows: answered by the fold's own weights, chosen among on other folds, and frozen as chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest

import kinds
import small_runs
from tapetum.core import files
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions
from tapetum.core.view_reducers import reduced
from tapetum.pipeline import Pipeline

AUTO = {"predict__reduce": "auto", "decide__choose": "finetune", "probe__enabled": False}
THRESHOLDS = [{"name": "thresholds", "rare": 1}]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views")
    kinds.plant_hpa(folder / "cells", rows=60, test=0, labels=3)
    return folder


@pytest.fixture(scope="module")
def ran(cells):
    said: list[str] = []
    how = {"data__layout": "hpa", "input__paths": "channels", "predict__views": "flips", "decide__steps": THRESHOLDS}
    return kinds.fit(cells / "cells", cells / "run", said, **AUTO, **how), said


def draws_of(run, fold):
    table = Predictions.read(run / "members" / "main" / f"fold-{fold}" / "views.parquet")
    assert sorted(table.frame["draw"].unique().to_list()) == [-1, 0, 1]
    return {n: table.dense("Target", "main", draw=n) for n in (-1, 0, 1)}


def by(draws, way, target):
    stack = np.stack([draws[0].p, draws[1].p])
    return {"plain": draws[0].p, "logits": draws[-1].p}[way] if way in ("plain", "logits") else reduced(stack, way, target)


def test_each_fold_answers_in_the_way_that_the_others_prefer(ran, cells):
    run = cells / "run"
    decisions = files.read_json(run / "decisions.json")
    chosen = decisions["views"]["main"]["Target"]
    final = Predictions.read(run / "oof.parquet").dense("Target")
    for fold in (0, 1):
        draws = draws_of(run, fold)
        expected = dict(zip(draws[0].row_ids, by(draws, chosen["per_fold"][str(fold)], final.target), strict=True))
        for row_id, p in zip(final.row_ids[final.fold == fold], final.p[final.fold == fold], strict=True):
            assert p == pytest.approx(expected[row_id], abs=1e-6)
        plain = Predictions.read(run / "members" / "main" / f"fold-{fold}" / "oof.parquet").dense("Target", "main")
        assert draws[0].p == pytest.approx(plain.p, abs=1e-5)


def test_figures_stand_in_metrics_and_report_with_their_differences(ran, cells):
    _, said = ran
    entries = files.read_json(cells / "run" / "metrics.json")["views"]
    assert {e["reduce"] for e in entries} == {"plain", "mean", "logits", "max", "chosen"}
    assert all(e["difference"] is not None for e in entries if e["reduce"] not in ("plain",) and e["value"] is not None)
    page = (cells / "run" / "report.html").read_text(encoding="utf-8")
    assert "Test-time views" in page
    assert "maximum of the views" in page
    assert any("2 views" in text for text in said)


def test_the_pipeline_reduces_as_was_chosen_on_all_rows(ran, cells):
    pipeline = Pipeline.load(cells / "run")
    chosen = files.read_json(cells / "run" / "decisions.json")["views"]["main"]["Target"]["final"]
    (member,) = pipeline.members
    assert member.predict.reducer("Target") == chosen
    assert (member.predict.views == "plain") == (chosen == "plain")


@pytest.mark.parametrize("way", ["plain", "max", "logits"])
@pytest.mark.parametrize("views", ["flips", {"name": "random", "n": 2}])
def test_frozen_reduction_answers_new_images_as_heldout_rows(way, views, planted, tmp_path, monkeypatch):
    from tapetum.decide import view_reduction as deciding

    monkeypatch.setattr(deciding, "_simplest", lambda *_: way)
    sets = {"predict__views": views, "split__holdout": 0.3, "split__folds": None, "train__epochs": 1}
    small_runs.fit(planted / "labels.csv", tmp_path / "run", **AUTO, **sets)
    oof = Predictions.read(tmp_path / "run" / "oof.parquet").dense("label")
    pipeline = Pipeline.load(tmp_path / "run")
    answered = pipeline.answer(Run(tmp_path / "run").manifest())["label"]
    place = {row: i for i, row in enumerate(answered.row_ids)}
    held = oof.ok
    assert held.sum() > 3
    assert answered.p[[place[r] for r in oof.row_ids[held]]] == pytest.approx(oof.p[held], abs=1e-5)


def test_a_finished_run_is_compared_without_being_changed(planted, tmp_path):
    run = tmp_path / "run"
    small_runs.fit(planted / "labels.csv", run, train__epochs=1)
    before = small_runs.contents(run, "*.parquet") | small_runs.contents(run, "members/**/*")
    said = small_runs.cli("compare", run, "--views", "dihedral", "--json")
    found = json.loads(said.out)
    assert said.code == 0, said.err
    assert small_runs.contents(run, "*.parquet") | small_runs.contents(run, "members/**/*") == before
    assert set(found["choice"]["main"]["label"]["per_fold"]) == {"0", "1", "2"}
    table = small_runs.cli("compare", run, "--views", "dihedral").out
    assert "against plain" in table
    assert "chosen on the other folds" in table
    assert "no views to compare" in small_runs.cli("compare", run, "--views", "plain").error
    assert "one run" in small_runs.cli("compare", run, run, "--views", "flips").error


def test_auto_with_the_plain_view_has_nothing_to_choose(planted, tmp_path):
    said: list[str] = []
    small_runs.fit(planted / "labels.csv", tmp_path / "run", log=said.append, train__epochs=1, predict__reduce="auto")
    assert any("nothing to choose from" in text for text in said)
    assert "views" not in files.read_json(tmp_path / "run" / "decisions.json")
