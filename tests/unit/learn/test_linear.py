import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from tapetum.learn import linear

RNG = np.random.default_rng(0)


def tensors(*arrays):
    return tuple(torch.from_numpy(np.asarray(a, dtype=float)) for a in arrays)


@pytest.mark.parametrize("chunk", [7, 4096])
def test_ridge_is_scikit_learns_with_any_rows_at_a_time(monkeypatch, chunk):
    monkeypatch.setattr(linear, "CHUNK", chunk)
    z, y, w = RNG.normal(size=(50, 6)) + 3, RNG.normal(size=(50, 2)), RNG.uniform(0.5, 2, 50)
    found = linear.ridge(linear.Moments.of(*tensors(z, y, w)), 4.0)
    twin = Ridge(alpha=1 / 4).fit(z, y, sample_weight=w)
    np.testing.assert_allclose(found.weight, twin.coef_, atol=1e-10)
    np.testing.assert_allclose(found.logits(torch.from_numpy(z)).numpy(), twin.predict(z), atol=1e-10)


def test_platt_of_one_column_is_an_unpenalised_logistic_regression():
    score, w = RNG.normal(size=(300, 1)), RNG.uniform(0.5, 2, 300)
    y = (2 * score + RNG.logistic(size=(300, 1)) > 0.5).astype(float)
    slope, bias = linear.platt(*tensors(score, y, w))
    twin = LogisticRegression(C=1e9, tol=1e-10).fit(score, y[:, 0], sample_weight=w)
    np.testing.assert_allclose([slope[0], bias[0]], [twin.coef_[0, 0], twin.intercept_[0]], atol=1e-3)


def test_platt_shares_the_slope_and_gives_each_column_its_rate():
    score, w = RNG.normal(size=(400, 4)), np.ones(400)
    y = (score + RNG.logistic(size=score.shape) > [0, 2, 4, 99]).astype(float)  # the last never occurs
    slope, bias = linear.platt(*tensors(score, y, w))
    assert slope[0] == slope[1] == slope[2] > 0
    p = 1 / (1 + np.exp(-(slope * score + bias)))
    np.testing.assert_allclose(p[:, :3].mean(0), y[:, :3].mean(0), atol=1e-4)
    assert slope[3] == 0
    np.testing.assert_allclose(p[:, 3], 0.5 / 401)


def test_platt_never_turns_a_ranking_round():
    score = RNG.normal(size=(200, 1))
    y = (-score + RNG.logistic(size=score.shape) > 0).astype(float)
    slope, bias = linear.platt(*tensors(score, y, np.ones(200)))
    assert slope[0] == 0
    np.testing.assert_allclose(1 / (1 + np.exp(-bias[0])), y.mean(), atol=1e-4)
