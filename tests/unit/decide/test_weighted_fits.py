"""Fits that counted rows and not their weights: the grid of the rank mean, and the prior and chain of context."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from simulated_predictions import single
from tapetum.decide import context_fit
from tapetum.decide.ensemble import RankMean
from tapetum.decide.steps import Rows


def repeated(dense, rows, times):
    """Return rows as often as their weight says."""
    take = np.repeat(np.arange(len(rows)), times)
    ids = np.array([f"r{i}" for i in range(len(take))], dtype=object)
    return dataclasses.replace(dense.where(take), row_ids=ids), rows.where(take)


def test_the_rank_mean_counts_rows_by_their_weight():
    dense, rows = single(n=90)
    times = np.where(np.arange(90) % 3 == 0, 4, 1)
    weighted = dataclasses.replace(rows, weight=times.astype(np.float64))
    grid = np.array(RankMean(points=9).fit([dense], weighted)["grid"])
    more, _ = repeated(dense, rows, times)
    expected = np.quantile(more.p, np.linspace(0, 1, 9), axis=0, method="inverted_cdf").T
    np.testing.assert_allclose(grid[0], expected, atol=1e-6)
    assert np.abs(grid - np.array(RankMean(points=9).fit([dense], rows)["grid"])).max() > 1e-3


def test_equal_weights_change_nothing_of_the_rank_mean():
    dense, rows = single(n=50)
    assert RankMean().fit([dense], dataclasses.replace(rows, weight=np.full(50, 0.5))) == RankMean().fit([dense], rows)


def decoder(dense, rows):
    study = context_fit.study(dense, rows, metric="auto", longest=0, position=0.5, reach=2, strength=0.01)
    return context_fit.learn_decoder(study, np.ones(len(rows), dtype=bool), 1.0, 0.5)


@pytest.fixture
def nights():
    dense, rows = single(n=120)
    sequence = np.array([f"n{i // 10}" for i in range(120)], dtype=object)
    return dense, Rows(sequence, rows.fold, sequence, np.tile(np.arange(10.0), 12))


def test_the_prior_of_context_counts_rows_by_their_weight(nights):
    dense, rows = nights
    weight = np.where(dense.y.argmax(axis=1) == 0, 5.0, 1.0)
    counted = np.bincount(dense.y.argmax(axis=1), weight, dense.target.width) + 0.5
    found = decoder(dense, dataclasses.replace(rows, weight=weight))
    np.testing.assert_allclose(found.prior, counted / counted.sum())


def test_labels_of_weight_0_take_no_part_in_context(nights):
    dense, rows = nights
    weight = np.where(np.arange(120) % 4 == 0, 0.0, 1.0)
    unknown = dataclasses.replace(dense, y=np.where(weight[:, None] > 0, dense.y, np.nan).astype(np.float32))
    a, b = decoder(dense, dataclasses.replace(rows, weight=weight)), decoder(unknown, rows)
    np.testing.assert_allclose(a.prior, b.prior)
    np.testing.assert_allclose(a.chain.move, b.chain.move)
    np.testing.assert_allclose(a.drift, b.drift)
