"""Neighbouring images of one sequence, answered together: features of each image in order → a body over the steps → heads.

A step is an image (or a window cut from images joined along x). Each step gives one vector, or several: the columns of the last feature
map from left to right, for images whose x axis is time. Steps that are padding are masked: neither their content nor their number
changes an answer.

Source: IITNet, Seo et al. 2019, arXiv 1902.06562.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tapetum.core import config, draws
from tapetum.core.choices import pick
from tapetum.core.errors import UserError
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.learn.choices import SEQUENCES, head_of
from tapetum.learn.models import backbone as trunk
from tapetum.learn.models import network as networks
from tapetum.learn.models.network import Network


@dataclasses.dataclass(frozen=True)
class Steps:
    """Windows of neighbouring images on their way to the network; indexed, moved and counted like a tensor.

    Args:
        values: images (B, L, C, H, W) or (B, L, V, C, H, W), or their vectors (B, L, P, D).
        mask: (B, L) bool, True where a step is real.
    """

    values: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: Any) -> Steps:
        return Steps(self.values[part], self.mask[part])

    def to(self, *where: Any, **how: Any) -> Steps:
        """Return the windows on a device."""
        return Steps(self.values.to(*where, **how), self.mask.to(*where, **how))


class BiLSTM(nn.Module):
    """LSTM layers read in both directions.

    Args:
        features: D.
        hidden: of each direction; the output has twice as many numbers.
        layers: how many.
        project: width to which the vectors are brought first; 0 leaves them.
        dropout: on the output, and between layers.
    """

    def __init__(self, features: int, *, hidden: int = 128, layers: int = 2, project: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.project = nn.Linear(features, project) if project else nn.Identity()
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(project or features, hidden, layers, batch_first=True, bidirectional=True, dropout=between)
        self.dropout = nn.Dropout(dropout)
        self.width = 2 * hidden

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, 2·hidden), zeros where masked.

        Args:
            x: (B, T, D).
            mask: (B, T) bool, True where a step is real. Real steps are moved together, so that none is read through padding.
        """
        if torch.compiler.is_exporting():
            return self.unpacked(x, mask)
        order = mask.logical_not().to(torch.uint8).argsort(dim=1, stable=True)
        lengths = mask.sum(dim=1).clamp_min(1)
        together = self.project(x).gather(1, order[..., None].expand(-1, -1, self.lstm.input_size))
        packed = nn.utils.rnn.pack_padded_sequence(together, lengths.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=x.shape[1])
        back = torch.zeros_like(out).scatter(1, order[..., None].expand_as(out), out)
        return self.dropout(back * mask[..., None])

    def unpacked(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return what :meth:`forward` does in evaluation, by operators that other formats have: packed sequences have none.

        Each direction reads its real steps from the first place on, so that padding comes after them and cannot change them.
        """
        place, count = mask.cumsum(dim=1) - 1, mask.sum(dim=1, keepdim=True)
        to = torch.arange(mask.shape[1], device=mask.device)[None, :, None]
        ways = [((at[:, None] == to) & mask[:, None]).to(x.dtype) for at in (place, count - 1 - place)]  # (B, to, from), as matrices
        out = self.project(x)
        start = out.new_zeros(1, out.shape[0], self.lstm.hidden_size)
        for layer in range(self.lstm.num_layers):
            read = []
            for weights, way in zip(self.lstm.all_weights[2 * layer : 2 * layer + 2], ways, strict=True):
                found = torch._VF.lstm(way @ out, (start, start), list(weights), True, 1, 0.0, False, False, True)[0]
                read.append(way.transpose(1, 2) @ found)
            out = torch.cat(read, dim=-1)
        return out


class Transformer(nn.Module):
    """Self-attention over the steps, with sine positions counted over the real steps.

    Args:
        features: D.
        width: of the tokens.
        layers: how many.
        heads: of attention; ``width`` is a multiple of them.
        dropout: inside the layers.
    """

    def __init__(self, features: int, *, width: int = 256, layers: int = 4, heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        if width % heads:
            raise UserError(
                f"a transformer of width {width} cannot have {plural(heads, 'head')}", need="a width that is a multiple of heads"
            )
        self.project = nn.Linear(features, width)
        self.layers = nn.ModuleList(  # made one by one: torch's encoder would start all layers with the same weights
            nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.width = width

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return (B, T, width), zeros where masked; arguments as for :class:`BiLSTM`."""
        place = (mask.cumsum(dim=1) - 1).clamp_min(0)
        x = self.project(x)
        x = x + sines(place, self.width).to(x.dtype)
        padding = ~mask
        padding = padding & ~padding.all(dim=1, keepdim=True)  # a row of padding alone would attend to nothing and turn NaN
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        return self.norm(x) * mask[..., None]


class SequenceNetwork(Network):
    """Images of a sequence → a dict of logits: of the last or the centre step, or of every step.

    Args:
        base: gives backbone, normalisation, side numbers; its heads are replaced.
        body: over the steps.
        heads: target name → head, on the body's output.
        target: last, centre or all.
        positions: vectors a step, columns of the last feature map.
        joined: (count, width, stride) of the windows cut from the images joined along x, which are then the steps; None: each image is.
    """

    centre: Tensor
    spread: Tensor

    def __init__(
        self,
        base: Network,
        body: Any,
        heads: Mapping[str, Any],
        *,
        target: str,
        positions: int,
        joined: tuple[int, int, int] | None = None,
    ) -> None:
        mean, std = base.mean.flatten().tolist(), base.std.flatten().tolist()
        super().__init__(base.backbone, heads, networks.Scale(mean, std), side=base.side, dropout=base.dropout.p, notes=base.notes)
        self.body, self.target, self.positions, self.joined = body, target, positions, joined
        width = base.width if positions == 1 else trunk.map_width(base.backbone)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def measure(self, vectors: Tensor) -> None:
        """Take mean and deviation of each number of a step's vector, so that the body sees them in like sizes.

        Args:
            vectors: (N, P, D) of the training rows; NaN rows are left out.
        """
        known = vectors.flatten(0, 1)
        known = known[torch.isfinite(known).all(dim=1)]
        if len(known) < 2:
            return
        spread = known.double().std(dim=0)
        least = 1e-3 * float(spread.mean()) + 1e-12  # a number that hardly moves is noise, not to be blown up
        self.centre.copy_(known.double().mean(dim=0))
        self.spread.copy_(spread.clamp_min(least))

    def step_vectors(self, x: Tensor) -> Tensor:
        """Return the vectors of single images (B, C, H, W) as (B, P, D): what a store of features can hold for this network."""
        if self.positions == 1:
            return self.features(x)[:, None]
        map_ = self._trunk(x, with_map=True)[1]
        if map_ is None:
            raise ValueError("a trunk asked for its map gives one")
        columns = map_.float().mean(dim=2)
        if columns.shape[2] < self.positions:
            raise UserError(
                f"sequence.positions is {self.positions} and the last feature map has {plural(columns.shape[2], 'column')}",
                need="as many columns as positions",
                fix="use wider images, or fewer positions",
            )
        return F.adaptive_avg_pool1d(columns, self.positions).transpose(1, 2)

    def forward(self, x: Tensor | Steps, side: Tensor | None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Return the logits of each target, (B, K), or (B, L, K) where every step is answered.

        Args:
            x: images (B, L, C, H, W) or (B, L, V, C, H, W), or their vectors (B, L, P, D); as :class:`Steps` with their mask.
            side: scaled side numbers of each step (B, L, S), or of the row that is answered (B, S).
            mask: (B, L) bool, True where a step is real; None: all are.
        """
        if isinstance(x, Steps):
            mask, x = x.mask, x.values
        if self.joined is not None and x.ndim > 4:
            x, mask = self.cut(x, mask)
        batch, steps = x.shape[:2]
        vectors = x if x.ndim == 4 else self.step_vectors(x.flatten(0, 1)).unflatten(0, (batch, steps))
        mask = torch.ones(batch, steps, dtype=torch.bool, device=x.device) if mask is None else mask.to(x.device)
        with torch.autocast(x.device.type, enabled=False):
            return self.from_steps(vectors.float(), mask, side)

    def from_steps(self, vectors: Tensor, mask: Tensor, side: Tensor | None = None) -> dict[str, Tensor]:
        """Return the logits for vectors (B, L, P, D) in 32 bits; the other arguments as for :meth:`forward`."""
        out, steps = self._over_steps(vectors, mask), mask.shape[1]
        at = slice(None) if self.target == "all" else steps - 1 if self.target == "last" else steps // 2
        out = self.dropout(out[:, at])
        step_side = side if side is None or side.ndim == 2 else side[:, at]
        extra = None if side is None and self.side is None else self._side(out, step_side)
        flat = out.flatten(0, -2)
        extra = None if extra is None else extra.flatten(0, -2)
        return {name: self.head(name)(flat, extra).unflatten(0, out.shape[:-1]) for name in self.targets}

    def cut(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the windows of joined images as steps; a window counts as the image in which its middle lies."""
        count, width, stride = self.joined or (0, 0, 0)
        if mask is not None:
            middle = (torch.arange(count, device=mask.device) * stride + width // 2) // x.shape[-1]
            mask = mask[:, middle]
        return windows(x, count, width, stride), mask

    def _over_steps(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """Return the body's output for each step (B, L, W); several positions of a step are averaged."""
        positions = vectors.shape[2]
        vectors = (vectors - self.centre) / self.spread * mask[..., None, None]
        out = self.body(vectors.flatten(1, 2), mask.repeat_interleave(positions, dim=1))
        return out.unflatten(1, (-1, positions)).mean(dim=2)

    def probabilities(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return probabilities in the shape of the logits, (B, K) or (B, L, K)."""
        flat = super().probabilities({name: value.flatten(0, -2) for name, value in logits.items()})
        return {name: p.unflatten(0, logits[name].shape[:-1]) for name, p in flat.items()}


def around(
    base: Network,
    model: config.Model,
    sequence: config.SequenceConfig,
    *,
    side: int = 0,
    seed: int = 0,
    log: Log | None = None,
) -> SequenceNetwork:
    """Return the sequence network around one of single images, which gives backbone, normalisation and side numbers."""
    if model.sharing != "hard":
        raise UserError(f"model.sharing is {model.sharing!r} in a sequence model", need="hard")
    choice, parameters = pick(sequence.head, SEQUENCES, "sequence.head")
    make: Any = choice.load()
    features = base.width if sequence.positions == 1 else trunk.map_width(base.backbone)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.key(seed, "sequence"))
        body = make(features, **parameters)
        extra = (model.side_width or side) if side else 0
        heads = {name: networks.make_head(head_of(model, t), body.width, extra, t) for name, t in base.targets.items()}
    if log is not None:
        log(f"sequences: {plural(sequence.length, 'step')} × {plural(sequence.positions, 'position')}, answering {sequence.target}")
    joined = (sequence.windows, sequence.window_width, sequence.window_stride) if sequence.windows else None
    return SequenceNetwork(base, body, heads, target=sequence.target, positions=sequence.positions, joined=joined)


class StepVectors(nn.Module):
    """The part of a sequence network that sees single images, as a store of features takes it.

    Args:
        network: whose backbone, normalisation and positions are taken.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.network = network
        self.backbone, self.positions = network.backbone, network.positions
        self.mean, self.std = network.mean, network.std

    def features(self, x: Tensor) -> Tensor:
        """Return the vectors of images (B, C, H, W) as (B, P · D)."""
        return self.network.step_vectors(x).flatten(1)


def windows(x: Tensor, count: int, width: int, stride: int) -> Tensor:
    """Join the images of each sequence along x and cut them into overlapping windows, which may cross the images' borders.

    Args:
        x: (B, L, C, H, W).
        count: windows, from the left.
        width: of a window in pixels.
        stride: from one window's left edge to the next one's.

    Returns:
        (B, count, C, H, width).

    Raises:
        UserError: the windows reach beyond the joined image.
    """
    joined = x.permute(0, 2, 3, 1, 4).flatten(3)
    needed = (count - 1) * stride + width
    if count < 1 or width < 1 or needed > joined.shape[-1]:
        raise UserError(
            f"{plural(count, 'window')} of {width} pixels every {stride} reach to {needed}, the joined image to {joined.shape[-1]}",
            fix="set sequence.windows, window_width and window_stride to fit",
        )
    return torch.stack([joined[..., i * stride : i * stride + width] for i in range(count)], dim=1)


def sines(place: Tensor, width: int) -> Tensor:
    """Return the sine and cosine code of positions (…,) as (…, width).

    Source: Vaswani et al. 2017, arXiv 1706.03762.
    """
    half = torch.arange(width // 2, device=place.device, dtype=torch.float32)
    angle = place[..., None].float() * torch.exp(half * (-math.log(10_000.0) / max(width // 2, 1)))
    code = torch.cat([angle.sin(), angle.cos()], dim=-1)
    return F.pad(code, (0, width - code.shape[-1]))
