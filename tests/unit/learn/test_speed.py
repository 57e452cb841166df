"""Engines are measured briefly, on a clock that is simulated here: what is dropped, how long it takes, what is remembered."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tapetum.core import cache
from tapetum.core.config import Train
from tapetum.core.errors import UserError
from tapetum.learn import machine, runtime, speed
from tapetum.learn.machine import Load
from tapetum.learn.runtime import Engine

PLAIN, LAST, HALF = Engine("cpu", "32"), Engine("cpu", "32", True), Engine("cpu", "bf16", True)


def tiny(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))


@pytest.fixture
def world(monkeypatch, tmp_path):
    """A machine with bf16 whose steps take the seconds a row that ``cost`` says; the first step of each takes ``cold`` times as long."""

    class World:
        now, cost, cold, steps = 0.0, {}, 1.0, []

    def step_of(network, engine, training):
        seen = []

        def step(x):
            World.steps.append((engine.name, len(x)))
            World.now += World.cost[engine.name] * len(x) * (1.0 if seen else World.cold)
            seen.append(1)

        return step

    World.steps, World.cost, World.now, World.cold = [], {}, 0.0, 1.0
    monkeypatch.setattr(speed, "_step", step_of)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: World.now)
    monkeypatch.setattr(machine, "bf16_in_hardware", lambda device="cpu": True)
    monkeypatch.setattr(machine, "load", lambda: Load(2, 2.0))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return World


def decide(train=None, **how):
    work = speed.Work((3, 8, 8), how.pop("training", False))
    return speed.decide_engine(train or Train(), tiny(), work, **{"device": "cpu", **how})


def test_the_first_engine_stays_unless_another_is_clearly_faster(world):
    world.cost = {PLAIN.name: 1e-3, HALF.name: 0.97e-3}
    assert speed.measure(tiny(), speed.Work((3, 8, 8), False), [PLAIN, HALF]).engine == PLAIN
    world.cost[HALF.name] = 0.5e-3
    assert speed.measure(tiny(), speed.Work((3, 8, 8), False), [PLAIN, HALF]).engine == HALF


def test_engine_twice_as_slow_is_not_timed_in_batches(world):
    world.cost = {PLAIN.name: 0.01, LAST.name: 0.012, HALF.name: 0.5}
    found = speed.measure(tiny(), speed.Work((3, 8, 8), False), [PLAIN, LAST, HALF])
    assert found.engine == PLAIN
    assert [rows for name, rows in world.steps if name == HALF.name] == [1]  # the cold step was enough
    assert max(rows for name, rows in world.steps if name == PLAIN.name) == speed.ROWS
    assert found.seconds[HALF.name] == pytest.approx(0.5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("each", [1e-4, 0.05, 0.5, 3.0])
def test_measuring_takes_its_time_or_the_first_steps(world, each, training):
    world.cost = {PLAIN.name: each, LAST.name: 1.1 * each, HALF.name: 40 * each}
    speed.measure(tiny(), speed.Work((3, 8, 8), training), [PLAIN, LAST, HALF], limit=2.0)
    first = (2 + 2.2 + 40) * each * (2 if training else 1)
    assert world.now <= max(2.0, first) + 1e-9


def test_60_second_budget_without_bf16_leaves_most_time(world, monkeypatch):
    """Where a step of 8 rows took four seconds, measuring took 8 rows x 4 turns x 4 s, twice."""
    monkeypatch.setattr(machine, "bf16_in_hardware", lambda device="cpu": False)
    world.cost = {PLAIN.name: 0.1, LAST.name: 0.09}
    answering = decide(rate=True, limit=1.8)
    world.cost = {LAST.name: 0.5}
    training = decide(training=True, rate=True, limit=1.8)
    assert world.now < 6.0
    assert answering.seconds.keys() == {PLAIN.name, LAST.name}
    assert training.engine == LAST
    assert training.seconds == {LAST.name: pytest.approx(0.5)}


def test_without_bf16_it_is_no_candidate_nor_timed(world, monkeypatch):
    monkeypatch.setattr(machine, "bf16_in_hardware", lambda device="cpu": False)
    assert speed.candidates("cpu") == ("32",)
    found = decide(training=True)
    assert (found.engine, found.seconds, world.steps) == (LAST, {}, [])


def test_a_named_precision_is_not_measured(world):
    found = decide(Train(precision="bf16"), training=True)
    assert (found.engine, found.seconds, world.steps) == (HALF, {}, [])
    with pytest.raises(UserError, match="fp16 does not train on a CPU"):
        decide(Train(precision="fp16"), training=True)


def test_measured_rates_are_remembered_for_machine_threads_model_and_size(world, monkeypatch):
    world.cost = {PLAIN.name: 0.01, LAST.name: 0.005, HALF.name: 0.02}
    first = decide()
    steps = len(world.steps)
    assert steps > 0
    assert decide() == first
    assert len(world.steps) == steps
    assert {entry["work"] for entry in cache.read(speed.RATES).values()} == {"answering"}

    def measures(call):
        before = len(world.steps)
        call()
        return len(world.steps) > before

    assert measures(lambda: decide(training=True))
    assert measures(lambda: speed.decide_engine(Train(), tiny(), speed.Work((3, 9, 9), False), device="cpu"))
    wider = nn.Sequential(nn.Conv2d(3, 5, 3))
    assert measures(lambda: speed.decide_engine(Train(), wider, speed.Work((3, 8, 8), False), device="cpu"))
    assert measures(lambda: decide(remembered=False))
    assert not measures(decide)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert measures(decide)
    monkeypatch.setattr(machine, "processor", lambda device="cpu": "another")
    assert measures(decide)


def test_rates_of_a_busy_moment_are_neither_kept_nor_used(world, monkeypatch):
    world.cost = {PLAIN.name: 0.01, LAST.name: 0.005, HALF.name: 0.02}
    monkeypatch.setattr(machine, "load", lambda: Load(2, 0.6))
    decide()
    assert cache.read(speed.RATES) == {}
    monkeypatch.setattr(machine, "load", lambda: Load(2, 2.0))
    before = len(world.steps)
    decide()
    assert len(world.steps) > before


def test_on_a_busy_machine_the_mean_of_the_steps_counts(world):
    world.cost = {PLAIN.name: 0.01}
    costs = iter([0.01, 0.01, 0.01, 0.01, 0.02, 0.06])  # one image twice, a batch to warm up, three that count

    class Costs(dict):
        def __getitem__(self, name):
            return next(costs)

    world.cost = Costs()
    assert speed.measure(tiny(), speed.Work((3, 8, 8), False), [PLAIN], busy=True).seconds[PLAIN.name] == pytest.approx(0.03)


def test_a_cache_of_nonsense_is_measured_anew(world):
    world.cost = {PLAIN.name: 0.01, LAST.name: 0.005, HALF.name: 0.02}
    first = decide()
    keys = list(cache.read(speed.RATES))
    for nonsense in (None, 7, {}, {"seconds": "fast"}, {"seconds": -1.0}, {"seconds": float("1e999")}):
        if nonsense is not None and isinstance(nonsense, dict) and nonsense.get("seconds") == float("inf"):
            continue  # JSON holds no infinity
        cache.add(speed.RATES, dict.fromkeys(keys, nonsense))
        assert decide() == first


def test_measuring_changes_neither_weights_nor_statistics():
    net = tiny()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = speed.measure(net, speed.Work((3, 8, 8), True, torch.float32), [LAST, HALF], repeats=1)
    assert set(found.seconds) == {LAST.name, HALF.name}
    assert found.engine in (LAST, HALF)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert speed.Measured.from_dict(found.to_dict()) == found
    assert runtime.Engine.from_dict(found.to_dict()["engine"]) == found.engine
