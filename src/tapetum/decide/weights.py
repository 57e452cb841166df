"""Weights of a blend, fitted for a metric: by the gradient for log-loss, by a pattern search over the simplex for any other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tapetum.core import metrics
from tapetum.core.errors import UserError
from tapetum.core.logistic import softmax
from tapetum.core.targets import Target
from tapetum.core.words import plural

TINY = 1e-7
ROWS = 8192  # rows worked on at a time, so that temporaries stay in the cache
MOVES = (0.25, 0.1, 0.04, 0.015)  # shares of weight that the pattern search moves, coarse to fine


@dataclasses.dataclass(frozen=True)
class Objective:
    """A metric as something to make large.

    Args:
        target: what is scored.
        metric: its name.
        sign: −1 for losses.
    """

    target: Target
    metric: str
    sign: float

    @classmethod
    def of(cls, target: Target, metric: str = "auto") -> Objective:
        """Return the objective of a metric; ``"auto"`` is the target's default one."""
        name = metrics.default_metric(target) if metric == "auto" else metric
        return cls(target, name, metrics.named(name, target).sign)

    def __call__(self, p: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
        """Return the figure, larger is better; an undefined one is the worst."""
        return metrics.merit(self.metric, self.target, p, y, weight)

    def shown(self, value: float) -> float | None:
        """Return the figure as the metric gives it."""
        return None if not np.isfinite(value) else self.sign * value


def direct(
    goal: Objective,
    blended: Callable[[np.ndarray], np.ndarray],
    y: np.ndarray,
    weight: np.ndarray,
    *,
    members: int,
    smooth: np.ndarray | None,
) -> tuple[np.ndarray, float | None, int]:
    """Return the weights (M,) that make a metric best, its value, and how many blends were tried.

    Args:
        goal: the metric.
        blended: weights (M,) → blend (n, K).
        y: truth (n, K).
        weight: of the rows (n,).
        members: M.
        smooth: the log-loss optimum where there is one; it is the answer for log-loss, and a starting point for others.
    """
    tried = 0

    def value(w: np.ndarray) -> float:
        nonlocal tried
        tried += 1
        return goal(blended(w), y, weight)

    if goal.metric == "log_loss" and smooth is not None:
        return smooth, goal.shown(value(smooth)), tried
    starts = [np.full(members, 1 / members), *([] if smooth is None else [smooth]), *np.eye(members)]
    best_value, first = max((value(w), -i) for i, w in enumerate(starts))
    best = starts[-first]
    for share in MOVES:
        moved = True
        while moved:
            moved = False
            for towards in _moves(best, share):
                new = value(towards)
                if new > best_value + 1e-9:  # equal figures stay where they are: nearer to the start
                    best, best_value, moved = towards, new, True
                    break
            if tried > 60 * members:
                break
    return best, goal.shown(best_value), tried


def greedy(goal: Objective, stack: np.ndarray, y: np.ndarray, weight: np.ndarray, rounds: int) -> tuple[list[int], float | None]:
    """Return the members picked with replacement (numbers, in order; the best prefix) and the figure of their mean.

    Args:
        goal: what is made best.
        stack: members' probabilities (M, n, K).
        y: truth (n, K).
        weight: (n,).
        rounds: the most that are picked.
    """
    if rounds < 1:
        raise UserError(f"greedy selection was asked for {plural(rounds, 'round')}", need="1 or more")
    picked: list[int] = []
    total = np.zeros(stack.shape[1:], dtype=np.float32)
    best: tuple[float, int] = (-np.inf, 1)
    for number in range(1, rounds + 1):
        values = [goal((total + p) / number, y, weight) for p in stack]
        chosen = int(np.argmax(values))
        picked.append(chosen)
        total += stack[chosen]
        if values[chosen] > best[0]:
            best = (values[chosen], number)
    return picked[: best[1]], goal.shown(best[0])


def least_log_loss(target: Target, stack: np.ndarray, y: np.ndarray, weight: np.ndarray, r: float) -> np.ndarray:
    """Return the weights (M,) of the power mean with the least log-loss, by L-BFGS on their soft-max.

    Args:
        target: single or ordinal (the power mean is renormalised) or multi (it is not).
        stack: (M, n, K).
        y: (n, K); soft truth is allowed.
        weight: (n,).
        r: the power.
    """
    from scipy.optimize import minimize

    total = weight.sum()
    if r == 1 and target.is_distribution and ((y == 0) | (y == 1)).all():
        # the mean of distributions is one, so only what each gives to the true class matters
        stack = np.take_along_axis(stack, y.argmax(axis=1)[None, :, None], axis=2)
        y = np.ones((len(y), 1), dtype=np.float32)
        target = dataclasses.replace(target, kind="multi", classes=("true",))
    heldout = list(_terms(stack, r))

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w = softmax(theta)
        value, slope = 0.0, np.zeros(len(w))
        for start in range(0, len(y), ROWS):
            part = slice(start, start + ROWS)
            v, s = _power_loss(target, (heldout[0][:, part], heldout[1][part]), y[part], weight[part], w=w, r=r)
            value, slope = value + v, slope + s
        slope /= total
        return value / total, w * (slope - w @ slope)

    found = minimize(loss, np.zeros(len(stack)), jac=True, method="L-BFGS-B", options={"maxiter": 100, "ftol": 1e-8, "gtol": 1e-6})
    heldout.clear()  # scipy keeps its function in a cycle of references; the table must not wait for it
    return softmax(found.x)


def is_plain(r: float) -> bool:
    """Return whether powers r of probabilities, and roots of their means, can be taken in single precision."""
    return r == 0 or 0.1 <= abs(r) <= 2


def peaked(p: np.ndarray, r: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the member that counts most in a power mean (n, K), and all as a multiple of it (M, n, K) float64.

    Powers of the multiples lie in [0, 1], however large r is, where those of probabilities leave the range of numbers.

    Args:
        p: (M, n, K), above 0 for r below 0.
        r: not 0.
    """
    peak = (p.max(axis=0) if r > 0 else p.min(axis=0)).astype(np.float64)
    return peak, p / np.where(peak > 0, peak, 1.0)


def _terms(stack: np.ndarray, r: float) -> tuple[np.ndarray, np.ndarray]:
    """Return p^r (of multiples of the peak, see :func:`peaked`), or log p for r = 0 (M, n, K) float32, and the peak's logarithm (n, K)."""
    safe = np.maximum(stack, TINY)
    none = np.zeros((1, 1))
    if r in (0, 1):
        return np.log(safe) if r == 0 else safe, np.broadcast_to(none, safe.shape[1:])
    if is_plain(r):
        return safe ** np.float32(r), np.broadcast_to(none, safe.shape[1:])
    peak, ratio = peaked(safe, r)
    return ratio**r, np.log(peak)


def _power_loss(
    target: Target, held: tuple[np.ndarray, np.ndarray], y: np.ndarray, weight: np.ndarray, *, w: np.ndarray, r: float
) -> tuple[float, np.ndarray]:
    """Return the summed log-loss of some rows and its derivative by w.

    With s = Σ w·t (t = p^r) and q = s^(1/r): d log q/dw_m = t_m/(r·s), whatever the terms were divided by; for r = 0, log q = Σ w·t and
    d log q/dw_m = t_m.
    """
    terms, peak = held
    s = np.tensordot(w.astype(terms.dtype), terms, axes=1).astype(np.float64)
    log_q = s if r == 0 else np.log(np.maximum(s, 1e-300)) / r + peak
    if target.is_distribution:
        top = log_q.max(axis=1, keepdims=True)
        norm = top + np.log(np.exp(log_q - top).sum(axis=1, keepdims=True))
        value = (weight[:, None] * y * (norm - log_q)).sum()
        by_log_q = weight[:, None] * (np.exp(log_q - norm) * y.sum(axis=1, keepdims=True) - y)
    else:
        log_q = np.minimum(log_q, -TINY)
        miss = -np.expm1(log_q)
        value = -(weight[:, None] * (y * log_q + (1 - y) * np.log(miss))).sum()
        by_log_q = weight[:, None] * ((1 - y) * np.exp(log_q) / miss - y)
    outer = by_log_q if r == 0 else by_log_q / (r * s)
    return float(value), np.array([np.vdot(t, outer.astype(t.dtype)) for t in terms], dtype=np.float64)


def _moves(w: np.ndarray, share: float) -> list[np.ndarray]:
    """Return the weights moved towards each member, and away from each that has some."""
    out = []
    for m in range(len(w)):
        more = (1 - share) * w
        more[m] += share
        out.append(more)
        if 0 < w[m] < 1:
            less = w.copy()
            less[m] = max(0.0, w[m] - share)
            out.append(less / less.sum())
    return out
