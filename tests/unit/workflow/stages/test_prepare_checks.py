"""What is refused before anything is trained, and the rows that a fold trains on."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

from images import plant, quiet
from tapetum import api
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.core.runs import Record, Run
from tapetum.data import layouts
from tapetum.data.images.form import Form
from tapetum.workflow.session import Prepared
from tapetum.workflow.stages.prepare import check_recipe, prepare

BASE = ("model.backbone=test_resnet", "model.weights=none", "input.size=32", "data.targets=['label', 'side']")
DERIVED = "data.derive={code='label*2 + side'}"
PAIR = "member=[{name='a', model={targets=['label']}}, {name='b', model={targets=%s}}]"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    planted = plant(tmp_path_factory.mktemp("two"), each=4)
    lines = planted.table.read_text(encoding="utf-8").splitlines()
    path = planted.table.with_name("two.csv")
    path.write_text("\n".join(f"{line},{'side' if i == 0 else 'lr'[i % 2]}" for i, line in enumerate(lines)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        ((PAIR % "['label']",), "no member answers the target 'side'.*model.targets"),
        ((PAIR % "['label']", DERIVED), "no member answers the target 'side'"),
        ((PAIR % "['side', 'side']",), "model.targets names 'side' more than once"),
        (("train.epochs=0", "loss.targets={lable='bce'}"), "loss.targets names 'lable'.*'label'"),
        (("train.epochs=0", "model.heads={lable='mlp'}"), "model.heads names 'lable'.*'label'"),
        (("sample={name='balanced', target='sid'}",), "names 'sid'.*'side'"),
        (("member=[{name='a'}, {name='b', enabled=false, model={targets=['sid']}}]",), "model.targets names 'sid'.*'side'"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_training(table, sets, says):
    with pytest.raises(UserError, match=says):
        check_recipe(table, api.load_recipe(None, sets=[*BASE, *sets]).recipe)


def test_members_that_share_all_targets_pass(table):
    recipe = api.load_recipe(None, sets=[*BASE, PAIR % "['side']", DERIVED]).recipe
    check_recipe(table, recipe)
    off = api.load_recipe(None, sets=[*BASE, "member=[{name='a'}, {name='b', enabled=false, model={weights='auto'}}]"]).recipe
    check_recipe(table, off)


def test_drawn_training_rows_of_a_derived_target(table):
    manifest = layouts.read(table, Data(targets=("label", "side"), derive={"code": "label*2 + side"}), quiet)
    manifest = manifest.with_column("fold", [i % 2 for i in range(len(manifest))])
    none = np.array([], dtype=np.int64)
    prepared = Prepared(manifest, frozenset(), np.arange(len(manifest)), none, none, Form(3), train_rows=4)
    rows = prepared.fitting(0)
    assert len(rows) == 4
    assert set(manifest.fold[rows]) == {1}


def test_rows_of_weight_zero_are_no_training_rows(table):
    manifest = layouts.read(table, Data(targets=("label",)), quiet)
    weight = [float(i % 3 > 0) for i in range(len(manifest))]
    manifest = manifest.with_column("fold", [i % 2 for i in range(len(manifest))]).with_column("weight", weight)
    none = np.array([], dtype=np.int64)
    prepared = Prepared(manifest, frozenset(), np.arange(len(manifest)), none, none, Form(3))
    assert prepared.fitting(0).tolist() == [i for i in range(len(manifest)) if i % 2 == 1 and i % 3 > 0]
    assert prepared.heldout(0).tolist() == [i for i in range(len(manifest)) if i % 2 == 0]  # they are answered all the same


def test_weights_that_are_all_zero_are_refused(table):
    rows = pl.read_csv(table).with_columns(weight=pl.lit(0))
    rows.write_csv(table.with_name("zero.csv"))
    with pytest.raises(DataError, match="every training row has weight 0"):
        check_recipe(table.with_name("zero.csv"), api.load_recipe(None, sets=[*BASE, "data.targets=['label']"]).recipe)


def test_a_decision_on_one_copy_keeps_both_together(table, tmp_path):
    shutil.copytree(table.parent, tmp_path / "data")
    place = tmp_path / "data" / table.name
    one, copy, third, *_ = pl.read_csv(place)["file"].to_list()
    shutil.copy(place.parent / one, place.parent / copy)
    decided = pl.DataFrame({"row_id": [one, copy, third], "decision": ["keep", "group", "group"], "duplicate": [None, "x", "x"]})
    decided.write_csv(tmp_path / "audit.csv")
    sets = [*BASE, "data.targets=['label']", f"data.audit='{tmp_path / 'audit.csv'}'", "split.folds=2"]
    loaded = api.load_recipe(None, sets=sets)
    with Run.opened(tmp_path / "run", loaded, {}) as run:
        groups = prepare(run, place, loaded.recipe, Record()).manifest.groups.tolist()
    assert groups[0] == groups[1] == groups[2]
