"""Several members as one graph: images → the blended probabilities of each target, where members see images alike and are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tapetum.core.targets import Target
from tapetum.learn.graphs import Graph, Written
from tapetum.pipeline.load import Member

NAME = "ensemble"
LEAST = 1e-7  # to which probabilities are clipped before their power is taken, as calibration does
_FREE = ("normalise", "gains", "cache", "max_pixels")  # of [input]: what the graph holds itself, or what changes no image


class Ensemble(Written):
    """Members averaged by weight: (B, C, H, W) → the probabilities (B, 1, K) of each target.

    Args:
        graphs: member → its graph, of images alone.
        folds: member → folds of its networks, in the order of the graph's.
        rules: target → members with weight and temperatures, as ``rules`` of ``ensemble.json`` has them.
        targets: the scored ones.
    """

    def __init__(
        self, graphs: Mapping[str, Graph], folds: Mapping[str, Sequence[int]], rules: Mapping[str, Any], targets: Mapping[str, Target]
    ) -> None:
        super().__init__()
        self.graphs = nn.ModuleList(graphs.values()).eval()
        self.names, self.targets = (), {name: targets[name] for name in rules}
        self.weights: list[dict[str, float]] = []
        for number, member in enumerate(graphs):
            parts = {name: rule["members"][member] for name, rule in rules.items() if rule["members"].get(member, {}).get("weight")}
            self.weights.append({name: float(part["weight"]) for name, part in parts.items()})
            for name, part in parts.items():
                if heat := part["temperatures"]:
                    powers = [1 / heat.get(str(fold), heat["final"]) for fold in folds[member]]
                    self.register_buffer(self._buffer(number, name), torch.tensor(powers, dtype=torch.float32)[:, None])

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the probabilities (B, 1, K) of each target of :attr:`targets`."""
        total: dict[str, Tensor] = {}
        for number, graph in enumerate(self.graphs):
            for name, p in zip(graph.targets, graph(image), strict=True):  # type: ignore[arg-type]
                if name in self.weights[number]:
                    power = getattr(self, self._buffer(number, name), None)
                    heated = p if power is None else _heated(p, power, self.targets[name])
                    part = self.weights[number][name] * heated.mean(1, keepdim=True)
                    total[name] = total[name] + part if name in total else part
        return tuple(total[name] for name in self.targets)

    def _buffer(self, number: int, target: str) -> str:
        return f"power_{number}_{list(self.targets).index(target)}"


def _heated(p: Tensor, power: Tensor, target: Target) -> Tensor:
    """Return probabilities (B, F, K) at each fold's temperature."""
    p = p.clip(LEAST, 1 - LEAST)
    raised = p**power
    return raised / (raised + (1 - p) ** power) if target.kind == "multi" else raised / raised.sum(2, keepdim=True)


def why_apart(members: Sequence[Member], rules: Mapping[str, Any] | None) -> str:
    """Return why the members of a pipeline cannot be one graph; nothing where they can.

    Args:
        members: of the pipeline.
        rules: of ``ensemble.json``; None where decisions are not as simple as that.
    """
    if any(one.sequence.length > 1 for one in members):
        return "members answer sequences"
    if rules is None:
        return "decisions are more than weighted means, temperatures and thresholds"
    seen = [{**one.settings.model_dump(mode="json", exclude=set(_FREE)), "form": one.form.to_dict()} for one in members]
    odd = next((key for one in seen for key, value in one.items() if value != seen[0][key]), "")
    return f"members see images differently ({odd})" if odd else ""


def merged_rules(rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``rules`` for the one graph, whose answers are blended already."""
    return {name: {**rule, "members": {NAME: {"weight": 1.0, "temperatures": None}}} for name, rule in rules.items()}


def merged_decisions(decisions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decisions that are left for the one graph: those after the blend."""
    plain = {"calibrate": {NAME: {}}, "blend": {"weights": [1.0]}, "steps": []}
    blend = {
        name: {**chain, "members": [NAME], "steps": [], "by_fold": {}, "drawn": False, "final": plain}
        for name, chain in decisions["steps"].items()
    }
    return {**decisions, "blend": blend, "choice": {**decisions["choice"], "final": "finetune"}}
