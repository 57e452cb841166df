"""A run killed at any moment and started again under the same plan, with one thread, ends with the same bits."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

import small_runs

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.faults.forge import Forge

# What must come out the same, by where it stands in a run.
RESULTS = (
    "oof.parquet",
    "decisions.json",
    "metrics.json",
    "pipeline/**/*",
    "members/*/*/oof.parquet",
    "members/*/*/epochs.parquet",
)
WEIGHTS = "members/main/*/checkpoints/*.safetensors"


@pytest.fixture(scope="module")
def forge():
    forge = Forge(path=[Path(small_runs.__file__).parent])
    yield forge
    forge.close()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, planted, forge):
    """A run that ended at the first try, in a process of its own."""

    def make(place):
        finished(forge, planted / "labels.csv", place / "run", None)

    return small_runs.once(tmp_path_factory, "unbroken", make) / "run"


def results(run):
    found = {name: digest for pattern in (*RESULTS, WEIGHTS) for name, digest in small_runs.contents(run, pattern).items()}
    assert "oof.parquet" in found
    assert any("checkpoints" in name for name in found)
    assert any(name.endswith("pipeline.json") for name in found)
    return found


def start(forge, source, out, plan=None, die=""):
    return forge.start("small_runs:dying", source=str(source), out=str(out), plan=str(plan or ""), die=die)


def killed(forge, source, out, plan, moment):
    start(forge, source, out, plan, moment)
    code, said = forge.end()
    assert code == -signal.SIGKILL, f"{moment} never came: {said}"
    assert not (out / "report.html").exists()


def wait_for(file):
    for _ in range(6000):
        if file.exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"{file} never came")


def finished(forge, source, out, plan):
    start(forge, source, out, plan)
    code, said = forge.end()
    assert code == 0, said
    return said


def test_kills_in_probe_epochs_between_folds_and_while_freezing(tmp_path, forge, planted, unbroken):
    source, out, plan = planted / "labels.csv", tmp_path / "run", unbroken / "plan.json"
    for moment in (
        "after:origin.json:1",  # the folder is not a run yet
        "after:probe/fold-1/label.safetensors:1",  # a head is there, its predictions not
        "backward:3",  # in the second epoch of the first fold
        "after:fold-0/epochs.parquet:1",  # predictions of an epoch are there, its marker not
        "after:fold-1/state.json:2",  # a fold's last epoch ended, the fold is not done
        "after:decisions.json:1",
        "after:run/pipeline:1",
    ):
        killed(forge, source, out, plan, moment)
    finished(forge, source, out, plan)
    assert results(out) == results(unbroken)


def test_kills_before_random_files_get_their_names(tmp_path, forge, planted, unbroken):
    source, out, plan = planted / "labels.csv", tmp_path / "run", unbroken / "plan.json"
    rng = random.Random(20)
    for _ in range(5):
        killed(forge, source, out, plan, f"replace:{rng.randrange(2, 20)}")
    finished(forge, source, out, plan)
    assert results(out) == results(unbroken)


def test_a_kill_from_outside_at_a_random_time(tmp_path, forge, planted, unbroken):
    source, out, plan = planted / "labels.csv", tmp_path / "run", unbroken / "plan.json"
    process = start(forge, source, out, plan)
    wait_for(out / "manifest.parquet")
    time.sleep(random.uniform(0, 3))
    with contextlib.suppress(ProcessLookupError):  # it may have ended already
        os.kill(process, signal.SIGKILL)
    forge.end()
    finished(forge, source, out, plan)
    assert results(out) == results(unbroken)


def test_what_is_done_is_not_done_again(forge, planted, unbroken):
    times = {path: path.stat().st_mtime_ns for path in unbroken.glob(WEIGHTS)}
    assert times
    said = finished(forge, planted / "labels.csv", unbroken, None)
    assert "epoch 1/" not in said
    assert {path: path.stat().st_mtime_ns for path in unbroken.glob(WEIGHTS)} == times


def test_second_process_is_refused_and_names_the_holder(tmp_path, forge, planted):
    first = start(forge, planted / "labels.csv", tmp_path / "run")
    wait_for(tmp_path / "run" / "manifest.parquet")
    os.kill(first, signal.SIGSTOP)  # it holds the run for as long as the second one looks
    try:
        said = small_runs.cli("fit", planted / "labels.csv", "-o", tmp_path / "run", *small_runs.flags())
    finally:
        os.kill(first, signal.SIGCONT)
    assert said.code == 5
    assert f"process {first}" in said.error
    assert str(tmp_path / "run") in said.error
    code, err = forge.end()
    assert code == 0, err
