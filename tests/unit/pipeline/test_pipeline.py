from __future__ import annotations

import shutil
import warnings

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from images import plant
from simulated_predictions import dense_of
from tapetum import api
from tapetum.core import files
from tapetum.core.answers import flat_table, labels, table_of
from tapetum.core.config import Decide
from tapetum.core.errors import DataError, UserError
from tapetum.core.runs import PROBE, Record
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.decide import chain
from tapetum.decide.ensemble import mean_of
from tapetum.decide.steps import Rows
from tapetum.pipeline import Pipeline
from tapetum.pipeline.combine import combine

KIND = Target("kind", "single", ("ant", "bee"))
TAGS = Target("tags", "multi", ("big", "old"))
AGE = Target("age", "regression")
TINY = (
    "model.backbone=test_resnet", "model.weights=none", "input.size=32", "train.batch=8", "train.threads=1", "train.precision='32'",
    "train.epochs=1", "split.folds=2", "probe.enabled=false", "decide.choose=finetune",
)  # fmt: skip


def said(target, p, answer=None):
    p = np.array(p, dtype=np.float32)
    dense = dense_of(target, p, np.full_like(p, np.nan), np.full(len(p), -1))
    dense.status[:] = np.where(np.isnan(p).any(axis=1), "missing", "ok")
    return dense if answer is None else type(dense)(**{**vars(dense), "answer": np.array(answer, np.float32)})


def rows(n):
    return Rows(np.array([f"r{i}" for i in range(n)], dtype=object), np.full(n, -1))


# ------------------------------------------------------------------------------------------------------------- combining


def fitted(target, *members):
    """Return what is frozen of members and decisions from which nothing is learned."""
    truth = np.eye(target.width)[np.arange(8) % target.width]
    dense = {member: dense_of(target, np.full_like(truth, 1 / target.width), truth, np.arange(8) % 2) for member in members}
    return chain.fit(dense, Rows(dense[members[0]].row_ids, np.arange(8) % 2)).json


A, B, C = ([[0.9, 0.1], [0.2, 0.8]], [[0.5, 0.5], [0.4, 0.6]], [[0.1, 0.9], [0.6, 0.4]])


def test_single_image_keeps_probabilities_despite_set_estimates():
    rng, truth = np.random.default_rng(0), np.eye(2)[np.arange(200) % 2]
    p = np.clip(truth * 0.6 + 0.2 + rng.normal(0, 0.05, (200, 1)) * [[1, -1]], 0, 1)
    dense = dense_of(KIND, p, truth, np.arange(200) % 2)
    steps = Decide(steps=({"name": "prior", "source": "balanced", "target": "em"},))
    json = chain.fit({"chosen": dense}, Rows(dense.row_ids, np.arange(200) % 2), steps).json
    decisions, heard = {"choice": {"final": PROBE}, "steps": {"kind": json}}, []
    found = combine(decisions, {"kind": KIND}, {PROBE: {0: {"kind": said(KIND, [[0.55, 0.45]])}}}, rows(1), heard.append)
    assert np.allclose(found["kind"].p, [[0.55, 0.45]])
    assert "on 1 answered row (at least 100 are needed)" in heard[0]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (PROBE, np.array(A)),
        ("finetune", (np.array(B) + (np.array(A) + np.array(C)) / 2) / 2),  # folds first, members then
        ("mean", (np.array(A) + (np.array(B) + (np.array(A) + np.array(C)) / 2) / 2) / 2),
    ],
)
def test_folds_are_averaged_then_members_then_the_probe(choice, expected):
    decisions = {"choice": {"final": choice}, "blend": {"kind": fitted(KIND, "one", "two")}, "steps": {"kind": fitted(KIND, "chosen")}}
    answers = {PROBE: {0: {"kind": said(KIND, A)}}, "one": {-1: {"kind": said(KIND, B)}}}
    answers["two"] = {0: {"kind": said(KIND, A)}, 1: {"kind": said(KIND, C)}}
    found = combine(decisions, {"kind": KIND}, answers, rows(2))
    assert np.allclose(found["kind"].p, expected, atol=1e-6)


