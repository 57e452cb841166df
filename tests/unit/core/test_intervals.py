"""Intervals against re-scoring of resampled rows, published values and simulation."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from tapetum.core import counts, intervals, metrics
from tapetum.core.errors import UserError
from tapetum.core.targets import Target

K = 4
SINGLE = Target("s", "single", tuple("abcd"))
ORDINAL = Target("o", "ordinal", tuple("abcd"))
MULTI = Target("m", "multi", tuple("abcd"))
NUMBER = Target("r", "regression")
BY_KIND = {t.kind: t for t in (SINGLE, ORDINAL, MULTI, NUMBER)}
EVERY = [(name, BY_KIND[kind]) for name, metric in metrics.METRICS.items() for kind in metric.kinds]


def rows_of(target, n, seed=0):
    rng = np.random.default_rng(seed)
    if target.kind == "regression":
        y = rng.normal(30, 10, (n, 1))
        return y + rng.normal(size=(n, 1)), y
    y = (rng.random((n, K)) < 0.3).astype(float) if target.kind == "multi" else np.eye(K)[rng.integers(0, K, n)]
    p = 0.3 * y + rng.random((n, K))
    return (p / p.max() if target.kind == "multi" else p / p.sum(axis=1, keepdims=True)), y


def by_hand(metric, target, p, y, groups, weight=None, resamples=2000, seed=1):
    """Draw groups with replacement and score the rows again."""
    rng = np.random.default_rng(seed)
    names = np.unique(groups)
    members = [np.flatnonzero(groups == name) for name in names]
    values = []
    for _ in range(resamples):
        rows = np.concatenate([members[g] for g in rng.integers(0, len(names), len(names))])
        values.append(metrics.score(metric, target, p[rows], y[rows], None if weight is None else weight[rows]))
    return np.quantile([v for v in values if v is not None], [0.025, 0.975])


@pytest.mark.parametrize(("metric", "target"), EVERY)
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_groups_are_the_same_as_scoring_the_rows_again(metric, target, weighted):
    """Each draw's score equals that of the rows repeated as the draw says, for the very same draws."""
    p, y = rows_of(target, 60)
    rng = np.random.default_rng(3)
    weight = rng.exponential(size=60) if weighted else None
    codes = rng.permutation(np.arange(60) % 12)
    kept = counts.keep(target, p, y, weight)
    plan = intervals._Plan(codes, 12, 20, 7)
    found = intervals._replicates(metrics.METRICS[metric], [kept], plan)[0]
    drawn = np.concatenate(list(intervals._weights(np.ones(12), plan, 6)))
    assert (drawn.sum(axis=1) == 12).all()
    expected = [metrics.score(metric, target, p, y, row[codes] * kept.weight) for row in drawn]
    np.testing.assert_allclose(found, np.array([np.nan if v is None else v for v in expected]), rtol=1e-9)


@pytest.mark.parametrize(
    ("metric", "target"),
    [("macro_f1", SINGLE), ("kappa", ORDINAL), ("macro_f1", MULTI), ("log_loss", SINGLE), ("r2", NUMBER), ("roc_auc", MULTI)],
)
@pytest.mark.parametrize("many", [25, 200])
def test_bounds_agree_with_resampling_by_hand(metric, target, many):
    p, y = rows_of(target, 200)
    groups = np.arange(200) % many
    low, high = by_hand(metric, target, p, y, groups, resamples=250)
    found = intervals.interval(metric, target, p, y, groups, resamples=2000)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.25 * width)
    assert found.high == pytest.approx(high, abs=0.25 * width)
    assert found.value == pytest.approx(metrics.score(metric, target, p, y), rel=1e-9)
    assert (found.n, found.groups) == (200, many)


