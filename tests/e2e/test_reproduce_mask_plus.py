"""`mask-plus` from the command line: simulated people, the cpu profile made tiny, each promise looked up in the files of the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import small_runs
from tapetum.core import files
from tapetum.core.runs import Run

TINY = [
    "model.backbone=test_resnet", "model.weights=none", "input.size=32", "probe.size=32", "train.threads=1", 'train.precision="32"',
    "split.folds=2", "probe.strengths=[1.0, 100.0]", "train.epochs=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("plus") / "run"
    sets = [word for text in TINY for word in ("--set", text)]
    said = small_runs.cli("reproduce", "mask-plus", "-o", out, "--profile", "cpu", "--simulate", "--size", 210, *sets, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out), Path(f"{out}-data")


def test_every_evaluation_image_is_answered_once_and_in_order(ran):
    result, data = ran
    (template,) = data.rglob("info.csv")
    sample, handed = pl.read_csv(template, infer_schema=False), pl.read_csv(result["submission"], infer_schema=False)
    assert handed.columns == ["ImageID", "ans"]
    assert handed["ImageID"].to_list() == sample["ImageID"].to_list()
    assert {int(answer) for answer in handed["ans"]} <= set(range(18))


def test_no_person_is_in_two_folds(ran):
    manifest = Run(Path(ran[0]["run"])).manifest()
    held = manifest.split == "train"
    folds: dict[str, set[int]] = {}
    for row_id, fold in zip(np.array(manifest.row_ids)[held], manifest.fold[held], strict=True):
        folds.setdefault(row_id.split("/")[2], set()).add(int(fold))
    assert len(folds) > 10
    assert all(len(own) == 1 for own in folds.values())


def test_the_adjustment_of_each_fold_is_fitted_on_the_other(ran):
    steps = files.read_json(Path(ran[0]["run"]) / "decisions.json")["steps"]["ans"]
    assert [step["name"] for step in steps["steps"]] == ["logit_adjust"]
    priors = {fold: values["steps"][0]["prior"] for fold, values in steps["by_fold"].items()}
    assert sorted(priors) == ["0", "1"]
    assert priors["0"] != priors["1"]
