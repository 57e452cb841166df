from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tapetum
from images import plant
from tapetum import api
from tapetum.core import files
from tapetum.core.errors import UserError
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.data.images.form import Form
from tapetum.learn.training.keep import Keeper
from tapetum.pipeline import Pipeline
from tapetum.workflow.session import Prepared, Session
from tapetum.workflow.stages.ship import epochs_of, ship

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
    assert spec["heldout"] == []
    assert spec["fold"] == -1


def test_a_refit_ends_where_the_folds_chose(refit):
    final = files.read_json(refit / "decisions.json")["epochs"]["main"]["final"]
    state = files.read_json(refit / "members/main/refit/state.json")
    assert state["status"] == "done"
    assert state["epochs"] == epochs_of(final)
    assert final in state["checkpoints"]


def test_pipeline_holds_the_refit_alone(refit, data):
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


def test_best_fold_ships_the_best_heldout_figure(tmp_path, data):
    run = _fit(tmp_path / "run", data, "decide.pipeline=best-fold", "decide.choose=finetune", "train.monitor=accuracy", "average.name=none")
    found = {}
    for fold in (0, 1):
        table = pl.read_parquet(run / f"members/main/fold-{fold}/oof.parquet")
        p, y = (np.array(table[name].to_list()) for name in ("p", "y"))
        found[fold] = (p.argmax(1) == y.argmax(1)).mean()
    ships = files.read_json(run / "decisions.json")["ships"]
    assert found[ships["folds"]["main"][0]] == max(found.values())
    assert [f["fold"] for f in Pipeline.load(run).spec["members"][0]["folds"]] == ships["folds"]["main"]


def test_best_fold_is_chosen_by_a_derived_target(tmp_path):
    """`train.monitor` may name a product: its figure is that of the composed answers."""
    rng = np.random.default_rng(0)
    ids, fold = [f"r{i}" for i in range(40)], np.repeat([0, 1], 20)
    parts = [Target("a", "single", ("0", "1")), Target("b", "single", ("0", "1"))]
    both = Target("both", "single", tuple("0123"), expression="a*2+b")
    truth = {t.name: rng.integers(0, 2, 40) for t in parts}
    frame = pl.DataFrame({"row_id": ids, "path": [[i] for i in ids], "fold": fold, **{n: v.astype(str) for n, v in truth.items()}})
    manifest = Manifest(frame, (*parts, both), tmp_path)
    prepared = Prepared(manifest, frozenset(), np.arange(40), np.arange(0), np.arange(0), Form(3, (8, 8), "uint8"))
    run = Run(tmp_path / "run")
    for k in (0, 1):  # fold 0 is right in a alone, fold 1 in both
        own = np.flatnonzero(fold == k)
        tables = []
        for target in parts:
            y = np.eye(2, dtype=np.float32)[truth[target.name][own]]
            p = np.full_like(y, 0.5) if k == 0 and target.name == "b" else 0.8 * y + 0.1
            dense = Dense(target, np.array(ids, dtype=object)[own], p, y, np.full(20, k, np.int16), np.full(20, "ok", dtype=object))
            tables.append(Predictions.from_dense(dense, member="main"))
        Predictions.concat(tables).write(run.member("main", k) / "oof.parquet")
    recipe = api.load_recipe(sets=("train.monitor=both/accuracy", "decide.pipeline=best-fold")).recipe
    decisions = {"choice": {"final": "finetune"}, "epochs": {"main": {"per_fold": {"0": "epoch-001", "1": "epoch-001"}}}}
    assert ship(Session(run, prepared, recipe, Record()), decisions) == {"main": [1]}
    assert decisions["ships"]["scores"]["main"]["1"] == 1.0


def test_a_refit_cannot_watch_a_plateau(tmp_path, data):
    with pytest.raises(UserError, match="plateau"):
        _fit(tmp_path / "run", data, "decide.pipeline=refit", "decide.choose=finetune", "schedule.name=plateau", "train.epochs=1")


@pytest.mark.parametrize(
    ("checkpoint", "epochs"), [("epoch-000", 0), ("epoch-007", 7), ("epoch-012/ema", 12), ("swa", None), ("soup", None), ("cycle-2", None)]
)
def test_checkpoints_say_how_long_a_refit_trains(checkpoint, epochs):
    assert epochs_of(checkpoint) == epochs
