from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tapetum
from pictures import plant
from tapetum import api
from tapetum.core import files
from tapetum.core.errors import UserError
from tapetum.learn.training.keep import Keeper
from tapetum.pipeline import Pipeline
from tapetum.workflow.shipping import epochs_of

TINY = (
    "model.backbone=test_resnet", "model.weights=none", "input.size=32", "train.batch=8", "train.threads=1", "train.epochs=2",
    "train.precision='32'", "split.folds=2", "average.name=ema", "probe.views=['plain']", "probe.strengths=[1.0]", "probe.size=32",
)  # fmt: skip


def _fit(folder: Path, data: Path, *sets: str) -> Path:
    api.fit(data, folder, recipe=api.load_recipe(sets=(*TINY, *sets)))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shipping")
    plant(folder, classes=2, each=8, size=32)
    return folder / "images"


@pytest.fixture(scope="module")
def refit(tmp_path_factory, data) -> Path:
    return _fit(tmp_path_factory.mktemp("refit") / "run", data, "decide.pipeline=refit", "decide.choose=finetune")


def test_a_refit_trains_on_all_rows_and_holds_none_out(refit):
    spec = files.read_json(refit / "members/main/refit/spec.json")
    assert sorted(spec["train"]) == list(range(16))
    assert spec["held"] == []
    assert spec["fold"] == -1


def test_a_refit_ends_where_the_folds_chose(refit):
    final = files.read_json(refit / "decisions.json")["epochs"]["main"]["final"]
    state = files.read_json(refit / "members/main/refit/state.json")
    assert state["status"] == "done"
    assert state["epochs"] == epochs_of(final)
    assert final in state["checkpoints"]


def test_the_pipeline_holds_the_refit_alone_and_answers_with_its_weights(refit, data):
    pipeline = tapetum.load(refit)
    assert [f["fold"] for m in pipeline.spec["members"] for f in m["folds"]] == [-1]
    final = pipeline.decisions["epochs"]["main"]["final"]
    kept = Keeper(refit / "members/main/refit").checkpoint(final)
    shipped = pipeline.members[0].networks[-1].state_dict()
    assert all(bool((shipped[name] == value).all()) for name, value in kept.items())
    p = pipeline.predict_proba(sorted(data.rglob("*.png"))[:3])
    assert p.shape == (3, 2)
    assert np.allclose(p.sum(axis=1), 1, atol=1e-5)


def test_a_refit_probe_is_fitted_on_all_rows(tmp_path, data):
    run = _fit(tmp_path / "run", data, "decide.pipeline=refit", "train.epochs=0")
    pipeline = Pipeline.load(run)
    assert [f["fold"] for f in pipeline.spec["members"][0]["folds"]] == [-1]
    own, fold = ((run / "members/probe" / name / "label.safetensors").read_bytes() for name in ("refit", "fold-0"))
    assert own != fold


def test_best_fold_ships_the_one_with_the_best_held_out_figure(tmp_path, data):
    run = _fit(tmp_path / "run", data, "decide.pipeline=best-fold", "decide.choose=finetune", "train.monitor=accuracy", "average.name=none")
    found = {}
    for fold in (0, 1):
        table = pl.read_parquet(run / f"members/main/fold-{fold}/oof.parquet")
        p, y = (np.array(table[name].to_list()) for name in ("p", "y"))
        found[fold] = (p.argmax(1) == y.argmax(1)).mean()
    ships = files.read_json(run / "decisions.json")["ships"]
    assert found[ships["folds"]["main"][0]] == max(found.values())
    assert [f["fold"] for f in Pipeline.load(run).spec["members"][0]["folds"]] == ships["folds"]["main"]


def test_a_refit_cannot_watch_a_plateau(tmp_path, data):
    with pytest.raises(UserError, match="plateau"):
        _fit(tmp_path / "run", data, "decide.pipeline=refit", "decide.choose=finetune", "schedule.name=plateau", "train.epochs=1")


@pytest.mark.parametrize(
    ("checkpoint", "epochs"), [("epoch-000", 0), ("epoch-007", 7), ("epoch-012/ema", 12), ("swa", None), ("soup", None), ("cycle-2", None)]
)
def test_checkpoints_say_how_long_a_refit_trains(checkpoint, epochs):
    assert epochs_of(checkpoint) == epochs