def test_unscored_targets_are_left_out_and_derived_ones_composed():
    both = Target("both", "single", ("0", "1", "2", "3"), expression="a*2+b")
    a, b = Target("a", "single", ("0", "1")), Target("b", "single", ("0", "1"))
    targets = {"a": a, "b": b, "both": both}
    decisions = {"choice": {"final": PROBE}, "blend": {}, "steps": {name: fitted(one, "chosen") for name, one in targets.items()}}
    answers = {PROBE: {0: {"a": said(a, A), "b": said(b, B), "who": said(KIND, C)}}}
    found = combine(decisions, targets, answers, rows(2))
    assert list(found) == ["a", "b", "both"]
    assert np.allclose(found["both"].p, [[0.45, 0.45, 0.05, 0.05], [0.08, 0.12, 0.32, 0.48]], atol=1e-6)


def test_a_row_that_one_model_lacks_has_no_mean():
    lost = said(KIND, [[np.nan, np.nan], [0.2, 0.8]])
    found = mean_of([said(KIND, A, [[0, 1], [0, 1]]), lost])
    assert np.isnan(found.p[0]).all()
    assert found.status.tolist() == ["missing", "ok"]
    assert found.answer is None  # what one of them decided is no decision of the mean
    assert np.allclose(found.p[1], [0.2, 0.8])


# --------------------------------------------------------------------------------------------------------------- tables


def test_decided_labels_win_over_probabilities_and_missing_rows_have_none():
    p = [[0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]]
    assert labels(said(KIND, p)) == ["ant", "bee", None]
    assert labels(said(KIND, p, [[0, 1], [0, 1], [1, 0]])) == ["bee", "bee", None]
    assert labels(said(TAGS, p, [[1, 1], [0, 0], [0, 0]])) == [["big", "old"], [], None]


def test_tables_hold_each_row_once_even_unanswered():
    answered = {"kind": said(KIND, [[0.9, 0.1], [np.nan, np.nan]]), "age": said(AGE, [[31.5], [np.nan]])}
    flat = flat_table(answered)
    assert flat.columns == ["id", "status", "kind", "kind_p_ant", "kind_p_bee", "age"]
    assert flat["age"].to_list() == [31.5, None]
    assert flat["kind_p_bee"].to_list() == [pytest.approx(0.1), None]
    table = table_of(answered, {"manifest_hash": "m", "recipe_hash": "r", "sources": {"kind": "blend", "age": "head"}})
    assert (table.manifest_hash, table.recipe_hash, table.members) == ("m", "r", ["final"])
    assert table.dense("kind").status.tolist() == ["ok", "missing"]
    spec = {"manifest_hash": "", "recipe_hash": "", "sources": {"tags": "head"}}
    decided = table_of({"tags": said(TAGS, [[0.9, 0.7], [0.1, 0.2], [np.nan, np.nan]], [[0, 1], [0, 0], [np.nan, np.nan]])}, spec)
    assert decided.frame["answer"].to_list() == [[0, 1], [0, 0], None]


