"""Names of channels, re-referencing, units and bad epochs."""

from __future__ import annotations

import numpy as np
import pytest

from edf_bytes import File, Signal, wave
from tapetum import api
from tapetum.core.errors import DataError
from tapetum.sleep.edf import read_edf
from tapetum.sleep.issues import Issues, spans
from tapetum.sleep.montage import Montage
from tapetum.sleep.names import known, load, meaning
from tapetum.sleep.quality import assess
from tapetum.sleep.units import plain_unit


@pytest.mark.parametrize(
    "label", ["C3-M2", "C3-A2", "EEG C3-A2", "EEG C3-M2", "C3A2", "c3:a2", "C3_M2", "C3/A2", "EEG C3 - A2", "EEG C3-A2-0", "[C3-A2]"]
)
def test_one_derivation_has_many_labels(label):
    assert meaning(label).name == "C3-M2"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("EEG F4", "F4"), ("EEG Fpz-Cz", "Fpz-Cz"), ("EEG C4-Ref", "C4"), ("LOC", "E1"), ("EOG EOG2", "E2"), ("ROC-A1", "E2-M1"),
        ("EOG horizontal", "E1-E2"), ("EMG submental", "Chin"), ("EMG EMG1", "Chin 1"), ("EKG", "ECG"), ("SaO2", "SpO2"), ("A2", "M2"),
        ("EFFORT THO", "Thorax"), ("Leg/L", "Leg L"), ("PFlow", "Flow"), ("Mystery", ""), ("", ""),
    ],
)  # fmt: skip
def test_labels_of_recorders_are_known(label, name):
    assert meaning(label).name == name


def test_every_label_of_the_table_means_its_name():
    for label, name in known().items():
        assert meaning(label).name == name


def test_a_users_table_lies_over_the_built_in_one(tmp_path):
    (tmp_path / "own.csv").write_text("label,name\nEEG(sec),C3-M2\nMystery,Chin\n", encoding="utf-8")
    table = load(tmp_path / "own.csv")
    assert (meaning("EEG(sec)", table).name, meaning("mystery", table).name, meaning("SaO2", table).name) == ("C3-M2", "Chin", "SpO2")
    (tmp_path / "bad.csv").write_text("label,name\nX,\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2"):
        load(tmp_path / "bad.csv")
    (tmp_path / "worse.csv").write_text("a,b\nX,Y\n", encoding="utf-8")
    with pytest.raises(DataError, match="label and name"):
        load(tmp_path / "worse.csv")


def montage(folder, *signals):
    (folder / "a.edf").write_bytes(File(list(signals)).bytes())
    issues = Issues("a.edf")
    return Montage(read_edf(folder / "a.edf"), known(), issues), issues


def test_electrodes_are_referenced_to_the_other_ear(tmp_path):
    made, issues = montage(tmp_path, Signal("EEG C3", wave(60, 10)), Signal("EEG A2", wave(60, 10, 1)))
    signal = made.signal("C3-M2")
    np.testing.assert_allclose(signal.values, (wave(60, 10) - wave(60, 10, 1)).reshape(-1) / 10, atol=0.1)
    assert signal.source == "EEG C3 − EEG A2"
    assert [one.assumed for one in issues] == ["EEG C3 − EEG A2"]


def test_unnamed_reference_is_an_issue(tmp_path):
    made, issues = montage(tmp_path, Signal("EEG C3", wave(60, 10)))
    assert made.signal("C3-M2").source == "EEG C3"
    assert "a reference that the label does not name" in next(iter(issues)).assumed
    assert made.signal("O1-M2") is None


def test_other_ear_stands_in_with_an_issue(tmp_path):
    made, issues = montage(tmp_path, Signal("C3-A1", wave(60, 10)))
    assert made.signal("C3-M2").source == "C3-A1"
    assert "C3-M1 in its place" in next(iter(issues)).assumed


