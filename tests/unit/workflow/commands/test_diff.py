"""What two runs do not have in common, by hand: changed labels, keys, plans and versions, and what can explain another result."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

import small_runs
from tapetum import api
from tapetum.core import config, files
from tapetum.core.predictions import Dense, Predictions
from tapetum.core.runs import Run
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target

PLAN = {"members": {"main": {"epochs": 2, "seconds": 3.5, "engine": {"precision": "32", "device": "cpu"}}}}
ENVIRONMENT = {"python": "3.11.7", "versions": {"tapetum": "1", "torch": "2.10"}}
FIGURE = {"target": "label", "name": "final", "metric": "accuracy", "how": "cross-validated", "value": 0.5}


@pytest.fixture
def make(tmp_path):
    """Makes a run of four rows; ``change`` takes its files' contents and may change them."""

    def make(folder, change=lambda parts: None, **flags):
        frame = {"row_id": list("abcd"), "path": [[f"{r}.png"] for r in "abcd"], "sha256": list("1234"), "label": ["x", "y"] * 2}
        parts = {"frame": {**frame, "fold": [0, 1, 0, 1]}, "plan": PLAN, "environment": ENVIRONMENT, "figure": FIGURE}
        parts = json.loads(json.dumps(parts))
        change(parts)
        run = Run(tmp_path / folder)
        files.make_folder(run.root)
        files.write_text(run.recipe_file, config.load(None, flags=flags).recipe.to_toml())
        target = Target("label", "single", tuple(sorted(set(parts["frame"]["label"]))))
        Manifest(pl.DataFrame(parts["frame"]), (target,), tmp_path).write(run.manifest_file)
        for part in ("plan", "environment"):
            files.write_json(run.file(f"{part}.json"), parts[part])
        files.write_json(run.file("metrics.json"), {"figures": [parts["figure"]]})
        return run.root

    return make


def found(one, other):
    return {(each["part"], each["key"], each["changes"]): (each["first"], each["second"]) for each in api.diff(one, other)["differences"]}


def test_the_same_run_twice_has_no_difference(make):
    result = api.diff(make("one"), make("two"))
    assert result["differences"] == []
    assert result["verdict"] == "the figures are the same; nothing that is recorded can change a result"


def test_changed_labels_folds_and_rows_are_counted_with_the_first(make):
    def change(parts):
        frame = parts["frame"]
        frame["row_id"][3], frame["label"][1], frame["sha256"][2], frame["fold"][0] = "e", "x", "9", 1

    assert found(make("one"), make("two", change)) == {
        ("data", "rows in one run only", "result"): ("1 row: d", "1 row: e"),
        ("data", "the images' content: 1 row, as c", "result"): ("3", "9"),
        ("data", "folds: 1 row, as a", "result"): (0, 1),
        ("data", "labels of label: 1 row, as b", "result"): ("y", "x"),
    }


def test_recipe_keys_are_sorted_by_what_they_change(make):
    one, other = make("one"), make("two", **{"seed": 1, "train.epochs": 3, "train.threads": 1, "train.precision": "bf16", "name": "new"})
    differences = api.diff(one, other)["differences"]
    assert [(each["part"], each["key"], each["changes"]) for each in differences] == [
        ("seed", "seed", "result"),
        ("recipe", "train.epochs", "result"),
        ("recipe", "train.precision", "rounding"),
        ("recipe", "train.threads", "rounding"),
        ("recipe", "name", "nothing"),
    ]


def test_the_plan_counts_without_its_times_and_versions_change_rounding(make):
    def change(parts):
        parts["plan"]["members"]["main"].update(seconds=9.0, epochs=1)
        parts["plan"]["members"]["main"]["engine"]["precision"] = "bf16"
        parts["environment"]["versions"].update(torch="2.11", tapetum="2")

    assert found(make("one"), make("two", change)) == {
        ("plan", "members.main.epochs", "result"): (2, 1),
        ("plan", "members.main.engine.precision", "rounding"): ("32", "bf16"),
        ("environment", "torch", "rounding"): ("2.10", "2.11"),
        ("environment", "tapetum", "result"): ("1", "2"),
    }


