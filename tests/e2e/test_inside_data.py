"""A run may lie inside its own data: it is never data itself, and what fails leaves nothing behind."""

from __future__ import annotations

import os

import pytest

import small_runs
from images import plant
from tapetum.core import files

QUICK = small_runs.flags(train__epochs=0, data__targets=None, data__group=None)


@pytest.fixture
def inside(tmp_path, monkeypatch):
    plant(tmp_path, classes=2, each=6, size=24)
    monkeypatch.chdir(tmp_path / "images")
    return tmp_path / "images"


def test_fit_of_a_folder_with_a_run_goes_on(inside):
    first = small_runs.cli("fit", ".", *QUICK)
    assert first.code == 0, first.err
    before = small_runs.sha256(inside / "runs" / "run" / "oof.parquet")
    again = small_runs.cli("fit", ".", *QUICK)
    assert again.code == 0, again.err
    assert small_runs.sha256(inside / "runs" / "run" / "oof.parquet") == before
    assert "runs/run" in again.err  # said to be no data
    beside = small_runs.cli("fit", ".", "-o", "ant/other", *QUICK)
    assert beside.code == 0, beside.err
    answered = small_runs.cli("predict", "runs/run", ".", "-o", "answers.csv")
    assert answered.code == 0, answered.err
    assert len(files.read_text(inside / "answers.csv").splitlines()) == 1 + 12
    assert "is a run" in small_runs.cli("fit", "runs/run", "-o", "third", *QUICK).error


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "nosuch"),
        ("fit", ".", "--target", "nosuch:multi", "--layout", "nosuch"),
        ("find-rate", "nosuch"),
        ("tune", "nosuch", "--set", 'tune.space={"optimizer.rate" = [0.1, 0.2]}'),
        ("ablate", "nosuch"),
        ("reproduce", "dogs", "--data", "nosuch"),
        ("reproduce", "nosuch", "--simulate"),
        ("audit", "nosuch", "-o", "new/audit.parquet"),
        ("split", "nosuch", "-o", "new/folds.parquet"),
        ("show", "nosuch", "-o", "new/sheet.png"),
        ("simulate", "nosuch", "new/simulated"),
        ("simulate", "dogs", "new/simulated", "--size", "nosuch"),
        ("predict", "nosuch", ".", "-o", "new/answers.csv"),
        ("decide", "nosuch.csv", "--manifest", "nosuch.parquet", "-o", "new/decided"),
        ("submit", "nosuch", "--template", "nosuch.csv", "-o", "new/submission.csv"),
        ("report", "nosuch", "-o", "new/report.html"),
        ("explain", "nosuch"),
    ],
    ids=" ".join,
)
def test_a_command_that_fails_leaves_nothing(inside, words):
    before = sorted(os.listdir(inside))
    said = small_runs.cli(*words)
    assert said.code in (2, 3), said.err
    assert said.error
    assert sorted(os.listdir(inside)) == before
