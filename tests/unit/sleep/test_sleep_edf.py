"""EDF and BDF files of every broken kind: each is read with an issue row, or refused by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import edf_bytes
from edf_bytes import NAME, File, Signal, plain, plus, tal, wave
from tapetum.core.errors import DataError
from tapetum.sleep.edf import read_edf
from tapetum.sleep.issues import table

THREE = {"version": b"\xffBIOSEMI", "reserved": "24BIT", "width": 3}


def set_at(content: bytes, at: int, value: str, width: int) -> bytes:
    return content[:at] + value.encode().ljust(width) + content[at + width :]


def field(content: bytes, name: str, value: str, signal: int = 0) -> bytes:
    """Return the file with a field of a signal's header replaced."""
    widths = {"label": 16, "transducer": 80, "unit": 8, "pmin": 8, "pmax": 8, "dmin": 8, "dmax": 8, "prefilter": 80, "samples": 8}
    count = int(content[252:256])
    at = 256
    for key, width in widths.items():
        if key == name:
            return set_at(content, at + signal * width, value, width)
        at += width * count
    raise KeyError(name)


def one(**changed: object) -> bytes:
    return plain(**changed).bytes()


BARE = one()
RECORD = 40  # bytes of a record of the plain file
GAPPED = [float(i if i < 30 else i + 45) for i in range(60)]
WIDE = {"physical": ("-262144", "262143"), "digital": ("-8388608", "8388607")}


def wide(**changed: object) -> File:
    return dataclasses.replace(plain(**changed), signals=[Signal("C3-M2", wave(60, 10), **WIDE), Signal("C4-M1", wave(60, 10), **WIDE)])


EARLY = plus(tals=[[tal(0, (-12.5, 30, "Sleep stage W"))] + [tal(i) for i in range(1, 60)]]).bytes()

