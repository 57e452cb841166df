"""A budget is planned from measured rates as a pure function, and kept by a clock that is simulated here."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import small_runs
from tapetum.core import files
from tapetum.core.errors import UserError
from tapetum.core.runs import Record, Run
from tapetum.data.images.form import Form
from tapetum.learn.runtime import Engine
from tapetum.learn.speed import Measured
from tapetum.workflow.session import Session
from tapetum.workflow.stages import budget
from tapetum.workflow.stages import plan as planning
from tapetum.workflow.stages import train as training

FIVE = dict.fromkeys(range(5), (80, 20))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("7", 7), (" 2m ", 120)])
def test_times_are_read(text, seconds):
    assert budget.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "-1m", "10 minutes", "m", "1d"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UserError, match="10m"):
        budget.seconds(text)


@pytest.mark.parametrize(
    ("left", "views", "overrun", "words"),
    [
        (1000.0, 2, 0.0, ""),
        (150.0, 1, 0.0, "it takes one"),  # two views take 200 s, one takes 100 s
        (105.0, 1, 0.0, "nothing is fine-tuned"),  # 100 s, and the reserve for decisions is not left
        (40.0, 1, 60.0, "overrun by about 60 s"),
        (-5.0, 1, 105.0, "0 s are left"),
    ],
)
def test_too_long_probe_takes_one_view_and_reports_overrun(monkeypatch, left, views, overrun, words):
    monkeypatch.setattr(budget, "DECODE", 0.0)
    plan = budget.plan_probe(left, 100, ("plain", "hflip"), 1.0)
    assert (len(plan["views"]), plan["overrun"]) == (views, pytest.approx(overrun))
    assert words in plan["why"]
    assert (plan["why"] == "") == (words == "")


def test_with_time_enough_all_folds_train_the_recipes_epochs():
    plan = budget.plan(1e6, FIVE, 8, budget.Rates(10, 40, 2))
    assert (plan["folds"], plan["epochs"]) == ([0, 1, 2, 3, 4], 8)
    assert plan["seconds"] == pytest.approx(5 * (2 + 8 * (80 / 10 + 20 / 40)))


def test_a_faster_engine_of_held_out_images_leaves_more_epochs():
    # held-out images cost 20 / 1 s an epoch by the engine that trains, and 1 + 20 / 20 s by the other, its conversion counted
    slow, other = budget.Rates(10, 1, 2), budget.OtherEngine(20, 1.0, 20)
    fast = dataclasses.replace(slow, other=other)
    before, after = (budget.plan(620, FIVE, 20, rates) for rates in (slow, fast))
    assert (before["epochs"], after["epochs"]) == (4, 11)
    assert after["epoch_seconds"]["0"] == pytest.approx(80 / 10 + 1 + 20 / 20)
    few = dataclasses.replace(slow, other=dataclasses.replace(other, least=21))
    assert budget.plan(620, FIVE, 20, few) == before


def test_the_planned_engine_of_answers_is_what_the_budget_counts():
    answers = {
        "engine": {"device": "cpu", "precision": "32", "channels_last": True, "backend": "onnx"},
        "from_images": 101,
        "convert_seconds": 2.0,
    }
    answers["seconds_per_image"] = {"cpu-32-channels_last": 0.030, "onnx-32": 0.010}
    assert budget.OtherEngine.from_plan(answers) == budget.OtherEngine(1 / (0.011 + budget.DECODE), 2.0, 101)
    assert budget.OtherEngine.from_plan({"why": "too few"}) is None
    assert budget.OtherEngine.from_plan(None) is None


def test_a_member_is_planned_by_the_engine_that_answers(tmp_path, monkeypatch):
    torchs = Engine("cpu", "32", True)
    answers = {"engine": {**torchs.to_dict(), "backend": "onnx"}, "from_images": 10, "convert_seconds": 1.0}
    answers["seconds_per_image"] = {torchs.name: 1.0, "onnx-32": 0.01}
    monkeypatch.setattr(planning.models, "build", lambda *_, **__: None)
    monkeypatch.setattr(planning, "set_threads", lambda *_: None)
    monkeypatch.setattr(planning.speed, "decide_engine", lambda *_, **__: Measured(torchs, {torchs.name: 1.0}))
    recipe = small_runs.recipe(train__epochs=20, split__folds=5).recipe
    prepared = types.SimpleNamespace(
        manifest=types.SimpleNamespace(targets=[], side=[]),
        form=Form(3),
        test=[],
        fitting=lambda k: np.arange(80),
        heldout=lambda k: range(20),
    )
    epochs = {}
    for name, found in (("torch", {"why": "too few"}), ("other", answers)):
        monkeypatch.setattr(planning, "plan_answers", lambda *_, found=found: found)
        session = Session(Run(tmp_path / name), prepared, recipe, Record(None), budget.Clock(3000.0))
        plan = planning._measured(session, "main", list(range(5)), 1.0)
        assert plan["answers"] == found
        epochs[name] = plan["epochs"]
        assert plan["rates"].get("held_out") == (None if name == "torch" else round(budget.rate(0.01), 2))
    assert epochs["other"] > epochs["torch"] > 0


def test_epochs_fall_before_folds_do():
    # an epoch of a fold takes 8 + 0.5 s, a start 2 s: five folds need 10 + n · 42.5 s of the usable 0.92
    plan = budget.plan(250, FIVE, 8, budget.Rates(10, 40, 2))
    assert (plan["folds"], plan["epochs"]) == ([0, 1, 2, 3, 4], 5)
    plan = budget.plan(150, FIVE, 8, budget.Rates(10, 40, 2))
    assert (plan["folds"], plan["epochs"]) == ([0, 1, 2, 3, 4], 3)


def test_part_of_the_folds_never_replaces_the_probe():
    plan = budget.plan(100, FIVE, 8, budget.Rates(10, 40, 2))
    assert (plan["folds"], plan["epochs"]) == ([0, 1, 2], 3)
    assert "do not replace" in plan["why"]


def test_a_single_fold_takes_all_the_epochs_that_fit():
    plan = budget.plan(50, FIVE, 8, budget.Rates(10, 40, 2))
    assert (plan["folds"], plan["epochs"]) == ([0], 5)


def test_too_little_for_one_fold_trains_nothing():
    plan = budget.plan(10, FIVE, 8, budget.Rates(10, 40, 2))
    assert (plan["folds"], plan["epochs"], plan["seconds"]) == ([], 0, 0.0)
    assert "no fine-tuning" in plan["why"]


def test_one_epoch_recipe_is_not_raised():
    assert budget.plan(1e6, FIVE, 1, budget.Rates(10, 40, 2))["epochs"] == 1
    assert budget.plan(1e6, FIVE, 0, budget.Rates(10, 40, 2))["folds"] == []


@given(
    left=st.floats(1, 5000), folds=st.integers(1, 10), rows=st.integers(10, 2000), epochs=st.integers(0, 30),
    training=st.floats(0.5, 500), inference=st.floats(1, 2000), start=st.floats(0, 20),
)  # fmt: skip
def test_a_plan_fits_its_time_and_cannot_be_longer(left, folds, rows, epochs, training, inference, start):
    sizes = dict.fromkeys(range(folds), (rows, rows // 4))
    plan = budget.plan(left, sizes, epochs, budget.Rates(training, inference, start))
    cost = rows / training + rows // 4 / inference
    needed = len(plan["folds"]) * (start + plan["epochs"] * cost)
    assert needed <= left * (1 - budget.RESERVE) + 1e-6
    assert plan["epochs"] <= epochs
    assert (plan["epochs"] > 0) == bool(plan["folds"])
    if len(plan["folds"]) == folds and plan["epochs"] < epochs:
        assert needed + folds * cost > left * (1 - budget.RESERVE)


# ------------------------------------------------------------------------------------------------------ a simulated clock


class World:
    """A machine on which a fold's epoch takes ``epoch`` seconds and its start ``start``; nothing is computed."""

    def __init__(self, monkeypatch, epoch, start=1.0):
        self.now, self.epoch, self.start, self.trained = 0.0, epoch, start, {}
        monkeypatch.setattr(budget, "time", types.SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(training, "write_spec", lambda session, ref, plan, spec: files.write_json(spec, {}))
        monkeypatch.setattr(training.job, "run", self.run)

    def run(self, spec, *, may_go_on, log, after_epoch=None):
        self.now += self.start
        history, stop, wanted = [], "", self.wanted
        for n in range(1, wanted + 1):
            self.now += self.epoch(len(self.trained)) if callable(self.epoch) else self.epoch
            history.append({"epoch": n, "seconds": self.epoch(len(self.trained)) if callable(self.epoch) else self.epoch})
            if n < wanted and may_go_on is not None and not may_go_on(n, history[-1]["seconds"]):
                stop = "budget"
                break
        files.write_csv(spec.parent / "history.csv", pl.DataFrame(history))
        files.write_json(spec.parent / "state.json", {"status": "done"})
        self.trained[int(spec.parent.name.removeprefix("fold-"))] = len(history)
        return {"stop": stop, "epochs": len(history)}


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Return a function that trains five folds under a budget whose plan believed in ``believed`` seconds an epoch."""

    def go(seconds, believed, world, epochs=8, name="run"):
        run = Run(tmp_path / name)
        files.make_folder(run.root)
        recipe = small_runs.recipe(train__epochs=epochs, split__folds=5).recipe
        fold = np.arange(100, dtype=np.int16) % 5
        manifest = types.SimpleNamespace(fold=fold)
        prepared = types.SimpleNamespace(
            manifest=manifest, train=np.arange(100), fitting=lambda k: np.arange(80), heldout=lambda k: np.arange(20)
        )
        clock = budget.Clock(seconds)
        plan = budget.plan(clock.left, FIVE, epochs, budget.Rates(80 / believed, 1e9, world.start))
        world.wanted = plan["epochs"]
        files.write_json(run.plan_file, {"members": {"main": plan}})
        training.train_members(Session(run, prepared, recipe, Record(None), clock))
        return plan, run.plan()["members"]["main"]

    return go


def test_held_plan_is_run_whole_within_the_budget(train, monkeypatch):
    world = World(monkeypatch, 10.0)
    plan, after = train(300, 10.0, world)
    assert plan["epochs"] == 5
    assert world.trained == dict.fromkeys(range(5), 5)
    assert "cuts" not in after
    assert world.now <= 300


@pytest.mark.parametrize("slower", [1.2, 1.6, 2.5, 4.0])
@pytest.mark.parametrize("seconds", [200, 600, 3000])
def test_slower_machine_cuts_at_epoch_ends(train, monkeypatch, slower, seconds):
    world = World(monkeypatch, 10.0 * slower)
    plan, after = train(seconds, 10.0, world)
    assert world.now <= 1.2 * seconds * (1 - budget.RESERVE) + 1e-6
    cuts = after.get("cuts", {})
    assert set(cuts) <= {str(k) for k in plan["folds"]}
    assert cuts or plan["epochs"] * len(plan["folds"]) * 10 * slower <= 1.1 * seconds
    for fold in plan["folds"]:
        assert cuts.get(str(fold), plan["epochs"]) == world.trained.get(fold, 0)


def test_a_slower_machine_still_gives_every_fold_its_fewest_epochs(train, monkeypatch):
    world = World(monkeypatch, 16.0)
    plan, _ = train(600, 10.0, world)
    assert plan["epochs"] == 8
    assert sorted(world.trained) == [0, 1, 2, 3, 4]
    assert min(world.trained.values()) >= budget.FEWEST


def test_slowed_machine_begins_no_fold_it_cannot_end(train, monkeypatch):
    world = World(monkeypatch, lambda done: 10.0 if done == 0 else 80.0)
    _, after = train(300, 10.0, world)
    assert 0 in after["cuts"].values()
    assert world.now <= 1.2 * 300
    begun = [k for k in range(5) if after["cuts"].get(str(k)) != 0]
    assert sorted(world.trained) == begun


def test_repeated_plan_begins_nothing_that_was_not_begun(train, monkeypatch, tmp_path):
    world = World(monkeypatch, lambda done: 10.0 if done == 0 else 80.0)
    _, after = train(300, 10.0, world)
    again = World(monkeypatch, 0.1)
    again.wanted = 5
    run = Run(tmp_path / "again")
    files.write_json(run.plan_file, {"members": {"main": after}})
    prepared = types.SimpleNamespace(manifest=types.SimpleNamespace(fold=np.arange(100) % 5), train=np.arange(100))
    recipe = small_runs.recipe(split__folds=5).recipe
    training.train_members(Session(run, prepared, recipe, Record(None), budget.Clock(None)), given=True)
    assert sorted(again.trained) == sorted(world.trained)


def test_seconds_of_earlier_starts_count(monkeypatch):
    monkeypatch.setattr(budget, "time", types.SimpleNamespace(monotonic=lambda: 50.0))
    clock = budget.Clock(100.0, spent=80.0)
    assert clock.left == 20.0
    assert clock.allows(22.0 - 1e-9)
    assert not clock.allows(22.1)
    assert budget.Clock(None).allows(1e9)


def test_imports_and_what_follows_training_count(monkeypatch):
    monkeypatch.setattr(budget, "time", types.SimpleNamespace(monotonic=lambda: 50.0))
    clock = budget.Clock(60.0, began=38.0)  # the imports took 12 s, twice as long as usual
    clock.after = budget.after(clock.elapsed)
    assert clock.elapsed == 12.0
    assert clock.after == 2 * budget.AFTER
    assert clock.left == 60.0 - 12.0 - 2 * budget.AFTER
    assert clock.allows(66.0 - 12.0 - 2 * budget.AFTER - 1e-9)
    assert not clock.allows(66.0 - 12.0 - 2 * budget.AFTER + 0.1)
    assert budget.after(0.0) == budget.AFTER
    assert budget.after(1e9) == 4 * budget.AFTER
    assert budget.Clock(60.0).measuring == pytest.approx(1.8)
    assert budget.Clock(None).measuring == budget.Clock(1e6).measuring == budget.LIMIT


def test_nothing_is_measured_where_not_one_fold_can_fit(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(planning.speed, "decide_engine", lambda *_, **__: measured.append(1))
    monkeypatch.setattr(planning.models, "build", lambda *_, **__: measured.append(1))
    engine = planning.runtime.Engine("cpu", "32", True)
    run, recipe = Run(tmp_path), small_runs.recipe(split__folds=5).recipe
    files.write_json(run.plan_file, {"probe": {"engine": engine.to_dict(), "seconds_per_image": {engine.name: 0.2}}})
    prepared = types.SimpleNamespace(
        manifest=types.SimpleNamespace(fold=np.arange(100) % 5), train=np.arange(100), test=np.arange(0), form=Form(3),
        fitting=lambda fold: np.arange(80), heldout=lambda fold: np.arange(20),
    )  # fmt: skip
    plan = planning.plan_member(Session(run, prepared, recipe, Record(None), budget.Clock(60.0)), "main")
    assert (plan["folds"], plan["epochs"], measured) == ([], 0, [])  # two epochs of 80 rows take 64 s at least
    assert "no fine-tuning" in run.plan()["members"]["main"]["why"]


def test_threads_of_a_plan_are_decided_once(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    looks = iter([(2, "idle"), (1, "busy")])
    monkeypatch.setattr(budget.machine, "threads_now", lambda: next(looks))
    run, said = Run(tmp_path), []
    train = small_runs.recipe(train__threads=None).recipe.train
    for _ in range(2):
        assert budget.threads_of(run, train, Record(said.append)) == 2
    assert run.plan() == {"threads": 2}
    assert said == ["computing with 2 threads (idle)"]
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    other = Run(tmp_path / "other")
    assert budget.threads_of(other, train, Record(None)) is None
    assert other.plan() == {}
    assert budget.threads_of(other, small_runs.recipe().recipe.train, Record(None)) == 1


def test_uncuttable_schedule_is_not_trained_in_part():
    from tapetum.core.config import Schedule

    phases = Schedule(name="phases", options={"phases": [[4, 1.0, 0.1], [4, 0.5, 0.1]]})
    assert planning._fits(phases, 8)
    assert not planning._fits(phases, 5)
    assert planning._fits(Schedule(), 5)
