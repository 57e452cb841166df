"""Lights off and lights on: their names, from annotations and tables into the statistics, and what cannot be."""

from __future__ import annotations

import json

import numpy as np
import pytest

import small_runs
from edf_bytes import plus, tal
from tapetum import api
from tapetum.sleep.exports import export
from tapetum.sleep.hypnogram import Hypnogram, Lights
from tapetum.sleep.hypnogram_files import read_hypnogram
from tapetum.sleep.issues import Issues
from tapetum.sleep.lights import kind_of, lights_of
from tapetum.sleep.statistics import night_of, of_both
from tapetum.sleep.tal import Annotation

STAGES = (0.0, 300.0, "Sleep stage W"), (300.0, 900.0, "Sleep stage 2"), (1200.0, 300.0, "Sleep stage W")


def recording(folder, *events: tuple[float, float | None, str]):
    """Write 25 minutes: Wake 5, N2 15, Wake 5, and further events."""
    tals = [[tal(0, *STAGES, *events)] + [tal(30 * i) for i in range(1, 50)]]
    file = plus(50, duration="30", tals=tals)
    (folder / "night.edf").write_bytes(file.bytes())
    return folder / "night.edf"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Lights off", "off"), ("LIGHTS OUT", "off"), ("lights_off", "off"), ("Light-Off", "off"), ("L-OFF", "off"), ("LOFF", "off"),
        ("Lights Off - 22:31:05", "off"), ("22:31 Lights off", "off"), ("Lights Off (tech)", "off"), ("Licht aus", "off"),
        ("Lumières éteintes", "off"), ("Luces apagadas", "off"), ("소등", "off"), ("消灯", "off"), ("Lights On", "on"), ("LON", "on"),
        ("Licht an", "on"), ("lights on, good morning", "on"), ("점등", "on"),
        ("Lights", None), ("Light sleep", None), ("Patient off the bed", None), ("Sleep stage N2", None), ("on", None), ("", None),
        ("Light on electrode box", None),
    ],
)  # fmt: skip
def test_names_of_lights_are_known(text, kind):
    assert kind_of(text) == kind


def test_annotations_bound_the_night(tmp_path):
    path = recording(tmp_path, (120.0, None, "Lights Off"), (1380.0, None, "Lights On"))
    (row,) = api.sleep_stats(path)["nights"]
    assert (row["lights off"], row["lights on"], row["lights from"]) == (120.0, 1380.0, "annotations")
    assert (row["TIB"], row["TST"], row["SOL"], row["WASO"]) == (21.0, 15.0, 3.0, 3.0)
    (row,) = api.sleep_stats(path, lights_off=0, lights_on=1500)["nights"]
    assert (row["TIB"], row["SOL"], row["lights from"]) == (25.0, 5.0, "given")
    (row,) = api.sleep_stats(path, lights_off=0)["nights"]
    assert (row["TIB"], row["lights from"]) == (23.0, "given and annotations")
    said = small_runs.cli("sleep", "stats", path)
    assert "lights           off 0:02:00, on 0:23:00 after the start (annotations)" in said.out
    said = small_runs.cli("sleep", "stats", recording(tmp_path))
    assert "no annotation says lights off or on: the whole hypnogram counts" in said.out


def test_staged_night_takes_lights_from_its_recording(tmp_path):
    pytest.importorskip("edfio")
    path = recording(tmp_path, (120.0, None, "Lights Off"))
    given = tmp_path / "given.txt"
    given.write_text("W\n" * 10 + "N2\n" * 40, encoding="utf-8")
    (row,) = api.sleep_stage(path, tmp_path / "out", engine=given)["nights"]
    assert (row["TIB"], row["SOL"]) == (23.0, 3.0)
    found = json.loads((tmp_path / "out" / "night" / "statistics.json").read_text(encoding="utf-8"))["statistics"]
    assert (found["lights off"], found["lights on"], found["SOL"]) == (120.0, None, 3.0)
    issues = (tmp_path / "out" / "night" / "issues.csv").read_text(encoding="utf-8")
    assert "lights off 120 s after the start" in issues
    for name in ("hypnogram.json", "hypnogram.edf"):
        assert read_hypnogram(tmp_path / "out" / "night" / name).lights == Lights(120.0, None), name


def test_rows_of_a_table_name_lights_too(tmp_path):
    rows = ["onset\tduration\ttrial_type", "60\t0\tLights off", *(f"{30 * i}\t30\t{'W' if i < 6 else 'N2'}" for i in range(20))]
    (tmp_path / "events.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    issues = Issues("")
    night = read_hypnogram(tmp_path / "events.tsv", issues=issues)
    assert (len(night), night.lights) == (20, Lights(60.0, None))
    assert not any("other events" in one.what for one in issues)


@pytest.mark.parametrize(
    ("events", "lights", "said"),
    [
        ([(100, "lights off"), (50, "lights on")], Lights(100, None), "lights on is before lights off"),
        ([(100, "lights off"), (300, "lights off"), (500, "lights on"), (900, "lights on")], Lights(100, 900), "there 2 times"),
        ([(-60, "lights off")], Lights(0, None), "outside the recording"),
        ([(100, "lights off"), (2000, "lights on")], Lights(100, 1500), "outside the recording"),
        ([(1600, "lights off")], Lights(None, None), "after the recording ends"),
        ([(10, "awake")], Lights(), None),
    ],
)
def test_lights_that_cannot_be_are_said(events, lights, said):
    issues = Issues("")
    assert lights_of([Annotation(float(at), None, text) for at, text in events], 1500.0, issues) == lights
    assert any(said in one.what for one in issues) if said else not len(issues)


def test_two_scorers_share_the_lights_of_the_night():
    a, b = Hypnogram(np.array([0, 0, 2, 2])), Hypnogram(np.array([0, 0, 2, 2]), lights=Lights(30.0, None))
    assert [one["SOL"] for one in of_both(a, b)] == [0.5, 0.5]
    assert night_of(b, None, 90.0) == (Lights(30.0, 90.0), {"lights off": 30.0, "lights on": 90.0, "lights from": "annotations and given"})


def test_part_of_a_night_has_no_lights(tmp_path):
    night = Hypnogram(np.array([0, 2, 2, 0]), lights=Lights(30.0, 90.0))
    assert night.part(1, 3).lights == Lights()
    export(night, tmp_path / "night.json")
    assert read_hypnogram(tmp_path / "night.json").lights == night.lights
