from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from images import plant
from tapetum import api
from tapetum.core import files, hashes
from tapetum.core.config import Recipe
from tapetum.core.errors import DataError, UserError
from tapetum.core.runs import Record, Run
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.data.images.form import Form
from tapetum.workflow.commands import search_space, trials, tune
from tapetum.workflow.session import Prepared, Session

pytest.importorskip("optuna")

TINY = (
    "model.backbone=test_resnet", "model.weights=none", "input.size=32", "train.batch=8", "train.threads=1", "train.epochs=1",
    "train.precision='32'", "split.folds=2", "probe.enabled=false", "train.monitor=accuracy",
    "tune.space={'optimizer.rate' = {low = 1e-4, high = 1e-1, log = true}, 'augment' = [[], ['hflip']]}",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    plant(folder, classes=2, each=10, size=32, signal=0.3)
    return folder / "images"


@pytest.fixture(scope="module")
def searched(tmp_path_factory, data):
    run = tmp_path_factory.mktemp("search") / "run"
    recipe = api.load_recipe(sets=TINY)
    first = api.tune(data, run, recipe=recipe, trials=2)
    again = api.tune(data, run, recipe=recipe, trials=3)
    return run, first, again


def _accuracy(table: pl.DataFrame) -> float:
    p, y = (np.array(table[name].to_list()) for name in ("p", "y"))
    return float((p.argmax(1) == y.argmax(1)).mean())


def test_a_search_goes_on_where_it_stopped(searched):
    run, first, again = searched
    assert (first["trials"], again["trials"]) == (2, 3)
    table = files.read_json(run / "tune.json")["table"]
    assert [row["trial"] for row in table] == [0, 1, 2]
    assert all(1e-4 <= row["values"]["optimizer.rate"] <= 1e-1 for row in table)
    assert all(row["values"]["augment"] in ([], ["hflip"]) for row in table)


def test_first_trial_has_the_recipe_values_inside_the_space(searched):
    rate = api.load_recipe(sets=TINY).recipe.optimizer.rate
    table = files.read_json(searched[0] / "tune.json")["table"]
    assert table[0]["values"]["optimizer.rate"] == rate
    assert rate not in [row["values"]["optimizer.rate"] for row in table[1:]]
    own = api.load_recipe(sets=(*TINY, "augment=['hflip']", "optimizer.rate=0.5")).recipe
    assert search_space.recipe_values(own) == {"augment": '["hflip"]'}  # the rate lies outside
    tables = api.load_recipe(sets=(*TINY, "tune.space={'loss.options' = [{}, {focal = {gamma = 1.0}}]}")).recipe
    assert search_space.recipe_values(tables)["loss.options"] == "{}"


def test_nested_figure_takes_each_fold_from_the_others_best(searched):
    run, _, again = searched
    kept = [row for row in files.read_json(run / "tune.json")["table"] if row["state"] == "complete"]
    oof = {row["trial"]: pl.read_parquet(run / "trials" / files.fingerprint(row["values"]) / "oof.parquet") for row in kept}
    by_fold = {n: {k: _accuracy(t.filter(pl.col("fold") == k)) for k in (0, 1)} for n, t in oof.items()}
    right = 0.0
    for k in (0, 1):
        best = max(by_fold, key=lambda n: by_fold[n][1 - k])
        assert again["per_fold"][str(k)] == best
        right += by_fold[best][k] / 2
    nested = again["cross-validated"]["label"]
    picked = pl.concat([oof[again["per_fold"][str(k)]].filter(pl.col("fold") == k) for k in (0, 1)])
    assert nested["n"] == 20
    assert _accuracy(picked) == pytest.approx(right)
    assert again["in-sample"]["label"]["value"] >= 0


def test_best_toml_is_the_best_trial_and_can_be_fitted(searched):
    run, _, again = searched
    table = files.read_json(run / "tune.json")["table"]
    assert table[again["best"]]["figure"] == max(row["figure"] for row in table)
    recipe = api.load_recipe(run / "best.toml").recipe
    assert recipe.optimizer.rate == again["values"]["optimizer.rate"]
    assert list(recipe.augment) == again["values"]["augment"]


def test_weights_of_trials_do_not_stay(searched):
    run, _, _ = searched
    assert not list(run.glob("trials/**/*.safetensors"))


def test_a_trial_that_was_killed_is_proposed_again(tmp_path, data):
    import optuna

    run = tmp_path / "run"
    recipe = api.load_recipe(
        sets=(*TINY[:-1], "train.epochs=0", "probe.enabled=true", "probe.size=32", "tune.space={'probe.strengths' = [[1.0], [10.0]]}")
    )
    api.tune(data, run, recipe=recipe, trials=1)
    study = optuna.load_study(study_name=tune.STUDY, storage=f"sqlite:///{run / 'tune.db'}")
    killed = study.ask()
    killed.suggest_categorical("probe.strengths", ["[1.0]", "[10.0]"])
    found = api.tune(data, run, recipe=recipe, trials=2)
    table = files.read_json(run / "tune.json")["table"]
    assert table[killed.number]["state"] == "fail"
    assert table[killed.number + 1]["values"] == table[killed.number]["values"]
    assert found["trials"] == 2


def test_trial_below_the_median_is_cut(tmp_path, data, monkeypatch):
    figures = iter([0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1])
    monkeypatch.setattr(tune, "_so_far", lambda *_: next(figures))
    found = api.tune(data, tmp_path / "run", recipe=api.load_recipe(sets=TINY), trials=4)
    assert (found["trials"], found["pruned"]) == (3, 1)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "tune.space is empty"),
        ({"train.batch": [8, 0]}, "'train.batch' is 0"),
        ({"input.size": {"low": 32, "high": 99999}}, "'input.size' is 99999"),
        ({"optimizer.rte": [1.0]}, "no key 'optimizer.rte'"),
        ({"split.folds": [2, 3]}, "cannot change between trials"),
        ({"input.bands": [[]]}, "cannot change between trials"),
        ({"optimizer.rate": {"low": 0, "high": 1, "log": True}}, "logarithmic"),
        ({"optimizer.rate": {"low": 2, "high": 1}}, "a list of values"),
    ],
)
def test_spaces_that_cannot_be_searched_are_refused(tmp_path, space, words):
    loaded = api.load_recipe()
    loaded = type(loaded)(loaded.recipe.model_copy(update={"tune": loaded.recipe.tune.model_copy(update={"space": space})}), loaded.origin)
    with pytest.raises(UserError, match=words):
        api.tune(tmp_path, tmp_path / "run", recipe=loaded)


