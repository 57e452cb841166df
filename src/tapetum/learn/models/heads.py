"""From a feature vector to logits, and from logits to probabilities: one small module a head.

A head is made with (width of the image's vector, width of the side vector, target) and its own parameters. It takes the image's vector
(B, D) and the side vector (B, S) or None. Logits are (B, K) in class order; CORAL gives the K-1 cumulative ones; a regression gives its
value in the target's own units.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tapetum.core.errors import UserError
from tapetum.core.targets import Target


class Head(nn.Module):
    """What all heads share: the target, and probabilities by its kind."""

    centre: Tensor
    spread: Tensor

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target
        if target.kind != "regression" and not target.classes:
            raise UserError(f"target {target.name!r} has no classes yet", need="classes read from the data, or declared")
        if target.kind == "regression":
            self.register_buffer("centre", torch.zeros(()))
            self.register_buffer("spread", torch.ones(()))

    def measure(self, truth: Tensor) -> None:
        """Take mean and deviation of a number's training truths (N, 1), so that layers work in units of it; other kinds need none.

        Without it a rate that suits classes moves years too slowly and shares too fast.
        """
        known = truth[~truth.isnan().any(dim=1)].double()
        if self.target.kind == "regression" and len(known) > 1 and float(known.std(correction=0)) > 0:
            self.centre.copy_(known.mean())
            self.spread.copy_(known.std(correction=0))

    def value(self, raw: Tensor) -> Tensor:
        """Return a layer's output as logits: a number in its target's own units, others as they are."""
        return raw * self.spread + self.centre if self.target.kind == "regression" else raw

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return (B, K) float32: rows sum to 1 (single, ordinal), each in [0, 1] (multi), the value (regression)."""
        logits = logits.float()
        if self.target.kind == "multi":
            return torch.sigmoid(logits)
        return logits if self.target.kind == "regression" else torch.softmax(logits, dim=1)

    def start_from(self, weight: Tensor, bias: Tensor) -> None:
        """Take a probe's weights and bias; only heads of the probe's form can."""
        raise UserError(
            f"a {type(self).__name__} head cannot start from the probe", need="linear or coral", fix="set train.start = 'random'"
        )


class Linear(Head):
    """One linear layer, by default on the L2-normalised image vector: the form of the probe, so that training can start from it.

    The normalised vector is scaled to unit mean square (times √D): weights then have the size that optimizers expect.

    Args:
        features: D.
        side: S.
        target: what is answered.
        normalise: divide the image's vector by its length.
    """

    def __init__(self, features: int, side: int, target: Target, *, normalise: bool = True) -> None:
        super().__init__(target)
        self.normalise, self.scale = normalise, math.sqrt(features)
        self.last = nn.Linear(features + side, target.width)
        self.features = features

    def inputs(self, f: Tensor, side: Tensor | None) -> Tensor:
        """Return what the linear layer sees (B, D + S)."""
        f = F.normalize(f.float(), dim=1) * self.scale if self.normalise else f
        return f if side is None else torch.cat([f, side.to(f.dtype)], dim=1)

    def forward(self, f: Tensor, side: Tensor | None = None) -> Tensor:
        """Return logits (B, K)."""
        return self.value(self.last(self.inputs(f, side)))

    def start_from(self, weight: Tensor, bias: Tensor) -> None:
        """Take a probe's weights (K, D) or (K, D + S) and bias (K,); without weights of their own side numbers start without influence.

        Raises:
            UserError: the head does not normalise, or has other classes.
        """
        if not self.normalise:
            raise UserError(
                "the probe works on normalised vectors, this head does not", fix="set normalise = true, or train.start = 'random'"
            )
        _same_shape(self.last, weight, self.features)
        if self.target.kind == "regression":
            weight, bias = weight / self.spread, (bias - self.centre) / self.spread
        with torch.no_grad():
            self.last.weight.zero_()
            self.last.weight[:, : weight.shape[1]] = weight
            self.last.bias.copy_(bias)


class MLP(Head):
    """A hidden layer with BatchNorm and dropout before and after it, as fastai puts behind concatenated pooling.

    Args:
        features: D.
        side: S.
        target: what is answered.
        hidden: width of the hidden layer; 0 for none.
        dropout: before the last layer; half of it before the hidden one.
    """

    def __init__(self, features: int, side: int, target: Target, *, hidden: int = 512, dropout: float = 0.5) -> None:
        super().__init__(target)
        before: list[nn.Module] = []
        if hidden:
            before = [nn.BatchNorm1d(features + side), nn.Dropout(dropout / 2), nn.Linear(features + side, hidden), nn.ReLU()]
        width = hidden or features + side
        self.layers = nn.Sequential(*before, nn.BatchNorm1d(width), nn.Dropout(dropout))
        self.last = nn.Linear(width, target.width)

    def forward(self, f: Tensor, side: Tensor | None = None) -> Tensor:
        """Return logits (B, K)."""
        return self.value(self.last(self.layers(f if side is None else torch.cat([f, side.to(f.dtype)], dim=1))))


