"""The engine of answers while a member trains, as planned: another one than torch where enough images come to repay a conversion.

The weights change from epoch to epoch, so a network is converted anew each time; what a conversion costs was measured when the plan was
made. The graph gives what torch gives for noise before it counts (:mod:`tapetum.learn.trunks`).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from tapetum.learn import compiled
from tapetum.learn.runtime import Engine, Runtime
from tapetum.learn.speed import Work


@dataclasses.dataclass(frozen=True)
class Answering:
    """What answers besides the engine that trains.

    Args:
        engine: the planned one; None: the one that trains.
        least: images that are answered at once, from which a conversion is repaid.
    """

    engine: Engine | None = None
    least: int = 0

    @classmethod
    def from_plan(cls, plan: Mapping[str, Any] | None) -> Answering:
        """Return what ``plan.json`` has under a member's ``answers``; nothing there is the engine that trains."""
        if plan is None or "from_images" not in plan:
            return cls()
        return cls(Engine.from_dict(plan["engine"]), plan["from_images"])

    def takes(self, images: int) -> bool:
        """Tell whether so many images are answered by another engine than the one that trains."""
        return self.engine is not None and images >= self.least

    def runtime(self, runtime: Runtime, images: int) -> Runtime:
        """Return the runtime by which so many images are answered; ``runtime`` is that of training."""
        if self.engine is None or not self.takes(images) or runtime.ranks.count > 1:
            return runtime
        return Runtime(self.engine, log=runtime.message)

    @contextlib.contextmanager
    def of(self, network: Any, runtime: Runtime, images: int) -> Iterator[Runtime]:
        """Yield the runtime by which a network answers so many images with the weights that it has now.

        Args:
            network: on its device.
            runtime: of training.
            images: to answer, counting each view.
        """
        other = self.runtime(runtime, images)
        if other is runtime or network.front is not None:
            yield runtime
            return
        before = network.compiled
        if before is None or not before.frozen:
            vars(network)["compiled"] = compiled.Compiled(other.engine, keep=False)
        try:
            yield other
        finally:
            vars(network)["compiled"] = before


NOTHING_ELSE = Answering()


@torch.inference_mode()
def seconds_to_convert(network: Any, work: Work, engine: Engine) -> float:
    """Return the seconds that a network with other weights needs until an engine has answered its first image.

    Args:
        network: a copy of it is converted.
        work: shape and type of its images.
        engine: another one than torch.
    """
    network, x = copy.deepcopy(network).eval(), torch.zeros((1, *work.shape), dtype=work.dtype)
    began = 0.0
    for _ in range(2):  # the first one may write the graph
        vars(network)["compiled"] = compiled.Compiled(engine, keep=False)
        began = time.perf_counter()
        network.head_inputs(x)
    return time.perf_counter() - began


def images_to_repay(convert: float, torchs: float, engines: float) -> int:
    """Return the images from which a conversion is repaid.

    Args:
        convert: seconds of a conversion.
        torchs: seconds of an image by torch.
        engines: by the other engine.
    """
    return math.ceil(convert / max(torchs - engines, 1e-9))
