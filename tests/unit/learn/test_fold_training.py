"""One fold as it trains: the planned rates, kills at an epoch's end, losses that break, answers that collapse, memory that falls short."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import polars as pl
import pytest
import torch

import small_runs
from tapetum.core import files
from tapetum.core.tables import Predictions
from tapetum.data.images import dataset
from tapetum.learn.models.network import Network
from tapetum.learn.runtime import Runtime
from tapetum.learn.training import fold as folds
from tapetum.learn.training import job, loop
from tapetum.learn.training.keep import Keeper
from tapetum.learn.training.objective import Objective


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return small_runs.fold_rows(tmp_path_factory.mktemp("fold"))


@pytest.fixture
def spec(manifest, tmp_path):
    """Return a function that writes the spec of fold 0 (12 rows train, 6 are held out) under some recipe values."""
    manifest.write(tmp_path / "manifest.parquet")

    def write(name="main", until=None, **values):
        recipe = small_runs.recipe(**{"data__group": None, "optimizer__rate": 1e-3, **values}).recipe
        place = tmp_path / "members" / name / "fold-0"
        return small_runs.fold_spec(place, tmp_path / "manifest.parquet", manifest, recipe, until=until)

    return write


def weights(file):
    return small_runs.contents(file.parent, "checkpoints/*")


def history(file):
    return pl.read_csv(file.parent / "history.csv")


# ------------------------------------------------------------------------------------------------------------- the plan


def test_the_planned_rate_of_every_step_is_written_before_training(spec):
    values = {"train__epochs": 3, "train__batch": 5, "schedule__warmup": 1.0, "optimizer__rate": 0.01}

    class Stop(Exception):
        pass

    def at_once(*_):
        raise Stop

    file = spec(**values)
    with pytest.raises(Stop):
        job.run(file, may_go_on=at_once)
    plan = pl.read_csv(file.parent / "schedule.csv")
    assert plan.columns == ["step", "epoch", "rate"]
    assert plan["step"].to_list() == list(range(1, 10))  # 12 rows in batches of 5, 5 and 2
    assert plan["epoch"].to_list() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    by_hand = [0.01 * (i + 1) / 3 for i in range(3)] + [0.01 * 0.5 * (1 + math.cos(math.pi * i / 6)) for i in range(6)]
    assert np.allclose(plan["rate"], by_hand)


def test_the_rates_of_training_are_the_planned_ones(spec, monkeypatch):
    monkeypatch.setattr(folds.heldout, "FLAT", -1.0)
    monkeypatch.setattr(folds.heldout, "RISING", 1e9)
    taken = []
    step = Runtime.step
    monkeypatch.setattr(Runtime, "step", lambda self, net, opt, rate, clip=None: (taken.append(rate), step(self, net, opt, rate, clip))[1])
    stages = [{"epochs": 1, "trains": "head", "rate": 0.02, "schedule": {"name": "constant"}}, {"epochs": 2}]
    file = spec(stages=stages, train__accumulate=2, average__name="swa", average__epochs=1, average__rate=3e-4)
    state = job.run(file)
    plan = pl.read_csv(file.parent / "schedule.csv")
    assert np.allclose(plan["rate"], taken)
    assert plan["epoch"].to_list() == [1, 2, 3, 4]
    assert state["epochs"] == 4
    assert plan["rate"][0] == pytest.approx(0.02 * 1)
    assert plan["rate"][3] == pytest.approx(3e-4)


def test_cut_plan_is_cut_again_at_the_same_place(spec):
    whole, cut = spec("whole", train__epochs=3), spec("cut", train__epochs=3, until=2)
    assert (job.run(whole)["epochs"], job.run(whole)["stop"]) == (3, "")
    state = job.run(cut)
    assert (state["epochs"], state["stop"], state["status"]) == (2, "budget", "done")
    assert {name: digest for name, digest in weights(whole).items() if "003" not in name} == weights(cut)


# ------------------------------------------------------------------------------------------------- statistics of averages


def first_norm(file, manifest, checkpoint):
    """Return (statistics kept in a checkpoint's first BatchNorm, those of what it sees of all rows that train)."""
    given = files.read_json(file)
    fold = job.build(given, manifest, Keeper(file.parent), lambda _: None)
    fold.network.load_state_dict(Keeper(file.parent).checkpoint(checkpoint))
    fold.network.eval()
    norm = next(m for m in fold.network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    inputs = []
    hook = norm.register_forward_hook(lambda module, x, out: inputs.append(x[0]))
    images = folds.Training(fold).inputs_of(folds.SHIPPED)[1]
    with torch.no_grad():
        for batch in dataset.batches(images, given["train"], 5):
            fold.network(batch.x)
    hook.remove()
    seen = torch.cat(inputs).transpose(0, 1).flatten(1)
    return (norm.running_mean, norm.running_var), (seen.mean(1), seen.var(1))


@pytest.mark.parametrize("average", [{"name": "ema", "refresh_norm": True}, {"name": "swa", "start": 0.0}, {"name": "soup"}])
def test_averaged_weights_have_the_statistics_of_all_rows_that_train(spec, manifest, average):
    file = spec(**{f"average__{key}": value for key, value in average.items()})
    job.run(file)
    kept, seen = first_norm(file, manifest, "epoch-002/ema" if average["name"] == "ema" else average["name"])
    torch.testing.assert_close(kept, seen, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", [{"name": "ema"}, {"name": "swa", "start": 0.0, "refresh_norm": False}])
def test_statistics_are_left_alone_where_the_recipe_says_so(spec, manifest, average):
    file = spec(**{f"average__{key}": value for key, value in average.items()})
    job.run(file)
    kept, seen = first_norm(file, manifest, "epoch-002/ema" if average["name"] == "ema" else average["name"])
    assert not torch.allclose(kept[1], seen[1], rtol=1e-3)


def test_frozen_norms_keep_their_statistics_in_an_average(spec, manifest):
    file = spec(average__name="swa", average__start=0.0, train__frozen_norm=True)
    job.run(file)
    checkpoint = Keeper(file.parent).checkpoint("swa")
    assert all(bool((value == 0).all()) for name, value in checkpoint.items() if name.endswith("running_mean"))


def test_refresh_order_is_random_and_repeats_after_restart(spec, monkeypatch):
    orders = []
    monkeypatch.setattr(
        folds.averaging, "refresh_norm", lambda net, batches, forward, **_: orders.append([r for b in batches for r in b.rows.tolist()])
    )
    for name in ("one", "two"):
        job.run(spec(name, average__name="swa", average__start=0.0))
    train = files.read_json(spec("three"))["train"]
    assert sorted(orders[0]) == train != orders[0]
    assert orders[0] == orders[1]


# ----------------------------------------------------------------------------------------------------------- kill, go on

RECIPES = {
    "plain": {},
    "ema": {"average__name": "ema", "average__decay": 0.9},
    "swa": {"average__name": "swa", "average__start": 0.3, "train__epochs": 3},
    "swa after": {"average__name": "swa", "average__epochs": 2, "train__epochs": 1},
    "ema refreshed": {"average__name": "ema", "average__refresh_norm": True},
    "soup": {"average__name": "soup", "average__best": 2},
    "stages": {
        "stages": [{"epochs": 1, "trains": "head", "rate": 0.01}, {"epochs": 1, "size": 40, "batch": 6}, {"epochs": 1, "trains": "top-1"}]
    },
    "ranger": {"optimizer__name": "ranger", "optimizer__options": {"k": 2}, "schedule__name": "flat_cosine"},
    "plateau": {
        "schedule__name": "plateau",
        "schedule__options": {"patience": 0, "factor": 0.5},
        "train__epochs": 3,
        "schedule__warmup": 0.0,
    },
    "mixing": {"mix": ["mixup", {"name": "cutmix", "probability": 0.5}], "sample": "balanced"},
    "learned weights": {"loss__weights": "learned", "model__dropout": 0.3},
    "sgd": {"optimizer__name": "sgd", "train__accumulate": 2, "train__frozen_norm": True},
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_kill_before_any_epoch_was_kept_changes_no_bit(spec, name):
    whole, broken = spec("whole", **RECIPES[name]), spec("broken", **RECIPES[name])
    state = job.run(whole)
    last, kills = small_runs.killed_after_each_epoch(broken)
    assert kills >= 1
    assert weights(whole) == weights(broken)
    assert len(weights(whole)) == len(state["checkpoints"])
    assert last == state
    tables = [Predictions.read(file.parent / "epochs.parquet").frame for file in (whole, broken)]
    assert tables[0].equals(tables[1])
    drop = [c for c in history(whole).columns if c != "seconds"]
    assert history(whole).select(drop).equals(history(broken).select(drop))
    assert not (broken.parent / "last").exists()


def test_killed_average_update_is_added_once(spec, monkeypatch):
    values = {"average__name": "swa", "average__start": 0.0}
    whole, broken = spec("whole", **values), spec("broken", **values)
    job.run(whole)

    def killed(self, state):
        raise small_runs.Killed

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "finish", killed)
        with pytest.raises(small_runs.Killed):
            job.run(broken)
    job.run(broken)
    assert weights(whole) == weights(broken)
    table = Predictions.read(broken.parent / "epochs.parquet").frame
    assert table.filter(pl.col("checkpoint") == "swa").height == 6


# ------------------------------------------------------------------------------------------------------- what goes wrong


def broken_at(monkeypatch, calls):
    """Make the loss NaN in some of its calls, counted from 1."""
    forward, count = Objective.forward, [0]

    def nan(self, *args, **more):
        count[0] += 1
        value = forward(self, *args, **more)
        return value * float("nan") if count[0] in calls else value

    monkeypatch.setattr(Objective, "forward", nan)


def test_nan_is_saved_and_training_restarts_at_half_rate(spec, manifest, monkeypatch):
    half = spec("half", optimizer__rate=5e-4)
    job.run(half)
    broken_at(monkeypatch, {2})
    said = []
    file = spec("nan")
    state = job.run(file, log=said.append)
    assert state["status"] == "done"
    assert state["progress"]["rate_factor"] == 0.5
    assert weights(file) == weights(half)  # as if the rate had been half from the start
    kept = files.read_json(file.parent / "nan.json")
    assert (kept["step"], kept["epoch"]) == (1, 0)
    assert len(kept["row_ids"]) == 4  # 12 rows in batches of 8: the second holds the rest
    assert set(kept["row_ids"]) <= set(np.array(manifest.row_ids)[manifest.fold != 0])
    assert any("0.5 of the rate" in line for line in said)


def test_a_nan_later_goes_back_to_the_last_whole_epoch(spec, monkeypatch):
    whole = spec("whole", train__epochs=2)
    job.run(whole)
    broken_at(monkeypatch, {3})
    file = spec("nan", train__epochs=2)
    state = job.run(file)
    first = "checkpoints/epoch-001.safetensors"
    assert weights(file)[first] == weights(whole)[first]
    assert weights(file) != weights(whole)
    assert (state["epochs"], state["progress"]["step"]) == (2, 4)


def test_second_nan_ends_the_fold_and_keeps_checkpoints(spec, monkeypatch):
    broken_at(monkeypatch, {3, 5})
    file = spec("nan", train__epochs=2)
    with pytest.raises(loop.NotFinite, match=r"nan\.json"):
        job.run(file)
    state = Keeper(file.parent).state()
    assert (state["status"], state["checkpoints"]) == ("running", ["epoch-001"])


def test_a_recipe_may_want_no_restart(spec, monkeypatch):
    broken_at(monkeypatch, {1})
    with pytest.raises(loop.NotFinite):
        job.run(spec("nan", train__restart_on_nan=False))


def answering(monkeypatch, p_of):
    """Replace the held-out probabilities after each epoch: ``p_of(epoch, p, truth)``."""
    answer, count = folds.inference.answer, [0]

    def other(network, images, rows, *args, **more):
        found = answer(network, images, rows, *args, **more)
        count[0] += 1
        p = p_of(count[0], found.p["label"], images.manifest.truth("label")[rows])
        return dataclasses.replace(found, p={"label": p.astype(np.float32)})

    monkeypatch.setattr(folds.inference, "answer", other)


def sure(truth, confidence):
    return truth * confidence + (1 - truth) * (1 - confidence)


def test_constant_network_is_stopped(spec, monkeypatch):
    answering(monkeypatch, lambda epoch, p, truth: np.tile([[0.4, 0.6]], (len(p), 1)) if epoch == 2 else sure(truth, 0.7))
    state = job.run(spec(train__epochs=4))
    assert (state["epochs"], state["status"]) == (2, "done")
    assert state["stop"].startswith("collapsed")


def test_a_loss_that_rises_past_the_prior_is_stopped(spec, monkeypatch):
    def come_apart(epoch, p, truth):
        p = sure(truth, 0.9)
        if epoch == 3:
            p[:3] = 1 - sure(truth, 0.999)[:3]
        return p

    answering(monkeypatch, come_apart)
    state = job.run(spec(train__epochs=5))
    assert state["epochs"] == 3
    assert "validation loss" in state["stop"]


def test_a_loss_that_rises_from_nearly_nothing_is_no_collapse(spec, monkeypatch):
    def still_good(epoch, p, truth):
        return sure(truth, (0.999 if epoch == 1 else 0.97) - 2e-4 * np.arange(len(p))[:, None])

    answering(monkeypatch, still_good)
    state = job.run(spec(train__epochs=3))
    assert (state["epochs"], state["stop"]) == (3, "")


def test_one_held_out_row_tells_nothing_of_a_collapse(manifest, spec):
    file = spec(train__epochs=2)
    one = files.read_json(file)
    files.write_json(file, {**one, "heldout": one["heldout"][:1]})
    state = job.run(file)
    assert (state["epochs"], state["stop"]) == (2, "")


def test_patience_counts_epochs_without_a_better_loss(spec, monkeypatch):
    confidence = {1: 0.6, 2: 0.8, 3: 0.75, 4: 0.7, 5: 0.9}
    answering(monkeypatch, lambda epoch, p, truth: sure(truth, confidence[epoch] - 2e-4 * np.arange(len(p))[:, None]))
    state = job.run(spec(train__epochs=5, train__patience=2))
    assert state["epochs"] == 4
    assert "patience" in state["stop"]


@pytest.fixture
def small_memory(monkeypatch):
    """Let a training pass of more than four images run out of memory; return the sizes that were tried."""
    forward, sizes = Network.forward, []

    def limited(self, x, *args):
        if torch.is_grad_enabled():
            sizes.append(len(x))
            if len(x) > 4:
                raise RuntimeError("CUDA out of memory")
        return forward(self, x, *args)

    monkeypatch.setattr(Network, "forward", limited)
    return sizes


def test_short_memory_keeps_the_effective_batch(spec, small_memory):
    state = job.run(spec(train__epochs=2))
    assert (state["progress"]["pieces"], state["progress"]["batch"]) == (2, 0)
    assert state["progress"]["step"] == 4  # 8 + 4 rows an epoch, as without the shortage
    assert small_memory[:3] == [8, 4, 4]
    assert small_memory.count(8) == 1


def test_short_memory_may_let_the_batch_fall_instead(spec, small_memory):
    said = []
    state = job.run(spec(train__epochs=2, memory__keep_effective=False), log=said.append)
    assert (state["progress"]["pieces"], state["progress"]["batch"]) == (1, 4)
    assert state["progress"]["step"] == 2 + 3  # the second epoch has three batches of 4
    assert any("batches are 4 images" in line for line in said)


def test_the_batch_falls_to_its_floor_at_most(spec, small_memory):
    state = job.run(spec(train__epochs=2, memory__keep_effective=False, memory__floor=6, train__batch=12))
    assert state["progress"]["batch"] == 6


# ---------------------------------------------------------------------------------------------------------- what is kept


def test_held_out_predictions_of_every_epoch_are_kept_until_decided(spec, manifest):
    file = spec(train__epochs=3)
    job.run(file)
    table = Predictions.read(file.parent / "epochs.parquet")
    heldout = np.array(manifest.row_ids)[manifest.fold == 0]
    for checkpoint in ("epoch-001", "epoch-002", "epoch-003"):
        assert table.dense("label", "main", checkpoint=checkpoint).row_ids.tolist() == heldout.tolist()
    assert len(table) == 18
    assert history(file)["epoch"].to_list() == [1, 2, 3]
    assert (history(file)["seconds"] > 0).all()


def test_pruning_leaves_only_what_was_chosen(spec):
    file = spec(average__name="ema")
    job.run(file)
    assert len(weights(file)) == 4
    Keeper(file.parent).prune({"epoch-001", "epoch-002/ema"})
    assert sorted(weights(file)) == ["checkpoints/epoch-001.safetensors", "checkpoints/epoch-002+ema.safetensors"]


def test_a_job_of_another_manifest_is_refused(spec, manifest):
    file = spec()
    manifest.where(np.arange(17)).write(file.parents[3] / "manifest.parquet")
    with pytest.raises(files.DataError, match="another manifest"):
        job.run(file)


@pytest.fixture
def moved(manifest, tmp_path):
    """The manifest with hashes, over images of its own that a test may change."""
    import shutil

    shutil.copytree(manifest.root, tmp_path / "own")
    hashes = [small_runs.sha256(tmp_path / "own" / path[0]) for path in manifest.frame["path"].to_list()]
    rows = dataclasses.replace(manifest, root=tmp_path / "own").with_column("sha256", hashes)
    rows.write(tmp_path / "manifest.parquet")
    return rows


def own(file, manifest):
    return files.write_json(file, {**files.read_json(file), "manifest_hash": manifest.content_hash(), "data_root": str(manifest.root)})


def test_changed_image_is_never_trained_on(spec, moved, tmp_path):
    file = spec()
    moved.write(tmp_path / "manifest.parquet")
    changed = moved.root / "images/ant/ant_001.png"  # in fold 1, so it trains when fold 0 is held out
    changed.write_bytes((moved.root / "images/bee/bee_001.png").read_bytes())
    with pytest.raises(files.DataError, match=r"ant_001\.png"):
        job.run(own(file, moved))
    assert not (file.parent / "state.json").exists()


def test_changed_heldout_image_is_missing_and_others_stay(spec, moved, tmp_path):
    whole, other = spec("whole"), spec("other")
    moved.write(tmp_path / "manifest.parquet")
    job.run(own(whole, moved))
    changed = moved.root / "images/ant/ant_000.png"
    changed.write_bytes(changed.read_bytes()[:-30])
    job.run(own(other, moved))
    one, two = (Predictions.read(f.parent / "epochs.parquet").dense("label", "main", checkpoint="epoch-002") for f in (whole, other))
    hit = two.row_ids == "images/ant/ant_000.png"
    assert two.status[hit].tolist() == ["missing"]
    assert two.ok[~hit].all()
    assert np.array_equal(one.p[~hit], two.p[~hit])
    assert weights(whole) == weights(other)
