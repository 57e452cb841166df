import dataclasses

import numpy as np
import pytest
from scipy.special import softmax

from simulated_predictions import dense_of, multi, names, rows_of
from tapetum.core import metrics
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import Target
from tapetum.decide.priors import LogitAdjust, PriorShift, adjust, bbse, class_rates, em, joint, reweight
from tapetum.decide.steps import crossfit

TARGET = Target("k", "single", names(3))
BALANCED = np.full(3, 1 / 3)


def normals(prior, n=20_000, seed=0, believed=BALANCED):
    """Images are points of three normals; the model knows the normals and believes ``believed``: its p is exact under that prior."""
    rng = np.random.default_rng(seed)
    means = np.array([[0, 0], [1.5, 0], [0, 1.5]])
    c = rng.choice(3, n, p=prior)
    x = means[c] + rng.normal(0, 1, (n, 2))
    like = -0.5 * ((x[:, None] - means) ** 2).sum(2)
    return dense_of(TARGET, softmax(like + np.log(believed), axis=1), np.eye(3)[c]), softmax(like + np.log(prior), axis=1)


def test_reweighting_gives_the_posterior_of_bayes():
    prior = np.array([0.8, 0.15, 0.05])
    dense, exact = normals(prior)
    assert np.abs(reweight(TARGET, dense.p, BALANCED, prior) - exact).max() < 1e-5


def test_balanced_model_returns_to_the_true_rates():
    prior = np.array([0.8, 0.15, 0.05])
    dense, exact = normals(prior, n=5000)
    found = crossfit(PriorShift(), dense, rows_of(5000))
    loss = lambda p: metrics.score("log_loss", TARGET, p, dense.y)  # noqa: E731
    assert loss(found.nested.p) < loss(exact) + 0.002 < loss(dense.p)


def test_labels_are_reweighted_by_odds():
    target = Target("m", "multi", names(1))
    moved = reweight(target, np.array([[0.5], [0.9]], dtype=np.float32), np.array([0.5]), np.array([0.1]))
    assert moved[:, 0] == pytest.approx([0.1, 0.9 * 0.2 / (0.9 * 0.2 + 0.1 * 1.8)], abs=1e-6)


@pytest.mark.parametrize("prior", [(0.8, 0.15, 0.05), (0.1, 0.1, 0.8)])
def test_em_and_bbse_find_the_rates_of_an_unlabelled_set(prior):
    train, _ = normals(BALANCED, seed=1)
    there, _ = normals(np.array(prior), seed=2)
    assert em(TARGET, there.p, BALANCED).prior == pytest.approx(prior, abs=0.015)
    labelled = joint(train.p, train.y, np.ones(len(train.y)))
    assert bbse(labelled, there.p).prior == pytest.approx(prior, abs=0.03)


def test_bbse_is_the_solution_of_the_papers_equation():
    """With population counts, C w = μ has w = the ratio of rates exactly."""
    confusion = np.array([[0.3, 0.05, 0.02], [0.02, 0.25, 0.03], [0.01, 0.02, 0.3]])
    goal = np.array([0.2, 0.5, 0.3])
    decided = confusion / confusion.sum(0) @ goal
    p = np.eye(3)[np.repeat(np.arange(3), np.round(decided * 300_000).astype(int))]
    assert bbse(confusion, p).prior == pytest.approx(goal, abs=1e-4)


def test_em_finds_the_rates_of_labels():
    dense, _ = multi(n=30_000, rates=(0.3, 0.2), sharpness=3.0, seed=5)
    train = class_rates(dense.target, dense.y)
    keep = np.where(dense.y[:, 1] == 1, np.random.default_rng(0).random(30_000) < 0.3, True)
    found = em(dense.target, dense.p[keep], train).prior
    assert found == pytest.approx(dense.y[keep].mean(0), abs=0.02)


@pytest.mark.parametrize("how", ["em", "bbse"])
def test_step_estimates_without_labels_of_the_set(how):
    train, _ = normals(BALANCED, n=8000, seed=3)
    there, exact = normals(np.array([0.85, 0.1, 0.05]), n=8000, seed=4)
    step = PriorShift("balanced", how)
    fitted = step.fit(train, rows_of(8000))
    blind = dense_of(TARGET, there.p, np.full_like(there.y, np.nan))
    out = step.apply(blind, rows_of(8000), fitted)
    assert np.abs(out.p - exact).mean() < 0.02


