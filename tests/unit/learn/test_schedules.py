"""The planned rate against library twins and hand-computed places."""

from __future__ import annotations

import inspect
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tapetum.core.config import Average, Schedule
from tapetum.core.errors import UserError
from tapetum.learn.choices import SCHEDULES
from tapetum.learn.training import schedules


def planned(name, *, per_epoch=10, epochs=12, rate=0.5, warmup=0.0, history=(), **options):
    schedule = Schedule(name=name, warmup=warmup, options=options)
    return schedules.plan(schedule, steps_per_epoch=per_epoch, epochs=epochs, base_rate=rate, history=history)


def twin(make, steps, rate=0.5, epoch_of=None):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = make(optimizer)
    rates = []
    for step in range(steps):
        if epoch_of is not None:
            scheduler.step(epoch_of(step))
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if epoch_of is None:
            scheduler.step()
    return np.array(rates)


def test_cosine_is_torchs():
    expected = twin(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=120, eta_min=0.05), 120)
    np.testing.assert_allclose(planned("cosine", floor=0.1), expected, rtol=1e-9)


@pytest.mark.parametrize("t_mult", [1, 2])
def test_warm_restarts_are_torchs_stepped_per_iteration(t_mult):
    expected = twin(lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=4, T_mult=t_mult), 120, epoch_of=lambda s: s / 10)
    np.testing.assert_allclose(planned("cosine_restarts", t0=4, t_mult=t_mult), expected, rtol=1e-6, atol=1e-12)


@given(t0=st.integers(1, 4), t_mult=st.integers(1, 3), per_epoch=st.integers(3, 9), decay=st.floats(0.3, 1.0))
def test_restarts_fall_where_they_should_and_shrink(t0, t_mult, per_epoch, decay):
    rates = planned("cosine_restarts", per_epoch=per_epoch, epochs=12, rate=1.0, t0=t0, t_mult=t_mult, decay=decay)
    ends = [e for e in itertools.accumulate(t0 * t_mult**i for i in range(12)) if e < 12]
    for i, end in enumerate(ends):
        assert rates[end * per_epoch] == pytest.approx(decay ** (i + 1))
        assert rates[end * per_epoch - 1] < decay ** (i + 1)
    rises = {int(i) + 1 for i in np.flatnonzero(np.diff(rates) > 1e-12)}
    assert rises == {end * per_epoch for end in ends}


def test_cyclic_is_torchs_triangular_and_triangular2():
    for mode, decay in (("triangular", 1.0), ("triangular2", 0.5)):
        expected = twin(
            lambda o, mode=mode: torch.optim.lr_scheduler.CyclicLR(
                o, base_lr=0.05, max_lr=0.5, step_size_up=20, mode=mode, cycle_momentum=False
            ),
            120,
        )
        np.testing.assert_allclose(planned("cyclic", cycle=4, low=0.1, decay=decay), expected, rtol=1e-6)


def test_one_cycle_is_torchs():
    expected = twin(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=120, pct_start=0.25, cycle_momentum=False), 120
    )
    np.testing.assert_allclose(planned("one_cycle", warmup=0.25), expected, rtol=1e-6)


def test_phases_of_the_dogs_write_up_keep_to_their_ranges():
    phases = [[50, 1e-1, 1e-2], [50, 1e-2, 1e-4], [50, 1e-4, 1e-6], [50, 1e-6, 1e-10]]
    rates = planned("phases", per_epoch=4, epochs=200, rate=1.0, phases=phases)
    for i, (_, high, low) in enumerate(phases):
        part = rates[i * 200 : (i + 1) * 200]
        assert part[0] == pytest.approx(low)
        assert part[100] == pytest.approx(high)
        assert part.min() >= low * (1 - 1e-9)
        assert part.max() <= high * (1 + 1e-9)
    cycles = planned("phases", per_epoch=4, epochs=200, rate=1.0, phases=phases, cycle=10)
    assert np.flatnonzero(np.isclose(cycles[:200], 1e-1)).tolist() == [20, 60, 100, 140, 180]
    falling = planned("phases", per_epoch=4, epochs=200, rate=1.0, phases=phases, rise=0)
    assert falling[0] == pytest.approx(1e-1)
    assert (np.diff(falling[:200]) < 0).all()


def test_flat_cosine_is_flat_then_falls():
    rates = planned("flat_cosine", flat=0.5)
    assert (rates[:61] == 0.5).all()
    assert rates[61:].max() < 0.5
    assert rates[90] == pytest.approx(0.25)


@given(values=st.lists(st.floats(0.1, 1.0), min_size=12, max_size=12), patience=st.integers(0, 3), cooldown=st.integers(0, 2))
def test_plateau_is_torchs(values, patience, cooldown):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, cooldown=cooldown, eps=0)
    expected = []
    for value in values:
        expected += [optimizer.param_groups[0]["lr"]] * 10
        scheduler.step(value)
    got = planned("plateau", history=values, factor=0.5, patience=patience, cooldown=cooldown)
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_plateau_planned_again_never_changes_the_past():
    history = [1.0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8]
    for known in range(len(history)):
        now = planned("plateau", history=history[:known], patience=1)
        later = planned("plateau", history=history, patience=1)
        np.testing.assert_array_equal(now[: (known + 1) * 10], later[: (known + 1) * 10])


