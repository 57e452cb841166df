"""A network's backbone on another engine than torch: converted when the first batch comes, then called with every batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tapetum.learn import sessions
from tapetum.learn.sessions import Session


class Compiled:
    """What answers instead of a network's normalisation and backbone, where nothing is differentiated.

    It holds the weights of the moment at which the first batch came.

    Args:
        engine: whose backend is not torch.
        keep: add what is converted to the user's cache; weights that change with every epoch are not worth that.
        frozen: the backbone does not train, so it is answered by the engine while heads train, too.
    """

    def __init__(self, engine: Any, *, keep: bool = True, frozen: bool = False) -> None:
        self.engine, self.keep, self.frozen = engine, keep, frozen
        self._sessions: dict[tuple[Any, ...], Session] = {}

    def __deepcopy__(self, _: Any) -> Compiled:
        return Compiled(self.engine, keep=self.keep, frozen=self.frozen)

    def __call__(self, network: Any, x: Tensor, *, with_map: bool) -> tuple[Tensor, Tensor | None]:
        """Return the vectors (B, D) of images (B, C, H, W), and their last map where it is needed."""
        key = (x.dtype, *x.shape[1:], with_map)
        if key not in self._sessions:
            self._sessions[key] = self._opened(network, x, with_map)
        found = [torch.from_numpy(one) for one in self._sessions[key](x.contiguous().numpy())]
        return found[0], found[1] if with_map else None

    def _opened(self, network: Any, x: Tensor, with_map: bool) -> Session:
        from tapetum.learn import trunks

        model, threads = trunks.model(network, x, with_map=with_map, keep=self.keep), torch.get_num_threads()
        if self.engine.backend == "onnx":
            return sessions.open_onnx(model, threads)
        return sessions.open_openvino(model, threads, bf16=self.engine.precision == "bf16")


def attach(module: torch.nn.Module, engine: Any) -> None:
    """Let the networks in a module be answered by an engine; by torch again where that is its backend."""
    for one in module.modules():
        if hasattr(one, "compiled"):
            now: Any = one.compiled
            if engine.backend == "torch":
                vars(one)["compiled"] = None
            elif now is None or now.engine != engine:
                vars(one)["compiled"] = Compiled(engine)
