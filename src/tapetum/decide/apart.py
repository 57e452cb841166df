"""Which decision steps of a pipeline look at several rows: their answers depend on what else is predicted at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tapetum.core.choices import pick
from tapetum.decide.choices import STEPS


def joint_steps(decisions: Mapping[str, Any], targets: Iterable[str]) -> list[str]:
    """Return the names of the steps that look at other rows of the set: context, rules, smoothing, rates estimated on the set.

    Args:
        decisions: of ``pipeline.json``.
        targets: the scored ones.
    """
    chains = [decisions["steps"][name] for name in targets if name in decisions["steps"]]
    chains += [decisions["blend"][name] for name in targets if name in decisions.get("blend", {})]
    return list(dict.fromkeys(step["name"] for chain in chains for step in chain["steps"] if _looks_around(step)))


def _looks_around(step: Mapping[str, Any]) -> bool:
    choice, parameters = pick({"name": step["name"], **step["parameters"]}, STEPS, "decision step")
    return bool(getattr(choice.load()(**parameters), "joint", False))
