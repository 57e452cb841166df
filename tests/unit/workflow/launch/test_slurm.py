"""Arrays of Slurm, through a fake one: what ended, what was lost, what was refused, and what is cancelled."""

from __future__ import annotations

import sys

import pytest

import fake_slurm
from tapetum.core.errors import EnvironmentFault
from tapetum.workflow.launch import slurm
from tapetum.workflow.launch.slurm import Slurm
from tapetum.workflow.launch.tasks import Task, run_all


class Said(Task):
    """A task that prints its name, and ends with the code that its name ends with."""

    @property
    def words(self):
        code = (
            "import json, sys, time; name = sys.argv[1]; print(json.dumps({'name': name}))\n"
            "time.sleep(5 if name.startswith('wait') else 0); sys.exit(int(name[-1]))"
        )
        return [sys.executable, "-c", code, self.name]


@pytest.fixture
def states(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "POLL", 0.05)
    return fake_slurm.install(tmp_path / "bin", monkeypatch)


def some(tmp_path, *names):
    return [Said(name, tmp_path / "spec.json", processors=2) for name in names]


def test_an_array_gives_every_code_and_text(states, tmp_path):
    place = Slurm(tmp_path / "home", ["--partition=short"])
    tasks = some(tmp_path, "it's\na $task 0", "b 4", "c 3")
    found = {task.name: (ended.code, ended.result["name"]) for task, ended in place.run(tasks)}
    assert found == {task.name: (int(task.name[-1]), task.name) for task in tasks}
    words = (states / "1.words").read_text(encoding="utf-8").splitlines()
    assert words[:2] == ["--cpus-per-task=2", "--partition=short"]
    assert "--array=0-2" in words
    place.close()
    assert not (tmp_path / "home").exists()


def test_a_task_on_a_lost_node_is_tried_again(states, tmp_path):
    (states / "lose").write_text("1", encoding="utf-8")
    said = []
    found = run_all(Slurm(tmp_path / "home"), some(tmp_path, "a 0", "b 0"), said.append, "training")
    assert {name: one["name"] for name, one in found.items()} == {"a 0": "a 0", "b 0": "b 0"}
    assert "warning: b 0 failed (try 1 of 3): Slurm tells: NODE_FAIL" in said
    assert (states / "2_0").read_text(encoding="utf-8") == "COMPLETED"


def test_a_signal_is_told_as_one(states, tmp_path):
    class Dies(Task):
        words = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")

    ((_, ended),) = Slurm(tmp_path / "home").run([Dies("x", tmp_path)])
    assert (ended.code, ended.reason) == (-9, "ended by SIGKILL")


def test_large_arrays_are_divided(states, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "AT_ONCE", 2)
    found = [task.name for task, _ in Slurm(tmp_path / "home").run(some(tmp_path, "a 0", "b 0", "c 0"))]
    assert sorted(found) == ["a 0", "b 0", "c 0"]
    assert sorted(place.name for place in states.glob("*_*")) == ["1_0", "1_1", "2_0"]


def test_what_waits_is_cancelled_when_the_command_ends(states, tmp_path):
    running = Slurm(tmp_path / "home").run(some(tmp_path, "a 0", "wait 0", "b 0"))
    next(running)
    running.close()
    assert (states / "1_2").read_text(encoding="utf-8") == "CANCELLED"


def test_a_refused_array_names_the_reason(states, tmp_path):
    with pytest.raises(EnvironmentFault, match="invalid partition"):
        list(Slurm(tmp_path / "home", ["--refuse"]).run(some(tmp_path, "a 0")))


def sbatch_that_prints(states, text):
    place = states.parent / "sbatch"
    place.with_name("real").write_text(place.read_text(encoding="utf-8"), encoding="utf-8")
    place.with_name("real").chmod(0o755)
    place.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")


@pytest.mark.parametrize("printed", ["Submitted batch job", "", "error", "12x;fake"])
def test_what_is_no_job_id_is_refused(states, tmp_path, printed):
    sbatch_that_prints(states, f"echo '{printed}'")
    with pytest.raises(EnvironmentFault, match="it printed no job id"):
        list(Slurm(tmp_path / "home").run(some(tmp_path, "a 0")))


def test_a_greeting_before_the_job_id_is_passed_over(states, tmp_path):
    sbatch_that_prints(states, f"echo 'Welcome to the cluster'; exec {states.parent / 'real'} \"$@\"")
    assert [ended.code for _, ended in Slurm(tmp_path / "home").run(some(tmp_path, "a 0"))] == [0]


def test_a_squeue_that_never_answers_ends_the_command(states, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "SILENT", 3)
    (states / "lose").write_text("0", encoding="utf-8")
    (states.parent / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1\n")
    with pytest.raises(EnvironmentFault, match="squeue has not answered 3 times"):
        list(Slurm(tmp_path / "home").run(some(tmp_path, "a 0")))
