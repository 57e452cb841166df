"""Derived targets against products and labels by hand."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import f1_score

from tapetum.core import metrics
from tapetum.core.errors import UserError
from tapetum.core.expressions import compose, derive_target, expression_names
from tapetum.core.targets import Target, decode, encode

MASK = Target("mask", "single", ("wear", "incorrect", "not"))
GENDER = Target("gender", "single", ("male", "female"))
AGE = Target("age", "ordinal", ("young", "middle", "old"))
PARTS = {t.name: t for t in (MASK, GENDER, AGE)}


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


def test_composed_labels_score_as_in_scikit_learn():
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
