"""A run whose files were changed, or exchanged with those of another fold, is refused when it goes on; the file is named."""

from __future__ import annotations

import shutil

import polars as pl
import pytest

import small_runs
from tapetum.core import files, hashes
from tapetum.core.errors import DataError

VALUES = {"train__epochs": 1, "split__folds": 2, "decide__choose": "finetune"}


@pytest.fixture
def run(tmp_path, tmp_path_factory, planted):
    made = small_runs.once(tmp_path_factory, "swapped", lambda place: small_runs.fit(planted / "labels.csv", place / "run", **VALUES))
    return shutil.copytree(made / "run", tmp_path / "run")


@pytest.fixture
def unsealed(run):
    """The run as it stands before it is finished, which keeps no hashes of its own yet."""
    hashes.forget(run)
    return run


@pytest.fixture
def earlier(unsealed):
    """The same without hashes of its folds, as an earlier version left it."""
    for place in unsealed.glob("members/*/*"):
        hashes.forget(place)
    return unsealed


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
        (lambda run: files.write_text(run / "members/main/fold-0/state.json", "[]"), r"fold-0/state\.json holds no object"),
        (lambda run: files.write_text(run / "plan.json", '{"members": []}'), r"plan\.json has no JSON object as 'members'"),
        (edit_recipe, r"recipe\.toml was changed since the run began \(train\.epochs was 4, now 1\)"),
        (
            lambda run: shutil.copy(run / "members/main/fold-1/epochs.parquet", run / "members/main/fold-0"),
            r"epochs\.parquet has answers of",
        ),
        (lambda run: shutil.copy(run / "members/probe/fold-1/oof.parquet", run / "members/probe/fold-0"), r"oof\.parquet has answers of"),
    ],
)
def test_exchanged_files_of_a_run_are_refused(earlier, planted, change, message):
    change(earlier)
    with pytest.raises(DataError, match=message):
        small_runs.fit(planted / "labels.csv", earlier, **VALUES)


def swap(name, member="main"):
    def change(run):
        shutil.copy(run / f"members/{member}/fold-1/{name}", run / f"members/{member}/fold-0/{name}")

    return change


def cut(name):
    def change(run):
        place = run / name
        place.write_text(place.read_text().rpartition("\n")[0].rpartition("\n")[0])

    return change


def other_learning(run):
    place = run / "members/main/fold-0/spec.json"
    files.write_json(place, files.read_json(place) | {"recipe": small_runs.recipe(**VALUES, seed=5).recipe.model_dump(mode="json")})
    hashes.forget(place.parent)


def other_probe(run):
    frame, meta = files.read_parquet(run / "members/probe/fold-0/oof.parquet")
    files.write_parquet(run / "members/probe/fold-0/oof.parquet", frame, meta | {"recipe": "trained-0"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swap("label.safetensors", "probe"), r"probe/fold-0/label\.safetensors is not the file that was written"),
        (swap("history.csv"), r"main/fold-0/history\.csv is not the file that was written"),
        (swap("spec.json"), r"main/fold-0/spec\.json describes member 'main' fold 1"),
        (cut("members/main/fold-0/schedule.csv"), r"main/fold-0/schedule\.csv is not the file that was written"),
        (lambda run: (run / "members/main/fold-0/scaling.json").unlink(), r"main/fold-0/scaling\.json is absent"),
        (lambda run: (run / "members/probe/fold-0/scaling.json").unlink(), r"probe/fold-0/scaling\.json is absent"),
        (lambda run: (run / "members/probe/fold-0/hashes.json").write_text("{"), r"probe/fold-0/hashes\.json is not JSON"),
        (other_learning, r"main/fold-0/spec\.json was written for another recipe"),
        (other_probe, r"probe/fold-0/oof\.parquet was written by another recipe"),
    ],
)
def test_files_of_a_fold_are_known_before_the_end(unsealed, planted, change, message):
    change(unsealed)
    with pytest.raises(DataError, match=message):
        small_runs.fit(planted / "labels.csv", unsealed, **VALUES)


def test_a_run_without_hashes_goes_on_and_gets_them(earlier, planted):
    before = small_runs.contents(earlier, "oof.parquet")
    small_runs.fit(planted / "labels.csv", earlier, **VALUES)
    assert small_runs.contents(earlier, "oof.parquet") == before
    assert {"oof.parquet", "recipe.toml", "members/main/fold-0/spec.json"} <= set(hashes.kept(earlier))


def test_a_fold_that_was_removed_is_made_anew(run, planted):
    before = small_runs.contents(run, "oof.parquet")
    for member in ("main", "probe"):
        shutil.rmtree(run / "members" / member / "fold-0")
    small_runs.fit(planted / "labels.csv", run, **VALUES)
    assert small_runs.contents(run, "oof.parquet") == before
