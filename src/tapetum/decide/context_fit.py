"""How context decoding learns from labelled sequences: every figure it chooses by comes from groups that took no part in the fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np

from tapetum.core import folds, metrics
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.folds import count_groups
from tapetum.core.tables import Dense
from tapetum.core.words import plural
from tapetum.decide import hmm
from tapetum.decide.bias import fit_bias, log_p, one_hot
from tapetum.decide.decoder import Decoder, estimate_drift, posteriors_each, shares
from tapetum.decide.sequences import Sequences, arrange, in_sequence
from tapetum.decide.simplest import paired, simplest
from tapetum.decide.steps import FEW_FOLDS, Rows, counting
from tapetum.decide.window_regression import apply_window_regression, around, fit_window_regression, places

EMISSIONS, EXPONENTS = (0.5, 0.7, 1.0, 1.4), (0.25, 0.5, 0.75, 1.0)
GROUPS_TO_TUNE, GROUPS_TO_CHOOSE = 2, 8
METHODS = ("forward-backward", "none", "bias", "stack", "log-mean")  # the first is the default
_REGRESSION_CELLS = 500_000  # rows × classes that the regression is fitted on at most


@dataclasses.dataclass(frozen=True)
class Study:
    """What is learned from.

    Args:
        dense, rows: aligned; out-of-fold.
        sequences: all rows in order.
        log_p: (N, K), NaN where there is no answer.
        truth: (N,) class numbers, −1 unknown; known also where there is no answer, which is enough for transitions.
        fold: (N,) inner folds by group, −1 outside of sequences.
        groups: how many groups have rows with both.
        metric: what is chosen by.
        longest: oldest age with a probability of its own; 0: geometric durations.
        position: weight of the drift.
        reach, strength: of the regression over the window.
    """

    dense: Dense
    rows: Rows
    sequences: Sequences
    log_p: np.ndarray
    truth: np.ndarray
    fold: np.ndarray
    groups: int
    metric: str
    longest: int
    position: float
    reach: int
    strength: float

    @cached_property
    def places(self) -> np.ndarray:
        """Which rows are around each row."""
        return places(self.sequences, len(self.rows), self.reach)

    @property
    def classes(self) -> int:
        """K."""
        return self.dense.target.width

    def where(self, keep: np.ndarray) -> Sequences:
        """Return some of the rows in order."""
        return arrange(self.rows, keep, self.sequences.step)

    def score(self, p: np.ndarray, answer: np.ndarray | None) -> float:
        """Return the metric, larger is better; None counts as the worst."""
        return metrics.merit(self.metric, self.dense.target, p, self.dense.y, self.rows.weight, answer)

    def standard_error(self, a: Candidate, b: Candidate) -> float | None:
        """Return the clustered standard error of the difference of two candidates; None where it is not known."""
        one, two = (dataclasses.replace(self.dense, p=c.p, answer=c.answer) for c in (a, b))
        return paired(self.metric, one, two, self.rows.groups, self.rows.weight).standard_error


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Answers for every row, each from groups that do not hold it."""

    p: np.ndarray
    answer: np.ndarray | None = None


