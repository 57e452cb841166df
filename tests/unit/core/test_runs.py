"""A run's folder: whose it is, what it says, and what an unfinished start leaves."""

from __future__ import annotations

import pytest

from tapetum.core import config, files
from tapetum.core.errors import DataError, UserError
from tapetum.core.runs import Record, Run


def loaded(**flags):
    return config.load(flags={key.replace("__", "."): value for key, value in flags.items()})


def test_same_recipe_goes_on_and_another_is_refused(tmp_path):
    run = Run.start(tmp_path / "r", loaded(train__epochs=3), {})
    files.write_text(run.manifest_file, "stands for a manifest")
    before = {p.name: p.stat().st_mtime_ns for p in run.root.iterdir()}
    assert Run.start(tmp_path / "r", loaded(train__epochs=3), {}).root == run.root
    with pytest.raises(DataError, match=r"train\.epochs was 3, now 4"):
        Run.start(tmp_path / "r", loaded(train__epochs=4), {})
    assert {p.name: p.stat().st_mtime_ns for p in run.root.iterdir()} == before


def test_a_start_without_a_manifest_binds_nobody(tmp_path):
    run = Run.start(tmp_path / "r", loaded(train__epochs=3), {})
    Record(None).write(run, "first")
    run.keep_plan(probe={"engine": {}})
    again = Run.start(tmp_path / "r", loaded(train__epochs=4), {})
    assert again.recipe().train.epochs == 4
    assert again.plan() == {}
    assert not again.file("run.json").exists()


@pytest.mark.parametrize("left", [("recipe.toml",), ("recipe.toml", "origin.json"), ("recipe.toml", "origin.json", "environment.json")])
def test_a_start_killed_before_its_marker_is_made_again(tmp_path, left):
    run = Run.start(tmp_path / "r", loaded(), {})
    for path in run.root.iterdir():
        if not path.name.startswith(".") and path.name not in left:
            path.unlink()
    Run.start(tmp_path / "r", loaded(train__epochs=1), {})
    assert run.recipe().train.epochs == 1
    assert run.file("run-id.json").exists()


def test_files_of_somebody_else_are_never_overwritten(tmp_path):
    files.write_text(tmp_path / "recipe.toml", "mine")  # one of our names, but no run was ever here
    with pytest.raises(DataError, match="holds files, but no run"):
        Run.start(tmp_path, loaded(), {})
    assert (tmp_path / "recipe.toml").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.toml"]


def test_a_file_in_the_runs_place_is_named(tmp_path):
    (tmp_path / "r").write_text("")
    with pytest.raises(DataError, match="is a file"):
        Run.start(tmp_path / "r", loaded(), {})


def test_what_is_planned_is_only_read_afterwards(tmp_path):
    run = Run(tmp_path)
    run.keep_plan(probe=1, members={"a": 1})
    assert run.keep_plan(probe=2, other=3) == {"probe": 1, "members": {"a": 1}, "other": 3}


def test_folds_are_numbered_and_only_those_with_the_file_count(tmp_path):
    run = Run(tmp_path)
    for k in (10, 2, 0):
        files.write_text(run.member("m", k) / "oof.parquet", "x")
    files.make_folder(run.member("m", 3))
    files.write_text(run.member("m", -1) / "oof.parquet", "the refit")
    assert list(run.folds_of("m", "oof.parquet")) == [0, 2, 10]


def test_written_run_is_read_with_the_same_recipe(tmp_path):
    values = {"augment": ["hflip", {"name": "rotation", "degrees": 5.0}], "member": [{"name": "a"}, {"name": "b", "train": {"epochs": 2}}]}
    first = loaded(**values)
    run = Run.start(tmp_path / "r", first, {})
    assert run.recipe().hash() == first.recipe.hash()
    assert run.recipe().members()["b"].train.epochs == 2


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="not a run"):
        Run.existing(tmp_path)


def test_a_start_is_recorded_once_however_often_it_is_written(tmp_path):
    run, said = Run(tmp_path), []
    first = Record(said.append)
    first("a")
    first("a")
    with first.stage("files"):
        pass
    first.write(run, "fit")
    first("b")
    first.write(run, "fit")
    second = Record(said.append)
    second.started += 1
    second("b")
    second("c")
    second.write(run, "fit again")
    kept = files.read_json(run.file("run.json"))
    assert [text for text in said if not text.startswith("\r")] == ["a", "b", "b", "c"]
    assert kept["log"] == ["a", "b", "c"]
    assert [start["command"] for start in kept["starts"]] == ["fit", "fit again"]
    assert list(kept["starts"][0]["seconds"]) == ["files"]


def test_a_stage_that_fails_is_measured_all_the_same():
    record = Record(None)
    with pytest.raises(ZeroDivisionError), record.stage("training"):
        raise ZeroDivisionError
    assert "training" in record.stages


def test_early_failure_leaves_no_folder(tmp_path):
    def fails(out):
        with Run.opened(out, loaded(), {}) as run:
            run.file("run.json").write_text("{}")
            raise DataError("no such data")

    with pytest.raises(DataError, match="no such data"):
        fails(tmp_path / "runs" / "run")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="no such data"):
        fails(tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize("found", ["manifest.parquet", "audit.parquet", "features/x.npy"])
def test_a_start_that_fails_keeps_what_it_found(tmp_path, found):
    def fails():
        with Run.opened(tmp_path / "run", loaded(), {}) as run:
            run.file(found).parent.mkdir(exist_ok=True)
            run.file(found).write_text("x")
            raise DataError("damaged")

    with pytest.raises(DataError, match="damaged"):
        fails()
    assert (tmp_path / "run" / found).exists()
    assert (tmp_path / "run" / "recipe.toml").exists()


def test_a_sealed_run_may_be_planned_and_logged_further(tmp_path):
    run = Run(tmp_path)
    run.keep_plan(threads=1)
    Record().write(run, "tapetum fit")
    run.seal()
    run.keep_plan(members={})
    Record().write(run, "tapetum find-rate")
    assert run.checked().plan() == {"members": {}, "threads": 1}
    run.plan_file.write_text("{}")
    with pytest.raises(DataError, match=r"plan\.json is not the file that was written"):
        run.checked()
    run.checked("run.json")
