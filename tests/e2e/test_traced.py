"""The trace of a training step: its parts are those of the real loop, and together they are the whole."""

from __future__ import annotations

import json

import pytest

import small_runs
from tapetum.core import files
from tapetum.core.errors import USAGE

PARTS = ["read", "decode", "augment", "mix", "forward", "loss", "backward", "optimizer", "other"]


@pytest.mark.parametrize("workers", [0, 2])
def test_parts_of_a_step_add_up_to_it(workers, planted, tmp_path):
    values = {"train__workers": workers, "mix": ["mixup"], "input__cache": "memory"}
    said = small_runs.cli("trace", planted / "labels.csv", "-o", tmp_path / "run", "--steps", 2, "--json", *small_runs.flags(**values))
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert list(found["parts"]) == PARTS
    assert sum(one["seconds"] for one in found["parts"].values()) == pytest.approx(found["seconds"], rel=1e-3)
    assert min(found["parts"][name]["seconds"] for name in PARTS[:-1]) > 0  # also read and decode: nothing comes from memory
    assert (found["steps"], found["images"], found["member"]) == (2, 16, "main")
    assert (found["trains_at"] is None) == (workers == 0)
    kept = files.read_json(tmp_path / "run" / "trace.json")
    assert kept["parts"] == found["parts"]
    listed = json.loads(small_runs.cli("runs", tmp_path, "--json", verbose=False).out)
    assert [line["state"] for line in listed["runs"]] == ["a trace"]
    assert "is a trace" in small_runs.cli("leaderboard", tmp_path / "run", verbose=False).error
    shown = small_runs.cli("trace", planted / "labels.csv", "-o", tmp_path / "other", "--steps", 1, *small_runs.flags(**values))
    assert [line.split()[0] for line in shown.out.splitlines()[1:10]] == PARTS


def test_a_member_that_cannot_be_traced_is_named(planted, tmp_path):
    said = small_runs.cli("trace", planted / "labels.csv", "-o", tmp_path / "run", "--member", "mian", *small_runs.flags())
    assert (said.code, "Did you mean 'main'?" in said.error) == (USAGE, True)
    assert not (tmp_path / "run").exists()