def test_a_changed_table_is_replaced_not_merged():
    recipe = Recipe.model_validate({"schedule": {"name": "cosine", "options": {"floor": 0.1}}})
    assert trials.changed(recipe, {"schedule.name": "constant", "schedule.options": {}}).schedule.options == {}


def test_in_sample_trial_gives_no_cross_validated_figure(tmp_path):
    """Of two targets one is answered by members that chose on their own rows: its figure alone is in-sample, whichever stands first."""
    n, y = 20, np.eye(2, dtype=np.float32)[np.arange(20) % 2]
    targets = tuple(Target(name, "single", ("x", "y")) for name in ("a", "b"))
    fold, ids = (np.arange(n) // 2 % 2).astype(np.int16), [f"r{i:02d}" for i in range(n)]
    frame = pl.DataFrame({"row_id": ids, "split": "train", "fold": fold, "a": ["x", "y"] * 10, "b": ["x", "y"] * 10})
    manifest, run = Manifest(frame.with_columns(path=pl.concat_list("row_id")), targets, tmp_path), Run(tmp_path)
    dense = [Dense(t, np.array(ids, dtype=object), y, y, fold, np.full(n, "ok", dtype=object)) for t in targets]
    folder = tmp_path / "trials" / "one"
    Predictions.from_dense(dense).write(folder / "oof.parquet")
    hows = {"a": "cross-validated", "b": "in-sample"}
    figures = [{"target": t, "name": "final", "metric": "accuracy", "how": how, "value": 1.0} for t, how in hows.items()]
    files.write_json(folder / "metrics.json", {"figures": figures, "marks": []})
    rate = Recipe().optimizer.rate
    trial = SimpleNamespace(
        number=0, value=1.0, params={"optimizer.rate": rate}, state=SimpleNamespace(name="COMPLETE"), user_attrs={"folder": "one"}
    )
    recipe = Recipe().model_copy(
        update={"tune": Recipe().tune.model_copy(update={"space": {"optimizer.rate": {"low": 1e-6, "high": 1.0}}})}
    )
    every = np.arange(n)
    prepared = Prepared(manifest, frozenset(), every, every[:0], every[:0], form=Form(3, (32, 32), "uint8"))
    found = tune._report(Session(run, prepared, recipe, Record()), SimpleNamespace(get_trials=lambda: [trial]))
    assert set(found["cross-validated"]) == {"a"}
    assert set(found["in-sample"]) == {"a", "b"}


@pytest.mark.parametrize("name", ["oof.parquet", "metrics.json", "recipe.toml"])
@pytest.mark.parametrize("finished", [True, False])
def test_exchanged_files_of_a_trial_are_refused(searched, data, tmp_path, name, finished):
    run = shutil.copytree(searched[0], tmp_path / "run")
    if not finished:  # as a search that was killed: each trial still knows its files
        hashes.forget(run)
    first, second = sorted(run.glob("trials/*"))[:2]
    shutil.copy(second / name, first / name)
    with pytest.raises(DataError, match=rf"{first.name}/{name} is not the file that was written"):
        api.tune(data, run, recipe=api.load_recipe(sets=TINY), trials=3)
