"""Intervals against scoring without each group, published values and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from tapetum.core import counts, intervals, metrics
from tapetum.core.errors import UserError
from tapetum.core.shares import wilson
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


def without_each(metric, target, p, y, groups, weight=None):
    """Score the rows again without each group in turn."""
    left = [groups != name for name in dict.fromkeys(groups.tolist())]
    values = [metrics.score(metric, target, p[keep], y[keep], None if weight is None else weight[keep]) for keep in left]
    return np.array([np.nan if v is None else v for v in values])


@pytest.mark.parametrize(("metric", "target"), EVERY)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("many", [12, 60])
def test_sums_without_a_group_score_the_other_rows(metric, target, weighted, many):
    p, y = rows_of(target, 60)
    rng = np.random.default_rng(3)
    weight = rng.exponential(size=60) if weighted else None
    groups = rng.permutation(np.arange(60) % many)
    expected = without_each(metric, target, p, y, groups, weight)
    error = np.sqrt((many - 1) / many * ((expected - expected.mean()) ** 2).sum())
    found = intervals.interval(metric, target, p, y, groups, weight=weight)
    if found.method == intervals.WILSON:
        error = math.sqrt(found.value * (1 - found.value) / 60)
    assert found.standard_error == pytest.approx(error, rel=1e-7)


def test_standard_error_of_single_rows_is_the_means():
    p, y = rows_of(NUMBER, 300)
    errors = np.abs(p - y)[:, 0]
    found = intervals.interval("mae", NUMBER, p, y, np.arange(300))
    assert found.standard_error == pytest.approx(errors.std(ddof=1) / math.sqrt(300), rel=1e-9)
    expected = bootstrap((errors,), np.mean, method="BCa", n_resamples=4000, rng=np.random.default_rng(0)).confidence_interval
    assert found.low == pytest.approx(expected.low, rel=0.03)
    assert found.high == pytest.approx(expected.high, rel=0.03)


def test_many_single_rows_collapse_into_cells_with_the_same_spread():
    """Weights of 1 + 1e-9 prevent the short cut."""
    p, y = rows_of(SINGLE, 1000)
    quick = intervals.interval("macro_f1", SINGLE, p, y, np.arange(1000))
    slow = intervals.interval("macro_f1", SINGLE, p, y, np.arange(1000), weight=1 + 1e-9 * np.arange(1000) / 1000)
    assert quick.standard_error == pytest.approx(slow.standard_error, rel=1e-5)


def test_rankings_of_many_groups_are_measured_in_blocks():
    p, y = rows_of(MULTI, 900)
    exact = without_each("roc_auc", MULTI, p, y, np.arange(900) // 2)
    error = np.sqrt(449 / 450 * ((exact - exact.mean()) ** 2).sum())
    assert intervals.interval("roc_auc", MULTI, p, y, np.arange(900) // 2).standard_error == pytest.approx(error, rel=0.15)


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
        assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(20, 20)[1] == 1.0
    assert all(math.isnan(bound) for bound in wilson(0, 0))
    with pytest.raises(UserError, match="21 successes of 20"):
        wilson(21, 20)


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (3, 7), (7, 7), (81, 263), (1, 5000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_equals_scipy_for_whole_numbers(successes: int, n: int, level: float):
    expected = binomtest(successes, n).proportion_ci(level, method="wilson")
    assert wilson(successes, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_takes_effective_numbers_of_rows():
    """Between 37 and 38 rows the bounds of the same share lie between theirs."""
    lows = [wilson(0.8 * n, n)[0] for n in (37, 37.4, 38)]
    assert lows == sorted(lows)


def test_wilson_stands_only_where_every_row_is_its_own_group():
    p, y = rows_of(SINGLE, 90)
    alone = intervals.interval("accuracy", SINGLE, p, y, np.arange(90))
    right = round(alone.value * 90)
    assert alone.method == intervals.WILSON
    assert (alone.low, alone.high) == pytest.approx(wilson(right, 90))
    groups = np.arange(90)
    groups[1] = 0
    assert intervals.interval("accuracy", SINGLE, p, y, groups).method == intervals.JACKKNIFE
    assert intervals.interval("accuracy", SINGLE, p, y, np.arange(90), weight=np.full(90, 2.0)).method == intervals.JACKKNIFE
    assert intervals.interval("macro_f1", SINGLE, p, y, np.arange(90)).method == intervals.JACKKNIFE


def test_a_difference_is_paired():
    """Two answers that err together differ with more certainty than two figures on their own."""
    p, y = rows_of(SINGLE, 400)
    groups = np.arange(400) // 4
    better = p + 0.05 * y
    better /= better.sum(axis=1, keepdims=True)
    found = intervals.difference("macro_f1", SINGLE, (better, p), y, groups)
    one, other = (intervals.interval("macro_f1", SINGLE, q, y, groups) for q in (better, p))
    assert found.value == pytest.approx(one.value - other.value)
    assert found.low > 0
    assert found.high - found.low < 0.6 * (one.high - one.low)
    turned = intervals.difference("macro_f1", SINGLE, (p, better), y, groups)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize(("metric", "target"), EVERY)
def test_nothing_differs_from_itself(metric, target):
    p, y = rows_of(target, 80)
    for groups in (np.arange(80), np.arange(80) // 4):
        found = intervals.difference(metric, target, (p, p.copy()), y, groups)
        assert (found.value, found.low, found.high) == (0, 0, 0)


def test_bounds_of_a_difference_stay_where_differences_can_lie():
    y = np.eye(4, dtype=np.float32)[np.arange(30) % 4]
    wrong, right = np.roll(y, 1, axis=1), (np.arange(30) // 10 != 1)[:, None]
    p = (np.where(right, y, wrong), np.where(right, wrong, y))  # each is right in the groups where the other is wrong
    found = intervals.difference("accuracy", SINGLE, p, y, np.repeat(["a", "b", "c"], 10))
    assert found.value == pytest.approx(1 / 3)
    assert found.bounds == (-1.0, 1.0)  # the plain bounds of three such groups reach farther


def test_a_difference_of_decisions_and_of_common_rows():
    p, y = rows_of(MULTI, 200)
    found = intervals.difference("macro_f1", MULTI, (p, p), y, np.arange(200) // 2, answers=(y, None))
    assert found.value == pytest.approx(1 - metrics.score("macro_f1", MULTI, p, y))
    assert found.low > 0
    holed = p.copy()
    holed[::3] = np.nan
    left = ~np.isnan(holed).any(axis=1)
    part = intervals.difference("macro_f1", MULTI, (holed, 1 - p), y, np.arange(200) // 2)
    assert part.n == left.sum()
    assert part.value == pytest.approx(
        metrics.score("macro_f1", MULTI, p[left], y[left]) - metrics.score("macro_f1", MULTI, 1 - p[left], y[left])
    )


@pytest.mark.parametrize(("groups", "least"), [(3, 0.9), (5, 0.9), (10, 0.9), (80, 0.9)])
def test_the_interval_covers_the_truth_as_often_as_it_says(groups, least):
    """120 sets of correlated groups of unequal size; the percentile bootstrap covers .76 with 3 groups and .84 with 10."""
    hits = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(2, 20, groups)
        right = rng.random(sizes.sum()) < np.repeat(rng.beta(7, 3, groups), sizes)
        y = np.eye(2)[np.zeros(len(right), int)]
        p = np.eye(2)[np.where(right, 0, 1)]
        found = intervals.interval("accuracy", Target("b", "single", ("x", "y")), p, y, np.repeat(np.arange(groups), sizes))
        hits += found.low <= 0.7 <= found.high
    assert hits / 120 >= least


@pytest.mark.parametrize("many", [1, 2])
def test_too_few_groups_have_no_interval_and_say_so(many):
    for metric, target in EVERY:
        p, y = rows_of(target, 40)
        found = intervals.interval(metric, target, p, y, np.arange(40) % many)
        assert (found.low, found.high, found.bounds) == (None, None, None)
        assert found.method == f"no interval: {many} {'group is' if many == 1 else 'groups are'} too few"
        assert "nan" not in str(found)
        assert "too few" in str(found)
        apart = intervals.difference(metric, target, (p, rows_of(target, 40, seed=1)[0]), y, np.arange(40) % many)
        assert (apart.bounds, apart.excludes_zero) == (None, False)


@pytest.mark.parametrize(("right", "edge"), [(1, "high"), (0, "low")])
def test_width_of_a_perfect_score_shrinks_with_groups(right, edge):
    """All right in 5 groups is what Wilson says of 5 successes, however many rows a group has."""
    for rows in (1, 8):
        groups = np.repeat(np.arange(5), rows)
        y = np.eye(2)[np.zeros(len(groups), int)]
        p = y if right else 1 - y
        found = intervals.interval("accuracy", Target("b", "single", ("x", "y")), p, y, groups)
        assert (found.low, found.high) == pytest.approx(wilson(5 * right, 5))
        assert getattr(found, edge) == found.value == right
    y = rows_of(MULTI, 60)[1]
    found = intervals.interval("average_precision", MULTI, y, y, np.arange(60) // 6)
    assert found.value == found.high == 1
    assert found.low == pytest.approx(wilson(10, 10)[0])


def one_wrong(n=97):
    """Four classes, one row wrong, and two pairs of rows that are groups."""
    y = np.eye(4)[np.arange(n) % 4]
    p = 0.9 * y + 0.025
    p[0] = np.roll(p[0], 1)
    groups = np.arange(n)
    groups[[1, 3]] = 0, 2
    return Target("kind", "single", tuple("abcd")), p, y, groups


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "balanced_accuracy"])
def test_one_error_in_a_hundred_groups_leaves_narrow_bounds(metric):
    """Its standard error has one degree of freedom, which gave bounds from .001 to 1."""
    target, p, y, groups = one_wrong()
    found = intervals.interval(metric, target, p, y, groups)
    single = wilson(96, 97)
    assert found.freedom < 1.5
    assert single[0] - 0.02 < found.low < single[0]
    assert found.value < found.high < 1


def test_classes_with_one_error_have_bounds_of_their_groups():
    target, p, y, groups = one_wrong()
    first = intervals.per_class_intervals(target, p, y, groups)[0]
    assert 0.75 < first["recall_low"] < wilson(24, 25)[0]
    assert 0.8 < first["f1_low"] < 0.9


def test_errors_from_one_group_are_known_to_a_factor():
    target, p, y, groups = one_wrong()
    found = intervals.interval("log_loss", target, p, y, groups)
    assert found.freedom < 1.5
    assert found.value / 10 < found.low < found.value < found.high < found.value * 10


def test_groups_of_very_unequal_size_widen_the_interval():
    """One group with nine tenths of the rows is about one group: it is known of few only how they differ."""
    p, y = rows_of(SINGLE, 400)
    even = intervals.interval("accuracy", SINGLE, p, y, np.arange(400) % 20)
    uneven = intervals.interval("accuracy", SINGLE, p, y, np.where(np.arange(400) < 360, 0, np.arange(400) % 19 + 1))
    assert uneven.freedom < 2 < even.freedom
    assert uneven.high - uneven.low > 2 * (even.high - even.low)


@given(
    st.sampled_from(
        [("average_precision", MULTI), ("roc_auc", MULTI), ("macro_f1", MULTI), ("macro_f1", SINGLE), ("balanced_accuracy", SINGLE)]
    ),
    st.integers(3, 12),
    st.integers(0, 10_000),
)
@settings(max_examples=60, deadline=None)
def test_an_interval_holds_its_estimate_whatever_classes_are_rare(chosen, many, seed):
    """Resamples that lose a rare class once put the bounds of average precision above it: 0.0935 [0.0917, 0.1795]."""
    metric, target = chosen
    rng = np.random.default_rng(seed)
    n = 12 * many
    rates = np.array([0.5, 0.3, 2 / n, 1 / n])
    if target.kind == "multi":
        y = (rng.random((n, K)) < rates).astype(float)
    else:
        y = np.eye(K)[rng.choice(K, n, p=rates / rates.sum())]
    p = np.clip(0.3 * y + 0.6 * rng.random((n, K)), 0, 1)
    p = p if target.kind == "multi" else p / p.sum(axis=1, keepdims=True)
    groups = np.arange(n) % many
    found = intervals.interval(metric, target, p, y, groups)
    if found.bounds is not None:
        assert found.low <= found.value <= found.high
        assert found.low < found.high
    for row in intervals.per_class_intervals(target, p, y, groups):
        for name in ("precision", "recall", "f1"):
            low, high = row[f"{name}_low"], row[f"{name}_high"]
            assert (low is None and high is None) or low <= row[name] <= high


def test_rows_of_weight_zero_are_no_evidence():
    p, y = rows_of(SINGLE, 90)
    weight = (np.arange(90) < 60).astype(float)
    found = intervals.interval("macro_f1", SINGLE, p, y, np.arange(90) // 3, weight=weight)
    part = intervals.interval("macro_f1", SINGLE, p[:60], y[:60], np.arange(60) // 3)
    assert (found.n, found.groups) == (60, 20)
    assert (found.value, found.low, found.high) == pytest.approx((part.value, part.low, part.high))


def test_a_share_counts_rows_clustered_by_group():
    hit = np.arange(60) % 4 > 0
    alone = intervals.share(hit, np.arange(60))
    assert (alone.value, alone.low, alone.high) == pytest.approx((0.75, *wilson(45, 60)))
    assert intervals.share(hit, np.arange(60) // 30).bounds is None


def test_each_class_has_its_interval():
    p, y = rows_of(SINGLE, 300)
    groups = np.arange(300) // 3
    rows = intervals.per_class_intervals(SINGLE, p, y, groups)
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
    assert one.low is None
    assert one.to_dict()["high"] is None
    none = intervals.interval("accuracy", SINGLE, p * np.nan, y, np.arange(10))
    assert (none.n, none.to_dict()["value"]) == (0, None)
    with pytest.raises(UserError, match="one group a row"):
        intervals.interval("accuracy", SINGLE, p, y, np.arange(9))


def test_bounds_are_the_same_whatever_groups_are_called():
    p, y = rows_of(SINGLE, 120)
    numbers = np.arange(120) // 2
    names = np.array([f"patient {n}" for n in numbers], dtype=object)
    one, other = (intervals.interval("kappa", SINGLE, p, y, g) for g in (numbers, names))
    assert one == other


@pytest.mark.parametrize("metric", ["kappa", "roc_auc"])
def test_undefined_figure_of_equal_answers_is_no_evidence(metric):
    """All rows of one class, all answered so: neither score is defined, so no difference is, and no bounds hold one."""
    y = np.tile(np.eye(K)[0], (12, 1))
    found = intervals.difference(metric, SINGLE, (y, y), y, np.arange(12))
    assert math.isnan(found.value)
    assert found.bounds is None
    assert not found.excludes_zero
    assert "not defined" in found.method
