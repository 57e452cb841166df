"""How several targets share one trunk: one vector for all, or a vector of its own for each that borrows from the others.

A sharing module is made with (vector width, map width, number of targets) and its own parameters. It takes the pooled vector (B, D) and
the last feature map (B, C, H, W), and gives one vector (B, D) a target. All start as hard sharing exactly, so that the probe stays the
starting point.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Hard(nn.Module):
    """The same vector for every target.

    Args:
        features: D.
        channels: C of the map.
        tasks: number of targets.
    """

    needs_map = False

    def __init__(self, features: int, channels: int, tasks: int) -> None:
        super().__init__()
        self.tasks = tasks

    def forward(self, f: Tensor, map_: Tensor | None = None) -> list[Tensor]:
        """Return the vector once a target."""
        return [f] * self.tasks


class CrossStitch(nn.Module):
    """A tower of residual layers a target; before each layer every tower takes a learned mixture of all towers.

    Each row of a mixture starts as ``keep`` for the own tower and the rest evenly for the others. The layers' last weights start at zero.

    Args:
        features: D.
        channels: C of the map.
        tasks: number of targets T.
        layers: mixtures and layers in a tower.
        hidden: width inside a layer; at equal parameters compare with a hard-shared trunk and an MLP of T times this width.
        keep: the own tower's share at the start.

    Source: Misra et al. 2016, arXiv 1604.03539.
    """

    needs_map = False

    def __init__(self, features: int, channels: int, tasks: int, *, layers: int = 2, hidden: int = 128, keep: float = 0.9) -> None:
        super().__init__()
        self.tasks = tasks
        others = (1 - keep) / max(tasks - 1, 1)
        start = torch.full((tasks, tasks), others).fill_diagonal_(keep if tasks > 1 else 1.0)
        self.stitches = nn.ParameterList([nn.Parameter(start.clone()) for _ in range(layers)])
        self.layers = nn.ModuleList([nn.ModuleList([_residual(features, hidden) for _ in range(tasks)]) for _ in range(layers)])

    def forward(self, f: Tensor, map_: Tensor | None = None) -> list[Tensor]:
        """Return one vector (B, D) a target."""
        towers = torch.stack([f] * self.tasks)
        for stitch, layer in zip(self.stitches, self.layers, strict=True):
            mixed = torch.einsum("st,tbd->sbd", stitch, towers)
            tower: Any = layer
            towers = torch.stack([m + one(m) for one, m in zip(tower, mixed, strict=True)])
        return list(towers)


class Attention(nn.Module):
    """A soft mask a target over the shared feature map: each target looks where and at what it needs.

    The vector of a target is the shared one plus a projection of the masked map's mean; the projection starts at zero.

    Args:
        features: D.
        channels: C of the map.
        tasks: number of targets.
        hidden: width inside the mask.

    Source: Liu, Johns, Davison 2019, arXiv 1803.10704 (there after every block; here on the last map).
    """

    needs_map = True

    def __init__(self, features: int, channels: int, tasks: int, *, hidden: int = 64) -> None:
        super().__init__()
        self.masks = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(channels, hidden, 1), nn.GroupNorm(1, hidden), nn.ReLU(), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
                )
                for _ in range(tasks)
            ]
        )
        self.out = nn.ModuleList([_zeroed(nn.Linear(channels, features)) for _ in range(tasks)])

    def forward(self, f: Tensor, map_: Tensor | None = None) -> list[Tensor]:
        """Return one vector (B, D) a target."""
        if map_ is None:
            raise ValueError("attention between targets needs the feature map")
        return [f + out((mask(map_) * map_).mean(dim=(2, 3))) for mask, out in zip(self.masks, self.out, strict=True)]


def _residual(features: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(features), nn.Linear(features, hidden), nn.ReLU(), _zeroed(nn.Linear(hidden, features)))


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
