from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulated_predictions import dense_of, single
from tapetum.core import intervals, metrics
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.decide.compare import compare, compare_many, holm, mcnemar, p_value


def noisier(dense: Dense, amount: float, seed: int = 1) -> Dense:
    z = np.log(dense.p) + np.random.default_rng(seed).normal(0, amount, dense.p.shape)
    return dense.with_p(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))


def groups_of(dense: Dense, size: int = 4) -> dict[str, str]:
    return {row: f"g{i // size}" for i, row in enumerate(dense.row_ids)}


@given(a=st.integers(0, 200), b=st.integers(0, 200))
def test_mcnemar_is_twice_the_smaller_tail_of_fair_coins(a: int, b: int) -> None:
    tail = sum(math.comb(a + b, k) for k in range(min(a, b) + 1))
    assert mcnemar(a, b) == pytest.approx(min(1.0, 2 * tail / 2 ** (a + b)), abs=1e-9)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.6]) == [1.0, None, 1.0]


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_makes_a_p_smaller_and_keeps_the_order(p: list[float]) -> None:
    corrected = holm(p)
    assert all(c is not None and c >= own - 1e-15 for own, c in zip(p, corrected, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def test_a_worse_answer_is_found_out() -> None:
    dense, _ = single(4000)
    found = compare(dense, noisier(dense, 1.5), groups=groups_of(dense))
    assert found.better == "a"
    assert found.metric == "macro_f1"
    assert found.groups == 1000
    assert found.difference.value == pytest.approx(found.a - found.b)
    assert found.difference.low > 0
    assert max(found.p, found.mcnemar) < 1e-6


def test_where_less_is_better_the_smaller_one_wins() -> None:
    dense, _ = single(3000)
    found = compare(dense, noisier(dense, 1.5), metric="log_loss")
    assert found.difference.high < 0
    assert found.better == "a"


def test_the_same_answers_do_not_differ() -> None:
    dense, _ = single(300)
    found = compare(dense, dense)
    assert (found.difference.value, found.better, found.p, found.mcnemar) == (0, "neither", 1.0, 1.0)


def test_turning_the_question_round_turns_the_answer_round() -> None:
    dense, _ = single(800)
    other = noisier(dense, 0.7)
    there, back = (compare(*pair, groups=groups_of(dense)) for pair in ((dense, other), (other, dense)))
    assert there.difference.value == pytest.approx(-back.difference.value)
    assert there.difference.low == pytest.approx(-back.difference.high)
    assert (there.only_a, there.only_b) == (back.only_b, back.only_a)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 100))
def test_rows_are_matched_by_id_never_by_place(seed: int) -> None:
    dense, _ = single(400)
    other = noisier(dense, 1.0)
    mixed = np.random.default_rng(seed).permutation(400)
    a, b = compare(dense, other), compare(dense, other.where(mixed))
    assert a == b


def test_only_common_labelled_rows_count() -> None:
    dense, _ = single(500)
    other = noisier(dense, 1.0).where(np.arange(100, 500))
    y = dense.y.copy()
    y[490:] = np.nan
    other = dataclasses.replace(other, y=np.full_like(other.y, np.nan))
    found = compare(dataclasses.replace(dense, y=y), other, metric="accuracy")
    assert (found.n, found.left_out) == (390, 110)
    assert found.a == pytest.approx(metrics.score("accuracy", dense.target, dense.p[100:490], dense.y[100:490]))


def test_decisions_count_and_not_only_probabilities() -> None:
    dense, _ = single(500)
    perfect = dataclasses.replace(dense, answer=dense.y)
    found = compare(perfect, dense, metric="accuracy")
    assert found.a == 1.0
    assert found.only_b == 0


def test_tables_are_read_at_their_final_member() -> None:
    dense, _ = single(200)
    table = Predictions.concat([Predictions.from_dense(dense), Predictions.from_dense(noisier(dense, 2), member="cnn")])
    assert compare(table, dense).difference.value == pytest.approx(0.0)
    two = Predictions.concat([Predictions.from_dense(dense, member=m) for m in ("vit", "cnn")])
    with pytest.raises(UserError, match="2 members: vit, cnn"):
        compare(two, dense)


def test_numbers_have_no_mcnemar() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(0, 1, (300, 1))
    target = Target("age", "regression")
    near, far = (dense_of(target, y + rng.normal(0, s, y.shape), y) for s in (0.1, 0.5))
    found = compare(near, far)
    assert (found.metric, found.mcnemar, found.only_a, found.better) == ("mae", None, None, "a")


def test_what_cannot_be_compared_is_refused() -> None:
    dense, _ = single(50)
    with pytest.raises(DataError, match="same classes in the same order"):
        compare(dense, dataclasses.replace(dense, target=Target("stage", "single", dense.target.classes[::-1])))
    other = dataclasses.replace(dense, target=Target("breed", "single", dense.target.classes))
    with pytest.raises(DataError, match=r"^'runs/b' answers 'breed' .*'runs/a' '"):
        compare_many({"runs/a": dense, "runs/b": other})
    with pytest.raises(
        DataError,
        match=r"two labels: r0, .*; needed: the same labels in both\. where labels were corrected in between, fit the older one again",
    ):
        compare(dense, dataclasses.replace(dense, y=np.roll(dense.y, 1, axis=1)))
    with pytest.raises(DataError, match="first row ids are 'r0' and 'x0'; needed: common row ids"):
        compare(dense, dataclasses.replace(dense, row_ids=np.array([f"x{i}" for i in range(50)], dtype=object)))
    with pytest.raises(DataError, match="none of the 50 rows that all predict has a label"):
        compare(*[dataclasses.replace(dense, y=np.full_like(dense.y, np.nan))] * 2)
    with pytest.raises(DataError, match="49 rows have no group: r1"):
        compare(dense, dense, groups={"r0": "g"})


def test_many_pairs_are_corrected_together() -> None:
    dense, _ = single(1500)
    named = {"plain": dense, "noisy": noisier(dense, 0.5), "noisier": noisier(dense, 1.5)}
    frame = compare_many(named)
    assert frame.select("a", "b").rows() == [("plain", "noisy"), ("plain", "noisier"), ("noisy", "noisier")]
    assert frame["holm"].to_list() == pytest.approx(holm(frame["p"].to_list()))
    against = compare_many(named, "plain")
    assert against["b"].to_list() == ["plain", "plain"]
    with pytest.raises(UserError, match="no 'plane'"):
        compare_many(named, "plane")


def test_p_is_five_percent_where_the_interval_touches_zero() -> None:
    touching = intervals.Interval(2.776445, 0.0, 5.55289, 100, 5, "", standard_error=1.0, freedom=4.0)  # Student's t, 4 degrees: 2.776
    assert p_value(touching) == pytest.approx(0.05, abs=1e-6)
    assert p_value(dataclasses.replace(touching, low=None, high=None)) is None
