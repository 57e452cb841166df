"""A night's channels, and how they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import welch

from tapetum.core import draws
from tapetum.sleep import drawing
from tapetum.systems.sleep_images import signals
from tapetum.systems.sleep_images.body import Sleeper
from tapetum.systems.sleep_images.channels import CHANNELS, FAST, SECONDS
from tapetum.systems.sleep_images.cues import EVENTS, MEANS, Cues, draw_cues
from tapetum.systems.sleep_images.hypnograms import N2, N3, REM, WAKE

RATES = {name: channel.rate for name, channel in CHANNELS.items()}


def sleeper(**changes) -> Sleeper:
    whole = {"gains": dict.fromkeys(CHANNELS, 1.0), "missing": frozenset(), "loose": frozenset(), "alpha": 1.0, "pulse": 0.9}
    quiet = {"breath": 4.0, "pauses": 0.0, "snoring": 5.0, "kicks": 0.0, "oxygen": 97.0, "seed": 7}
    return Sleeper(**{**whole, **quiet, **changes})


def typical(stage: int, epochs: int = 6, **events: int) -> Cues:
    counts = np.array([[events.get(name, 0) for name in EVENTS]] * epochs)
    return Cues(np.repeat(MEANS[stage][None], epochs, axis=0), counts)


def recording(stage: int, **events: int) -> signals.Recording:
    return signals.Recording(typical(stage, **events), sleeper())


def power(samples: np.ndarray, low: float, high: float) -> float:
    frequency, density = welch(samples, FAST, nperseg=4 * FAST)
    return float(density[(frequency >= low) & (frequency < high)].sum())


def test_channels_have_their_rates_and_are_the_same_whenever_drawn():
    night = recording(N2, spindles=1)
    late, early = night.epoch(4), night.epoch(1)
    assert {name: len(samples) for name, samples in early.items()} == {name: rate * SECONDS for name, rate in RATES.items()}
    again = recording(N2, spindles=1).epoch(4)
    assert all(np.array_equal(late[name], again[name]) for name in late)
    assert np.array_equal(night.channel("C3-M2")[4 * 30 * FAST : 5 * 30 * FAST], late["C3-M2"])


def test_bands_and_tone_are_those_of_the_stage():
    found = {stage: recording(stage).epoch(2) for stage in (WAKE, N2, N3, REM)}
    slow = {stage: power(epoch["C3-M2"], 0.5, 2) for stage, epoch in found.items()}
    assert slow[N3] > 3 * slow[N2] > 3 * slow[WAKE]
    back = {stage: power(epoch["O1-M2"], 8, 12) for stage, epoch in found.items()}
    assert back[WAKE] > 3 * max(back[N2], back[N3], back[REM])
    assert back[WAKE] > 2 * power(found[WAKE]["C3-M2"], 8, 12)
    tone = {stage: epoch["Chin"].std() for stage, epoch in found.items()}
    assert tone[REM] < 0.5 * tone[N2] < 0.5 * tone[WAKE]


def test_spindle_adds_sigma_power_and_movement_reaches_every_electrode():
    plain, spindle, moved = (recording(N2, **events).epoch(3) for events in ({}, {"spindles": 2}, {"movements": 1}))
    assert power(spindle["C3-M2"], 12, 15) > 2 * power(plain["C3-M2"], 12, 15)
    assert np.array_equal(spindle["Chin"], plain["Chin"])
    assert all(np.abs(moved[name] - plain[name]).max() > 20 for name in ("C3-M2", "O2-M1", "E1-M2", "Chin", "Leg L"))


def test_eye_channels_oppose_and_slow_waves_agree():
    saccades, deep = recording(REM, saccades=2).epoch(2), recording(N3).epoch(2)
    assert np.corrcoef(saccades["E1-M2"], saccades["E2-M1"])[0, 1] < -0.3
    assert np.corrcoef(deep["E1-M2"], deep["E2-M1"])[0, 1] > 0.5


def test_the_heart_beats_on_over_the_borders_of_epochs():
    night = recording(N3)
    ecg = night.channel("ECG")
    peaks = np.flatnonzero((ecg[1:-1] > 0.35) & (ecg[1:-1] >= ecg[:-2]) & (ecg[1:-1] > ecg[2:]))
    apart = np.diff(peaks) / FAST
    assert 0.75 < apart.min() < apart.max() < 1.1
    assert len(peaks) == pytest.approx(6 * SECONDS / 0.9, abs=5)


def test_oxygen_falls_after_pauses_of_breathing_in_sleep():
    quiet = signals.Recording(typical(N2, epochs=120), sleeper())
    apnoea = signals.Recording(typical(N2, epochs=120), sleeper(pauses=45.0))
    assert apnoea.body.oxygen.min() < quiet.body.oxygen.min() - 3
    assert (apnoea.body.depth < 0.2).sum() > 10 > (quiet.body.depth < 0.2).sum()


def lit(signals_: dict[str, np.ndarray]) -> np.ndarray:
    return drawing.draw(signals_, RATES).any(axis=1)


def test_each_channel_lies_in_the_rows_of_its_group_alone():
    night = recording(N2, spindles=2, saccades=1)
    epoch = night.epoch(1)
    for group in drawing.GROUPS:
        for name in group.channels:
            rows = np.zeros(270, dtype=bool)
            for own in (g for g in drawing.GROUPS if name in g.channels):
                rows[slice(*own.rows)] = True
            seen = lit({name: epoch[name]})
            assert seen.any(), name
            assert not seen[~rows].any(), name
    stacked = sorted(group.rows for group in drawing.GROUPS)
    assert [rows[0] for rows in stacked] == [0, *(rows[1] for rows in stacked[:-1])]
    assert stacked[-1][1] == 268


def test_full_scale_fills_the_lane_and_larger_values_clip():
    level = np.full(FAST * SECONDS, 0.0)
    eeg = drawing.GROUPS[1]
    height = (eeg.rows[1] - eeg.rows[0]) / 4
    for i, name in enumerate(eeg.channels):
        for value, place in ((35.0, i * height), (0.0, (i + 0.5) * height), (-35.0, (i + 1) * height)):
            row = np.flatnonzero(lit({name: level + value}))
            assert abs(row.mean() - (eeg.rows[0] + place)) <= 1
    over = lit({"C4-M1": np.where(np.arange(FAST * SECONDS) // FAST % 2, 900.0, -900.0)})
    assert np.flatnonzero(over).tolist() == list(range(32, 75))


def test_a_missing_channel_leaves_its_rows_empty():
    epoch = signals.Recording(typical(N2), sleeper(missing=frozenset({"ECG", "C3-M2"}))).epoch(0)
    assert "ECG" not in epoch
    image = drawing.draw(epoch, RATES)
    assert not image[107:118].any()
    assert image[96:107].any()
    assert not image[32:36].any()  # the first lane of the EEG, but for waves that reach into it


def test_slow_channels_are_steps_and_fast_ones_are_lines():
    steps = drawing.draw({"SpO2": np.array([90.0] * 15 + [96.0] * 15)}, RATES, reduced=1)
    columns = steps[900:988].sum(axis=0) // 255
    assert np.flatnonzero(columns > 1).tolist() == [960]
    ramp = np.linspace(-30, 30, FAST * SECONDS)
    line = drawing.draw({"Chin": ramp}, RATES, reduced=1)[384:428]
    thick = line.sum(axis=0) // 255
    assert 1 <= thick.min() <= thick.max() <= 2


def test_columns_hold_the_lowest_and_highest_value_at_any_rate():
    rng = np.random.default_rng(0)
    for rate in (64, 100, 128, 200, 256, 500):
        samples = rng.normal(size=rate * SECONDS).astype(np.float32)
        low, high = drawing.spans(samples, rate if rate >= 100 else 100)
        assert len(low) == len(high) == drawing.WIDTH
        if rate > 64:
            assert (low.min(), high.max()) == (samples.min(), samples.max())
        assert (low <= high).all()


def test_reducing_is_the_mean_of_each_square():
    canvas = np.random.default_rng(1).random((1080, 1920)) < 0.3
    exact = 255 * canvas.reshape(270, 4, 480, 4).mean(axis=(1, 3))
    assert np.abs(drawing.shrunk(canvas, 4).astype(float) - exact).max() <= 0.5
    assert drawing.shrunk(canvas, 2).shape == (540, 960)
    assert np.array_equal(drawing.shrunk(canvas, 1), canvas * 255)


def test_sleepers_differ_and_always_have_an_eeg():
    found = [signals.draw_sleeper(draws.generator("sleepers", i), i) for i in range(200)]
    assert all(set(signals.EEG) - one.missing for one in found)
    assert 20 < sum(bool(one.missing) for one in found) < 200
    assert 5 < sum(bool(one.loose) for one in found) < 150
    rng = np.random.default_rng(3)
    one, two = (signals.Recording(draw_cues(np.full(3, N2), rng), some).epoch(1) for some in found[:2])
    assert not np.array_equal(one["Flow"], two["Flow"])
