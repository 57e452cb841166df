"""Rendering: rows and scales of the challenge, missing channels, unknown units, filters, spectrograms."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from edf_bytes import File, Signal, plain, wave
from tapetum import api
from tapetum.core.errors import DataError, UserError
from tapetum.sleep import render
from tapetum.sleep.edf import read_edf
from tapetum.sleep.filters import filtered, find_mains, kind_of
from tapetum.sleep.issues import Issues
from tapetum.sleep.names import known
from tapetum.sleep.spectra import multitaper

RATE = 128
SECONDS = np.arange(60 * RATE) / RATE


def night(folder, **signals):
    """Write a minute of 128 Hz signals in µV (name=values), and read it."""
    made = [Signal(name.replace("_", "-"), np.rint(10 * values).astype(int).reshape(60, RATE)) for name, values in signals.items()]
    (folder / "a.edf").write_bytes(File(made).bytes())
    return read_edf(folder / "a.edf")


def drawn(recording, width=480, how="traces", numbers=(0,)):
    issues = Issues("a.edf")
    prepared = render.prepare(recording, known(), issues)
    return [image for _, image in render.epochs(prepared, width, how, numbers)], prepared, issues


def sine(hertz, amplitude=20.0):
    return amplitude * np.sin(2 * np.pi * hertz * SECONDS)


def test_missing_channels_leave_their_rows_empty(tmp_path):
    (image,), prepared, issues = drawn(night(tmp_path, C3_M2=sine(2)))
    assert image.shape == (270, 480)
    lit = np.flatnonzero(image.any(axis=1))
    assert lit.min() >= 32
    assert lit.max() < 32 + 43 / 4 + 1, "C3 has the first of the four lanes of EEG"
    assert {band["name"] for band in prepared.bands if band["source"] is None} >= {"C4-M1", "SpO2", "ECG"}
    assert any(one.signal == "SpO2" and one.assumed == "its band is empty" for one in issues)


def test_full_scale_fills_the_lane(tmp_path):
    (image,), *_ = drawn(night(tmp_path, Chin=sine(20, 35.0)))  # rows 96 to 107 are ±35 µV
    lit = np.flatnonzero(image.any(axis=1))
    assert 96 <= lit.min() <= 97
    assert 105 <= lit.max() <= 106


@pytest.mark.parametrize(("width", "height"), [(480, 270), (960, 540), (1920, 1080), (640, 360), (3840, 2160)])
def test_any_width_has_the_same_rows(width, height, tmp_path):
    (image,), *_ = drawn(night(tmp_path, C3_M2=sine(2)), width)
    assert image.shape == (height, width)
    lit = np.flatnonzero(image.any(axis=1)) * 270 / height
    assert lit.min() >= 31.5
    assert lit.max() < 44


def test_unknown_unit_is_drawn_on_its_own_scale_and_said(tmp_path):
    file = plain(60)
    file.signals[0].unit = ""
    (tmp_path / "a.edf").write_bytes(file.bytes())
    (image,), prepared, issues = drawn(read_edf(tmp_path / "a.edf"))
    assert image[32:43].any()
    units = {band["name"]: band["unit"] for band in prepared.bands}
    assert (units["C3-M2"], units["C4-M1"]) == ("not µV", "µV")
    assert any("not µV" in one.assumed for one in issues)


@pytest.mark.parametrize(("width", "how"), [(480, "traces"), (1920, "traces"), (1920, "spectra")])
def test_unknown_unit_is_written_on_its_band_alone(tmp_path, width, how):
    file = plain(60)
    file.signals[0].unit = ""  # C3-M2, the first lane of EEG; C4-M1 has its unit
    (tmp_path / "a.edf").write_bytes(file.bytes())
    (image,), prepared, _ = drawn(read_edf(tmp_path / "a.edf"), width, how)
    ((_, without),) = render.epochs(prepared, width, how, [0], texts=render.NO_TEXTS)
    rows, columns = np.nonzero(image != without)
    assert rows.min() * 270 / len(image) >= 32
    assert rows.max() * 270 / len(image) < 32 + 43 / 4
    assert columns.max() < width / 8, "the trace is covered at its beginning alone"
    text = image[rows.min() : rows.max() + 1, : columns.max() + 1]
    assert (text == 255).any(axis=0).sum() > 6, "letters are white"
    assert not any(str(band["unit"]).startswith("not") for band in prepared.bands if band["name"] != "C3-M2")


def test_spectrogram_is_bright_where_the_power_is(tmp_path):
    (image,), *_ = drawn(night(tmp_path, C3_M2=sine(30, 30.0)), 1920, "spectra")
    lane = image[128:171].mean(axis=1)
    assert lane[:12].max() > 100 + lane[-20:].max(), "30 Hz is near the upper edge, 35 Hz"


def test_epoch_with_a_gap_is_empty(tmp_path):
    from edf_bytes import plus

    times = [*range(30), *range(45, 75)]
    (tmp_path / "a.edf").write_bytes(plus(form="EDF+D", times=[float(t) for t in times]).bytes())
    images, *_ = drawn(read_edf(tmp_path / "a.edf"), numbers=(0, 1))
    assert images[0].any()
    assert not images[1].any()


def test_recording_shorter_than_an_epoch_is_refused(tmp_path):
    (tmp_path / "a.edf").write_bytes(plain(20).bytes())
    with pytest.raises(DataError, match="lasts 20 s"):
        drawn(read_edf(tmp_path / "a.edf"))
    (tmp_path / "a.edf").write_bytes(File([Signal("Mystery", wave(60, 10))]).bytes())
    with pytest.raises(DataError, match="no channel that is drawn"):
        drawn(read_edf(tmp_path / "a.edf"))


def test_folder_holds_images_and_what_is_drawn_where(tmp_path):
    night(tmp_path, C3_M2=sine(2), SpO2=np.full(60 * RATE, 96.0))
    found = api.sleep_render(tmp_path / "a.edf", tmp_path / "out", width=480)
    assert found["images"] == 2
    with Image.open(tmp_path / "out" / "a" / "a_0002.png") as image:
        assert (image.size, image.mode) == ((480, 270), "L")
    bands = json.loads((tmp_path / "out" / "a" / "bands.json").read_text(encoding="utf-8"))
    assert next(band for band in bands["bands"] if band["name"] == "C3-M2")["unit"] == "µV"
    with pytest.raises(UserError, match="no epochs 9"):
        api.sleep_render(tmp_path / "a.edf", tmp_path / "out", first=9)
    with pytest.raises(UserError, match="no rendering"):
        api.sleep_render(tmp_path / "a.edf", tmp_path / "out", how="pictures")


def test_filters_keep_their_band():
    for kind, low, inside, high in (("EEG", 0.05, 10, 55), ("EOG", 0.03, 1, 55), ("EMG", 2, 30, 60.0), ("ECG", 0.03, 20, 60.0)):
        kept = [np.std(filtered(sine(hertz).astype(np.float32), RATE, kind, 60.0)[RATE * 10 : -RATE * 10]) for hertz in (low, inside, high)]
        assert kept[1] > 10
        assert kept[0] < 2
        assert kept[2] < 2, (kind, kept)


def test_gaps_do_not_mix_in_filters():
    values = sine(5).astype(np.float32)
    values[2000:3000] = np.nan
    other = values.copy()
    other[3000:] = 5000
    a, b = (filtered(one, RATE, "EEG", None) for one in (values, other))
    assert np.isnan(a[2000:3000]).all()
    np.testing.assert_array_equal(a[:2000], b[:2000])


def test_mains_is_found():
    noise = np.random.default_rng(0).normal(0, 1, len(SECONDS))
    assert find_mains(noise + sine(50, 10), RATE) is None, "128 Hz are too few to tell"
    fast = np.arange(60 * 256) / 256
    noise = np.random.default_rng(0).normal(0, 1, len(fast))
    assert [find_mains(noise + 10 * np.sin(2 * np.pi * hertz * fast), 256) for hertz in (50, 60)] == [50.0, 60.0]
    assert find_mains(noise, 256) is None


def test_kinds_follow_names():
    assert [kind_of(name) for name in ("C3-M2", "Fpz", "E1-M2", "Chin", "Leg L", "ECG", "Flow", "SpO2", "Thorax")] == [
        "EEG", "EEG", "EOG", "EMG", "EMG", "ECG", None, None, None,
    ]  # fmt: skip


def test_multitaper_power_integrates_to_the_variance():
    values = np.random.default_rng(3).normal(0, 2.0, 200 * RATE)
    frequency, _, power = multitaper(values, RATE, 2.0, 2.0)
    assert np.trapezoid(power.mean(axis=1), frequency) == pytest.approx(4.0, rel=0.05)
