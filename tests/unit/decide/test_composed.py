"""Answers composed of others follow the labels that were decided of their parts."""

from __future__ import annotations

import numpy as np

from simulated_predictions import dense_of
from tapetum.core.expressions import derive_target
from tapetum.core.tables import decided
from tapetum.core.targets import Target
from tapetum.decide import composed
from tapetum.decide.ensemble import Vote
from tapetum.decide.steps import Rows
from tapetum.pipeline.combine import combine

MASK, GENDER = Target("mask", classes=("worn", "none")), Target("gender", classes=("male", "female"))
YEARS = Target("years", "regression", borders=(30.0, 32.0))
CODE = derive_target("code", "mask*2 + gender", {"mask": MASK, "gender": GENDER})
ROWS = Rows(np.array(["r0", "r1"], dtype=object), np.array([0, 1]))
TIED = [[[0.6, 0.4]], [[0.55, 0.45]], [[0.01, 0.99]], [[0.02, 0.98]]]  # two votes each, and the mean is for the second


def voted(target, rows):
    members = [dense_of(target, p * 2, np.full((2, target.width), np.nan), np.arange(2)) for p in rows]
    return Vote().apply(members, ROWS, Vote().fit(members, ROWS))


def test_composed_follows_the_votes_that_won_a_tie():
    parts = {"mask": voted(MASK, [[[0.9, 0.1]]]), "gender": voted(GENDER, TIED)}
    assert decided(parts["gender"]).tolist() == [[0, 1], [0, 1]]
    targets = {"mask": MASK, "gender": GENDER, "code": CODE}
    composed.derive(parts, targets, {"code": np.full((2, 4), np.nan)}, ROWS)
    assert decided(parts["code"]).argmax(axis=1).tolist() == [1, 1]
    assert np.allclose(parts["code"].p, [[0.5, 0.5, 0, 0]] * 2)


def test_a_row_that_one_part_lacks_stays_without_an_answer():
    gender = voted(GENDER, TIED)
    gender.status[1], gender.p[1], gender.answer[1] = "uncovered", np.nan, np.nan
    found = composed.product(CODE, {"mask": voted(MASK, [[[0.9, 0.1]]]), "gender": gender}, {})
    assert found.status.tolist() == ["ok", "uncovered"]
    assert np.isnan(found.answer[1]).all()
    assert found.answer[0].tolist() == [0, 1, 0, 0]


def test_a_number_beside_a_vote_is_its_likeliest_class():
    by_years = derive_target("by_years", "gender*3 + years", {"gender": GENDER, "years": YEARS})
    years = dense_of(YEARS, np.array([[31.0], [31.5]]), np.full((2, 1), np.nan), np.arange(2))
    found = composed.product(by_years, {"gender": voted(GENDER, TIED), "years": years}, {"years": np.array([0.1, 5.0])})
    assert found.answer.argmax(axis=1).tolist() == [3 + 1, 3 + 2]  # a wide error leaves little to the narrow class between the borders


def test_new_images_are_composed_as_the_held_out_rows():
    targets = {"mask": MASK, "gender": GENDER, "code": CODE}
    one = {"mask": voted(MASK, [[[0.9, 0.1]]]), "gender": voted(GENDER, TIED)}
    held = dict(one)
    composed.derive(held, targets, {"code": np.full((2, 4), np.nan)}, ROWS)
    names = [f"m{i}" for i in range(4)]
    answers = {m: {0: {"gender": dense_of(GENDER, TIED[i] * 2, np.full((2, 2), np.nan), np.full(2, -1)),
                       "mask": dense_of(MASK, [[0.9, 0.1]] * 2, np.full((2, 2), np.nan), np.full(2, -1))}}
               for i, m in enumerate(names)}  # fmt: skip
    plain = {"calibrate": {"name": "none", "parameters": {}}, "steps": [], "by_fold": {}, "drawn": False}

    def frozen(target, blend, members):
        values = {"calibrate": {m: {} for m in members}, "blend": {"weights": [1 / len(members)] * len(members)}, "steps": []}
        return {**plain, "target": target.to_dict(), "members": members, "blend": {"name": blend, "parameters": {}}, "final": values}

    decisions = {
        "choice": {"final": "finetune"},
        "blend": {name: frozen(targets[name], "vote", names) for name in ("mask", "gender")},
        "steps": {name: frozen(target, "mean", ["chosen"]) for name, target in targets.items()},
    }
    found = combine(decisions, targets, answers, Rows.new(np.array(["r0", "r1"], dtype=object)))
    assert np.array_equal(decided(found["code"]), decided(held["code"]))
    assert decided(found["code"]).argmax(axis=1).tolist() == [1, 1]
