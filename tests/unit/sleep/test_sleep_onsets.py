"""Tables whose rows begin at times of day, and hypnograms that begin at another time than their recording."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from edf_bytes import plus
from tapetum.core.errors import DataError, UserError
from tapetum.sleep.edf import read_edf
from tapetum.sleep.engines import fitted
from tapetum.sleep.hypnogram import Hypnogram, Lights
from tapetum.sleep.hypnogram_files import read_hypnogram
from tapetum.sleep.issues import Issues
from tapetum.sleep.onsets import onsets_of
from tapetum.sleep.stages import stages_of

W, N1, N2, N3, R = range(5)


@pytest.mark.parametrize(
    ("cells", "seconds", "clock"),
    [
        (["0", "30", "60"], [0, 30, 60], None),
        (["0,5", "30,5"], [0.5, 30.5], None),
        (["23:59:30", "00:00:00", "00:00:30"], [0, 30, 60], "23:59:30"),
        (["2024-05-01 22:30:00", "2024-05-01 22:30:30"], [0, 30], "22:30:00"),
        (["2024-05-01T22:30:00.250", "2024-05-01T22:30:30,250"], [0, 30], "22:30:00"),
        (["11:59 PM", "12:01 AM"], [0, 120], "23:59:00"),
        (["22:30:30", "22:30:00"], [0, -30], "22:30:30"),
        (["22:30:00", "later"], None, None),
        (["25:00:00"], None, None),
        (["13:00 PM"], None, None),
    ],
)
def test_onsets_are_seconds_or_times_of_day(cells, seconds, clock):
    issues = Issues("")
    found, at = onsets_of(cells, "time", issues)
    assert found == (None if seconds is None else pytest.approx(seconds))
    assert at == (None if clock is None else datetime.time.fromisoformat(clock))
    assert bool(len(issues)) == (clock is not None or seconds is None)


def test_rows_at_times_of_day_last_until_the_next(tmp_path):
    (tmp_path / "night.csv").write_text("time,stage\n23:58:00,W\n23:59:00,N2\n00:01:00,R\n", encoding="utf-8")
    night = read_hypnogram(tmp_path / "night.csv")
    assert night.stages.tolist() == [W, W, N2, N2, N2, N2, R]
    assert night.clock == datetime.time(23, 58)


@pytest.mark.parametrize(
    ("clock", "stages", "lights", "said"),
    [
        ("22:30:15", [W, N2, N3, R], Lights(30.0), None),  # the recording's own
        ("22:31:15", [-1, -1, W, N2], Lights(90.0), "2 later"),
        ("22:29:45", [N2, N3, R, -1], Lights(0.0), "1 earlier"),
        ("00:00:00", [W, N2, N3, R], Lights(30.0), None),  # midnight: nobody wrote a time
        ("03:00:00", [W, N2, N3, R], Lights(30.0), "begin together"),
    ],
)
def test_hypnogram_lies_at_its_time_in_the_recording(tmp_path, clock, stages, lights, said):
    (tmp_path / "night.edf").write_bytes(plus(120, time="22.30.15").bytes())
    issues = Issues("")
    given = Hypnogram(np.array([W, N2, N3, R]), clock=datetime.time.fromisoformat(clock), p=np.eye(5)[[W, N2, N3, R]], lights=Lights(30.0))
    night = fitted(given, read_edf(tmp_path / "night.edf"), "night.csv", issues)
    assert night.stages.tolist() == stages
    assert night.lights == lights
    assert [-1 if np.isnan(row).any() else int(row.argmax()) for row in night.p] == stages
    assert any(said in one.assumed for one in issues) if said else not len(issues)


def test_stages_in_other_languages_are_known():
    words = ["Wach", "E\u0301veil", "Vigilia", "각성", "Stadium 2", "stade n2", "Tiefschlaf", "Fase REM", "렘", "Paradoxical sleep"]
    assert stages_of(words, "auto", Issues("")) == [W, W, W, W, N2, N2, N3, R, R, R]
    assert stages_of(["SP", "light"], "auto", Issues("")) == [None, None], "a spindle, or sleep of another kind"


def test_what_is_no_hypnogram_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("hello\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"notes\.txt has no row below its first, 'hello'"):
        read_hypnogram(tmp_path / "notes.txt")
    with pytest.raises(UserError, match="is a folder; needed: one hypnogram"):
        read_hypnogram(tmp_path)
