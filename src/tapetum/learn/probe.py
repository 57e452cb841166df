"""The probe: a linear head fitted in seconds on stored vectors. It is the baseline of every report and the start of fine-tuning.

Vectors are divided by their length. A row with several views counts by the mean of its views' unit vectors, which for a linear head is the
mean of the views' logits. Side numbers of a row, scaled on the training rows, are beside the unit vector. The fit is convex and exact:
softmax regression (single, ordinal), one logistic regression a class (multi), cumulative thresholds on one score (ordinal with a CORAL
head), ridge (regression); ``strength`` is scikit-learn's C, chosen by inner folds that cut no group. For a multi target the inner folds
also choose between logistic regression and least squares with Platt scaling: docs/decisions/016-least-squares-for-many-labels.md.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tapetum.core import draws, folds
from tapetum.core.errors import DataError, UserError
from tapetum.core.targets import Target
from tapetum.learn import linear
from tapetum.learn.models.backbone import tensors_from_bytes, tensors_to_bytes
from tapetum.learn.models.heads import cumulative_to_classes

Form = Literal["softmax", "sigmoid", "cumulative", "value"]
Fit = Literal["likelihood", "least_squares"]
STRENGTHS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5)
INNER = 5  # folds that choose the strength; fewer where there are fewer groups
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
        fit: ``likelihood`` or ``least_squares``, what the weights minimise.
    """

    target: Target
    form: Form
    weight: np.ndarray
    bias: np.ndarray
    scale: float
    strength: float
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    side: int = 0
    fit: Fit = "likelihood"

    @property
    def of_images(self) -> np.ndarray:
        """The part of the weights that is for images, (K, D)."""
        return self.weight[:, : self.weight.shape[1] - self.side]

    def logits(self, vectors: np.ndarray, side: np.ndarray | None = None) -> np.ndarray:
        """Return (N, K) (cumulative: K-1) for vectors (N, D) or (N, V, D) and side numbers (N, S)."""
        if (0 if side is None else side.shape[1]) != self.side:
            raise UserError(f"the probe was given {0 if side is None else side.shape[1]} side numbers", need=f"{self.side}")
        out = unit(vectors) @ (self.of_images.T * np.float32(self.scale)) + self.bias
        return out if side is None else out + side @ self.weight[:, -self.side :].T

    def predict(self, vectors: np.ndarray, side: np.ndarray | None = None) -> np.ndarray:
        """Return probabilities, or the value of a regression, (N, K) float32; NaN rows where the vectors are."""
        return _answers(self.form, torch.from_numpy(self.logits(vectors, side).astype(np.float32))).numpy()

    def start(self, head: Any) -> None:
        """Put the weights into a network's head, which then answers as the probe does."""
        head.start_from(torch.from_numpy(self.weight), torch.from_numpy(self.bias))

    def to_bytes(self) -> bytes:
        """Return a safetensors file; what is no tensor is beside the weights as JSON bytes."""
        about: dict[str, Any] = {"target": self.target.to_dict(), "form": self.form, "scale": self.scale, "strength": self.strength}
        about |= {"scores": self.scores, "side": self.side, "fit": self.fit}
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


@dataclasses.dataclass(frozen=True)
class Fitting:
    """How a probe is fitted.

    Args:
        strengths: inverse regularisations C to choose from; one alone is taken as it is, for the likelihood.
        head: ``coral`` fits cumulative thresholds for an ordinal target.
        fit: ``least_squares`` is for multi targets; ``auto`` takes there what answers better on inner folds.
        last: how many numbers at the end of a vector are the last level's, where the vector is over several levels; inner folds then choose
            between all levels and the last alone, whose head has zeros for the others.
        seed: of the inner folds, which choose the strength.
    """

    strengths: Sequence[float] = STRENGTHS
    head: str = "linear"
    fit: Fit | Literal["auto"] = "auto"
    last: int | None = None
    seed: int = 0


