"""Bad input through the command line: one sentence that names the thing and the mend, the right exit code, nothing left as whole."""

from __future__ import annotations

import errno
import os
import shutil

import polars as pl
import pytest
from filelock import FileLock

import small_runs
from images import plant, write_table
from tapetum.core import files
from tapetum.core.errors import DATA, ENVIRONMENT, USAGE

USUAL = {"train__epochs": 0, "split__folds": 2}


def refused(code, words, *sentence, out=None):
    """Run a command that must be refused and check how."""
    said = small_runs.cli(*words)
    assert said.code == code, said.err
    for part in sentence:
        assert part in said.error, said.error
    if out is not None:
        for name in ("manifest.parquet", "oof.parquet", "metrics.json", "report.html", "pipeline"):
            assert not (out / name).exists()
    return said


@pytest.fixture
def place(tmp_path):
    plant(tmp_path, classes=2, each=4, size=16, group_size=2)
    return tmp_path


def rows(place):
    return pl.read_csv(place / "labels.csv")


def fit(place, source="labels.csv", **values):
    return ["fit", place / source, "-o", place / "run", *small_runs.flags(**{**USUAL, **values})]


def test_a_missing_table(place):
    refused(USAGE, fit(place, "nowhere.csv"), "nowhere.csv", "does not exist", out=place / "run")


def test_an_image_that_is_not_there(place):
    (place / "images/ant/ant_001.png").unlink()
    refused(DATA, fit(place), "1 of 8", "images/ant/ant_001.png", "--on-bad skip", out=place / "run")


def test_a_truncated_image(place):
    file = place / "images/bee/bee_002.png"
    file.write_bytes(file.read_bytes()[:300])
    refused(DATA, fit(place), "images/bee/bee_002.png", "--on-bad skip", out=place / "run")


def test_many_bad_images_are_all_listed_in_a_file(place):
    for file in sorted((place / "images").rglob("*.png"))[:7]:
        file.write_bytes(b"nothing")
    refused(DATA, fit(place), "7 of 8 images", "audit.parquet", out=place / "run")
    listed = files.read_parquet(place / "run" / "audit.parquet")[0]
    assert listed.filter(pl.col("status") != "ok").height == 7
    assert listed.filter(pl.col("status") != "ok")["reason"].null_count() == 0


def test_skipping_says_which_and_goes_on(place):
    (place / "images/ant/ant_001.png").write_bytes(b"no image")
    said = small_runs.cli(*fit(place, data__on_bad="skip"))
    assert said.code == 0, said.err
    assert "images/ant/ant_001.png" in said.err
    assert (place / "run" / "report.html").exists()


def test_an_empty_class_folder(place):
    (place / "images" / "void").mkdir()
    refused(DATA, fit(place, "images", data__targets=[], data__group=None), "void", out=place / "run")


def test_one_class_only(place):
    shutil.rmtree(place / "images" / "bee")
    refused(DATA, fit(place, "images", data__targets=[], data__group=None), "ant", out=place / "run")


def test_one_class_only_in_a_table(place):
    write_table(place / "labels.csv", rows(place).columns, [r for r in rows(place).iter_rows() if r[1] == "ant"])
    refused(DATA, fit(place), "label", "ant", out=place / "run")


def test_ids_that_stand_twice(place):
    table = list(rows(place).iter_rows())
    write_table(place / "labels.csv", rows(place).columns, [*table, table[3]])
    refused(DATA, fit(place), "images/ant/ant_003.png", out=place / "run")


def test_an_unknown_column_offers_the_nearest(place):
    words = [*fit(place, data__targets=None), "--target", "labbel"]
    refused(USAGE, words, "'labbel'", "labels.csv", "Did you mean", "label", out=place / "run")


@pytest.mark.parametrize("flag", ["--group", "--id", "--path", "--sequence"])
def test_unknown_columns_of_every_role_are_named(place, flag):
    refused(USAGE, [*fit(place, data__group=None), flag, "groupp"], "groupp", out=place / "run")


def test_blank_targets_are_refused_and_may_be_context(place):
    table = [list(r) for r in rows(place).iter_rows()]
    table[2][1] = ""
    write_table(place / "labels.csv", rows(place).columns, table)
    refused(DATA, fit(place), "images/ant/ant_002.png", "context", out=place / "run")
    said = small_runs.cli(*fit(place, data__blank="context"))
    assert said.code == 0, said.err
    counts = files.read_json(place / "run" / "metrics.json")["counts"]
    assert counts["unknown"] == 1


def test_a_group_that_crosses_a_given_split(place):
    table = [[*r, "test" if i == 0 else "train"] for i, r in enumerate(rows(place).iter_rows())]
    write_table(place / "labels.csv", [*rows(place).columns, "split"], table)
    refused(DATA, fit(place), "ant-0", out=place / "run")


def test_a_group_that_crosses_given_folds(place):
    table = [[*r, i % 2] for i, r in enumerate(rows(place).iter_rows())]
    write_table(place / "labels.csv", [*rows(place).columns, "fold"], table)
    refused(DATA, fit(place), "ant-0", out=place / "run")


def test_weights_that_are_not_at_hand(place):
    refused(ENVIRONMENT, fit(place, model__weights="auto"), "test_efficientnet", "tf_efficientnet_lite0", "none", out=place / "run")
    refused(ENVIRONMENT, [*fit(place, model__weights=None), "--weights", place / "weights"], "weights", out=place / "run")


def test_a_network_that_timm_does_not_know(place):
    refused(
        USAGE,
        [*fit(place, model__backbone=None), "--backbone", "test_eficientnet"],
        "test_eficientnet",
        "test_efficientnet",
        out=place / "run",
    )


