import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from scipy.stats import entropy as scipy_entropy

from simulated_predictions import dense_of, multi, names, rows_of, single
from tapetum.core import files
from tapetum.core.errors import UserError
from tapetum.core.targets import Target
from tapetum.decide.conformal import ALL, Abstain, Conformal, conformal_quantile, crossfit_sets, entropy, one_of_each, review_list


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_sets_hold_the_truth_as_often_as_stated(method, alpha):
    """Of miscalibrated predictions too: that is what they are for."""
    dense, rows = single(n=8000, temperature=2.5)
    rows = dataclasses.replace(rows, groups=dense.row_ids)
    found = crossfit_sets(Conformal(method, alpha), dense, rows)
    coverage = found.report["coverage"]
    assert coverage["value"] == pytest.approx(1 - alpha, abs=0.015)
    assert coverage["low"] < 1 - alpha < coverage["high"]
    assert coverage["method"] == "Wilson"
    assert 1 <= found.report["size"] <= 4
    assert files.to_json([found.final, found.report])


def test_lac_sets_are_smaller_and_aps_sets_never_empty():
    dense, rows = single(n=6000, temperature=0.5, spread=3)
    lac, aps = (crossfit_sets(Conformal(m, 0.1), dense, rows).report for m in ("lac", "aps"))
    assert lac["size"] <= aps["size"]
    assert aps["empty"] == 0


def test_class_conditional_sets_cover_the_rare_class_too():
    dense, rows = single(n=20_000, spread=1.0, shift=(0, 0, 0, -2.5))
    dense = dense.with_p(dense.p**0.6 * [1, 1, 1, 0.3] / (dense.p**0.6 * [1, 1, 1, 0.3]).sum(1, keepdims=True))
    rare = dense.target.classes[3]
    marginal = crossfit_sets(Conformal("lac", 0.1), dense, rows).report["classes"][rare]["coverage"]
    own = crossfit_sets(Conformal("lac", 0.1, by_class=True), dense, rows).report["classes"][rare]["coverage"]
    assert marginal < 0.8
    assert own == pytest.approx(0.9, abs=0.04)


@given(n=st.integers(1, 60), alpha=st.floats(0.02, 0.6))
@settings(max_examples=100, deadline=None)
def test_the_quantile_is_that_of_the_paper(n, alpha):
    scores = np.random.default_rng(n).random(n)
    found, place = conformal_quantile(scores, alpha), int(np.ceil((n + 1) * (1 - alpha) - 1e-9))
    assert found == (ALL if place > n else np.sort(scores)[place - 1])


def test_too_few_rows_give_every_class():
    dense, rows = single(n=5)
    how = Conformal("lac", 0.1)
    assert how.sets(dense, how.fit(dense, rows)).all()


def test_aps_by_hand():
    target = Target("k", "single", names(3))
    dense = dense_of(target, [[0.5, 0.3, 0.2]], np.eye(3)[[0]])
    assert Conformal("aps", randomise=False).sets(dense, {"bounds": [0.79] * 3}).tolist() == [[True, False, False]]
    assert Conformal("aps", randomise=False).sets(dense, {"bounds": [0.8] * 3}).tolist() == [[True, True, False]]
    assert Conformal("lac").sets(dense, {"bounds": [0.75] * 3}).tolist() == [[True, True, False]]
    gone = dataclasses.replace(dense, status=np.array(["missing"], dtype=object))
    assert not Conformal("aps").sets(gone, {"bounds": [2.0] * 3}).any()


def test_one_row_of_each_group_whatever_their_order():
    dense, rows = single(n=40)
    rows = rows_of(40, 7)
    picked = one_of_each(np.arange(40), dense.row_ids, rows.groups)
    assert sorted(rows.groups[picked]) == sorted(set(rows.groups))
    order = np.random.default_rng(0).permutation(40)
    again = one_of_each(np.arange(40), dense.row_ids[order], rows.groups[order])
    assert set(dense.row_ids[order][again]) == set(dense.row_ids[picked])
    assert Conformal(one_per_group=True).fit(dense, rows)["n"] == [7] * 4


def test_abstention_keeps_the_risk_on_fresh_rows():
    step, kept = Abstain(risk=0.1), []
    for seed in range(20):
        dense, rows = single(n=600, temperature=1.2, spread=4, seed=seed)
        rows = dataclasses.replace(rows, groups=dense.row_ids)
        fitted = step.fit(dense, rows)
        fresh, _ = single(n=5000, temperature=1.2, spread=4, seed=1000 + seed)
        given = step.answers(fresh, fitted)
        assert fitted["risk"] <= fitted["bound"] <= 0.1
        kept.append((fresh.p[given].argmax(1) != fresh.y[given].argmax(1)).mean() <= 0.1)
        assert given.mean() > 0.1
    assert np.mean(kept) >= 0.9  # stated confidence 0.95


