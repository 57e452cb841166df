"""What a score needs of the rows: a few columns, summed. A score is then a function of the sums alone.

Because sums over rows are sums over groups, a figure without one of the groups never looks at a row again: the group's sums are taken off
the total. Two layouts (the last axis; any axes may be before it):

* counts (3K + 2): rows right, rows of the truth and rows answered for each class; one more (squared rank error for ordered classes,
  whole answers right for several labels); the weight of all rows;
* means (C + 1): C terms times the weight; the weight of all rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from tapetum.core.errors import UserError
from tapetum.core.targets import Target
from tapetum.core.words import plural


@dataclasses.dataclass(frozen=True)
class ScoredRows:
    """The rows that can be scored: those with a truth and an answer.

    Args:
        target: kind and classes.
        p: (N, K) probabilities, or the value of a regression (N, 1).
        y: (N, K) truth.
        truth: class numbers (N,) for one class a row, bool (N, K) for several labels, values (N,) for a regression.
        answer: as ``truth``.
        weight: (N,) float64.
        weighted: False where every weight is 1.
        rows: numbers of these rows among those given.
    """

    target: Target
    p: np.ndarray
    y: np.ndarray
    truth: np.ndarray
    answer: np.ndarray
    weight: np.ndarray
    weighted: bool
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.truth)

    def where(self, rows: np.ndarray) -> ScoredRows:
        """Return some of the rows, by number or mask."""
        part = {name: getattr(self, name)[rows] for name in ("p", "y", "truth", "answer", "weight", "rows")}
        return dataclasses.replace(self, **part)


def select_scorable(
    target: Target, p: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, answer: np.ndarray | None = None
) -> ScoredRows:
    """Leave out rows whose truth or answer is unknown (NaN) and code the rest.

    Args:
        target: with its classes known.
        p: (N, K) probabilities, or values (N, 1).
        y: (N, K) truth.
        weight: (N,), not negative; None: all 1.
        answer: (N, K) decisions of 0 and 1; None: the largest p, or p ≥ ½ for several labels. Not used for a regression.

    Raises:
        UserError: shapes that do not fit, negative weights, or decisions that name no class or two for a single answer.
    """
    p, y = _matrix(target, p, "p"), _matrix(target, y, "y")
    if len(p) != len(y):
        raise UserError(
            f"target {target.name!r} has {plural(len(p), 'row')} of p and {len(y)} of y", need="the same rows in the same order"
        )
    known = ~(np.isnan(p).any(axis=1) | np.isnan(y).any(axis=1))
    if answer is not None and target.kind != "regression":
        answer = _matrix(target, answer, "decisions")
        if len(answer) != len(p):
            raise UserError(
                f"target {target.name!r} has {plural(len(p), 'row')} of p and {plural(len(answer), 'decision')}", need="the same rows"
            )
        known &= ~np.isnan(answer).any(axis=1)
    rows = np.flatnonzero(known)
    if len(rows) < len(p):
        p, y = p[rows], y[rows]
        answer = None if answer is None else answer[rows]
    weights = _weights(weight, known)[rows]
    truth, decided = _coded(target, p, y, answer)
    return ScoredRows(target, p, y, truth, decided, weights, bool((weights != 1).any()), rows)


def counts(kept: ScoredRows, codes: np.ndarray | None = None, groups: int = 1) -> np.ndarray:
    """Return the counts layout (groups, 3K + 2) of the rows of each group.

    Args:
        kept: single, ordinal or multi.
        codes: (N,) group numbers; None: one group.
        groups: how many there are.
    """
    k = kept.target.width
    codes = np.zeros(len(kept), dtype=np.int64) if codes is None else codes
    out = np.empty((groups, 3 * k + 2))
    out[:, -1] = np.bincount(codes, kept.weight, groups)
    if kept.target.kind == "multi":
        for c in range(k):
            truth, answer = kept.truth[:, c], kept.answer[:, c]
            for block, chosen in enumerate((truth & answer, truth, answer)):
                out[:, block * k + c] = np.bincount(codes[chosen], kept.weight[chosen], groups)
        extra = (kept.truth == kept.answer).all(axis=1).astype(np.float64)
    else:
        hit = kept.truth == kept.answer
        out[:, :k] = _spread(codes[hit], kept.truth[hit], kept.weight[hit], groups, k)
        out[:, k : 2 * k] = _spread(codes, kept.truth, kept.weight, groups, k)
        out[:, 2 * k : 3 * k] = _spread(codes, kept.answer, kept.weight, groups, k)
        extra = (kept.truth - kept.answer).astype(np.float64) ** 2
    out[:, -2] = np.bincount(codes, kept.weight * extra, groups)
    return out


def means(kept: ScoredRows, terms: Callable[[ScoredRows], np.ndarray], codes: np.ndarray | None = None, groups: int = 1) -> np.ndarray:
    """Return the means layout (groups, C + 1) of the rows of each group.

    Args:
        kept: any kind that ``terms`` takes.
        terms: rows → (N, C) float64.
        codes: (N,) group numbers; None: one group.
        groups: how many there are.
    """
    codes = np.zeros(len(kept), dtype=np.int64) if codes is None else codes
    values = np.concatenate([terms(kept), np.ones((len(kept), 1))], axis=1) * kept.weight[:, None]
    return np.stack([np.bincount(codes, column, groups) for column in values.T], axis=1)


def confusion(truth: np.ndarray, answer: np.ndarray, k: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Return the confusion matrix (k, k) float64, rows truth, columns answer.

    Args:
        truth: class numbers (N,).
        answer: class numbers (N,).
        k: the number of classes.
        weight: (N,); None: each row counts 1.
    """
    cells = np.asarray(truth, dtype=np.int64) * k + np.asarray(answer, dtype=np.int64)
    return np.bincount(cells, weight, k * k).astype(np.float64).reshape(k, k)


