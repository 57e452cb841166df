"""Losses: pure functions of logits and soft truths.

A loss gives one value a row (B,), or a scalar where it looks at the batch as a whole. What else it can use it names in its signature:
``classes`` (K,) weights of classes, ``rows`` (B,) weights of rows (batch-wise losses), ``kind`` of the target. Truths are distributions
or 0–1 values (B, K), never class numbers; unlabelled rows have been removed before.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tapetum.core.errors import UserError


def smooth(y: Tensor, amount: float, kind: str, over: str = "K") -> Tensor:
    """Return smoothed truths.

    Args:
        y: (B, K).
        amount: e. With ``over="K"`` the true class gets 1 − e + e/K; with ``"K-1"`` it gets 1 − e and each other e/(K−1), which is the
            standard with e' = eK/(K−1). A multi-label target is K questions of two classes.
        kind: of the target; numbers are not smoothed.
        over: ``"K"`` or ``"K-1"``.

    Source: Szegedy et al. 2016, arXiv 1512.00567.
    """
    if amount == 0 or kind == "regression":
        return y
    k = 2 if kind == "multi" else y.shape[1]
    e = amount * k / (k - 1) if over == "K-1" and k > 1 else amount
    return y * (1 - e) + e / k


def cross_entropy(logits: Tensor, y: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """Cross-entropy against a distribution, −Σ_k w_k y_k log p_k (B,)."""
    part = -y * F.log_softmax(logits.float(), dim=1)
    return (part if classes is None else part * classes).sum(1)


def focal_softmax(logits: Tensor, y: Tensor, *, gamma: float = 2.0, classes: Tensor | None = None) -> Tensor:
    """Focal loss of a distribution, −Σ_k w_k y_k (1 − p_k)^γ log p_k (B,).

    Source: Lin et al. 2017, arXiv 1708.02002, for one label among K.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    part = -y * (-torch.expm1(log_p)).clamp_min(0) ** gamma * log_p
    return (part if classes is None else part * classes).sum(1)


def arcface(logits: Tensor, y: Tensor, *, scale: float = 30.0, margin: float = 0.5) -> Tensor:
    """Cross-entropy after an angle is added to the true class (B,).

    Args:
        logits: cosines between vector and class centre (B, K), as the cosine head gives them.
        y: one class a row; mixing is refused for this loss. Smoothed truths keep their class.
        scale: s, by which cosines are multiplied.
        margin: m in radians.

    Source: Deng et al. 2019, arXiv 1801.07698; past π − m the margin goes on as a straight line, as in the authors' code.
    """
    cosine = logits.float().clamp(-1 + 1e-6, 1 - 1e-6)
    true = y.argmax(1, keepdim=True)
    c = cosine.gather(1, true)
    moved = c * math.cos(margin) - (1 - c * c).sqrt() * math.sin(margin)
    moved = torch.where(c > math.cos(math.pi - margin), moved, c - margin * math.sin(margin))
    return cross_entropy(scale * cosine.scatter(1, true, moved), y)


