"""A run whose files were changed, or exchanged with those of another fold, is refused when it goes on; the file is named."""

from __future__ import annotations

import shutil

import polars as pl
import pytest

import small_runs
from tapetum.core import files
from tapetum.core.errors import DataError

VALUES = {"train__epochs": 1, "split__folds": 2, "decide__choose": "finetune"}


@pytest.fixture
def run(tmp_path, tmp_path_factory, planted):
    made = small_runs.once(tmp_path_factory, "swapped", lambda place: small_runs.fit(planted / "labels.csv", place / "run", **VALUES))
    return shutil.copytree(made / "run", tmp_path / "run")


def exchange_folders(run):
    main = run / "members" / "main"
    (main / "fold-0").rename(main / "aside")
    (main / "fold-1").rename(main / "fold-0")
    (main / "aside").rename(main / "fold-1")


def copy_checkpoint(run):
    name = next((run / "members/main/fold-0/checkpoints").iterdir()).name
    shutil.copy(run / f"members/main/fold-1/checkpoints/{name}", run / f"members/main/fold-0/checkpoints/{name}")
    shutil.rmtree(run / "pipeline")


def plan_more_epochs(run):
    plan = files.read_json(run / "plan.json")
    plan["members"]["main"]["epochs"] = 5
    files.write_json(run / "plan.json", plan)


def edit_recipe(run):
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("epochs = 1", "epochs = 4"))


def exchange_folds(run):
    frame, meta = files.read_parquet(run / "manifest.parquet")
    files.write_parquet(run / "manifest.parquet", frame.with_columns((1 - pl.col("fold")).cast(pl.Int16).alias("fold")), meta)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (exchange_folders, r"main/fold-0/spec\.json describes member 'main' fold 1"),
        (copy_checkpoint, r"fold-0/checkpoints/.* is not the file that this fold wrote"),
        (plan_more_epochs, r"plan\.json plans 5 epochs of member 'main', and fold 0 was begun with 1"),
        (exchange_folds, r"fold-0/.*parquet has answers of rows that fold 0 does not hold out"),
        (lambda run: files.write_text(run / "members/main/fold-1/spec.json", "{}"), r"fold-1/spec\.json has no 'manifest'"),
        (lambda run: files.write_text(run / "members/main/fold-0/state.json", "[]"), r"fold-0/state\.json holds a list"),
        (lambda run: files.write_text(run / "plan.json", '{"members": []}'), r"plan\.json has no JSON object as 'members'"),
        (edit_recipe, r"recipe\.toml was changed since the run began \(train\.epochs was 4, now 1\)"),
        (
            lambda run: shutil.copy(run / "members/main/fold-1/epochs.parquet", run / "members/main/fold-0"),
            r"epochs\.parquet has answers of",
        ),
        (lambda run: shutil.copy(run / "members/probe/fold-1/oof.parquet", run / "members/probe/fold-0"), r"oof\.parquet has answers of"),
    ],
)
def test_exchanged_files_of_a_run_are_refused(run, planted, change, message):
    change(run)
    with pytest.raises(DataError, match=message):
        small_runs.fit(planted / "labels.csv", run, **VALUES)
