"""Adaptation: what a step gains is measured on subjects that it was not fitted on, and used only where that is shown."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import DataError
from tapetum.sleep import adapt
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.statistics import transitions

MOVE = np.array([
    [0.90, 0.08, 0.02, 0.00, 0.00], [0.10, 0.60, 0.25, 0.00, 0.05], [0.02, 0.03, 0.88, 0.05, 0.02], [0.01, 0.00, 0.05, 0.94, 0.00],
    [0.02, 0.04, 0.02, 0.00, 0.92],
])  # fmt: skip


def drawn(seed: int, epochs: int = 120, blur: float = 1.4) -> tuple[Hypnogram, Hypnogram]:
    """Return (answer, truth) of a night: a Markov chain, seen through noise that is alike from epoch to epoch in nothing."""
    rng = np.random.default_rng(seed)
    stages = [0]
    for _ in range(epochs - 1):
        stages.append(int(rng.choice(5, p=MOVE[stages[-1]])))
    truth = np.array(stages)
    scores = 2.0 * np.eye(5)[truth] + rng.normal(0, blur, (epochs, 5))
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return Hypnogram(p.argmax(axis=1), p=p, scorer="engine"), Hypnogram(truth)


def nights(many: int, **given: float) -> list[tuple[str, str, Hypnogram, Hypnogram]]:
    return [(f"night {i}", f"subject {i}", *drawn(i, **given)) for i in range(many)]


def test_context_that_helps_is_used_and_changes_new_nights():
    found = adapt.adapt(nights(5))
    assert found["use"][0] == "calibration", found["reason"]
    assert found["use"][1] in ("context", "tuned context")
    gain = found["gains"]["+ context"]["before"]["macro_f1"]
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    answer, truth = drawn(99, epochs=400)
    after = adapt.apply(answer, found)
    before_right, after_right = ((one.stages == truth.stages).mean() for one in (answer, after))
    assert after_right > before_right + 0.05
    assert transitions(after).trace() > transitions(answer).trace()
    assert after.scorer == "engine, adapted"


def test_scorer_that_is_right_already_is_left_alone():
    sure = [
        (name, subject, Hypnogram(truth.stages, p=0.95 * np.eye(5)[truth.stages] + 0.01), truth) for name, subject, _, truth in nights(4)
    ]
    found = adapt.adapt(sure)
    assert not {"context", "tuned context"} & set(found["use"])
    answer, _ = drawn(99)
    if not found["use"]:
        assert adapt.apply(answer, found) is answer


def test_two_subjects_are_too_few_to_use_anything():
    found = adapt.adapt(nights(2))
    assert found["use"] == []
    assert "too few" in found["reason"]
    with pytest.raises(DataError, match="one subject"):
        adapt.adapt([("a", "s", *drawn(0)), ("b", "s", *drawn(1))])


def test_unscored_and_lost_epochs_take_no_part():
    some = nights(4)
    name, subject, answer, truth = some[0]
    stages, p = truth.stages.copy(), answer.p.copy()
    stages[:30], p[60:70] = -1, np.nan
    some[0] = (name, subject, Hypnogram(answer.stages, p=p), Hypnogram(stages))
    found = adapt.adapt(some)
    assert found["epochs"] == 4 * 120 - 40
    after = adapt.apply(Hypnogram(answer.stages, p=p), found)
    np.testing.assert_array_equal(after.stages[60:70], answer.stages[60:70])


def test_what_cannot_be_adapted_is_refused():
    answer, truth = drawn(0)
    with pytest.raises(DataError, match="no probabilities"):
        adapt.adapt([("a", "s", Hypnogram(answer.stages), truth)])
    with pytest.raises(DataError, match="no adaptation"):
        adapt.apply(answer, {"some": "file"})
    with pytest.raises(DataError, match="120 epochs were answered and 119 scored"):
        adapt.adapt([("a", "s", answer, truth.part(0, 119))])
