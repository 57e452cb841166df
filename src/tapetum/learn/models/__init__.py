"""The network of a recipe's ``model`` section: backbone, weights, channels, heads, sharing, sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tapetum.learn.models.network import Network, build

__all__ = ["Network", "build"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from tapetum.learn.models import network

        return getattr(network, name)
    raise AttributeError(f"module 'tapetum.learn.models' has no attribute {name!r}")
