"""The probe: a linear head fitted in seconds on stored vectors. It is the baseline of every report and the start of fine-tuning.

Vectors are divided by their length. A row with several views counts by the mean of its views' unit vectors, which for a linear head is the
mean of the views' logits. Side numbers of a row, scaled on the training rows, stand beside the unit vector. The fit is convex and exact:
softmax regression (single, ordinal), one logistic regression a class (multi), cumulative thresholds on one score (ordinal with a CORAL
head), ridge (regression); ``strength`` is scikit-learn's C, chosen by inner folds that cut no group.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from tapetum.core import draws, folds
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import Target
from tapetum.learn.models.backbone import tensors_from_bytes, tensors_to_bytes
from tapetum.learn.models.heads import cumulative_to_classes

Form = Literal["softmax", "sigmoid", "cumulative", "value"]
STRENGTHS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
SMALL = 1_000_000  # numbers in a matrix below which one thread is the fastest
WORSE = 1.02  # a mean loss this many times the best one ends the search
MANY = 5_000  # rows on which the strength is chosen at most; the fit itself takes all


@dataclasses.dataclass(frozen=True)
class ProbeHead:
    """A fitted probe; its weights are those of a :class:`~tapetum.learn.models.heads.Linear` (or ``Coral``) head.

    Args:
        target: what it answers.
        form: how logits become answers.
        weight: (K, D + S) float32, for unit vectors times ``scale`` and side numbers beside them; cumulative: (1, D + S).
        bias: (K,) float32; cumulative: (K-1,), descending.
        scale: √D.
        strength: the C that the inner folds chose.
        scores: strength → mean loss of the inner folds, for the record.
        side: S, how many side numbers it takes.
    """

    target: Target
    form: Form
    weight: np.ndarray
    bias: np.ndarray
    scale: float
    strength: float
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    side: int = 0

    @property
    def of_pictures(self) -> np.ndarray:
        """The part of the weights that is for pictures, (K, D)."""
        return self.weight[:, : self.weight.shape[1] - self.side]

    def logits(self, vectors: np.ndarray, side: np.ndarray | None = None) -> np.ndarray:
        """Return (N, K) (cumulative: K-1) for vectors (N, D) or (N, V, D) and side numbers (N, S)."""
        if (0 if side is None else side.shape[1]) != self.side:
            raise UserError(f"the probe was given {0 if side is None else side.shape[1]} side numbers", need=f"{self.side}")
        out = unit(vectors) @ (self.of_pictures.T * np.float32(self.scale)) + self.bias
        return out if side is None else out + side @ self.weight[:, -self.side :].T

    def predict(self, vectors: np.ndarray, side: np.ndarray | None = None) -> np.ndarray:
        """Return probabilities, or the value of a regression, (N, K) float32; NaN rows where the vectors are."""
        return _answers(self.form, torch.from_numpy(self.logits(vectors, side).astype(np.float32))).numpy()

    def start(self, head: Any) -> None:
        """Put the weights into a network's head, which then answers as the probe does."""
        head.start_from(torch.from_numpy(self.weight), torch.from_numpy(self.bias))

    def to_bytes(self) -> bytes:
        """Return a safetensors file; what is no tensor stands beside the weights as JSON bytes."""
        about = {"target": self.target.to_dict(), "form": self.form, "scale": self.scale, "strength": self.strength}
        about |= {"scores": self.scores, "side": self.side}
        text = torch.frombuffer(bytearray(json.dumps(about).encode()), dtype=torch.uint8)
        return tensors_to_bytes({"weight": torch.from_numpy(self.weight), "bias": torch.from_numpy(self.bias), "about": text})

    @classmethod
    def from_bytes(cls, content: bytes) -> ProbeHead:
        """Read what :meth:`to_bytes` gave."""
        tensors = tensors_from_bytes(content)
        about = json.loads(tensors.pop("about").numpy().tobytes())
        target = Target.from_dict(about.pop("target"))
        return cls(target=target, weight=tensors["weight"].numpy(), bias=tensors["bias"].numpy(), **about)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1, and for several views (N, V, D) their mean (N, D); NaN stays NaN."""
    vectors = np.asarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=-1, keepdims=True))
    out = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return out.mean(axis=1) if out.ndim == 3 else out


def fit_probe(
    vectors: np.ndarray,
    truth: np.ndarray,
    target: Target,
    groups: np.ndarray,
    *,
    side: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    strengths: Sequence[float] = STRENGTHS,
    head: str = "linear",
    inner: int = 5,
    seed: int = 0,
) -> ProbeHead:
    """Fit the probe of one target.

    Args:
        vectors: (N, D) or (N, V, D); NaN rows are left out.
        truth: (N, K), soft or hard; NaN rows are left out.
        target: kind and classes.
        groups: (N,), for the inner folds.
        side: (N, S) side numbers, scaled on these rows; None where there are none.
        weight: (N,), 1 for all if None.
        strengths: inverse regularisations C to choose from.
        head: ``coral`` fits cumulative thresholds for an ordinal target.
        inner: folds that choose the strength; fewer where there are fewer groups.
        seed: of the inner folds.

    Returns:
        The probe, refitted on all usable rows with the strength chosen.

    Raises:
        DataError: no row has both a vector and a truth.
    """
    z, numbers = unit(vectors), vectors.shape[-1]
    z = z if side is None else np.concatenate([z, side.astype(np.float32)], axis=1)
    usable = ~(np.isnan(z).any(axis=1) | np.isnan(truth).any(axis=1))
    if not usable.any():
        raise DataError(f"no picture has both a vector and a known {target.name!r}", need="two rows or more with a label")
    if not len(strengths) or min(strengths) <= 0:
        raise UserError(f"probe.strengths is {list(strengths)}", need="one or more numbers above 0")
    form = _form(target, head)
    rows = np.flatnonzero(usable)
    weights = np.ones(len(rows)) if weight is None else np.asarray(weight, dtype=np.float64)[rows]
    problem = _Problem(form, z[rows], truth[rows].astype(np.float64), weights)
    scores = (
        _inner_scores(problem, target, np.asarray(groups)[rows], sorted(strengths), inner=inner, seed=seed) if len(strengths) > 1 else {}
    )
    strength = min(scores, key=lambda s: scores[s]) if scores else float(strengths[0])
    fitted = problem.fit(strength)
    scale = math.sqrt(numbers)
    whole = problem.back(fitted)
    w = np.concatenate([whole.weight[:, :numbers] / scale, whole.weight[:, numbers:]], axis=1).astype(np.float32)
    record = {f"{s:g}": v for s, v in scores.items()}
    return ProbeHead(target, form, w, whole.bias.astype(np.float32), scale, strength, record, z.shape[1] - numbers)


@dataclasses.dataclass(frozen=True)
class _Fit:
    weight: np.ndarray  # (K, r) for reduced vectors
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Descent:
    """Where L-BFGS begins, how far it goes, and whether all columns share one weight vector."""

    start: _Fit | None = None
    roughly: bool = False
    shared: bool = False

    def options(self, exact: bool) -> dict[str, Any]:
        """Return scipy's options; single precision cannot reach the finest tolerance."""
        if self.roughly:
            return {"maxiter": 100, "maxcor": 5, "gtol": 1e-4, "ftol": 1e-6}
        return {"maxiter": 1000 if exact else 300, "maxcor": 10, "gtol": 1e-6, "ftol": 1e-12 if exact else 1e-7}


