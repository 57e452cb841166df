"""Trackers: the curves of a run in TensorBoard and MLflow are those of its history; a missing package or a lost server is named."""

from __future__ import annotations

import importlib.util
import os

import polars as pl
import pytest

import small_runs
from tapetum.core import files, trackers
from tapetum.core.errors import ENVIRONMENT
from tapetum.core.runs import Run


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, planted):
    for name in ("tensorboard", "mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(name)

    def make(place):
        values = {"train__epochs": 2, "split__folds": 2, "track__to": ["tensorboard", "mlflow"]}
        small_runs.fit(planted / "labels.csv", place / "run", **values)

    return small_runs.once(tmp_path_factory, "tracked", make) / "run"


def history(run, fold):
    return pl.read_csv(run / "members" / "main" / f"fold-{fold}" / "history.csv")


def test_tensorboard_has_the_curves_of_the_history(tracked):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for fold in (0, 1):
        events = EventAccumulator(str(tracked / "tensorboard" / "main" / f"fold-{fold}"))
        events.Reload()
        for name in ("train_loss", "valid_loss", "rate"):
            found = [(one.step, one.value) for one in events.Scalars(name)]
            expected = list(zip(history(tracked, fold)["epoch"], history(tracked, fold)[name], strict=True))
            assert [step for step, _ in found] == [step for step, _ in expected]
            assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-5)
    whole = EventAccumulator(str(tracked / "tensorboard" / "run"))
    whole.Reload()
    figures = files.read_json(tracked / "metrics.json")["figures"]
    assert len(whole.Tags()["scalars"]) >= len({(one["how"], one["name"], one["metric"]) for one in figures})


def test_mlflow_has_the_recipe_and_the_curves(tracked):
    from mlflow import MlflowClient

    kept = files.read_json(tracked / "trackers.json")
    client = MlflowClient(tracking_uri=kept["uri"])
    run = client.get_run(kept["run"])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.backbone"] == "test_efficientnet"
    found = client.get_metric_history(kept["run"], "main/fold-1/valid_loss")
    assert [one.value for one in found] == pytest.approx(history(tracked, 1)["valid_loss"].to_list())
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_trackers_change_nothing_of_the_run(tracked):
    plain = small_runs.recipe(train__epochs=2, split__folds=2)
    other = small_runs.recipe(train__epochs=2, split__folds=2, track__to=["tensorboard"])
    assert plain.recipe.hash() == other.recipe.hash()
    assert not Run(tracked).is_of_another(plain.recipe)


def test_a_missing_tracker_is_named_before_any_work(planted, tmp_path, monkeypatch):
    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "tensorboard" else plain(name, *more))
    said = small_runs.cli("fit", planted / "labels.csv", "-o", tmp_path / "run", "--track", "tensorboard", *small_runs.flags())
    assert (said.code, "pip install 'tapetum[track]'" in said.error) == (ENVIRONMENT, True)
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_fails_ends_no_training():
    class Lost:
        def curve(self, part, values, step):
            raise ConnectionError("the server is gone")

    told, seen = [], []

    class Kept:
        def curve(self, part, values, step):
            seen.append((part, values, step))

    both = trackers.Trackers({"mlflow": Lost(), "tensorboard": Kept()}, told.append)
    for epoch in (1, 2):
        both.epoch("main", -1, {"epoch": epoch, "train_loss": 0.5, "size": "32", "valid_loss": float("nan")})
    assert seen == [("main/refit", {"train_loss": 0.5}, 1), ("main/refit", {"train_loss": 0.5}, 2)]
    assert told == ["warning: mlflow gets no more figures of this run (ConnectionError: the server is gone)"]