def test_chin_is_the_difference_of_two_electrodes(tmp_path):
    made, _ = montage(tmp_path, Signal("EMG1", wave(60, 10)), Signal("EMG2", wave(60, 10, 1)))
    assert made.signal("Chin").source == "EMG1 − EMG2"


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1), ("mV", 1e3), ("V", 1e6), ("nV", 1e-3)])
def test_volts_become_microvolts(unit, factor, tmp_path):
    made, _ = montage(tmp_path, Signal("C3-M2", wave(60, 10), unit=unit))
    signal = made.signal("C3-M2")
    assert signal.unit == "uV"
    np.testing.assert_allclose(signal.values / factor, wave(60, 10).reshape(-1) / 10, atol=0.06)


def test_labels_are_named_or_refused_with_those_that_are(tmp_path):
    made, _ = montage(tmp_path, Signal("left", wave(60, 10)), Signal("right", wave(60, 10, 1)))
    assert made.labelled("left|right").source == "left − right"
    with pytest.raises(DataError, match="Did you mean 'right'"):
        made.labelled("rigth")


def test_units_are_read_as_recorders_write_them():
    assert [plain_unit(text) for text in ("µV", "μV", "uv", "UV", "mV", "V", "%", "cmH2O", "-", "", "bpm")] == [
        "uV", "uV", "uV", "uV", "mV", "V", "%", "cmH2O", "", "", "bpm",
    ]  # fmt: skip


def test_bad_epochs_are_found(tmp_path):
    samples = wave(240, 200, amplitude=200.0)
    samples[30:60] = 0  # epoch 2 flat
    samples[70:80] = 32767  # epoch 3 at the limit
    samples[120:150] = np.where(wave(30, 200, 1) > 0, 15_000, -15_000)  # epoch 5 beyond what a body makes
    hum = np.sin(2 * np.pi * 50 * np.arange(30 * 200) / 200)
    samples[180:210] = (2000 * hum).reshape(30, 200)  # epoch 7
    made, _ = montage(tmp_path, Signal("C3-M2", np.clip(samples, -32768, 32767)))
    found = assess(made.signal("C3-M2"))
    where = {kind: (np.flatnonzero(one) + 1).tolist() for kind, one in found.by_kind.items()}
    assert where == {"lost": [], "flat": [2], "saturated": [3], "too large": [5], "hum": [7]}
    assert found.share == 0.5
    assert spans(found.bad) == "2–3, 5, 7"


def electrodes(folder, many: int, **bad: tuple[int, int]):
    """Write ``many`` half minutes of four EEG electrodes; NAME=(first, end) are epochs in which one is beyond what a body makes."""
    signals = []
    for number, name in enumerate(("F3", "F4", "C3", "C4")):
        samples = wave(30 * many, 20, number, amplitude=200.0)
        first, end = bad.get(name, (0, 0))
        samples[30 * first : 30 * end] = 20_000 * np.sign(samples[30 * first : 30 * end] + 0.5)
        signals.append(Signal(f"EEG {name}", samples))
    (folder / "night.edf").write_bytes(File(signals).bytes())
    return api.sleep_check(folder / "night.edf", folder / "issues.csv")["issues"]


def faults(rows) -> dict[str, tuple[str, str]]:
    return {row["signal"]: (row["what"], row["epochs"]) for row in rows if row["kind"] == "quality"}


def test_electrode_that_fails_alone_is_bad_as_a_whole(tmp_path):
    found = faults(electrodes(tmp_path, 50, F4=(35, 36)))
    assert found == {"EEG F4": ("bad electrode: beyond ±1000 µV in 1 of 50 epochs (2 %, epoch 36), while others are good", "all")}
    found = faults(electrodes(tmp_path, 10, C3=(2, 9)))
    assert found == {"EEG C3": ("bad channel: beyond ±1000 µV in 7 of 10 epochs (70 %, epochs 3–9)", "all")}


def test_epochs_in_which_all_electrodes_fail_blame_none(tmp_path):
    found = faults(electrodes(tmp_path, 20, F3=(3, 5), F4=(3, 5), C3=(3, 5), C4=(3, 5)))
    assert set(found.values()) == {("bad epochs: beyond ±1000 µV in 2 of 20 epochs", "4–5")}
    assert len(found) == 4
    found = faults(electrodes(tmp_path, 120, F4=(7, 8)))  # less than 1 %
    assert found == {"EEG F4": ("bad epochs: beyond ±1000 µV in 1 of 120 epochs", "8")}