def test_a_risk_that_cannot_be_kept_gives_no_answer():
    dense, rows = single(n=100)
    wrong = dense.with_p(np.roll(dense.y, 1, axis=1))
    step = Abstain(0.05)
    fitted = step.fit(wrong, rows)
    assert fitted["threshold"] == ALL
    assert not step.answers(wrong, fitted).any()


def predicted(top, wrong):
    """Two classes: rows with these largest probabilities, and whether each is wrong; every row is a group of its own."""
    top = np.asarray(top)
    y = np.eye(2)[np.asarray(wrong).astype(int)]
    dense = dense_of(Target("k", "single", names(2)), np.column_stack([top, 1 - top]), y)
    return dense, rows_of(len(top))


def bisected(dense, risk, confidence=0.95):
    """The share that the bisection of Geifman and El-Yaniv answers, and which thresholds pass at a look's part of the confidence."""
    top, wrong = dense.p.max(axis=1), dense.p.argmax(axis=1) != dense.y.argmax(axis=1)
    errors = np.cumsum(wrong[np.argsort(-top, kind="stable")])
    looks, low, high, kept = int(np.ceil(np.log2(len(top)))), 0, len(top) - 1, 0.0
    level = (1 - confidence) / looks
    n = np.arange(1, len(top) + 1)
    passes = np.where(errors < n, beta.ppf(1 - level, errors + 1, np.maximum(n - errors, 1)), 1) <= risk
    for _ in range(looks):
        middle = (low + high + 1) // 2
        kept, low, high = ((middle + 1) / len(top), middle, high) if passes[middle] else (kept, low, max(low, middle - 1))
    return kept, passes


def spread(n):
    return np.linspace(0.999, 0.501, n)


def test_all_are_answered_where_all_pass_the_test():
    """.95 ** 100 is below .05, though no test of half of them can pass."""
    dense, rows = predicted(spread(100), np.zeros(100))
    assert bisected(dense, 0.05)[0] == 0
    assert Abstain(0.05).fit(dense, rows)["coverage"] == 1
    few, rows = predicted(spread(58), np.zeros(58))
    assert Abstain(0.05).fit(few, rows)["threshold"] == ALL  # .95 ** 58 is above .05


def test_errors_among_the_surest_rows_do_not_end_the_search():
    """30 errors of 1000 are few, 30 of the surest 500 are too many."""
    place = np.arange(1000)
    dense, rows = predicted(spread(1000), (place < 500) & (place % 17 == 0))
    fitted = Abstain(0.05).fit(dense, rows)
    assert bisected(dense, 0.05)[0] < 0.5
    assert (fitted["coverage"], fitted["risk"], fitted["bound"]) == (1, pytest.approx(0.03), 0.05)


