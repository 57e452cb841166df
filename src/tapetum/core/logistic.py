"""The one solver of logistic regressions: a softmax over classes or a sigmoid a label, rows weighted, each parameter with its own penalty.

    f(θ) = Σ_i w_i · loss(z_i, y_i) + ½ Σ_j penalty_j · (θ_j − centre_j)²,     z = design.logits(θ)

It is convex; L-BFGS with the exact gradient finds its minimum. A design defines how logits follow from the parameters: all inputs for all
classes, a class's own inputs, or one weight vector for all classes. Biases come after the weights in each of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from tapetum.core.errors import DataError
from tapetum.core.words import plural

Loss = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[float, np.ndarray]]


class Design(Protocol):
    """Logits as a linear function of the parameters θ, and the transpose of it."""

    def logits(self, theta: np.ndarray) -> np.ndarray:
        """Return (n, K)."""
        ...

    def slope(self, residual: np.ndarray) -> np.ndarray:
        """Return the derivative by θ, in its shape, from that by the logits (n, K)."""
        ...


@dataclasses.dataclass(frozen=True)
class Full:
    """Every class sees every input: z = x·W + b; θ is (D + 1, K).

    Args:
        x: (n, D); the work is done in its precision.
    """

    x: np.ndarray

    def logits(self, theta: np.ndarray) -> np.ndarray:
        """Return (n, K)."""
        theta = theta.astype(self.x.dtype)
        return self.x @ theta[:-1] + theta[-1]

    def slope(self, residual: np.ndarray) -> np.ndarray:
        """Return (D + 1, K)."""
        return np.concatenate([self.x.T @ residual, residual.sum(axis=0, keepdims=True)])


@dataclasses.dataclass(frozen=True)
class PerClass:
    """Each class sees inputs of its own: z_k = Σ_m x_mk·W_mk + b_k; θ is (M + 1, K). With M = 1 it is a scale and a bias a class.

    Args:
        x: (n, M, K).
    """

    x: np.ndarray

    def logits(self, theta: np.ndarray) -> np.ndarray:
        """Return (n, K)."""
        return (self.x * theta[:-1]).sum(axis=1) + theta[-1]

    def slope(self, residual: np.ndarray) -> np.ndarray:
        """Return (M + 1, K)."""
        return np.concatenate([np.einsum("nmk,nk->mk", self.x, residual), residual.sum(axis=0, keepdims=True)])


@dataclasses.dataclass(frozen=True)
class Shared:
    """All classes share their weights: z_k = Σ_d x_dk·w_d + b_k; θ is (D + K,).

    Args:
        x: (n, D, K), or (n, D, 1) where all classes see the same inputs too.
    """

    x: np.ndarray

    def logits(self, theta: np.ndarray) -> np.ndarray:
        """Return (n, K)."""
        theta, numbers = theta.astype(self.x.dtype), self.x.shape[1]
        return np.tensordot(self.x, theta[:numbers], axes=(1, 0)) + theta[numbers:]

    def slope(self, residual: np.ndarray) -> np.ndarray:
        """Return (D + K,)."""
        seen = residual.sum(axis=1, keepdims=True) if self.x.shape[2] == 1 else residual
        return np.concatenate([np.tensordot(self.x, seen, axes=([0, 2], [0, 1])), residual.sum(axis=0)])


def softmax(z: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return exp(z) over its sum along an axis; the same bits as ``scipy.special.softmax``, without the import of scipy."""
    shifted = np.exp(z - z.max(axis=axis, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=axis, keepdims=True))


def softmax_loss(z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Return Σ w·(−Σ_k y_k·log softmax(z)_k) and its derivative by the logits.

    Args:
        z: logits (n, K); overwritten.
        y: truth (n, K), soft or hard; its rows need not sum to 1.
        weight: (n,).
    """
    z -= z.max(axis=1, keepdims=True)
    chosen = np.einsum("nk,nk->n", y, z)
    p = np.exp(z, out=z)
    total, mass = p.sum(axis=1), y.sum(axis=1)
    value = (weight * (mass * np.log(total) - chosen)).sum(dtype=np.float64)
    p *= (mass / total)[:, None]
    p -= y
    p *= weight[:, None]
    return float(value), p


def sigmoid_loss(z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Return Σ w·Σ_k (−y_k·log σ(z_k) − (1 − y_k)·log(1 − σ(z_k))) and its derivative by the logits; arguments as for softmax_loss."""
    from scipy.special import expit

    value = (weight * (np.logaddexp(0, z) - y * z).sum(axis=1)).sum(dtype=np.float64)
    return float(value), weight[:, None] * (expit(z) - y)


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is to be minimised.

    Args:
        design: gives the logits.
        y: truth (n, K) from 0 to 1.
        weight: (n,).
        loss: :func:`softmax_loss` or :func:`sigmoid_loss`.
        penalty: of each parameter, in θ's shape, or one for all.
        centre: where the penalty pulls to, likewise.
        factor: f is multiplied by it, which moves only where the search stops; None: 1 / Σ w.
    """

    design: Design
    y: np.ndarray
    weight: np.ndarray
    loss: Loss
    penalty: np.ndarray | float = 0.0
    centre: np.ndarray | float = 0.0
    factor: float | None = None

    def value_and_slope(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Return f(θ) and its gradient in θ's shape."""
        value, residual = self.loss(self.design.logits(theta), self.y, self.weight)
        apart = theta - self.centre
        pull = self.penalty * apart
        factor = 1 / float(self.weight.sum()) if self.factor is None else self.factor
        return factor * (value + 0.5 * float((pull * apart).sum())), factor * (self.design.slope(residual) + pull)

    def solve(self, start: np.ndarray, bounds: Sequence[tuple[float | None, float | None]] | None = None, **options: Any) -> np.ndarray:
        """Return the θ with the least f.

        Args:
            start: the first θ.
            bounds: (low, high) of each parameter in order; None: none.
            options: of scipy's L-BFGS-B (``maxiter``, ``gtol``, ``ftol``, ``maxcor``).

        Raises:
            DataError: no row has a weight above 0, or numbers are not finite or too large.
        """
        from scipy.optimize import minimize  # a third of a second, which what only answers does not spend

        with np.errstate(over="ignore"):
            total = float(self.weight.sum(dtype=np.float64))
        if not 0 < total < np.inf:
            raise DataError(
                f"the weights of {plural(len(self.weight), 'row')} sum to {total:g}", need="a finite weight above 0 in one row or more"
            )

        def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = self.value_and_slope(flat.reshape(start.shape))
            return value, slope.ravel().astype(np.float64)

        found = minimize(both, start.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        if not (np.isfinite(found.fun) and np.isfinite(found.x).all()):
            raise DataError("a logistic regression has no finite solution", need="inputs, labels and weights that are finite and not huge")
        return np.asarray(found.x.reshape(start.shape))
