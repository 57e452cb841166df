"""Sampling: which rows an epoch meets, how often, in which order, and what each rank gets."""

from __future__ import annotations

import inspect
import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import Target
from tapetum.data.choices import SAMPLERS
from tapetum.data.images import sampling, sampling_options
from tapetum.data.images.sampling import Training, batches, order

AGE = Target("age", "single", ("<30", "30-59", ">=60"))
LABELS = Target("labels", "multi", ("p", "q", "r"))
KEY = {"seed": 0, "member": "main", "fold": 1, "epoch": 0}


def training(sizes=(60, 45, 15), unknown=0, **more):
    truth = np.eye(3, dtype=np.float32)[np.repeat([0, 1, 2], sizes)]
    truth = np.concatenate([truth, np.full((unknown, 3), np.nan, dtype=np.float32)])
    return Training([AGE], {"age": truth}, **more)


def by_class(rows, of):
    return Counter(np.nan_to_num(of.truths["age"][rows], nan=-1).argmax(1).tolist())


def test_shuffle_meets_every_row_once_and_another_order_each_epoch():
    of = training()
    first, second = (order("shuffle", of, **{**KEY, "epoch": e}) for e in (0, 1))
    assert sorted(first.rows) == list(range(120))
    assert (first.occurrence == 0).all()
    assert first.rows.tolist() != second.rows.tolist()


@pytest.mark.parametrize("part", ["seed", "member", "fold", "epoch"])
def test_order_depends_on_each_part_of_its_key(part):
    of = training()
    other = {**KEY, part: "aux" if part == "member" else 7}
    assert order("shuffle", of, **KEY).rows.tolist() == order("shuffle", of, **KEY).rows.tolist()
    assert order("shuffle", of, **KEY).rows.tolist() != order("shuffle", of, **other).rows.tolist()


@given(n=st.integers(1, 90), batch=st.integers(1, 9), ranks=st.integers(1, 4))
@settings(deadline=None)
def test_ranks_together_hold_each_occurrence_once_in_equally_many_batches(n, batch, ranks):
    of = training((n, 0, 0))
    spec = {"name": "oversample", "factors": {"<30": 1.5}}
    whole = order(spec, of, **KEY)
    parts = [batches(whole, batch, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert len({len(p) for p in parts}) == 1
    got = Counter((int(r), int(o)) for p in parts for b in p for r, o in zip(b.rows, b.occurrence, strict=True))
    assert got == Counter(zip(whole.rows.tolist(), whole.occurrence.tolist(), strict=True))
    assert set(got.values()) <= {1}
    sizes = [[len(p[i]) for p in parts] for i in range(len(parts[0]))]
    assert all(max(s) - min(s) <= 1 for s in sizes)
    if len(whole) >= 2 * ranks:
        assert all(min(s) >= min(2, batch) for s in sizes)


def test_balanced_meets_each_class_equally_often_and_counts_occurrences():
    of = training(unknown=5)
    got = order("balanced", of, **KEY)
    assert len(got) == 120
    assert by_class(got.rows, of) == {0: 40, 1: 40, 2: 40}
    times = Counter(got.rows.tolist())
    assert {times[r] for r in range(105, 120)} <= {2, 3}  # 40 / 15
    assert max(times[r] for r in range(60)) == 1
    assert not set(range(120, 125)) & set(times)
    for row, count in times.items():
        assert sorted(got.occurrence[got.rows == row]) == list(range(count))


def test_over_epochs_balanced_meets_all_rows_of_the_large_class():
    of = training()
    seen = set(itertools.chain.from_iterable(order("balanced", of, **{**KEY, "epoch": e}).rows.tolist() for e in range(12)))
    assert seen == set(range(120))


def test_balanced_by_several_labels_takes_the_rarest_of_a_row():
    truth = np.array([[1, 0, 0]] * 60 + [[1, 1, 0]] * 20 + [[1, 0, 1]] * 5 + [[0, 0, 0]] * 15, dtype=np.float32)
    got = order("balanced", Training([LABELS], {"labels": truth}), **KEY)
    where = Counter(np.searchsorted([60, 80, 85], got.rows, side="right").tolist())
    assert where == {0: 25, 1: 25, 2: 25, 3: 25}


def test_weights_are_proportions():
    weight = np.repeat([1.0, 3.0], [60, 60])
    got = order("weights", training(weight=weight), **KEY)
    assert Counter((got.rows >= 60).tolist()) == {False: 30, True: 90}
    with pytest.raises(UserError, match=r"data\.weight"):
        order("weights", training(), **KEY)


def test_fractional_oversampling_is_right_in_the_mean_and_takes_turns():
    of = training()
    spec = {"name": "oversample", "factors": {">=60": 2.4, "<30": 0.5}}
    times = np.zeros(120)
    for epoch in range(200):
        got = order(spec, of, **{**KEY, "epoch": epoch})
        counts = np.bincount(got.rows, minlength=120)
        assert counts[105:].sum() == 36
        assert counts[:60].sum() == 30
        assert set(counts[105:]) <= {2, 3}
        times += counts
    np.testing.assert_allclose(times[105:] / 200, 2.4, atol=0.12)
    np.testing.assert_allclose(times[:60] / 200, 0.5, atol=0.12)
    np.testing.assert_array_equal(times[60:105], 200)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=40), st.integers(0, 99))
def test_systematic_counts_are_floor_or_ceiling(expected, seed):
    expected = np.array(expected)
    strata = np.arange(len(expected)) % 3
    count = sampling.systematic(expected, np.random.default_rng(seed), strata)
    assert (np.abs(count - expected) < 1 + 1e-6).all()
    for s in range(3):
        assert abs(count[strata == s].sum() - expected[strata == s].sum()) < 1 + 1e-6


