import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulated_predictions import dense_of, multi, names, rows_of, single
from tapetum.core import files, metrics
from tapetum.core.errors import UserError
from tapetum.core.targets import Target
from tapetum.decide.steps import crossfit
from tapetum.decide.thresholds import BestF1, Fixed, MatchRates, best_f1_threshold, cut, rate_threshold


def macro_f1(dense):
    return metrics.score("macro_f1", dense.target, dense.p, dense.y, answer=dense.answer)


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_the_best_f1_threshold_is_as_good_as_any(pairs):
    p, y = np.array([a / 8 for a, _ in pairs]), np.array([b for _, b in pairs])
    if not y.any():
        return
    f1 = lambda t: 2 * (y & (p >= t)).sum() / (y.sum() + (p >= t).sum())  # noqa: E731
    assert f1(best_f1_threshold(p, y)) == pytest.approx(max(f1(t / 16) for t in range(18)))


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50, unique=True), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_the_rate_threshold_names_the_rounded_share(values, rate):
    p = np.array(values)
    named = (p >= rate_threshold(p, rate)).sum()
    many = round(rate * len(p))
    assert abs(named - many) <= (1 if many == 0 or min(values) <= 0 else 0)


@given(st.dictionaries(st.integers(1, 31), st.integers(1, 4), min_size=1), st.floats(0.0, 1.0))
@settings(max_examples=200, deadline=None)
def test_a_rate_is_a_share_of_the_weight(rows, rate):
    p, weight = np.array(list(rows), np.float32) / 32, np.array([*rows.values()], np.float64)
    named = np.average(p >= rate_threshold(p, rate, weight), weights=weight)
    assert abs(named - rate) <= weight.max() / weight.sum() / 2 + 1e-9


def test_equal_highest_probabilities_are_named_where_that_is_nearest():
    p = np.array([0.9, 0.9, 0.9, 0.9, 0.2, 0.1])
    for many, named in ((1, 0), (3, 4)):  # four rows stand or fall together
        assert (p >= rate_threshold(p, many / 6)).sum() == named
        assert (p >= rate_threshold(p, many / 6, np.array([1, 1, 1, 1, 1, 1.001]))).sum() == named


@pytest.mark.parametrize("top", [0.03125, 0.3, 0.999])
def test_thresholds_hold_in_32_bits(top):
    high = np.float32(top)
    low = np.nextafter(high, np.float32(0))  # the next number below
    p, y = np.array([[high], [low], [low]], np.float32), np.array([1.0, 0.0, 0.0])
    target = Target("t", "multi", ("a",))
    for threshold, named in ((rate_threshold(p[:, 0], 0.1), 0), (rate_threshold(p[:, 0], 0.34), 1), (best_f1_threshold(p[:, 0], y), 1)):
        answer = cut(dense_of(target, p, y[:, None], np.zeros(3)), np.array([threshold]), False).answer
        assert answer.sum() == named


def test_class_rates_are_met_by_weight():
    dense, rows = multi(n=900, rates=(0.2, 0.4), seed=3)
    weight = np.where(dense.p[:, 0] > np.median(dense.p[:, 0]), 5.0, 1.0).astype(np.float32)
    rows = dataclasses.replace(rows, weight=weight)
    fitted = MatchRates(at_least_one=False).fit(dense, rows)
    named = MatchRates(at_least_one=False).apply(dense, rows, fitted).answer
    assert np.average(named, axis=0, weights=weight) == pytest.approx(fitted["rates"], abs=0.005)


def test_in_sample_thresholds_flatter_and_nested_ones_do_not():
    """Rare classes, no shrinkage; a large sample of the same kind tells what the thresholds are worth."""
    rates = (0.08,) * 12
    flattered, nested, true = [], [], []
    for seed in range(10):
        dense, rows = multi(n=400, rates=rates, sharpness=1.5, seed=seed)
        found = crossfit(BestF1(rare=0, at_least_one=False), dense, rows)
        fresh, fresh_rows = multi(n=10_000, rates=rates, sharpness=1.5, seed=100 + seed)
        flattered.append(macro_f1(found.optimistic))
        nested.append(macro_f1(found.nested))
        true.append(macro_f1(BestF1(at_least_one=False).apply(fresh, fresh_rows, found.final)))
    assert np.mean(flattered) > np.mean(true) + 0.06
    assert np.mean(nested) < np.mean(true) + 0.02


