from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.core.config import Predict, Recipe, SequenceConfig
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.learn import window_rows, windows
from tapetum.learn.models.sequence import Steps
from tapetum.learn.runtime import Engine, Runtime

TARGET = Target("stage", "single", ("a", "b"))


def manifest(sequence: list[str | None], position: list[float | None], split: list[str] | None = None) -> Manifest:
    frame = pl.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(len(sequence))],
            "path": [["x"]] * len(sequence),
            "sequence": sequence,
            "position": position,
            "stage": ["a"] * len(sequence),
            **({"split": split} if split else {}),
        },
        schema_overrides={"sequence": pl.String, "position": pl.Float64},
    )
    return Manifest(frame, (TARGET,), ".")


def test_windows_by_hand():
    rows = manifest(["n", "n", "m", "n", "m"], [0, 30, 0, 60, 30])
    assert window_rows.window_rows(rows, 3, "last").tolist() == [[-1, -1, 0], [-1, 0, 1], [-1, -1, 2], [0, 1, 3], [-1, 2, 4]]
    assert window_rows.window_rows(rows, 3, "centre").tolist() == [[-1, 0, 1], [0, 1, 3], [-1, 2, 4], [1, 3, -1], [2, 4, -1]]


def test_a_gap_in_time_is_a_masked_place():
    rows = manifest(["n"] * 4, [0, 30, 120, 150])
    assert window_rows.window_rows(rows, 3, "last").tolist() == [[-1, -1, 0], [-1, 0, 1], [-1, -1, 2], [-1, 2, 3]]


def test_a_known_step_is_not_measured_again():
    far = manifest(["n", "n"], [1, 50])
    assert window_rows.window_rows(far, 2, "last", step=1.0).tolist() == [[-1, 0], [-1, 1]]
    assert window_rows.step_of(manifest(["n"] * 3 + ["m"] * 2, [0, 30, 60, 0, 60])) == 30


def test_one_irregular_sequence_keeps_the_gaps_of_all():
    rows = manifest(["a"] * 20 + ["c"] * 5 + ["b"] * 3, [*range(0, 40, 2), 0, 2, 4, 50, 52, 0, 0.5, 2])
    table = window_rows.window_rows(rows, 2, "last")
    assert table[20:25].tolist() == [[-1, 20], [20, 21], [21, 22], [-1, 23], [23, 24]]
    assert table[25:].tolist() == [[-1, 25], [25, 26], [26, 27]]
    assert window_rows.check(rows, 2) == (2, ["b"])


def test_checking_lays_rows_out_once(monkeypatch):
    laid, line = [], window_rows._line
    monkeypatch.setattr(window_rows, "_line", lambda rows: laid.append(1) or line(rows))
    assert window_rows.check(manifest(["a"] * 4, [0, 1, 2, 3]), 2) == (1, [])
    assert len(laid) == 1


def test_test_rows_and_extra_twins_are_sequences_of_their_own():
    rows = manifest(["n"] * 4, [0, 1, 0, 1], ["train", "train", "extra", "test"])
    table = window_rows.window_rows(rows, 2, "last")
    assert table.tolist() == [[-1, 0], [0, 1], [-1, 2], [-1, 3]]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (manifest(["n", "n"], [0, 0]), "'r0' and 'r1' are at one place"),
        (manifest(["n", "n"], [0, None]), "no position"),
    ],
)
def test_what_has_no_order_is_refused(rows, words):
    with pytest.raises(DataError, match=words):
        window_rows.check(rows, 3)
    with pytest.raises(DataError, match=words):
        window_rows.window_rows(rows, 2, "last")


