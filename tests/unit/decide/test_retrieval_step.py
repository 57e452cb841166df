"""Neighbours' labels: the search is exact, the mixture is what it says, and only what held-out groups show is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapetum.core.errors import UserError
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.core.vectors import Gallery, Neighbors, Vectors
from tapetum.decide.retrieval import Retrieval, mixed
from tapetum.decide.steps import Rows, crossfit

PLACES = Target("places", "multi", ("a", "b", "c"))


def unit(x):
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def ids(n):
    return np.array([f"r{i}" for i in range(n)], dtype=object)


def dense_of(p, y, target=PLACES):
    n = len(p)
    return Dense(target, ids(n), p.astype(np.float32), y.astype(np.float32), np.zeros(n, np.int16), np.full(n, "ok", dtype=object))


def planted(seed=0, n=240, share=0.5, true=True):
    """Return answers that know little, and neighbours of which a share stands near; those have the truth, or labels at random."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, 3)) < 0.4).astype(np.float32)
    p = np.clip(0.35 * y + 0.3 + rng.normal(0, 0.25, (n, 3)), 0.01, 0.99)
    near = rng.random(n) < share
    cosine = np.where(near, rng.uniform(0.8, 0.95, n), rng.uniform(0.0, 0.6, n)).astype(np.float32)
    labels = np.where(near[:, None] & true, y, (rng.random((n, 3)) < 0.4)).astype(np.float32)
    groups = np.array([f"g{i // 3}" for i in range(n)], dtype=object)
    rows = Rows(groups, (np.arange(n) // 3 % 4).astype(np.int16), neighbors=Neighbors(cosine[:, None], {"places": labels[:, None]}))
    return dense_of(p, y), rows, near


def test_the_search_is_that_of_an_exact_index():
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    gallery, queries = unit(rng.normal(size=(300, 16))), unit(rng.normal(size=(50, 16)))
    y = np.arange(300, dtype=np.float32)[:, None]
    found = Gallery(Vectors(ids(300), gallery), {"t": y}).nearest(queries)
    index = faiss.IndexFlatIP(16)
    index.add(gallery)
    cosine, place = index.search(queries, 1)
    assert np.allclose(found.cosine, cosine, atol=1e-5)
    assert np.array_equal(found.y["t"][:, 0, 0], place[:, 0])


def test_the_search_is_exact_and_knows_rows_without_a_vector():
    rng = np.random.default_rng(1)
    gallery, queries = unit(rng.normal(size=(40, 8))), unit(rng.normal(size=(9, 8)))
    queries[4] = np.nan
    found = Gallery(Vectors(ids(40), gallery), {"t": np.arange(40, dtype=np.float32)[:, None]}).nearest(queries)
    by_hand = [[float(q @ g) for g in gallery] for q in queries]
    for i in range(9):
        if i == 4:
            assert np.isnan(found.cosine[i]).all()
            assert np.isnan(found.y["t"][i]).all()
        else:
            assert found.cosine[i, 0] == pytest.approx(max(by_hand[i]), abs=1e-6)
            assert found.y["t"][i, 0, 0] == int(np.argmax(by_hand[i]))


def test_a_gallery_comes_back_from_its_file(tmp_path):
    rng = np.random.default_rng(2)
    y = (rng.random((5, 3)) < 0.5).astype(np.float32)
    y[2] = np.nan
    gallery = Gallery(Vectors(ids(5), unit(rng.normal(size=(5, 4)))), {"places": y, "a target/odd": np.ones((5, 1), np.float32)})
    gallery.write(tmp_path / "gallery.parquet")
    back = Gallery.read(tmp_path / "gallery.parquet")
    assert back.vectors.row_ids.tolist() == ids(5).tolist()
    assert np.array_equal(back.vectors.matrix, gallery.vectors.matrix)
    assert set(back.y) == set(gallery.y)
    assert np.array_equal(back.y["places"], y, equal_nan=True)


def test_the_mixture_by_hand():
    p = np.array([[0.2, 0.6], [0.2, 0.6], [0.2, 0.6], [np.nan, np.nan]], np.float32)
    y = np.array([[[1, 0], [1, 1]], [[1, 0], [1, 1]], [[1, 0], [np.nan, np.nan]], [[1, 0], [1, 0]]], np.float32)
    cosine = np.array([[0.9, 0.9], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9]], np.float32)
    found = mixed(p, Neighbors(cosine, {"t": y}), "t", bound=0.5, weight=0.5)
    assert np.allclose(found[0], [0.6, (0.3 + 0.8) / 2])  # both galleries: the mean of both mixtures
    assert np.allclose(found[1], [(0.6 + 0.2) / 2, (0.3 + 0.6) / 2])  # the second is too far
    assert np.allclose(found[2], p[2])  # the first is too far, the second knows no label
    assert np.isnan(found[3]).all()


@given(bound=st.floats(-1, 1), weight=st.floats(0, 1), seed=st.integers(0, 5))
def test_retrieval_keeps_distributions_and_rows_below_the_bound(bound, weight, seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(4), 20).astype(np.float32)
    y = np.eye(4, dtype=np.float32)[rng.integers(0, 4, (20, 2))]
    near = Neighbors(rng.uniform(-1, 1, (20, 2)).astype(np.float32), {"t": y})
    found = mixed(p, near, "t", bound, weight)
    assert np.allclose(found.sum(1), 1, atol=1e-5)
    below = (near.cosine < bound).all(axis=1)
    assert np.allclose(found[below], p[below], atol=1e-7)


def test_true_neighbours_are_taken_and_their_bound_lies_between():
    dense, rows, near = planted()
    found = crossfit(Retrieval(), dense, rows)
    for values in (found.final, *found.by_fold.values()):
        assert 0.6 <= values["bound"] <= 0.95
        assert values["weight"] >= 0.5
    right = ((found.nested.p >= 0.5) == (dense.y > 0.5)).all(axis=1)
    before = ((dense.p >= 0.5) == (dense.y > 0.5)).all(axis=1)
    assert right[near].mean() > before[near].mean() + 0.2
    assert np.array_equal(found.nested.p[~near], dense.p[~near])


@pytest.mark.parametrize("seed", range(6))
def test_false_neighbours_are_never_taken(seed):
    dense, rows, _ = planted(seed, true=False)
    found = crossfit(Retrieval(), dense, rows)
    assert found.final["bound"] is None
    assert np.array_equal(found.nested.p, dense.p)


def test_a_gain_that_may_be_luck_earns_no_place():
    dense, rows, _ = planted(3, n=24, share=0.04)
    assert Retrieval().fit(dense, rows)["bound"] is None


def test_rows_without_neighbours_are_left_alone():
    dense, rows, _ = planted()
    bare = Rows(rows.groups, rows.fold)
    fitted = Retrieval().fit(dense, bare)
    assert fitted["bound"] is None
    stated = Retrieval(bound=0.7, weight=1.0)
    assert stated.apply(dense, bare, stated.fit(dense, bare)) is dense


def test_what_is_stated_is_done_and_fits_nothing():
    dense, rows, near = planted(true=False)
    step = Retrieval(bound=0.7, weight=1.0)
    assert not step.learns
    found = step.apply(dense, rows, step.fit(dense, rows))
    assert np.array_equal(found.p[near], rows.neighbors.y["places"][near, 0])


@pytest.mark.parametrize("values", [{"bound": "high"}, {"bound": 1.5}, {"weight": -0.1}])
def test_what_is_no_cosine_or_weight_is_refused(values):
    with pytest.raises(UserError, match=next(iter(values))):
        Retrieval(**values)


def test_a_chosen_bound_by_an_error_goes_the_other_way():
    dense, rows, _ = planted()
    assert Retrieval(metric="log_loss").fit(dense, rows)["bound"] is not None
