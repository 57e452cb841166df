"""The networks of a member over sequences as functions that are written as files: images → vectors, and windows of those → probabilities.

Each image goes through the backbone once, however many windows show it. Images that are joined along x have no vectors of their own; one
function then takes windows of images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from tapetum.core.targets import Target
from tapetum.learn.graphs import Written, keep_scalings, probabilities, scaled
from tapetum.learn.models.sequence import SequenceNetwork
from tapetum.learn.side import Scaling


class StepGraph(Written):
    """Images (B, C, H, W) → their vectors (B, F, P, D) by F networks, P positions of an image.

    Args:
        networks: of the member; of those that share a backbone the first.
    """

    names: tuple[str, ...] = ()
    targets: Mapping[str, Target] = {}

    def __init__(self, networks: Sequence[SequenceNetwork]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks).eval()

    @property
    def outputs(self) -> tuple[str, ...]:
        """The name of what it gives."""
        return ("vectors",)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Return the vectors of images."""
        return (torch.stack([network.step_vectors(image) for network in self.networks], dim=1),)  # type: ignore[operator]


class WindowGraph(Written):
    """Windows → the probabilities of each scored target: (B, F, K) by F networks, or (B, L, F, K) where every step is answered.

    It takes vectors (B, L, V, P, D), where V is F, or 1 where the networks share a backbone; of joined images these (B, L, C, H, W). The
    mask (B, L) is true where a step is real. Side numbers are as the table has them, (B, S) or (B, L, S), NaN where one is missing.

    Args:
        networks: that answer.
        scalings: of side numbers, one for each network.
    """

    def __init__(self, networks: Sequence[SequenceNetwork], scalings: Sequence[Scaling | None]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks).eval()
        self.targets = {name: target for name, target in networks[0].targets.items() if target.scored}
        self.names = scalings[0].names if scalings[0] else ()
        keep_scalings(self, scalings)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what it takes."""
        return ("values", "mask", "side") if self.names else ("values", "mask")

    def forward(self, values: Tensor, mask: Tensor, side: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the probabilities of each target of :attr:`targets`."""
        answers: dict[str, list[Tensor]] = {name: [] for name in self.targets}
        for number, network in enumerate(self._networks()):
            own = None if side is None else scaled(self, side, number)
            if network.joined is None:
                found = network.from_steps(values[:, :, number if values.shape[2] > 1 else 0], mask, own)
            else:
                cut, known = network.cut(values, mask)
                vectors = network.step_vectors(cut.flatten(0, 1)).unflatten(0, (-1, cut.shape[1]))
                found = network.from_steps(vectors, mask if known is None else known, own)
            for name, of_target in answers.items():
                logits = found[name]
                p = probabilities(network.head(name), logits.flatten(0, -2))
                of_target.append(p if logits.ndim == 2 else p.unflatten(0, (-1, logits.shape[1])))
        return tuple(torch.stack(of_target, dim=-2) for of_target in answers.values())

    def _networks(self) -> Iterator[SequenceNetwork]:
        yield from self.networks  # type: ignore[misc]
