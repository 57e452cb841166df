"""Scores: one table of them, equal to scikit-learn's with all K classes named and zero_division 0.

Rows without a truth or an answer are left out; how many, the caller counts. A score that the rows cannot define is None, never 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tapetum.core import counts, ranking
from tapetum.core.counts import ScoredRows, confusion, select_scorable
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.targets import Target

__all__ = [
    "METRICS",
    "Metric",
    "confusion",
    "default_metric",
    "named",
    "parse",
    "per_class",
    "score",
    "scores",
    "select_scorable",
    "suiting",
]


CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Metric:
    """One score.

    Args:
        name: as recipes and tables call it.
        kinds: the kinds of target that it can score.
        greater_is_better: False for errors and losses.
        of: what it is worked out from: groups' ``counts`` or ``sums``, or all ``rows``.
        value: counts and sums: the summed layout of :mod:`tapetum.core.counts` and K → the score, NaN where undefined.
        terms: sums only: rows → the columns (N, C) to be summed.
        aside: kinds for which it is computed only when it is asked for by name (it sorts every class).
        limits: the least and the largest value it can have; they give the scale of its interval.
        title: how reports call it; empty: ``name`` with blanks.
        share: it is a mean of 0 and 1 over the rows, for which Wilson's interval holds.
    """

    name: str
    kinds: tuple[str, ...]
    greater_is_better: bool
    of: Literal["counts", "sums", "rows"]
    value: Callable[[np.ndarray, int], np.ndarray] | None = None
    terms: Callable[[ScoredRows], np.ndarray] | None = None
    aside: tuple[str, ...] = ()
    limits: tuple[float, float] = (0.0, 1.0)
    title: str = ""
    share: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.name.replace("_", " "))

    @property
    def sign(self) -> float:
        """1, or −1 for errors and losses: times it, the greater value is the better one."""
        return 1.0 if self.greater_is_better else -1.0

    @property
    def sees_decisions_alone(self) -> bool:
        """Whether two answers with the same decisions have the same score, whatever their probabilities."""
        return self.of == "counts" or self.terms is absolute_errors

    def sums(self, kept: ScoredRows, codes: np.ndarray | None = None, groups: int = 1) -> np.ndarray:
        """Return the sums of each group (groups, S) from which :attr:`value` is computed; not for ``rows``."""
        if self.terms is None:
            return counts.counts(kept, codes, groups)
        return counts.means(kept, self.terms, codes, groups)

    def __call__(self, kept: ScoredRows) -> float | None:
        """Return the score of the rows; None where it is not defined."""
        if not len(kept):
            return None
        if self.value is None:
            values = ranking.macro([ranked(kept.weight) for ranked in ranking.rankers(self.name, kept)])
        else:
            values = self.value(self.sums(kept)[0], kept.target.width)
        return plain(values)


def log_losses(kept: ScoredRows) -> np.ndarray:
    """Return each row's log-loss (N, 1), for several labels the mean over them; p is clipped by its dtype's epsilon."""
    eps, multi = np.finfo(kept.p.dtype).eps, kept.target.kind == "multi"

    def losses(p: np.ndarray, y: np.ndarray) -> np.ndarray:
        p = np.clip(p, eps, 1 - eps).astype(np.float64)
        if multi:
            return -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p), axis=1, keepdims=True)
        return -np.sum(y * np.log(p), axis=1, keepdims=True)

    return _in_chunks(losses, kept)


def brier_terms(kept: ScoredRows) -> np.ndarray:
    """Return each row's squared distance from the truth (N, 1): the sum over classes (0 to 2), for several labels the mean."""
    over = np.mean if kept.target.kind == "multi" else np.sum
    return _in_chunks(lambda p, y: over((p.astype(np.float64) - y) ** 2, axis=1, keepdims=True), kept)


def absolute_errors(kept: ScoredRows) -> np.ndarray:
    """Return |answer − truth| (N, 1): in ranks for ordered classes, in the target's unit for numbers."""
    return np.abs(kept.truth - kept.answer).astype(np.float64)[:, None]


def squared_errors(kept: ScoredRows) -> np.ndarray:
    """Return (answer − truth)², and the truth less its mean and the square of that (N, 3)."""
    centred = kept.truth - (kept.truth.mean() if len(kept) else 0.0)
    return np.stack([(kept.truth - kept.answer) ** 2, centred, centred**2], axis=1)


