"""Every score against scikit-learn, called with all K labels and zero_division 0."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from tapetum.core import metrics
from tapetum.core.errors import UserError
from tapetum.core.targets import Target

K = 6
LABELS = list(range(K))
CLOSE = {"rel": 1e-12, "abs": 1e-12}
SINGLE = Target("s", "single", tuple("abcdef"))
ORDINAL = Target("o", "ordinal", tuple("abcdef"))
MULTI = Target("m", "multi", tuple("abcdef"))
NUMBER = Target("r", "regression")


def one_of_k(seed, rows=300, absent=()):
    rng = np.random.default_rng(seed)
    present = [k for k in LABELS if k not in absent]
    truth = rng.choice(present, rows)
    p = rng.dirichlet(np.full(K, 0.5), rows) + np.eye(K)[truth] * (rng.random((rows, 1)) < 0.5)
    p[:, list(absent)[:1]] = 0  # the first absent class is never answered, the others are
    return p / p.sum(axis=1, keepdims=True), np.eye(K)[truth], rng.exponential(size=rows), truth


def some_of_k(seed, rows=200, absent=()):
    rng = np.random.default_rng(seed)
    y = (rng.random((rows, K)) < np.linspace(0.05, 0.6, K)).astype(float)
    y[:, list(absent)] = 0
    p = np.round(np.clip(0.4 * y + 0.6 * rng.random((rows, K)), 0, 1), 2)  # rounded: many ties
    return p, y, rng.exponential(size=rows)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("absent", [(), (2,), (0, 3)])
@pytest.mark.parametrize("seed", range(3))
def test_scores_of_one_class_a_row_equal_scikit_learn(seed, absent, weighted):
    p, y, weight, truth = one_of_k(seed, absent=absent)
    weight, answer = (weight if weighted else None), p.argmax(axis=1)
    given = {"sample_weight": weight}
    expected = {
        "accuracy": sk.accuracy_score(truth, answer, **given),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, answer, **given),
        "kappa": sk.cohen_kappa_score(truth, answer, labels=LABELS, **given),
        "quadratic_kappa": sk.cohen_kappa_score(truth, answer, labels=LABELS, weights="quadratic", **given),
        "log_loss": sk.log_loss(truth, p, labels=LABELS, **given),
        "brier": sk.brier_score_loss(truth, p, labels=LABELS, scale_by_half=False, **given),
        "ordinal_mae": sk.mean_absolute_error(truth, answer, **given),
    }
    for average in ("macro", "micro", "weighted"):
        expected[f"{average}_f1"] = sk.f1_score(truth, answer, labels=LABELS, average=average, zero_division=0, **given)
    found = metrics.scores(ORDINAL, p, y, weight)
    assert found == pytest.approx(expected, **CLOSE)
    assert set(metrics.scores(SINGLE, p, y)) == set(expected) - {"ordinal_mae", "quadratic_kappa"}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("absent", [(), (1, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_scores_of_several_labels_equal_scikit_learn(seed, absent, weighted):
    p, y, weight = some_of_k(seed, absent=absent)
    weight, present = (weight if weighted else None), [k for k in LABELS if k not in absent]
    given, answer = {"sample_weight": weight}, p >= 0.5
    expected = {
        "exact_match": sk.accuracy_score(y, answer, **given),
        "brier": np.mean([np.average((p[:, k] - y[:, k]) ** 2, weights=weight) for k in LABELS]),
        "log_loss": np.mean([sk.log_loss(y[:, k], p[:, k], labels=[0, 1], **given) for k in LABELS]),
        "average_precision": np.mean([sk.average_precision_score(y[:, k], p[:, k], **given) for k in present]),
        "roc_auc": np.mean([sk.roc_auc_score(y[:, k], p[:, k], **given) for k in present]),
    }
    for average in ("macro", "micro", "weighted"):
        expected[f"{average}_f1"] = sk.f1_score(y, answer, average=average, zero_division=0, **given)
    assert metrics.scores(MULTI, p, y, weight) == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_scores_of_numbers_equal_scikit_learn(shift, weighted):
    rng = np.random.default_rng(5)
    y = rng.normal(shift, 2, 400)
    p, weight = y + rng.normal(size=400), (rng.exponential(size=400) if weighted else None)
    expected = {
        "mae": sk.mean_absolute_error(y, p, sample_weight=weight),
        "rmse": sk.root_mean_squared_error(y, p, sample_weight=weight),
        "r2": sk.r2_score(y, p, sample_weight=weight),
    }
    assert metrics.scores(NUMBER, p[:, None], y[:, None], weight) == pytest.approx(expected, rel=1e-10)


def test_each_class_equals_scikit_learn_and_says_how_many_rows():
    p, y, weight, truth = one_of_k(1, absent=(2,))
    answer = p.argmax(axis=1)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, answer, labels=LABELS, sample_weight=weight, zero_division=0)
    rows = metrics.per_class(SINGLE, p, y, weight)
    assert [row["class"] for row in rows] == list("abcdef")
    assert [row["n"] for row in rows] == [int((truth == k).sum()) for k in LABELS]
    assert [row["predicted"] for row in rows] == [int((answer == k).sum()) for k in LABELS]
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert [row[name] for row in rows] == pytest.approx(expected, **CLOSE)


def test_absent_class_has_no_average_precision_or_roc_auc():
    p, y, _ = some_of_k(0, absent=(1,))
    rows = metrics.per_class(MULTI, p, y)
    assert (rows[1]["average_precision"], rows[1]["roc_auc"]) == (None, None)
    assert rows[0]["average_precision"] == pytest.approx(sk.average_precision_score(y[:, 0], p[:, 0]), **CLOSE)
    assert rows[0]["roc_auc"] == pytest.approx(sk.roc_auc_score(y[:, 0], p[:, 0]), **CLOSE)


def test_universal_class_has_average_precision_one_and_no_roc_auc():
    row = metrics.per_class(MULTI, np.full((4, K), 0.3), np.ones((4, K)))[0]
    assert (row["average_precision"], row["roc_auc"]) == (1.0, None)


def test_one_against_the_rest_is_scored_when_asked_for():
    p, y, weight, _ = one_of_k(4)
    expected = sk.roc_auc_score(y, p, average="macro", sample_weight=weight)
    assert metrics.score("roc_auc", SINGLE, p, y, weight) == pytest.approx(expected, **CLOSE)
    assert "roc_auc" not in metrics.scores(SINGLE, p, y)


def test_confusion_equals_scikit_learn_and_a_hand_count():
    _, _, weight, truth = one_of_k(2)
    answer = np.roll(truth, 1)
    expected = sk.confusion_matrix(truth, answer, labels=LABELS, sample_weight=weight)
    np.testing.assert_allclose(metrics.confusion(truth, answer, K, weight), expected, rtol=1e-12)
    assert metrics.confusion([0, 0, 1], [0, 1, 1], 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_rows_without_truth_or_answer_are_left_out():
    p, y, weight, _ = one_of_k(3)
    holed_p, holed_y = p.copy(), y.copy()
    holed_p[::7], holed_y[::5] = np.nan, np.nan
    left = ~(np.isnan(holed_p) | np.isnan(holed_y)).any(axis=1)
    assert metrics.scores(SINGLE, holed_p, holed_y, weight) == metrics.scores(SINGLE, p[left], y[left], weight[left])


def test_decisions_replace_the_largest_probability():
    p, y, _, _ = one_of_k(3)
    assert metrics.score("accuracy", SINGLE, p, y, answer=y) == 1.0
    assert metrics.score("log_loss", SINGLE, p, y, answer=y) == metrics.score("log_loss", SINGLE, p, y)
    p, y, _ = some_of_k(3)
    found = metrics.score("macro_f1", MULTI, p, y, answer=p >= 0.2)
    assert found == pytest.approx(sk.f1_score(y, p >= 0.2, average="macro"), **CLOSE)


def test_float32_is_clipped_by_its_own_epsilon():
    p, y = np.array([[1, 0], [0, 1]], np.float32), np.array([[1, 0], [1, 0]], np.float32)
    eps = np.finfo(np.float32).eps
    assert metrics.score("log_loss", Target("b", "single", ("x", "y")), p, y) == pytest.approx(
        (-np.log(1 - np.float64(eps)) - np.log(np.float64(eps))) / 2, rel=1e-12
    )


@pytest.mark.parametrize("name", ["kappa", "quadratic_kappa"])
def test_agreement_is_undefined_where_there_is_one_class(name):
    same = np.eye(K)[np.full(5, 3)]
    assert metrics.score(name, ORDINAL, same, same, np.full(5, 0.1)) is None


def test_r2_is_undefined_for_a_constant_truth():
    assert metrics.score("r2", NUMBER, np.arange(7.0)[:, None], np.full((7, 1), 0.1)) is None


def test_no_rows_give_no_scores():
    nothing = np.full((3, K), np.nan)
    assert set(metrics.scores(SINGLE, nothing, nothing).values()) == {None}
    assert [row["n"] for row in metrics.per_class(MULTI, nothing, nothing)] == [0] * K
    assert metrics.score("roc_auc", MULTI, nothing, nothing) is None


@given(st.integers(0, 10_000), st.sampled_from([m for m in metrics.METRICS if "multi" in metrics.METRICS[m].kinds]))
def test_a_whole_weight_is_the_same_as_so_many_rows(seed, name):
    rng = np.random.default_rng(seed)
    p, y, times = np.round(rng.random((12, 3)), 1), (rng.random((12, 3)) < 0.4).astype(float), rng.integers(0, 4, 12)
    target = Target("m", "multi", ("a", "b", "c"))
    again = np.repeat(np.arange(12), times)
    one, other = metrics.score(name, target, p, y, times), metrics.score(name, target, p[again], y[again])
    if len(again):
        assert one == (None if other is None else pytest.approx(other, abs=1e-12))


def test_the_order_of_the_rows_changes_nothing():
    p, y, weight = some_of_k(8)
    shuffled = np.random.default_rng(0).permutation(len(p))
    assert metrics.scores(MULTI, p[shuffled], y[shuffled], weight[shuffled]) == pytest.approx(
        metrics.scores(MULTI, p, y, weight), rel=1e-12
    )


def test_the_default_is_macro_f1_or_an_absolute_error():
    assert [metrics.default_metric(t) for t in (SINGLE, MULTI, ORDINAL, NUMBER)] == ["macro_f1", "macro_f1", "ordinal_mae", "mae"]


def test_every_metric_scores_its_kinds_and_names_its_direction():
    worse = {"log_loss", "brier", "ordinal_mae", "mae", "rmse"}
    assert {m.name for m in metrics.METRICS.values() if not m.greater_is_better} == worse
    p, y, _, _ = one_of_k(0)
    for metric in metrics.METRICS.values():
        for target in (SINGLE, ORDINAL, MULTI, NUMBER):
            width = target.width
            if target.kind in metric.kinds:
                assert isinstance(metrics.score(metric.name, target, p[:, :width], y[:, :width]), float)
            else:
                with pytest.raises(UserError, match=f"cannot score '{target.name}'"):
                    metrics.score(metric.name, target, p[:, :width], y[:, :width])


def test_a_monitor_is_read():
    targets = [SINGLE, MULTI, NUMBER]
    assert metrics.parse("m/macro_f1", targets) == (MULTI, "macro_f1")
    assert metrics.parse("mae", targets) == (NUMBER, "mae")
    assert metrics.parse("kappa", {"s": SINGLE}) == (SINGLE, "kappa")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("macro_f1", "could mean s, m"),
        ("ordinal_mae", "suits none"),
        ("sx/macro_f1", "there are: s, m"),
        ("s/macrof1", "Did you mean 'macro_f1'"),
        ("acuracy", "Did you mean 'accuracy'"),
        ("s/mae", "cannot score 's', a single target"),
    ],
)
def test_a_wrong_monitor_is_refused(text, says):
    with pytest.raises(UserError, match=says):
        metrics.parse(text, [SINGLE, MULTI, NUMBER] if text != "ordinal_mae" else [SINGLE])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"p": np.zeros((3, 5))}, r"p of target 's' has shape \(3, 5\); needed: \(rows, 6\)"),
        ({"y": np.zeros((2, 6))}, "3 rows of p and 2 of y"),
        ({"weight": np.ones(2)}, "one weight a row"),
        ({"weight": np.array([1, -1, 1])}, "negative"),
        ({"answer": np.zeros((3, 6))}, "no class or several"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    given = {"p": np.full((3, 6), 1 / 6), "y": np.eye(6)[:3], **change}
    with pytest.raises(UserError, match=says):
        metrics.score("accuracy", SINGLE, **given)


def test_merit_is_a_score_of_which_more_is_better():
    target, y = Target("t", "single", ("a", "b")), np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.4, 0.6]], dtype=np.float32)
    assert metrics.merit("accuracy", target, p, y) == metrics.score("accuracy", target, p, y) == 0.75
    assert metrics.merit("log_loss", target, p, y) == -metrics.score("log_loss", target, p, y)
    assert metrics.merit("accuracy", target, p, y, answer=y) == 1
    assert metrics.merit("accuracy", target, np.full_like(p, np.nan), y) == -np.inf


def test_figures_that_are_not_defined_are_none_in_json():
    assert metrics.defined({"a": 0.5, "b": -np.inf, "c": float("nan")}) == {"a": 0.5, "b": None, "c": None}
