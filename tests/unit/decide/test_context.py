from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from tapetum.core import files, metrics
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.decide import context_fit, hmm
from tapetum.decide.bias import _GRID, ClassBias, _macro_f1_along, fit_bias
from tapetum.decide.context import Context
from tapetum.decide.sequences import LONGEST_GAP, arrange
from tapetum.decide.steps import Rows, crossfit
from tapetum.decide.window_regression import FLOOR, apply_window_regression, around, fit_window_regression, places

ABC = Target("stage", "single", ("a", "b", "c"))
MOVE = np.array([[0.9, 0.08, 0.02], [0.1, 0.85, 0.05], [0.05, 0.15, 0.8]])


def table(p: np.ndarray, labels: np.ndarray, target: Target = ABC) -> Dense:
    y = np.where(labels[:, None] < 0, np.nan, np.eye(p.shape[1])[labels]).astype(np.float32)
    status = np.where(np.isnan(p).any(axis=1), "missing", "ok").astype(object)
    ids = np.array([f"r{i}" for i in range(len(p))], dtype=object)
    return Dense(target, ids, p.astype(np.float32), y, np.zeros(len(p), dtype=np.int16), status)


def nights(groups: int, slots: int, seed: int = 0, move: np.ndarray = MOVE, noise: float = 1.2) -> tuple[Dense, Rows]:
    """Noisy answers to labels that follow a chain: one sequence a group, five folds."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((groups, slots), dtype=np.int64)
    for t in range(1, slots):
        labels[:, t] = (rng.random(groups)[:, None] > move.cumsum(axis=1)[labels[:, t - 1]]).sum(axis=1)
    z = np.eye(3)[labels.reshape(-1)] * 1.5 + rng.normal(0, noise, (groups * slots, 3))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    name = np.repeat([f"n{i}" for i in range(groups)], slots).astype(object)
    rows = Rows(name, np.repeat(np.arange(groups) % 5, slots), name, np.tile(np.arange(slots, dtype=np.float64), groups))
    return table(p, labels.reshape(-1)), rows


def macro_f1(dense: Dense) -> float:
    found = metrics.score("macro_f1", dense.target, dense.p, dense.y, answer=dense.answer)
    assert found is not None
    return found


# ------------------------------------------------------------------------------------------------------------ sequences


def test_rows_are_ordered_by_position() -> None:
    rows = Rows(np.array(list("gggg")), np.zeros(4), np.array(["s"] * 4, dtype=object), np.array([3.0, 1.0, 2.0, 0.0]))
    (block,) = arrange(rows)
    assert block.index.tolist() == [[3, 1, 2, 0]]


def test_a_jump_in_position_leaves_empty_slots() -> None:
    position = np.array([0, 1, 2, 5, 6, 1000], dtype=np.float64)
    (block,) = arrange(Rows(np.array(["g"] * 6), np.zeros(6), np.array(["s"] * 6, dtype=object), position))
    assert np.flatnonzero(block.index[0] >= 0).tolist() == [0, 1, 2, 5, 6, 6 + LONGEST_GAP + 1]


def test_seconds_and_counts_are_the_same_to_it() -> None:
    name = np.array(["s"] * 5, dtype=object)
    counts = arrange(Rows(name, np.zeros(5), name, np.array([4.0, 5, 6, 8, 9])))
    seconds = arrange(Rows(name, np.zeros(5), name, np.array([0.0, 30, 60.2, 119.8, 150])))
    assert counts.blocks[0].index.tolist() == seconds.blocks[0].index.tolist()


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 70), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_every_row_has_exactly_one_slot(lengths: list[int], seed: int) -> None:
    name = np.repeat([f"s{i}" for i in range(len(lengths))], lengths).astype(object)
    mixed = np.random.default_rng(seed).permutation(len(name))
    position = np.concatenate([np.arange(n, dtype=np.float64) for n in lengths])
    rows = Rows(name[mixed], np.zeros(len(name)), name[mixed], position[mixed])
    seen = np.concatenate([block.index[block.filled] for block in arrange(rows)])
    assert sorted(seen.tolist()) == list(range(len(name)))
    for block in arrange(rows):
        assert (np.diff(block.lengths) <= 0).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sequence": None}, "no sequence"),
        ({"position": None}, "2 sequences have no positions: n0, n1"),
        ({"position": np.array([0, 1, np.nan, 0, 1, 2])}, "1 sequence has rows without a position: n0"),
        ({"position": np.array([0, 1, 2, 0, 1, 1.0])}, "1 sequence has doubled positions: n1"),
        ({"groups": np.array(["x", "x", "y", "n1", "n1", "n1"], dtype=object)}, "1 sequence has rows of several groups: n0"),
    ],
)
def test_sequences_that_cannot_be_ordered_are_named(change: dict[str, np.ndarray | None], said: str) -> None:
    dense, rows = nights(2, 3)
    with pytest.raises(DataError, match=said):
        Context().fit(dense, dataclasses.replace(rows, **change))


# -------------------------------------------------------------------------------------------------------------- decoding


def test_the_default_is_forward_backward_over_the_stated_emission() -> None:
    dense, rows = nights(1, 12)
    prior = (0.5, 0.3, 0.2)
    step = Context(transitions=MOVE.tolist(), prior=prior, tune=False)
    found = step.apply(dense, rows, step.fit(dense, rows))
    logs = 1.0 * (np.log(np.maximum(dense.p.astype(np.float64), 1e-4)) - 0.5 * np.log(prior))
    expected = hmm.posteriors(logs[None], np.array([12]), hmm.Chain.from_dict({"move": MOVE}))[0]
    np.testing.assert_allclose(found.p, expected, atol=1e-6)
    assert found.answer is None


def test_the_prior_is_that_of_the_rows_fitted_on() -> None:
    dense, rows = nights(3, 50)
    fitted = Context(tune=False, transitions=MOVE.tolist()).fit(dense, rows)
    counted = np.nansum(dense.y, axis=0)
    np.testing.assert_allclose(fitted["decoder"]["prior"], (counted + 0.5) / (counted.sum() + 1.5), rtol=1e-6)
    np.testing.assert_allclose(fitted["decoder"]["chain"]["move"], MOVE)


def test_two_labelled_groups_count_transitions_anew() -> None:
    dense, rows = nights(2, 400)
    flat = np.full((3, 3), 1 / 3).tolist()
    fitted = Context(transitions=flat).fit(dense, rows)
    np.testing.assert_allclose(fitted["decoder"]["chain"]["move"], MOVE, atol=0.1)
    assert len(fitted["settings"]) == 16
    assert fitted["method"] == "forward-backward"


def test_one_labelled_group_keeps_what_was_handed_in() -> None:
    dense, rows = nights(1, 50)
    fitted = Context(transitions=MOVE.tolist()).fit(dense, rows)
    np.testing.assert_allclose(fitted["decoder"]["chain"]["move"], MOVE)
    assert fitted["settings"] == {}


def test_transitions_come_from_a_file_too(tmp_path) -> None:
    dense, rows = nights(1, 20)
    path = files.write_json(tmp_path / "chain.json", {"move": MOVE})
    here, there = (Context(transitions=t, tune=False).fit(dense, rows) for t in (str(path), MOVE.tolist()))
    assert here == there


def test_rows_in_another_order_get_the_same_answers() -> None:
    dense, rows = nights(4, 40)
    step = Context()
    fitted = step.fit(dense, rows)
    mixed = np.random.default_rng(1).permutation(len(rows))
    there = step.apply(dense.where(mixed), rows.where(mixed), fitted).p
    np.testing.assert_allclose(there, step.apply(dense, rows, fitted).p[mixed], atol=1e-6)


@pytest.mark.parametrize("method", ["forward-backward", "viterbi", "log-mean", "stack", "bias", "none"])
def test_fitted_values_survive_json(method: str) -> None:
    dense, rows = nights(8, 40)
    step = Context(method=method, longest=5)
    fitted = step.fit(dense, rows)
    a = step.apply(dense, rows, fitted)
    b = step.apply(dense, rows, json.loads(files.to_json(fitted)))
    np.testing.assert_array_equal(a.p, b.p)
    np.testing.assert_allclose(a.p.sum(axis=1), 1, atol=1e-5)
    assert (a.answer is None) == (method in ("forward-backward", "none"))


def test_a_missing_row_is_stepped_over_and_stays_missing() -> None:
    dense, rows = nights(1, 9)
    gone = np.array(dense.p)
    gone[4] = np.nan
    step = Context(transitions=MOVE.tolist(), tune=False, prior=(0.5, 0.3, 0.2))
    holed = table(gone, np.full(9, -1))
    found = step.apply(holed, rows, step.fit(dense, rows))
    assert found.status[4] == "missing"
    assert np.isnan(found.p[4]).all()
    logs = np.nan_to_num(np.log(np.maximum(gone.astype(np.float64), 1e-4)) - 0.5 * np.log([0.5, 0.3, 0.2]))
    expected = hmm.posteriors(logs[None], np.array([9]), hmm.Chain.from_dict({"move": MOVE}))[0]
    np.testing.assert_allclose(np.delete(found.p, 4, axis=0), np.delete(expected, 4, axis=0), atol=1e-6)


def test_rows_without_a_sequence_keep_their_probabilities() -> None:
    dense, rows = nights(8, 40)
    sequence = rows.sequence.copy()
    sequence[:40] = None
    rows = dataclasses.replace(rows, sequence=sequence)
    step = Context("forward-backward")
    found = step.apply(dense, rows, step.fit(dense, rows))
    np.testing.assert_array_equal(found.p[:40], dense.p[:40])
    assert np.abs(found.p[40:] - dense.p[40:]).max() > 0.1


def test_no_sequence_tells_another_anything() -> None:
    dense, rows = nights(6, 40)
    step = Context("forward-backward")
    fitted = step.fit(dense, rows)
    whole = step.apply(dense, rows, fitted).p
    first = np.arange(40)
    np.testing.assert_allclose(step.apply(dense.where(first), rows.where(first), fitted).p, whole[:40], atol=1e-6)


def test_context_gains_on_a_chain_cross_validated() -> None:
    dense, rows = nights(10, 150)
    found = crossfit(Context(), dense, rows)
    assert macro_f1(found.nested) > macro_f1(dense) + 0.05
    assert set(found.by_fold) == {0, 1, 2, 3, 4}


def test_context_does_little_harm_where_nothing_follows_from_anything() -> None:
    dense, rows = nights(10, 150, move=np.tile([0.5, 0.3, 0.2], (3, 1)))
    found = crossfit(Context(), dense, rows)
    assert macro_f1(found.nested) > macro_f1(dense) - 0.02


def test_explicit_durations_help_where_runs_have_a_length() -> None:
    rng = np.random.default_rng(5)
    labels = np.tile(np.repeat([0, 1, 2, 1], [6, 6, 6, 6]), 50)
    z = np.eye(3)[labels] + rng.normal(0, 1.0, (1200, 3))
    dense = table(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), labels)
    name = np.repeat([f"n{i}" for i in range(4)], 300).astype(object)
    rows = Rows(name, np.repeat(np.arange(4), 300), name, np.tile(np.arange(300.0), 4))
    plain, aged = (macro_f1(crossfit(Context("forward-backward", longest=n), dense, rows).nested) for n in (0, 10))
    assert aged > plain + 0.03


def test_the_position_prior_knows_what_comes_first() -> None:
    labels = np.tile(np.repeat([0, 1], [120, 120]), 4)
    dense = table(np.tile([0.4, 0.4, 0.2], (960, 1)), labels)  # images that say nothing
    name = np.repeat([f"n{i}" for i in range(4)], 240).astype(object)
    rows = Rows(name, np.repeat(np.arange(4), 240), name, np.tile(np.arange(240.0), 4))
    with_position = Context("forward-backward", position=1.0, transitions=np.full((3, 3), 1 / 3).tolist(), tune=False)
    found = with_position.apply(dense, rows, with_position.fit(dense, rows))
    assert (found.p[:, :2].argmax(axis=1) == labels).all()


def test_without_labels_and_without_transitions_nothing_can_be_decoded() -> None:
    dense, rows = nights(3, 10)
    blank = dataclasses.replace(dense, y=np.full_like(dense.y, np.nan))
    with pytest.raises(DataError, match="neither labelled sequences nor transitions"):
        Context().fit(blank, rows)
    assert Context(transitions=MOVE.tolist()).fit(blank, rows)["method"] == "forward-backward"


def test_a_stack_wants_eight_groups() -> None:
    dense, rows = nights(7, 20)
    with pytest.raises(DataError, match="8 or more"):
        Context("stack").fit(dense, rows)


@pytest.mark.parametrize("bad", [{"emission": 0.0}, {"longest": 1}, {"reach": 0}])
def test_settings_that_mean_nothing_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UserError, match="context has"):
        Context(**bad)


def test_unsuitable_targets_methods_and_tables_are_refused() -> None:
    dense, rows = nights(2, 10)
    with pytest.raises(UserError, match="multi"):
        Context().fit(dataclasses.replace(dense, target=Target("t", "multi", ("a", "b", "c"))), rows)
    with pytest.raises(UserError, match="no context method"):
        Context("vitterbi").fit(dense, rows)
    with pytest.raises(DataError, match="2 classes"):
        Context(transitions=[[0.5, 0.5], [0.5, 0.5]], tune=False).fit(dense, rows)


# ------------------------------------------------------------------------------------------------- bias and neighbours


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(2, 4))
def test_macro_f1_along_a_class_equals_scikit_learn(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth, c = rng.normal(0, 1, (60, k)), rng.integers(0, k, 60), int(rng.integers(k))
    if seed % 2:  # equal probabilities, of which the class that comes first is answered
        scores = np.log(np.maximum(rng.integers(1, 4, (60, k)) / 8, 1e-4))
    bias = rng.choice(_GRID, k)
    found = _macro_f1_along(scores, bias, c, truth, np.ones(60))
    for point, value in enumerate(_GRID):
        bias[c] = value
        answer = (scores + bias).argmax(axis=1)
        assert found[point] == pytest.approx(f1_score(truth, answer, labels=range(k), average="macro", zero_division=0), abs=1e-12)


def test_weights_below_1_count_along_a_class_alone() -> None:
    scores, weight = np.log(np.array([[0.6, 0.4], [0.9, 0.1]])), np.array([0.5, 1.0])
    found = _macro_f1_along(scores, np.zeros(2), 1, np.ones(2, dtype=np.int64), weight)
    assert found[_GRID == 1.0] == pytest.approx(2 * 0.5 / (1.5 + 0.5) / 2)  # the first row is right, of weight .5


def test_biases_raise_macro_f1_of_rare_classes_and_leave_probabilities() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 4000, p=[0.9, 0.07, 0.03])
    z = np.eye(3)[truth] + rng.normal(0, 1, (4000, 3)) + np.log([0.9, 0.07, 0.03])
    dense = table(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), truth)
    rows = Rows.new(dense.row_ids)
    found = ClassBias().apply(dense, rows, ClassBias().fit(dense, rows))
    assert macro_f1(found) > macro_f1(dense) + 0.03
    np.testing.assert_array_equal(found.p, dense.p)


def test_a_bias_that_gains_nothing_stays_zero() -> None:
    truth = np.arange(30) % 3
    assert fit_bias(np.log(np.eye(3)[truth] * 0.9 + 0.03), truth).tolist() == [0.0, 0.0, 0.0]


def test_neighbours_stop_at_the_edges_of_their_sequence() -> None:
    name = np.array(["s", "s", "t", "t"], dtype=object)
    sequences = arrange(Rows(name, np.zeros(4), name, np.array([0.0, 1, 0, 2])), step=1.0)
    assert places(sequences, 4, 1).tolist() == [[-1, 0, 1], [0, 1, -1], [-1, 2, -1], [-1, 3, -1]]
    x = around(np.log(np.array([[0.5, 0.5], [0.999, 0.001], [0.2, 0.8], [np.nan, np.nan]])), places(sequences, 4, 1))
    np.testing.assert_allclose(x[1], np.log([0.5, 0.5, 0.999, FLOOR, 0.5, 0.5]), rtol=1e-5)
    np.testing.assert_allclose(x[3], np.log([0.5] * 6), rtol=1e-5)


def test_a_strong_penalty_leaves_the_images_own_answer() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3) * 3, 200)
    name = np.array(["s"] * 200, dtype=object)
    place = places(arrange(Rows(name, np.zeros(200), name, np.arange(200.0))), 200, 2)
    truth = (rng.random(200)[:, None] > p.cumsum(axis=1)).sum(axis=1)
    w = fit_window_regression(around(np.log(p), place), truth, 3, 1e-9)
    np.testing.assert_allclose(apply_window_regression(np.log(p), place, w)[:, 0] / p[:, 0], 1, atol=0.5)  # intercepts are free
    assert np.abs(w[:-1] - np.vstack([np.zeros((6, 3)), np.eye(3), np.zeros((6, 3))])).max() < 1e-4


def test_the_regression_finds_where_the_answer_stands() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 3000)
    p = np.roll(np.eye(3)[truth] * 0.7 + 0.1, 1, axis=0)  # each image shows the label of the one before it
    name = np.array(["s"] * 3000, dtype=object)
    place = places(arrange(Rows(name, np.zeros(3000), name, np.arange(3000.0))), 3000, 1)
    w = fit_window_regression(around(np.log(p), place), truth, 3, 1.0)
    assert (apply_window_regression(np.log(p), place, w).argmax(axis=1) == truth)[:-1].mean() > 0.99


def test_unknown_error_of_a_difference_changes_nothing():
    """One class throughout: kappa is not defined, nor is how far two candidates' differ by chance."""
    dense, rows = nights(4, 10)
    dense = dataclasses.replace(
        dense, y=np.tile(np.eye(3, dtype=np.float32)[0], (len(dense.y), 1)), p=np.tile(dense.p[:1], (len(dense.p), 1))
    )
    study = context_fit.study(dense, rows, metric="kappa", longest=0, position=0.0, reach=2, strength=0.01)
    one, two = (context_fit.Candidate(dense.y), context_fit.Candidate(0.9 * dense.y + 0.03))
    assert study.standard_error(one, two) is None
