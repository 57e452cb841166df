"""The optimizer of a network: what decays, what moves at which rate, and the recipe's names for optimizers.

Every parameter group carries ``scale``: its rate is the plan's rate × scale (:func:`set_rate`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import timm.optim
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tapetum.core import config
from tapetum.core.choices import pick
from tapetum.core.errors import EnvironmentFault, UserError, listed, nearest
from tapetum.learn.choices import OPTIMIZERS
from tapetum.learn.training.freezing import depths

_SLOW = "lookahead_slow_buff"  # timm's name for the slow weights in the state of a parameter


def build(network: nn.Module, optimizer: config.Optimizer, extra: Iterable[nn.Parameter] = ()) -> Optimizer:
    """Return the recipe's optimizer over the parameters that train.

    Args:
        network: with a ``backbone``; parameters with ``requires_grad`` false are left out, so build again after unfreezing.
        optimizer: the recipe's section.
        extra: parameters outside the network (learned task weights); they move at the rate itself and never decay.

    Raises:
        UserError: nothing trains, or an unknown name or option.
        EnvironmentFault: the optimizer needs a package or device that is not here.
    """
    groups = groups_of(network, optimizer)
    others = [p for p in extra if p.requires_grad]
    if others:
        groups.append({"params": others, "weight_decay": 0.0, "scale": 1.0})
    if not groups:
        raise UserError("no parameter trains", fix="set stages.trains to 'head', 'top-N' or 'all'")
    maker, options = _maker(optimizer)
    options.update(lr=optimizer.rate, weight_decay=optimizer.weight_decay)
    try:
        built: Optimizer = maker(groups, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise UserError(f"optimizer {optimizer.name!r} with {optimizer.options} cannot be made: {error}") from None
    except (ImportError, RuntimeError) as error:
        raise EnvironmentFault(f"optimizer {optimizer.name!r} cannot be made here: {error}") from None
    set_rate(built, optimizer.rate)
    return built


def groups_of(network: nn.Module, optimizer: config.Optimizer) -> list[dict[str, Any]]:
    """Return parameter groups with ``weight_decay`` and ``scale``, one for each different pair of them.

    Biases, norms (one dimension or none) and what the backbone itself excludes (position embeddings, class tokens) do not decay. The
    rate of a layer is rate × layer_decay^(distance from the head); the head's is rate × head_rate.
    """
    depth = depths(network)
    backbone: Any = network.backbone
    excluded: set[str] = getattr(backbone, "no_weight_decay", set)()
    inside = {id(p): name for name, p in backbone.named_parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        inner = inside.get(id(parameter))
        still = parameter.ndim <= 1 or name.endswith(".bias") or (inner is not None and inner in excluded)
        scale = optimizer.layer_decay ** depth[name] * (optimizer.head_rate if inner is None else 1.0)
        groups.setdefault((0.0 if still else optimizer.weight_decay, scale), []).append(parameter)
    return [{"params": members, "weight_decay": decay, "scale": scale} for (decay, scale), members in groups.items()]


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set every group to rate × its scale."""
    for group in optimizer.param_groups:
        group["lr"] = float(rate) * group.get("scale", 1.0)


def sgd(groups: Any, lr: float, weight_decay: float = 0.0, *, momentum: float = 0.9, nesterov: bool = False) -> Optimizer:
    """SGD with heavy-ball momentum (timm's ``sgd`` is Nesterov's; here it is asked for)."""
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


def ranger(
    groups: Any,
    lr: float,
    weight_decay: float = 0.0,
    *,
    betas: Sequence[float] = (0.95, 0.999),
    eps: float = 1e-5,
    k: int = 6,
    alpha: float = 0.5,
) -> Optimizer:
    """Lookahead around RAdam with decoupled decay.

    Source: Liu et al. 2019, arXiv 1908.03265; Zhang et al. 2019, arXiv 1907.08610; defaults of lessw2020's Ranger.
    """
    base = torch.optim.RAdam(groups, lr=lr, betas=(betas[0], betas[1]), eps=eps, weight_decay=weight_decay, decoupled_weight_decay=True)
    return Lookahead(base, k=k, alpha=alpha)


class Lookahead(timm.optim.Lookahead):
    """timm's Lookahead, φ ← φ + α(θ − φ), θ ← φ every k steps, whose slow weights φ begin as the initial weights, as in the paper.

    timm's own begin after k steps. The slow weights are what is judged and kept: see :func:`slow_weights`. They travel in ``state_dict``.

    Args:
        base: the optimizer that moves the fast weights.
        k: fast steps to a slow one.
        alpha: how far the slow weights go.

    Source: Zhang et al. 2019, arXiv 1907.08610.
    """

    def __init__(self, base: Optimizer, k: int = 6, alpha: float = 0.5) -> None:
        super().__init__(base, alpha=alpha, k=k)
        self.base = base
        self.slow = {p: p.detach().clone() for group in base.param_groups for p in group["params"]}

    def update_slow(self, group: dict[str, Any]) -> None:
        """Move the slow weights of a group, and its fast ones onto them."""
        for p in group["params"]:
            if p.grad is not None:  # now, not before: base optimizers take a parameter with any state for one that has been set up
                self.base.state[p].setdefault(_SLOW, self.slow[p])
        super().update_slow(group)

    def state_dict(self) -> dict[str, Any]:
        """Return the base optimizer's state, in which timm keeps the slow weights, and as ``initial`` those that timm has not yet."""
        initial = [None if _SLOW in self.base.state.get(p, {}) else slow for p, slow in self.slow.items()]
        return {**super().state_dict(), "initial": initial}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "initial"})
        for (p, slow), initial in zip(self.slow.items(), state_dict["initial"], strict=True):
            slow.copy_(self.base.state[p][_SLOW] if initial is None else initial)
            if initial is None:
                self.base.state[p][_SLOW] = slow


@contextlib.contextmanager
def slow_weights(optimizer: Optimizer) -> Iterator[None]:
    """Put the slow weights of a Lookahead into the network while the block runs (to judge or keep them); others are left alone."""
    inner: Any = getattr(optimizer, "optimizer", optimizer)  # a wrapper of a training engine holds the real one
    if not isinstance(inner, Lookahead):
        yield
        return
    fast = {p: p.detach().clone() for p in inner.slow}
    try:
        _fill(inner.slow)
        yield
    finally:
        _fill(fast)


@torch.no_grad()
def _fill(values: dict[Tensor, Tensor]) -> None:
    for parameter, value in values.items():
        parameter.copy_(value)


def _maker(optimizer: config.Optimizer) -> tuple[Any, dict[str, Any]]:
    if not optimizer.name.startswith("timm:"):
        choice, options = pick({"name": optimizer.name, **optimizer.options}, OPTIMIZERS, "optimizer")
        return choice.load(), options
    from timm.optim import get_optimizer_class, get_optimizer_info, list_optimizers

    name = optimizer.name.removeprefix("timm:")
    known = [str(n) for n in list_optimizers()]
    if name not in known:
        raise UserError(f"timm has no optimizer {name!r} (it has: {listed(known, 100)}).{nearest(name, known)}")
    info = get_optimizer_info(name)
    if info.second_order or re.match("bnb|fused", name):
        raise UserError(f"optimizer {optimizer.name!r} needs second derivatives or another package", need="a plain first-order optimizer")
    return get_optimizer_class(name, bind_defaults=True), dict(optimizer.options)
