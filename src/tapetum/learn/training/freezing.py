"""Which part of the network trains: the distance of every parameter from the head, freezing by it, and still BatchNorms.

A network here is a module whose ``backbone`` is a timm model (or any module); whatever else it owns is the head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tapetum.core.errors import UserError
from tapetum.core.words import plural

_TRAINS = re.compile(r"head|all|top-([1-9]\d*)")
_HEAD = "tapetum_head"  # a name that no backbone has, to see where timm puts what follows the last block


def layers_of(trains: str) -> int | None:
    """Return how many of the backbone's last layers train: 0 for ``head``, N for ``top-N``, None for ``all``.

    Raises:
        UserError: anything else.
    """
    found = _TRAINS.fullmatch(trains)
    if not found:
        raise UserError(f"stages.trains is {trains!r}", need="'head', 'top-N' (as 'top-6') or 'all'")
    return None if trains == "all" else int(found.group(1) or 0)


def depths(network: nn.Module) -> dict[str, int]:
    """Return the distance of every parameter from the head: 0 the head (and what lies between it and the last block), 1 the last block, ….

    Layers are timm's own (``group_matcher``, blocks); for other backbones each module that owns parameters is one.
    """
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise UserError(f"{type(network).__name__} has no backbone to tell from the head", need="a network with a module 'backbone'")
    place = _places(backbone)
    last = max(place.values(), default=0)
    inside = {id(p): last - place[name] for name, p in backbone.named_parameters()}
    return {name: inside.get(id(p), 0) for name, p in network.named_parameters()}


def freeze(network: nn.Module, trains: str) -> dict[str, bool]:
    """Let the named part train and freeze the rest; return parameter → whether it trains.

    Args:
        network: its parameters' ``requires_grad`` are set, its frozen BatchNorms put into eval mode (see :func:`train_mode`).
        trains: ``head``, ``top-N`` or ``all``.

    Raises:
        UserError: ``top-N`` with more layers than the backbone has.
    """
    layers = layers_of(trains)
    depth = depths(network)
    most = max(depth.values())
    if layers is not None and layers > most:
        raise UserError(f"stages.trains is {trains!r} and the backbone has {plural(most, 'layer')}", need=f"top-{most} at most, or 'all'")
    owned = {id(p) for p in network.backbone.parameters()}  # type: ignore[union-attr]
    chosen: dict[str, bool] = {}
    for name, parameter in network.named_parameters():
        in_backbone = id(parameter) in owned
        chosen[name] = layers is None or not in_backbone or (layers > 0 and depth[name] <= layers)
        parameter.requires_grad_(chosen[name])
    return chosen


def train_mode(network: nn.Module, *, frozen_norm: bool = False) -> None:
    """Put the network into training mode, but keep frozen BatchNorms in eval mode, so that their statistics stay what they were.

    Args:
        network: after :func:`freeze`; call this at the start of every epoch, as evaluation puts everything into eval mode.
        frozen_norm: keep every BatchNorm of the backbone in eval mode.
    """
    network.train()
    backbone = getattr(network, "backbone", network)
    for module in _norms(backbone.modules()):
        parameters = list(module.parameters(recurse=False))
        if frozen_norm or (parameters and not any(p.requires_grad for p in parameters)):
            module.eval()
    if not any(p.requires_grad for p in backbone.parameters()):
        backbone.eval()  # a frozen trunk gives the same features twice: no dropout, no drop path


def training_norms(network: nn.Module) -> list[str]:
    """Return the BatchNorms that take statistics from batches now; a batch of 1 cannot feed them."""
    return [name for name, module in network.named_modules() if isinstance(module, _BatchNorm) and module.training]


def check_batch(network: nn.Module, batch: int) -> None:
    """Refuse a batch of one image where a BatchNorm takes its statistics from the batch.

    Args:
        network: in the mode in which it trains.
        batch: rows that one forward pass sees on one device.
    """
    norms = training_norms(network)
    if batch == 1 and norms:
        raise UserError(
            f"a batch of 1 with {len(norms)} BatchNorm layers that learn from the batch",
            need="2 images or more at once",
            fix="raise train.batch, or set train.frozen_norm = true",
        )


def _places(backbone: nn.Module) -> dict[str, int]:
    """Return parameter name → layer number from the input on; the head's own number is the greatest."""
    names = [name for name, _ in backbone.named_parameters()]
    matcher: Any = getattr(backbone, "group_matcher", None)
    if matcher is not None:
        from timm.models._manipulate import group_with_matcher  # group_parameters, its public form, takes no further names

        objects = [*backbone.named_parameters(), (_HEAD, None)]
        found: dict[str, int] = group_with_matcher(iter(objects), matcher(coarse=False), reverse=True)
        return {name: found[name] for name in [*names, _HEAD]}
    owners = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    return {**{name: owners.index(name.rpartition(".")[0]) for name in names}, _HEAD: len(owners)}


def _norms(modules: Iterable[nn.Module]) -> Iterable[_BatchNorm]:
    return (module for module in modules if isinstance(module, _BatchNorm))