def study(dense: Dense, rows: Rows, *, metric: str, longest: int, position: float, reach: int, strength: float) -> Study:
    """Lay out what can be learned from, and draw inner folds by group.

    Raises:
        UserError: a target that has no one class a row.
        DataError: as :func:`tapetum.decide.sequences.arrange`.
    """
    if not dense.target.is_distribution:
        raise UserError(
            f"context decoding was asked for {dense.target.name!r}, a {dense.target.kind} target", need="a single or ordinal one"
        )
    sequences = arrange(rows)
    p = np.where(dense.ok[:, None], dense.p, np.nan)
    known = ~np.isnan(dense.y).any(axis=1)
    truth = np.where(known, np.nan_to_num(dense.y).argmax(axis=1), -1)
    inside = in_sequence(rows)
    both = inside & counting(dense, rows)
    many = count_groups(rows.groups[both])
    fold = np.full(len(rows), -1, dtype=np.int16)
    if many >= GROUPS_TO_TUNE:
        part = np.flatnonzero(inside & known)
        fold[inside] = 0  # unlabelled groups are in no figure; any fold will do
        drawn = folds.assign({dense.target.name: dense.y[part]}, [dense.target], rows.groups[part], min(FEW_FOLDS, many), 0)
        of_group = dict(zip(rows.groups[part].tolist(), drawn.tolist(), strict=True))
        fold[inside] = [of_group.get(g, 0) for g in rows.groups[inside].tolist()]
    chosen = metrics.default_metric(dense.target) if metric == "auto" else metrics.named(metric, dense.target).name
    return Study(dense, rows, sequences, log_p(p), truth, fold, many, chosen, longest, position, reach, strength)


def learn_decoder(s: Study, keep: np.ndarray, emission: float, exponent: float) -> Decoder:
    """Estimate chain, prior and drift from the truth of some rows; one of weight 0 is as if its label were unknown.

    The prior counts rows by their weight, as the probabilities that are divided by it do. Transitions are counted each once: a weight is
    of a row, not of two that follow one another.
    """
    sequences, weight = s.where(keep), s.rows.weight
    truth = s.truth if weight is None else np.where(weight > 0, s.truth, -1)
    labels = [block.take(truth, -1) for block in sequences]
    chain = hmm.estimate(labels, s.classes, longest=s.longest)
    drift = estimate_drift(truth, sequences, s.classes) if s.position and sequences.blocks else None
    used = keep & s.dense.ok
    prior = shares(truth[used], s.classes, None if weight is None else weight[used])
    return Decoder(chain, prior, emission, exponent, drift, s.position)


def tune(s: Study, emission: float, exponent: float) -> tuple[float, float, dict[str, float | None], Candidate]:
    """Choose emission weight and prior exponent on inner folds by group.

    The values given stand unless others are better by more than one clustered standard error.

    Returns:
        emission, exponent, the figure of each pair, and the answers under the chosen ones.
    """
    grid = [(emission, exponent), *((w, a) for w in EMISSIONS for a in EXPONENTS if (w, a) != (emission, exponent))]
    found = [np.array(s.dense.p, dtype=np.float64) for _ in grid]
    for k in np.unique(s.fold[s.fold >= 0]).tolist():
        learned = learn_decoder(s, s.fold != k, emission, exponent)
        heldout = s.fold == k
        decoders = [dataclasses.replace(learned, emission=w, prior_exponent=a) for w, a in grid]
        for whole, part in zip(found, posteriors_each(decoders, s.log_p, s.where(heldout)), strict=True):
            whole[heldout] = part[heldout]
    candidates = [Candidate(np.where(s.dense.ok[:, None], p, np.nan)) for p in found]
    figures = {f"{w:g}/{a:g}": s.score(c.p, None) for (w, a), c in zip(grid, candidates, strict=True)}
    values = list(figures.values())
    pick = int(np.argmax(values))
    pick = simplest({0: values[0], pick: values[pick]}, lambda a, b: s.standard_error(candidates[a], candidates[b]))
    return *grid[pick], metrics.defined(figures), candidates[pick]


