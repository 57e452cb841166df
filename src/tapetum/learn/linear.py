"""Linear heads solved to the end: softmax and logistic regression by L-BFGS, least squares by their normal equations."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

SMALL = 1_000_000  # numbers in a matrix below which one thread is the fastest
CHUNK = 4096  # rows that are turned into double precision at a time


@dataclasses.dataclass(frozen=True)
class Fit:
    """Logits are ``z @ weight.T + bias``.

    Args:
        weight: (K, D); one row where all columns share it.
        bias: (K,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def logits(self, z: Tensor) -> Tensor:
        """Return (N, K) in double precision for rows (N, D)."""
        return z.double() @ torch.from_numpy(self.weight).T + torch.from_numpy(self.bias)


@dataclasses.dataclass(frozen=True)
class Descent:
    """Where L-BFGS begins, how far it goes, and whether all columns share one weight vector."""

    start: Fit | None = None
    roughly: bool = False
    shared: bool = False

    def options(self, exact: bool) -> dict[str, Any]:
        """Return scipy's options; single precision cannot reach the finest tolerance."""
        if self.roughly:
            return {"maxiter": 100, "maxcor": 5, "gtol": 1e-4, "ftol": 1e-6}
        return {"maxiter": 1000 if exact else 300, "maxcor": 10, "gtol": 1e-6, "ftol": 1e-12 if exact else 1e-7}


def softmax(z: Tensor, y: Tensor, w: Tensor, strength: float, how: Descent) -> Fit:
    """Softmax regression: strength · Σ w·CE + ½|W|². A class without rows gets a small constant share instead of minus infinity."""
    there = (y * w[:, None]).sum(dim=0) > 0
    own = y[:, there]

    def value(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        logits = z @ weight.T + bias
        share = torch.log_softmax(logits, dim=1)
        total = own.sum(dim=1, keepdim=True)
        return -(w * (own * share).sum(dim=1)).sum(), w[:, None] * (share.exp() * total - own)

    if how.start is not None:
        how = dataclasses.replace(how, start=Fit(how.start.weight[there.numpy()], how.start.bias[there.numpy()]))
    found = _descend(z, int(there.sum()), value, strength, how)
    weight, bias = np.zeros((y.shape[1], z.shape[1])), np.zeros(y.shape[1])
    weight[there.numpy()], bias[there.numpy()] = found.weight, found.bias
    if not bool(there.all()):
        level = torch.logsumexp(found.logits(z), dim=1).mean()
        bias[~there.numpy()] = float(level) + math.log(0.5 / (len(z) + 1))
    return Fit(weight, bias)


def logistic(z: Tensor, y: Tensor, w: Tensor, strength: float, how: Descent) -> Fit:
    """A logistic regression a column; with shared weights (CORAL) thresholds keep their order.

    Columns that are all 0 or all 1 get their smoothed share as a constant.
    """
    mass = (y * w[:, None]).sum(dim=0)
    there = ((mass > 0) & (mass < w.sum())).numpy()
    own = y[:, there]

    def value(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        logits = (z @ weight.T).expand(-1, own.shape[1]) + bias
        loss = F.binary_cross_entropy_with_logits(logits, own, reduction="none").sum(dim=1)
        return (w * loss).sum(), w[:, None] * (torch.sigmoid(logits) - own)

    if how.start is not None:
        how = dataclasses.replace(how, start=Fit(how.start.weight if how.shared else how.start.weight[there], how.start.bias[there]))
    found = _descend(z, int(there.sum()), value, strength, how)
    bias = torch.logit((mass + 0.5) / (w.sum() + 1)).double().numpy()
    bias[there] = found.bias
    if how.shared:
        return Fit(found.weight, np.minimum.accumulate(bias))
    weight = np.zeros((y.shape[1], z.shape[1]))
    weight[there] = found.weight
    return Fit(weight, bias)


def _descend(z: Tensor, columns: int, value: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], strength: float, how: Descent) -> Fit:
    """Minimise strength · loss + ½|W|² by L-BFGS; biases are not penalised.

    Args:
        z: (N, r).
        columns: biases to find.
        value: (weight, bias) → the loss and its gradient by the logits (N, columns).
        strength: C.
        how: start, tolerance, sharing.
    """
    rows, numbers = (1 if how.shared else columns), z.shape[1]
    size = rows * numbers

    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = torch.from_numpy(flat[:size]).to(z.dtype).view(rows, numbers)
        loss, slope = value(weight, torch.from_numpy(flat[size:]).to(z.dtype))
        by_weight = (slope.sum(dim=1, keepdim=True) if how.shared else slope).T @ z
        gradient = strength * torch.cat([by_weight.reshape(-1), slope.sum(dim=0)]).double().numpy()
        gradient[:size] += flat[:size]
        return strength * float(loss) + 0.5 * float(np.square(flat[:size]).sum()), gradient

    first = np.zeros(size + columns) if how.start is None else np.concatenate([how.start.weight.ravel(), how.start.bias])
    with _threads(1 if z.numel() < SMALL else None):
        found = minimize(both, first, jac=True, method="L-BFGS-B", options=how.options(z.dtype == torch.float64)).x
    return Fit(found[:size].reshape(rows, numbers), found[size:])


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Hold torch to some threads: on small matrices more of them only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclasses.dataclass(frozen=True)
class Moments:
    """What least squares need of their rows, in double precision, so that each strength costs one solution more.

    Args:
        square: (D, D) Σ w·zzᵀ of centred rows.
        cross: (D, K) Σ w·zyᵀ.
        centre: (D,) mean of the rows.
        level: (K,) mean of the answers.
    """

    square: Tensor
    cross: Tensor
    centre: Tensor
    level: Tensor

    @classmethod
    def of(cls, z: Tensor, y: Tensor, w: Tensor) -> Moments:
        """Measure rows (N, D), answers (N, K) and weights (N,)."""
        share = w.double() / w.double().sum()
        parts = [slice(start, start + CHUNK) for start in range(0, len(z), CHUNK)]
        centre = torch.stack([share[at] @ z[at].double() for at in parts]).sum(dim=0)
        level = share @ y.double()
        square, cross = torch.zeros(z.shape[1], z.shape[1], dtype=torch.float64), torch.zeros(z.shape[1], y.shape[1], dtype=torch.float64)
        for at in parts:
            inner = z[at].double() - centre
            weighted = (inner * w[at, None].double()).T
            square += weighted @ inner
            cross += weighted @ (y[at].double() - level)
        return cls(square, cross, centre, level)


def ridge(moments: Moments, strength: float) -> Fit:
    """Least squares: strength · Σ w·error² + |W|²; biases are not penalised."""
    system = moments.square + torch.eye(len(moments.centre), dtype=torch.float64) / strength
    weight = torch.cholesky_solve(moments.cross, torch.linalg.cholesky(system)).T
    return Fit(weight.numpy(), (moments.level - weight @ moments.centre).numpy())


def platt(scores: Tensor, y: Tensor, w: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the slopes (K,) and biases (K,) that turn scores into logits: p = σ(slope · score + bias), by least cross-entropy.

    All columns share the slope, so that a rare one gets no steep one from a few rows; a bias is a column's own. Columns that are all 0
    or all 1 get slope 0 and their smoothed share.

    Args:
        scores: (N, K) of rows that the scores were not fitted on.
        y: (N, K) truth from 0 to 1.
        w: (N,) weights.

    Source: Platt 1999, Probabilistic Outputs for Support Vector Machines.
    """
    s, y, w = scores.double(), y.double(), w.double()
    mass = (y * w[:, None]).sum(dim=0)
    there = (mass > 0) & (mass < w.sum())
    bias = torch.logit((mass + 0.5) / (w.sum() + 1)).numpy()
    s, own = s[:, there], y[:, there]

    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        logits = flat[0] * s + torch.from_numpy(flat[1:])
        loss = (w[:, None] * F.binary_cross_entropy_with_logits(logits, own, reduction="none")).sum()
        slope = w[:, None] * (torch.sigmoid(logits) - own)
        return float(loss), torch.cat([(slope * s).sum().view(1), slope.sum(dim=0)]).numpy()

    first = np.concatenate([[1.0], bias[there.numpy()]])
    bounds = [(0.0, None), *[(None, None)] * int(there.sum())]  # a negative slope would turn every ranking round
    found = minimize(both, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 1000, "maxcor": 20}).x
    bias[there.numpy()] = found[1:]
    return np.where(there.numpy(), found[0], 0.0), bias
