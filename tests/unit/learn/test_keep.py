"""A fold's files are written by the holder of its folder alone."""

from __future__ import annotations

import pytest
import torch

import small_runs
from tapetum.core import files, locks
from tapetum.core.errors import EnvironmentFault
from tapetum.learn.training.keep import Keeper

STATE = {"progress": {"step": 1, "epoch": 1}, "checkpoints": []}


def test_an_orphan_whose_folder_was_taken_over_writes_nothing(tmp_path):
    weights = {"a": torch.zeros(2)}
    with locks.lock(tmp_path) as generation:
        keeper = Keeper(tmp_path, generation)
        keeper.keep(weights, {"epoch-001": weights}, None, [{"epoch": 1}], STATE)
        files.write_json(tmp_path / locks.HOLDER, {"process": 7, "host": "other", "generation": generation + 1})
        before = small_runs.contents(tmp_path)
        for write in (
            lambda: keeper.keep(weights, {"epoch-002": weights}, None, [], {"progress": {"step": 2, "epoch": 2}}),
            lambda: keeper.add("swa", weights, None),
            lambda: keeper.finish(STATE),
        ):
            with pytest.raises(EnvironmentFault, match="process 7 on other"):
                write()
        assert small_runs.contents(tmp_path) == before