@pytest.mark.parametrize("name", [n for n in SCHEDULES if n not in ("phases", "one_cycle")])
def test_warm_up_rises_in_a_straight_line_to_the_schedule(name):
    options = {"t0": 4} if name == "cosine_restarts" else {}
    with_ramp, without = planned(name, warmup=2, **options), planned(name, **options)
    ratio = with_ramp[:20] / (0.5 if name in schedules.AFTER_WARMUP else without[:20])
    np.testing.assert_allclose(ratio, np.arange(1, 21) / 20)
    assert with_ramp[20] == pytest.approx(0.5 if name in schedules.AFTER_WARMUP else without[20])
    if name not in schedules.AFTER_WARMUP:  # restarts stay where they are
        np.testing.assert_allclose(with_ramp[20:], without[20:])


def test_warm_up_is_a_share_below_one_else_epochs():
    assert schedules.warmup_steps(Schedule(warmup=0.1), 120, 10) == 12
    assert schedules.warmup_steps(Schedule(warmup=3), 120, 10) == 30


@pytest.mark.parametrize(
    ("schedule", "epochs", "words"),
    [
        (Schedule(name="cosine_restarts", options={"t0": 10}), 4, "T0"),
        (Schedule(name="cosine_restarts", options={"t0": 2, "t_mult": 0.5}), 12, "1 or more"),  # cycles that never reach the end
        (Schedule(name="cosine_restarts", options={"t0": 1e-9}), 12, "0.01 or more"),
        (Schedule(name="phases", options={"phases": [[2, 1, 0.1], [3, 0.1, 0.01]]}), 6, "5 epochs"),
        (Schedule(name="phases", options={"phases": [[6, 0.1, 1.0]]}), 6, "max"),
        (Schedule(warmup=6), 6, "warm-up"),
        (Schedule(name="cyclic", options={"cycle": 0}), 6, "cycle"),
        (Schedule(name="plateau", options={"factor": 1.5}), 6, "factor"),
        (Schedule(name="cosin"), 6, "Did you mean 'cosine'"),
        (Schedule(options={"flor": 0.1}), 6, "Did you mean 'floor'"),
    ],
)
def test_what_cannot_run_is_refused_with_the_reason(schedule, epochs, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        schedules.check(schedule, epochs)


def test_training_that_stops_within_a_cycle_is_remarked():
    restarts = Schedule(name="cosine_restarts", options={"t0": 4})
    assert schedules.remarks(restarts, 8) == []
    assert "2 epochs into a cycle" in schedules.remarks(restarts, 10)[0]
    assert schedules.remarks(Schedule(name="cyclic", options={"cycle": 4}), 12) == []
    assert schedules.remarks(Schedule(), 12) == []


def test_swa_holds_its_rate_or_adds_epochs():
    rates = planned("cosine", epochs=8)
    heldout = schedules.with_average(rates, Average(name="swa", start=0.75, rate=0.03), steps_per_epoch=10)
    np.testing.assert_array_equal(heldout[:60], rates[:60])
    assert (heldout[60:] == 0.03).all()
    longer = schedules.with_average(rates, Average(name="swa", rate=0.03, epochs=2), steps_per_epoch=10)
    np.testing.assert_array_equal(longer[:80], rates)
    assert longer[80:].tolist() == [0.03] * 20
    steps = schedules.with_average(rates, Average(name="swa", rate=0.03, epochs=3, full_batch=True), steps_per_epoch=10)
    assert len(steps) == 83
    np.testing.assert_array_equal(schedules.with_average(rates, Average(name="ema"), steps_per_epoch=10), rates)


def test_no_epochs_no_rates():
    assert planned("cosine", epochs=0).shape == (0,)


@given(name=st.sampled_from(["constant", "cosine", "flat_cosine", "one_cycle", "cyclic"]), per_epoch=st.integers(1, 7))
def test_the_plan_scales_with_the_rate_and_is_finite(name, per_epoch):
    one, ten = planned(name, per_epoch=per_epoch, rate=1.0), planned(name, per_epoch=per_epoch, rate=10.0)
    np.testing.assert_allclose(ten, 10 * one)
    assert np.isfinite(one).all()
    assert one.max() <= 1.0 + 1e-12
    assert math.isclose(len(one), 12 * per_epoch)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_tables_defaults_are_the_functions(name):
    parameters = inspect.signature(SCHEDULES[name].load()).parameters
    assert set(SCHEDULES[name].parameters) <= set(parameters)
    for key, value in SCHEDULES[name].parameters.items():
        assert parameters[key].default == value
