"""The systems on sleep stages from simulated nights to a submission, tiny; the run's files show what the statements claim."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tapetum import api
from tapetum.core import files
from tapetum.core.ledger import Ledger
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions
from tapetum.core.targets import Target
from tapetum.learn import models
from tapetum.learn.models import sequence as over
from tapetum.learn.runtime import Engine, Runtime
from tapetum.learn.training import optimizers
from tapetum.learn.training.objective import Objective
from tapetum.pipeline import Pipeline

TINY = {
    "input.size": [34, 60],
    "train.threads": 1,
    "train.precision": "32",
    "train.batch": 8,
    "data.limit": 45,
    "split.train_rows": 16,
    "model.backbone": "test_resnet",
    "model.weights": "none",
}
SMALLEST = {"backbone": "test_resnet", "weights": "none"}


def members(name: str, **models: dict[str, str]) -> list[dict]:
    """Return the members of a recipe's cpu profile around the smallest network, or those named."""
    return [{**one, "model": models.get(one["name"], SMALLEST)} for one in api.load_recipe(name, profile="cpu").recipe.member]


LIFTED = {
    "train.threads": 1,
    "train.precision": "32",
    "train.epochs": 3,
    "split.folds": 2,
    "model.backbone": "test_resnet",
    "model.weights": "none",
    "probe.strengths": [1.0],
}
SETS = {
    "sleep-yai": TINY | {"train.epochs": 2, "member": members("sleep-yai")},
    "sleep-dragon": TINY | {"member": members("sleep-dragon", vit={"backbone": "test_vit", "weights": "none"})},
    "sleep-yai-plus": LIFTED,
    "sleep-dragon-plus": LIFTED,
}
STAGES = ("Wake", "N1", "N2", "N3", "REM")
STAGE = Target("stage", classes=STAGES)
RECIPES = ("sleep-yai", "sleep-yai-plus", "sleep-dragon", "sleep-dragon-plus")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return api.simulate("sleep", tmp_path_factory.mktemp("sleep") / "nights", size=120)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, made):
    folder, done = tmp_path_factory.mktemp("reproduce-sleep"), {}

    def run(name):
        if name not in done:
            done[name] = api.reproduce(name, folder / name, simulated=made, profile="cpu", sets=SETS[name])
        return done[name], Run(Path(done[name]["run"]))

    return run


def asked(made) -> list[str]:
    """Return the images of the test table in its order."""
    text = (Path(made["paths"]["source"]) / "testset-for_user.csv").read_text(encoding="utf-8-sig")
    return [line.split(",")[1] for line in text.splitlines()]


@pytest.mark.parametrize("name", SETS)
def test_submission_has_a_stage_for_each_test_image(ran, made, name):
    result, run = ran(name)
    lines = Path(result["submission"]).read_text(encoding="utf-8").splitlines()
    ids = asked(made)
    assert len(lines) == len(ids)
    assert set(lines) <= set(STAGES)
    answered = Predictions.read(run.file("test.parquet")).dense("stage", row_ids=ids)
    decided = answered.p if answered.answer is None else answered.answer
    assert lines == [STAGES[k] for k in decided.argmax(axis=1)]


def test_figures_of_folds_by_image_are_marked(ran):
    for name in ("sleep-yai", "sleep-dragon"):
        figures = files.read_json(ran(name)[1].file("metrics.json"))["figures"]
        final = [f for f in figures if f["name"] == "final"]
        assert final
        assert all(any("leaks by intent" in mark for mark in f["marks"]) for f in final), name


def test_a_report_shows_what_folds_by_image_are_worth(ran):
    result, run = ran("sleep-dragon")
    found = files.read_json(run.file("metrics.json"))
    figure = {f["name"]: f for f in found["figures"] if f["metric"] == "accuracy"}
    assert figure["probe"]["marks"]
    assert not figure["probe, folds by group"]["marks"]
    shared = next(d for d in found["differences"] if d["b"] == "probe, folds by group")
    assert shared["value"] == pytest.approx(figure["probe"]["value"] - figure["probe, folds by group"]["value"])
    table, manifest = Predictions.read(run.file("probe-by-group.parquet")), run.manifest()
    exam = dict(zip(manifest.row_ids, manifest.groups, strict=True))
    folds = table.frame.with_columns(pl.col("row_id").replace_strict(exam).alias("exam")).group_by("exam").agg(pl.col("fold").n_unique())
    assert folds["fold"].to_list() == [1] * len(folds)
    assert "Folds that cut groups" in Path(result["report"]).read_text(encoding="utf-8")


def test_Y17_folds_are_averaged_for_the_eog_bilstm_alone(ran):
    _, run = ran("sleep-yai")
    folds = {member.name: len(member.networks) for member in Pipeline.load(run.root).members}
    assert folds == {"efficientnet-b4": 1, "resnext50": 1, "resnet50": 1, "bilstm-eog": 3, "bilstm-groups": 1}


def test_Y19_the_chosen_epochs_answer(ran):
    _, run = ran("sleep-yai")
    epochs = files.read_json(run.file("decisions.json"))["epochs"]
    assert epochs["efficientnet-b4"]["per_fold"] == {"0": "epoch-002"}
    assert epochs["resnext50"]["per_fold"] == {"0": "epoch-001"}


def test_Y20_results_stand_by_epoch_by_member_and_by_stage(ran):
    result, run = ran("sleep-yai")
    history = list(csv.DictReader((run.member("bilstm-eog", 0) / "history.csv").open(encoding="utf-8")))
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert all(0 <= float(row["stage/macro_f1"]) <= 1 for row in history)
    names = {f["name"] for f in files.read_json(run.file("metrics.json"))["figures"]}
    assert {"final", "member bilstm-eog", "member efficientnet-b4"} <= names
    table = pl.read_csv(result["classes"])
    assert set(table.filter(pl.col("part") == "oof")["class"]) == {"all", *STAGES}


