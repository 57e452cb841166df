"""Several processes that train a fold together do what one does: parts of batches, BatchNorm, gradients, answers by row, locks."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import BatchNormAct2d

import small_runs
from images import plant
from tapetum.core import files, locks
from tapetum.core.config import Data
from tapetum.core.errors import DataError, EnvironmentFault, TapetumError, UserError
from tapetum.core.tables import Predictions
from tapetum.data import layouts
from tapetum.data.images import dataset
from tapetum.learn import inference, ranks
from tapetum.learn.models.backbone import tensors_from_bytes
from tapetum.learn.ranks import Ranks
from tapetum.learn.training import job


@given(st.integers(0, 200), st.integers(1, 50), st.integers(1, 8))
def test_parts_read_are_the_parts_trained(start, rows, count):
    parts = [dataset._share(start, start + rows, rank, count) for rank in range(count)]
    own = [Ranks(None, rank, count).own(rows).tolist() for rank in range(count)]
    assert [list(range(part.start - start, part.stop - start)) for part in parts] == own
    assert [place for part in own for place in part] == list(range(rows))


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    """A process group of this process alone."""
    place = tmp_path_factory.mktemp("group") / "store"
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize(
    "make", [lambda: torch.nn.BatchNorm2d(3), lambda: BatchNormAct2d(3), lambda: torch.nn.BatchNorm1d(3, affine=False)]
)
def test_shared_batch_norm_of_one_process_is_the_plain_one(make, group):
    generator = torch.Generator().manual_seed(0)
    plain, shared = make(), make()
    shape = (6, 3) if isinstance(plain, torch.nn.BatchNorm1d) else (6, 3, 4, 5)
    for _ in range(2):
        x = 100 + torch.randn(shape, generator=generator)
        one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
        first = plain(one)
        with Ranks(None, 0, 2).whole_batches():
            second = shared(two)
        grad = torch.randn(shape, generator=generator)
        first.backward(grad)
        second.backward(grad)
        torch.testing.assert_close(second, first, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(two.grad, one.grad, atol=1e-4, rtol=1e-3)
    for (name, mine), theirs in zip(shared.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4, msg=name)


def test_batch_norm_that_only_answers_is_left_alone(group):
    norm = torch.nn.BatchNorm2d(3).eval()
    x = torch.randn(2, 3, 4, 4)
    with Ranks(None, 0, 2).whole_batches():
        assert torch.equal(norm(x), norm(x))
    assert torch.equal(norm.running_mean, torch.zeros(3))


def answers(rows):
    rows = np.array(rows, dtype=np.int64)
    p = {"label": np.stack([rows, rows + 0.5], axis=1).astype(np.float32)}
    return inference.Answers(rows, p, {"label": np.stack([p["label"], -p["label"]])}, rows % 2 == 0, {int(r): "bad" for r in rows if r % 2})


@given(st.permutations(range(3, 20)), st.integers(1, 5))
def test_answers_are_gathered_by_row(rows, count):
    rows = np.array(rows)
    found, whole = inference.together([answers(rows[rank::count]) for rank in range(count)], rows), answers(rows)
    assert found.rows.tolist() == rows.tolist()
    assert np.array_equal(found.p["label"], whole.p["label"])
    assert np.array_equal(found.draws["label"], whole.draws["label"])
    assert (found.ok.tolist(), found.reasons) == (whole.ok.tolist(), whole.reasons)


@pytest.mark.parametrize("without", [0, 1])
def test_a_process_without_a_readable_image_has_no_views(without):
    parts = [answers([3, 5]), answers([4, 6])]
    parts[without] = dataclasses.replace(parts[without], draws={})
    views = inference.together(parts, np.array([3, 4, 5, 6])).draws["label"]
    assert np.isnan(views[:, without::2]).all()
    assert np.array_equal(views[:, 1 - without :: 2], parts[1 - without].draws["label"])


@pytest.mark.parametrize("parts", [([3, 4], [5]), ([3, 4], [4, 6]), ([3, 4], [5, 7]), ([3, 3], [4, 5])])
def test_lost_and_doubled_answers_are_refused(parts):
    with pytest.raises(DataError, match="processes answered"):
        inference.together([answers(part) for part in parts], np.array([3, 4, 5, 6]))


def ended(monkeypatch, failure):
    """Let torchrun's agent end with an error; ``failure`` is told the folder of the processes' output."""
    from torch.distributed.launcher import api as agent

    def started(config, _program):
        def run(*_words):
            raise failure(config.logs_specs.root_log_dir)

        return run

    monkeypatch.setattr(agent, "elastic_launch", started)


LOST = "RuntimeError: Connection closed by peer"


@pytest.mark.parametrize(
    ("codes", "said", "kind", "sentence"),
    [
        ({0: 1, 1: 3}, {0: LOST, 1: "error: b.png cannot be read"}, DataError, "b.png cannot be read"),
        ({0: -15, 1: 2}, {0: "", 1: "error: no"}, UserError, "no"),
        ({0: 1, 1: 5}, {0: LOST, 1: "error: the disk is full"}, EnvironmentFault, "the disk is full"),
        ({0: 1, 1: -9}, {0: LOST, 1: "training: 3 of 9"}, EnvironmentFault, "process 1 was ended by SIGKILL. give the command again"),
        ({0: 1, 1: -15}, {0: LOST, 1: ""}, EnvironmentFault, f"process 0 ended with code 1 ({LOST}). give the command again"),
    ],
)
def test_the_process_that_failed_first_is_named(monkeypatch, codes, said, kind, sentence):
    """The agent sees the others, which lost their connection, in the same look."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    def failure(folder):
        for rank, text in said.items():
            files.write_bytes(Path(folder) / "0" / str(rank) / "stderr.log", text.encode())
        return ChildFailedError("job", {rank: ProcessFailure(rank, 7, code, "") for rank, code in codes.items()})

    ended(monkeypatch, failure)
    with pytest.raises(TapetumError) as error:
        ranks.launch(["job"], 2)
    assert (type(error.value), str(error.value)) == (kind, sentence)


