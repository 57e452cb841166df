"""Several members: blended on common rows, each on its folds, what nobody covers said and never scored."""

from __future__ import annotations

import numpy as np
import pytest

import small_runs
import tapetum
from tapetum.core import files
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions

TWO = ({"name": "small"}, {"name": "large", "input": {"size": 40}, "train": {"epochs": 1}})


@pytest.fixture(scope="module")
def blended(tmp_path_factory, planted):
    def make(place):
        small_runs.fit(planted / "labels.csv", place / "run", member=list(TWO), decide__choose="finetune", split__folds=2)

    return small_runs.once(tmp_path_factory, "blended", make) / "run"


def test_the_mean_of_members_is_the_mean_of_their_answers(blended):
    final = Predictions.read(blended / "oof.parquet").dense("label")
    parts = []
    for member in ("small", "large"):
        tables = [Predictions.read(path) for path in Run(blended).folds_of(member, "oof.parquet").values()]
        parts.append(Predictions.concat(tables).dense("label", member, final.row_ids.tolist()).p)
    assert np.allclose(final.p, np.mean(parts, axis=0), atol=1e-6)
    assert set(Predictions.read(blended / "oof.parquet").frame["source"]) == {"blend"}


def test_each_member_has_its_own_recipe_and_plan(blended):
    plan = files.read_json(blended / "plan.json")["members"]
    assert (plan["small"]["epochs"], plan["large"]["epochs"]) == (2, 1)
    specs = {m: files.read_json(blended / "members" / m / "fold-0" / "spec.json")["recipe"]["input"]["size"] for m in ("small", "large")}
    assert specs == {"small": 32, "large": 40}


def test_the_pipeline_holds_both_and_averages_them(blended, planted):
    paths = sorted((planted / "images").rglob("*.png"))[:4]
    pipeline = tapetum.load(str(blended))
    assert [m.name for m in pipeline.members] == ["small", "large"]
    whole = pipeline.predict_proba(paths)
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-5)


def test_member_of_one_fold_leaves_the_rest_uncovered(planted, tmp_path):
    members = [{"name": "once", "only_folds": [0]}]
    small_runs.fit(
        planted / "labels.csv", tmp_path / "run", member=members, decide__choose="finetune", train__epochs=1, probe__enabled=False
    )
    manifest, dense = Run(tmp_path / "run").manifest(), Predictions.read(tmp_path / "run" / "oof.parquet").dense("label")
    fold = dict(zip(manifest.row_ids, manifest.fold.tolist(), strict=True))
    assert sorted(dense.row_ids) == sorted(manifest.row_ids)
    assert [s == "ok" for s in dense.status] == [fold[row] == 0 for row in dense.row_ids]
    counts = files.read_json(tmp_path / "run" / "metrics.json")["counts"]
    assert (counts["ok"], counts["uncovered"]) == (8, 16)
    final = [f for f in files.read_json(tmp_path / "run" / "metrics.json")["figures"] if f["name"] == "final"]
    assert {f["n"] for f in final} == {8}


def test_blends_are_scored_on_the_rows_that_all_members_hold(planted, tmp_path):
    members = [{"name": "all"}, {"name": "part", "only_folds": [1, 2]}]
    small_runs.fit(
        planted / "labels.csv", tmp_path / "run", member=members, decide__choose="finetune", train__epochs=1, probe__enabled=False
    )
    manifest, dense = Run(tmp_path / "run").manifest(), Predictions.read(tmp_path / "run" / "oof.parquet").dense("label")
    fold = dict(zip(manifest.row_ids, manifest.fold.tolist(), strict=True))
    assert list(dense.status) == ["uncovered" if fold[row] == 0 else "ok" for row in dense.row_ids]


def test_doubled_member_names_and_absent_folds_are_refused(planted, tmp_path):
    def said(*members):
        text = "".join(f"[[member]]\n{m}\n" for m in members)
        (tmp_path / "m.toml").write_text(text)
        return small_runs.cli("fit", planted / "labels.csv", "-o", tmp_path / "run", "-c", tmp_path / "m.toml", *small_runs.flags())

    assert "same name" in said('name = "a"', 'name = "a"').error
    assert "no name" in said("train = {epochs = 1}").error
    missing = said('name = "a"\nonly_folds = [7]')
    assert missing.code == 2
    assert "7" in missing.error


def test_a_member_of_another_backbone_starts_at_random(planted, tmp_path):
    members = [{"name": "same"}, {"name": "other", "model": {"backbone": "test_resnet"}}]
    said = []
    small_runs.fit(planted / "labels.csv", tmp_path / "run", member=members, log=said.append, train__epochs=1, decide__choose="finetune")
    given = {m: files.read_json(tmp_path / "run" / "members" / m / "fold-0" / "spec.json")["probe"] for m in ("same", "other")}
    assert given["same"] is not None
    assert given["other"] is None
    assert any(line.startswith("other fold 0: the probe was fitted on another backbone") for line in said)