def test_D03_chosen_epochs_answer_on_the_first_fold(ran):
    _, run = ran("sleep-dragon")
    epochs = files.read_json(run.file("decisions.json"))["epochs"]
    assert {name: one["per_fold"] for name, one in epochs.items()} == {"vit": {"0": "epoch-004"}, "efficientnet-b4": {"0": "epoch-002"}}
    heldout = Predictions.read(run.member("vit", 0) / "epochs.parquet")
    assert {f"epoch-{n:03d}" for n in range(1, 5)} <= set(heldout.frame["checkpoint"])  # weights of every epoch could be chosen


def test_D04_probabilities_of_each_model_stand_in_arrays(ran, made):
    _, run = ran("sleep-dragon")
    described = json.loads((run.root / "arrays" / "arrays.json").read_text(encoding="utf-8"))
    assert sorted(described["rows"]) == sorted(asked(made))
    p = {one["member"]: np.load(run.root / "arrays" / file, allow_pickle=False) for file, one in described["arrays"].items()}
    assert set(p) == {"vit", "efficientnet-b4"}
    assert all(values.shape == (len(described["rows"]), 5) for values in p.values())
    assert all(np.allclose(values.sum(axis=1), 1, atol=1e-5) for values in p.values())
    before = Predictions.read(run.file("test-before-steps.parquet")).dense("stage", row_ids=described["rows"]).p
    written = 0.06 * np.sqrt(p["vit"]) + 0.94 * np.sqrt(p["efficientnet-b4"])
    assert np.array_equal(before.argmax(axis=1), written.argmax(axis=1))


def test_D06_a_table_is_written_before_the_rules(ran, made):
    _, run = ran("sleep-dragon")
    before = (run.root / "submissions" / "before-steps.csv").read_text(encoding="utf-8").splitlines()
    p = Predictions.read(run.file("test-before-steps.parquet")).dense("stage", row_ids=asked(made)).p
    assert before == [STAGES[k] for k in p.argmax(axis=1)]
    entered = {entry.sha256 for entry in Ledger(run.root).submissions()}
    assert files.sha256(run.root / "submissions" / "before-steps.csv") in entered


def test_D07_the_submission_is_that_table_after_the_rules(ran, made):
    from tapetum.decide.rules import apply_rules, coded, read_rules

    result, run = ran("sleep-dragon")
    before = (run.root / "submissions" / "before-steps.csv").read_text(encoding="utf-8").splitlines()
    after = Path(result["submission"]).read_text(encoding="utf-8").splitlines()
    exams = [image.rpartition("_")[0] for image in asked(made)]
    rules = coded(read_rules("sleep-dragon"), STAGES)
    expected = []
    for exam in dict.fromkeys(exams):
        own = np.array([[STAGES.index(s) for s, e in zip(before, exams, strict=True) if e == exam]])
        expected += [STAGES[k] for k in apply_rules(own, rules)[0]]
    assert after == expected


@pytest.mark.parametrize(("name", "letter", "count"), [("sleep-yai", "Y", 23), ("sleep-dragon", "D", 15)])
def test_a_report_lists_every_statement(ran, name, letter, count):
    text = Path(ran(name)[0]["report"]).read_text(encoding="utf-8")
    assert all(f">{letter}{n:02d}<" in text for n in range(1, count + 1))


MEMBERS = [(name, member) for name in RECIPES for member in api.load_recipe(name).recipe.members()]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "member"), MEMBERS, ids=[f"{name}-{member}" for name, member in MEMBERS])
def test_one_step_of_the_full_recipe_with_its_real_sizes(name, member):
    """Every full model builds with its real sizes: a batch of two goes forward, backward and one step."""
    recipe = api.load_recipe(name, sets=["model.weights=none"]).recipe
    own, side = recipe.members()[member], len(recipe.data.side)
    kept = own.sequence.length > 1 and own.sequence.features != "end-to-end"  # its backbone's vectors are at hand
    model = own.model.model_copy(update={"weights": "none"})
    network = models.build(model, [STAGE], 3, own.input, side=side)
    if own.sequence.length > 1:
        network = over.around(network, model, own.sequence, side=side)
    network.train()
    height, width = own.input.size if isinstance(own.input.size, tuple) else (own.input.size,) * 2
    steps = (own.sequence.length,) if own.sequence.length > 1 else ()
    x = torch.randint(0, 256, (2, *steps, 3, height, width), dtype=torch.uint8)
    if kept:
        with torch.no_grad():
            one = network.step_vectors(x[:, 0])
        x = one[:, None].expand(-1, *steps, -1, -1)
    given = torch.zeros(2, *(steps if own.sequence.target == "all" else ()), side) if side else None
    optimizer = optimizers.build(network, own.optimizer)
    before = {key: value.clone() for key, value in network.state_dict().items() if key.endswith("weight")}
    logits = network(x, given)["stage"].flatten(0, -2)
    loss = Objective(own.loss, [STAGE])({"stage": logits}, {"stage": torch.eye(5)[torch.arange(len(logits)) % 5]})
    loss.backward()
    Runtime(Engine("cpu", "32", False)).step(network, optimizer, 1e-3, own.train.clip or None)
    assert torch.isfinite(loss)
    moved = {key for key, value in network.state_dict().items() if key in before and not torch.equal(value, before[key])}
    first = next(key for key in before if key.startswith("body." if kept else "backbone."))
    assert first in moved  # the gradient came all the way
