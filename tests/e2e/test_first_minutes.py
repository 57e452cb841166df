"""What somebody sees who uses the command line for the first time."""

from __future__ import annotations

import json
import shutil

import small_runs


def test_help_is_a_word_too():
    asked, option = small_runs.cli("help", verbose=False), small_runs.cli("--help", verbose=False)
    assert (asked.code, asked.out) == (0, option.out)
    assert small_runs.cli("help", "fit", verbose=False).out == small_runs.cli("fit", "--help", verbose=False).out
    assert small_runs.cli("help", "nosuch", verbose=False).code == 2


def test_an_audit_says_its_findings_once(planted, tmp_path):
    said = small_runs.cli("audit", planted / "labels.csv", "--target", "label", "-o", tmp_path / "a.csv")
    assert (said.out + said.err).count("audit of 24 images") == 1


def test_a_run_that_is_not_finished_is_called_that(probed, tmp_path):
    shutil.copytree(probed, tmp_path / "run")
    (tmp_path / "run" / "oof.parquet").unlink()
    for words in (["compare", tmp_path / "run", probed], ["leaderboard", tmp_path / "run"], ["conformal", tmp_path / "run"]):
        said = small_runs.cli(*words)
        assert said.code == 3
        assert "run is not finished" in said.error


def test_decisions_without_effect_are_told(probed, tmp_path):
    shutil.copytree(probed, tmp_path / "run")
    said = small_runs.cli("decide", tmp_path / "run", "--set", "decide.calibrate=temperature", "--set", 'decide.steps=["thresholds"]')
    assert said.code == 0
    assert "warning: decide.calibrate had no effect, since the probe answers: use decide.steps=['temperature']" in said.out
    assert "'thresholds' is for multi targets and was left out" in said.out
    said = small_runs.cli("decide", tmp_path / "run", "--set", "decide.calibrate=none", "--set", 'decide.steps=["temperature"]')
    assert "no effect" not in said.out + said.err


def test_a_typo_in_a_changed_recipe_is_named(planted, tmp_path, probed):
    shutil.copytree(probed, tmp_path / "run")
    words = ["fit", planted / "labels.csv", "-o", tmp_path / "run"]
    assert "Did you mean" in small_runs.cli(*words, *small_runs.flags(train__epochs=0, data__targets=["labl"])).error
    assert "test_efficientnt" in small_runs.cli(*words, *small_runs.flags(train__epochs=0, model__backbone="test_efficientnt")).error
    changed = small_runs.cli(*words, *small_runs.flags(train__epochs=0, seed=3)).error
    assert "run of another recipe (seed was 0, now 3)" in changed


def test_the_table_shows_an_answer_once_where_nothing_was_chosen(probed):
    from tapetum.workflow.commands.finish import table

    metrics = json.loads((probed / "metrics.json").read_text())
    lines = [line.split() for line in table(metrics).splitlines() if " final " in line]
    assert [line[2] for line in lines] == list(dict.fromkeys(line[2] for line in lines))


def test_a_pipeline_says_what_it_is(probed):
    import tapetum

    said = repr(tapetum.load(probed))
    assert "label (3 classes)" in said
    assert "networks of probe" in said
