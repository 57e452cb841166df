"""The decisions of a pipeline in the few words of ``ensemble.json`` that a short script can follow, where they are as simple as that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tapetum.core.errors import UserError
from tapetum.core.runs import PROBE
from tapetum.core.targets import Target
from tapetum.decide.choices import STEPS

THRESHOLDS = ("thresholds", "class_rates", "fixed")


def simple_rules(decisions: Mapping[str, Any], targets: Mapping[str, Target]) -> dict[str, Any]:
    """Return target → ``{"members": {name: {"weight", "temperatures"}}, "thresholds", "at_least_one", "median"}``.

    A member's probabilities are the mean over its folds, each at its temperature (1: as it is); the members' are averaged by weight.
    ``thresholds`` is a number a class of a target of several labels, else None; ``at_least_one``: a row that reaches none gets the label
    with the largest p/threshold. ``median``: the label is the first class up to which half of the probability lies, else the most probable.

    Args:
        decisions: of ``pipeline.json``.
        targets: the scored ones.

    Raises:
        UserError: a part that needs more than that; it is named.
    """
    return {name: _rules(decisions, name, target) for name, target in targets.items()}


def _rules(decisions: Mapping[str, Any], name: str, target: Target) -> dict[str, Any]:
    chosen = decisions["choice"]["final"]
    members: dict[str, Any] = {}
    if target.expression is not None:
        raise _not_simple(name, "is derived from other targets")
    if chosen in (PROBE, "mean"):
        members[PROBE] = {"weight": 1.0 if chosen == PROBE else 0.5, "temperatures": None}
    if chosen in ("finetune", "mean"):
        blend = decisions["blend"][name]
        if blend["blend"]["name"] not in ("mean", "weighted", "greedy") or blend["steps"]:
            raise _not_simple(name, f"is blended by {blend['blend']['name']!r}")
        for member, weight in zip(blend["members"], blend["final"]["blend"]["weights"], strict=True):
            members[member] = {
                "weight": weight * (1.0 if chosen == "finetune" else 0.5),
                "temperatures": _temperatures(blend, name, member),
            }
    return {"members": members, **_steps(decisions["steps"][name], name, target)}


def _temperatures(blend: Mapping[str, Any], name: str, member: str) -> dict[str, float] | None:
    """Return fold → temperature, ``final`` for a fold that has none of its own."""
    calibrate = blend["calibrate"]["name"]
    if calibrate == "none":
        return None
    if calibrate != "temperature":
        raise _not_simple(name, f"is calibrated by {calibrate!r}")
    of_folds = {} if blend["drawn"] else blend["by_fold"]
    found = {fold: values["calibrate"][member]["temperature"] for fold, values in of_folds.items()}
    return {**found, "final": blend["final"]["calibrate"][member]["temperature"]}


def _steps(chain: Mapping[str, Any], name: str, target: Target) -> dict[str, Any]:
    """Return the thresholds of the last step."""
    if chain["calibrate"]["name"] != "none" or len(chain["steps"]) > 1:
        raise _not_simple(name, "has several decision steps")
    rules: dict[str, Any] = {"thresholds": [0.5] * target.width if target.kind == "multi" else None, "at_least_one": False, "median": False}
    for step, fitted in zip(chain["steps"], chain["final"]["steps"], strict=True):
        if step["name"] == "median":
            rules["median"] = True
            continue
        parameters = step["parameters"]
        on_set = step["name"] == "class_rates" and (parameters.get("on") == "set" or parameters.get("prior") == "estimate")
        if step["name"] not in THRESHOLDS or on_set:
            raise _not_simple(name, f"has the decision step {step['name']!r}")
        at_least_one = parameters.get("at_least_one", STEPS[step["name"]].parameters["at_least_one"])
        rules |= {"thresholds": fitted["thresholds"], "at_least_one": bool(at_least_one)}
    return rules


def _not_simple(name: str, why: str) -> UserError:
    return UserError(f"target {name!r} {why}", need="a mean over folds and members, temperatures and thresholds")
