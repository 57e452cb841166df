"""Where and how numbers are computed: device, precision, memory layout, threads; backward, clip and step in the right order.

Lightning Fabric carries devices, mixed precision and several processes; it is imported only when something trains. What can be measured
instead of guessed (32-bit or bf16, channels last or not) is measured once, by :mod:`tapetum.learn.speed`, written to ``plan.json`` by the
caller and read from there ever after.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from tapetum.core import allocator, caller
from tapetum.core.config import Train
from tapetum.core.errors import EnvironmentFault, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.learn import compiled, depthwise, machine, ranks, sessions
from tapetum.learn.ranks import ALONE, Ranks

T = TypeVar("T")

Precision = Literal["32", "bf16", "fp16"]
Backend = Literal["torch", "onnx", "openvino"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
DEVICES = ("auto", "cpu", "cuda", "mps")
_FABRIC = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclasses.dataclass(frozen=True)
class Engine:
    """How numbers are computed; part of what a feature store and a plan are keyed by.

    Args:
        device: cpu, cuda or mps.
        precision: 32, bf16 or fp16 (the two mixed: weights stay 32-bit).
        channels_last: layout of images and convolutions in memory, where torch computes.
        backend: what computes the backbone of networks that answer: ``torch``, ``onnx`` (ONNX Runtime) or ``openvino``.
    """

    device: str = "cpu"
    precision: Precision = "32"
    channels_last: bool = False
    backend: Backend = "torch"

    @property
    def name(self) -> str:
        """A short word: ``cpu-bf16-channels_last``, ``openvino-bf16``."""
        if self.backend != "torch":
            return f"{self.backend}-{self.precision}"
        return "-".join([self.device, self.precision, *(["channels_last"] if self.channels_last else [])])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {key: value for key, value in dataclasses.asdict(self).items() if (key, value) != ("backend", "torch")}

    def by_torch(self) -> Engine:
        """Return the same with torch as its backend."""
        return dataclasses.replace(self, backend="torch")

    def reference(self) -> Engine:
        """Return torch in 32 bits: what other ways to compute are compared with."""
        return dataclasses.replace(self, precision="32", backend="torch")

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Engine:
        """Rebuild from :meth:`to_dict`."""
        return cls(**value)


class Runtime:
    """One process's way to compute.

    Args:
        engine: device, precision and layout.
        threads: of this process; None leaves torch's number.
        deterministic: ask torch for kernels that give the same bits each time, and warn where it has none.
        log: where messages go; None keeps silent.

    Attributes:
        answered_at_once: images in an evaluation pass since memory ran out in one; None: whole batches.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        threads: int | None = None,
        deterministic: bool = True,
        log: Log | None = None,
    ) -> None:
        allocator.keep_memory()  # of a Python caller, for whom no command line did
        self.engine = engine or Engine(find_device())
        self.device = torch.device(self.engine.device)
        self._log = log
        self.answered_at_once: int | None = None
        check(self.engine)
        keep_settings()
        if ranks.count() > 1:
            self.device = self.fabric.device
        if threads is not None:
            torch.set_num_threads(threads)
        if deterministic:
            torch.backends.cudnn.benchmark = False
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            torch.use_deterministic_algorithms(True, warn_only=True)

    @classmethod
    def from_train(cls, train: Train, engine: Engine, log: Log | None = None, planned: int | None = None) -> Runtime:
        """Return the runtime of a recipe's ``train`` section on an engine from :func:`speed.decide_engine`; ``planned`` threads."""
        return cls(engine, threads=machine.threads(train.threads, planned), log=log)

    @property
    def precision(self) -> Precision:
        """32, bf16 or fp16."""
        return self.engine.precision

    def message(self, text: str) -> None:
        """Pass a message on."""
        if self._log is not None:
            self._log(text)

    @functools.cached_property
    def fabric(self) -> Any:
        """Lightning Fabric on this device: one process, or one of several where a launcher (torchrun, SLURM) started them."""
        import lightning_fabric

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        several: dict[str, Any] = {}
        if (every := ranks.count()) > 1:
            here = int(os.environ.get("LOCAL_WORLD_SIZE", every))
            if self.device.type == "cuda" and here > torch.cuda.device_count():
                raise EnvironmentFault(
                    f"{plural(here, 'device was', 'devices were')} asked for, and {torch.cuda.device_count()} are here", fix="use fewer"
                )
            several = {"devices": here, "num_nodes": every // here, "strategy": "ddp"}
        fabric = lightning_fabric.Fabric(accelerator=self.device.type, precision=_FABRIC[self.precision], **(several or {"devices": 1}))
        if several:
            fabric.launch()
        return fabric

    @functools.cached_property
    def ranks(self) -> Ranks:
        """This process among those that train the fold with it."""
        return Ranks(self.fabric, self.fabric.global_rank, self.fabric.world_size) if ranks.count() > 1 else ALONE

    def to_device(self, value: Any) -> Any:
        """Return a tensor or a module on the device; images (B, C, H, W) and modules in the engine's layout."""
        if isinstance(value, nn.Module):
            value = value.to(self.device)
            compiled.attach(value, self.engine)
            depthwise.attach(value, self.engine)
            return value.to(memory_format=torch.channels_last) if self.engine.channels_last else value
        if isinstance(value, Tensor) and value.ndim == 4 and self.engine.channels_last and self.engine.backend == "torch":
            return value.to(self.device, memory_format=torch.channels_last)
        return value.to(self.device)

    @contextlib.contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute with the engine's precision inside the block; heads and losses that need 32 bits leave it themselves."""
        if self.precision == "32":
            yield
            return
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        with torch.autocast(self.device.type, dtype=dtype):
            yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, scaled against underflow where the precision asks for it."""
        self.fabric.backward(loss)

    def step(self, network: nn.Module, optimizer: torch.optim.Optimizer, rate: float, clip: float | None = None) -> Tensor | None:
        """Set the rate, unscale, clip, step, and clear the gradients, in this order.

        Args:
            network: whose gradients are clipped.
            optimizer: each of its groups moves at ``rate`` times its ``scale``.
            rate: of this step.
            clip: largest global norm of the gradients; None clips nothing.

        Returns:
            The norm before clipping, or None.
        """
        self.ranks.sum_gradients(parameter for group in optimizer.param_groups for parameter in group["params"])
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        norm = self.fabric.clip_gradients(network, optimizer, max_norm=clip, error_if_nonfinite=False) if clip else None
        self.fabric.strategy.optimizer_step(optimizer)
        optimizer.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Any]:
        """Return what a restart needs: the loss scale of fp16, else nothing."""
        return dict(self.fabric.strategy.precision.state_dict())

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state` gave."""
        if state:
            self.fabric.strategy.precision.load_state_dict(dict(state))

    def in_pieces(self, forward: Callable[[slice], T], rows: int) -> list[T]:
        """Answer a batch: whole, or where memory runs out in halves, from then on also of the batches to come.

        Rows are answered each by itself, so the pieces together are what the whole batch would have given.

        Args:
            forward: answers a part of the batch.
            rows: in the batch.
        """
        while True:
            size = min(rows, self.answered_at_once or rows)
            try:
                return [forward(slice(start, start + size)) for start in range(0, rows, size)]
            except (RuntimeError, MemoryError) as error:
                if not self.is_out_of_memory(error) or size <= 1:
                    raise
            self.answered_at_once = size // 2
            self.message(f"out of memory: images are now answered {self.answered_at_once} at a time")

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Tell whether an error says that memory ran out; cached GPU memory is then given back."""
        words = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc failed")
        short = isinstance(error, torch.OutOfMemoryError | MemoryError) or any(w in str(error).lower() for w in words)
        if short and self.device.type == "cuda":
            torch.cuda.empty_cache()
        return short


def keep_settings() -> None:
    """Have torch's settings and random state as the caller of the Python API has them put back when the call ends."""
    caller.put_back("torch", _settings)


def _settings() -> Callable[[], None]:
    threads, is_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warns, fills = torch.is_deterministic_algorithms_warn_only_enabled(), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    benchmark, state = torch.backends.cudnn.benchmark, torch.get_rng_state()
    states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def restore() -> None:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(is_deterministic, warn_only=warns)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark
        torch.set_rng_state(state)
        if states:
            torch.cuda.set_rng_state_all(states)

    return restore


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread inside the block: on many small operations a second one only waits (on a busy machine, for long)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def find_device(wanted: str = "auto") -> str:
    """Return cpu, cuda or mps.

    Raises:
        UserError: another word.
        EnvironmentFault: a device that this machine has not.
    """
    if wanted not in DEVICES:
        raise UserError(f"device is {wanted!r}", need=f"one of {listed(DEVICES)}")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, is_there in there.items() if is_there)
    if not there[wanted]:
        raise EnvironmentFault(f"there is no {wanted} device here (there is: {listed(n for n, t in there.items() if t)})", fix="use 'auto'")
    return wanted


def check(engine: Engine) -> None:
    """Refuse an engine that does not exist, or that cannot train on its device."""
    if engine.precision not in PRECISIONS:
        raise UserError(f"precision is {engine.precision!r}", need=f"one of {listed(PRECISIONS)}, or auto")
    if engine.precision == "fp16" and engine.device == "cpu":
        raise UserError("fp16 does not train on a CPU", need="a GPU", fix="set train.precision = 'bf16' or '32'")
    if engine.backend != "torch" and not sessions.is_installed(engine.backend):
        package = sessions.PACKAGES[engine.backend]
        raise EnvironmentFault(f"answers were planned with {engine.backend}, and {package} is not installed", fix=f"pip install {package}")
