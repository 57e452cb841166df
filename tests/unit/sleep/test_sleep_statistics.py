"""Statistics of nights: by hand, for nights without REM or sleep or with unscored epochs, and beside YASA's on 102 real nights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tapetum.core.errors import UserError
from tapetum.sleep.hypnogram import Hypnogram, Lights
from tapetum.sleep.statistics import DEFINITIONS, cycles, persistent_latency, statistics, transitions

LETTERS = {"W": 0, "1": 1, "2": 2, "3": 3, "R": 4, "?": -1}


def night(text: str) -> Hypnogram:
    """Return a night written as letters, 30 s each; ``2x10`` is ten epochs of N2."""
    stages: list[int] = []
    for part in text.split():
        letter, _, many = part.partition("x")
        stages += [LETTERS[letter]] * int(many or 1)
    return Hypnogram(np.array(stages))


def test_whole_night_by_hand():
    found = statistics(night("Wx20 1x4 2x40 3x30 2x6 Rx20 Wx8 2x12 Wx10"))  # 150 epochs, 75 minutes
    by_hand = {
        "TIB": 75.0, "SPT": 60.0, "TST": 56.0, "SE": 74.6667, "SME": 93.3333, "SOL": 10.0, "LPS": 10.0, "WASO": 9.0, "WASO in SPT": 4.0,
        "awakenings": 1, "REM latency": 40.0, "unscored": 0.0, "Wake": 19.0, "N1": 2.0, "N2": 29.0, "N3": 15.0, "REM": 10.0,
        "% N1": 3.5714, "% REM": 17.8571, "transitions": 8, "awakening index": 2.1429, "fragmentation": 2.1429, "cycles": 1,
    }  # fmt: skip
    assert {name: found[name] for name in by_hand} == by_hand


def test_night_without_rem():
    found = statistics(night("Wx4 2x40 Wx4"))
    assert (found["REM latency"], found["REM"], found["% REM"], found["cycles"]) == (None, 0.0, 0.0, 0)
    assert found["TST"] == 20.0


def test_night_without_sleep():
    found = statistics(night("Wx40"))
    nothing = ("SOL", "LPS", "WASO", "WASO in SPT", "SME", "REM latency", "% N1", "% REM", "awakening index", "fragmentation")
    assert [found[name] for name in nothing] == [None] * len(nothing)
    assert (found["TIB"], found["TST"], found["SPT"], found["SE"], found["awakenings"], found["cycles"]) == (20.0, 0.0, 0.0, 0.0, 0, 0)


def test_night_without_any_scored_epoch():
    found = statistics(night("?x10"))
    assert (found["unscored"], found["TST"], found["Wake"], found["SOL"], found["SE"]) == (5.0, 0.0, 0.0, None, 0.0)


def test_unscored_epochs_are_neither_sleep_nor_wake():
    found = statistics(night("?x4 Wx2 2x10 ?x6 2x10 Wx2 ?x4"))
    assert (found["TIB"], found["SPT"], found["TST"], found["unscored"], found["Wake"]) == (19.0, 13.0, 10.0, 7.0, 2.0)
    assert (found["SOL"], found["WASO"], found["WASO in SPT"], found["awakenings"]) == (3.0, 1.0, 0.0, 0)
    assert found["SME"] == round(100 * 20 / 26, 4)
    assert found["LPS"] is None, "unscored epochs break unbroken sleep"


def test_transitions_do_not_cross_unscored_epochs():
    moves = transitions(night("W 1 ? 2 2 W"))
    assert moves.sum() == 3
    assert (moves[0, 1], moves[2, 2], moves[2, 0]) == (1, 1, 1)


def test_night_of_one_epoch():
    assert statistics(night("2"))["TST"] == 0.5
    assert statistics(night("W"))["TST"] == 0.0


def test_asleep_from_the_first_epoch():
    found = statistics(night("2x40 Rx4"))
    assert (found["SOL"], found["LPS"], found["REM latency"], found["SE"]) == (0.0, 0.0, 20.0, 100.0)


def test_persistent_sleep_needs_unbroken_minutes():
    assert statistics(night("Wx2 2x19 W 2x20 W"))["LPS"] == 11.0
    assert statistics(night("Wx2 2x19 W"))["LPS"] is None


def test_epochs_of_20_seconds_count_in_minutes():
    stages = night("Wx3 2x60").stages
    found = statistics(Hypnogram(stages, epoch=20.0))
    assert (found["TIB"], found["SOL"], found["LPS"]) == (21.0, 1.0, 1.0)


def test_lights_cut_the_night():
    found = statistics(night("Wx20 2x20 Wx20"), Lights(300, 1500))
    assert (found["TIB"], found["SOL"], found["WASO"]) == (20.0, 5.0, 5.0)
    with pytest.raises(UserError, match="no epoch lies between lights off"):
        statistics(night("Wx20"), Lights(700))


def test_cycles_follow_feinberg_and_floyd():
    first = night("2x40 Rx4 2x40 Rx12 2x10 Rx4 2x60 Rx6 2x40 Rx14")
    assert [(one["NREM"], one["REM"]) for one in cycles(first)] == [(20.0, 2.0), (20.0, 8.0), (50.0, 7.0)]
    assert not cycles(night("2x20 Rx20")), "10 minutes of NREM are too few"


def test_rem_within_15_minutes_is_one_period_whatever_the_epoch():
    broken = dataclasses.replace(night("2x70 Rx25 Wx64 Rx25 2x70 Rx25"), epoch=14.0)
    assert [one["REM"] for one in cycles(broken)] == pytest.approx([50 * 14 / 60, 25 * 14 / 60])  # 64 epochs are 14.9 minutes


def test_every_figure_has_a_definition():
    found = statistics(night("Wx2 2x8 R W"))
    stages = {name for stage in ("Wake", "N1", "N2", "N3", "REM") for name in (stage, f"% {stage}")}
    assert found.keys() - stages == DEFINITIONS.keys()


@pytest.mark.slow
@pytest.mark.shared_data
def test_figures_equal_those_of_yasa_on_real_nights(shared_data):
    yasa = pytest.importorskip("yasa")
    same = {
        "TIB": "TIB",
        "SPT": "SPT",
        "TST": "TST",
        "SE": "SE",
        "SME": "SME",
        "SOL": "SOL",
        "WASO in SPT": "WASO",
        "awakening index": "SFI",
    }
    same |= {"Wake": "WAKE", **{name: name for name in ("N1", "N2", "N3", "REM")}}
    same |= {f"% {name}": f"%{name}" for name in ("N1", "N2", "N3", "REM")}
    names = np.array(["UNS", "WAKE", "N1", "N2", "N3", "REM"])
    with np.load(shared_data / "hypnograms" / "stages.npz", allow_pickle=False) as nights:
        stages = {name: nights[name] for name in nights.files}
    assert len(stages) == 102
    for name, one in stages.items():
        ours, theirs = statistics(Hypnogram(one)), yasa.Hypnogram(names[one + 1].tolist(), n_stages=5).sleep_statistics()
        for mine, other in same.items():
            assert ours[mine] == pytest.approx(float(theirs[other]), abs=1e-3), (name, mine)
        assert persistent_latency(Hypnogram(one), 5.0) == pytest.approx(float(theirs["SOL_5min"])), name
        assert ours["REM latency"] == pytest.approx(float(theirs["Lat_REM"] - theirs["SOL"])), f"{name}: YASA counts from the start"
        after = float((one[np.flatnonzero(one > 0)[-1] :] == 0).sum()) / 2
        assert ours["WASO"] == pytest.approx(float(theirs["WASO"]) + after), f"{name}: AASM counts Wake after the last sleep"
