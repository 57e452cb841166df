"""After the data moved, every command says so and takes the new place; no file that is absent becomes a decision."""

from __future__ import annotations

import shutil

import polars as pl
import pytest

import small_runs
from images import plant, write_table
from tapetum.core import files, hashes
from tapetum.core.errors import EnvironmentFault
from tapetum.core.tables import Manifest

QUICK = {"train__epochs": 0, "data__targets": None, "data__group": None}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("moved")
    plant(place, classes=2, each=6, size=24)
    small_runs.fit(place / "images", place / "run", **QUICK)
    return place


def move(run, root):
    """Let a run say that its data were below ``root``."""
    with hashes.renewed(run, "manifest.parquet"):
        Manifest.read(run / "manifest.parquet", root).write(run / "manifest.parquet")


@pytest.fixture
def moved(made, tmp_path):
    """A run whose data were renamed after it: (run, where they were, where they are)."""
    shutil.copytree(made / "run", tmp_path / "run")
    shutil.copytree(made / "images", tmp_path / "away")
    move(tmp_path / "run", tmp_path / "images")
    return tmp_path / "run", tmp_path / "images", tmp_path / "away"


def test_audit_of_a_run_takes_the_new_data_place(moved):
    run, before, now = moved
    kept = small_runs.sha256(run / "audit.parquet")
    error = small_runs.cli("audit", run).error
    assert f"12 of 12 rows are not below {before}" in error
    assert "--data DIR" in error
    assert small_runs.sha256(run / "audit.parquet") == kept
    said = small_runs.cli("audit", run, "--data", now)
    assert said.code == 0, said.err
    assert set(pl.read_parquet(run / "audit.parquet")["decision"]) == {"keep"}


def test_some_absent_files_are_no_finding_either(moved):
    run, _, now = moved
    (now / "ant" / "ant_000.png").unlink()
    kept = small_runs.sha256(run / "audit.parquet")
    assert "1 of 12 rows" in small_runs.cli("audit", run, "--data", now).error
    assert small_runs.sha256(run / "audit.parquet") == kept
    said = small_runs.cli("audit", run, "--data", now, "-o", run.parent / "elsewhere.parquet")
    assert said.code == 0, said.err
    assert set(pl.read_parquet(run.parent / "elsewhere.parquet")["decision"]) == {"keep"}


def test_resumed_run_keeps_the_new_data_place(moved):
    run, before, now = moved
    error = small_runs.cli("fit", before, "-o", run, *small_runs.flags(**QUICK)).error
    assert "does not exist" in error
    assert "where the data are now" in error
    again = small_runs.cli("fit", now, "-o", run, *small_runs.flags(**QUICK))
    assert again.code == 0, again.err
    assert Manifest.read(run / "manifest.parquet").root == now
    assert small_runs.cli("audit", run).code == 0


def test_data_and_run_that_move_together_find_each_other(made, tmp_path):
    shutil.copytree(made, tmp_path / "all")
    text = Manifest.read(tmp_path / "all" / "run" / "manifest.parquet", made / "gone")
    frame, meta = files.read_parquet(tmp_path / "all" / "run" / "manifest.parquet")
    files.write_parquet(tmp_path / "all" / "run" / "manifest.parquet", frame, {**meta, "root": str(made / "gone")})
    assert Manifest.read(tmp_path / "all" / "run" / "manifest.parquet").root == tmp_path / "all" / "images"
    assert text.root == made / "gone"


def test_the_report_says_that_images_cannot_be_shown(moved):
    run, before, now = moved
    assert small_runs.cli("report", run).code == 0
    assert f"no longer in {before}" in (run / "report.html").read_text(encoding="utf-8")
    assert small_runs.cli("report", run, "--data", now).code == 0
    assert "no longer in" not in (run / "report.html").read_text(encoding="utf-8")


def test_manifest_of_moved_data_is_refused_until_beside_them(moved):
    run, before, now = moved
    manifest = shutil.copy(run / "manifest.parquet", run.parent / "folds.parquet")
    for words in (
        ("predict", run, manifest, "-o", run.parent / "o.csv"),
        ("fit", manifest, "-o", run.parent / "r2", *small_runs.flags(**QUICK)),
        ("audit", manifest, "-o", run.parent / "a.parquet", "--on-bad", "skip"),
    ):
        error = small_runs.cli(*words).error
        assert f"12 of 12 rows are not below {before}" in error
        assert "move folds.parquet into the folder" in error
    shutil.move(manifest, now / "folds.parquet")
    said = small_runs.cli("predict", run, now / "folds.parquet", "-o", run.parent / "o.csv")
    assert said.code == 0, said.err


def test_decisions_on_test_rows_wait_for_their_images(damaged, tuned, tmp_path):
    shutil.copytree(tuned, tmp_path / "run")
    move(tmp_path / "run", tmp_path / "nowhere")
    kept = small_runs.sha256(tmp_path / "run" / "test.parquet")
    error = small_runs.cli("decide", tmp_path / "run", "--set", "decide.calibrate=none").error
    assert "--data DIR" in error
    assert str(tmp_path / "nowhere") in error
    assert small_runs.sha256(tmp_path / "run" / "test.parquet") == kept
    assert "--data DIR" in small_runs.cli("compare", tmp_path / "run", "--views", "flips").error
    said = small_runs.cli("decide", tmp_path / "run", "--set", "decide.calibrate=none", "--data", damaged)
    assert said.code == 0, said.err


def test_audit_excludes_nothing_that_a_table_names_absent(tmp_path):
    plant(tmp_path, classes=2, each=3, size=24)
    write_table(tmp_path / "more.csv", ["file", "label"], [["images/ant/ant_000.png", "ant"], ["images/ant/gone.png", "bee"]])
    said = small_runs.cli("audit", tmp_path / "more.csv", "--target", "label", "--on-bad", "skip", "-o", tmp_path / "a.parquet")
    assert said.code == 0, said.err
    table = pl.read_parquet(tmp_path / "a.parquet")
    assert table["status"].to_list() == ["ok", "missing"]
    assert table["decision"].to_list() == ["keep", "keep"]


def test_a_run_that_is_moved_in_training_is_whole(planted, tmp_path):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"

    def move(text: str) -> None:
        if "epoch 1" in text and run.exists():
            run.rename(elsewhere)

    with pytest.raises(EnvironmentFault, match=r"run is not there any more: it was moved, renamed or removed .* move it back"):
        small_runs.fit(planted / "labels.csv", run, probe__enabled=False, log=move)
    assert not run.exists()
    elsewhere.rename(run)
    before = small_runs.contents(run, "members/main/fold-0/epochs.parquet")
    small_runs.fit(planted / "labels.csv", run, probe__enabled=False)
    assert before
    assert (run / "pipeline" / "pipeline.json").exists()
