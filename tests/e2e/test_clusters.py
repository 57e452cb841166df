"""On Ray and on Slurm a run is that of this process, to the bit, also where a worker is killed; orphans harm nothing."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
from pathlib import Path

import pytest

import fake_slurm
import small_runs
from images import plant
from tapetum import api
from tapetum.workflow.commands import predict, predict_apart
from tapetum.workflow.launch import slurm

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install 'tapetum[ray]')")
VALUES = {
    "split__folds": 5,
    "train__epochs": 1,
    "probe__enabled": False,
    "predict__views": "plain",
    "decide__pipeline": "folds",
    "member": [{"name": "a"}, {"name": "b", "optimizer": {"rate": 3e-3}}],
}
SAME = ("members/*/fold-*/epochs.parquet", "members/*/fold-*/checkpoints/*", "oof.parquet", "decisions.json", "metrics.json")


def same(one: Path, other: Path) -> bool:
    found = [{name: digest for pattern in SAME for name, digest in small_runs.contents(run, pattern).items()} for run in (one, other)]
    assert len([name for name in found[0] if name.endswith("epochs.parquet")]) == 10
    return found[0] == found[1]


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """30 images of three classes in groups of two."""
    return small_runs.once(tmp_path_factory, "cluster rows", lambda place: plant(place, classes=3, each=10, size=32, group_size=2))


@pytest.fixture(scope="module")
def here(tmp_path_factory, rows) -> Path:
    """The run of this process: 5 folds of 2 members."""
    made = small_runs.once(tmp_path_factory, "cluster run", lambda place: small_runs.fit(rows / "labels.csv", place / "run", **VALUES))
    return made / "run"


def fitted(rows: Path, out: Path, on: str, said: list[str]) -> None:
    api.fit(rows / "labels.csv", out, recipe=small_runs.recipe(**VALUES), on=on, log=said.append)


def kill_one(found, out: Path, said: list[str]) -> threading.Thread:
    """Kill the first process that ``found`` names, once a fold is being trained; it is noted in ``said``."""

    def watch() -> None:
        for _ in range(2400):
            if list(out.glob("members/*/fold-*/.holder.json")) and (pids := found()):
                os.kill(pids[0], signal.SIGKILL)
                said.append(f"killed {pids[0]}")
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def children(words: str) -> list[int]:
    """Return the processes below this one whose command line has some words."""
    parents, lines = {}, {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int((place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            lines[int(place.name)] = (place / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sorted(pid for pid in below if words in lines.get(pid, ""))


@pytest.mark.slow
@needs_ray
def test_a_fit_on_ray_with_a_killed_worker_is_local(rows, here, tmp_path, monkeypatch):
    """Two workers; one is killed while its job runs, so that the job is an orphan; no process asks any other machine."""
    hook = tmp_path / "hook"
    hook.mkdir()
    asked = tmp_path / "asked.txt"
    (hook / "sitecustomize.py").write_text(HOOK.format(asked=str(asked)), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{hook}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    said: list[str] = []
    killer = kill_one(lambda: children("ray::a fold"), tmp_path / "run", said)
    fitted(rows, tmp_path / "run", "ray:2", said)
    killer.join()
    assert any(text.startswith("killed") for text in said)
    assert any("failed (try 1 of 3)" in text for text in said)
    assert same(tmp_path / "run", here)
    assert (asked.read_text(encoding="utf-8") if asked.exists() else "") == ""
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert any(text.startswith("\rtraining on Ray: 10 of 10") for text in said)


HOOK = """

def _told(event, given):
    inside = ("127.", "::1", "localhost", "0.0.0.0")
    if event == "socket.connect" and isinstance(given[1], tuple) and not str(given[1][0]).startswith(inside):
        with open({asked!r}, "a") as file:
            file.write(f"{{given[1]}} {{sys.argv}}\\n")
    if event == "socket.getaddrinfo" and "metadata" in str(given[0]):
        with open({asked!r}, "a") as file:
            file.write(f"{{given[0]}}\\n")

sys.addaudithook(_told)
"""


@pytest.fixture
def states(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "POLL", 0.2)
    return fake_slurm.install(tmp_path / "bin", monkeypatch)


@pytest.mark.slow
def test_a_fit_on_slurm_with_a_lost_node_is_local(rows, here, tmp_path, states):
    (states / "lose").write_text("3", encoding="utf-8")
    said: list[str] = []
    fitted(rows, tmp_path / "run", "slurm:--partition=short", said)
    assert same(tmp_path / "run", here)
    assert any("NODE_FAIL" in text for text in said)
    assert not (tmp_path / "run" / ".slurm").exists()


@pytest.mark.slow
def test_parts_on_slurm_are_those_of_this_process(probed, planted, tmp_path, states, monkeypatch):
    monkeypatch.setattr(predict, "PART", 4)
    monkeypatch.setattr(predict_apart, "ROWS", 12)
    api.predict(probed, planted / "images", tmp_path / "one.parquet")
    said: list[str] = []
    api.predict(probed, planted / "images", tmp_path / "two.parquet", on="slurm", log=said.append)
    assert small_runs.sha256(tmp_path / "one.parquet") == small_runs.sha256(tmp_path / "two.parquet")
    assert any(text.startswith("\rpredicting on Slurm: 2 of 2") for text in said)
    assert not (tmp_path / "two.parquet.parts").exists()
