import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, softmax
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from simulated_predictions import dense_of, multi, names, rows_of, single
from tapetum.core import files, metrics
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import Target
from tapetum.decide.ensemble import Greedy, Power, RankMean, Vote, align, mean, mean_of, power_mean, weighted
from tapetum.decide.stack import Stack, fit_stack
from tapetum.decide.steps import crossfit_parts


def members(n=4000, k=4, noise=(0.8, 1.2, 3.0), seed=0, kind="single"):
    """Members that see the true scores under independent noise of different size; the last one is nearly useless."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (n, k))
    rows = rows_of(n, n // 4)
    if kind == "multi":
        y = rng.random(z.shape) < expit(z)
        target, link = Target("labels", "multi", names(k)), expit
    else:
        y = np.eye(k)[(softmax(z, axis=1).cumsum(1) < rng.random((n, 1))).sum(1).clip(0, k - 1)]
        target, link = Target("stage", kind, names(k)), lambda v: softmax(v, axis=1)
    return [dense_of(target, link(z + rng.normal(0, s, z.shape)), y, rows.fold) for s in noise], rows


def log_loss(p, y):
    p = np.clip(p / p.sum(1, keepdims=True), 1e-7, 1)
    return -(y * np.log(p)).sum(1).mean()


@given(r=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_power_mean_is_the_formula(r, seed):
    rng = np.random.default_rng(seed)
    p, w = rng.dirichlet(np.ones(4), (3, 5)), rng.dirichlet(np.ones(3))
    by_hand = (
        np.exp(sum(a * np.log(b) for a, b in zip(w, p, strict=True)))
        if r == 0
        else sum(a * b**r for a, b in zip(w, p, strict=True)) ** (1 / r)
    )
    assert np.allclose(power_mean(p, w, r), by_hand, rtol=1e-6)


@pytest.mark.parametrize("r", [-20.0, -8.0, 8.0, 100.0])
def test_large_powers_of_single_precision_are_the_formula(r):
    p, w = np.array([[[0.01, 0.99]], [[0.02, 0.98]]], np.float32), np.array([0.25, 0.75])
    by_hand = [(0.25 * a**r + 0.75 * b**r) ** (1 / r) for a, b in ((0.01, 0.02), (0.99, 0.98))]  # 0.01^100 is no float32
    assert power_mean(p, w, r)[0] == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("r", [-8.0, 30.0])
def test_weights_of_large_powers_reach_the_optimum(r):
    parts, rows = members(n=600)
    fitted = Power(r, "fit", "log_loss").fit(parts, rows)
    stack, y = np.stack([m.p for m in parts]).astype(np.float64), parts[0].y

    def loss(w):
        return log_loss(np.tensordot(w, np.maximum(stack, 1e-7) ** r, axes=1) ** (1 / r), y)

    options = {"xatol": 1e-4, "fatol": 1e-9, "maxiter": 2000}
    least = minimize(lambda theta: loss(softmax(theta)), np.zeros(3), method="Nelder-Mead", options=options).fun
    assert loss(np.array(fitted["weights"])) == pytest.approx(least, abs=1e-4)


def test_root_blend_is_the_distribution_of_summed_roots():
    parts, rows = members(n=500)
    blend = Power(0.5, (0.06, 0.94, 0.0))
    out = blend.apply(parts, rows, blend.fit(parts, rows))
    summed = 0.06 * np.sqrt(parts[0].p) + 0.94 * np.sqrt(parts[1].p)
    assert (out.p.argmax(1) == summed.argmax(1)).all()
    assert np.allclose(out.p.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("r", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_fitted_weights_reach_the_optimum_within_a_tolerance(r, kind):
    parts, rows = members(kind=kind)
    y, target = parts[0].y, parts[0].target
    stack = np.stack([m.p for m in parts]).astype(np.float64)

    def loss(w):
        p = power_mean(stack, w / w.sum(), r)
        p = p / p.sum(1, keepdims=True) if kind == "single" else p
        return metrics.score("log_loss", target, p, y)

    step = np.linspace(0, 1, 21)
    optimum = min(loss(np.array([a, b, 1 - a - b]) + 1e-9) for a in step for b in step if a + b <= 1 + 1e-9)
    found = Power(r, "fit", "log_loss").fit(parts, rows)
    assert loss(np.array(found["weights"])) < optimum + 0.002
    assert found["value"] == pytest.approx(loss(np.array(found["weights"])), abs=1e-5)


def test_the_known_best_mixture_is_found():
    """Truth drawn from .7 A + .3 B: these are the weights of the least expected log-loss."""
    rng = np.random.default_rng(1)
    a, b = rng.dirichlet(np.full(5, 0.4), (2, 60_000))
    y = np.eye(5)[((0.7 * a + 0.3 * b).cumsum(1) < rng.random((60_000, 1))).sum(1).clip(0, 4)]
    target, rows = Target("k", "single", names(5)), rows_of(60_000)
    found = weighted(metric="log_loss").fit([dense_of(target, a, y), dense_of(target, b, y)], rows)["weights"]
    assert found[0] == pytest.approx(0.7, abs=0.02)


def test_macro_f1_weights_are_no_worse_than_equal_or_single():
    parts, rows = members(n=1500)
    found = weighted(metric="macro_f1").fit(parts, rows)
    y, target = parts[0].y, parts[0].target
    candidates = [np.mean([m.p for m in parts], axis=0), *(m.p for m in parts)]
    assert found["value"] >= max(metrics.score("macro_f1", target, p, y) for p in candidates) - 1e-9
    assert sum(found["weights"]) == pytest.approx(1)


def cross_fitted(blend, parts, rows):
    return crossfit_parts(
        lambda part: blend.fit([m.where(part) for m in parts], rows.where(part)),
        lambda part, fitted: blend.apply([m.where(part) for m in parts], rows.where(part), fitted),
        parts[0],
        rows,
    )


def test_cross_fitted_weights_are_nested():
    parts, rows = members(n=300)
    found = cross_fitted(weighted(metric="macro_f1"), parts, rows)
    for k, fitted in found.by_fold.items():
        rest = rows.fold != k
        assert fitted == weighted(metric="macro_f1").fit([m.where(rest) for m in parts], rows.where(rest))
    assert files.to_json(found.final)


def test_greedy_selection_drops_the_useless_member():
    parts, rows = members(n=3000, noise=(0.8, 0.9, 8.0))
    found = Greedy(20, "log_loss").fit(parts, rows)
    single_losses = [metrics.score("log_loss", m.target, m.p, m.y) for m in parts]
    assert found["value"] < min(single_losses)
    assert found["weights"][2] == 0
    out = Greedy().apply(parts, rows, found)
    assert metrics.score("log_loss", out.target, out.p, out.y) == pytest.approx(found["value"], abs=1e-5)
    by_hand = np.mean([parts[m].p for m in found["picked"]], axis=0)
    assert np.allclose(out.p, by_hand, atol=1e-5)


def test_a_vote_and_its_tie_rule():
    target, rows = Target("k", "single", names(3)), rows_of(3)
    y = np.eye(3)
    a = dense_of(target, [[0.6, 0.4, 0.0], [0.9, 0.1, 0.0], [0.5, 0.5, 0.0]], y)
    b = dense_of(target, [[0.1, 0.9, 0.0], [0.2, 0.8, 0.0], [0.5, 0.5, 0.0]], y)
    c = dense_of(target, [[0.1, 0.2, 0.7], [0.0, 0.4, 0.6], [0.0, 0.0, 1.0]], y)
    vote = Vote()
    out = vote.apply([a, b], rows, vote.fit([a, b], rows))
    assert out.p[0].tolist() == [0.5, 0.5, 0.0]
    assert out.answer.argmax(1).tolist() == [1, 0, 0]  # larger mean; larger mean; equal means: earlier class
    heavy = Vote((1, 1, 3))
    assert heavy.apply([a, b, c], rows, heavy.fit([a, b, c], rows)).answer.argmax(1).tolist() == [2, 2, 2]
    even = Vote((0.2, 0.2, 0.4))  # .4 against .2 + .2 is a tie; the mean decides
    assert even.apply([b, b, c], rows, even.fit([b, b, c], rows)).answer.argmax(1)[0] == 1


def test_a_vote_on_labels_breaks_halves_by_the_mean():
    target, rows = Target("m", "multi", names(2)), rows_of(1)
    a, b = dense_of(target, [[0.9, 0.6]], [[1, 0]]), dense_of(target, [[0.4, 0.1]], [[1, 0]])
    out = Vote().apply([a, b], rows, Vote().fit([a, b], rows))
    assert out.p.tolist() == [[0.5, 0.5]]
    assert out.answer.tolist() == [[1, 0]]


def test_vote_counts_decisions_and_not_probabilities():
    target, rows = Target("m", "multi", names(2)), rows_of(1)
    low = dataclasses.replace(dense_of(target, [[0.3, 0.2]], [[1, 0]]), answer=np.array([[1, 0]], np.float32))
    plain = dense_of(target, [[0.4, 0.1]], [[1, 0]])
    out = Vote((2, 1)).apply([low, plain], rows, Vote((2, 1)).fit([low, plain], rows))
    assert out.answer.tolist() == [[1, 0]]
    assert np.allclose(out.p, [[2 / 3, 0]])


def test_blend_of_one_keeps_decisions_and_of_several_none():
    target, rows = Target("k", "single", names(2)), rows_of(2)
    one = dataclasses.replace(dense_of(target, [[0.5, 0.5], [0.9, 0.1]], np.eye(2)), answer=np.eye(2, dtype=np.float32)[[1, 1]])
    how = mean()
    assert how.apply([one], rows, how.fit([one], rows)).answer.tolist() == [[0, 1], [0, 1]]
    assert how.apply([one, one], rows, how.fit([one, one], rows)).answer is None
    assert mean_of([one]).answer is None
    moved, _ = align({"one": one}, row_ids=np.array(["r1", "new", "r0"], dtype=object))
    np.testing.assert_array_equal(moved["one"].answer, [[0, 1], [np.nan, np.nan], [0, 1]])


def test_rank_mean_is_the_mean_of_ranks():
    parts, rows = members(n=400, kind="multi")
    blend = RankMean(points=400)
    out = blend.apply(parts, rows, blend.fit(parts, rows))
    ranks = np.mean([(rankdata(m.p, axis=0) - 1) / 399 for m in parts], axis=0)
    assert np.abs(out.p - ranks).max() < 2e-3
    alone = blend.apply([m.where(np.array([7])) for m in parts], rows.where(np.array([7])), blend.fit(parts, rows))
    assert np.allclose(alone.p[0], out.p[7])


def test_the_stack_without_penalty_is_scikit_learns_multinomial_regression():
    parts, _ = members(n=1500, k=3)
    x = np.log(np.clip(np.concatenate([m.p for m in parts], axis=1), 1e-7, None)).astype(np.float64)
    y, target = parts[0].y, parts[0].target
    w, bias = fit_stack(target, x, y, np.ones(len(x)), start=np.zeros((9, 3)), strength=0.05)
    twin = LogisticRegression(C=0.05, tol=1e-8, max_iter=2000).fit(x, y.argmax(1))
    assert np.abs(softmax(x @ w + bias, axis=1) - twin.predict_proba(x)).max() < 2e-3


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_stacking_beats_the_mean_where_members_err_differently(kind):
    parts, rows = members(n=3000, kind=kind)
    found = cross_fitted(Stack(), parts, rows)
    plain = mean().apply(parts, rows, mean().fit(parts, rows))
    score = lambda d: metrics.score("log_loss", d.target, d.p, d.y)  # noqa: E731
    assert score(found.nested) < score(plain)
    assert score(found.optimistic) <= score(found.nested)


def test_members_are_matched_by_id_and_the_rest_is_uncovered():
    (a, b, _), rows = members(n=40)
    order = np.random.default_rng(0).permutation(30)
    short = b.where(order)
    out, coverage = align({"a": a, "b": short})
    assert coverage.rows == 40
    assert coverage.common == 30
    assert coverage.lacking == {"b": [f"r{i}" for i in range(30, 40)][:20]}
    blend = mean().apply(list(out.values()), rows, mean().fit(list(out.values()), rows))
    assert np.allclose(blend.p[:30], (a.p[:30] + b.p[:30]) / 2, atol=1e-6)
    assert (blend.status[30:] == "uncovered").all()
    with pytest.raises(DataError, match="r30"):
        align({"a": a, "b": short}, strict=True)


def test_members_that_do_not_belong_together_are_refused():
    (a, b, _), _ = members(n=20)
    turned = dataclasses.replace(b, target=dataclasses.replace(b.target, classes=b.target.classes[::-1]))
    with pytest.raises(DataError, match="same order"):
        align({"a": a, "b": turned})
    with pytest.raises(DataError, match="different labels"):
        align({"a": a, "b": dataclasses.replace(b, y=np.roll(b.y, 1, axis=1))})
    with pytest.raises(DataError, match="different folds"):
        align({"a": a, "b": dataclasses.replace(b, fold=(b.fold + 1).astype(np.int16))})
    with pytest.raises(DataError, match="not among"):
        align({"a": a}, row_ids=a.row_ids[:5])
    with pytest.raises(UserError, match="3 members"):
        Power(1.0, (1.0, 2.0)).fit([a, a, a], rows_of(20))
    with pytest.raises(UserError, match="≥ 0"):
        Power(1.0, (1.0, -2.0)).fit([a, a], rows_of(20))


def test_a_missing_image_stays_missing():
    (a, b, _), rows = members(n=10)
    status = a.status.copy()
    status[3] = "missing"
    lost = dataclasses.replace(a, status=status, p=np.where(np.arange(10)[:, None] == 3, np.nan, a.p))
    blend = mean().apply([lost, b], rows, mean().fit([lost, b], rows))
    assert blend.status[3] == "missing"
    assert blend.ok.sum() == 9


def test_numbers_are_averaged_and_nothing_else():
    target, rows = Target("age", "regression"), rows_of(200)
    rng = np.random.default_rng(0)
    y = rng.normal(40, 10, (200, 1))
    parts = [dense_of(target, y + rng.normal(0, s, y.shape), y) for s in (1.0, 6.0)]
    found = weighted(metric="rmse").fit(parts, rows)
    assert found["weights"][0] > 0.9
    free = minimize(lambda w: np.mean((w[0] * parts[0].p + (1 - w[0]) * parts[1].p - y) ** 2), [0.5]).fun ** 0.5
    assert found["value"] == pytest.approx(free, rel=0.01)
    with pytest.raises(UserError, match="r = 1"):
        Power(0.5).fit(parts, rows)


def test_single_and_multi_members_of_other_modules_are_seen_alike():
    for make in (single, multi):
        dense, rows = make(n=50)
        out = mean().apply([dense], rows, mean().fit([dense], rows))
        assert np.allclose(out.p, dense.p, atol=1e-6)
