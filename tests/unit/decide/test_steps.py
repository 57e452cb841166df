import dataclasses
import inspect

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulated_predictions import dense_of, multi, names, rows_of, single
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest, decided
from tapetum.core.targets import Target
from tapetum.decide.align import common
from tapetum.decide.choices import BLENDS, CALIBRATORS, STEPS
from tapetum.decide.steps import Rows, assemble, check_folds, crossfit, fitting, folds_of


@dataclasses.dataclass(frozen=True)
class Remember:
    """Remembers which rows it saw, and marks the rows it decides with how many of them it had seen."""

    def fit(self, dense, rows):
        return {"ids": dense.row_ids.tolist(), "groups": sorted(set(rows.groups))}

    def apply(self, dense, rows, fitted):
        seen = np.isin(dense.row_ids.astype(str), fitted["ids"])
        return dense.with_p(np.where(seen[:, None], [1, 0, 0, 0], [0, 1, 0, 0]))


@given(groups=st.integers(2, 30), folds=st.integers(1, 6), n=st.integers(30, 80), left_out=st.integers(0, 10))
@settings(max_examples=40, deadline=None)
def test_no_row_is_decided_by_values_of_its_group(groups, folds, n, left_out):
    dense, _ = single(n=n)
    rows = rows_of(n, groups, min(folds, groups))
    rows = dataclasses.replace(rows, fold=np.where(np.arange(n) < left_out, -1, rows.fold).astype(np.int16))
    if len(set(rows.groups[left_out:])) < 2:
        return
    found = crossfit(Remember(), dense, rows)
    assert (found.nested.p[:, 1] == 1).all()
    assert (found.optimistic.p[found.fold >= 0, 0] == 1).all()
    for k, fitted in found.by_fold.items():
        assert not set(fitted["groups"]) & set(rows.groups[found.fold == k])
        assert set(fitted["ids"]) <= set(dense.row_ids[rows.fold >= 0])
    assert found.nested.row_ids.tolist() == dense.row_ids.tolist()


def test_one_fold_is_cut_into_five_group_folds():
    dense, rows = single(n=400)
    rows = dataclasses.replace(rows, fold=np.where(np.arange(400) < 200, 0, 1).astype(np.int16), groups=rows.groups)
    status = np.where(rows.fold == 0, "ok", "uncovered").astype(object)
    dense = dataclasses.replace(dense, status=status, p=np.where(rows.fold[:, None] == 0, dense.p, np.nan))
    fold, drawn = folds_of(dense, rows)
    assert drawn
    assert set(fold[:200]) == {0, 1, 2, 3, 4}
    assert (fold[200:] == -1).all()
    for group in set(rows.groups[:200]):
        assert len(set(fold[:200][rows.groups[:200] == group])) == 1


def test_folds_cutting_a_group_are_refused_without_a_reason():
    rows = Rows(np.array(["ann", "ann", "bob", "cyd"], dtype=object), np.array([0, 1, 1, 0]))
    with pytest.raises(DataError, match="ann"):
        check_folds(rows)
    check_folds(dataclasses.replace(rows, allow_leak="as the write-up did"))
    check_folds(dataclasses.replace(rows, fold=np.array([0, -1, 1, 0])))


def test_one_group_or_no_truth_cannot_be_cross_fitted():
    dense, rows = single(n=20)
    with pytest.raises(DataError, match="one group"):
        crossfit(Remember(), dense, Rows(np.full(20, "g", dtype=object), np.zeros(20, dtype=np.int16)))
    with pytest.raises(DataError, match="a label"):
        crossfit(Remember(), dataclasses.replace(dense, y=np.full_like(dense.y, np.nan)), rows)
    with pytest.raises(UserError, match="same rows"):
        crossfit(Remember(), dense, rows.where(np.arange(19)))


def test_parts_come_back_in_order_with_their_decisions():
    dense, _ = single(n=10)
    order = np.random.default_rng(0).permutation(10)
    answered = dataclasses.replace(dense.where(order[:4]), answer=np.tile([0, 0, 0, 1], (4, 1)))
    whole = assemble([(order[:4], answered), (order[4:], dense.where(order[4:]))])
    assert whole.row_ids.tolist() == dense.row_ids.tolist()
    assert (whole.answer[order[:4], 3] == 1).all()
    assert (whole.answer[order[4:]].argmax(1) == dense.p[order[4:]].argmax(1)).all()


