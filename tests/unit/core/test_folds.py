"""Folds: what they balance, what they refuse, and that nothing but rows, groups and seed decides them."""

import numpy as np
import pytest

from tapetum.core import balance, folds
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import Target

BREED = Target("breed", "single", ("pug", "akita", "boxer"))
AGE = Target("age", "regression")


def names(n):
    return np.array([f"row {i}" for i in range(n)], dtype=object)


def shares_off(fold, strata):
    """Return the greatest difference of a stratum's share in a fold from its share in all."""
    return max(np.abs(strata[fold == k].mean(axis=0) - strata.mean(axis=0)).max() for k in np.unique(fold))


def test_one_class_a_row_is_dealt_out_evenly():
    truth = np.eye(3)[np.repeat([0, 1, 2], [50, 30, 20])]
    fold = folds.assign({"breed": truth}, [BREED], names(100), 5, 0)
    assert fold.dtype == np.int16
    for k in range(5):
        assert truth[fold == k].sum(axis=0).tolist() == [10, 6, 4]


def test_28_labels_in_3000_groups_stay_within_two_points():
    """The size and label rates of the protein atlas; the stated bound is the larger of two points and the largest group's share."""
    rng = np.random.default_rng(0)
    rate = np.array(
        [41, 4, 12, 5, 6, 8, 3, 9, 0.2, 0.15, 0.1, 3.5, 2.2, 1.7, 3.4, 0.07, 1.7, 0.7, 2.9, 4.8, 0.55, 12, 2.6, 9.5, 1, 26, 1, 0.04]
    )
    groups = rng.integers(0, 3000, 30_000)
    tendency = rng.beta(0.5, 0.5 / rate[None] * 100, (3000, 28))  # groups have labels of their own
    truth = (rng.random((30_000, 28)) < tendency[groups]).astype(np.float32)
    target = Target("protein", "multi", tuple(map(str, range(28))))
    fold = folds.assign({"protein": truth}, [target], groups.astype(str), 5, 0)
    largest = np.bincount(groups).max() / 30_000
    assert shares_off(fold, truth) <= max(0.02, largest)
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 0.02 * 30_000 / 5
    folds.check_groups(fold, groups)
    rows = truth.sum(axis=0)
    held = np.stack([truth[fold == k].sum(axis=0) for k in range(5)])
    assert (held[:, rows >= 50] > 0).all()


def test_numbers_are_balanced_by_quantiles_or_by_their_borders():
    rng = np.random.default_rng(0)
    age = rng.exponential(30, (1000, 1))
    fold = folds.assign({"age": age}, [AGE], names(1000), 5, 0)
    assert np.ptp([np.median(age[fold == k]) for k in range(5)]) < 3
    bordered = Target("age", "regression", borders=(5, 100))
    strata = folds.strata(age, bordered)
    np.testing.assert_array_equal(strata[:, :3], np.stack([age < 5, (age >= 5) & (age < 100), age >= 100], axis=1)[..., 0])
    fold = folds.assign({"age": age}, [bordered], names(1000), 5, 0)
    assert np.ptp([(age[fold == k] >= 100).sum() for k in range(5)]) <= 1


def test_several_targets_and_unknown_truth_are_balanced_together():
    rng = np.random.default_rng(0)
    breed = np.eye(3)[rng.choice(3, 900, p=[0.8, 0.15, 0.05])]
    order = Target("size", "ordinal", ("small", "large"))
    size, age = np.eye(2)[rng.integers(0, 2, 900)], rng.normal(size=(900, 1))
    breed[:90], size[50:200], age[400:420] = np.nan, np.nan, np.nan
    truths, targets = {"breed": breed, "size": size, "age": age}, [BREED, order, AGE]
    groups = np.arange(900) // 3
    fold = folds.assign(truths, targets, groups, 4, 3)
    for target in targets:
        assert shares_off(fold, folds.strata(truths[target.name], target)) <= 0.02
    assert np.ptp(np.bincount(fold)) <= 6


def test_rows_without_any_truth_are_spread_evenly():
    fold = folds.assign({"breed": np.full((50, 3), np.nan)}, [BREED], names(50), 5, 0)
    assert np.bincount(fold).tolist() == [10] * 5
    assert np.bincount(folds.assign({}, [], names(50), 5, 0)).tolist() == [10] * 5