def subset(part, of, member="main", epoch=0, **options):
    key = {**KEY, "member": member, "epoch": epoch}
    return order({"name": "subset", "part": part, **options}, of, **key)


def test_nine_age_sets_cross_thirds_with_the_small_class():
    of = training()
    cut = {"<30": 3, "30-59": 3}
    assert sampling_options.subset_count(sampling_options.cuts(cut)) == 9
    sets = [set(subset(p, of, cut=cut, member=f"m{p}").rows.tolist()) for p in range(9)]  # nine members share one cut
    for rows in sets:
        assert by_class(sorted(rows), of) == {0: 20, 1: 15, 2: 15}
    together = Counter(itertools.chain.from_iterable(sets))
    assert {together[r] for r in range(105)} == {3}
    assert {together[r] for r in range(105, 120)} == {9}
    assert len({frozenset(s) for s in sets}) == 9
    again = subset(4, of, cut=cut, epoch=5)
    assert set(again.rows.tolist()) == sets[4]
    assert again.rows.tolist() != subset(4, of, cut=cut, epoch=6).rows.tolist()


def test_ten_mask_sets_double_the_small_classes():
    of = training((100, 20, 20))
    options = {"cut": {"<30": [5, 2]}, "repeat": {"30-59": 2, ">=60": 2}}
    assert sampling_options.subset_count(sampling_options.cuts(options["cut"])) == 10
    pairs = set()
    for part in range(10):
        got = subset(part, of, **options)
        assert by_class(got.rows, of) == {0: 40, 1: 40, 2: 40}  # 2:2:2
        assert sorted(got.occurrence[got.rows == 105]) == [0, 1]
        pairs.add(frozenset(got.rows[got.rows < 100].tolist()))
    assert len(pairs) == 10


def test_two_balanced_sets_and_the_whole_make_three():
    of = training((80, 40, 0))
    cut = {"<30": 2}
    assert sampling_options.subset_count(sampling_options.cuts(cut), whole=True) == 3
    a, b, whole = (subset(p, of, cut=cut, whole=True) for p in range(3))
    assert len(a) == len(b) == 80
    assert set(a.rows.tolist()) | set(b.rows.tolist()) == set(whole.rows.tolist()) == set(range(120))
    with pytest.raises(UserError, match="there are 3 subsets"):
        subset(3, of, cut=cut, whole=True)


def test_a_cut_keeps_groups_whole():
    groups = np.repeat(np.arange(24), 5).astype(str)
    of = training((60, 45, 15), groups=groups)
    rows = [subset(p, of, cut={"<30": 3}).rows for p in range(3)]
    taken = [set(groups[r[r < 60]]) for r in rows]
    assert not set.intersection(*taken)
    assert set.union(*taken) == set(groups[:60])
    assert {len(r[r < 60]) for r in rows} == {20}


def test_rare_rows_are_of_the_rarest_or_named_classes():
    of = training(unknown=3)
    assert sampling.rare_rows(of).tolist() == list(range(105, 120))
    assert sampling.rare_rows(of, classes=["30-59"]).tolist() == list(range(60, 105))
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0]], dtype=np.float32)
    assert sampling.rare_rows(Training([LABELS], {"labels": truth})).tolist() == [1, 3]


def test_what_cannot_be_sampled_is_refused():
    two = Training([AGE, LABELS], {"age": np.eye(3, dtype=np.float32), "labels": np.eye(3, dtype=np.float32)})
    with pytest.raises(UserError, match="does not name one of the 2 targets"):
        order("balanced", two, **KEY)
    with pytest.raises(UserError, match="Did you mean 'age'"):
        order({"name": "balanced", "target": "agee"}, two, **KEY)
    with pytest.raises(UserError, match="Did you mean '>=60'"):
        order({"name": "oversample", "factors": {">60": 2}}, training(), **KEY)
    with pytest.raises(UserError, match="needed: n parts"):
        subset(0, training(), cut={"<30": [2, 3]})
    with pytest.raises(DataError, match="cannot be cut into 20 parts"):
        subset(0, training(), cut={">=60": 20})
    with pytest.raises(DataError, match="no row"):
        order("balanced", training((0, 0, 0), unknown=4), **KEY)
    number = Training([Target("kg", "regression")], {"kg": np.ones((4, 1), dtype=np.float32)})
    with pytest.raises(UserError, match="give it borders"):
        order("balanced", number, **KEY)


def test_a_bordered_number_is_balanced_by_its_classes():
    years = np.concatenate([np.full(30, 20.0), np.full(9, 45.0), np.full(3, 70.0)])[:, None].astype(np.float32)
    of = Training([Target("years", "regression", borders=(30, 60))], {"years": years})
    got = order("balanced", of, **KEY)
    assert Counter(np.digitize(years[got.rows, 0], (30, 60)).tolist()) == {0: 14, 1: 14, 2: 14}
    assert len(order({"name": "oversample", "factors": {">=60": 2}}, of, **KEY)) == 45


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_tables_defaults_are_the_functions(name):
    parameters = inspect.signature(SAMPLERS[name].load()).parameters
    assert set(parameters) - {"training", "rng", "fixed"} == set(SAMPLERS[name].parameters)
    for key, value in SAMPLERS[name].parameters.items():
        assert parameters[key].default == value


@pytest.mark.parametrize("batch", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 17])
def test_the_count_of_batches_is_that_of_the_batches_made(n, batch):
    """The plan of rates and the averages rest on the count."""
    rows = order("shuffle", Training([], {"t": np.ones((n, 1))}), seed=0, member="m", fold=0, epoch=0)
    assert sampling.count(n, batch) == len(batches(rows, batch))