def fit_probe(
    vectors: np.ndarray,
    truth: np.ndarray,
    target: Target,
    groups: np.ndarray,
    *,
    side: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    how: Fitting | None = None,
) -> ProbeHead:
    """Fit the probe of one target.

    Args:
        vectors: (N, D) or (N, V, D); NaN rows are left out.
        truth: (N, K), soft or hard; NaN rows are left out.
        target: kind and classes.
        groups: (N,), for the inner folds.
        side: (N, S) side numbers, scaled on these rows; None where there are none.
        weight: (N,), 1 for all if None; rows of weight 0 are left out.
        how: what is chosen from, and by which inner folds.

    Returns:
        The probe, refitted on all usable rows with the strength chosen.

    Raises:
        DataError: no row has both a vector and a truth.
        UserError: strengths that are none or not above 0; least squares for a target that is not multi, or with nothing to choose by.
    """
    how = how or Fitting()
    z, numbers = unit(vectors), vectors.shape[-1]
    z = z if side is None else np.concatenate([z, side.astype(np.float32)], axis=1)
    known = ~(np.isnan(z).any(axis=1) | np.isnan(truth).any(axis=1))
    rows = np.flatnonzero(known if weight is None else known & (np.asarray(weight) > 0))
    if not len(rows):
        raise DataError(f"no image has both a vector and a known {target.name!r}", need="two rows or more with a label")
    if not len(how.strengths) or min(how.strengths) <= 0:
        raise UserError(f"probe.strengths is {list(how.strengths)}", need="one or more numbers above 0")
    form = _form(target, how.head)
    weights = np.ones(len(rows)) if weight is None else np.asarray(weight, dtype=np.float64)[rows]
    candidates: list[tuple[np.ndarray, _Problem, _Way]] = []
    scores: dict[str, float] = {}
    parts = {"": 0} if how.last is None else {"": 0, "last level ": numbers - how.last}  # name → first of the numbers that are taken
    for named, first in parts.items():
        columns = np.arange(first, z.shape[1])
        problem = _Problem(form, z[np.ix_(rows, columns)], truth[rows].astype(np.float64), weights)
        ways = _ways(problem, target, np.asarray(groups)[rows], sorted(how.strengths), how.seed)
        candidates += [(columns, problem, way) for way in ways if how.fit in ("auto", way.fit)]
        scores |= {f"{named}{name}": loss for way in ways for name, loss in way.scores.items()}
    if not candidates:
        raise UserError(f"least squares for {target.name!r}", need="a multi target, two strengths and two groups, or another fit")
    columns, problem, best = min(candidates, key=lambda candidate: candidate[2].loss)
    found = problem.back(best.finish())
    scale = math.sqrt(numbers)
    w = np.zeros((len(found.weight), z.shape[1]))
    w[:, columns] = found.weight
    w[:, :numbers] /= scale
    side_numbers = z.shape[1] - numbers
    return ProbeHead(
        target, form, w.astype(np.float32), found.bias.astype(np.float32), scale, best.strength, scores, side_numbers, best.fit
    )


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

    def back(self, fit: linear.Fit) -> linear.Fit:
        """Return weights (K, D) and biases for the vectors as they were."""
        weight = fit.weight if self.basis is None else fit.weight @ self.basis.numpy()
        return linear.Fit(weight, fit.bias - weight @ self.centre.numpy())

    def fit(self, strength: float, rows: np.ndarray | None = None, start: linear.Fit | None = None, *, roughly: bool = False) -> linear.Fit:
        """Fit on some rows (all if None); roughly where only its loss on other rows is wanted."""
        if self.form == "value":
            return linear.ridge(self.moments(rows), strength)
        at = slice(None) if rows is None else torch.from_numpy(rows)
        z, y, w = self.z[at], self.y[at], self.weight[at]
        if self.form == "cumulative":
            return linear.logistic(z, _above(y), w, strength, linear.Descent(start, roughly, shared=True))
        if self.form == "sigmoid":
            return linear.logistic(z, y, w, strength, linear.Descent(start, roughly))
        return linear.softmax(z, y, w, strength, linear.Descent(start, roughly))

    def moments(self, rows: np.ndarray | None = None) -> linear.Moments:
        """Return what least squares need of some rows (all if None)."""
        at = slice(None) if rows is None else torch.from_numpy(rows)
        return linear.Moments.of(self.z[at], self.y[at], self.weight[at])

    def loss(self, fit: linear.Fit, rows: np.ndarray) -> float:
        """Return the mean loss of some rows: −log p (each class's, multi), or the squared error."""
        at = torch.from_numpy(rows)
        return self.loss_of(fit.logits(self.z[at]), rows)

    def loss_of(self, logits: Tensor, rows: np.ndarray) -> float:
        """Return the mean loss of logits (n, K) of some rows."""
        at = torch.from_numpy(rows)
        y, w = self.y[at].double(), self.weight[at].double()
        if self.form == "value":
            each = (logits - y).square().mean(dim=1)
        elif self.form == "sigmoid":
            each = F.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(dim=1)
        else:
            each = -(y * _answers(self.form, logits).clamp_min(1e-12).log()).sum(dim=1)
        return float((each * w).sum() / w.sum())