class _Problem:
    """The convex problem on centred, reduced vectors.

    Taking the mean off changes nothing but the bias, which is not penalised, and lets L-BFGS arrive in fewer steps. With fewer rows than
    numbers, vectors are turned into the space that the rows span, which changes nothing either: a regularised solution lies in it.
    """

    def __init__(self, form: Form, z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> None:
        self.form = form
        full = torch.from_numpy(z).double()
        self.centre = full.mean(dim=0)
        full = full - self.centre
        self.basis: Tensor | None = None
        if len(full) < full.shape[1]:
            values, directions = torch.linalg.eigh(full @ full.T)
            kept = values > values[-1] * 1e-10
            self.basis = (directions[:, kept] / values[kept].sqrt()).T @ full  # (r, D), rows of length 1
            full = full @ self.basis.T
        self.z = full if full.numel() < 1e6 else full.float()
        self.y, self.weight = torch.from_numpy(y).to(self.z.dtype), torch.from_numpy(weight).to(self.z.dtype)

    def back(self, fit: _Fit) -> _Fit:
        """Return weights (K, D) and biases for the vectors as they were."""
        weight = fit.weight if self.basis is None else fit.weight @ self.basis.numpy()
        return _Fit(weight, fit.bias - weight @ self.centre.numpy())

    def fit(self, strength: float, rows: np.ndarray | None = None, start: _Fit | None = None, *, roughly: bool = False) -> _Fit:
        """Fit on some rows (all if None); roughly where only its loss on other rows is wanted."""
        at = slice(None) if rows is None else torch.from_numpy(rows)
        z, y, w = self.z[at], self.y[at], self.weight[at]
        if self.form == "value":
            return _ridge(z, y, w, strength)
        if self.form == "cumulative":
            return _logistic(z, _above(y), w, strength, _Descent(start, roughly, shared=True))
        if self.form == "sigmoid":
            return _logistic(z, y, w, strength, _Descent(start, roughly))
        return _softmax(z, y, w, strength, _Descent(start, roughly))

    def loss(self, fit: _Fit, rows: np.ndarray) -> float:
        """Return the mean loss of some rows: −log p (each class's, multi), or the squared error."""
        at = torch.from_numpy(rows)
        z, y, w = self.z[at].double(), self.y[at].double(), self.weight[at].double()
        logits = z @ torch.from_numpy(fit.weight).T + torch.from_numpy(fit.bias)
        if self.form == "value":
            each = (logits - y).square().mean(dim=1)
        elif self.form == "sigmoid":
            each = F.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(dim=1)
        else:
            each = -(y * _answers(self.form, logits).clamp_min(1e-12).log()).sum(dim=1)
        return float((each * w).sum() / w.sum())


def _inner_scores(
    problem: _Problem, target: Target, groups: np.ndarray, strengths: Sequence[float], *, inner: int, seed: int
) -> dict[float, float]:
    """Return strength → mean loss over inner folds; nothing where there are too few groups to hold any out."""
    rows = np.arange(len(groups))
    if len(rows) > MANY:
        rows = np.sort(draws.generator(seed, "probe", len(groups)).choice(len(groups), MANY, replace=False))
    count = min(inner if len(rows) < MANY else 3, len(np.unique(groups[rows])))
    if count < 2:
        return {}
    fold = folds.assign({target.name: problem.y[rows].double().numpy()}, [target], groups[rows], count, seed)
    found: dict[float, float] = {}
    starts: list[_Fit | None] = [None] * count
    for strength in strengths:  # weaker and weaker regularisation, each fit going on from the one before
        total = 0.0
        for k in range(count):
            starts[k] = fit = problem.fit(strength, rows[fold != k], starts[k], roughly=True)
            total += problem.loss(fit, rows[fold == k]) * float((fold == k).sum())
        found[strength] = total / len(rows)
        if found[strength] > WORSE * min(found.values()):
            break  # past the best one: still weaker ones over-fit more, and take by far the longest
    return found


def _softmax(z: Tensor, y: Tensor, w: Tensor, strength: float, how: _Descent) -> _Fit:
    """Softmax regression: strength · Σ w·CE + ½|W|². A class without rows gets a small constant share instead of minus infinity."""
    there = (y * w[:, None]).sum(dim=0) > 0
    own = y[:, there]

    def value(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        logits = z @ weight.T + bias
        share = torch.log_softmax(logits, dim=1)
        total = own.sum(dim=1, keepdim=True)
        return -(w * (own * share).sum(dim=1)).sum(), w[:, None] * (share.exp() * total - own)

    if how.start is not None:
        how = dataclasses.replace(how, start=_Fit(how.start.weight[there.numpy()], how.start.bias[there.numpy()]))
    found = _descend(z, int(there.sum()), value, strength, how)
    weight, bias = np.zeros((y.shape[1], z.shape[1])), np.zeros(y.shape[1])
    weight[there.numpy()], bias[there.numpy()] = found.weight, found.bias
    if not bool(there.all()):
        level = torch.logsumexp(z.double() @ torch.from_numpy(found.weight).T + torch.from_numpy(found.bias), dim=1).mean()
        bias[~there.numpy()] = float(level) + math.log(0.5 / (len(z) + 1))
    return _Fit(weight, bias)


def _logistic(z: Tensor, y: Tensor, w: Tensor, strength: float, how: _Descent) -> _Fit:
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
        how = dataclasses.replace(how, start=_Fit(how.start.weight if how.shared else how.start.weight[there], how.start.bias[there]))
    found = _descend(z, int(there.sum()), value, strength, how)
    bias = torch.logit((mass + 0.5) / (w.sum() + 1)).double().numpy()
    bias[there] = found.bias
    if how.shared:
        return _Fit(found.weight, np.minimum.accumulate(bias))
    weight = np.zeros((y.shape[1], z.shape[1]))
    weight[there] = found.weight
    return _Fit(weight, bias)


def _descend(z: Tensor, columns: int, value: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], strength: float, how: _Descent) -> _Fit:
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
    return _Fit(found[:size].reshape(rows, numbers), found[size:])


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Hold torch to some threads: on small matrices more of them only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ridge(z: Tensor, y: Tensor, w: Tensor, strength: float) -> _Fit:
    """Ridge on the standardised number: strength · Σ w·(error/σ)² + |W/σ|², solved exactly."""
    z, y, w = z.double(), y.double(), w.double()
    share = w / w.sum()
    centre, level = share @ z, share @ y
    inner = z - centre
    weighted = inner * w[:, None]
    system = weighted.T @ inner + torch.eye(z.shape[1], dtype=torch.float64) / strength
    weight = torch.linalg.solve(system, weighted.T @ (y - level)).T
    return _Fit(weight.numpy(), (level - weight @ centre).numpy())


def _above(y: Tensor) -> Tensor:
    """Return P(class > k) (N, K-1) of distributions (N, K)."""
    return y.flip(1).cumsum(dim=1).flip(1)[:, 1:].clamp(0, 1)


def _answers(form: Form, logits: Tensor) -> Tensor:
    if form == "value":
        return logits
    if form == "sigmoid":
        return torch.sigmoid(logits)
    return cumulative_to_classes(torch.sigmoid(logits)) if form == "cumulative" else torch.softmax(logits, dim=1)


def _form(target: Target, head: str) -> Form:
    if target.kind == "ordinal" and head == "coral":
        return "cumulative"
    forms: dict[str, Form] = {"single": "softmax", "ordinal": "softmax", "multi": "sigmoid", "regression": "value"}
    return forms[target.kind]