def test_rows_without_a_sequence_column_are_refused():
    bare = Manifest(pl.DataFrame({"row_id": ["a"], "path": [["x"]], "stage": ["a"]}), (TARGET,), ".")
    with pytest.raises(DataError, match="sequence"):
        window_rows.window_rows(bare, 2, "last")


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=30),
    length=st.integers(2, 7),
    target=st.sampled_from(["last", "centre", "all"]),
    seed=st.integers(0, 99),
)
def test_windows_stay_in_their_sequence_and_hold_their_row(names, length, target, seed):
    place = np.random.default_rng(seed).permutation(len(names)).astype(float)
    table = window_rows.window_rows(manifest(names, place.tolist()), length, target)
    at = length - 1 if target == "last" else length // 2
    assert (table[:, at] == np.arange(len(names))).all()
    for row, window in enumerate(table):
        real = window[window >= 0]
        if names[row] is None:
            assert real.tolist() == [row]
        assert {names[r] for r in real} == {names[row]}
        assert (np.diff(place[real]) > 0).all()


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=4),
    length=st.integers(2, 9),
    share=st.floats(0.1, 1.0),
    seed=st.integers(0, 99),
)
def test_anchors_cover_every_row_that_is_asked_for(lengths, length, share, seed):
    names = [f"n{i}" for i, n in enumerate(lengths) for _ in range(n)]
    place = [float(p) for n in lengths for p in range(n)]
    rows = np.flatnonzero(np.random.default_rng(seed).random(len(names)) < share)
    source = windows.Source(window_rows.window_rows(manifest(names, place), length, "all"), "all")
    anchors = source.anchors(rows)
    assert set(anchors) <= set(rows)
    assert set(rows) <= set(source.table[anchors].ravel())


class Marks(torch.nn.Module):
    """Answers each step by a number of its place in the window and of its own value, so that an average can be computed by hand."""

    joined = None

    def forward(self, x: Steps, side=None):
        places = torch.arange(x.mask.shape[1], dtype=torch.float32).expand(x.mask.shape)
        return {"stage": torch.stack([places, x.values[..., 0, 0]], dim=-1)}

    def probabilities(self, logits):
        return logits


def test_overlapping_windows_are_averaged_as_probabilities():
    n, length = 9, 4
    table = window_rows.window_rows(manifest(["n"] * n, [float(i) for i in range(n)]), length, "all")
    vectors = np.arange(n, dtype=np.float32).reshape(n, 1, 1)
    source = windows.Source(table, "all", vectors)
    rows = np.arange(n)
    found = windows.answer_folds({0: Marks()}, source, rows, Predict(batch=2), Runtime(Engine()))[0]
    for row in rows:
        places = [int(np.flatnonzero(window == row)[0]) for window in table[source.anchors(rows)] if row in window]
        assert found.p["stage"][row].tolist() == pytest.approx([np.mean(places), row])
    assert found.ok.all()


def test_an_unreadable_image_is_masked_everywhere_and_answered_nowhere():
    n, length = 6, 3
    table = window_rows.window_rows(manifest(["n"] * n, [float(i) for i in range(n)]), length, "all")
    vectors = np.ones((n, 1, 2), dtype=np.float32)
    vectors[2] = np.nan
    source = windows.Source(table, "all", vectors, reasons={2: "truncated"})
    batch = next(source.batches(np.array([2]), 8))
    assert batch.x.mask.tolist() == [[True, False, True]]
    assert torch.isfinite(batch.x.values).all()
    found = windows.answer_folds({0: Marks()}, source, np.arange(n), Predict(), Runtime(Engine()))[0]
    assert found.ok.tolist() == [True, True, False, True, True, True]
    assert np.isnan(found.p["stage"][2]).all()
    assert found.reasons == {2: "truncated"}


@pytest.mark.parametrize(
    ("section", "more", "words"),
    [
        ({"length": 3}, {"mix": ("mixup",)}, "mix"),
        ({"length": 3, "windows": 2, "target": "all"}, {}, "predict none"),
        ({"length": 3, "windows": 2, "target": "last", "features": "frozen"}, {}, "kept by image"),
    ],
)
def test_impossible_sections_are_refused(section, more, words):
    with pytest.raises(UserError, match=words):
        windows.check(Recipe(sequence=SequenceConfig(**section), **more))


def test_features_of_a_member_bring_its_model_and_input():
    recipe = Recipe(
        member=(
            {"name": "single", "model": {"backbone": "test_vit"}, "input": {"size": 96}},
            {"name": "nights", "sequence": {"length": 5, "features": "single"}, "model": {"backbone": "test_resnet"}},
        )
    )
    own = recipe.members()["nights"]
    assert own.model.backbone == "test_vit"
    assert own.input.size == 96
    with pytest.raises(UserError, match="takes its features from 'sngle'"):
        Recipe(member=({"name": "a", "sequence": {"length": 5, "features": "sngle"}},)).members()