def test_a_run_of_another_recipe(place):
    assert small_runs.cli(*fit(place)).code == 0
    before = small_runs.contents(place / "run", "**/*")
    refused(DATA, [*fit(place), "--seed", "5"], "run", "seed", "-o")
    assert small_runs.contents(place / "run", "**/*") == before


def test_a_refused_start_binds_nobody(place):
    refused(USAGE, [*fit(place, data__targets=None), "--target", "labbel"], "labbel")
    said = small_runs.cli(*fit(place))
    assert said.code == 0, said.err


def test_images_that_changed_since_the_run_began(place):
    assert small_runs.cli(*fit(place)).code == 0
    shutil.copy(place / "images/bee/bee_000.png", place / "images/ant/ant_000.png")
    (place / "run" / "report.html").unlink()
    refused(DATA, fit(place), "images/ant/ant_000.png", "-o")
    assert not (place / "run" / "report.html").exists()


def test_a_folder_that_holds_something_else(place):
    (place / "run").mkdir()
    (place / "run" / "thesis.txt").write_text("mine")
    refused(DATA, fit(place), "run", "-o", out=place / "run")
    assert sorted(p.name for p in (place / "run").iterdir() if not p.name.startswith(".")) == ["thesis.txt"]


def test_a_second_process_is_told_who_holds_the_run(place):
    assert small_runs.cli(*fit(place)).code == 0
    holder = files.read_json(place / "run" / ".holder.json")
    with FileLock(place / "run" / ".lock"):
        refused(ENVIRONMENT, fit(place), str(place / "run"), f"process {holder['process']}", "-o")


def test_one_fold_is_refused_with_the_hint(place):
    refused(USAGE, [*fit(place), "--folds", "1"], "--holdout", out=place / "run")


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("optimizer.name=adamww", ["adamww", "adamw"]),
        ("optimizer.ratee=1", ["optimizer.ratee", "optimizer.rate"]),
        ("train.epochs=-1", ["train.epochs", "-1"]),
        ('loss.name="arcfase"', ["arcfase", "arcface"]),
        ('augment=["hflipp"]', ["hflipp", "hflip"]),
        ('schedule.name="cosinus"', ["cosinus", "cosine"]),
        ('mix=["mixupp"]', ["mixupp", "mixup"]),
        ("split.folds", ["split.folds", "="]),
        ("split.holdout=2", ["split.holdout"]),
        ('decide.steps=["tresholds"]', ["tresholds", "thresholds"]),
    ],
)
def test_a_wrong_key_value_or_name_in_the_recipe(place, setting, parts):
    refused(USAGE, [*fit(place, train__epochs=1), "--set", setting], *parts, out=place / "run")


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"loss__name": "mse"}, ["mse", "label"]),
        ({"loss__name": "arcface"}, ["arcface", "cosine"]),
        ({"loss__name": "arcface", "model__head": "cosine", "mix": ["mixup"]}, ["mixup", "arcface"]),
        ({"schedule__name": "cosine_restarts", "schedule__options": {"t0": 50}}, ["T0", "50"]),
        ({"loss__class_weights": [1.0, 2.0, 3.0]}, ["class_weights", "label"]),
    ],
)
def test_impossible_combinations_are_refused_before_reading_images(place, values, parts):
    said = refused(USAGE, fit(place, train__epochs=2, **values), *parts, out=place / "run")
    assert "checked" not in said.err


@pytest.mark.parametrize("budget", ["soon", "0m", "-3s"])
def test_a_budget_that_is_no_time(place, budget):
    refused(USAGE, [*fit(place), f"--budget={budget}"], budget, out=place / "run")


def test_too_few_rows_for_the_folds(place):
    refused(DATA, fit(place, split__folds=9), "fold", out=place / "run")


def test_a_plan_that_is_none_or_anothers(place, tuned):
    (place / "no.json").write_text("[1]")
    refused(USAGE, [*fit(place), "--plan", place / "no.json"], "no.json")
    refused(DATA, [*fit(place), "--plan", place / "gone.json"], "gone.json")
    said = refused(USAGE, [*fit(place, train__epochs=1), "--plan", tuned / "plan.json"], "plan", "2")
    assert "folds" in said.error


def test_neither_probe_nor_training(place):
    refused(USAGE, fit(place, probe__enabled=False), "probe")


def test_predicting_without_a_pipeline_or_images(place, probed):
    (place / "nothing").mkdir()
    refused(USAGE, ["predict", place / "nothing", place / "images", "-o", place / "p.parquet"], "nothing", "pipeline.json")
    refused(USAGE, ["predict", probed, place / "gone", "-o", place / "p.parquet"], "gone")
    refused(DATA, ["predict", probed, place / "nothing", "-o", place / "p.parquet"], "nothing")
    refused(USAGE, ["predict", probed, place / "images", "-o", place / "p.xls"], ".xls", ".parquet")
    assert not list(place.glob("p.*"))


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOSPC])
def test_a_place_that_cannot_be_written(place, monkeypatch, number):
    def full(*_):
        raise OSError(number, os.strerror(number), str(place / "run" / "recipe.toml"))

    monkeypatch.setattr(os, "replace", full)
    refused(ENVIRONMENT, fit(place), "recipe.toml", os.strerror(number), "-o")


def test_a_disk_that_fails_is_named(place, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(place / "run" / "recipe.toml"))

    monkeypatch.setattr(os, "replace", fails)
    refused(ENVIRONMENT, fit(place), "recipe.toml", os.strerror(errno.EIO))
