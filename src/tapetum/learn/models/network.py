"""The whole network of a recipe: normalisation, backbone, what targets share, side numbers, one head a target.

Images come in as uint8 (B, C, H, W) or as float in [0, 1]; the network normalises them itself, so that what predicts is what was trained.
Several images of one row come as (B, V, C, H, W); their features are averaged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tapetum.core import config, draws
from tapetum.core.choices import pick
from tapetum.core.errors import UserError
from tapetum.core.progress import Log
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.learn.choices import HEADS, SHARINGS, answered_targets, head_of
from tapetum.learn.models import backbone as trunk
from tapetum.learn.models import channels as adaptation
from tapetum.learn.models import weights as pretrained
from tapetum.learn.models.heads import Head


@dataclasses.dataclass(frozen=True)
class Scale:
    """How the channels of images are normalised.

    Args:
        mean: of each channel, for images in [0, 1].
        std: likewise.
        gains: of each channel after normalising, by which its deviation is divided; none: 1 each.
    """

    mean: Sequence[float]
    std: Sequence[float]
    gains: Sequence[float] = ()


class Network(nn.Module):
    """Images (and side numbers) → a dict of logits, one entry a target.

    Args:
        backbone: a timm model that gives vectors.
        heads: target name → head.
        scale: how images are normalised.
        sharing: gives a vector a target; None: the same for all.
        side: makes side numbers (B, S) into a vector; None where there are none.
        dropout: on the image's vector.
        notes: what was decided while building, for the log.
    """

    backbone: nn.Module
    sharing: nn.Module | None
    side: nn.Module | None
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        heads: Mapping[str, Head],
        scale: Scale,
        *,
        sharing: nn.Module | None = None,
        side: nn.Module | None = None,
        dropout: float = 0.0,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.backbone, self.sharing, self.side = backbone, sharing, side
        self.heads = nn.ModuleDict({_key(name): head for name, head in heads.items()})
        self.targets: dict[str, Target] = {name: head.target for name, head in heads.items()}
        self.dropout = nn.Dropout(dropout)
        self.width = trunk.width(backbone)
        self.notes = tuple(notes)
        self.compiled: Any = None  # what answers instead of the backbone, where an engine other than torch does
        self.front: Any = None  # the frozen beginning, where its activations come instead of images
        channels = len(scale.mean)
        self.gains = tuple(scale.gains) or (1.0,) * channels
        if len(self.gains) != channels or min(self.gains) <= 0:
            raise UserError(f"input.gains is {list(self.gains)}", need=f"{plural(channels, 'number')} above 0, one a channel")
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("std", torch.ones(channels, 1, 1))
        self.set_normalisation(scale.mean, scale.std)

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return len(self.mean)

    def head(self, target: str) -> Head:
        """Return a target's head."""
        return self.heads[_key(target)]  # type: ignore[return-value]

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take mean and deviation of each channel, for images in [0, 1] (measured on a training fold, say)."""
        if len(mean) != self.channels or len(std) != self.channels:
            raise UserError(
                f"{plural(len(mean), 'mean')} and {plural(len(std), 'deviation')} for {plural(self.channels, 'channel')}",
                need="one each a channel",
            )
        if min(std) <= 0:
            raise UserError(f"a channel's deviation is {min(std)}", need="more than 0", fix="set input.normalise = 'weights'")
        self.mean.copy_(torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1))
        self.std.copy_((torch.tensor(std, dtype=torch.float32) / torch.tensor(self.gains)).view(-1, 1, 1))

    def normalise(self, x: Tensor) -> Tensor:
        """Return images as the backbone expects them: float32, uint8 scaled by 255, less the mean, over the deviation."""
        if x.shape[-3] != self.channels:
            raise UserError(
                f"images with {plural(x.shape[-3], 'channel')} came to a network for {self.channels}", need="the channels of training"
            )
        x = x.to(torch.float32) / 255 if x.dtype == torch.uint8 else x.to(torch.float32)
        return (x - self.mean) / self.std

    def features(self, x: Tensor) -> Tensor:
        """Return the image's vector (B, D) before dropout and heads; views are averaged."""
        return self._trunk(x, with_map=False)[0]

    def head_inputs(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the inputs of the heads for an image: its vector (B, D), and its last map where targets share by that."""
        return self._trunk(x, with_map=bool(getattr(self.sharing, "needs_map", False)))

    def _trunk(self, x: Tensor, *, with_map: bool) -> tuple[Tensor, Tensor | None]:
        if self.front is not None:
            return self.front.resume(x), None
        views = x.shape[1] if x.ndim == 5 else 1
        x = x.flatten(0, 1) if x.ndim == 5 else x
        if self.compiled is None or (torch.is_grad_enabled() and not self.compiled.frozen):
            f, map_ = self.by_torch(x, with_map=with_map)
        else:
            f, map_ = self.compiled(self, x, with_map=with_map)
        if views > 1:
            f = f.unflatten(0, (-1, views)).mean(dim=1)
            map_ = None if map_ is None else map_.unflatten(0, (-1, views)).mean(dim=1)
        return f, map_

    def by_torch(self, x: Tensor, *, with_map: bool) -> tuple[Tensor, Tensor | None]:
        """Return the vectors (B, D) of images (B, C, H, W), and their last map where it is needed, computed by torch."""
        x = self.normalise(x)
        if _wants_channels_last(self.backbone):
            x = x.contiguous(memory_format=torch.channels_last)
        return trunk.vector_and_map(self.backbone, x) if with_map else (trunk.vector(self.backbone, x), None)

    def forward(self, x: Tensor, side: Tensor | None = None) -> dict[str, Tensor]:
        """Return the logits of each target.

        Args:
            x: images (B, C, H, W) or (B, V, C, H, W).
            side: scaled side numbers (B, S); NaN counts as 0, the mean.
        """
        f, map_ = self.head_inputs(x)
        return self.from_features(f, side, map_)

    def from_features(self, f: Tensor, side: Tensor | None = None, map_: Tensor | None = None) -> dict[str, Tensor]:
        """Return the logits of each target for vectors (B, D) that :meth:`features` gave."""
        with torch.autocast(f.device.type, enabled=False):  # heads cost nothing, and answers want all their digits
            f, map_ = f.float(), None if map_ is None else map_.float()
            extra = self._side(f, side)
            f = self.dropout(f)
            shared = [f] * len(self.targets) if self.sharing is None else self.sharing(f, map_)
            return {name: self.head(name)(part, extra) for name, part in zip(self.targets, shared, strict=True)}

    def vectors(self, x: Tensor, target: str, side: Tensor | None = None) -> Tensor:
        """Return the unit vectors (B, E) of a cosine head: what retrieval searches."""
        head = self.head(target)
        as_vectors: Any = getattr(head, "vectors", None)
        if as_vectors is None:
            raise UserError(f"target {target!r} has a {type(head).__name__} head, which gives no vectors", fix="set its head to 'cosine'")
        f, map_ = self.head_inputs(x)
        with torch.autocast(f.device.type, enabled=False):
            f, map_ = f.float(), None if map_ is None else map_.float()
            shared = f if self.sharing is None else self.sharing(f, map_)[list(self.targets).index(target)]
            return as_vectors(shared, self._side(f, side))

    def probabilities(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return (B, K) float32 for each scored target: probabilities in class order, or the value of a regression."""
        return {name: self.head(name).probabilities(value) for name, value in logits.items() if self.targets[name].scored}

    def _side(self, f: Tensor, side: Tensor | None) -> Tensor | None:
        if self.side is None:
            return None
        if side is None:
            raise UserError("the network was built with side numbers and got none", need="side (B, S)")
        return self.side(torch.nan_to_num(side.to(device=f.device, dtype=torch.float32)))

    def head_state(self) -> dict[str, Tensor]:
        """Return every tensor that is not the backbone's: heads, sharing, side numbers, mean and deviation."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith("backbone.")}

    def load_head_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`head_state` gave; nothing may be missing or left over."""
        expected = set(self.head_state())
        if expected != set(state):
            odd = sorted(expected.symmetric_difference(state))
            raise UserError(f"a head's file does not fit the network: {odd[0]!r} is on one side only", fix="use the files of one pipeline")
        self.load_state_dict(dict(state), strict=False)


def build(
    model: config.Model,
    targets: Sequence[Target],
    channels: int,
    input: config.Input | None = None,
    *,
    side: int = 0,
    seed: int = 0,
    weights: pretrained.Weights | None = None,
    log: Log | None = None,
) -> Network:
    """Return the network that a recipe describes.

    Args:
        model: the recipe's section.
        targets: all of the manifest; derived ones get a head only where ``model.heads`` names them.
        channels: C of the composed images.
        input: the recipe's section, for the size and the normalisation; ``data`` is set later with :meth:`Network.set_normalisation`.
        side: number of side numbers.
        seed: of everything that starts at random.
        weights: found already (a pipeline's own folder); None looks for ``model.weights``.
        log: receives messages about what was decided.

    Raises:
        EnvironmentFault: weights are not at hand.
        UserError: an unknown backbone, head or policy, or a head that does not fit its target.
    """
    input = input or config.Input()
    weights = weights or pretrained.find(model.backbone, model.weights)
    having = answered_targets(model, targets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.key(seed, "network"))
        backbone = trunk.create(
            weights,
            channels=channels,
            policy=model.channels,
            pooling=model.pooling,
            size=_size(input),
            drop_path=model.drop_path,
            options=model.options,
        )
        features = trunk.width(backbone)
        mlp = _side_mlp(side, model.side_width) if side else None
        heads = {t.name: make_head(head_of(model, t), features, (model.side_width or side) if side else 0, t) for t in having}
        sharing = _sharing(model.sharing, backbone, features, len(having))
    mean, std, normalised = normalisation(weights, channels, model.channels, input)
    lines = [weights.summary(), adaptation.summary(model.channels, channels, weights.channels), normalised]
    lines[1:2] = [] if weights.random else [lines[1]]
    for line in lines:
        if log is not None:
            log(line)
    return Network(backbone, heads, Scale(mean, std, input.gains), sharing=sharing, side=mlp, dropout=model.dropout, notes=lines)


def make_head(spec: config.Spec, features: int, side: int, target: Target) -> Head:
    """Return the head that a recipe names for a target."""
    choice, parameters = pick(spec, HEADS, "head")
    if choice.kinds and target.kind not in choice.kinds:
        raise UserError(
            f"head {spec!r} cannot answer target {target.name!r}, which is {target.kind}",
            need=f"a target of kind {' or '.join(choice.kinds)}",
        )
    return choice.load()(features, side, target, **parameters)


def normalisation(
    weights: pretrained.Weights, channels: int, policy: str, how: config.Input
) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Return mean, deviation and a line for the log, by ``input.normalise``."""
    if isinstance(how.normalise, dict):
        mean, std = how.normalise.get("mean", ()), how.normalise.get("std", ())
        if len(mean) != channels or len(std) != channels:
            raise UserError(
                f"input.normalise gives {plural(len(mean), 'mean')} and {plural(len(std), 'deviation')}", need=f"{channels} each"
            )
        return tuple(mean), tuple(std), f"normalised by the recipe's mean {_short(mean)}, deviation {_short(std)}"
    if how.normalise == "none":
        return (0.0,) * channels, (1.0,) * channels, "images are not normalised, only scaled to [0, 1]"
    if how.normalise == "data":
        return (0.0,) * channels, (1.0,) * channels, "normalised by mean and deviation measured on the training fold"
    source = policy if weights.channels == 3 else "repeat"
    mean = adaptation.statistics(weights.mean, channels, source)
    std = adaptation.statistics(weights.std, channels, source)
    return mean, std, f"normalised by the weights' mean {_short(mean)}, deviation {_short(std)}"


def _sharing(spec: config.Spec, backbone: nn.Module, features: int, tasks: int) -> nn.Module | None:
    choice, parameters = pick(spec, SHARINGS, "sharing")
    make: Any = choice.load()
    if choice is SHARINGS["hard"] or tasks == 1:
        return None
    return make(features, trunk.map_width(backbone), tasks, **parameters)


def _side_mlp(numbers: int, width: int) -> nn.Module:
    if not width:
        return nn.Identity()  # the heads see the numbers themselves
    return nn.Sequential(nn.Linear(numbers, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


def _size(how: config.Input) -> tuple[int, int] | None:
    if how.size == "native":
        return None
    return (how.size, how.size) if isinstance(how.size, int) else how.size


def _wants_channels_last(module: nn.Module) -> bool:
    """Tell whether a module was laid out channels last; a weight with one channel or one pixel does not tell."""
    weight = next((p for p in module.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2:].numel() > 1), None)
    return weight is not None and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)


def _key(name: str) -> str:
    """Return a target's name as a module can be called: torch allows no dots and keeps some names for itself."""
    return "t_" + name.replace(".", "·")


def _short(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{v:.3g}" for v in values) + ")"