def test_shrinking_helps_rare_classes_on_fresh_rows():
    rates = (0.01,) * 10
    plain, shrunk = [], []
    for seed in range(6):
        dense, rows = multi(n=400, rates=rates, sharpness=1.2, seed=seed)
        fresh, fresh_rows = multi(n=10_000, rates=rates, sharpness=1.2, seed=50 + seed)
        for step, into in ((BestF1(rare=0, at_least_one=False), plain), (BestF1(rare=20, at_least_one=False), shrunk)):
            into.append(macro_f1(step.apply(fresh, fresh_rows, step.fit(dense, rows))))
    assert np.mean(shrunk) > np.mean(plain)


def test_thresholds_of_frequent_and_absent_classes_differ():
    dense, rows = multi(n=2000, rates=(0.3, 0.2, 0.1))
    dense = dataclasses.replace(dense, y=dense.y * [1, 1, 0])
    fitted = BestF1().fit(dense, rows)
    assert fitted["thresholds"][0] == pytest.approx(best_f1_threshold(dense.p[:, 0], dense.y[:, 0]))
    assert (dense.p[:, 2] >= fitted["thresholds"][2]).sum() <= 1
    assert files.to_json(fitted)


@pytest.mark.parametrize("step", [BestF1(), MatchRates(), Fixed(0.9, at_least_one=True)])
def test_every_row_gets_a_label_when_one_is_forced(step):
    dense, rows = multi(n=500)
    dense = dataclasses.replace(dense, status=np.where(np.arange(500) == 3, "missing", "ok").astype(object))
    out = step.apply(dense, rows, step.fit(dense, rows))
    assert (out.answer[dense.ok].sum(1) >= 1).all()
    assert np.isnan(out.answer[3]).all()


def test_forced_label_is_nearest_its_threshold_by_ratio():
    dense = dense_of(Target("m", "multi", names(3)), [[0.2, 0.04, 0.1]], [[0, 0, 0]])
    assert cut(dense, np.array([0.5, 0.05, 0.4]), at_least_one=True).answer.tolist() == [[0, 1, 0]]
    assert cut(dense, np.array([0.5, 0.05, 0.4]), at_least_one=False).answer.tolist() == [[0, 0, 0]]


def test_class_rates_are_matched_to_train_or_given():
    dense, rows = multi(n=4000, rates=(0.3, 0.1, 0.05))
    for step, goal in (
        (MatchRates(at_least_one=False), dense.y.mean(0)),
        (MatchRates((0.5, 0.2, 0.01), at_least_one=False), (0.5, 0.2, 0.01)),
    ):
        out = step.apply(dense, rows, step.fit(dense, rows))
        assert np.abs(out.answer.mean(0) - goal).max() < 1e-3


def test_an_estimated_prior_follows_the_set_at_hand():
    dense, rows = multi(n=6000, rates=(0.3, 0.3), sharpness=3.0)
    step = MatchRates("estimate", at_least_one=False)
    fitted = step.fit(dense, rows)
    rng = np.random.default_rng(0)
    keep = np.where(dense.y[:, 0] == 1, rng.random(6000) < 0.25, True)  # class 0 becomes rare, looks stay
    there = dense.where(keep)
    named = step.apply(there, rows.where(keep), fitted).answer.mean(0)
    assert abs(named[0] - there.y[:, 0].mean()) < 0.03
    assert abs(MatchRates(at_least_one=False).apply(there, rows.where(keep), fitted).answer.mean(0)[0] - there.y[:, 0].mean()) > 0
    few = dense.where(np.arange(20))
    kept = step.apply(few, rows.where(np.arange(20)), fitted).answer
    assert (kept == (few.p >= np.array(fitted["thresholds"], dtype=np.float32))).all()


def test_wrong_wishes_are_refused():
    dense, rows = single(n=20)
    with pytest.raises(UserError, match="multi"):
        BestF1().fit(dense, rows)
    labels, rows = multi(n=50)
    with pytest.raises(UserError, match="'fit' or 'set'"):
        MatchRates(on="elsewhere").fit(labels, rows)
    with pytest.raises(UserError, match="prior"):
        MatchRates("test").fit(labels, rows)
    with pytest.raises(UserError, match="3 numbers"):
        MatchRates((0.1, 0.2)).fit(labels, rows)
    with pytest.raises(UserError, match="one for each class"):
        Fixed((0.1, 0.2)).fit(labels, rows)
    with pytest.raises(UserError, match="one for each"):
        cut(labels, np.array([0.1]), at_least_one=False)
    assert rows_of(3).fold.tolist() == [0, 1, 2]