# name → (file, what an issue row says, epochs it touches or None where that does not matter)
READ = {
    "-1 records": (one(records="-1"), "number of records is -1", "all"),
    "-1 records and a part of one": (one(records="-1") + b"\1" * 7, "ends inside record 61", "3"),
    "records not a number": (one(records="many"), "number of records is 'many'", "all"),
    "size smaller": (BARE[: -10 * RECORD], "states 60 records, the file holds 50", "2"),
    "cut inside a record": (BARE[: -10 * RECORD - 13], "ends inside record 50", "2"),
    "size larger by records": (one(records="50"), "states 50 records, the file holds 60", "2"),
    "0 records stated": (one(records="0"), "states 0 records", "all"),
    "trailing garbage": (BARE + b"garbage of no record", "20 bytes follow the last record", "none"),
    "trailing garbage in EDF+": (plus().bytes() + b"\xfa" * 1000, "bytes follow the last record", "none"),
    "BDF as 16-bit": (one(version=b"\xffBIOSEMI", reserved="24BIT"), "header is that of 24-bit samples", "all"),
    "EDF header, 24-bit data": (wide(width=3).bytes(), "header is that of 16-bit samples", "all"),
    "EDF header, 24-bit data, -1 records": (wide(width=3, records="-1").bytes(), "header is that of 16-bit samples", "all"),
    "24 bit": (dataclasses.replace(wide(), **THREE).bytes(), "24 bits (BDF)", None),
    "digital range beyond 16 bits": (wide().bytes(), "wider than 16 bits", "all"),
    "physical min = max": (field(field(BARE, "pmin", "0"), "pmax", "0"), "physical min and max are both 0", "all"),
    "digital max = min": (field(field(BARE, "dmin", "5"), "dmax", "5"), "digital min and max are both 5", "all"),
    "digital max < min": (field(field(BARE, "dmin", "32767"), "dmax", "-32768"), "digital max (-32768) is less", "all"),
    "physical min > max": (field(field(BARE, "pmin", "200"), "pmax", "-200"), "physical min (200) is above max", "all"),
    "physical max no number": (field(BARE, "pmax", "n/a"), "physical max is 'n/a'", "all"),
    "digital max not a number": (field(BARE, "dmax", "nan"), "digital max is 'nan'", "all"),
    "decimal comma": (field(BARE, "pmax", "3276,7"), "written with a comma", None),
    "samples of one signal blank": (field(BARE, "samples", ""), "samples in a record is ''", "all"),
    "zero bytes as padding": (BARE[:244] + b"1\0\0\0\0\0\0\0" + BARE[252:], "control characters", None),
    "non-ASCII unit": (BARE.replace(b"uV      ", b"\xb5V      "), "'unit' holds bytes beyond ASCII", None),
    "non-ASCII patient": (one(patient="MCH X X Müller".encode("latin-1")), "patient identification holds bytes beyond", None),
    "time with ':'": (one(time="22:30:15"), "'22:30:15', which is not of the form", None),
    "time that is none": (one(time="25.61.00"), "which is no time", None),
    "missing patient subfields": (plus(patient="X X").bytes(), "fewer than its four subfields", None),
    "missing recording subfields": (plus(recording="Startdate 02-MAR-2002").bytes(), "lacks 'Startdate' or some", None),
    "date after 2084": (plus(date="02.03.yy", recording="Startdate 02-MAR-2090 X X X").bytes(), "after 2084", None),
    "date before 1985": (plus(recording="Startdate 02-MAR-1984 X X X").bytes(), "outside 1985–2084", None),
    "date that is none": (one(date="31.02.02"), "no day of the calendar", None),
    "date not readable": (one(date="March 02"), "not of the form dd.mm.yy", None),
    "lower-case month": (plus(recording="Startdate 02-mar-2002 X X X").bytes(), "not in capitals", None),
    "lower-case month of birth": (plus(patient="MCH F 02-may-1951 X").bytes(), "date of birth", None),
    "start date of plain EDF": (one(recording="Startdate 02-MAR-1984 X X X"), "outside 1985–2084", None),
    "two start dates": (plus(recording="Startdate 03-MAR-2002 X X X").bytes(), "two start dates that differ", None),
    "annotations in small letters": (plus(annotation_label="edf annotations").bytes(), "has the label 'edf annotations'", None),
    "many gaps": (plus(form="EDF+D", times=[i * 1.5 for i in range(60)]).bytes(), "59 gaps of 29.5 s together", "1–3"),
    "times that drift": (plus(times=[i * 1.03 for i in range(60)]).bytes(), "drift by +1.8 s", "all"),
    "month that is none": (plus(recording="Startdate 02-MRZ-2002 X X X").bytes(), "month of the start date", None),
    "EDF+D gap": (plus(form="EDF+D", times=GAPPED).bytes(), "a gap of 45 s from 30 s", "2–3"),
    "gap in EDF+C": (plus(times=GAPPED).bytes(), "says that records are continuous", "2–3"),
    "negative onset": (EARLY, "before the", None),
    "annotation after the end": (plus(tals=[[tal(i, (9000 + i, 30, "x")) for i in range(60)]]).bytes(), "after the recording ends", None),
    "several annotation signals": (plus(tals=[[tal(i) for i in range(60)], [b""] * 60]).bytes(), "2 annotation signals", None),
    "no annotation signal": (one(reserved="EDF+C"), "no annotation signal", "all"),
    "annotations that are no lists": (plus(tals=[[tal(i) + b"noise\x01\0" for i in range(60)]]).bytes(), "no time-stamped list", None),
    "records without a time": (plus(tals=[[tal(i) if i % 2 else b"" for i in range(60)]]).bytes(), "do not say their time", None),
    "annotations in plain EDF": (dataclasses.replace(plus(), reserved="").bytes(), "does not say EDF+", None),
    "duplicate names": (field(BARE, "label", "EEG C3-A2", 1), "several signals are called 'EEG C3-A2'", None),
    "long names": (field(BARE, "label", "EEG C3-A2 filter"), "fills its 16 characters", None),
    "label -": (field(BARE, "label", "-"), "has the label '-'", None),
    "label blank": (field(BARE, "label", ""), "has the label ''", None),
    "mixed rates": (File([Signal("C3-M2", wave(60, 10)), Signal("SpO2", wave(60, 1))]).bytes(), "different rates (1, 10", None),
    "0 Hz": (File([Signal("C3-M2", wave(60, 10)), Signal("Off", wave(60, 0))]).bytes(), "0 Hz", "all"),
    "wrong header length": (one(header="512"), "length of the header is '512'", "all"),
    "header length not a number": (one(header="?"), "length of the header is '?'", "all"),
    "longer header": (one(header="1000")[:768] + b" " * 232 + BARE[768:], "more than its 2 signals need", "all"),
    "0 signals stated": (one(count="0"), "number of signals is '0'", "all"),
    "9,999 signals stated": (one(count="9999"), "number of signals is '9999'", "all"),
    "signals not a number": (one(count="two"), "number of signals is 'two'", "all"),
    "duration from annotations": (plus(duration="?").bytes(), "duration of a record is no number", "all"),
    "version blank": (b"        " + BARE[8:], "the version is ''", None),
}  # fmt: skip

REFUSED = {
    "0 records": (BARE[: 256 * 3], "no whole record"),
    "no whole record": (BARE[: 256 * 3 + 10], "no whole record"),
    "0 signals": (one(count="0", header="256"), "states '0' signals"),
    "9,999 signals": (one(count="9999", header="2560000"), "states '9999' signals"),
    "duration 0": (one(duration="0"), "duration of a record"),
    "duration no number": (one(duration="a while"), "duration of a record"),
    "duration of years": (one(duration="9999999"), "would last"),
    "no samples at all": (field(field(BARE, "samples", "0"), "samples", "0", 1), "no signal has a sample"),
    "samples of two signals blank": (field(field(BARE, "samples", ""), "samples", "?", 1), "EEG C3-A2"),
    "EDF+D without annotations": (one(reserved="EDF+D"), "nobody can tell when"),
    "records that overlap": (plus(form="EDF+D", times=[*range(30), *range(10, 40)]).bytes(), "before record 30 ends"),
    "shorter than a header": (BARE[:100], "less than a header"),
    "empty": (b"", "an empty file"),
    "zeros": (bytes(5000), "zero bytes"),
    "a PNG": (b"\x89PNG\r\n\x1a\n" + bytes(range(200)) * 9, "no EDF or BDF file"),
    "gzip": (b"\x1f\x8b" + bytes(1000), "gzip"),
}