@given(n=st.integers(20, 3000), slope=st.floats(1, 12), risk=st.sampled_from([0.02, 0.05, 0.1, 0.3]), seed=st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_never_fewer_answers_than_bisection_where_passes_adjoin(n, slope, risk, seed):
    rng = np.random.default_rng(seed)
    dense, rows = predicted(spread(n), rng.random(n) < (np.arange(n) / n) ** slope)
    before, passes = bisected(dense, risk)
    found = np.flatnonzero(passes)
    adjoin = len(found) == 0 or found[-1] - found[0] + 1 == len(found)
    assert not adjoin or Abstain(risk).fit(dense, rows)["coverage"] >= before


CELLS = 20


@pytest.mark.parametrize(
    ("errors", "tied"),
    [
        (np.full(CELLS, 0.101), False),  # too many everywhere
        (np.full(CELLS, 0.101), True),
        (np.linspace(0, 0.25, CELLS), False),  # the less sure, the more
        (np.where(np.arange(CELLS) < 1, 0.2, 0.05 + 0.01 * np.arange(CELLS)), False),  # the surest are wrong labels
        (np.tile([0.15, 0.05], CELLS // 2) + 0.002, False),  # too many again and again
    ],
)
def test_risk_is_above_in_one_of_twenty_samples_at_most(errors, tied):
    """Errors are drawn in cells of known rates, so that the true risk of each threshold is known."""
    step, samples, above = Abstain(0.1, one_per_group=False), 300, 0
    for seed in range(samples):
        rng = np.random.default_rng([seed, CELLS])
        depth = np.sort(rng.random(500)) * CELLS
        depth = np.floor(depth) + 0.5 if tied else depth
        dense, rows = predicted(1 - 0.49 * depth / CELLS, rng.random(500) < errors[depth.astype(int)])
        threshold = step.fit(dense, rows)["threshold"]
        if threshold != ALL:
            answered = np.clip((1 - threshold) / 0.49 * CELLS + tied * 0.5 - np.arange(CELLS), 0, 1)
            above += (errors * answered).sum() / answered.sum() > 0.1
    assert above <= samples * 0.05 + 3 * np.sqrt(samples * 0.05 * 0.95)


def test_abstention_refuses_a_risk_of_none():
    with pytest.raises(UserError, match="risk = 0"):
        Abstain(0)


def test_doubtful_rows_come_first():
    dense, _ = single(n=200)
    table = review_list(dense, most=10)
    assert table["row_id"].to_list() == dense.row_ids[np.argsort(-scipy_entropy(dense.p.astype(float), axis=1))[:10]].tolist()
    assert table["rank"].to_list() == list(range(1, 11))
    ranked = np.sort(dense.p, axis=1)
    by_margin = review_list(dense, by="margin", most=5)["row_id"].to_list()
    assert by_margin == dense.row_ids[np.argsort(ranked[:, -1] - ranked[:, -2])[:5]].tolist()


def test_disagreement_is_what_members_do_not_know_alike():
    target = Target("k", "single", names(2))
    y = np.eye(2)[[0, 0, 0]]
    a = dense_of(target, [[0.5, 0.5], [0.99, 0.01], [0.9, 0.1]], y)
    b = dense_of(target, [[0.5, 0.5], [0.01, 0.99], [0.9, 0.1]], y)
    table = review_list(a, {"a": a, "b": b}, by="disagreement")
    assert table["row_id"][0] == "r1"
    assert table["doubt"][1] == pytest.approx(0, abs=1e-6)
    with pytest.raises(UserError, match="two or more"):
        review_list(a, by="disagreement")


def test_labels_can_be_reviewed_but_not_put_in_sets():
    dense, rows = multi(n=50)
    assert len(review_list(dense, by="margin", most=7)) == 7
    bits = -(dense.p * np.log(dense.p) + (1 - dense.p) * np.log(1 - dense.p)).sum(1)
    assert entropy(dense.target, dense.p) == pytest.approx(bits, rel=1e-3)
    with pytest.raises(UserError, match="single or ordinal"):
        Conformal().fit(dense, rows)
    with pytest.raises(UserError, match="Did you mean 'entropy'"):
        review_list(dense, by="entropi")
    with pytest.raises(UserError, match="between 0 and 1"):
        Conformal(alpha=5)


def test_abstaining_and_the_review_list_judge_decided_labels():
    dense, rows = single(n=400)
    rows = dataclasses.replace(rows, groups=dense.row_ids)
    plain = dataclasses.replace(
        dense, p=np.full_like(dense.p, 0.25) + 0.01 * np.roll(dense.y, 1, axis=1) - 0.0025
    )  # the largest p is wrong
    right = dataclasses.replace(plain, answer=dense.y)
    assert Abstain(0.05).fit(plain, rows)["threshold"] == ALL
    assert Abstain(0.05).fit(right, rows)["risk"] == 0
    table = review_list(right, most=5)
    place = {row: i for i, row in enumerate(dense.row_ids)}
    assert table["answer"].to_list() == [dense.target.classes[dense.y[place[row]].argmax()] for row in table["row_id"]]
    assert np.allclose(table["p"], 0.2475)


def test_a_weighted_bound_is_that_of_rows_repeated_as_often():
    scores = np.array([0.1, 0.4, 0.2, 0.8, 0.6, 0.3, 0.5, 0.7, 0.9])
    assert conformal_quantile(scores, 0.2, np.full(9, 3.0)) == conformal_quantile(scores, 0.2)
    weight = np.array([5, 1, 5, 0, 1, 5, 1, 0, 0], dtype=float)
    assert conformal_quantile(scores, 0.2, weight) < conformal_quantile(scores, 0.2)
    # 18 units of weight and a row to come of 2: 80 % of 20 units are reached at 16, with the score of .4
    assert conformal_quantile(scores, 0.2, weight) == 0.4