def bce(logits: Tensor, y: Tensor, *, over: str = "mean", classes: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of each label (B,).

    Args:
        logits: (B, K).
        y: (B, K) in [0, 1].
        over: ``mean`` or ``sum`` over the labels; the sum is K times as steep, so the rate changes with it.
        classes: weights (K,).
    """
    return _over(F.binary_cross_entropy_with_logits(logits.float(), y, reduction="none"), over, classes)


def focal(
    logits: Tensor, y: Tensor, *, gamma: float = 2.0, alpha: float | None = 0.25, over: str = "mean", classes: Tensor | None = None
) -> Tensor:
    """Focal loss of each label (B,).

    Args:
        logits: (B, K).
        y: (B, K) in [0, 1].
        gamma: how much sure answers are played down; 0 is binary cross-entropy.
        alpha: weight of positives, 1 − alpha of negatives; None or −1: off.
        over: ``mean`` or ``sum`` over the labels.
        classes: weights (K,).

    Source: Lin et al. 2017, arXiv 1708.02002; torchvision's ``sigmoid_focal_loss``.
    """
    from torchvision.ops import sigmoid_focal_loss

    part = sigmoid_focal_loss(logits.float(), y, alpha=-1 if alpha is None else alpha, gamma=gamma, reduction="none")
    return _over(part, over, classes)


def asymmetric(
    logits: Tensor,
    y: Tensor,
    *,
    gamma_neg: float = 4.0,
    gamma_pos: float = 1.0,
    clip: float = 0.05,
    over: str = "mean",
    classes: Tensor | None = None,
) -> Tensor:
    """Asymmetric loss of each label: negatives are focused harder, and those below ``clip`` are let go (B,).

    Args:
        logits: (B, K).
        y: (B, K) in [0, 1].
        gamma_neg: focus of negatives.
        gamma_pos: focus of positives.
        clip: probability by which negatives are shifted.
        over: ``mean`` or ``sum`` over the labels.
        classes: weights (K,).

    Source: Ridnik et al. 2021, arXiv 2009.14119; timm's ``AsymmetricLossMultiLabel``.
    """
    from timm.loss import AsymmetricLossMultiLabel

    part = AsymmetricLossMultiLabel(gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip, reduction="none")(logits, y)
    return _over(part, over, classes)


def lovasz(logits: Tensor, y: Tensor, *, hinge: str = "relu", rows: Tensor | None = None, classes: Tensor | None = None) -> Tensor:
    """Symmetric Lovász hinge: the convex surrogate of each class's Jaccard index over the batch, for it and for its complement ().

    Args:
        logits: (B, K); a batch of 16 or more, as the index is taken over it.
        y: (B, K) in [0, 1]; soft truths weigh by their value.
        hinge: ``relu``, the paper's, or ``elu`` (+1), which still moves rows beyond the margin.
        rows: weights (B,).
        classes: weights (K,).

    Source: Berman et al. 2018, arXiv 1705.08790, algorithm 1 and section 3.1.
    """
    if hinge not in ("relu", "elu"):
        raise UserError(f"loss 'lovasz' has hinge = {hinge!r}", need="'relu' or 'elu'")
    x = logits.float()
    weight = torch.ones_like(y) if rows is None else rows[:, None].expand_as(y)
    both = (_lovasz_hinge(x, y, weight, hinge) + _lovasz_hinge(-x, 1 - y, weight, hinge)) / 2
    return _mean(both, classes)


def soft_f1(logits: Tensor, y: Tensor, *, kind: str = "multi", rows: Tensor | None = None, classes: Tensor | None = None) -> Tensor:
    """1 − the mean over classes of F1 with probabilities in the place of counts ().

    Args:
        logits: (B, K).
        y: (B, K) in [0, 1].
        kind: ``multi`` takes a sigmoid of each logit, ``single`` the softmax.
        rows: weights (B,).
        classes: weights (K,).

    A class without positives in the batch counts with F1 = 0 as soon as it has any probability: batches should hold each class.
    """
    p = torch.softmax(logits.float(), 1) if kind == "single" else torch.sigmoid(logits.float())
    weight = 1.0 if rows is None else rows[:, None]
    hit = (weight * p * y).sum(0)
    both = (weight * p).sum(0) + (weight * y).sum(0)
    return _mean(1 - 2 * hit / both.clamp_min(1e-8), classes)


def hard_bce(logits: Tensor, y: Tensor, *, share: float = 0.3, rows: Tensor | None = None, classes: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of the hardest ``share`` of the batch in each class, averaged over classes ().

    Args:
        logits: (B, K).
        y: (B, K) in [0, 1].
        share: of the rows, at least one; 1 is plain binary cross-entropy.
        rows: weights (B,).
        classes: weights (K,).

    Source: Shrivastava et al. 2016, arXiv 1604.03540 (online hard examples), taken within each class.
    """
    part = F.binary_cross_entropy_with_logits(logits.float(), y, reduction="none")
    hardest = part.detach().topk(max(1, math.ceil(share * len(part) - 1e-9)), dim=0).indices
    weight = torch.ones_like(part) if rows is None else rows[:, None].expand_as(part)
    picked = weight.gather(0, hardest)
    return _mean((picked * part.gather(0, hardest)).sum(0) / picked.sum(0).clamp_min(1e-12), classes)


def coral(logits: Tensor, y: Tensor, *, classes: Tensor | None = None) -> Tensor:
    """Sum over the K − 1 borders of the binary cross-entropy of "the answer lies above" (B,).

    Args:
        logits: (B, K − 1), border k asks for class > k.
        y: a distribution over the K ordered classes (B, K).
        classes: weights (K,); a row weighs as its classes do.

    Source: Cao, Mirjalili, Raschka 2020, arXiv 1901.07884.
    """
    above = y.flip(1).cumsum(1).flip(1)[:, 1:]
    part = F.binary_cross_entropy_with_logits(logits.float(), above, reduction="none").sum(1)
    return part if classes is None else part * (y * classes).sum(1)


def mse(logits: Tensor, y: Tensor, *, unit: float | None = None) -> Tensor:
    """Squared error (B,), of values divided by ``unit`` (60 where 60 years should count as 1); None: as they are.

    In training, None is the deviation of the training rows, so that a number weighs beside other targets whatever its unit.
    """
    unit = unit or 1.0
    return (((logits.float() - y) / unit) ** 2).mean(1)


def huber(logits: Tensor, y: Tensor, *, delta: float = 1.0, unit: float | None = None) -> Tensor:
    """Huber's loss (B,): squared up to ``delta``, straight beyond it, of values divided by ``unit`` (None: as for :func:`mse`)."""
    unit = unit or 1.0
    return F.huber_loss(logits.float() / unit, y / unit, delta=delta, reduction="none").mean(1)


def _over(part: Tensor, over: str, classes: Tensor | None) -> Tensor:
    if over not in ("mean", "sum"):
        raise UserError(f"a loss has over = {over!r}", need="'mean' or 'sum'")
    part = part if classes is None else part * classes
    return part.mean(1) if over == "mean" else part.sum(1)


def _mean(by_class: Tensor, classes: Tensor | None) -> Tensor:
    return (by_class if classes is None else by_class * classes).mean()


def _lovasz_hinge(x: Tensor, y: Tensor, weight: Tensor, hinge: str) -> Tensor:
    """Return the Lovász hinge of each class (K,)."""
    error = 1 - x * (2 * y - 1)
    error, order = error.sort(dim=0, descending=True)
    w, truth = weight.gather(0, order), y.gather(0, order)
    positive = (w * truth).sum(0)
    left = positive - (w * truth).cumsum(0)
    union = positive + (w * (1 - truth)).cumsum(0)
    jaccard = 1 - left / union.clamp_min(1e-12)
    steps = torch.diff(jaccard, dim=0, prepend=torch.zeros_like(jaccard[:1]))
    return ((F.elu(error) + 1 if hinge == "elu" else F.relu(error)) * steps).sum(0)