@pytest.mark.parametrize("kind", READ)
def test_broken_file_is_read_with_an_issue_row(kind, tmp_path):
    content, said, epochs = READ[kind]
    (tmp_path / "night.edf").write_bytes(content)
    found = read_edf(tmp_path / "night.edf")
    rows = [row for row in found.issues if said in row.what]
    assert rows, [row.what for row in found.issues]
    assert rows[0].assumed
    assert epochs is None or rows[0].epochs == epochs
    for name, channel in found.channels.items():
        assert len(found.samples(name)) == round(found.duration * channel.rate)
    assert NAME not in str(table(found.issues).to_dicts())


@pytest.mark.parametrize("kind", REFUSED)
def test_file_that_cannot_be_told_is_refused_by_name(kind, tmp_path):
    content, said = REFUSED[kind]
    (tmp_path / "night.edf").write_bytes(content)
    with pytest.raises(DataError) as refused:
        read_edf(tmp_path / "night.edf")
    assert said in refused.value.what
    assert "night.edf" in refused.value.what
    assert NAME not in str(refused.value)


def test_sound_files_have_no_repairs(tmp_path):
    for name, content in {"a.edf": BARE, "b.edf": plus().bytes()}.items():
        (tmp_path / name).write_bytes(content)
        assert not list(read_edf(tmp_path / name).issues)


def test_samples_are_scaled_as_the_header_says(tmp_path):
    digital = np.array([[-32768, 0, 32767]])
    file = File([Signal("C3-M2", digital, physical=("-100", "200")), Signal("C4-M1", digital, physical=("100", "-200"))])
    (tmp_path / "a.edf").write_bytes(file.bytes())
    found = read_edf(tmp_path / "a.edf")
    by_hand = -100 + 300 * (digital[0] + 32768) / 65535
    np.testing.assert_allclose(found.samples("C3-M2"), by_hand, atol=1e-4)
    np.testing.assert_allclose(found.samples("C4-M1"), -by_hand, atol=1e-4)


def test_24_bit_samples_keep_their_sign(tmp_path):
    digital = np.array([[-8388608, -1, 0, 1, 8388607]])
    file = File([Signal("C3-M2", digital, physical=("-8388608", "8388607"), digital=("-8388608", "8388607"))], **THREE)
    (tmp_path / "a.bdf").write_bytes(file.bytes())
    assert read_edf(tmp_path / "a.bdf").samples("C3-M2").tolist() == digital[0].tolist()


def test_signal_stays_in_place_around_a_gap(tmp_path):
    (tmp_path / "a.edf").write_bytes(plus(form="EDF+D", times=GAPPED).bytes())
    found, values = read_edf(tmp_path / "a.edf"), wave(60, 10).reshape(-1) / 10
    samples = found.samples("EEG C3-A2")
    assert found.segments == ((0.0, 30.0), (75.0, 105.0))
    np.testing.assert_allclose(samples[:300], values[:300], atol=0.06)
    assert np.isnan(samples[300:750]).all()
    np.testing.assert_allclose(samples[750:], values[300:], atol=0.06)


def test_unknown_scale_leaves_no_unit(tmp_path):
    (tmp_path / "a.edf").write_bytes(READ["physical min = max"][0])
    found = read_edf(tmp_path / "a.edf")
    assert (found.channels["EEG C3-A2"].unit, found.channels["EEG C4-A1"].unit) == ("", "uV")


def test_annotations_keep_texts_and_times(tmp_path):
    tals = [[tal(0.25, (0.25, 30, "Sleep stage W"), (12.75, None, "Licht aus, später"))] + [tal(i + 0.25) for i in range(1, 60)]]
    (tmp_path / "a.edf").write_bytes(plus(tals=tals).bytes())
    found = read_edf(tmp_path / "a.edf").annotations
    assert [(a.onset, a.duration, a.text) for a in found] == [(0.0, 30.0, "Sleep stage W"), (12.5, None, "Licht aus, später")]


def test_other_readers_agree_on_a_sound_file(tmp_path):
    pyedflib = pytest.importorskip("pyedflib")
    (tmp_path / "a.edf").write_bytes(edf_bytes.plus().bytes())
    found = read_edf(tmp_path / "a.edf")
    with pyedflib.EdfReader(str(tmp_path / "a.edf")) as other:
        assert other.getSignalLabels() == list(found.channels)
        for i, name in enumerate(found.channels):
            np.testing.assert_allclose(found.samples(name), other.readSignal(i), atol=1e-3)
