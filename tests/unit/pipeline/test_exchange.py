"""What a graph cannot hold is refused by name, and answers are compared by label and probability."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from simulated_predictions import single
from tapetum.core.agreement import CLOSE_CALL
from tapetum.core.config import Input, SequenceConfig
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import Target
from tapetum.pipeline.exchange import check, compare


def pipeline(galleries=(), length=1, **settings):
    member = SimpleNamespace(name="main", sequence=SequenceConfig(length=length), settings=Input(**{"size": 32, **settings}))
    return SimpleNamespace(galleries=galleries, members=[member])


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"galleries": ("one",)}, "neighbors among training images"),
        ({"paths": "views"}, "several views"),
        ({"bands": ((0, 4), (4, 8)), "bands_as": "views"}, "several views"),
        ({"size": "native"}, "own size"),
    ],
)
def test_pipelines_that_a_graph_cannot_hold_are_refused(parts, named):
    check(pipeline())
    check(pipeline(length=3))
    with pytest.raises(UserError, match=named):
        check(pipeline(**parts))


def test_agreement_is_of_labels_and_the_difference_of_probabilities():
    dense, _ = single(n=400)
    nudged = dense.p.copy()
    nudged[0] = np.eye(4)[(dense.p[0].argmax() + 1) % 4]
    found = compare({"t": dense}, {"t": dense.with_p(nudged)})
    assert found["images"] == 400
    most = pytest.approx(np.abs(nudged[0] - dense.p[0]).max())
    close = int(np.diff(np.sort(dense.p[0])[-2:])[0] < CLOSE_CALL)
    assert found["targets"]["t"] == {"agreement": 399 / 400, "largest_difference": most, "differ": 1, "close_calls": close}
    nudged[1:3] = 1 - nudged[1:3]
    with pytest.raises(DataError, match="nothing was written"):
        compare({"t": dense}, {"t": dense.with_p(nudged)})


def test_numbers_agree_within_a_share_of_their_deviation():
    dense, _ = single(n=1000, k=1)
    values = np.arange(1000, dtype=np.float32)[:, None]
    number = type(dense)(Target("age", "regression"), dense.row_ids, values, values, dense.fold, dense.status)
    near = float(values.std()) * 0.004
    assert compare({"age": number}, {"age": number.with_p(values + near)})["targets"]["age"]["agreement"] == 1
    with pytest.raises(DataError, match="age"):
        compare({"age": number}, {"age": number.with_p(values + 2 * near)})


def test_images_that_only_one_of_both_could_read_are_named():
    dense, _ = single(n=4)
    status = dense.status.copy()
    status[2] = "missing"
    other = type(dense)(dense.target, dense.row_ids, dense.p, dense.y, dense.fold, status)
    with pytest.raises(DataError, match="r2"):
        compare({"t": dense}, {"t": other})