def test_the_verdict_names_what_can_explain_other_figures(make):
    def worse(parts):
        parts["figure"]["value"] = 0.25

    def newer(parts):
        worse(parts)
        parts["environment"]["python"] = "3.12"

    one = make("one")
    result = api.diff(one, make("two", worse, **{"optimizer.rate": 0.1}))
    assert result["figures"] == [{"target": "label", "metric": "accuracy", "first": 0.5, "second": 0.25}]
    assert result["verdict"] == "the figures differ; what can change a result: recipe (optimizer.rate)"
    assert api.diff(one, make("three", newer))["verdict"] == "the figures differ; only rounding differs, by environment (python)"
    assert api.diff(one, make("four", worse))["verdict"] == "the figures differ; nothing that is recorded can change a result"


def test_other_held_out_answers_are_counted(make):
    one, other = make("one"), make("two")
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]], dtype=np.float32)
    changed = p.copy()
    changed[2] = 0.65, 0.35
    truth, target = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], Target("label", "single", ("x", "y"))
    ids, fold, status = np.array(list("abcd"), dtype=object), np.zeros(4, np.int16), np.full(4, "ok")
    for run, values, order in ((one, p, [0, 1, 2, 3]), (other, changed, [3, 1, 0, 2])):
        dense = Dense(target, ids, values, truth, fold, status)
        Predictions.from_dense(dense.where(np.array(order))).write(run / "oof.parquet")
    result = api.diff(one, other)
    assert result["answers"] == [{"target": "label", "rows": 4, "differ": 1, "largest": pytest.approx(0.05), "row": "c"}]
    assert result["verdict"] == "the figures are the same, the answers are not; nothing that is recorded can change a result"
    assert "held-out answers of label: 1 of 4 rows differs, by at most 0.05 (row c)" in result["table"]
    assert api.diff(one, one)["answers"][0]["differ"] == 0
    dense = dense.with_p(np.where(np.arange(4)[:, None] == 1, np.nan, p).astype(np.float32))
    Predictions.from_dense(dense).write(other / "oof.parquet")
    assert api.diff(one, other)["answers"] == [{"target": "label", "rows": 4, "differ": 1, "largest": 1.0, "row": "b"}]


def test_unfinished_runs_and_no_runs(make):
    one, other = make("one"), make("two")
    for name in ("metrics.json", "manifest.parquet", "environment.json", "plan.json"):
        files.remove(other / name)
    result = api.diff(one, other)
    assert {each["part"] for each in result["differences"]} == {"data", "plan", "environment"}
    assert result["verdict"].startswith(f"the results are not compared ({other} is not finished); ")
    done = small_runs.cli("diff", one, other / "nothing")
    assert (done.code, "does not exist" in done.error) == (2, True)
    assert "is not a run" in small_runs.cli("diff", one, one.parent).error


def test_runs_of_other_targets_are_not_compared(make):
    other = make("two", lambda parts: parts["figure"].update(target="breed"))
    verdict = api.diff(make("one"), other)["verdict"]
    assert verdict.startswith("the results are not compared (the first answers label, the second breed); ")


def test_trackers_and_arrays_change_no_result(make):
    other = make("two", **{"track.to": ["mlflow"], "track.experiment": "x", "predict.arrays": True})
    result = api.diff(make("one"), other)
    assert {each["changes"] for each in result["differences"]} == {"nothing"}
    assert len(result["differences"]) == 3
    assert result["verdict"] == "the figures are the same; nothing that is recorded can change a result"


@pytest.mark.parametrize("name", ["plan.json", "environment.json", "metrics.json"])
@pytest.mark.parametrize("content", [None, [], "x"])
def test_a_file_that_holds_no_object_is_named(name, content, make):
    one, other = make("one"), make("two")
    files.write_json(other / name, content)
    done = small_runs.cli("diff", one, other)
    assert (done.code, f"{name} holds no object" in done.error) == (3, True)


def test_the_command_prints_a_table_or_json(make):
    one, other = make("one"), make("two", **{"train.epochs": 3})
    lines = small_runs.cli("diff", one, other).out.splitlines()
    assert lines[1].split() == ["recipe", "train.epochs", "8", "3", "can", "change", "the", "result"]
    assert json.loads(small_runs.cli("diff", one, other, "--json").out)["differences"][0]["key"] == "train.epochs"


def test_targets_of_other_kinds_are_compared_by_their_kind(make):
    one, other = make("one"), make("two")
    manifest = Manifest.read(other / "manifest.parquet")
    several = manifest.frame.with_columns(label=pl.concat_list("label"))
    Manifest(several, (Target("label", "multi", manifest.targets[0].classes),), other).write(other / "manifest.parquet")
    found = {each["key"]: (each["first"], each["second"]) for each in api.diff(one, other)["differences"]}
    assert found["kind of target label"] == ("single", "multi")
