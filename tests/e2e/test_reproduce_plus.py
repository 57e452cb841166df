"""The lifted recipes from the command line: simulated data, the cpu profile made tiny, each promise looked up in the files of the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import small_runs
from tapetum.core import files
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions

TINY = [
    "model.backbone=test_resnet", "model.weights=none", "input.size=32", "probe.size=32", "train.threads=1", 'train.precision="32"',
    "split.folds=2", "probe.strengths=[1.0, 100.0]",
]  # fmt: skip
SETS = {
    "dogs-plus": [*TINY, "train.epochs=2"],
    "hpa-plus": [*TINY, "stages=[{epochs=1, size=24, predict=true}, {epochs=1, size=32, rate=5e-4, predict=true}]"],
}
SIZES = {"dogs-plus": 200, "hpa-plus": 130}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder, done = tmp_path_factory.mktemp("plus"), {}

    def reproduced(name):
        if name not in done:
            out = folder / name
            sets = [word for text in SETS[name] for word in ("--set", text)]
            said = small_runs.cli("reproduce", name, "-o", out, "--profile", "cpu", "--simulate", "--size", SIZES[name], *sets, "--json")
            assert said.code == 0, said.err
            done[name] = json.loads(said.out), Path(f"{out}-data"), said.err
        return done[name]

    return reproduced


@pytest.mark.parametrize("name", SIZES)
def test_submission_keeps_each_id_and_its_order(ran, name):
    result, data, _ = ran(name)
    (template,) = data.rglob("sample_submission.csv")
    sample, handed = pl.read_csv(template, infer_schema=False), pl.read_csv(result["submission"], infer_schema=False)
    assert handed.columns == sample.columns
    ids = handed[handed.columns[0]].to_list()
    assert ids == sample[sample.columns[0]].to_list()
    assert len(set(ids)) == len(ids)
    assert handed[handed.columns[1]].null_count() == 0


@pytest.mark.parametrize("name", SIZES)
def test_no_group_crosses_a_fold_and_no_duplicate_does(ran, name):
    result, data, _ = ran(name)
    manifest = Run(Path(result["run"])).manifest()
    held = manifest.split == "train"
    table = pl.DataFrame({"group": manifest.groups[held].astype(str), "fold": manifest.fold[held]})
    assert sorted(table["fold"].unique()) == [0, 1]
    assert table.group_by("group").agg(pl.col("fold").n_unique())["fold"].max() == 1
    if name == "hpa-plus":
        (antibodies,) = data.rglob("antibodies.csv")
        of = dict(pl.read_csv(antibodies, infer_schema=False).select("Id", "antibody").iter_rows())
        folds: dict[str, set[int]] = {}
        for row_id, fold in zip(np.array(manifest.row_ids)[held], manifest.fold[held], strict=True):
            folds.setdefault(of[row_id], set()).add(int(fold))
        assert len(folds) > 10
        assert all(len(own) == 1 for own in folds.values())


def test_class_rates_are_matched_on_the_other_fold(ran):
    result, _, _ = ran("hpa-plus")
    run = Path(result["run"])
    steps = files.read_json(run / "decisions.json")["steps"]["Target"]
    place = next(i for i, step in enumerate(steps["steps"]) if step["name"] == "class_rates")
    by_fold = {fold: values["steps"][place]["thresholds"] for fold, values in steps["by_fold"].items()}
    assert sorted(by_fold) == ["0", "1"]
    assert by_fold["0"] != by_fold["1"]
    for part in ("oof", "test"):
        dense = Predictions.read(run / f"{part}.parquet").dense("Target")
        assert (dense.answer[dense.ok].sum(axis=1) >= 1).all(), part
    handed = pl.read_csv(result["submission"], infer_schema=False)
    assert all(0 <= int(label) < 28 for cell in handed["Predicted"] for label in cell.split(" "))


def test_compared_views_keep_the_choice_of_each_fold(ran):
    result, _, _ = ran("hpa-plus")
    run = Path(result["run"])
    chosen = files.read_json(run / "decisions.json")["views"]["main"]["Target"]
    assert sorted(chosen["per_fold"]) == ["0", "1"]
    compared = {e["reduce"] for e in files.read_json(run / "metrics.json")["views"] if e["metric"] == "average_precision"}
    assert compared == {"plain", "mean", "logits", "max", "chosen"}


def test_each_fold_is_answered_at_a_temperature_of_the_other(ran):
    blend = files.read_json(Path(ran("dogs-plus")[0]["run"]) / "decisions.json")["blend"]["breed"]
    temperatures = {fold: values["calibrate"]["main"]["temperature"] for fold, values in blend["by_fold"].items()}
    assert sorted(temperatures) == ["0", "1"]
    assert temperatures["0"] != temperatures["1"]


def test_damaged_photos_keep_their_row_and_are_named(ran):
    result, _, said = ran("dogs-plus")
    status = Predictions.read(Path(result["run"]) / "oof.parquet").frame["status"]
    audit, _ = files.read_parquet(Path(result["run"]) / "audit.parquet")
    bad = audit.filter((pl.col("status") != "ok") & pl.col("row_id").str.starts_with("train/"))
    assert len(bad) > 0
    assert (status == "missing").sum() == len(bad)
    assert any(row_id in said for row_id in bad["row_id"])


@pytest.mark.parametrize(("name", "letter"), [("dogs-plus", "G"), ("hpa-plus", "P")])
def test_the_report_shows_every_statement_and_the_profile(ran, name, letter):
    text = Path(ran(name)[0]["report"]).read_text(encoding="utf-8")
    for n in range(1, 21):
        assert f">{letter}{n:02d}<" in text
    assert "profile cpu" in text
