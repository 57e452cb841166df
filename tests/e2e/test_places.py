"""At another place `fit`, `tune` and `ablate` find what they find in one process; the place is here one that runs jobs at once."""

from __future__ import annotations

import contextlib
import importlib.util
import json

import polars as pl
import pytest

import small_runs
from tapetum import api
from tapetum.core import files
from tapetum.core.errors import DataError
from tapetum.learn.training import job
from tapetum.workflow.launch import places
from tapetum.workflow.launch.tasks import Ended

VALUES = {"train__epochs": 1, "split__folds": 2, "probe__enabled": False, "predict__views": "plain"}


class Here:
    """Runs jobs in this process, the last one first; each job is lost once, after its work is done."""

    name = "another place"

    def __init__(self):
        self.tasks, self.lost = [], set()

    def run(self, tasks):
        for task in reversed(tasks):
            self.tasks.append(task.name)
            said = []
            try:
                job.run(task.spec, wait=True, log=said.append)
            except DataError as error:
                yield task, Ended(3, err=f"error: {error}")
                continue
            if task.name not in self.lost:
                self.lost.add(task.name)
                yield task, Ended(-9)
            else:
                yield task, Ended(0, json.dumps({"log": said}))

    def close(self):
        pass


@pytest.fixture
def place(monkeypatch):
    """Let ``--on slurm`` be a place of this process."""
    here = Here()

    @contextlib.contextmanager
    def opened(at, home, log):
        yield here if at.on == "slurm" else None

    monkeypatch.setattr(places, "opened", opened)
    monkeypatch.setattr(places, "check", lambda at, budget=None: None)
    return here


def test_a_refit_and_members_that_follow_others_run_there_too(planted, tmp_path, place):
    members = [{"name": "first"}, {"name": "after", "sequence": {"length": 2, "features": "first"}}]
    values = {**VALUES, "member": members, "decide__pipeline": "refit", "data__sequence": "group", "data__position": "place"}
    table = pl.read_csv(planted / "labels.csv").with_columns(
        pl.format("{}/{}", pl.lit(planted.as_posix()), "file").alias("file"), place=pl.int_range(pl.len()).over("group")
    )
    for name, on in (("here", None), ("there", "slurm")):
        api.fit(table, tmp_path / name, recipe=small_runs.recipe(**values), on=on)
    for pattern in ("members/*/*/checkpoints/*", "oof.parquet", "metrics.json", "decisions.json"):
        found = small_runs.contents(tmp_path / "there", pattern)
        assert found == small_runs.contents(tmp_path / "here", pattern), pattern
        assert found
    first = [name for name in place.tasks if "refit" not in name]
    assert {name.partition(" ")[0] for name in first[:4]} == {"first"}
    assert {name.partition(" ")[0] for name in first[4:]} == {"after"}
    assert any(name.endswith("refit") for name in place.tasks)


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="Optuna is not installed")
def test_a_random_search_finds_the_same_there(planted, tmp_path, place):
    space = {"optimizer.rate": {"low": 1e-4, "high": 1e-1, "log": True}}
    values = {**VALUES, "tune__space": space, "tune__sampler": "random"}
    found = {}
    for name, on in (("here", None), ("there", "slurm")):
        api.tune(planted / "labels.csv", tmp_path / name, recipe=small_runs.recipe(**values), trials=3, on=on)
        found[name] = files.read_json(tmp_path / name / "tune.json")
    assert found["here"] == found["there"]
    assert len(set(place.tasks)) == 6  # two folds of three trials
    assert len(found["here"]["table"]) == 3


def test_pieces_are_worth_the_same_there(planted, tmp_path, place):
    values = {**VALUES, "augment": ["hflip"], "loss__smoothing": 0.1}
    found = {}
    for name, on in (("here", None), ("there", "slurm")):
        how = {"pieces": ["augment", "smoothing"], "seeds": (0,), "on": on}
        api.ablate(planted / "labels.csv", tmp_path / name, recipe=small_runs.recipe(**values), **how)
        found[name] = files.read_json(tmp_path / name / "ablate.json")
    assert found["here"] == found["there"]
    assert len(set(place.tasks)) == 6  # two folds of the whole recipe and of two variants


def test_what_jobs_log_is_in_the_run_in_order(planted, tmp_path, place):
    logs = {}
    for name, on in (("here", None), ("there", "slurm")):
        api.fit(planted / "labels.csv", tmp_path / name, recipe=small_runs.recipe(**VALUES), on=on)
        log = files.read_json(tmp_path / name / "run.json")["log"]
        logs[name] = [text.rpartition(",")[0] for text in log if ": epoch " in text]
    assert len(logs["here"]) == 2


def test_orphans_that_end_after_their_driver_are_kept(planted, tmp_path, place, monkeypatch):
    """The driver dies after one job; a job that it had started ends later; the same command runs what is left, here too."""
    api.fit(planted / "labels.csv", tmp_path / "here", recipe=small_runs.recipe(**{**VALUES, "split__folds": 3}))
    place.lost = {f"main fold {fold}" for fold in range(3)}  # nothing is lost
    specs, run = [], Here.run

    def dies(self, tasks):
        specs.extend(task.spec for task in tasks)
        yield from run(self, tasks[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Here, "run", dies)
        with pytest.raises(KeyboardInterrupt):
            api.fit(planted / "labels.csv", tmp_path / "there", recipe=small_runs.recipe(**{**VALUES, "split__folds": 3}), on="slurm")
    job.run(specs[1])
    place.tasks.clear()
    api.fit(planted / "labels.csv", tmp_path / "there", recipe=small_runs.recipe(**{**VALUES, "split__folds": 3}), on="slurm")
    assert place.tasks == ["main fold 2"]
    for pattern in ("members/*/*/checkpoints/*", "oof.parquet", "metrics.json"):
        assert small_runs.contents(tmp_path / "there", pattern) == small_runs.contents(tmp_path / "here", pattern)
