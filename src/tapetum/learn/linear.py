"""Linear heads solved to the end: softmax and logistic regression by L-BFGS, least squares by their normal equations."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor

from tapetum.core.logistic import Design, Full, Loss, Problem, Shared, sigmoid_loss, softmax_loss

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
    labels = y[:, there]
    if how.start is not None:
        how = dataclasses.replace(how, start=Fit(how.start.weight[there.numpy()], how.start.bias[there.numpy()]))
    found = _descend(z, labels, w, softmax_loss, strength, how)
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
    labels = y[:, there]
    if how.start is not None:
        how = dataclasses.replace(how, start=Fit(how.start.weight if how.shared else how.start.weight[there], how.start.bias[there]))
    found = _descend(z, labels, w, sigmoid_loss, strength, how)
    bias = torch.logit((mass + 0.5) / (w.sum() + 1)).double().numpy()
    bias[there] = found.bias
    if how.shared:
        return Fit(found.weight, np.minimum.accumulate(bias))
    weight = np.zeros((y.shape[1], z.shape[1]))
    weight[there] = found.weight
    return Fit(weight, bias)


def _descend(z: Tensor, y: Tensor, w: Tensor, loss: Loss, strength: float, how: Descent) -> Fit:
    """Minimise strength · loss + ½|W|² over weights and unpenalised biases, one a column of ``y``; for rows (N, r)."""
    x, numbers, columns = z.numpy(), z.shape[1], y.shape[1]
    design: Design = Shared(x[:, :, None]) if how.shared else Full(x)
    shape = (numbers + columns,) if how.shared else (numbers + 1, columns)
    first, penalty = np.zeros(shape), np.zeros(shape)
    if how.start is not None:
        first = np.concatenate([how.start.weight[0], how.start.bias]) if how.shared else np.vstack([how.start.weight.T, how.start.bias])
    penalty[:numbers] = 1 / strength
    problem = Problem(design, y.numpy(), w.numpy(), loss, penalty, factor=strength)
    with _blas().limit(limits=1 if x.size < SMALL else None):
        found = problem.solve(first, **how.options(z.dtype == torch.float64))
    return Fit(found[None, :numbers], found[numbers:]) if how.shared else Fit(found[:-1].T, found[-1])


@functools.cache
def _blas() -> ThreadpoolController:
    """Return the switch of numpy's threads; to look for them takes longer than a small fit."""
    return ThreadpoolController().select(user_api="blas")


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
    s, labels = s[:, there], y[:, there]

    first = np.concatenate([[1.0], bias[there.numpy()]])
    bounds = [(0.0, None), *[(None, None)] * int(there.sum())]  # a negative slope would turn every ranking round
    problem = Problem(Shared(s.numpy()[:, None]), labels.numpy(), w.numpy(), sigmoid_loss, factor=1.0)
    found = problem.solve(first, bounds, maxiter=1000, maxcor=20)
    bias[there.numpy()] = found[1:]
    return np.where(there.numpy(), found[0], 0.0), bias
