"""The learning-rate range test: a short training whose rate grows, and what it suggests; nothing of it remains.

Source: Smith 2017, arXiv 1506.01186, section 3.3.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tapetum.core.errors import DataError
from tapetum.core.words import plural
from tapetum.learn.training.optimizers import set_rate


@dataclasses.dataclass(frozen=True)
class Curve:
    """One range test.

    Args:
        rates: tried, ascending (n,).
        losses: at them (n,).
        smoothed: their bias-corrected moving average (n,).
        steepest: the rate where the loss falls fastest along the logarithm of the rate.
        tenth: a tenth of the rate where it is least.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    steepest: float
    tenth: float


def find(
    step: Callable[[int], float],
    network: nn.Module,
    optimizer: Optimizer,
    rates: np.ndarray,
    *,
    others: Sequence[nn.Module] = (),
    smoothing: float = 0.98,
    stop: float = 4.0,
) -> Curve:
    """Train with one rate after the other, then put everything back bit for bit.

    Args:
        step: number of the step → its loss; runs forward, backward and the optimizer's step at the rate that is in the optimizer.
        network: that trains.
        optimizer: its rates are set; groups keep their scale.
        rates: ascending, one a step.
        others: further modules with state (an objective with learned weights).
        smoothing: of the moving average of the loss.
        stop: the test ends where the smoothed loss exceeds this many times its least value, or is no number.

    Raises:
        DataError: the loss is no number from the start.
    """
    losses: list[float] = []
    with restored(network, optimizer, others):
        for number, rate in enumerate(rates):
            set_rate(optimizer, float(rate))
            losses.append(float(step(number)))
            kept = smooth(losses, smoothing)
            if not np.isfinite(losses[-1]) or kept[-1] > stop * kept.min():
                break
    finite = np.isfinite(losses)
    tried = len(losses) if finite.all() else int(finite.argmin())
    if tried < 3:
        raise DataError(
            f"the range test stopped after {plural(tried, 'step')}", need="a loss that is a number at small rates", fix="lower its rates"
        )
    return read(rates[:tried], np.array(losses[:tried]), smoothing)


def read(rates: np.ndarray, losses: np.ndarray, smoothing: float = 0.98) -> Curve:
    """Return the curve with its two suggestions.

    The first tenth of the steps is not looked at: few losses are in the average yet, so that one easy batch would be the least. For the
    same reason the slope is not the average's, whose noise is greatest where it begins, but that of a straight line through the losses
    of a fifth of the steps around each rate.
    """
    smoothed = smooth(losses, smoothing)
    first = min(len(losses) // 10, len(losses) - 2)
    least = first + int(smoothed[first:].argmin())
    slope = slopes(np.log(rates), losses, len(losses) // 10)
    steepest = first + int(slope[first : max(least, first + 1) + 1].argmin())  # what comes after the least loss is the way up
    return Curve(rates, losses, smoothed, float(rates[steepest]), float(rates[least] / 10))


def slopes(x: np.ndarray, y: np.ndarray, reach: int) -> np.ndarray:
    """Return the least-squares slope of y over x at each point (n,), over ``reach`` neighbours on each side, fewer at the ends."""
    out = np.empty(len(x))
    for i in range(len(x)):
        near = slice(max(i - max(reach, 1), 0), i + max(reach, 1) + 1)
        dx = x[near] - x[near].mean()
        out[i] = (dx * y[near]).sum() / (dx**2).sum()
    return out


def smooth(losses: Sequence[float] | np.ndarray, smoothing: float) -> np.ndarray:
    """Return the exponential moving average, divided by 1 − smoothing^t, so that it does not begin at 0."""
    out, average = np.empty(len(losses)), 0.0
    for i, loss in enumerate(losses):
        average = smoothing * average + (1 - smoothing) * float(loss)
        out[i] = average / (1 - smoothing ** (i + 1))
    return out


def suggest(curves: Sequence[Curve]) -> dict[str, float]:
    """Return the geometric means over repeats: ``steepest``, ``tenth`` and ``suggestion``, the smaller of them.

    Args:
        curves: of repeats with other batches, three or so.
    """
    means = {key: float(np.exp(np.mean([np.log(getattr(c, key)) for c in curves]))) for key in ("steepest", "tenth")}
    return {**means, "suggestion": min(means.values())}


@contextlib.contextmanager
def restored(network: nn.Module, optimizer: Optimizer, others: Sequence[nn.Module] = ()) -> Iterator[None]:
    """Put weights, buffers, gradients, modes, the optimizer and every random generator back as they were, bit for bit."""
    modules = [network, *others]
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    values = [t.detach().clone() for t in tensors]
    gradients: list[Tensor | None] = [None if t.grad is None else t.grad.clone() for t in tensors]
    modes = {module: module.training for m in modules for module in m.modules()}
    state = copy.deepcopy(optimizer.state_dict())
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    cpu, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value, gradient in zip(tensors, values, gradients, strict=True):
                tensor.copy_(value)
                tensor.grad = gradient
        optimizer.load_state_dict(state)
        for module, mode in modes.items():
            module.training = mode
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