def test_single_rows_agree_with_scipy():
    p, y = rows_of(NUMBER, 300)
    errors = np.abs(p - y)[:, 0]
    expected = bootstrap((errors,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(0)).confidence_interval
    found = intervals.interval("mae", NUMBER, p, y, np.arange(300), resamples=4000)
    assert found.low == pytest.approx(expected.low, rel=0.01)
    assert found.high == pytest.approx(expected.high, rel=0.01)


def test_many_single_rows_collapse_into_cells_with_the_right_spread():
    """The multinomial over cells must give the standard error of a share, and weights of 1 + 1e-9 prevent the short cut."""
    p, y = rows_of(SINGLE, 4000)
    share = metrics.score("accuracy", SINGLE, p, y)
    kept = counts.keep(SINGLE, p, y)
    short = intervals._replicates(metrics.METRICS["accuracy"], [kept], intervals._Plan(np.arange(4000), 4000, 2000, 0))[0]
    assert short.std() == pytest.approx(math.sqrt(share * (1 - share) / 4000), rel=0.08)
    assert short.mean() == pytest.approx(share, abs=0.001)
    quick = intervals.interval("macro_f1", SINGLE, p, y, np.arange(4000))
    slow = intervals.interval("macro_f1", SINGLE, p, y, np.arange(4000), weight=1 + 1e-9 * np.arange(4000) / 4000, resamples=500)
    assert quick.high - quick.low == pytest.approx(slow.high - slow.low, rel=0.15)


def test_alike_groups_collapse_without_loss():
    rows = np.array([[1.0, 2.0], [0.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    first, place, times = counts.alike(rows)
    np.testing.assert_array_equal(rows[first][place], rows)
    assert sorted(times.tolist()) == [1, 3]


def test_rows_of_one_group_widen_the_interval():
    """Each row ten times over, as a group, is no more evidence than each row once."""
    p, y = rows_of(SINGLE, 150)
    once = intervals.interval("macro_f1", SINGLE, p, y, np.arange(150))
    again = np.repeat(np.arange(150), 10)
    grouped = intervals.interval("macro_f1", SINGLE, p[again], y[again], again)
    alone = intervals.interval("macro_f1", SINGLE, p[again], y[again], np.arange(1500))
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=0.1)
    assert alone.high - alone.low < 0.5 * (grouped.high - grouped.low)


def test_wilson_equals_the_published_example():
    """Newcombe 1998, Stat. Med. 17, 857, table I: 81/263, 15/148, 0/20 and 1/29."""
    for successes, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):
        assert intervals.wilson(successes, n) == pytest.approx((low, high), abs=5e-5)
    assert intervals.wilson(20, 20)[1] == 1.0
    assert all(math.isnan(bound) for bound in intervals.wilson(0, 0))
    with pytest.raises(UserError, match="21 successes of 20"):
        intervals.wilson(21, 20)


def test_wilson_stands_only_where_every_row_is_its_own_group():
    p, y = rows_of(SINGLE, 90)
    alone = intervals.interval("accuracy", SINGLE, p, y, np.arange(90))
    right = round(alone.value * 90)
    assert alone.method == intervals.WILSON
    assert (alone.low, alone.high) == pytest.approx(intervals.wilson(right, 90))
    groups = np.arange(90)
    groups[1] = 0
    assert intervals.interval("accuracy", SINGLE, p, y, groups).method == intervals.BOOTSTRAP
    assert intervals.interval("accuracy", SINGLE, p, y, np.arange(90), weight=np.full(90, 2.0)).method == intervals.BOOTSTRAP
    assert intervals.interval("macro_f1", SINGLE, p, y, np.arange(90)).method == intervals.BOOTSTRAP


def test_a_difference_is_paired():
    """Two answers that err together differ with more certainty than two figures on their own."""
    p, y = rows_of(SINGLE, 400)
    groups = np.arange(400) // 4
    better = p + 0.05 * y
    better /= better.sum(axis=1, keepdims=True)
    found = intervals.difference("macro_f1", SINGLE, better, p, y, groups)
    one, other = (intervals.interval("macro_f1", SINGLE, q, y, groups) for q in (better, p))
    assert found.value == pytest.approx(one.value - other.value)
    assert found.low > 0
    assert found.high - found.low < 0.6 * (one.high - one.low)
    turned = intervals.difference("macro_f1", SINGLE, p, better, y, groups)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize(("metric", "target"), EVERY)
def test_nothing_differs_from_itself(metric, target):
    p, y = rows_of(target, 80)
    for groups in (np.arange(80), np.arange(80) // 4):
        found = intervals.difference(metric, target, p, p.copy(), y, groups, resamples=50)
        assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_difference_of_decisions_and_of_common_rows():
    p, y = rows_of(MULTI, 200)
    found = intervals.difference("macro_f1", MULTI, p, p, y, np.arange(200) // 2, answer_a=y, answer_b=None)
    assert found.value == pytest.approx(1 - metrics.score("macro_f1", MULTI, p, y))
    assert found.low > 0
    holed = p.copy()
    holed[::3] = np.nan
    left = ~np.isnan(holed).any(axis=1)
    part = intervals.difference("macro_f1", MULTI, holed, 1 - p, y, np.arange(200) // 2)
    assert part.n == left.sum()
    assert part.value == pytest.approx(
        metrics.score("macro_f1", MULTI, p[left], y[left]) - metrics.score("macro_f1", MULTI, 1 - p[left], y[left])
    )


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """60 sets of 80 correlated groups; 95 % of intervals should hold the true accuracy (binomial: at least 50 of 60)."""
    hits = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        right = rng.random(400) < np.repeat(rng.beta(7, 3, 80), 5)
        y = np.eye(2)[np.zeros(400, int)]
        p = np.eye(2)[np.where(right, 0, 1)]
        found = intervals.interval("accuracy", Target("b", "single", ("x", "y")), p, y, np.repeat(np.arange(80), 5), resamples=300)
        hits += found.low <= 0.7 <= found.high
    assert hits >= 50


def test_each_class_has_its_interval():
    p, y = rows_of(SINGLE, 300)
    groups = np.arange(300) // 3
    rows = intervals.per_class_intervals(SINGLE, p, y, groups, resamples=1000)
    assert [r["f1"] for r in rows] == [r["f1"] for r in metrics.per_class(SINGLE, p, y)]
    for row in rows:
        for name in ("precision", "recall", "f1"):
            assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]
    hit = (p.argmax(axis=1) == 0)[y[:, 0] == 1]
    own = intervals.interval(
        "accuracy", Target("b", "single", ("x", "y")), np.eye(2)[(~hit).astype(int)], np.eye(2)[hit * 0], groups[y[:, 0] == 1]
    )
    assert rows[0]["recall_high"] - rows[0]["recall_low"] == pytest.approx(own.high - own.low, rel=0.3)


def test_a_class_that_is_absent_has_no_bounds():
    p, y = rows_of(SINGLE, 60)
    p[:, 3], y[:, 3] = 0, 0
    y[y.sum(axis=1) == 0, 0] = 1
    row = intervals.per_class_intervals(SINGLE, p, y, np.arange(60))[3]
    assert (row["n"], row["f1"], row["f1_low"], row["f1_high"]) == (0, 0.0, None, None)
    assert intervals.per_class_intervals(NUMBER, p[:, :1], y[:, :1], np.arange(60)) == []


def test_one_group_or_no_rows_have_no_bounds():
    p, y = rows_of(SINGLE, 10)
    one = intervals.interval("macro_f1", SINGLE, p, y, np.zeros(10))
    assert one.value == metrics.score("macro_f1", SINGLE, p, y)
    assert math.isnan(one.low)
    assert one.to_dict()["high"] is None
    none = intervals.interval("accuracy", SINGLE, p * np.nan, y, np.arange(10))
    assert (none.n, none.to_dict()["value"]) == (0, None)
    with pytest.raises(UserError, match="one group a row"):
        intervals.interval("accuracy", SINGLE, p, y, np.arange(9))


def test_the_same_seed_gives_the_same_bounds_whatever_groups_are_called():
    p, y = rows_of(SINGLE, 120)
    numbers = np.arange(120) // 2
    names = np.array([f"patient {n}" for n in numbers], dtype=object)
    one, other = (intervals.interval("kappa", SINGLE, p, y, g, resamples=200) for g in (numbers, names))
    assert one == other
    assert one != intervals.interval("kappa", SINGLE, p, y, numbers, resamples=200, seed=1)