def test_folds_depend_on_the_seed_not_the_row_order():
    rng = np.random.default_rng(0)
    truth, groups = np.eye(3)[rng.integers(0, 3, 200)], names(200)[rng.integers(0, 60, 200)]
    fold = folds.assign({"breed": truth}, [BREED], groups, 5, 0)
    shuffled = rng.permutation(200)
    again = folds.assign({"breed": truth[shuffled]}, [BREED], groups[shuffled], 5, 0)
    np.testing.assert_array_equal(again, fold[shuffled])
    assert (folds.assign({"breed": truth}, [BREED], groups, 5, 1) != fold).any()


def test_largest_group_gets_a_fold_of_its_own():
    groups = np.array(["big"] * 50 + [f"small {i}" for i in range(50)])
    fold = folds.assign({"breed": np.eye(3)[np.arange(100) % 3]}, [BREED], groups, 2, 0)
    assert len(set(fold[:50])) == 1
    assert set(fold[50:]) == {1 - fold[0]}


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_a_holdout_has_its_share_of_rows_and_classes(share):
    truth = np.eye(3)[np.repeat([0, 1, 2], [600, 300, 100])]
    groups = np.random.default_rng(0).integers(0, 250, 1000)
    held = folds.holdout({"breed": truth}, [BREED], groups, share, 0)
    assert held.dtype == bool
    assert held.mean() == pytest.approx(share, abs=0.02)
    assert np.abs(truth[held].mean(axis=0) - truth.mean(axis=0)).max() <= 0.02
    folds.check_groups(held.astype(int), groups)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
def test_a_holdout_of_two_groups_leaves_one_on_each_side(share):
    held = folds.holdout({}, [], np.array(["a", "a", "b"]), share, 0)
    assert held[0] == held[1] != held[2]


def test_parts_get_their_shares_of_things_that_are_alike():
    table = np.ones((100, 2))
    parts = balance.split(table, np.array([0.5, 0.3, 0.2]), np.random.default_rng(0))
    assert np.bincount(parts).tolist() == [50, 30, 20]


def test_too_few_groups_or_folds_are_refused_with_the_mend():
    with pytest.raises(DataError, match=r"there are 2 groups for 5 folds \(a, b\).*use --folds 2"):
        folds.assign({}, [], np.array(["a", "b", "a"]), 5, 0)
    with pytest.raises(UserError, match=r"--holdout 0\.2"):
        folds.assign({}, [], names(9), 1, 0)
    with pytest.raises(DataError, match="one group"):
        folds.holdout({}, [], np.array(["a", "a"]), 0.2, 0)
    with pytest.raises(UserError, match="between 0 and 1"):
        folds.holdout({}, [], names(9), 20, 0)
    with pytest.raises(DataError, match="no group"):
        folds.assign({}, [], np.array(["a", None, "b"], dtype=object), 2, 0)
    with pytest.raises(UserError, match="one group a row"):
        folds.assign({"breed": np.eye(3)}, [BREED], names(9), 2, 0)


def test_group_that_crosses_given_folds_is_named():
    groups = np.array(["a", "a", "b", "b", "c", "c", "d"], dtype=object)
    folds.check_groups(np.array([0, 0, 1, -1, 2, 2, -1]), groups)
    with pytest.raises(DataError, match="group 'b' is in folds 1, 2, and 1 more group crosses"):
        folds.check_groups(np.array([0, 0, 1, 2, 0, 3, -1]), groups)
    split = np.array(["train", "test", "train", "train", None, "test", None], dtype=object)
    with pytest.raises(DataError, match="group 'a' is in splits test, train; needed: each group in one"):
        folds.check_groups(split, groups, "split")


def test_classes_too_rare_for_every_fold_are_listed():
    truth = np.eye(3)[[0] * 12 + [1] * 6 + [2] * 2]
    groups = np.array([f"g{i}" for i in range(12)] + ["x", "x", "x", "y", "y", "z"] + ["p", "p"])
    fold = folds.assign({"breed": truth}, [BREED], groups, 4, 0)
    found = folds.rare_classes({"breed": truth}, [BREED, AGE], groups, fold)
    assert found == [folds.Rare("breed", "akita", 6, 3, 3), folds.Rare("breed", "boxer", 2, 1, 1)]
    assert str(found[1]) == "breed = boxer: 2 rows in 1 group, in 1 fold"
    assert folds.rare_classes({"breed": truth[:12]}, [BREED], groups[:12], fold[:12])[0].rows == 0


def test_groups_are_counted_whatever_they_are_written_with():
    assert folds.count_groups(np.array(["a", "b", "a"], dtype=object)) == 2
    assert folds.count_groups(np.array([3, 3, 4])) == 2
    assert folds.count_groups(np.array([], dtype=object)) == 0
