"""A fold's files are written by the holder of its folder alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import small_runs
from tapetum.core import files, locks
from tapetum.core.errors import DataError, EnvironmentFault
from tapetum.learn.ranks import Ranks
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


def test_another_folds_weights_are_refused(tmp_path):
    for fold in range(2):
        weights = {"a": torch.full((2,), float(fold))}
        keeper = Keeper(tmp_path / f"fold-{fold}")
        keeper.keep(weights, {"epoch-001": weights}, None, [{"epoch": 1}], {**STATE, "checkpoints": ["epoch-001"]})
    mine, other = Keeper(tmp_path / "fold-0"), Keeper(tmp_path / "fold-1")
    assert mine.checkpoint("epoch-001")["a"].tolist() == mine.tensors(mine.state())["a"].tolist() == [0, 0]
    for name in ("checkpoints/epoch-001.safetensors", mine.state()["last"]):
        files.copy(other.folder / name, mine.folder / name)
    with pytest.raises(DataError, match=r"epoch-001\.safetensors is not the file that this fold wrote"):
        mine.checkpoint("epoch-001")
    with pytest.raises(DataError, match=r"step-0000001-001\.safetensors is not the file"):
        mine.tensors(mine.state())


def test_hashes_outlast_the_end_of_a_fold(tmp_path):
    weights = {"a": torch.zeros(2)}
    keeper = Keeper(tmp_path)
    keeper.keep(weights, {"epoch-001": weights}, None, [{"epoch": 1}], {**STATE, "checkpoints": ["epoch-001"]})
    keeper.add("swa", weights, None)
    keeper.finish({**keeper.state(), "checkpoints": ["epoch-001", "swa"]})
    assert keeper.checkpoint("swa")["a"].tolist() == [0, 0]
    files.write_bytes(keeper.checkpoint_file("swa"), b"other")
    with pytest.raises(DataError, match="swa"):
        keeper.checkpoint("swa")


def test_a_fold_ends_once_no_process_reads_it(tmp_path):
    """A slower process of the fold still reads the state that training goes on from, and the file that it names."""
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Among(Ranks):
        def wait(self):
            state = Keeper(tmp_path).state()
            seen.append((state["status"], (tmp_path / str(state.get("last"))).is_file()))

    keeper = Keeper(tmp_path, ranks=Among(None, 0, 2))
    keeper.keep({"a": torch.zeros(2)}, {}, None, [{"epoch": 1}], {**STATE, "status": "running"})
    keeper.finish(keeper.state())
    assert seen == [("running", True), ("running", True), ("done", False)]
