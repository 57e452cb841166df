"""Several processes that train one fold together: each takes its part of every batch, and all of them make the same step.

A process is a rank. Ranks compute what one process would: BatchNorm measures the whole batch, gradients are those of the whole batch, and
held-out answers are gathered by row. torchrun's agent starts them, Lightning Fabric connects them (NCCL between GPUs, gloo between CPUs).
Sums are made in another order than in one process, so weights differ in the last bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tapetum.core.errors import REFUSALS, EnvironmentFault, TapetumError, ending, said_by

SPACE = 1 << 16  # bytes that the output of a process needs, about


def count() -> int:
    """Return how many processes a launcher started; 1 where there was none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@dataclasses.dataclass(frozen=True)
class Ranks:
    """This process among those that train a fold.

    Args:
        fabric: Lightning Fabric, launched; None where there is one process.
        rank: number of this one; 0 writes the files.
        count: of all.
    """

    fabric: Any = None
    rank: int = 0
    count: int = 1

    @property
    def share(self) -> tuple[int, int]:
        """(rank, count), as :func:`tapetum.data.images.dataset.batches` takes it."""
        return self.rank, self.count

    def own(self, rows: int) -> Tensor:
        """Return the places of this rank's part of a batch of so many rows."""
        return torch.arange(rows).tensor_split(self.count)[self.rank]

    def wait(self) -> None:
        """Wait for the other ranks."""
        if self.count > 1:
            self.fabric.barrier()

    def total(self, value: float) -> float:
        """Return the sum of a number over the ranks."""
        if self.count == 1:
            return value
        whole = torch.tensor(value, dtype=torch.float64)
        return float(self.fabric.all_reduce(self.fabric.to_device(whole), reduce_op="sum"))

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up each parameter's gradient over the ranks, many of them in one message."""
        if self.count == 1:
            return
        by_kind: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                by_kind.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_kind.values():
            flat = self.fabric.all_reduce(torch.cat([one.reshape(-1) for one in gradients]), reduce_op="sum")
            for one, value in zip(gradients, flat.split([one.numel() for one in gradients]), strict=True):
                one.copy_(value.view_as(one))

    def gathered(self, value: Any) -> list[Any]:
        """Return what each rank gives, in their order."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, value)
        return found

    @contextlib.contextmanager
    def whole_batches(self) -> Iterator[None]:
        """Let BatchNorm in training mode measure the whole batch inside the block, not this rank's part of it."""
        if self.count == 1:
            yield
            return
        with _SharedBatchNorm():
            yield


ALONE = Ranks()


class _SharedBatchNorm(TorchFunctionMode):
    """Answers ``torch.nn.functional.batch_norm``, which BatchNorm of torch and of timm calls, with the statistics of all ranks."""

    def __torch_function__(self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        given = dict(zip(("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"), args, strict=False))
        given |= kwargs or {}
        if func is not torch.nn.functional.batch_norm or not given.get("training", False):
            return func(*args, **(kwargs or {}))
        return _batch_norm(**given)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return what one process would: mean, then deviations from it, each summed over the ranks (two passes keep the digits)."""
    x, dims = input.float(), [0, *range(2, input.ndim)]
    shape = [1, -1, *[1] * (input.ndim - 2)]
    n = torch.tensor([x.numel() / x.shape[1]], device=x.device)
    sums = _summed(torch.cat([x.sum(dims), n]))
    n, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
    centred = x - mean.view(shape)
    variance = _summed((centred * centred).sum(dims)) / n
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (n / (n - 1))).to(running_var.dtype), momentum)
    out = centred * torch.rsqrt(variance + eps).view(shape)
    out = out if weight is None else out * weight.view(shape)
    out = out if bias is None else out + bias.view(shape)
    return out.to(input.dtype)


def _summed(value: Tensor) -> Tensor:
    """Return the sum over the ranks; its gradient is the sum of theirs."""
    with torch._C.DisableTorchFunction():
        return _Sum.apply(value)


class _Sum(torch.autograd.Function):
    """Adds up over the ranks, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        """Return the sum of the ranks' values."""
        return _Sum.over_ranks(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Return the sum of the ranks' gradients: each rank's value is part of what all of them got."""
        return _Sum.over_ranks(gradients[0])

    @staticmethod
    def over_ranks(value: Tensor) -> Tensor:
        whole = value.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(whole)
        return whole


def launch(words: Sequence[str], devices: int) -> dict[str, Any]:
    """Run ``python WORDS`` in several processes by torchrun's agent; return the JSON that the first of them printed.

    Raises:
        TapetumError: a process ended with another code than 0; the error is of its kind.
        KeyboardInterrupt: this process was asked to end, by a person or by SIGTERM; it has ended the others.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="tapetum-ranks-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=devices,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder, redirects=Std.ALL),
        )
        try:
            elastic_launch(config, sys.executable)(*words)
        except ChildFailedError as error:
            rank = _cause({rank: failure.exitcode for rank, failure in error.failures.items()}, error.get_first_failure()[0])
            said = _written(folder, rank, "stderr")
            if not said and shutil.disk_usage(folder).free < SPACE:
                what = f"process {rank} ended, and {Path(folder).parent} has no space left for what it writes"
                raise EnvironmentFault(what, fix="free some space there, or name another folder in the variable TMPDIR") from None
            raise _error(error.failures[rank].exitcode, rank, said) from None
        except SignalException:
            raise KeyboardInterrupt from None
        return dict(json.loads(_written(folder, 0, "stdout")))


def _written(folder: str, rank: int, what: str) -> str:
    found = sorted(Path(folder).glob(f"**/{rank}/{what}.log"))
    return found[-1].read_text(encoding="utf-8", errors="replace") if found else ""


def _cause(codes: Mapping[int, int], first: int) -> int:
    """Return the process that the others ended for: they lose their connection to it, or are ended by the agent.

    Args:
        codes: rank → exit code of each that did not end well.
        first: the rank that was seen first; the agent looks a few times a second, so that another one may have ended before.
    """
    told = [rank for rank, code in codes.items() if code in REFUSALS]
    told += [rank for rank, code in codes.items() if code == EnvironmentFault.exit_code]
    killed = [rank for rank, code in codes.items() if code < 0 and code != -signal.SIGTERM]
    return (told + killed + [first])[0]


def _error(code: int, rank: int, said: str) -> TapetumError:
    """Return the error of a process that ended so."""
    sentence, last = said_by(said)
    if sentence is not None:
        return REFUSALS.get(code, EnvironmentFault)(sentence)
    how = f"ended with code {code}" + (f" ({last})" if last else "") if code >= 0 else f"was {ending(code)}"
    return EnvironmentFault(f"process {rank} {how}", fix="give the command again")