def test_a_full_disk_for_the_output_is_named(monkeypatch):
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    ended(monkeypatch, lambda _: ChildFailedError("job", {0: ProcessFailure(0, 7, 120, "")}))
    with pytest.raises(EnvironmentFault, match="process 0 ended with code 120"):
        ranks.launch(["job"], 2)
    monkeypatch.setattr(ranks.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(EnvironmentFault, match=r"no space left for what it writes.* TMPDIR"):
        ranks.launch(["job"], 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_launcher_that_is_interrupted_says_so(monkeypatch, number):
    from torch.distributed.elastic.multiprocessing.api import SignalException

    ended(monkeypatch, lambda _: SignalException("received", number))
    with pytest.raises(KeyboardInterrupt):
        ranks.launch(["job"], 2)


def test_one_of_several_never_goes_ahead_alone(tmp_path, monkeypatch):
    """A fold that an orphan ends meanwhile is done for one process and not for another, which would wait for it."""

    class Together(Exception):
        pass

    def together(*_):
        raise Together

    plant(tmp_path / "rows", classes=2, each=9, size=32)
    spec = spec_of(tmp_path / "run", tmp_path / "rows")
    files.write_json(spec.parent / "state.json", {"status": "done"})
    assert job.run(spec) == {"status": "done"}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(job.Runtime, "from_train", together)
    with pytest.raises(Together):
        job.run(spec)


def spec_of(place, planted, **values):
    rows = layouts.read(planted / "labels.csv", Data(targets=("label",)), lambda _: None)
    manifest = rows.with_column("fold", np.arange(len(rows)) % 3)
    manifest.write(place / "manifest.parquet")
    recipe = small_runs.recipe(**{"data__group": None, **values}).recipe
    return small_runs.fold_spec(place / "members" / "main" / "fold-0", place / "manifest.parquet", manifest, recipe)


VALUES = {
    "train__batch": 7,
    "train__accumulate": 2,
    "train__clip": 1.0,
    "optimizer__name": "sgd",
    "optimizer__rate": 0.02,
    "sample": "balanced",
    "augment": ["hflip"],
    "model__dropout": 0.0,
    "model__drop_path": 0.0,
    "average__name": "ema",
}
TOLERANCE = 2e-4  # of weights, statistics and probabilities after two epochs


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    plant(tmp_path / "rows", classes=2, each=9, size=32)
    one, two = (spec_of(tmp_path / name, tmp_path / "rows", **VALUES) for name in ("one", "two"))
    job.run(one)
    with locks.lock(two.parent), pytest.raises(EnvironmentFault, match="in use by process"):
        ranks.launch(["-m", "tapetum", "job", str(two), "--json"], 2)
    found = ranks.launch(["-m", "tapetum", "job", str(two), "--json"], 2)
    assert (found["status"], found["epochs"]) == ("done", 2)
    assert files.read_json(two.parent / locks.HOLDER)["generation"] == 2  # one process of two held the folder, twice with the refused
    mine, theirs = (sorted(path.name for path in (spec.parent / "checkpoints").iterdir()) for spec in (one, two))
    assert mine == theirs
    for name in mine:
        plain, shared = (tensors_from_bytes((spec.parent / "checkpoints" / name).read_bytes()) for spec in (one, two))
        for key, value in plain.items():
            torch.testing.assert_close(shared[key], value, atol=TOLERANCE, rtol=TOLERANCE, msg=f"{name} {key}")
    plain, shared = (Predictions.read(spec.parent / "epochs.parquet").frame for spec in (one, two))
    assert plain.drop("p").equals(shared.drop("p"), null_equal=True)
    np.testing.assert_allclose(np.array(shared["p"].to_list()), np.array(plain["p"].to_list()), atol=TOLERANCE)
    plain, shared = (pl.read_csv(spec.parent / "history.csv") for spec in (one, two))
    np.testing.assert_allclose(shared["train_loss"], plain["train_loss"], rtol=1e-4)
    assert shared["images"].to_list() == plain["images"].to_list()
