"""The solver of logistic regressions: its gradients by finite differences, its minimum as scikit-learn finds it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import expit
from scipy.special import softmax as by_scipy
from sklearn.linear_model import LogisticRegression

from tapetum.core.errors import DataError
from tapetum.core.logistic import Design, Full, PerClass, Problem, Shared, sigmoid_loss, softmax, softmax_loss

N, D, K = 60, 3, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
LABELS = (X @ RNG.normal(size=(D, K)) + RNG.gumbel(size=(N, K))).argmax(axis=1)
HARD, SOFT = np.eye(K)[LABELS], RNG.random((N, K))
WEIGHT = RNG.random(N) + 0.5
DESIGNS: dict[str, tuple[Design, tuple[int, ...]]] = {
    "full": (Full(X), (D + 1, K)),
    "per class": (PerClass(RNG.normal(size=(N, 2, K))), (3, K)),
    "shared": (Shared(RNG.normal(size=(N, 1, K))), (1 + K,)),
    "shared, same inputs": (Shared(X[:, :, None]), (D + K,)),
}


@pytest.mark.parametrize("loss", [softmax_loss, sigmoid_loss])
@pytest.mark.parametrize("design", DESIGNS)
def test_gradients_are_those_of_finite_differences(design: str, loss):
    made, shape = DESIGNS[design]
    problem = Problem(made, SOFT, WEIGHT, loss, penalty=RNG.random(shape), centre=RNG.normal(size=shape))

    def value(flat: np.ndarray) -> float:
        return problem.value_and_slope(flat.reshape(shape))[0]

    def slope(flat: np.ndarray) -> np.ndarray:
        return problem.value_and_slope(flat.reshape(shape))[1].ravel()

    assert check_grad(value, slope, RNG.normal(size=int(np.prod(shape)))) < 1e-5


@pytest.mark.parametrize("multi", [False, True])
def test_the_minimum_is_that_of_scikit_learn(multi: bool):
    penalty = np.full((D + 1, K), 1 / 0.7)
    penalty[-1] = 0
    y = (SOFT > 0.5).astype(float) if multi else HARD
    found = Problem(Full(X), y, WEIGHT, sigmoid_loss if multi else softmax_loss, penalty).solve(
        np.zeros((D + 1, K)), maxiter=1000, gtol=1e-9, ftol=1e-14
    )

    def theirs(labels: np.ndarray) -> np.ndarray:
        return LogisticRegression(C=0.7, tol=1e-9, max_iter=1000).fit(X, labels, WEIGHT).predict_proba(X)

    z = Full(X).logits(found)
    if multi:
        assert expit(z) == pytest.approx(np.stack([theirs(y[:, c])[:, 1] for c in range(K)], axis=1), abs=1e-5)
    else:
        assert softmax(z) == pytest.approx(theirs(LABELS), abs=1e-5)


def test_without_penalty_mean_answers_are_the_label_rates():
    """The gradient by a bias is Σ w·(p − y): 0 at the minimum, softly labelled rows too."""
    y = SOFT / SOFT.sum(axis=1, keepdims=True)
    theta = Problem(Full(X), y, WEIGHT, softmax_loss).solve(np.zeros((D + 1, K)), gtol=1e-10, ftol=1e-15)
    assert WEIGHT @ softmax(Full(X).logits(theta)) == pytest.approx(WEIGHT @ y, abs=1e-6)


def test_softmax_gives_the_bits_of_scipy():
    z = np.random.default_rng(1).normal(scale=30, size=(500, 7))
    for some in (z, z.astype(np.float32)):
        assert np.array_equal(softmax(some), by_scipy(some, axis=1))
    assert np.array_equal(softmax(z[0]), by_scipy(z[0]))


def test_a_strong_penalty_holds_the_centre_and_bounds_hold():
    centre = RNG.normal(size=(3, K))
    made, _ = DESIGNS["per class"]
    held = Problem(made, SOFT, WEIGHT, sigmoid_loss, penalty=1e9, centre=centre).solve(np.zeros((3, K)))
    assert held == pytest.approx(centre, abs=1e-4)
    against = Shared((1 - 2 * HARD)[:, None])  # a score that is large where the label is 0 would need a slope below 0
    assert Problem(against, HARD, WEIGHT, sigmoid_loss).solve(np.zeros(1 + K), [(0.0, None), *[(None, None)] * K])[0] == 0


def test_what_f_is_multiplied_by_moves_no_minimum():
    made, shape = DESIGNS["full"]
    one, other = (
        Problem(made, HARD, WEIGHT, softmax_loss, 1.0, factor=factor).solve(np.zeros(shape), gtol=1e-9, ftol=1e-15)
        for factor in (None, 3.0)
    )
    assert one == pytest.approx(other, abs=1e-6)


def test_single_precision_stays_so_and_finds_the_same():
    exact = Problem(Full(X), HARD, WEIGHT, softmax_loss, 1.0).solve(np.zeros((D + 1, K)))
    x, y, weight = (a.astype(np.float32) for a in (X, HARD, WEIGHT))
    assert Full(x).logits(exact).dtype == np.float32
    assert Problem(Full(x), y, weight, softmax_loss, 1.0).solve(np.zeros((D + 1, K))) == pytest.approx(exact, abs=1e-3)


def test_far_logits_overflow_nowhere():
    for loss in (softmax_loss, sigmoid_loss):
        value, slope = loss(np.array([[1e4, -1e4]]), np.array([[0.0, 1.0]]), np.ones(1))
        assert value == pytest.approx(2e4)
        assert slope == pytest.approx(np.array([[1.0, -1.0]]))


@pytest.mark.parametrize("factor", [None, 1.0])
@pytest.mark.parametrize("weight", [np.zeros(N), np.full(N, 1e308), np.full(N, np.nan)], ids=["zero", "infinite sum", "nan"])
def test_weights_without_a_finite_sum_are_refused(weight, factor):
    with pytest.raises(DataError, match="weights of 60 rows"):
        Problem(Full(X), HARD, weight, softmax_loss, 1.0, factor=factor).solve(np.zeros((D + 1, K)))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("loss", [softmax_loss, sigmoid_loss])
def test_a_solution_that_is_not_finite_is_refused(loss):
    x = X.copy()
    x[3] = np.nan
    with pytest.raises(DataError, match="no finite solution"):
        Problem(Full(x), HARD, WEIGHT, loss, 1.0).solve(np.zeros((D + 1, K)))