class Coral(Head):
    """K-1 thresholds on one score: logit k is that of the class being above k; monotone by construction.

    Args:
        features: D.
        side: S.
        target: ordinal.
        normalise: as in :class:`Linear`.

    Source: Cao, Mirjalili, Raschka 2020, arXiv 1901.07884.
    """

    def __init__(self, features: int, side: int, target: Target, *, normalise: bool = True) -> None:
        super().__init__(target)
        self.normalise, self.scale, self.features = normalise, math.sqrt(features), features
        self.score = nn.Linear(features + side, 1, bias=False)
        thresholds = target.width - 1
        self.first = nn.Parameter(torch.tensor((thresholds - 1) / 2.0))
        self.steps = nn.Parameter(torch.full((thresholds - 1,), _softplus_inverse(1.0)))

    def biases(self) -> Tensor:
        """Return the K-1 biases, descending."""
        return torch.cat([self.first[None], self.first - F.softplus(self.steps).cumsum(0)])

    def forward(self, f: Tensor, side: Tensor | None = None) -> Tensor:
        """Return cumulative logits (B, K-1)."""
        f = F.normalize(f.float(), dim=1) * self.scale if self.normalise else f
        f = f if side is None else torch.cat([f, side.to(f.dtype)], dim=1)
        return self.score(f) + self.biases()

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return class probabilities (B, K): differences of the cumulative ones."""
        return cumulative_to_classes(torch.sigmoid(logits.float()))

    def start_from(self, weight: Tensor, bias: Tensor) -> None:
        """Take a cumulative probe: weight (1, D) or (1, D + S), descending biases (K-1,)."""
        if not self.normalise:
            raise UserError(
                "the probe works on normalised vectors, this head does not", fix="set normalise = true, or train.start = 'random'"
            )
        _same_shape(self.score, weight, self.features)
        steps = (bias[:-1] - bias[1:]).clamp_min(1e-4)
        with torch.no_grad():
            self.score.weight.zero_()
            self.score.weight[:, : weight.shape[1]] = weight
            self.first.copy_(bias[0])
            self.steps.copy_(torch.where(steps > 20, steps, torch.log(torch.expm1(steps.clamp_max(20)))))


class Sigmoid(Head):
    """A number as a sigmoid times a scale: 60 makes the output 1 stand for 60 years..

    Args:
        features: D.
        side: S.
        target: a regression.
        scale: the value at which the sigmoid reads 1.
    """

    def __init__(self, features: int, side: int, target: Target, *, scale: float = 60.0) -> None:
        super().__init__(target)
        self.scale = scale
        self.linear = nn.Linear(features + side, 1)

    def forward(self, f: Tensor, side: Tensor | None = None) -> Tensor:
        """Return the value (B, 1) in the target's units."""
        f = f if side is None else torch.cat([f, side.to(f.dtype)], dim=1)
        return torch.sigmoid(self.linear(f).float()) * self.scale


class Cosine(Head):
    """Cosines between the vector and one direction a class: for margins on the angle and for retrieval.

    Logits are the cosines in [-1, 1]; the loss (ArcFace) puts margin and scale on them.

    Args:
        features: D.
        side: S.
        target: what is answered, as identities.
        width: of the embedding; 0 takes the feature vector as it is.
        scale: sharpness of the probabilities.

    Source: Deng et al. 2019, arXiv 1801.07698.
    """

    def __init__(self, features: int, side: int, target: Target, *, width: int = 0, scale: float = 30.0) -> None:
        super().__init__(target)
        self.scale = scale
        total = features + side
        self.embed = nn.Sequential(nn.Linear(total, width, bias=False), nn.BatchNorm1d(width)) if width else nn.Identity()
        self.directions = nn.Parameter(torch.empty(target.width, width or total))
        nn.init.xavier_uniform_(self.directions)

    def vectors(self, f: Tensor, side: Tensor | None = None) -> Tensor:
        """Return embeddings of length 1 (B, E)."""
        f = f if side is None else torch.cat([f, side.to(f.dtype)], dim=1)
        return F.normalize(self.embed(f).float(), dim=1)

    def forward(self, f: Tensor, side: Tensor | None = None) -> Tensor:
        """Return cosines (B, K)."""
        return self.vectors(f, side) @ F.normalize(self.directions.float(), dim=1).T

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities of the scaled cosines."""
        return super().probabilities(logits * self.scale)


def cumulative_to_classes(above: Tensor) -> Tensor:
    """Return class probabilities (B, K) for P(class > k), k = 0 … K-2; crossing thresholds are put in order first.

    Args:
        above: (B, K-1) in [0, 1].
    """
    above = above.cummin(dim=1).values
    one, none = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
    return torch.cat([one, above], dim=1) - torch.cat([above, none], dim=1)


def _same_shape(layer: nn.Linear, weight: Tensor, features: int) -> None:
    if tuple(weight.shape) not in {(layer.out_features, features), (layer.out_features, layer.in_features)}:
        raise UserError(f"the probe's weights are {tuple(weight.shape)}", need=f"({layer.out_features}, {features}), as the head")


def _softplus_inverse(value: float) -> float:
    return math.log(math.expm1(value))