@dataclasses.dataclass(frozen=True)
class _Way:
    """One way to fit the head, with its best strength.

    Args:
        fit: its name.
        strength: C.
        loss: mean over the inner folds.
        scores: name and strength → that loss, for the record.
        finish: fits all rows so.
    """

    fit: Fit
    strength: float
    loss: float
    scores: dict[str, float]
    finish: Callable[[], linear.Fit]


def _ways(problem: _Problem, target: Target, groups: np.ndarray, strengths: Sequence[float], seed: int) -> list[_Way]:
    """Return the ways to fit a target's head, each judged on inner folds; one where nothing is to choose or no rows can be held out."""
    rows = np.arange(len(groups))
    if len(rows) > MANY:
        rows = np.sort(draws.generator(seed, "probe", len(groups)).choice(len(groups), MANY, replace=False))
    count = min(INNER if len(rows) < MANY else 3, folds.count_groups(groups[rows]))
    if count < 2 or len(strengths) < 2:
        first = float(strengths[0])
        return [_Way("likelihood", first, 0.0, {}, lambda: problem.fit(first))]
    fold = folds.assign({target.name: problem.y[rows].double().numpy()}, [target], groups[rows], count, seed)
    heldout = [np.flatnonzero(fold == k) for k in range(count)]
    ways = [_likelihood(problem, rows, heldout, strengths)]
    return [*ways, _least_squares(problem, rows, heldout, strengths)] if problem.form == "sigmoid" else ways


def _likelihood(problem: _Problem, rows: np.ndarray, heldout: list[np.ndarray], strengths: Sequence[float]) -> _Way:
    """Judge the fits of the form's own loss."""
    found: dict[float, float] = {}
    starts: list[linear.Fit | None] = [None] * len(heldout)
    for strength in strengths:  # weaker and weaker regularisation, each fit going on from the one before
        total = 0.0
        for k, rows_out in enumerate(heldout):
            starts[k] = fit = problem.fit(strength, np.delete(rows, rows_out), starts[k], roughly=True)
            total += problem.loss(fit, rows[rows_out]) * len(rows_out)
        found[strength] = total / len(rows)
        if found[strength] > WORSE * min(found.values()):
            break  # past the best one: still weaker ones over-fit more, and take by far the longest
    best = min(found, key=lambda s: found[s])
    return _Way("likelihood", best, found[best], {f"{s:g}": v for s, v in found.items()}, lambda: problem.fit(best))


def _least_squares(problem: _Problem, rows: np.ndarray, heldout: list[np.ndarray], strengths: Sequence[float]) -> _Way:
    """Judge least squares on 0 and 1, their scores of held-out rows made probabilities by Platt scaling."""
    y, w = problem.y[rows], problem.weight[rows]
    scores = {strength: torch.zeros(y.shape, dtype=torch.float64) for strength in strengths}
    for rows_out in heldout:
        moments = problem.moments(np.delete(rows, rows_out))  # one at a time: D² numbers
        for strength in strengths:
            scores[strength][rows_out] = linear.ridge(moments, strength).logits(problem.z[rows[rows_out]])
    found: dict[float, tuple[float, np.ndarray, np.ndarray]] = {}
    for strength, of_held in scores.items():
        slope, bias = linear.platt(of_held, y, w)
        found[strength] = problem.loss_of(of_held * torch.from_numpy(slope) + torch.from_numpy(bias), rows), slope, bias
    best = min(found, key=lambda s: found[s][0])
    loss, slope, bias = found[best]

    def finish() -> linear.Fit:
        plain = linear.ridge(problem.moments(), best)
        return linear.Fit(slope[:, None] * plain.weight, slope * plain.bias + bias)

    return _Way("least_squares", best, loss, {f"least_squares {s:g}": value[0] for s, value in found.items()}, finish)


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
