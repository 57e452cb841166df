"""Members that answer some targets alone, and a submission of the target that its template names."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import tapetum
from tapetum import api
from tapetum.core.errors import UserError
from tapetum.core.tables import Predictions

RECIPE = """
name = "mask-tiny"
[data]
targets = ["mask:single=worn,incorrect,none", "gender:single=male,female", "age:single=0-29,30-59,60+"]
[split]
holdout = 0.3
[input]
size = 24
[model]
backbone = "test_resnet"
weights = "none"
[train]
epochs = 1
threads = 1
precision = "32"
start = "random"
monitor = "ans/macro_f1"
[probe]
enabled = false
[decide]
choose = "finetune"
blend = "vote"
[[member]]
name = "both"
model = { targets = ["mask", "gender"] }
[[member]]
name = "age"
model = { targets = ["age"] }
[[member]]
name = "off"
enabled = false
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    (folder / "tiny.toml").write_text(RECIPE)
    made = api.simulate("mask", folder / "made", size=210, px=24)
    source = Path(made["paths"]["source"])
    api.fit(source, folder / "run", recipe=folder / "tiny.toml")
    return folder / "run", source


def test_each_member_answers_its_own_targets(ran):
    run, _ = ran
    assert sorted(p.name for p in (run / "members").iterdir()) == ["age", "both"]
    told = {name: {t.name for t in Predictions.read(run / "members" / name / "fold-0" / "oof.parquet").targets} for name in ("age", "both")}
    assert told == {"age": {"age"}, "both": {"mask", "gender"}}
    blend = json.loads((run / "decisions.json").read_text())["blend"]
    assert {name: list(json_["members"]) for name, json_ in blend.items()} == {"mask": ["both"], "gender": ["both"], "age": ["age"]}
    test = Predictions.read(run / "test.parquet")
    assert {"mask", "gender", "age", "ans"} == {t.name for t in test.targets}


def test_a_pipeline_of_members_answers_every_target(ran):
    run, source = ran
    photo = next((source / "eval" / "images").iterdir())
    frame = tapetum.load(run / "pipeline").predict_proba([photo])
    assert set(frame) >= {"mask", "gender", "age", "ans"}
    assert frame["ans"].shape == (1, 18)


def test_a_template_column_names_the_submitted_target(ran, tmp_path):
    run, source = ran
    api.submit(run, source / "eval" / "info.csv", tmp_path / "out.csv")
    written, sample = pl.read_csv(tmp_path / "out.csv"), pl.read_csv(source / "eval" / "info.csv")
    assert written.columns == ["ImageID", "ans"]
    assert written["ImageID"].to_list() == sample["ImageID"].to_list()
    assert written["ans"].is_between(0, 17).all()
    sample.rename({"ans": "answer"}).write_csv(tmp_path / "other.csv")
    with pytest.raises(UserError, match=r"several targets: .*other\.csv has columns ImageID, answer.*target="):
        api.submit(run, tmp_path / "other.csv", tmp_path / "out.csv")


def test_a_wrong_target_of_a_member_is_refused(ran, tmp_path):
    _, source = ran
    (tmp_path / "wrong.toml").write_text(RECIPE.replace('targets = ["age"]', 'targets = ["ages"]'))
    with pytest.raises(UserError, match=r"model.targets names 'ages'.*Did you mean 'age'"):
        api.fit(source, tmp_path / "run", recipe=tmp_path / "wrong.toml")
    with pytest.raises(UserError, match=r"model.targets names 'ages'"):  # also where the probe alone is fitted
        api.fit(source, tmp_path / "probe", layout="masks", model__targets=["ages"], epochs=0, weights="none")