def _in_chunks(terms: Callable[[np.ndarray, np.ndarray], np.ndarray], kept: ScoredRows) -> np.ndarray:
    """Return the terms of p and y (float64), worked out on some rows at a time so that copies stay small beside the table."""
    starts = range(0, max(len(kept), 1), CHUNK)
    return np.concatenate([terms(kept.p[i : i + CHUNK], kept.y[i : i + CHUNK].astype(np.float64)) for i in starts])


def _mean(s: np.ndarray, k: int) -> np.ndarray:
    return counts.ratio(s[..., 0], s[..., -1])


def _root_mean(s: np.ndarray, k: int) -> np.ndarray:
    return np.sqrt(_mean(s, k))


def _r2(s: np.ndarray, k: int) -> np.ndarray:
    spread = s[..., 2] - counts.ratio(s[..., 1] ** 2, s[..., 3])
    spread = np.where(spread > 1e-12 * np.abs(s[..., 2]), spread, 0.0)  # a constant truth, up to rounding
    return 1 - counts.ratio(s[..., 0], spread)


ONE, CLASSES = ("single", "ordinal"), ("single", "ordinal", "multi")
ERROR, CORRELATION, EXPLAINED = (0.0, math.inf), (-1.0, 1.0), (-math.inf, 1.0)  # limits of scores that are no shares

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", ONE, True, "counts", counts.accuracy, share=True),
        Metric("balanced_accuracy", ONE, True, "counts", counts.balanced_accuracy),
        Metric("macro_f1", CLASSES, True, "counts", counts.macro_f1, title="macro F1"),
        Metric("micro_f1", CLASSES, True, "counts", counts.micro_f1, title="micro F1"),
        Metric("weighted_f1", CLASSES, True, "counts", counts.weighted_f1, title="weighted F1"),
        Metric("kappa", ONE, True, "counts", counts.kappa, limits=CORRELATION, title="Cohen’s kappa"),
        Metric("log_loss", CLASSES, False, "sums", _mean, log_losses, limits=ERROR),
        Metric("brier", CLASSES, False, "sums", _mean, brier_terms, limits=ERROR, title="Brier score"),
        Metric("quadratic_kappa", ("ordinal",), True, "counts", counts.quadratic_kappa, limits=CORRELATION),
        Metric("ordinal_mae", ("ordinal",), False, "sums", _mean, absolute_errors, limits=ERROR, title="mean absolute error in classes"),
        Metric("mae", ("regression",), False, "sums", _mean, absolute_errors, limits=ERROR, title="mean absolute error"),
        Metric("rmse", ("regression",), False, "sums", _root_mean, squared_errors, limits=ERROR, title="root mean square error"),
        Metric("r2", ("regression",), True, "sums", _r2, squared_errors, limits=EXPLAINED, title="R²"),
        Metric("average_precision", CLASSES, True, "rows", aside=ONE),
        Metric("roc_auc", CLASSES, True, "rows", aside=ONE, title="area under ROC"),
        Metric("exact_match", ("multi",), True, "counts", counts.exact_match, share=True),
    )
}

_DEFAULTS = {"single": "macro_f1", "multi": "macro_f1", "ordinal": "ordinal_mae", "regression": "mae"}
_SHOWN = {  # beside these and the headline
    "single": ("accuracy", "log_loss", "kappa"),
    "ordinal": ("accuracy", "quadratic_kappa", "log_loss"),
    "multi": ("micro_f1", "average_precision", "log_loss"),
    "regression": ("rmse", "r2"),
}


def default_metric(target: Target) -> str:
    """Return the score by which epochs and methods are chosen where the recipe names none."""
    return _DEFAULTS[target.kind]


def headline_metric(target: Target) -> str:
    """Return the score that tables and reports lead with: accuracy for single labels, else the default."""
    return "accuracy" if target.kind == "single" else default_metric(target)


def shown(target: Target) -> list[str]:
    """Return the scores that runs and evaluations measure, the one that leads first."""
    return list(dict.fromkeys([headline_metric(target), default_metric(target), *_SHOWN[target.kind]]))


def suiting(target: Target) -> list[str]:
    """Return the scores that :func:`scores` gives for a target, in the table's order."""
    return [m.name for m in METRICS.values() if target.kind in m.kinds and target.kind not in m.aside]


def named(metric: str, target: Target) -> Metric:
    """Return a score by name.

    Raises:
        UserError: there is none of that name, or it cannot score this kind of target.
    """
    if metric not in METRICS:
        raise UserError(f"there is no metric {metric!r} (there are: {listed(METRICS, 40)}).{nearest(metric, METRICS)}")
    found = METRICS[metric]
    if target.kind not in found.kinds:
        raise UserError(
            f"metric {metric!r} cannot score {target.name!r}, a {target.kind} target", need=f"one of {listed(suiting(target), 40)}"
        )
    return found


