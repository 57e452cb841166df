"""What training minimises: each target's loss over the rows whose truth is known, summed over targets."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tapetum.core import config
from tapetum.core.choices import pick
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.learn.choices import LOSSES
from tapetum.learn.training import losses
from tapetum.learn.training.checks import check_loss, loss_of, parse_loss

_Term = tuple[float, functools.partial[Tensor], frozenset[str]]


class Objective(nn.Module):
    """Callable ``(logits, y, weight) -> scalar``; owns the learned weights between targets, if there are any.

    Args:
        loss: the recipe's section.
        targets: those that have a head.
        counts: target → training rows of each class (K,), for balanced weights and logit adjustment (a bordered number: of each of its
            classes); only needed for those.
        spreads: number → its deviation over the training rows, the unit of its loss where the recipe sets none.

    Raises:
        UserError: a loss that cannot serve a target's kind, and whatever else :func:`checks.check_loss` refuses.
    """

    def __init__(
        self,
        loss: config.Loss,
        targets: Sequence[Target],
        counts: Mapping[str, np.ndarray] | None = None,
        spreads: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.remarks = check_loss(loss, targets)
        self.loss, self.targets, self.spreads = loss, {t.name: t for t in targets}, dict(spreads or {})
        self.terms = {t.name: [self._loaded(share, name, t) for share, name in parse_loss(loss_of(loss, t))] for t in targets}
        self.shares = {t.name: loss.weights.get(t.name, 1.0) if isinstance(loss.weights, dict) else 1.0 for t in targets}
        learned = loss.weights == "learned"
        self.log_variance = nn.ParameterList([nn.Parameter(torch.zeros(())) for _ in targets] if learned else [])
        self.tables = nn.ModuleList([_Tables(loss, t, counts or {}) for t in targets])

    def forward(
        self,
        logits: Mapping[str, Tensor],
        y: Mapping[str, Tensor],
        weight: Tensor | None = None,
        whole: tuple[Mapping[str, Tensor], Tensor | None] | None = None,
    ) -> Tensor:
        """Return the scalar to minimise.

        Args:
            logits: target → (B, K'), K' = K − 1 for CORAL; (B, L, K') where every step of a window is answered, then all steps are rows.
            y: target → (B, K) or (B, L, K) truths, a row with NaN is unknown and left out of its target's mean.
            weight: of the rows (B,) or (B, L); None: all alike.
            whole: truths and weights of the batch that these rows are a piece of: the values of the pieces then add up to the batch's
                (for losses that are means over rows).

        Returns:
            Σ_t share_t · L_t; with learned weights Σ_t c·exp(−s_t)·L_t + s_t/2, c = ½ for numbers (Kendall et al. 2018, arXiv
            1705.07115). A target without a known row gives 0.
        """
        logits, y, weight = _as_rows(logits), _as_rows(y), None if weight is None else weight.flatten()
        whole = None if whole is None else (_as_rows(whole[0]), None if whole[1] is None else whole[1].flatten())
        parts = self.by_target(logits, y, weight)
        rows = 1.0
        if whole is not None:
            rows = len(next(iter(y.values()))) / len(next(iter(whole[0].values())))
            tables = dict(zip(self.targets, self.tables, strict=True))
            masses = {n: (self._mass(n, tables[n], y[n], weight), self._mass(n, tables[n], whole[0][n], whole[1])) for n in parts}
            parts = {name: part * (masses[name][0] / masses[name][1].clamp(min=1e-12)) for name, part in parts.items()}
        total = torch.zeros((), device=next(iter(logits.values())).device)
        for i, (name, part) in enumerate(parts.items()):
            if len(self.log_variance):
                s = self.log_variance[i]
                half = 0.5 if self.targets[name].kind == "regression" else 1.0
                total = total + half * torch.exp(-s) * part + rows * s / 2
            else:
                total = total + self.shares[name] * part
        return total

    def by_target(self, logits: Mapping[str, Tensor], y: Mapping[str, Tensor], weight: Tensor | None = None) -> dict[str, Tensor]:
        """Return each target's own loss, before the weights between targets; arguments as in :meth:`forward`."""
        tables = zip(self.targets.values(), self.tables, strict=True)
        return {target.name: self._one(target, table, logits[target.name], y[target.name], weight) for target, table in tables}

    def _mass(self, name: str, tables: Any, y: Tensor, weight: Tensor | None) -> Tensor:
        """Return what a target's rows weigh together: the denominator of its mean."""
        known, rows = _rows(self.targets[name], tables, y, weight)
        return rows[known].sum()

    def _one(self, target: Target, tables: Any, x: Tensor, y: Tensor, weight: Tensor | None) -> Tensor:
        _check_truth(target, x, y)
        known, rows = _rows(target, tables, y, weight)
        if not bool(known.any()):
            return x.sum() * 0.0  # keeps the graph, so that every rank has the same gradients to exchange
        x, y, rows = x[known], y[known], rows[known]
        y = y if target.is_identity else losses.smooth(y, self.loss.smoothing, target.kind, self.loss.smoothing_over)
        if tables.adjustment is not None:
            x = x + tables.adjustment
        total = x.new_zeros((), dtype=torch.float32)
        has = {"classes": tables.classes, "rows": rows, "kind": target.kind}
        for share, function, takes in self._terms(target, x):
            value = function(x, y, **{key: has[key] for key in takes})
            total = total + share * (value if value.ndim == 0 else (rows * value).sum() / rows.sum())
        return total

    def _loaded(self, share: float, name: str, target: Target) -> _Term:
        share, function, takes = _loaded(share, name, self.loss, target)
        wants_unit = target.kind == "regression" and function.keywords.get("unit", 1.0) is None
        return share, functools.partial(function, unit=self.spreads.get(target.name)) if wants_unit else function, takes

    def _terms(self, target: Target, x: Tensor) -> list[_Term]:
        """Return the target's terms; an ordinal one that names no loss takes what fits its head: softmax (K) or borders (K − 1)."""
        if target.kind == "ordinal" and x.shape[1] == target.width and loss_of(self.loss, target, default="") == "":
            return [(1.0, functools.partial(losses.cross_entropy), frozenset({"classes"}))]
        return self.terms[target.name]


def _rows(target: Target, tables: Any, y: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return which rows count (B,) bool and what each weighs (B,)."""
    known = ~torch.isnan(y).any(1)
    if weight is not None:
        known = known & (weight > 0)
    rows = torch.ones(len(y), device=y.device) if weight is None else weight.float()
    if target.kind == "regression" and tables.classes is not None:
        rows = rows * tables.classes[torch.bucketize(y[:, 0].nan_to_num().contiguous(), tables.borders, right=True)]
    return known, rows


class _Tables(nn.Module):
    """Numbers of one target that must move with the device: class weights, borders, logit adjustment."""

    classes: Tensor | None
    borders: Tensor | None
    adjustment: Tensor | None

    def __init__(self, loss: config.Loss, target: Target, counts: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        unweighted = target.is_identity or (target.kind == "regression" and not target.borders)
        classes: np.ndarray | None = None
        if loss.class_weights == "balanced" and not unweighted:
            classes = balanced(_counts(target, counts, "loss.class_weights = 'balanced'"))
        elif not isinstance(loss.class_weights, str) and not unweighted:
            classes = np.asarray(loss.class_weights)
        adjustment: np.ndarray | None = None
        if loss.logit_adjust and target.kind == "single" and not target.is_identity:
            n = _counts(target, counts, "loss.logit_adjust")
            adjustment = loss.logit_adjust * np.log(np.maximum(n, 0.5) / n.sum())
        borders = np.asarray(target.borders) if target.kind == "regression" else None
        for name, value in (("classes", classes), ("borders", borders), ("adjustment", adjustment)):
            self.register_buffer(name, None if value is None else torch.tensor(value, dtype=torch.float32), persistent=False)


def _as_rows(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.flatten(0, -2) if value.ndim > 2 else value for name, value in values.items()}


def balanced(counts: np.ndarray) -> np.ndarray:
    """Return N / (K · n_k): every class weighs the same in sum and a row weighs 1 in the mean; an absent class gets 0."""
    counts = np.asarray(counts, dtype=np.float64)
    return np.divide(counts.sum(), (counts > 0).sum() * counts, out=np.zeros_like(counts), where=counts > 0)


def counts_of(targets: Sequence[Target], truths: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return target → training rows of each class (K,), as :class:`Objective` takes them.

    Args:
        targets: with their classes known.
        truths: target → (N, K) of the training fold; rows of NaN are left out.
    """
    found: dict[str, np.ndarray] = {}
    for target in targets:
        y = truths[target.name]
        y = y[~np.isnan(y).any(axis=1)]
        if target.kind != "regression":
            found[target.name] = y.sum(axis=0)
        elif target.borders:
            found[target.name] = np.bincount(np.digitize(y[:, 0], target.borders), minlength=len(target.borders) + 1)
    return found


def spreads_of(targets: Sequence[Target], truths: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return number → the deviation of its known truths (N, 1); those that never vary are left out."""
    spread = {t.name: float(np.nanstd(truths[t.name])) for t in targets if t.kind == "regression" and not np.isnan(truths[t.name]).all()}
    return {name: value for name, value in spread.items() if value > 0}


def _counts(target: Target, counts: Mapping[str, np.ndarray], what: str) -> np.ndarray:
    if target.name not in counts:
        raise DataError(f"{what} needs the class counts of {target.name!r}", need="counts of the training fold")
    n = np.asarray(counts[target.name], dtype=np.float64)
    if n.sum() == 0:
        raise DataError(f"{what}: no training row has a known {target.name!r}")
    return n


def _loaded(share: float, name: str, loss: config.Loss, target: Target) -> _Term:
    """Return a term: its share, the loss with its options bound, and what else of ``classes``, ``rows`` and ``kind`` it takes."""
    choice, options = pick({"name": name, **loss.options.get(name, {})}, LOSSES, "loss")
    function = choice.load()
    takes = frozenset(inspect.signature(function).parameters) & {"classes", "rows", "kind"}
    if loss.class_weights != "none" and target.kind != "regression" and not target.is_identity and "classes" not in takes:
        raise UserError(f"loss {name!r} cannot take class weights", fix="set loss.class_weights = 'none', or another loss")
    return share, functools.partial(function, **options), takes


def _check_truth(target: Target, x: Tensor, y: Tensor) -> None:
    if not y.is_floating_point() or y.ndim != 2:
        raise UserError(
            f"target {target.name!r} was given class numbers ({y.dtype}, shape {tuple(y.shape)})", need=f"soft labels (B, {target.width})"
        )
    right = {target.width, target.width - 1} if target.kind == "ordinal" else {target.width}
    if y.shape[1] != target.width or x.shape[1] not in right:
        raise UserError(
            f"target {target.name!r}: the head gives {plural(x.shape[1], 'value')} and the labels have {y.shape[1]}",
            need=f"{listed(sorted(right))} and {target.width}",
        )
