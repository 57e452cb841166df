from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import medfilt

from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.decide.rules import Rules, apply_rules, coded, read_rules
from tapetum.decide.smoothing import Smooth, smooth
from tapetum.decide.steps import Rows

STAGES = ("Wake", "N1", "N2", "N3", "REM")
SHORT = {"W": "Wake", "1": "N1", "2": "N2", "3": "N3", "R": "REM"}


def night(text: str) -> Dense:
    """A night in one letter an epoch; a dot is an epoch without an answer."""
    p = np.full((len(text), 5), 0.1, dtype=np.float32)
    status = np.full(len(text), "ok", dtype=object)
    for i, letter in enumerate(text):
        if letter == ".":
            p[i], status[i] = np.nan, "missing"
        else:
            p[i, STAGES.index(SHORT[letter])] = 0.6
    ids = np.array([f"e{i}" for i in range(len(text))], dtype=object)
    return Dense(Target("stage", "single", STAGES), ids, p, np.full_like(p, np.nan), np.zeros(len(p), dtype=np.int16), status)


def told(dense: Dense) -> str:
    letters = {name: letter for letter, name in SHORT.items()}
    assert dense.answer is not None
    return "".join("." if np.isnan(row).any() else letters[STAGES[int(row.argmax())]] for row in dense.answer)


def rows_of(lengths: list[int], position: list[float] | None = None) -> Rows:
    name = np.repeat([f"exam{i}" for i in range(len(lengths))], lengths).astype(object)
    place = np.concatenate([np.arange(n, dtype=np.float64) for n in lengths]) if position is None else np.array(position)
    return Rows(name, np.zeros(len(name)), name, place)


def by_rules(text: str, rows: Rows | None = None) -> str:
    dense, rows = night(text), rows or rows_of([len(text)])
    step = Rules("sleep-dragon")
    return told(step.apply(dense, rows, step.fit(dense, rows)))


@pytest.mark.parametrize("step", [Rules("sleep-dragon"), Smooth("median", 3)])
def test_neighbours_are_those_of_the_fit(step):
    fitted = step.fit(night("W13W"), rows_of([4]))
    apart = night("13")
    assert told(step.apply(apart, rows_of([2], [1.0, 51.0]), fitted)) == "13"
    assert told(step.apply(night("W13W"), rows_of([4]), fitted)) != "W13W"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("W13W", "W12W"),
        ("22R22", "22222"),
        ("33R33", "33333"),
        ("W1RRW", "WRRRW"),
        ("W2RRW", "WRRRW"),
        ("R1RW", "RRRW"),
        ("R2RW", "RRRW"),
        ("22R2W", "22R2W"),
        ("3R33", "3R33"),
        ("WWNW".replace("N", "2"), "WW2W"),
    ],
)
def test_each_rule_of_the_write_up(before: str, after: str) -> None:
    assert by_rules(before) == after


def test_patterns_see_the_original_labels_and_never_each_others_work() -> None:
    assert by_rules("11RR") == "1RRR"  # a cascade would go on to the first epoch
    assert by_rules("133") == "123"
    assert by_rules("2RR22") == "RRR22"


def test_no_pattern_reaches_into_another_exam() -> None:
    assert by_rules("213RR", rows_of([2, 3])) == "213RR"
    assert by_rules("1RR") == "RRR"
    assert by_rules("1RR", rows_of([1, 2])) == "1RR"


def test_no_pattern_reaches_over_a_gap_or_a_missing_epoch() -> None:
    position = [0, 1, 2, 4, 5, 6, 7]
    assert by_rules("WW1RRWW", rows_of([7], position)) == "WW1RRWW"
    assert by_rules("R.R") == "R.R"


def test_rows_may_come_in_any_order() -> None:
    assert by_rules("1R", rows_of([2], [1, 0])) == "1R"
    assert by_rules("31", rows_of([2], [1, 0])) == "21"  # in time N1, N3


def test_the_earlier_rule_wins_where_two_change_one_slot() -> None:
    rules = coded([(("N1", "N2"), ("N1", "N3")), (("N2", "N2"), ("REM", "N2"))], STAGES)
    assert apply_rules(np.array([[1, 2, 2]]), rules).tolist() == [[1, 3, 2]]


def test_rules_of_ones_own() -> None:
    own = [{"match": ["Wake", "N3"], "becomes": ["N1", "N3"]}]
    dense, rows = night("W3"), rows_of([2])
    assert told(Rules(own).apply(dense, rows, Rules(own).fit(dense, rows))) == "13"


def test_what_is_no_table_of_rules_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="Did you mean 'sleep-dragon'"):
        read_rules("sleep-dragn")
    with pytest.raises(UserError, match="lists of one length"):
        read_rules([{"match": ["N1"], "becomes": ["N1", "N2"]}])
    (tmp_path / "none.toml").write_text("")
    with pytest.raises(UserError, match="hold no"):
        read_rules(str(tmp_path / "none.toml"))
    with pytest.raises(DataError, match="a rule names class 'N1', the target has Wake, Sleep"):
        coded(read_rules("sleep-dragon"), ("Wake", "Sleep"))


# ------------------------------------------------------------------------------------------------------------- smoothing


def by_mode(text: str, width: int, how: str = "mode", rows: Rows | None = None) -> str:
    dense = night(text)
    return told(Smooth(how, width).apply(dense, rows or rows_of([len(text)]), {}))


@pytest.mark.parametrize(
    ("before", "width", "after"),
    [
        ("22R22", 3, "22222"),
        ("12W", 3, "12W"),
        ("22RR2", 3, "22RR2"),
        ("22RR222", 5, "2222222"),
        ("2.R22", 3, "2.R22"),
        ("22.R22", 5, "22.222"),
        ("W", 5, "W"),
    ],
)
def test_the_mode_wins_and_ties_change_nothing(before: str, width: int, after: str) -> None:
    assert by_mode(before, width) == after


def test_windows_end_with_the_sequence() -> None:
    assert by_mode("R22", 3, rows=rows_of([1, 2])) == "R22"
    assert by_mode("22R", 3, rows=rows_of([3])) == "22R"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), width=st.sampled_from([3, 5, 7]))
def test_the_median_inside_equals_scipy(seed: int, width: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, (2, 30))
    found, half = smooth(labels, 5, "median", width), width // 2
    for row, answer in zip(labels, found, strict=True):
        np.testing.assert_array_equal(answer[half:-half], medfilt(row.astype(float), width)[half:-half])


@pytest.mark.parametrize("bad", [{"how": "mean"}, {"width": 4}, {"width": -1}])
def test_smoothing_that_means_nothing_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UserError, match="odd width"):
        Smooth(**bad)
