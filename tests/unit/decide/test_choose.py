"""Epochs and candidates are picked for each fold on the other folds; what is more complicated must earn its place."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from tapetum.core.monitor import monitor, prior_answer
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.decide import choose

TARGET = Target("t", "single", ("a", "b", "c"))
FOLDS = 4


def answers(rng, truth, fold, sharpness):
    """Simulate softmax answers whose logits lean to the truth by ``sharpness`` under noise of deviation 1 (a number, or one a row)."""
    logits = rng.normal(size=truth.shape) + truth * np.broadcast_to(sharpness, len(truth))[:, None]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = np.array([f"r{i}" for i in range(len(truth))], dtype=object)
    return Dense(TARGET, ids, p.astype(np.float32), truth, fold, np.full(len(truth), "ok", dtype=object))


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    n = 400
    return rng, np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)], (np.arange(n) % FOLDS).astype(np.int16), np.arange(n) // 2


def candidates(probe, finetune):
    mean = probe.with_p((probe.p + finetune.p) / 2)
    return {"probe": {"t": probe}, "finetune": {"t": finetune}, "mean": {"t": mean}}


def test_a_clear_gain_is_taken_in_every_fold_and_ships(rows):
    rng, truth, fold, groups = rows
    choice = choose.pick_candidate(candidates(answers(rng, truth, fold, 0.2), answers(rng, truth, fold, 4.0)), groups)
    assert choice.per_fold == dict.fromkeys(range(FOLDS), "finetune")
    assert choice.final == "finetune"
    assert choice.figures["finetune"] > choice.figures["mean"] > choice.figures["probe"]


def test_mean_of_two_weak_answers_wins(rows):
    rng, truth, fold, groups = rows
    choice = choose.pick_candidate(candidates(answers(rng, truth, fold, 1.6), answers(rng, truth, fold, 1.6)), groups)
    assert choice.final == "mean"
    assert choice.reason.startswith(f"the best macro_f1 before decision steps, {choice.figures['mean']:.3f} (")


def test_gain_within_chance_keeps_the_probe(rows):
    rng, truth, fold, groups = rows
    probe = answers(rng, truth, fold, 2.5)
    flipped = probe.p.copy()
    right = probe.p.argmax(axis=1) == truth.argmax(axis=1)
    better, worse = np.flatnonzero(~right)[:6], np.flatnonzero(right)[:4]  # two rows more of 400: less than √10 rows of error
    flipped[better] = truth[better]
    flipped[worse] = np.roll(truth[worse], 1, axis=1)
    choice = choose.pick_candidate({"probe": {"t": probe}, "finetune": {"t": probe.with_p(flipped)}}, groups)
    assert choice.figures["finetune"] > choice.figures["probe"]
    assert choice.final == "probe"
    assert "is better by less than one standard error before decision steps, and" in choice.reason
    assert choice.reason.endswith("is simpler")


def test_a_collapsed_fine_tuning_is_never_taken(rows):
    rng, truth, fold, groups = rows
    collapsed = answers(rng, truth, fold, 0.0)
    choice = choose.pick_candidate(candidates(answers(rng, truth, fold, 3.0), collapsed), groups)
    assert set(choice.per_fold.values()) == {"probe"}
    assert choice.final == "probe"


@given(st.integers(0, FOLDS - 1), st.integers(0, 2**20))
@settings(max_examples=8, deadline=None)
def test_a_folds_own_answers_never_decide_what_answers_for_it(k, seed):
    rng = np.random.default_rng(seed)
    n = 80
    truth, fold = np.eye(3, dtype=np.float32)[rng.integers(0, 3, n)], (np.arange(n) % FOLDS).astype(np.int16)
    probe, tuned = answers(rng, truth, fold, 1.5), answers(rng, truth, fold, 1.7)
    before = choose.pick_candidate(candidates(probe, tuned), np.arange(n)).per_fold[k]
    own = fold == k
    changed = tuned.p.copy()
    changed[own] = truth[own] if rng.random() < 0.5 else np.roll(truth[own], 1, axis=1)
    assert choose.pick_candidate(candidates(probe, tuned.with_p(changed)), np.arange(n)).per_fold[k] == before


def test_candidates_are_compared_on_common_rows(rows):
    rng, truth, fold, groups = rows
    probe, tuned = answers(rng, truth, fold, 1.0), answers(rng, truth, fold, 3.0)
    covered = np.arange(len(fold)) % 4 != 1  # fine-tuning lacks a fold
    part = dataclasses.replace(
        tuned, p=np.where(covered[:, None], tuned.p, np.nan), status=np.where(covered, "ok", "uncovered").astype(object)
    )
    choice = choose.pick_candidate({"probe": {"t": probe}, "finetune": {"t": part}}, groups)
    by_hand = f1_score(truth[covered].argmax(1), probe.p[covered].argmax(1), average="macro")
    assert choice.figures["probe"] == pytest.approx(by_hand)
    assert sorted(choice.per_fold) == [0, 2, 3]


# ---------------------------------------------------------------------------------------------------------------- epochs


def heldout(rng, sharpness):
    """Return fold → the held-out table of all its epochs; ``sharpness[fold]`` lists one number an epoch."""
    tables = {}
    for k, by_epoch in enumerate(sharpness):
        truth = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
        parts = [
            Predictions.from_dense(answers(rng, truth, np.full(60, k, dtype=np.int16), s), member="main", checkpoint=f"epoch-{e + 1:03d}")
            for e, s in enumerate(by_epoch)
        ]
        tables[k] = Predictions.concat(parts)
    return tables


def test_each_fold_stands_at_the_epoch_best_on_the_others():
    # Fold 0 is best at epoch 3 on its own rows; the others are best at epoch 2.
    tables = heldout(np.random.default_rng(1), [[0, 0, 9], [0, 9, 1], [0, 9, 1]])
    choice = choose.pick_epochs(tables)
    assert choice.per_fold[0] == "epoch-002"
    assert choice.how == "cross-fitted"
    alone = choose.pick_epochs({k: tables[k] for k in (0, 1)})
    assert alone.per_fold == {0: "epoch-002", 1: "epoch-003"}  # each at what the other one likes


def test_a_fold_that_stopped_earlier_stands_at_its_last():
    tables = heldout(np.random.default_rng(1), [[0, 1], [0, 1, 9], [0, 1, 9]])
    choice = choose.pick_epochs(tables)
    assert choice.per_fold == {0: "epoch-002", 1: "epoch-003", 2: "epoch-003"}
    assert choice.final == "epoch-003"


def test_ties_go_to_the_earliest_epoch_before_averages():
    tables = heldout(np.random.default_rng(1), [[9, 9], [9, 9]])
    same = {k: Predictions.concat([t.select(checkpoint="epoch-001"), _as(t, "epoch-001", "epoch-001/ema"), _as(t, "epoch-001", "swa")])
            for k, t in tables.items()}  # fmt: skip
    choice = choose.pick_epochs(same)
    assert choice.final == "epoch-001"
    assert list(choice.curve) == ["epoch-001", "epoch-001/ema", "swa"]


def _as(table, checkpoint, name):
    import polars as pl

    part = table.select(checkpoint=checkpoint)
    return dataclasses.replace(part, frame=part.frame.with_columns(pl.lit(name).alias("checkpoint")))


def test_fixed_epoch_stands_and_one_fold_chooses_nothing():
    tables = heldout(np.random.default_rng(1), [[0, 9, 0], [0, 9, 0]])
    fixed = choose.pick_epochs(tables, fixed="epoch-001")
    assert (fixed.final, set(fixed.per_fold.values()), fixed.how) == ("epoch-001", {"epoch-001"}, "recipe")
    one = choose.pick_epochs({0: tables[0]})
    assert (one.final, one.how) == ("epoch-003", "last")


def test_folds_that_end_before_the_wished_epoch_are_named():
    tables = heldout(np.random.default_rng(1), [[0, 9, 0], [0, 9, 0]])
    assert choose.pick_epochs(tables, fixed="epoch-001").short == ()
    assert choose.pick_epochs(tables, fixed="epoch-009").short == tuple(tables)
    assert choose.pick_epochs({0: tables[0]}).short == (0,)


def test_with_one_fold_the_simplest_answers(rows):
    rng, truth, _, groups = rows
    one = np.zeros(len(truth), dtype=np.int16)
    choice = choose.pick_candidate(candidates(answers(rng, truth, one, 0.2), answers(rng, truth, one, 4.0)), groups)
    assert (choice.final, choice.per_fold) == ("probe", {0: "probe"})
    assert choice.figures["finetune"] > choice.figures["probe"]
    assert "one fold" in choice.reason


def test_second_fold_without_labels_cannot_be_chosen_on(rows):
    rng, truth, _, groups = rows
    fold = (np.arange(len(truth)) % 2).astype(np.int16)
    known = np.where((fold == 0)[:, None], truth, np.nan).astype(np.float32)
    blind = [dataclasses.replace(answers(rng, truth, fold, sharp), y=known) for sharp in (0.2, 4.0)]
    choice = choose.pick_candidate(candidates(*blind), groups)
    assert (choice.final, set(choice.per_fold.values())) == ("probe", {"probe"})


# --------------------------------------------------------------------------------------------------------- the one scalar


def test_several_targets_are_averaged_by_their_skill_over_the_prior():
    rng = np.random.default_rng(3)
    number = Target("n", "regression", ("n",))
    truth, value = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 90)], rng.normal(size=(90, 1)).astype(np.float32)
    p, said = answers(rng, truth, np.zeros(90, dtype=np.int16), 2.0).p, value + rng.normal(size=value.shape).astype(np.float32) * 0.3
    found = monitor("auto", {"t": TARGET, "n": number}, {"t": (p, truth), "n": (said, value)})
    top = f1_score(truth.argmax(1), p.argmax(1), average="macro")
    base = f1_score(truth.argmax(1), np.full(90, truth.mean(0).argmax()), average="macro", labels=[0, 1, 2], zero_division=0)
    error, alone = np.abs(said - value).mean(), np.abs(value - np.median(value)).mean()
    assert found == pytest.approx(((top - base) / (1 - base) + (alone - error) / alone) / 2, rel=1e-5)
    assert monitor("n/mae", {"t": TARGET, "n": number}, {"t": (p, truth), "n": (said, value)}) == pytest.approx(-error, rel=1e-5)


def test_the_prior_answers_every_row_with_the_known_rows_shares():
    y = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [np.nan] * 3], dtype=np.float32)
    assert np.allclose(prior_answer(TARGET, y), [[2 / 3, 1 / 3, 0]] * 4)
    number = np.array([[1.0], [5.0], [6.0], [np.nan]], dtype=np.float32)
    assert prior_answer(Target("n", "regression", ("n",)), number).tolist() == [[5.0]] * 4


def test_weights_say_which_candidate_is_better(rows):
    """Half of the rows speak for fine-tuning and half against it; the half that weighs decides."""
    rng, truth, fold, groups = rows
    half = groups % 2 == 0
    tuned = answers(rng, truth, fold, np.where(half, 5.0, 0.0))
    both = {"probe": {"t": answers(rng, truth, fold, 1.0)}, "finetune": {"t": tuned}}
    assert choose.pick_candidate(both, groups, weight=half.astype(float)).final == "finetune"
    assert choose.pick_candidate(both, groups, weight=(~half).astype(float)).final == "probe"


def test_one_group_is_no_evidence_for_more_than_the_simplest(rows):
    rng, truth, fold, groups = rows
    better = candidates(answers(rng, truth, fold, 0.5), answers(rng, truth, fold, 4.0))
    assert choose.pick_candidate(better, np.zeros(len(groups))).final == "probe"


@pytest.mark.parametrize("folds", [2, 3])
def test_no_epoch_is_chosen_without_a_judging_fold(folds):
    """One fold alone has truth: as with one fold, it stands at its last epoch, not at the first of equals."""
    import polars as pl

    tables = heldout(np.random.default_rng(1), [[0, 9, 0]] * folds)
    blind = {
        k: t if k == 0 else dataclasses.replace(t, frame=t.frame.with_columns(y=pl.lit(None, dtype=t.frame["y"].dtype)))
        for k, t in tables.items()
    }
    choice = choose.pick_epochs(blind)
    assert (choice.per_fold[0], choice.final, choice.how) == ("epoch-003", "epoch-003", "last")
    assert 0 in choice.short


def test_second_fold_without_weight_cannot_be_chosen_on(rows):
    rng, truth, _, groups = rows
    fold = (np.arange(len(truth)) % 2).astype(np.int16)
    both = candidates(answers(rng, truth, fold, 0.2), answers(rng, truth, fold, 4.0))
    choice = choose.pick_candidate(both, groups, weight=(fold == 0).astype(np.float64))
    assert (choice.final, set(choice.per_fold.values())) == ("probe", {"probe"})