# --------------------------------------------------------------------------------------------------------------- frozen


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two folds and the images that it was trained on."""
    folder = tmp_path_factory.mktemp("frozen")
    plant(folder, classes=2, each=6, size=32)
    api.fit(folder / "images", folder / "run", recipe=api.load_recipe(sets=TINY))
    return folder / "run", sorted((folder / "images").rglob("*.png"))


@pytest.fixture(scope="module")
def pipeline(trained):
    return Pipeline.load(trained[0])


def test_answers_are_the_mean_of_what_the_networks_say(pipeline, trained):
    images = trained[1][:3]
    x = torch.from_numpy(np.stack([np.asarray(Image.open(p).convert("RGB")) for p in images])).permute(0, 3, 1, 2)
    (member,) = pipeline.members
    assert sorted(member.networks) == [0, 1]
    with torch.no_grad():
        told = [network(x)["label"].softmax(dim=1).numpy() for network in member.networks.values()]
    assert not np.allclose(told[0], told[1], atol=1e-4)
    assert np.allclose(pipeline.predict_proba(images), np.mean(told, axis=0), atol=1e-5)
    assert pipeline.predict(images) == [pipeline.classes_[k] for k in np.mean(told, axis=0).argmax(axis=1)]


def test_paths_images_and_arrays_are_one_and_order_is_kept(pipeline, trained):
    images = trained[1][:4]
    p = pipeline.predict_proba(images)
    opened = [Image.open(path).convert("RGB") for path in images]
    assert np.array_equal(pipeline.predict_proba(opened), p)
    assert np.array_equal(pipeline.predict_proba([np.asarray(one) for one in opened]), p)
    assert np.array_equal(pipeline.predict_proba([str(path) for path in reversed(images)]), p[::-1])


def test_unreadable_image_is_named_and_moves_no_other(pipeline, trained, tmp_path):
    broken = tmp_path / "broken.png"
    whole = trained[1][0].read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    p = pipeline.predict_proba([trained[1][1], broken, trained[1][2]])
    assert np.isnan(p[1]).all()
    assert np.array_equal(p[[0, 2]], pipeline.predict_proba([trained[1][1], trained[1][3], trained[1][2]])[[0, 2]])
    assert pipeline.predict([broken]) == [None]
    record = Record()
    dense = pipeline.answer(pipeline.read([broken, trained[1][1]], record), record)["label"]
    assert sorted(dense.status) == ["missing", "ok"]
    assert any(line.startswith("warning: missing: ") and "broken.png" in line for line in record.messages)


def test_images_without_an_answer_are_warned_of(pipeline, trained, tmp_path):
    with pytest.warns(UserWarning, match=r"1 of 1 image .* nosuch\.png \(.*not found|no such"):
        assert pipeline.predict(tmp_path / "nosuch.png") == [None]
    with pytest.warns(UserWarning, match="2 of 3 images .* number 1, ") as warned:
        pipeline.predict_proba([trained[1][0], tmp_path / "a.png", b"no image"])
    assert warned[0].filename == __file__  # the caller's line, not one of ours
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline.predict(trained[1][:2])


def test_the_folder_alone_answers_the_same_elsewhere(pipeline, trained, tmp_path):
    shutil.copytree(trained[0] / "pipeline", tmp_path / "moved")
    moved = Pipeline.load(tmp_path / "moved")
    assert np.array_equal(moved.predict_proba(trained[1]), pipeline.predict_proba(trained[1]))
    assert moved.classes_ == pipeline.classes_ == ("ant", "bee")


def test_what_is_no_pipeline_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match=r"tapetum\.api\.fit\(DATA, out=RUN\)"):
        Pipeline.load(tmp_path)
    shutil.copytree(trained[0] / "pipeline", tmp_path / "empty")
    spec = files.read_json(tmp_path / "empty" / "pipeline.json")
    spec["members"][0]["folds"] = []
    files.write_json(tmp_path / "empty" / "pipeline.json", spec)
    with pytest.raises(DataError, match="names no fold"):
        Pipeline.load(tmp_path / "empty")


def test_predict_writes_what_the_pipeline_says(pipeline, trained, tmp_path):
    api.predict(trained[0], trained[1][:3], tmp_path / "p.parquet")
    dense = Predictions.read(tmp_path / "p.parquet").dense("label")
    p = pipeline.predict_proba(trained[1][:3])
    by_name = dict(zip([path.name for path in trained[1]], p, strict=False))
    assert all(np.array_equal(own, by_name[row.rpartition("/")[2]]) for row, own in zip(dense.row_ids, dense.p, strict=True))
    api.predict(trained[0], trained[1][:3], tmp_path / "p.csv")
    read = pl.read_csv(tmp_path / "p.csv")
    assert read["label"].to_list() == labels(dense)


@pytest.mark.parametrize("name", ["id", "status", "p_a", "row_id", "label"])
def test_no_column_of_ours_takes_the_place_of_a_target(name):
    p = np.array([[0.9, 0.1], [0.2, 0.8]], dtype=np.float32)
    ids = np.array(["r0", "r1"], dtype=object)
    dense = Dense(
        Target(name, "single", ("a", "b")), ids, p, np.full_like(p, np.nan), np.full(2, -1, np.int16), np.array(["ok", "ok"], object)
    )
    flat = flat_table({name: dense})
    assert flat[name].to_list() == ["a", "b"]
    assert flat.to_series(0).to_list() == ["r0", "r1"]
    assert flat.to_series(1).to_list() == ["ok", "ok"]
    assert len(flat.columns) == 5
