"""How much memory training needs, and the largest batch that fits: tried where running out can be caught, computed where it cannot."""

from __future__ import annotations

import copy
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from tapetum.core.words import plural
from tapetum.learn.runtime import Engine, Runtime

MOST = 512  # images in a batch at most
STEPS = 10  # optimizer steps that an epoch keeps at least
SHARE = 0.5  # of the free memory that a batch may take on a CPU; images, other programs and torch's own buffers want the rest
MOMENTS = 4  # copies of the weights: themselves, gradients, and an optimizer's two moments
UNKNOWN = 4 << 30  # bytes taken to be free where the system does not tell


def largest_batch(
    network: nn.Module, shape: Sequence[int], engine: Engine, *, rows: int, dtype: torch.dtype = torch.uint8
) -> tuple[int, str]:
    """Return the largest power of two that fits, and why it is that one.

    Args:
        network: takes images; a copy of it is used.
        shape: of one image.
        engine: device, precision, layout.
        rows: that train; an epoch keeps ten steps, so a small table has small batches however large the memory.
        dtype: of the images.
    """
    bound = max(2, min(MOST, rows // STEPS))
    runtime = Runtime(engine, deterministic=False)
    copied = runtime.to_device(copy.deepcopy(network)).train()
    if runtime.device.type == "cpu":
        free, each, fixed = free_bytes(), bytes_each(copied, shape, runtime, dtype), MOMENTS * _weights(copied)
        fits = max(1, int((SHARE * free - fixed) // each))
        why = f"an image takes {each / 2**20:.1f} MB, {free / 2**30:.1f} GB are free"
    else:
        fits = _tried(copied, shape, runtime, dtype, bound)
        why = f"{plural(fits, 'image')} passed forward and backward, {2 * fits} did not" if fits < bound else "memory is not the limit"
    batch = _power(min(fits, bound))
    return batch, why if fits < bound else f"{why}; an epoch of {plural(rows, 'row')} keeps {STEPS} steps"


def bytes_each(network: nn.Module, shape: Sequence[int], runtime: Runtime, dtype: torch.dtype = torch.uint8, rows: int = 2) -> float:
    """Return the bytes that an image adds to a forward pass until its backward pass: the tensors that autograd keeps.

    Args:
        network: in training mode.
        shape: of one image.
        runtime: device and precision.
        dtype: of the images.
        rows: in the batch that is measured.
    """
    kept: dict[int, int] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in (*network.parameters(), *network.buffers())}

    holding: list[Tensor] = []  # nothing is freed while it is counted, or an address would stand for two tensors

    def pack(x: Tensor) -> Tensor:
        holding.append(x)
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), runtime.autocast():
        out = network(runtime.to_device(torch.zeros((rows, *shape), dtype=dtype)))
    largest = max((x.untyped_storage().nbytes() for x in holding), default=0)  # a backward pass holds a gradient or two beside them
    image = math.prod(shape) * (4 + dtype.itemsize)
    del out
    return (sum(kept.values()) + 2 * largest) / rows + image


def free_bytes() -> int:
    """Return the memory that may still be taken: what the system calls available, or less where a container has a limit."""
    found = [UNKNOWN]
    info = Path("/proc/meminfo")
    if info.exists():
        lines = dict(line.split(":", 1) for line in info.read_text(encoding="ascii", errors="replace").splitlines() if ":" in line)
        if "MemAvailable" in lines:
            found = [int(lines["MemAvailable"].split()[0]) * 1024]
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.exists() and used.exists() and limit.read_text(encoding="ascii").strip().isdecimal():
        found.append(max(0, int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii"))))
    return min(found)


def peak_bytes(device: torch.device) -> int:
    """Return the most memory that this process has held so far: on the GPU, or in main memory; 0 where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)


def _tried(network: nn.Module, shape: Sequence[int], runtime: Runtime, dtype: torch.dtype, bound: int) -> int:
    """Return the largest power of two that passes forward and backward; each is run twice, since an optimizer's moments come later."""
    fits = 1
    heldout = [torch.empty_like(p) for p in network.parameters() for _ in range(MOMENTS - 2)]
    while 2 * fits <= bound:
        try:
            for _ in range(2):
                with runtime.autocast():
                    out = network(runtime.to_device(torch.zeros((2 * fits, *shape), dtype=dtype)))
                torch.stack([part.float().square().mean() for part in out.values()]).sum().backward()
        except (RuntimeError, MemoryError) as error:
            if not runtime.is_out_of_memory(error):
                raise
            break
        finally:
            network.zero_grad(set_to_none=True)
        fits *= 2
    del heldout
    return fits


def _weights(network: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())


def _power(n: int) -> int:
    return 1 << (max(n, 1).bit_length() - 1)
