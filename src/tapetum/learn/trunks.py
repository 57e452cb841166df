"""A network's normalisation and backbone as an ONNX model, kept in the user's cache by what it holds.

torch needs seconds to write a graph and the writer is slow to import, so the graph is written once for a kind of backbone and size of
image, and other weights are put into it. What comes out is run once beside torch before it is kept.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tapetum.core import cache, files
from tapetum.core.errors import EnvironmentFault
from tapetum.learn import graphs, sessions
from tapetum.learn.models.backbone import built, state_hash, width
from tapetum.learn.models.network import Network

KIND = "models"  # folder of the user's cache
NEAR = 1e-3  # of the largest number: the difference up to which a graph gives what torch gives
WRITERS = ("torch", "onnx", "onnxscript")


class Trunk(nn.Module):
    """Images → vectors, and the last map where heads need it."""

    def __init__(self, network: Network, with_map: bool) -> None:
        super().__init__()
        self.network, self.with_map = network, with_map

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the vectors (B, D), and with a map (B, C, h, w) too."""
        f, map_ = self.network.by_torch(image, with_map=self.with_map)
        return (f,) if map_ is None else (f, map_)


def is_kept(network: Network, x: Tensor, *, with_map: bool = False) -> tuple[bool, bool]:
    """Tell whether the network's own graph is in the cache, and whether one of its kind is, into which its weights can be put."""
    names = _Names(network, x, with_map)
    return cache.has_bytes(KIND, names.whole), cache.has_bytes(KIND, names.kind)


def can_write() -> bool:
    """Tell whether what writes graphs is installed."""
    return all(importlib.util.find_spec(name) is not None for name in WRITERS)


def model(network: Network, x: Tensor, *, with_map: bool = False, keep: bool = True) -> bytes:
    """Return the ONNX model of a network's trunk.

    Args:
        network: in evaluation mode.
        x: images (B, C, H, W) of the shape and dtype that it will take; B may be any.
        with_map: the last map is needed, too.
        keep: take it from the user's cache, and add it there.

    Raises:
        EnvironmentFault: what writes graphs is not installed, and none is in the cache.
    """
    names = _Names(network, x, with_map)
    if keep and (found := cache.read_bytes(KIND, names.whole)) is not None:
        return found
    if not can_write():
        what = "the backbone cannot be converted: onnx and onnxscript are not installed"
        raise EnvironmentFault(what, fix="pip install 'tapetum[export]'")
    template = cache.read_bytes(KIND, names.kind)
    made = None if template is None else _filled(template, network)
    if made is None or not _is_right(made, network, x, with_map):
        template = _written(network, x, with_map)
        cache.add_bytes(KIND, names.kind, template)
        made = _filled(template, network) or _optimised(template)
    if keep:
        cache.add_bytes(KIND, names.whole, made)
    return made


class _Names:
    """The names of a trunk's files: ``kind`` of its structure and the size of its images, ``whole`` also of its weights."""

    def __init__(self, network: Network, x: Tensor, with_map: bool) -> None:
        backbone = network.backbone
        about = {
            "modules": repr(backbone),
            **built(backbone),
            "width": width(backbone),
            "shapes": [[name, list(value.shape)] for name, value in backbone.state_dict().items()],
            "image": [*x.shape[1:], str(x.dtype)],
            "map": with_map,
            "versions": {name: _version(name) for name in (*WRITERS, "timm")},
        }
        self.network, self.about = network, files.fingerprint(about)
        self.kind = f"{self.about}.template.onnx"

    @property
    def whole(self) -> str:
        numbers = [self.network.mean.flatten().tolist(), self.network.std.flatten().tolist()]
        return f"{files.fingerprint([self.about, state_hash(self.network.backbone), numbers])}.onnx"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _written(network: Network, x: Tensor, with_map: bool) -> bytes:
    """Return the graph as torch writes it, every weight under its own name."""
    outputs = ["vector", "map"][: 1 + with_map]
    example = torch.zeros((2, *x.shape[1:]), dtype=x.dtype) + torch.arange(2, dtype=x.dtype)[:, None, None, None]
    return graphs.to_onnx(Trunk(network, with_map).eval(), (example,), ["image"], outputs, optimize=False)


def _filled(template: bytes, network: Network) -> bytes | None:
    """Return a graph with the weights of a network; None where it does not hold all of them by name and shape."""
    import onnx

    graph = onnx.load_from_string(template)
    places = {one.name: one for one in graph.graph.initializer}
    for name, value in network.state_dict().items():
        place = places.get(f"network.{name}")
        if not name.startswith("backbone.") and name not in ("mean", "std"):
            continue
        if place is None and name.endswith("num_batches_tracked"):
            continue
        if place is None or list(place.dims) != list(value.shape):
            return None
        place.CopyFrom(onnx.numpy_helper.from_array(value.detach().cpu().contiguous().numpy(), place.name))
    return _optimised(graph.SerializeToString())


def _optimised(model: bytes) -> bytes:
    """Return a graph with constants folded and BatchNorms put into convolutions; ONNX Runtime does not do that by itself."""
    import onnx
    import onnx_ir
    import onnxscript.optimizer

    with graphs.quiet():
        whole = onnx_ir.serde.deserialize_model(onnx.load_from_string(model))
        onnxscript.optimizer.optimize_ir(whole)
        written: bytes = onnx_ir.serde.serialize_model(whole).SerializeToString()
    return written


@torch.inference_mode()
def _is_right(model: bytes, network: Network, x: Tensor, with_map: bool) -> bool:
    """Tell whether a graph gives for noise what torch gives."""
    shape, rng = (2, *x.shape[1:]), np.random.default_rng(0)
    noise = rng.integers(0, 256, shape).astype(np.uint8) if x.dtype == torch.uint8 else rng.random(shape).astype(np.float32)
    found: Any = sessions.open_onnx(model, torch.get_num_threads())(noise)
    wanted = [one.numpy() for one in Trunk(network, with_map)(torch.from_numpy(noise))]
    return all(np.abs(a - b).max() <= NEAR * max(float(np.abs(b).max()), 1e-6) for a, b in zip(found, wanted, strict=True))