def learn_window_regression(s: Study, keep: np.ndarray) -> np.ndarray:
    """Fit the regression over the window on rows of ``keep`` that have both answer and truth, evenly drawn where they are very many."""
    take = np.flatnonzero(keep & s.dense.scorable)
    take = take[:: max(1, -(-len(take) * s.classes // _REGRESSION_CELLS))]
    weight = None if s.rows.weight is None else s.rows.weight[take]
    return fit_window_regression(around(s.log_p, s.places[take]), s.truth[take], s.classes, s.strength, weight)


def held_out_stack(s: Study) -> Candidate:
    """Return the regression's answers, each fold under weights from the others."""
    out = np.full(s.dense.p.shape, np.nan)
    for k in np.unique(s.fold[s.fold >= 0]).tolist():
        heldout = s.fold == k
        out[heldout] = apply_window_regression(s.log_p, s.places[heldout], learn_window_regression(s, s.fold != k))
    return Candidate(np.where(s.dense.ok[:, None], out, np.nan))


def held_out_bias(s: Study, p: np.ndarray) -> Candidate:
    """Return answers under class biases, each fold under those from the others."""
    logs = log_p(p)
    labels = np.nan_to_num(logs, nan=-np.inf).argmax(axis=1)
    for k in np.unique(s.fold[s.fold >= 0]).tolist():
        heldout = s.fold == k
        labels[heldout] = (np.nan_to_num(logs[heldout], nan=-np.inf) + learn_bias(s, logs, s.fold != k)).argmax(axis=1)
    return Candidate(p, one_hot(labels, s.dense))


def learn_bias(s: Study, logs: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Fit class biases (K,) of log-probabilities (N, K) on some rows."""
    take = keep & s.dense.scorable & ~np.isnan(logs).any(axis=1)
    return fit_bias(logs[take], s.truth[take], None if s.rows.weight is None else s.rows.weight[take].astype(np.float64))


def log_mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the normalised geometric mean of two probability matrices (N, K)."""
    mixed = np.exp(0.5 * (log_p(a) + log_p(b)))
    return np.asarray(mixed / mixed.sum(axis=1, keepdims=True))


def choose(s: Study, method: str, decoded: Candidate) -> dict[str, Any]:
    """Choose the method by inner folds (``auto``), or take the one named, and learn what it needs from all rows.

    Args:
        s: with ``GROUPS_TO_CHOOSE`` groups or more.
        method: ``auto`` or one of METHODS.
        decoded: held-out answers of forward–backward.

    Returns:
        ``method``, ``figures`` of all candidates, and ``neighbours`` and ``bias`` where the method has them.
    """
    plain = Candidate(np.where(s.dense.ok[:, None], s.dense.p, np.nan))
    makers: dict[str, Callable[[], Candidate]] = {
        "forward-backward": lambda: decoded,
        "none": lambda: plain,
        "bias": lambda: held_out_bias(s, plain.p),
    }
    base = {"stack": plain.p}
    if method in ("auto", "stack", "log-mean"):
        base = {"stack": (stacked := held_out_stack(s)).p, "log-mean": log_mean(stacked.p, decoded.p)}
        makers |= {name: partial(held_out_bias, s, p) for name, p in base.items()}
    made = {name: make() for name, make in makers.items() if method in ("auto", name)}
    figures = {name: s.score(c.p, c.answer) for name, c in made.items()}
    best = max(figures, key=lambda name: figures[name])
    rivals = {name: figures[name] for name in (METHODS[0], best) if name in figures}  # the default first
    best = simplest(rivals, lambda a, b: s.standard_error(made[a], made[b]))
    out: dict[str, Any] = {"method": best, "figures": metrics.defined(figures)}
    everything = np.ones(len(s.rows), dtype=bool)
    if best in ("stack", "log-mean"):
        out["neighbours"] = learn_window_regression(s, everything).tolist()
    if best in ("bias", "stack", "log-mean"):
        out["bias"] = learn_bias(s, log_p(plain.p if best == "bias" else base[best]), everything).tolist()
    return out


def check_method(method: str, groups: int) -> None:
    """Refuse an unknown method, and one that needs more groups than there are."""
    known = ("auto", "viterbi", *METHODS)
    if method not in known:
        raise UserError(f"there is no context method {method!r}", need=f"one of {listed(known)}")
    if method in ("stack", "log-mean") and groups < GROUPS_TO_CHOOSE:
        raise DataError(
            f"context method {method!r} was asked for with {plural(groups, 'labelled group')}",
            need=f"{GROUPS_TO_CHOOSE} or more: its weights would follow single groups",
            fix="use 'forward-backward'",
        )