def score(
    name: str, target: Target, p: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, *, answer: np.ndarray | None = None
) -> float | None:
    """Return one score of the rows that have truth and answer; None where it is not defined.

    Args:
        name: of a metric.
        target: with its classes known.
        p: probabilities (N, K), or values (N, 1); NaN rows are left out.
        y: truth, as p.
        weight: (N,); None: each row counts 1.
        answer: decisions (N, K) of 0 and 1; None: the largest p, or p ≥ ½ for several labels.

    Raises:
        UserError: an unknown metric, one for another kind, or shapes that do not fit.
    """
    return named(name, target)(select_scorable(target, p, y, weight, answer))


def merit(
    name: str, target: Target, p: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, answer: np.ndarray | None = None
) -> float:
    """Return one score with the sign that makes the greater the better; −inf where it is not defined. Arguments as for :func:`score`."""
    value = score(name, target, p, y, weight, answer=answer)
    return -math.inf if value is None else named(name, target).sign * value


def scores(
    target: Target, p: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, answer: np.ndarray | None = None
) -> dict[str, float | None]:
    """Return every score that suits the target's kind; arguments as for :func:`score`."""
    kept = select_scorable(target, p, y, weight, answer)
    if not len(kept):
        return dict.fromkeys(suiting(target))
    tally = None if target.kind == "regression" else counts.counts(kept)[0]
    out: dict[str, float | None] = {}
    for name in suiting(target):
        metric = METRICS[name]
        counted = metric.of == "counts" and metric.value is not None and tally is not None
        out[name] = plain(metric.value(tally, target.width)) if counted else metric(kept)  # type: ignore[misc, arg-type]
    return out


def per_class(
    target: Target, p: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None, answer: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """Return a row for each class: class, n (rows of it), predicted (rows answered so), precision, recall, f1.

    ``n`` and ``predicted`` count rows whatever their weight. Several labels add average_precision and roc_auc, None for an absent
    class. A regression has no classes and gives an empty list. Arguments as for :func:`score`.
    """
    if target.kind == "regression":
        return []
    kept, k = select_scorable(target, p, y, weight, answer), target.width
    rows = counts.counts(dataclasses.replace(kept, weight=np.ones(len(kept))))[0]
    weighed = counts.counts(kept)[0]
    columns: dict[str, Sequence[Any]] = {
        "class": target.classes,
        "n": rows[k : 2 * k].astype(int).tolist(),
        "predicted": rows[2 * k : 3 * k].astype(int).tolist(),
        "precision": counts.precisions(weighed, k).tolist(),
        "recall": counts.recalls(weighed, k).tolist(),
        "f1": counts.f1s(weighed, k).tolist(),
    }
    if target.kind == "multi":
        for name in ("average_precision", "roc_auc"):
            columns[name] = [plain(ranked(kept.weight)) for ranked in ranking.rankers(name, kept)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def parse(text: str, targets: Sequence[Target] | Mapping[str, Target]) -> tuple[Target, str]:
    """Read ``target/metric`` or ``metric``, as ``train.monitor`` gives it.

    Args:
        text: for example ``ans/macro_f1``; a metric alone means the only target that it can score.
        targets: all of them.

    Raises:
        UserError: an unknown target or metric, one that does not suit, or a metric alone that could mean several targets.
    """
    known = dict(targets) if isinstance(targets, Mapping) else {t.name: t for t in targets}
    before, sign, metric = text.rpartition("/")
    if sign:
        if before not in known:
            raise UserError(f"{text!r} names target {before!r} (there are: {listed(known)}).{nearest(before, known)}")
        return known[before], named(metric, known[before]).name
    if metric not in METRICS:
        raise UserError(f"there is no metric {metric!r} (there are: {listed(METRICS, 40)}).{nearest(metric, METRICS)}")
    able = [t for t in known.values() if t.kind in METRICS[metric].kinds and t.scored]
    if len(able) != 1:
        which = f"could mean {listed(t.name for t in able)}" if able else f"suits none of the targets {listed(known)}"
        raise UserError(f"metric {metric!r} {which}", need=f"TARGET/{metric}")
    return able[0], metric


def plain(value: np.ndarray | float) -> float | None:
    """Return a float, None for NaN."""
    return None if np.isnan(value) else float(value)


def defined(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Return figures as JSON can hold them: None where one is not defined."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
