"""The rules of folds, for any rows: groups stay whole, no fold is empty, class shares stay near the whole's.

"The largest group's share" is read as its share of a fold of the usual size: a group cannot be cut, so a fold can be off by one.
"""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.core import folds
from tapetum.core.targets import Target


@st.composite
def labelled_groups(draw):
    """Draw sizes of groups, and labels that rows have of their own or share with their group."""
    many, k = draw(st.integers(2, 8)), draw(st.integers(2, 6))
    kind = draw(st.sampled_from(["single", "multi"]))
    sizes = draw(st.lists(st.integers(1, 25), min_size=many, max_size=60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    groups = np.repeat(np.arange(len(sizes)), sizes)
    shared = draw(st.booleans())
    units = len(sizes) if shared else len(groups)
    if kind == "single":
        truth = np.eye(k, dtype=np.float32)[rng.choice(k, units, p=rng.dirichlet(np.ones(k)))]
    else:
        truth = (rng.random((units, k)) < rng.random(k)).astype(np.float32)
    order = rng.permutation(len(groups))
    truth = (truth[groups] if shared else truth)[order]
    names = np.array([f"group {g}" for g in groups[order]], dtype=object)
    return Target("t", kind, tuple(map(str, range(k)))), truth, names, many


@given(labelled_groups(), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_no_group_crosses_folds_and_none_is_empty(rows, seed):
    target, truth, groups, many = rows
    truth[:: 7 + seed] = np.nan
    fold = folds.assign({"t": truth}, [target], groups, many, seed)
    assert set(fold) == set(range(many))
    for name in np.unique(groups):
        assert len(set(fold[groups == name])) == 1
    folds.check_groups(fold, groups)


@given(labelled_groups())
@settings(max_examples=150, deadline=None)
def test_class_shares_stay_within_two_points_or_largest_group(rows):
    target, truth, groups, many = rows
    fold = folds.assign({"t": truth}, [target], groups, many, 0)
    largest = np.unique(groups, return_counts=True)[1].max()
    due = len(groups) / many
    bound = max(0.02, largest / due)
    for k in range(many):
        assert abs((fold == k).sum() - due) <= largest + max(1, 0.02 * due)
        assert np.abs(truth[fold == k].mean(axis=0) - truth.mean(axis=0)).max() <= bound + 1e-6


@given(labelled_groups(), st.floats(0.05, 0.95))
@settings(max_examples=80, deadline=None)
def test_holdout_cuts_no_group_and_fills_both_sides(rows, share):
    target, truth, groups, _ = rows
    held = folds.holdout({"t": truth}, [target], groups, share, 0)
    assert held.any()
    assert not held.all()
    folds.check_groups(held.astype(np.int64), groups)
    largest = np.unique(groups, return_counts=True)[1].max()
    assert abs(held.sum() - share * len(groups)) <= largest + max(1, 0.02 * len(groups))