def test_default_decisions_by_kind():
    p = np.array([[0.5, 0.1], [0.4, 0.6], [np.nan, np.nan]])
    multi = dataclasses.replace(dense_of(Target("m", "multi", names(2)), p, p), status=np.array(["ok", "ok", "missing"], dtype=object))
    assert decided(multi)[:2].tolist() == [[1, 0], [0, 1]]
    assert np.isnan(decided(multi)[2]).all()


def test_fit_sees_labelled_answers_up_to_its_limit():
    dense, rows = single(n=100)
    y = dense.y.copy()
    y[:30] = np.nan
    dense = dataclasses.replace(dense, y=y)
    p, truth, weight, inside = fitting(dense, rows)
    assert len(p) == len(truth) == len(weight) == len(inside) == 70
    p, *_ = fitting(dense, rows, most=10)
    assert len(p) == 10


def test_rows_of_a_manifest_follow_the_ids_asked_for(tmp_path):
    frame = pl.DataFrame(
        {
            "row_id": ["a", "b", "c"],
            "path": [["a"], ["b"], ["c"]],
            "k": ["x", "y", "x"],
            "sequence": ["s", None, "s"],
            "position": [2.0, None, 1.0],
            "split": ["train", "test", "train"],
            "fold": [1, 1, 0],
        }
    )
    manifest = Manifest(frame, (Target("k", "single", ("x", "y")),), tmp_path)
    rows = Rows.of(manifest, ["c", "b", "a"])
    assert rows.groups.tolist() == ["s", "b", "s"]
    assert rows.fold.tolist() == [0, -1, 1]  # a test row is never fitted on
    assert rows.sequence.tolist() == ["s", None, "s"]
    assert rows.position[[0, 2]].tolist() == [1.0, 2.0]
    assert rows.row_ids.tolist() == ["c", "b", "a"]
    with pytest.raises(DataError, match="zzz"):
        Rows.of(manifest, ["a", "zzz"])


@pytest.mark.parametrize(("table", "name"), [(t, n) for t in (CALIBRATORS, BLENDS, STEPS) for n in t])
def test_choices_state_the_defaults_of_what_they_name(table, name):
    signature = inspect.signature(table[name].load())
    assert {k: p.default for k, p in signature.parameters.items() if k in table[name].parameters} == table[name].parameters
    if table is not BLENDS:
        piece = table[name].load()(**table[name].parameters)
        assert callable(piece.fit)
        assert callable(piece.apply)


@pytest.mark.parametrize("other", [fitting, lambda dense, rows: common([dense, dense], rows)], ids=["step", "blend"])
def test_a_fit_never_sees_rows_of_weight_zero(other):
    dense, rows = single(n=100)
    weight = np.ones(100)
    weight[:30] = 0
    found = other(dense, dataclasses.replace(rows, weight=weight))
    np.testing.assert_array_equal(found[1], dense.y[30:])
    assert (found[2] == 1).all()


def test_fold_without_weight_neither_fits_nor_judges():
    dense, rows = single(n=100)
    rows = dataclasses.replace(rows, weight=(rows.fold == 2).astype(np.float64))
    fold, drawn = folds_of(dense, rows)
    assert drawn
    assert len(np.unique(fold)) == 5


def test_thresholds_do_not_move_by_rows_of_weight_zero():
    dense, rows = multi(n=300)
    weight = (np.arange(300) < 200).astype(np.float64)
    step = STEPS["thresholds"].load()()
    seen = step.fit(dense, dataclasses.replace(rows, weight=weight))
    alone = step.fit(dense.where(np.arange(200)), rows.where(np.arange(200)))
    assert seen == alone


@pytest.mark.parametrize("name", ["smooth", "rules"])
def test_steps_that_look_at_no_truth_say_so(name):
    assert not STEPS[name].load()().learns
