"""Ways of reducing test-time views: what each gives, that thresholds go with the way, and that a fold never chooses for itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from tapetum.core.config import Decide
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.core.view_reducers import REDUCERS, reduced
from tapetum.decide import view_reduction
from tapetum.decide.steps import Rows

MULTI = Target("t", "multi", ("a", "b", "c"))
SINGLE = Target("t", "single", ("a", "b", "c"))
N, FOLDS = 360, 3
THRESHOLDS = Decide(steps=("thresholds",))


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def rows_of(n=N):
    ids = np.array([f"r{i}" for i in range(n)], dtype=object)
    return Rows(
        groups=np.array([f"g{i // 2}" for i in range(n)], dtype=object), fold=(np.arange(n) // 2 % FOLDS).astype(np.int16), row_ids=ids
    )


def dense(target, p, y):
    rows = rows_of(len(p))
    return Dense(target, rows.row_ids, p.astype(np.float32), y, rows.fold, np.full(len(p), "ok", dtype=object))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def seen_once(rng, views_=6):
    """Labels that show in one view of six, in the plain image (the first one) only by chance; the other views are in doubt."""
    y = (rng.random((N, 3)) < 0.4).astype(np.float32)
    p = rng.uniform(0.0, 0.3, (views_, N, 3))
    which = rng.integers(0, views_, (N, 3))
    at = np.arange(N)[:, None], np.arange(3)[None]
    p[which, at[0], at[1]] += np.where(y > 0.5, 0.35, 0.0)
    return y, p, sigmoid(np.log(p / (1 - p)).mean(axis=0))


def test_maximum_of_a_distribution_sums_to_one(rng):
    stack = rng.dirichlet(np.ones(3), (4, 7)).astype(np.float32)
    assert reduced(stack, "max", SINGLE) == pytest.approx(stack.max(0) / stack.max(0).sum(1, keepdims=True))
    assert np.array_equal(reduced(stack, "max", MULTI), stack.max(0))
    assert reduced(stack, "max", Target("t", "regression", ())) == pytest.approx(stack.mean(0))
    assert reduced(stack, "mean", SINGLE) == pytest.approx(stack.mean(0))


def test_signal_in_one_view_is_found_by_the_maximum(rng):
    y, stack, logits = seen_once(rng)
    named = view_reduction.ways(dense(MULTI, stack[0], y), stack, logits)
    assert tuple(named) == REDUCERS
    chosen = view_reduction.choose(named, rows_of(), THRESHOLDS, ("macro_f1", "average_precision"))
    assert chosen.final == "max"
    assert set(chosen.per_fold.values()) == {"max"}
    assert np.array_equal(chosen.nested.p, named["max"].p)
    line = {(row["reduce"], row["metric"]): row for row in chosen.table}
    assert line["max", "average_precision"]["value"] == pytest.approx(average_precision_score(y, stack.max(0), average="macro"))
    assert line["chosen", "macro_f1"]["value"] == line["max", "macro_f1"]["value"]
    assert line["max", "macro_f1"]["difference_low"] > 0
    assert line["plain", "macro_f1"]["difference"] is None


def test_each_way_is_judged_at_thresholds_of_its_own(rng):
    y, stack, logits = seen_once(rng)
    named = view_reduction.ways(dense(MULTI, stack[0], y), stack, logits)
    mean = next(r for r in view_reduction.choose(named, rows_of(), THRESHOLDS, ("macro_f1",)).table if r["reduce"] == "mean")
    at_half = f1_score(y, named["mean"].p >= 0.5, average="macro", zero_division=0)
    assert at_half < 0.05  # a label seen in one of six views never makes a mean of a half
    assert mean["value"] > 0.6


def test_views_that_say_nothing_new_are_not_taken(rng):
    y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, N)]
    p = np.exp(2 * y + rng.normal(0, 1, (N, 3)))
    p /= p.sum(1, keepdims=True)
    chosen = view_reduction.choose(view_reduction.ways(dense(SINGLE, p, y), np.stack([p, p]), p), rows_of(), Decide(), ("macro_f1",))
    assert (chosen.final, set(chosen.per_fold.values())) == ("plain", {"plain"})
    assert all(row["difference"] == 0 for row in chosen.table if row["reduce"] in ("mean", "max"))


def test_a_fold_does_not_choose_for_itself(rng):
    y, stack, logits = seen_once(rng)
    before = view_reduction.choose(view_reduction.ways(dense(MULTI, stack[0], y), stack, logits), rows_of(), THRESHOLDS, ("macro_f1",))
    for fold in range(FOLDS):
        other = y.copy()
        own = rows_of().fold == fold
        other[own] = stack[0][own] > np.median(stack[0])  # here the plain image is always right
        after = view_reduction.choose(
            view_reduction.ways(dense(MULTI, stack[0], other), stack, logits), rows_of(), THRESHOLDS, ("macro_f1",)
        )
        assert after.per_fold[fold] == before.per_fold[fold]


def test_one_heldout_part_is_judged_on_drawn_groups(rng):
    y, stack, logits = seen_once(rng)
    named = view_reduction.ways(dense(MULTI, stack[0], y), stack, logits)
    rows = dataclasses.replace(rows_of(), fold=np.zeros(N, dtype=np.int16))
    chosen = view_reduction.choose(named, rows, THRESHOLDS, ("macro_f1",))
    assert chosen.final == "max"
    assert len(chosen.per_fold) > 1


def test_rows_that_cannot_be_read_stay_without_an_answer(rng):
    y, stack, logits = seen_once(rng)
    stack[:, 5], logits[5] = np.nan, np.nan
    plain = dense(MULTI, stack[0], y)
    plain.status[5] = "missing"
    chosen = view_reduction.choose(view_reduction.ways(plain, stack, logits), rows_of(), THRESHOLDS, ("macro_f1",))
    assert chosen.nested.status[5] == "missing"
    assert {row["n"] for row in chosen.table} == {N - 1}


def test_one_group_alone_takes_the_plain_image(rng):
    y, stack, logits = seen_once(rng)
    two = np.array(["x", "y"], dtype=object)[rows_of().fold % 2]
    rows = dataclasses.replace(rows_of(), groups=two, fold=(two == "y").astype(np.int16))
    chosen = view_reduction.choose(view_reduction.ways(dense(MULTI, stack[0], y), stack, logits), rows, THRESHOLDS, ("macro_f1",))
    assert set(chosen.per_fold.values()) == {"plain"}  # the other fold has one group: nothing to judge on
