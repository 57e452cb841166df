"""Targets: kinds, class order, coding and decoding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import (
    Target,
    answer_classes,
    as_class,
    cut_by_borders,
    decode,
    encode,
    parse_target,
    read_target,
    target_named,
    with_classes,
)

GENDER = Target("gender", "single", ("male", "female"))


def test_classes_that_are_whole_numbers_sort_by_value_before_names():
    """Also what only looks like a number: superscripts, two signs, digits beyond what int() reads."""
    cells = ["10", "9", "-1", "²", "--5", "b", "a", "½", "9" * 5000, "٣"]
    assert with_classes(Target("t"), cells).classes == ("-1", "٣", "9", "10", "--5", "9" * 5000, "a", "b", "²", "½")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("breed", Target("breed")),
        ("stage:single=Wake, N1,N2", Target("stage", "single", ("Wake", "N1", "N2"))),
        ("tags:multi", Target("tags", "multi")),
        ("age:ordinal=0-2<3-9<10+", Target("age", "ordinal", ("0-2", "3-9", "10+"))),
        ("age:regression", Target("age", "regression")),
        ("age:regression=30,60.5", Target("age", "regression", borders=(30, 60.5))),
    ],
)
def test_a_target_is_read_from_a_flag(text, target):
    assert parse_target(text) == target
    assert Target.from_dict(target.to_dict()) == target


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a:singel", "Did you mean 'single'"),
        (":multi", "has no name"),
        ("a:regression=x,y", "not numbers"),
        ("a:regression=60,30", "ascending"),
        ("a:ordinal=low<low", "twice: low"),
        ("a:ordinal=low", "one class in its order"),
    ],
)
def test_a_wrong_target_is_refused(text, says):
    with pytest.raises(UserError, match=says):
        parse_target(text)


def test_classes_are_read_with_numbers_in_order():
    assert with_classes(Target("t"), ["10", "9", None, "1", "x", "-2"]).classes == ("-2", "1", "9", "10", "x")
    assert with_classes(Target("t", "multi"), [["b", "a"], [], None, ["c"]]).classes == ("a", "b", "c")
    declared = Target("t", "single", ("z", "a"))
    assert with_classes(declared, ["a"]) is declared
    with pytest.raises(UserError, match=r"ordinal without an order.*t:ordinal=3-9<10-19<20-29"):
        with_classes(Target("t", "ordinal"), ["10-19", "3-9", None, "20-29"])
    with pytest.raises(UserError, match="t:ordinal=low<middle<high"):
        with_classes(Target("t", "ordinal"), [str(number) for number in range(100)])
    with pytest.raises(DataError, match="only class 'a'"):
        with_classes(Target("t"), ["a", "a", None])
    with pytest.raises(DataError, match="no labels at all"):
        with_classes(Target("t", "multi"), [[], None])


def test_labels_are_coded_in_class_order_and_blanks_are_unknown():
    np.testing.assert_array_equal(encode(GENDER, ["female", None, "male"]), [[0, 1], [np.nan] * 2, [1, 0]])
    tags = Target("tags", "multi", ("a", "b", "c"))
    np.testing.assert_array_equal(encode(tags, [["c", "a"], [], None]), [[1, 0, 1], [0, 0, 0], [np.nan] * 3])
    np.testing.assert_array_equal(encode(Target("x", "regression"), [1.5, None]), [[1.5], [np.nan]])
    with pytest.raises(DataError, match=r"row 'b.png' has gender = 'femal'.*Did you mean 'female'"):
        encode(GENDER, ["male", "femal"], ["a.png", "b.png"])


@given(st.data())
def test_what_is_coded_is_decoded(data):
    kind = data.draw(st.sampled_from(["single", "multi", "ordinal", "regression"]))
    classes = ("a", "b", "c", "d")
    if kind == "regression":
        target, cell = Target("t", kind), st.floats(-1e6, 1e6, width=32)
    elif kind == "multi":
        target, cell = Target("t", kind, classes), st.lists(st.sampled_from(classes), unique=True).map(sorted)
    else:
        target, cell = Target("t", kind, classes), st.sampled_from(classes)
    cells = data.draw(st.lists(st.none() | cell, max_size=12))
    assert decode(target, encode(target, cells)) == cells


def test_each_label_has_its_own_threshold():
    tags = Target("tags", "multi", ("a", "b"))
    assert decode(tags, np.array([[0.4, 0.4]])) == [[]]
    assert decode(tags, np.array([[0.4, 0.4]]), np.array([0.5, 0.3])) == [["b"]]


def test_a_number_is_cut_into_classes_by_its_borders():
    target = Target("age", "regression", borders=(30, 60))
    assert answer_classes(target) == ("<30", "30-60", ">=60")
    found = cut_by_borders(target, np.array([[29.9], [30], [60], [np.nan]]))
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [np.nan] * 3])
    spread = norm(50, 8)
    expected = [spread.cdf(30), spread.cdf(60) - spread.cdf(30), spread.sf(60)]
    np.testing.assert_allclose(cut_by_borders(target, np.array([50.0]), 8.0)[0], expected, rtol=1e-6)
    with pytest.raises(UserError, match="one class more than borders"):
        Target("age", "regression", ("young", "old"), borders=(30, 60))


def test_a_target_is_found_by_name_and_a_typo_answered():
    targets = [Target("age", "regression", ()), Target("mask", "single", ("a", "b"))]
    assert target_named(targets, "mask") is targets[1]
    with pytest.raises(UserError, match=r"no target 'mosk' in these predictions .*'mask'"):
        target_named(targets, "mosk", " in these predictions")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"borders": ["30", "60"]}, r"borders = \['30', '60'\].*finite numbers"),
        ({"borders": 30}, "borders = 30"),
        ({"borders": [30, float("nan")]}, "borders = "),
        ({"borders": [True, 2]}, "borders = "),
        ({"kind": "single", "classes": "abc"}, "classes = 'abc'.*a list of names"),
        ({"kind": "single", "classes": [1.5, "x"]}, "classes = "),
        ({"kind": 3}, "kind = 3"),
        ({"name": 3}, "name = 3"),
        ({"kind": "multi", "separator": ""}, "separator = ''"),
        ({"kind": "single", "scored": "no"}, "scored = 'no'.*true or false"),
    ],
)
def test_tables_of_targets_name_a_wrong_value(table, says):
    given = {"name": "years", "kind": "regression", **table}
    with pytest.raises(UserError, match=says):
        read_target(given)
    with pytest.raises(UserError, match=says):  # and before anything is read, or written as a recipe
        Data(targets=(given,))


def test_whole_numbers_are_names_of_classes():
    assert read_target({"name": "code", "classes": [2, 0]}).classes == ("2", "0")
    with pytest.raises(UserError, match="borders that are not numbers"):
        read_target("age:regression=30,nan")


@pytest.mark.parametrize(
    ("label", "classes", "found"),
    [
        ("2.0", ["1", "2"], "2"),
        ("2", ["1.0", "2.0"], "2.0"),
        ("Ant", ["ant", "bee"], "Ant"),
        ("2.0", ["2", "2.0"], "2.0"),
        ("2.0", ["2", "02"], "2.0"),
        ("2.5", ["2", "3"], "2.5"),
        ("wasp", ["ant"], "wasp"),
    ],
)
def test_label_stands_for_the_one_class_like_it(label, classes, found):
    assert as_class(label, classes) == found