def alike(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find equal rows of a matrix (N, C).

    They are sorted by a hash of their bits, which is much faster than by the rows themselves; that no two different rows share a hash
    is checked.

    Returns:
        The first row of each type (T,), the type of each row (N,), and how many rows each type has (T,); types in an order that
        depends on the rows' values alone.
    """
    bits = np.ascontiguousarray(rows, dtype=np.float64).view(np.uint64)
    odd = np.asarray(np.random.default_rng(0).integers(1 << 63, size=bits.shape[1], dtype=np.uint64)) | np.uint64(1)
    mixed = np.zeros(len(bits), dtype=np.uint64)
    for c in range(bits.shape[1]):
        mixed += (bits[:, c] ^ (bits[:, c] >> np.uint64(32))) * odd[c]
    _, first, place, times = np.unique(mixed, return_index=True, return_inverse=True, return_counts=True)
    if any((column != column[first][place]).any() for column in rows.T):
        _, first, place, times = np.unique(rows, axis=0, return_index=True, return_inverse=True, return_counts=True)
    return first, place.reshape(-1), times


# -------------------------------------------------------------------------- scores of summed counts, NaN where undefined


def accuracy(s: np.ndarray, k: int) -> np.ndarray:
    """Return the share of right answers."""
    return ratio(s[..., :k].sum(axis=-1), s[..., -1])


def exact_match(s: np.ndarray, k: int) -> np.ndarray:
    """Return the share of rows whose whole set of labels is right."""
    return ratio(s[..., -2], s[..., -1])


def recalls(s: np.ndarray, k: int) -> np.ndarray:
    """Return each class's recall (…, K); 0 for a class without rows."""
    return np.nan_to_num(ratio(s[..., :k], s[..., k : 2 * k]))


def precisions(s: np.ndarray, k: int) -> np.ndarray:
    """Return each class's precision (…, K); 0 for a class never answered."""
    return np.nan_to_num(ratio(s[..., :k], s[..., 2 * k : 3 * k]))


def f1s(s: np.ndarray, k: int) -> np.ndarray:
    """Return each class's F1 (…, K); 0 for a class neither true nor answered."""
    return np.nan_to_num(ratio(2 * s[..., :k], s[..., k : 2 * k] + s[..., 2 * k : 3 * k]))


def balanced_accuracy(s: np.ndarray, k: int) -> np.ndarray:
    """Return the mean recall of the classes that have rows."""
    present = s[..., k : 2 * k] > 0
    return ratio((recalls(s, k) * present).sum(axis=-1), present.sum(axis=-1))


def macro_f1(s: np.ndarray, k: int) -> np.ndarray:
    """Return the mean F1 of all K classes, absent ones too."""
    return _where_rows(f1s(s, k).mean(axis=-1), s)


def micro_f1(s: np.ndarray, k: int) -> np.ndarray:
    """Return the F1 of all classes' counts together."""
    f1 = np.nan_to_num(ratio(2 * s[..., :k].sum(axis=-1), s[..., k : 3 * k].sum(axis=-1)))
    return _where_rows(f1, s)


def weighted_f1(s: np.ndarray, k: int) -> np.ndarray:
    """Return the mean F1 weighted by the classes' rows."""
    support = s[..., k : 2 * k]
    return _where_rows(np.nan_to_num(ratio((f1s(s, k) * support).sum(axis=-1), support.sum(axis=-1))), s)


def kappa(s: np.ndarray, k: int) -> np.ndarray:
    """Return Cohen's kappa; undefined where truth and answers are one and the same class."""
    n = s[..., -1]
    by_chance = ratio((s[..., k : 2 * k] * s[..., 2 * k : 3 * k]).sum(axis=-1), n * n)
    return ratio(accuracy(s, k) - by_chance, _zero_if_tiny(1 - by_chance))


def quadratic_kappa(s: np.ndarray, k: int) -> np.ndarray:
    """Return Cohen's kappa with squared rank distances as costs; undefined where truth and answers are one and the same class."""
    n, rank = s[..., -1], np.arange(k, dtype=np.float64)
    truth, answer = s[..., k : 2 * k], s[..., 2 * k : 3 * k]
    by_chance = ratio(truth @ rank**2 + answer @ rank**2 - 2 * ratio((truth @ rank) * (answer @ rank), n), n)
    return 1 - ratio(ratio(s[..., -2], n), _zero_if_tiny(by_chance))


def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return above / below, NaN where ``below`` is 0."""
    below = np.asarray(below, dtype=np.float64)
    defined = below != 0
    return np.where(defined, above / np.where(defined, below, 1.0), np.nan)


def _zero_if_tiny(value: np.ndarray) -> np.ndarray:
    """Return 0 where only rounding is left; for numbers of the order of 1."""
    return np.where(np.abs(value) < 1e-12, 0.0, value)


def _where_rows(value: np.ndarray, s: np.ndarray) -> np.ndarray:
    return np.where(s[..., -1] > 0, value, np.nan)


def _spread(codes: np.ndarray, classes: np.ndarray, weight: np.ndarray, groups: int, k: int) -> np.ndarray:
    return np.bincount(codes * k + classes, weight, groups * k).reshape(groups, k)


def _matrix(target: Target, values: np.ndarray, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim == 1 and target.width == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != target.width:
        raise UserError(f"{what} of target {target.name!r} has shape {values.shape}", need=f"(rows, {target.width})")
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _weights(weight: np.ndarray | None, known: np.ndarray) -> np.ndarray:
    if weight is None:
        return np.ones(len(known))
    weight = np.asarray(weight, dtype=np.float64)
    if weight.shape != known.shape:
        raise UserError(f"there are {plural(len(known), 'row')} and weights of shape {weight.shape}", need="one weight a row")
    if not (weight[known] >= 0).all():
        raise UserError("a row's weight is negative or not a number", need="weights of 0 or more")
    return weight


def _coded(target: Target, p: np.ndarray, y: np.ndarray, answer: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    if target.kind == "regression":
        return y[:, 0].astype(np.float64), p[:, 0].astype(np.float64)
    if target.kind == "multi":
        return y >= 0.5, (p if answer is None else answer) >= 0.5
    if answer is not None and not (np.count_nonzero(answer > 0.5, axis=1) == 1).all():
        raise UserError(f"decisions for target {target.name!r} name no class or several in a row", need="one 1 a row")
    return y.argmax(axis=1), (p if answer is None else answer).argmax(axis=1)
