from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from simulated_predictions import dense_of
from tapetum.core.errors import DataError, KindError, UserError
from tapetum.core.scoring import score_of, truth_of
from tapetum.core.targets import Target

KIND = Target("kind", "single", ("0", "1", "2"))
TAGS = Target("tags", "multi", ("0", "1", "2"))
AGE = Target("age", "regression")
HOT = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1]])
NAN = float("nan")


def said(target, p):
    p = np.array(p, dtype=np.float32)
    return {target.name: dense_of(target, p, np.full_like(p, np.nan), np.full(len(p), -1))}


@pytest.mark.parametrize(
    "labels",
    [[["0"], ["1", "2"], ["2"]], [[0], [1, 2], [2]], ["0", "1 2", "2"], HOT, HOT.astype(bool), HOT.astype(float), torch.from_numpy(HOT)],
)
def test_several_labels_are_lists_cells_or_indicators(labels):
    assert truth_of(TAGS, labels).tolist() == HOT.tolist()
    assert score_of(said(TAGS, HOT), labels) == 1.0


def test_0_and_1_by_class_are_never_taken_for_names():
    with pytest.raises(UserError, match="names a label of 'tags' twice: 1, 0, 0"):
        truth_of(TAGS, HOT.tolist())  # a list of lists is a list of names
    with pytest.raises(UserError, match="shape 3x2"):
        truth_of(TAGS, HOT[:, :2])
    with pytest.raises(UserError, match="row 1 has tags = "):
        truth_of(TAGS, HOT / [[1], [2], [1]])


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, None], np.array([0, 1, NAN]), pl.Series([0, 1, None]), [[0], [1], [NAN]] and np.array([[0], [1], [NAN]]),
        np.array([[1, 0, 0], [0, 1, 0], [NAN] * 3]), pl.DataFrame({"kind": [0, 1, None]}), iter(["0", "1", None]),
    ],
)  # fmt: skip
def test_one_label_each_in_any_container(labels):
    truth = truth_of(KIND, labels)
    assert truth[:2].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert np.isnan(truth[2]).all()


def test_whole_floats_are_the_class_that_is_called_so():
    target = Target("t", "single", ("1.0", "2"))
    assert truth_of(target, [1.0, 2.0]).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("labels", [{"0", "1"}, 3, None, {"a": 1}])
def test_labels_without_an_order_are_refused(labels):
    with pytest.raises(KindError, match="labels of 'kind' are a "):
        truth_of(KIND, labels)


@pytest.mark.parametrize("bad", ["x", float("inf"), [1]])
def test_numbers_are_finite(bad):
    with pytest.raises(DataError, match=r"row 1 has age = .*finite number"):
        truth_of(AGE, [1, bad])
    assert truth_of(AGE, ["1.5", None])[0, 0] == 1.5
