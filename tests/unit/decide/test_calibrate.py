import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.isotonic import IsotonicRegression

from simulated_predictions import dense_of, multi, names, rows_of, single
from tapetum.core import files, metrics
from tapetum.core.errors import UserError
from tapetum.core.targets import Target
from tapetum.decide.calibrate import Isotonic, Platt, Temperature, Vector, logit
from tapetum.decide.reliability import equal_mass, reliability
from tapetum.decide.steps import crossfit

ALL = [Temperature(), Vector(), Platt(), Isotonic()]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.6, 3.0])
def test_planted_temperature_is_found_within_5_percent(temperature):
    dense, rows = single(n=20_000, temperature=temperature, seed=3)
    assert Temperature().fit(dense, rows)["temperature"] == pytest.approx(temperature, rel=0.05)
    labels, rows = multi(n=20_000, temperature=temperature, rates=(0.3, 0.1, 0.2), seed=4)
    assert Temperature().fit(labels, rows)["temperature"] == pytest.approx(temperature, rel=0.05)


def test_the_temperature_is_the_minimum_of_the_log_loss():
    dense, rows = single(n=500, temperature=2.0)
    z = np.log(dense.p.astype(np.float64))
    loss = lambda log_t: -(dense.y * log_softmax(z / np.exp(log_t), axis=1)).sum()  # noqa: E731
    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})
    assert Temperature().fit(dense, rows)["temperature"] == pytest.approx(np.exp(best.x), rel=1e-5)


def test_temperature_ends_at_its_bounds_for_extreme_members():
    dense, rows = single(n=200)
    right = dense.with_p(0.97 * dense.y + 0.01)
    assert Temperature().fit(right, rows)["temperature"] == pytest.approx(0.05)
    wrong = dense.with_p(0.97 * np.roll(dense.y, 1, axis=1) + 0.01)
    assert Temperature().fit(wrong, rows)["temperature"] == pytest.approx(20)


def test_temperature_keeps_every_decision_and_rows_without_answer():
    dense, rows = single(n=300, temperature=2.0)
    dense = dataclasses.replace(
        dense,
        p=np.where(np.arange(300)[:, None] < 5, np.nan, dense.p),
        status=np.where(np.arange(300) < 5, "missing", "ok").astype(object),
    )
    step = Temperature()
    out = step.apply(dense, rows, step.fit(dense, rows))
    assert out.status.tolist() == dense.status.tolist()
    assert (out.p[5:].argmax(1) == dense.p[5:].argmax(1)).all()


def test_vector_scaling_undoes_a_factor_and_offsets_of_classes():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1.5, (40_000, 3))
    y = np.eye(3)[(softmax(z, axis=1).cumsum(1) < rng.random((len(z), 1))).sum(1).clip(0, 2)]
    told = softmax(z / 0.4 - [0.5, 0.0, -1.0], axis=1)
    dense, rows = dense_of(Target("k", "single", names(3)), told, y), rows_of(len(z))
    step = Vector()
    out = step.apply(dense, rows, step.fit(dense, rows))
    best = -(y * log_softmax(z, axis=1)).sum(1).mean()
    plain = metrics.score("log_loss", dense.target, dense.p, y)
    assert metrics.score("log_loss", dense.target, out.p, y) - best < 0.02 * (plain - best)


def test_platt_agrees_with_scikit_learns_sigmoid():
    from sklearn.calibration import _SigmoidCalibration

    dense, rows = multi(n=3000, temperature=2.0)
    fitted = Platt().fit(dense, rows)
    for c in range(dense.target.width):
        z = logit(dense.p[:, c])
        twin = _SigmoidCalibration().fit(z, dense.y[:, c])
        mine = expit(fitted["slope"][c] * z + fitted["offset"][c])
        assert np.abs(mine - twin.predict(z)).max() < 2e-3


def test_isotonic_agrees_with_scikit_learn_and_rises():
    dense, rows = multi(n=2000, temperature=2.0)
    step = Isotonic()
    out = step.apply(dense, rows, step.fit(dense, rows))
    edge = 1 / 2002
    for c in range(dense.target.width):
        twin = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(dense.p[:, c].astype(float), dense.y[:, c])
        assert np.abs(out.p[:, c] - twin.predict(dense.p[:, c].astype(float))).max() < 1e-6
        assert (np.diff(out.p[np.argsort(dense.p[:, c]), c]) >= -1e-7).all()


@pytest.mark.parametrize("step", ALL)
@pytest.mark.parametrize("make", [single, multi])
def test_every_calibration_lowers_nested_log_loss_of_overconfident_members(step, make):
    dense, rows = make(n=6000, temperature=2.5)
    found = crossfit(step, dense, rows)
    before = metrics.score("log_loss", dense.target, dense.p, dense.y)
    after = metrics.score("log_loss", dense.target, found.nested.p, dense.y)
    assert after < before
    assert files.to_json(found.final)  # plain JSON values, no NaN
    if dense.target.is_distribution:
        assert np.allclose(found.nested.p.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("step", ALL)
def test_a_class_without_rows_breaks_nothing(step):
    dense, rows = single(n=300)
    keep = dense.y[:, 3] == 0
    dense, rows = dense.where(keep), rows.where(keep)
    out = step.apply(dense, rows, step.fit(dense, rows))
    assert np.isfinite(out.p).all()


@pytest.mark.parametrize("step", ALL)
def test_a_number_cannot_be_calibrated(step):
    dense = dense_of(Target("age", "regression"), np.ones((5, 1)), np.ones((5, 1)))
    with pytest.raises(UserError, match="regression"):
        step.fit(dense, rows_of(5))


def test_calibration_error_is_the_paper_formula_and_falls_after_calibration():
    dense, rows = single(n=3000, temperature=2.5)
    found = reliability(dense, rows, bins=10)
    top, hit = dense.p.max(1).astype(float), dense.y[np.arange(3000), dense.p.argmax(1)]
    order = np.array_split(np.argsort(top, kind="stable"), 10)
    by_hand = sum(len(part) / 3000 * abs(top[part].mean() - hit[part].mean()) for part in order)
    assert found.error.value == pytest.approx(by_hand, abs=2e-3)
    assert found.error.low > 0.05
    assert {b["n"] for b in found.bins} <= set(range(295, 306))
    better = reliability(crossfit(Temperature(), dense, rows).nested, rows, bins=10)
    assert better.error.value < 0.03


def test_the_interval_of_the_error_widens_with_clusters():
    dense, rows = single(n=2000, temperature=2.0)
    order = np.argsort(dense.p.max(1))
    clustered = dataclasses.replace(rows, groups=np.array([f"g{i}" for i in np.argsort(order) // 100], dtype=object))
    loose = reliability(dense, clustered).error
    tight = reliability(dense, dataclasses.replace(rows, groups=dense.row_ids)).error
    assert loose.value == tight.value
    assert loose.groups == 20
    assert tight.groups == 2000


def test_equal_values_share_a_bin():
    which, edges = equal_mass(np.array([0.2] * 50 + [0.9] * 50), 10)
    assert len(set(which[:50])) == 1
    assert len(edges) - 1 <= 2
    which, _ = equal_mass(np.full(7, 0.3), 5)
    assert set(which) == {0}
