"""Tasks are tried again by their exit codes, and places are refused before anything is read."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys

import pytest

from tapetum import api
from tapetum.core.errors import DataError, EnvironmentFault, UserError
from tapetum.workflow.launch import places
from tapetum.workflow.launch.places import At, Processes
from tapetum.workflow.launch.tasks import TRIES, Ended, Task, called, run_all


class Scripted:
    """A place whose tasks end as a script says: name → how each try ends."""

    name = "the script"

    def __init__(self, **script):
        self.script, self.tried, self.ended = script, [], 0

    def run(self, tasks):
        try:
            for task in reversed(tasks):
                self.tried.append(task.name)
                yield task, self.script[task.name].pop(0)
        finally:
            self.ended += 1

    def close(self):
        pass


GOOD = Ended(0, '{"status": "done", "log": ["one"]}')
PARTLY = Ended(4, "{}")
KILLED, FULL = Ended(-9), Ended(5, err="error: the disk is full\n")


@pytest.fixture
def tasks(tmp_path):
    return [Task(name, tmp_path / f"{name}.json") for name in ("a", "b")]


def test_a_lost_task_is_tried_again_alone(tasks):
    place, said = Scripted(a=[GOOD], b=[KILLED, FULL, PARTLY]), []
    assert run_all(place, tasks, said.append, "training") == {"a": {"status": "done", "log": ["one"]}, "b": {}}
    assert place.tried == ["b", "a", "b", "b"]
    warned = [text for text in said if text.startswith("warning")]
    assert warned == [f"warning: b failed (try 1 of {TRIES}): ended by SIGKILL", f"warning: b failed (try 2 of {TRIES}): the disk is full"]
    assert [text.partition(" (")[0] for text in said if text.startswith("\r")][-1] == "\rtraining on the script: 2 of 2"


def test_a_task_that_always_fails_ends_the_command(tasks):
    with pytest.raises(EnvironmentFault, match="b failed 3 times on the script: the disk is full"):
        run_all(Scripted(a=[GOOD], b=[FULL] * TRIES), tasks, lambda _: None, "training")


@pytest.mark.parametrize(("code", "kind"), [(2, UserError), (3, DataError)])
def test_what_a_task_refuses_is_never_tried_again(code, kind, tasks):
    place = Scripted(a=[GOOD], b=[Ended(code, err="warning: w\nerror: the labels are odd\n")])
    with pytest.raises(kind, match="b: the labels are odd"):
        run_all(place, tasks, lambda _: None, "training")
    assert (place.tried, place.ended) == (["b"], 1)


def test_a_refusal_may_be_left_to_the_caller(tasks):
    place = Scripted(a=[GOOD], b=[Ended(3, err="error: no number")])
    assert list(run_all(place, tasks, lambda _: None, "training", refuse=False)) == ["a"]


def test_a_process_gives_its_code_and_text(tmp_path, monkeypatch):
    code = "import sys; print('{\"n\": 1}'); print('error: no', file=sys.stderr); sys.exit(3)"
    monkeypatch.setattr(Task, "words", [sys.executable, "-c", code])
    ((task, ended),) = Processes().run([Task("one", tmp_path / "spec.json")])
    assert (task.name, ended.code, ended.result, ended.reason) == ("one", 3, {"n": 1}, "no")


@pytest.mark.parametrize(
    "on",
    [
        "rays",
        "ray:",
        "local:2",
        "",
        "slurm:--array=1-3",
        "slurm:-a1-3",
        "slurm:--out x",
        "slurm:gpu",
        "slurm:-p gpu x.sh",
        "slurm:--",
        "slurm:'",
    ],
)
def test_an_unknown_place_is_refused(on, tmp_path):
    with pytest.raises(UserError, match="--on" if "'" not in on else "cannot be read"):
        places.check(At(on or "x"))


def test_a_budget_is_for_this_machine(tmp_path):
    with pytest.raises(UserError, match="budget of 60 s"):
        places.check(At("local", devices=2), budget=60.0)
    with pytest.raises(UserError, match=r"slurm.* was given with a budget"):
        api.fit(tmp_path, tmp_path / "run", budget="5m", on="slurm")


def test_slurm_needs_its_commands(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EnvironmentFault, match="sbatch, which is not on the PATH"):
        places.check(At("slurm"))


def test_a_result_that_is_no_json_is_empty():
    assert Ended(0, "not json").result == Ended(0, "[1]").result == {}
    assert dataclasses.replace(KILLED, code=-999).reason == "its process is gone"


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_command_that_is_left_may_end_what_it_started(tmp_path):
    code = (
        "import pathlib, signal, sys, time\n"
        "def ended(*_): pathlib.Path(sys.argv[1]).write_text('asked'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, ended); print('ready', flush=True); time.sleep(60)"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        called([sys.executable, "-c", code, str(tmp_path / "said")], timeout=2.0)
    assert (tmp_path / "said").read_text(encoding="utf-8") == "asked"


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_sigterm_ends_jobs_as_ctrl_c_does(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), places.opened(At(devices=2), tmp_path, lambda _: None):
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_more_devices_than_a_machine_has_are_refused(tmp_path):
    with pytest.raises(UserError, match="--devices is 65; needed: from 1 to 64"):
        places.check(At(devices=65))
    with pytest.raises(UserError, match="--devices is 0"):
        places.check(At(devices=0))
