"""Images with other than three channels: what becomes of the pretrained weights of the first layer, and of mean and deviation.

``repeat`` is timm's policy: colours are tiled and scaled by 3/C, one channel gets their sum. The other policies keep the three colours as
they are in the first three channels and fill the rest: ``zero`` with zeros (the answer at step 0 is that of the first three channels),
``mean`` with the mean of the colours, ``copy:R`` (G, B) with one colour's weights. With fewer than three channels ``zero`` keeps the
first ones, ``mean`` and ``copy`` give each the mean or the colour, scaled by 3/C.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.words import plural

POLICIES = ("repeat", "zero", "mean", "copy:R", "copy:G", "copy:B")
COLOURS = "RGB"


def adapt(weight: Tensor, channels: int, policy: str) -> Tensor:
    """Return the weights of a first layer for ``channels`` channels.

    Args:
        weight: (O, 3, h, w), trained on RGB.
        channels: C ≥ 1.
        policy: one of ``POLICIES``.

    Returns:
        (O, C, h, w), of the same type.

    Raises:
        UserError: an unknown policy, or weights that were not trained on three channels.
    """
    check_policy(policy)
    if weight.ndim != 4 or weight.shape[1] != 3:
        raise UserError(
            f"a first layer of shape {tuple(weight.shape)} cannot be adapted to {plural(channels, 'channel')}", need="weights (O, 3, h, w)"
        )
    if channels == 3:
        return weight
    if policy == "repeat":
        return _repeated(weight, channels)
    if policy == "zero":
        fill = torch.zeros_like(weight[:, :1])
    elif policy == "mean":
        fill = weight.mean(dim=1, keepdim=True)
    else:
        colour = COLOURS.index(policy[-1])
        fill = weight[:, colour : colour + 1]
    if channels > 3:
        return torch.cat([weight, fill.expand(-1, channels - 3, -1, -1)], dim=1)
    if policy == "zero":
        return weight[:, :channels].clone()
    return (fill * (3 / channels)).repeat(1, channels, 1, 1)


def _repeated(weight: Tensor, channels: int) -> Tensor:
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    tiles = -(-channels // 3)
    return weight.repeat(1, tiles, 1, 1)[:, :channels] * (3 / channels)


def statistics(values: tuple[float, ...], channels: int, policy: str) -> tuple[float, ...]:
    """Return mean or deviation with one number a channel, by the policy of the weights.

    Channels that stand for all colours get the mean of the three numbers, copies the number of their colour.
    """
    check_policy(policy)
    if len(values) == channels:
        return tuple(values)
    if len(values) != 3:
        raise UserError(f"{len(values)} channel statistics were given for {plural(channels, 'channel')}", need="3, or one a channel")
    average = sum(values) / 3
    if policy.startswith("copy:"):
        fill = values[COLOURS.index(policy[-1])]
        return (*values, *[fill] * (channels - 3)) if channels > 3 else (fill,) * channels
    if channels == 1:
        return (values[0],) if policy == "zero" else (average,)
    if policy == "repeat":
        return tuple(values[i % 3] for i in range(channels))
    if channels > 3:
        return (*values, *[average] * (channels - 3))
    return tuple(values[:channels]) if policy == "zero" else (average,) * channels


def adapt_state(state: Mapping[str, Tensor], stems: tuple[str, ...], channels: int, policy: str) -> dict[str, Tensor]:
    """Return a backbone's tensors with its first layers adapted.

    Args:
        state: timm's names → tensors, trained on three channels.
        stems: names of the layers that see the image, from :func:`stems`.
        channels: C.
        policy: one of ``POLICIES``.
    """
    out = dict(state)
    for stem in stems:
        out[f"{stem}.weight"] = adapt(out[f"{stem}.weight"], channels, policy)
    return out


def stems(backbone: nn.Module, channels: int) -> tuple[str, ...]:
    """Return the names of the layers that see the image: as timm records them, else the first convolution with that many inputs.

    Raises:
        UserError: none is found (a linear patch embedding, a space-to-depth stem).
    """
    from timm.models._input import get_model_traits

    known = get_model_traits(backbone).get("first_conv")
    names = (known,) if isinstance(known, str) else tuple(known or ())
    layers = dict(backbone.named_modules())
    if names and all(isinstance(layers.get(n), nn.Conv2d) and layers[n].in_channels == channels for n in names):
        return names
    for name, layer in layers.items():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == channels and layer.groups == 1:
            return (name,)
    raise UserError(
        f"{type(backbone).__name__} has no convolution over {plural(channels, 'channel')}, so its weights cannot be adapted",
        fix="use images with the channels that it was trained on, or another backbone",
    )


def summary(policy: str, channels: int, trained: int = 3) -> str:
    """Return one line for the log: what the policy does here."""
    if channels == trained:
        return f"channels: {channels}, as the weights were trained"
    if policy == "repeat":
        how = "the sum of the colours' weights" if channels == 1 else f"the colours' weights tiled, times 3/{channels}"
    elif channels > 3:
        what = {"zero": "zeros", "mean": "the mean of the colours' weights"}.get(policy, f"a copy of {policy[-1]}'s weights")
        rest = "channel 4 gets" if channels == 4 else f"channels 4-{channels} get"
        how = f"channels 1-3 keep the weights of R, G, B; {rest} {what}"
    elif policy == "zero":
        how = f"the weights of {', '.join(COLOURS[:channels])}; the rest is dropped"
    else:
        how = f"each gets {'the mean' if policy == 'mean' else policy[-1]} of the colours' weights, times 3/{channels}"
    return f"channels: {channels} for {trained} ({policy}): {how}"


def check_policy(policy: str) -> None:
    """Refuse an unknown policy; the nearest one is offered."""
    if policy not in POLICIES:
        raise UserError(f"model.channels is {policy!r}", need=f"one of {listed(POLICIES)}.{nearest(policy, POLICIES)}")
