"""Decisions in simple words: weights, temperatures and thresholds; what needs more is named."""

from __future__ import annotations

import dataclasses

import pytest

from simulated_predictions import multi, single
from tapetum.core.config import Decide
from tapetum.core.errors import UserError
from tapetum.decide import chain
from tapetum.pipeline.simple_rules import simple_rules


def decisions(drawn, blend, steps=(), chosen="finetune", **decide):
    """Return what of decisions.json the rules read, for one target and two members."""
    dense, rows = drawn
    name = dense.target.name
    members = {"a": dense, "b": dense.with_p(dense.p[:, ::-1].copy())}
    blended = chain.fit(members, rows, Decide(blend=blend, **decide)).json
    decided = chain.fit({"chosen": dense}, rows, Decide(steps=steps)).json
    return {"choice": {"final": chosen}, "blend": {name: blended}, "steps": {name: decided}}, {name: dense.target}


def test_weights_temperatures_and_thresholds_are_those_that_were_fitted():
    drawn = multi(n=200)
    stated = {"name": "weighted", "weights": {"a": 0.25, "b": 0.75}}
    found, targets = decisions(drawn, stated, ("thresholds",), calibrate="temperature")
    (name,) = targets
    (rule,) = simple_rules(found, targets).values()
    final, by_fold = found["blend"][name]["final"], found["blend"][name]["by_fold"]
    assert {member: one["weight"] for member, one in rule["members"].items()} == {"a": 0.25, "b": 0.75}
    expected = {fold: values["calibrate"]["a"]["temperature"] for fold, values in by_fold.items()}
    assert rule["members"]["a"]["temperatures"] == {**expected, "final": final["calibrate"]["a"]["temperature"]}
    assert rule["thresholds"] == found["steps"][name]["final"]["steps"][0]["thresholds"]
    assert rule["at_least_one"]


def test_the_mean_of_probe_and_finetuning_halves_the_weights():
    found, targets = decisions(single(n=100), "mean", chosen="mean")
    (rule,) = simple_rules(found, targets).values()
    assert {member: one["weight"] for member, one in rule["members"].items()} == {"probe": 0.5, "a": 0.25, "b": 0.25}
    assert rule["thresholds"] is None
    found["choice"]["final"] = "probe"
    (rule,) = simple_rules(found, targets).values()
    assert rule["members"] == {"probe": {"weight": 1.0, "temperatures": None}}


def test_ordered_classes_are_decided_by_their_median():
    dense, rows = single(n=100)
    drawn = dataclasses.replace(dense, target=dataclasses.replace(dense.target, kind="ordinal")), rows
    (rule,) = simple_rules(*decisions(drawn, "mean", chosen="probe")).values()
    assert rule["median"]
    assert rule["thresholds"] is None
    (rule,) = simple_rules(*decisions(single(n=100), "mean", chosen="probe")).values()
    assert not rule["median"]


@pytest.mark.parametrize(
    ("decide", "named"),
    [
        ({"blend": "power"}, "'power'"),
        ({"blend": "mean", "calibrate": "vector"}, "'vector'"),
        ({"blend": "mean", "steps": ("bias",)}, "'bias'"),
        ({"blend": "mean", "steps": ("temperature", "bias")}, "several"),
    ],
)
def test_what_needs_more_than_that_is_named(decide, named):
    with pytest.raises(UserError, match=named):
        simple_rules(*decisions(single(n=100), **decide))
