"""A budget on the command line: planned before training, kept in plan.json, repeated elsewhere."""

from __future__ import annotations

import json
import sys

import pytest

import small_runs
from tapetum.core import files
from tapetum.core.tables import Predictions
from tapetum.learn.runtime import Engine
from tapetum.learn.speed import Measured
from tapetum.pipeline import Pipeline
from tapetum.workflow.stages import budget
from tapetum.workflow.stages import plan as planning
from tapetum.workflow.stages import probe as probing
from tapetum.workflow.stages import train as training


@pytest.fixture
def rates(monkeypatch):
    """Let this machine be measured at the given rates."""

    def set_to(training, start=0.0):
        monkeypatch.setattr(planning, "_rates", lambda *_, **__: budget.Rates(training, 1e9, start))

    return set_to


def fit(planted, out, *more, **values):
    said = small_runs.cli("fit", planted / "labels.csv", "-o", out, *small_runs.flags(**{"train__epochs": 6, **values}), *more)
    assert said.code == 0, said.err
    return said


def test_the_plan_is_said_and_kept_before_training(planted, tmp_path, rates):
    rates(16.0 / 100.0)  # an epoch of 16 rows takes 100 s: of the budget of 20 minutes, three folds take 3 epochs
    said = fit(planted, tmp_path / "run", "--budget", "20m", "--json")
    plan = files.read_json(tmp_path / "run" / "plan.json")["members"]["main"]
    assert (plan["folds"], plan["epochs"]) == ([0, 1, 2], 3)
    lines = said.err.splitlines()
    planned = next(i for i, line in enumerate(lines) if plan["why"] in line)
    first = next(i for i, line in enumerate(lines) if "epoch 1/3" in line)
    assert planned < first
    assert json.loads(said.out)["choice"]["final"] in ("probe", "finetune", "mean")


def test_one_fine_tuned_fold_never_replaces_all(planted, tmp_path, rates):
    rates(16.0 / 100.0)
    said = fit(planted, tmp_path / "run", "--budget", "8m", "--json")
    plan = files.read_json(tmp_path / "run" / "plan.json")["members"]["main"]
    assert (plan["folds"], plan["epochs"]) == ([0], 4)
    choice = json.loads(said.out)["choice"]
    assert choice["final"] == "probe"
    assert set(choice["per fold"].values()) == {"probe"}
    assert "never replaces" in choice["reason"]
    assert (Predictions.read(tmp_path / "run" / "oof.parquet").frame["status"] == "ok").all()


def test_no_time_for_fine_tuning_leaves_the_probe(planted, tmp_path, rates):
    rates(16.0 / 1000.0)
    said = fit(planted, tmp_path / "run", "--budget", "5m", "--json")
    assert "no fine-tuning" in said.err
    assert json.loads(said.out)["choice"]["final"] == "probe"
    assert not (tmp_path / "run" / "members" / "main").exists()


def test_probe_beyond_the_budget_warns_and_is_kept(planted, tmp_path):
    said = fit(planted, tmp_path / "run", "--budget", "0.01s", "--json")
    lines = said.err.splitlines()
    told = next(i for i, line in enumerate(lines) if "budget is overrun by about" in line)
    assert told < next(i for i, line in enumerate(lines) if line.startswith("features: "))
    plan = files.read_json(tmp_path / "run" / "plan.json")
    assert plan["probe"]["overrun"] > 0
    assert plan["probe"]["views"] == ["plain"]
    assert plan["members"]["main"]["folds"] == []
    assert json.loads(said.out)["choice"]["final"] == "probe"
    assert "overrun" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_probe_takes_one_view_where_time_is_short(planted, tmp_path, monkeypatch):
    engine = Engine("cpu", "32", False)
    monkeypatch.setattr(probing, "decide_engine", lambda *_, **__: Measured(engine, {engine.name: 5.0}))
    said = fit(planted, tmp_path / "run", "--budget", "3m", "--json")  # 24 rows: two views would take 240 s
    assert "it takes one" in said.err
    plan = files.read_json(tmp_path / "run" / "plan.json")["probe"]
    assert (plan["views"], plan["overrun"]) == (["plain"], 0)
    probe = next(m for m in Pipeline.load(tmp_path / "run").members if m.name == "probe")
    assert probe.predict.views == ("plain",)


def test_cut_is_written_and_repeated_plan_gives_same_bits(planted, tmp_path, rates, monkeypatch):
    rates(1e6)
    asked = iter([True, False, False, True, True, False])  # fold 0 ends after 2 epochs, fold 1 after 1, fold 2 after 3
    monkeypatch.setattr(budget.Clock, "allows", lambda self, more: next(asked) if _in_training() else True)
    fit(planted, tmp_path / "cut", "--budget", "10m")
    plan = files.read_json(tmp_path / "cut" / "plan.json")["members"]["main"]
    assert (plan["epochs"], plan["cuts"]) == (6, {"0": 2, "1": 1, "2": 3})
    for fold, epochs in plan["cuts"].items():
        state = files.read_json(tmp_path / "cut" / "members" / "main" / f"fold-{fold}" / "state.json")
        assert (state["stop"], state["epochs"], state["status"]) == ("budget", epochs, "done")

    fit(planted, tmp_path / "again", "--plan", tmp_path / "cut" / "plan.json")
    for pattern in ("oof.parquet", "members/main/*/epochs.parquet", "members/main/*/checkpoints/*"):
        assert small_runs.contents(tmp_path / "again", pattern) == small_runs.contents(tmp_path / "cut", pattern)


@pytest.fixture
def begun(planted, tmp_path, monkeypatch):
    """Start a run and end it before its first fold trains, so that its plan stands and nothing was timed."""

    def make(*more):
        with monkeypatch.context() as here:
            here.setattr(training, "_run_fold", _killed)
            with pytest.raises(small_runs.Killed):
                fit(planted, tmp_path / "run", *more, split__folds=2, train__epochs=1)
        return tmp_path / "run"

    return make


def _killed(*_, **__):
    raise small_runs.Killed


def test_a_run_begun_without_a_budget_goes_on_within_one(planted, begun):
    run = begun()
    said = fit(planted, run, "--budget", "10m", "--json", split__folds=2, train__epochs=1)
    assert "made without a budget" in said.err
    assert sorted((run / "members/main").glob("*/oof.parquet")) == [run / f"members/main/fold-{k}/oof.parquet" for k in (0, 1)]


def test_budgeted_run_resumes_with_another_budget_or_none(planted, begun, rates):
    rates(1e6)
    run = begun("--budget", "10m")
    said = fit(planted, run, "--budget", "20m", "--json", split__folds=2, train__epochs=1)
    assert "made for a budget of 600 s and stands" in said.err
    said = fit(planted, run, "--json", split__folds=2, train__epochs=1)
    assert "made within a budget" in said.err


def test_plan_without_a_budget_is_repeated_within_one(planted, begun, tmp_path, monkeypatch):
    plan = begun() / "plan.json"
    with monkeypatch.context() as here:
        here.setattr(training, "_run_fold", _killed)
        with pytest.raises(small_runs.Killed):
            fit(planted, tmp_path / "again", "--plan", plan, "--budget", "10m", split__folds=2, train__epochs=1)
    said = fit(planted, tmp_path / "again", "--budget", "10m", "--json", split__folds=2, train__epochs=1)
    assert "made without a budget" in said.err
    assert (tmp_path / "again" / "oof.parquet").exists()


def _in_training():
    """Tell whether the clock is asked at an epoch's end (two frames up), not before a fold begins."""
    return sys._getframe(2).f_code.co_name == "may_go_on"
