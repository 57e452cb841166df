"""Predictions in a CSV alone: what `predict -o` writes and what other frameworks do."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from simulated_predictions import dense_of
from tapetum.core import files
from tapetum.core.answers import flat_table
from tapetum.core.errors import DataError
from tapetum.core.prediction_csv import read_alone
from tapetum.core.tables import decided
from tapetum.core.targets import Target

KIND = Target("kind", "single", ("ant", "bee"))
TAGS = Target("tags", "multi", ("very big", "old"))
AGE = Target("age", "regression")


def said(target, p, answer=None, missing=1):
    dense = dense_of(target, p, np.full_like(np.asarray(p, np.float32), np.nan), np.full(len(p), -1))
    dense.status[missing], dense.p[missing] = "missing", np.nan
    return dataclasses.replace(dense, answer=None if answer is None else np.array(answer, np.float32))


def test_predict_output_is_read_back_with_labels_and_missing_rows(tmp_path):
    before = said(KIND, [[0.9, 0.1], [0, 0], [0.2, 0.8]], [[0, 1], [np.nan, np.nan], [1, 0]])
    path = files.write_csv(tmp_path / "p.csv", flat_table({"kind": before}))
    found = read_alone(path).dense("kind")
    assert found.target == KIND
    assert found.status.tolist() == ["ok", "missing", "ok"]
    np.testing.assert_allclose(found.p, before.p)
    np.testing.assert_array_equal(found.answer, before.answer)


def test_one_of_several_targets_is_read_by_name(tmp_path):
    many = {"kind": said(KIND, [[0.9, 0.1], [0, 0]]), "tags": said(TAGS, [[0.9, 0.9], [0, 0]]), "age": said(AGE, [[31.5], [0]])}
    path = files.write_csv(tmp_path / "p.csv", flat_table(many).drop("tags"))
    assert read_alone(path, "tags").dense("tags").p[0].tolist() == pytest.approx([0.9, 0.9])
    assert read_alone(path, "tags").targets[0].kind == "multi"
    assert read_alone(path, "age").dense("age").p[0] == 31.5
    with pytest.raises(DataError, match="kind, tags"):
        read_alone(path)


@pytest.mark.parametrize("classes", [("big", "old"), ("very big", "old")])
def test_labels_holding_the_separator_come_back(tmp_path, classes):
    from tapetum.decide.external import write_csv

    target = Target("tags", "multi", classes)
    before = said(target, [[0.9, 0.9], [0, 0], [0.9, 0.9], [0.1, 0.2]], [[0, 0], [np.nan, np.nan], [1, 1], [1, 0]])
    found = read_alone(write_csv(tmp_path / "p.csv", before, print), like=target).dense("tags")
    np.testing.assert_array_equal(found.answer, [[0, 0], [1, 1], [1, 0]])


def test_a_table_of_another_framework_has_its_columns_for_classes(tmp_path):
    (tmp_path / "p.csv").write_text("id,width,status,p_ant,p_bee\nx,3,fine,0.25,0.75\ny,4,fine,1,0\n")
    table = read_alone(tmp_path / "p.csv")
    dense = table.dense("label")
    assert (dense.target.kind, dense.target.classes, dense.answer) == ("single", ("ant", "bee"), None)
    assert decided(dense).argmax(axis=1).tolist() == [1, 0]
    turned = read_alone(tmp_path / "p.csv", like=Target("kind", "ordinal", ("bee", "ant"))).dense("kind")
    assert turned.p[0].tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,a,b\nx,1,2\n", r"no columns p_<class> \(it has: id, a, b\)"),
        ("id,p_a,p_b\nx,2,-1\n", "from 0 to 1"),
        ("id,p_a,p_b\nx,0.5,0.5\nx,0.5,0.5\n", "names 1 row twice"),
        ("id,p_a,p_b,answer\nx,0.5,0.5,c\n", "'c', which is not among its 2 classes"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, text, says):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        read_alone(tmp_path / "p.csv")