@pytest.mark.parametrize("how", ["em", "bbse"])
@pytest.mark.parametrize("n", [0, 1, 99])
def test_small_set_keeps_its_probabilities_with_a_note(how, n):
    train, _ = normals(BALANCED, n=3000, seed=3)
    step = PriorShift("balanced", how)
    fitted = step.fit(train, rows_of(3000))
    p = np.tile([0.55, 0.30, 0.15], (100, 1))
    p[n:] = np.nan  # rows that cannot be read count for nothing
    status = np.where(np.arange(100) < n, "ok", "missing").astype(object)
    dense = dataclasses.replace(dense_of(TARGET, p, np.full_like(p, np.nan)), status=status)
    assert np.array_equal(step.apply(dense, rows_of(100), fitted).p, dense.p, equal_nan=True)
    assert f"on {n} answered row" in step.idle(dense)
    assert "at least 100" in step.idle(dense)
    whole = normals(BALANCED, n=100, seed=5)[0]
    assert step.idle(whole) == ""
    assert not np.array_equal(step.apply(whole, rows_of(100), fitted).p, whole.p)
    assert PriorShift("balanced", "truth").idle(dense) == ""


@pytest.mark.parametrize("least", [1, 0, 2.5, True])
def test_a_least_set_size_is_a_whole_number(least):
    with pytest.raises(UserError, match="least"):
        PriorShift(least=least)


def test_logit_adjustment_subtracts_tau_log_prior():
    prior = np.array([0.9, 0.07, 0.03])
    dense, exact = normals(prior, believed=prior)
    assert np.abs(adjust(TARGET, dense.p, prior, 0.5) - softmax(np.log(exact) - 0.5 * np.log(prior), axis=1)).max() < 1e-4
    rows = rows_of(20_000)
    found = crossfit(LogitAdjust(), dense, rows)
    score = lambda d: metrics.score("balanced_accuracy", TARGET, d.p, d.y)  # noqa: E731
    assert score(found.nested) > score(dense) + 0.1
    assert LogitAdjust("fit", "balanced_accuracy").fit(dense, rows)["tau"] == pytest.approx(1.0, abs=0.25)
    assert LogitAdjust("fit", "accuracy").fit(dense, rows)["tau"] == pytest.approx(0.0, abs=0.25)


def test_the_adjustment_of_labels_moves_their_logits():
    target = Target("m", "multi", names(2))
    p, prior = np.array([[0.3, 0.6]], dtype=np.float32), np.array([0.1, 0.4])
    logit = lambda v: np.log(v / (1 - v))  # noqa: E731
    assert logit(adjust(target, p, prior, 0.7)) == pytest.approx(logit(p) - 0.7 * logit(prior), abs=1e-4)


@pytest.mark.parametrize("tau", [-1.0, 0.5, 1.5, 5.0])
def test_any_tau_multiplies_by_that_power_of_the_prior(tau):
    p, prior = np.array([[0.2, 0.3, 0.5]], np.float32), np.array([0.9, 0.0999, 0.0001])
    by_hand = p[0] * prior**-tau  # −1 multiplies by the rates; 0.0001^5 is far below what probabilities are kept off 0
    assert adjust(TARGET, p, prior, tau)[0] == pytest.approx(by_hand / by_hand.sum(), rel=1e-4)


def test_what_cannot_be_estimated_is_said():
    blind = np.array([[0.3, 0.3, 0.3], [0.05, 0.05, 0.0], [0.0, 0.0, 0.0]])
    with pytest.raises(DataError, match="tell all classes apart"):
        bbse(blind, np.eye(3))
    with pytest.raises(DataError, match="class number 2"):
        bbse(np.diag([0.5, 0.5, 0.0]), np.eye(3))
    dense, rows = multi(n=30)
    with pytest.raises(UserError, match="bbse"):
        PriorShift(target="bbse").fit(dense, rows)
    with pytest.raises(UserError, match="guess"):
        PriorShift(target="guess").fit(dense, rows)
    with pytest.raises(UserError, match="'fit'"):
        LogitAdjust("best").fit(dense, rows)
