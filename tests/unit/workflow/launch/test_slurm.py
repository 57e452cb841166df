"""Arrays of Slurm, through a fake one: what ended, what was lost, what was refused, and what is cancelled."""

from __future__ import annotations

import os
import sys

import pytest

import fake_slurm
from tapetum.core.errors import EnvironmentFault, UserError
from tapetum.workflow.launch import slurm
from tapetum.workflow.launch.slurm import Slurm
from tapetum.workflow.launch.tasks import Task, run_all


class Dies(Task):
    """A task that a signal ends."""

    words = (sys.executable, "-c", "import os; os.kill(os.getpid(), 15)")


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
    ((_, ended),) = Slurm(tmp_path / "home").run([Dies("x", tmp_path)])
    assert (ended.code, ended.reason) == (-15, "ended by SIGTERM")


def test_a_time_limit_is_told_and_tried_again(states, tmp_path):
    (states / "tells").write_text("0 TIMEOUT", encoding="utf-8")
    said = []
    with pytest.raises(EnvironmentFault, match="x failed 3 times on Slurm: Slurm tells: TIMEOUT"):
        run_all(Slurm(tmp_path / "home"), [Dies("x", tmp_path)], said.append, "training")
    assert len([text for text in said if "x failed (try" in text]) == 3


def test_a_cancelled_task_is_never_tried_again(states, tmp_path):
    (states / "tells").write_text("0 CANCELLED", encoding="utf-8")
    with pytest.raises(UserError, match="x: Slurm tells: CANCELLED"):
        run_all(Slurm(tmp_path / "home"), [Dies("x", tmp_path)], lambda _: None, "training")
    assert sorted(place.name for place in states.glob("*_*")) == ["1_0"]


def test_a_task_that_slurm_forgot_is_tried_again(states, tmp_path):
    (states / "forget").write_text("0", encoding="utf-8")
    said = []
    assert list(run_all(Slurm(tmp_path / "home"), some(tmp_path, "a 0"), said.append, "training")) == ["a 0"]
    assert "warning: a 0 failed (try 1 of 3): Slurm tells: it is gone" in said


def test_a_task_that_is_queued_again_has_not_ended(tmp_path, monkeypatch):
    array = slurm._Array("1", "", tmp_path, {0: Said("a 0", tmp_path)})
    (tmp_path / "0.end").write_text("143", encoding="utf-8")
    monkeypatch.setattr(slurm, "_queued", lambda _: {0})
    assert [list(slurm._ended(array)) for _ in range(3)] == [[], [], []]
    (tmp_path / "0.end").write_text("0", encoding="utf-8")
    assert [ended.code for _, ended in slurm._ended(array)] == [0]


@pytest.mark.parametrize(("state", "told"), [("COMPLETED", "do all machines see it"), ("RUNNING", "RUNNING")])
def test_an_end_that_is_late_is_waited_for(state, told, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "_queued", lambda _: set())
    monkeypatch.setattr(slurm, "_state", lambda *_: state)
    array = slurm._Array("1", "", tmp_path, {0: Said("a 0", tmp_path)})
    looks = [list(slurm._ended(array)) for _ in range(slurm.LATE)]
    assert [len(look) for look in looks] == [0] * (slurm.LATE - 1) + [1]
    assert (looks[-1][0][1].code, told in looks[-1][0][1].reason) == (-999, True)


def test_a_folder_that_a_task_cannot_enter_is_named(states, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm.os, "getcwd", lambda: str(tmp_path / "nowhere"))
    ((_, ended),) = Slurm(tmp_path / "home").run(some(tmp_path, "a 0"))
    assert (ended.code, "nowhere" in ended.reason) == (5, True)


@pytest.mark.skipif(os.name == "nt", reason="bytes in names")
def test_any_folder_can_hold_the_scripts(states, tmp_path, monkeypatch):
    (tmp_path / "-p").mkdir()
    monkeypatch.chdir(tmp_path / "-p")
    place = Slurm(slurm.Path(os.fsdecode(b"-a \xff 'b' $c \xc3\xa9\n%j")))
    assert [ended.result for _, ended in place.run(some(tmp_path, "a 0"))] == [{"name": "a 0"}]


@pytest.mark.parametrize("name", ["size", "room"])
def test_arrays_are_as_large_as_the_site_allows(name, states, tmp_path):
    (states / name).write_text("2", encoding="utf-8")
    found = [task.name for task, _ in Slurm(tmp_path / "home").run(some(tmp_path, *(f"{n} 0" for n in "abcde")))]
    assert sorted(found) == ["a 0", "b 0", "c 0", "d 0", "e 0"]
    (states / name).write_text("0", encoding="utf-8")
    with pytest.raises(EnvironmentFault, match=r"sbatch refused the array: .*(array spec|limit)"):
        list(Slurm(tmp_path / "home").run(some(tmp_path, "a 0", "b 0")))


def test_commands_that_hang_do_not_hang_this_one(states, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "ANSWER", 0.1)
    monkeypatch.setattr(slurm, "SUBMITTED", 0.1)
    monkeypatch.setattr(slurm, "SILENT", 2)
    (states.parent / "squeue").write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    monkeypatch.setattr(slurm, "_code", lambda *_: None)
    array = slurm._Array("1", "fake", tmp_path, {0: Said("a 0", tmp_path)})
    with pytest.raises(EnvironmentFault, match="squeue has not answered 2 times"):
        [list(slurm._ended(array)) for _ in range(2)]
    sbatch_that_prints(states, "exec sleep 60")
    with pytest.raises(EnvironmentFault, match=r"sbatch did not answer within 0 s.* scancel"):
        list(Slurm(tmp_path / "home").run(some(tmp_path, "a 0")))


def test_files_of_another_command_stay(states, tmp_path):
    one, other = Slurm(tmp_path / "home"), Slurm(tmp_path / "home")
    running = one.run(some(tmp_path, "a 0", "b 0"))
    next(running)
    assert len(list(other.run(some(tmp_path, "c 0")))) == 1
    other.close()
    assert len(list(running)) == 1
    one.close()
    assert not (tmp_path / "home").exists()


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
