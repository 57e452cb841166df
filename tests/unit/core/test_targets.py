"""Targets: kinds, class order, coding, and derived answers against products by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import f1_score

from tapetum.core import metrics
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import (
    Target,
    answer_classes,
    compose,
    cut_by_borders,
    decode,
    derive_target,
    encode,
    expression_names,
    parse_target,
    with_classes,
)

MASK = Target("mask", "single", ("wear", "incorrect", "not"))
GENDER = Target("gender", "single", ("male", "female"))
AGE = Target("age", "ordinal", ("young", "middle", "old"))
PARTS = {t.name: t for t in (MASK, GENDER, AGE)}


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


def test_classes_are_read_from_the_data_with_numbers_in_their_order():
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


# ---------------------------------------------------------------------------------------------------- derived answers


def shares(rng, rows, k):
    return rng.dirichlet(np.ones(k), rows).astype(np.float32)


def test_the_18_classes_are_products_by_hand():
    rng = np.random.default_rng(0)
    p = {name: shares(rng, 40, t.width) for name, t in PARTS.items()}
    target = derive_target("ans", "mask*6 + gender*3 + age", PARTS)
    assert target.classes == tuple(str(i) for i in range(18))
    found = compose(target, PARTS, p)
    for m, g, a in itertools.product(range(3), range(2), range(3)):
        expected = p["mask"][:, m] * p["gender"][:, g] * p["age"][:, a]
        np.testing.assert_allclose(found[:, m * 6 + g * 3 + a], expected, rtol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_combinations_that_give_one_answer_are_summed():
    """mask + age has 5 answers of 9 combinations: answer 2 is (0, 2), (1, 1) and (2, 0)."""
    rng = np.random.default_rng(1)
    p = {"mask": shares(rng, 10, 3), "age": shares(rng, 10, 3)}
    target = derive_target("sum", "mask + age", PARTS)
    assert target.classes == ("0", "1", "2", "3", "4")
    expected = p["mask"][:, 0] * p["age"][:, 2] + p["mask"][:, 1] * p["age"][:, 1] + p["mask"][:, 2] * p["age"][:, 0]
    np.testing.assert_allclose(compose(target, PARTS, p)[:, 2], expected, rtol=1e-6)
    parity = derive_target("parity", "(mask + age) % 2", PARTS)
    even = compose(parity, PARTS, p)[:, 0]
    np.testing.assert_allclose(even, compose(target, PARTS, p)[:, ::2].sum(axis=1), rtol=1e-5)


def test_answers_below_zero_stand_in_ascending_order():
    target = derive_target("d", "gender - mask", PARTS)
    assert target.classes == ("-2", "-1", "0", "1")
    truth = {"mask": encode(MASK, ["not", "wear"]), "gender": encode(GENDER, ["male", "female"])}
    assert decode(target, compose(target, PARTS, truth)) == ["-2", "1"]


def test_a_composed_truth_scores_as_scikit_learn_scores_the_composed_labels():
    rng = np.random.default_rng(2)
    codes = {name: rng.integers(0, t.width, 200) for name, t in PARTS.items()}
    truth = {name: np.eye(PARTS[name].width, dtype=np.float32)[c] for name, c in codes.items()}
    p = {name: 0.5 * truth[name] + 0.5 * shares(rng, 200, PARTS[name].width) for name in PARTS}
    target = derive_target("ans", "mask*6 + gender*3 + age", PARTS)
    y, q = compose(target, PARTS, truth), compose(target, PARTS, p)
    labels = codes["mask"] * 6 + codes["gender"] * 3 + codes["age"]
    np.testing.assert_array_equal(y.argmax(axis=1), labels)
    expected = f1_score(labels, q.argmax(axis=1), labels=range(18), average="macro", zero_division=0)
    assert metrics.score("macro_f1", target, q, y) == pytest.approx(expected, rel=1e-12)


def test_an_unknown_part_makes_the_whole_unknown():
    truth = {"mask": encode(MASK, ["not", None]), "gender": encode(GENDER, ["male", "female"])}
    found = compose(derive_target("d", "mask*2 + gender", PARTS), PARTS, truth)
    assert not np.isnan(found[0]).any()
    assert np.isnan(found[1]).all()


def test_a_bordered_number_is_a_part_too():
    parts = {"gender": GENDER, "years": Target("years", "regression", borders=(30, 60))}
    target = derive_target("ans", "gender*3 + years", parts)
    p = {"gender": np.array([[0.25, 0.75]]), "years": np.array([[40.0]])}
    np.testing.assert_allclose(compose(target, parts, p), [[0, 0.25, 0, 0, 0.75, 0]])
    spread = norm(40, 10)
    assert compose(target, parts, p, {"years": 10.0})[0, 3] == pytest.approx(0.75 * spread.cdf(30), rel=1e-6)
    alone = derive_target("class", "years", parts)
    assert (alone.kind, alone.classes) == ("ordinal", ("<30", "30-60", ">=60"))


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("mask*6 + gendr", "Did you mean 'gender'"),
        ("__import__('os')", "holds Call"),
        ("mask ** 2", "holds Pow"),
        ("mask * 1.5", "holds Constant"),
        ("mask * True", "holds Constant"),
        ("mask.real", "holds Attribute"),
        ("mask +", "cannot be read"),
        ("1 + 2", "uses no target"),
        ("mask // gender", "divides by zero"),
        ("mask + tags", "a multi target"),
        ("mask + number", "a regression target"),
    ],
)
def test_an_expression_is_arithmetic_and_nothing_else(expression, says):
    parts = {**PARTS, "tags": Target("tags", "multi", ("a",)), "number": Target("number", "regression")}
    with pytest.raises(UserError, match=says):
        derive_target("ans", expression, parts)


def test_names_stand_in_order_of_first_use():
    assert expression_names("gender*3 + age + gender") == ("gender", "age")
