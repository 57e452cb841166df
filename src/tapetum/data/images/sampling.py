"""Which training rows an epoch meets, how often and in which order; keyed, so that it is the same on every machine and after a kill.

A sampler says how often each row occurs in an epoch; :func:`order` shuffles the occurrences, :func:`batches` cuts them for the ranks.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tapetum.core import draws
from tapetum.core.choices import pick
from tapetum.core.config import Spec
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.targets import Target, answer_classes
from tapetum.core.words import plural
from tapetum.data.choices import SAMPLERS
from tapetum.data.images import sampling_options as options


@dataclasses.dataclass(frozen=True)
class Training:
    """The rows that a fold trains on.

    Args:
        targets: with their classes known.
        truths: target → (N, K), NaN rows unknown.
        weight: of each row (N,), or None.
        groups: of each row (N,), or None; subsets keep a group in one part.
    """

    targets: Sequence[Target]
    truths: Mapping[str, np.ndarray]
    weight: np.ndarray | None = None
    groups: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.truths.values())))

    def target(self, name: str | None, what: str) -> Target:
        """Return the named target, or the only one.

        Raises:
            UserError: an unknown name, or none where there are several.
        """
        return options.target_of(self.targets, name, what)


@dataclasses.dataclass(frozen=True)
class Order:
    """An epoch's rows in the order in which they train.

    Args:
        rows: places in the training rows (n,) int64.
        occurrence: how many times each row came before in this epoch (n,) int64; part of the key of its augmentation.
    """

    rows: np.ndarray
    occurrence: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def order(spec: Spec, training: Training, *, seed: int, member: str, fold: int, epoch: int) -> Order:
    """Return the epoch's order.

    Args:
        spec: the recipe's ``sample``.
        training: the fold's training rows.
        seed: of the recipe; with the following it keys all draws. The cut of a balanced subset depends on seed and fold alone, so that
            members that take different parts take parts of the same cut.
        member: of the ensemble.
        fold: number.
        epoch: number.

    Raises:
        UserError: options that do not fit the target.
        DataError: an epoch without rows.
    """
    choice, parameters = pick(spec, SAMPLERS, "sample")
    rng = draws.generator(seed, member, fold, epoch, "order")
    count = choice.load()(training, rng, draws.generator(seed, fold, "subset"), **parameters)
    rows = np.repeat(np.arange(training.rows), count)
    if len(rows) == 0:
        raise DataError(f"sample {spec!r} leaves no row to train on", need="labelled rows and factors above 0")
    occurrence = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    shuffled = rng.permutation(len(rows))
    return Order(rows[shuffled].astype(np.int64), occurrence[shuffled].astype(np.int64))


def batches(order: Order, batch: int, *, rank: int = 0, ranks: int = 1, least: int = 2) -> list[Order]:
    """Return one rank's batches; every rank has as many, and together they hold each occurrence once.

    Args:
        order: the epoch's.
        batch: rows of one rank in one batch.
        rank: this process.
        ranks: processes.
        least: a last batch that would leave a rank with fewer rows joins the one before (a BatchNorm cannot learn from one image).
    """
    step = batch * ranks
    starts = [step * number for number in range(count(len(order), step, least * ranks))]
    ends = [*starts[1:], len(order)]
    parts = [np.array_split(np.arange(start, end), ranks)[rank] for start, end in zip(starts, ends, strict=True)]
    return [Order(order.rows[part], order.occurrence[part]) for part in parts]


def count(rows: int, batch: int, least: int = 2) -> int:
    """Return into how many batches rows are cut; a last one of fewer than ``least`` rows joins the one before."""
    many = -(-rows // batch)
    return many - 1 if many > 1 and rows - (many - 1) * batch < least else many


def shuffle(training: Training, rng: np.random.Generator, fixed: np.random.Generator) -> np.ndarray:
    """Every row once."""
    return np.ones(training.rows, dtype=np.int64)


def balanced(
    training: Training, rng: np.random.Generator, fixed: np.random.Generator, *, target: str | None = None, length: float = 1.0
) -> np.ndarray:
    """Every class equally often; a row of a rare class occurs several times, one of a frequent class in some epochs only.

    Args:
        training: the fold's rows; unlabelled rows are left out.
        rng: of the epoch.
        fixed: unused.
        target: by which to balance; a multi-label row counts as its rarest label, without labels as a class of its own.
        length: of the epoch, as a multiple of the known rows.
    """
    classes = _classes(training.target(target, "sample 'balanced'"), training)
    known = classes >= 0
    size = np.bincount(classes[known], minlength=1)
    expected = np.zeros(training.rows)
    expected[known] = length * known.sum() / max((size > 0).sum(), 1) / size[classes[known]]
    return systematic(expected, rng, classes)


def weights(training: Training, rng: np.random.Generator, fixed: np.random.Generator, *, length: float = 1.0) -> np.ndarray:
    """Rows in proportion to their weight in the manifest; the loss then should not weigh them again.

    Args:
        training: the fold's rows, with weights.
        rng: of the epoch.
        fixed: unused.
        length: of the epoch, as a multiple of the rows.
    """
    if training.weight is None:
        raise UserError("sample 'weights' without weights", need="a weight for each row", fix="name the column: data.weight")
    expected = length * training.rows * training.weight / training.weight.sum()
    return systematic(expected, rng, np.unique(training.weight, return_inverse=True)[1])


def oversample(
    training: Training,
    rng: np.random.Generator,
    fixed: np.random.Generator,
    *,
    target: str | None = None,
    factors: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Each row as often as its class's factor says; of a fraction, that share of the rows, another one each epoch.

    Args:
        training: the fold's rows; unlabelled rows occur once.
        rng: of the epoch.
        fixed: unused.
        target: whose classes are meant.
        factors: class → factor; others 1.
    """
    chosen = training.target(target, "sample 'oversample'")
    classes = _classes(chosen, training)
    by_class = np.ones(len(answer_classes(chosen)) + 2)  # and without labels, and unknown
    for number, factor in options.by_class(factors, chosen, "sample 'oversample'", "factors").items():
        by_class[number] = factor
    return systematic(by_class[classes], rng, classes)


def subset(
    training: Training,
    rng: np.random.Generator,
    fixed: np.random.Generator,
    *,
    target: str | None = None,
    cut: Mapping[str, Any] | None = None,
    repeat: Mapping[str, float] | None = None,
    part: int = 0,
    whole: bool = False,
) -> np.ndarray:
    """One of several balanced subsets: large classes are cut into parts that are crossed with all of the small ones.

    Args:
        training: the fold's rows; unlabelled rows are left out.
        rng: of the epoch, for fractional repeats.
        fixed: of the cut; the same for every member and epoch.
        target: whose classes are meant.
        cut: class → n parts, of which one is taken, or [n, k] of which k are: C(n, k) ways.
        repeat: class → how often each of its rows occurs.
        part: which of the crossed ways, from 0 (see :func:`~tapetum.data.images.sampling_options.subset_count`).
        whole: one subset more, the last: every row once.

    Source: after EasyEnsemble (Liu, Wu, Zhou 2009); the `mask` system's 9, 10 and 3 sets.
    """
    chosen = training.target(target, "sample 'subset'")
    classes = _classes(chosen, training)
    pieces = options.cuts(cut)
    options.refuse_part(part, pieces, whole)
    known = classes >= 0
    if whole and part == options.subset_count(pieces, whole) - 1:
        return known.astype(np.int64)
    expected = known.astype(np.float64)
    for number, factor in options.by_class(repeat, chosen, "sample 'subset'", "repeat").items():
        expected[classes == number] = factor
    crossed = list(itertools.product(*(list(itertools.combinations(range(n), k)) for n, k in pieces.values())))
    for name, named in zip(pieces, crossed[part], strict=True):
        members = np.flatnonzero(classes == options.place(chosen, name, "sample 'subset'"))
        parts = _parts(members, pieces[name][0], training.groups, fixed)
        expected[members] *= np.isin(parts, named)
    return systematic(expected, rng, classes)


def rare_rows(training: Training, *, target: str | None = None, classes: Sequence[str] = (), rarest: int = 1) -> np.ndarray:
    """Return the training rows of rare classes, the pool of half-CutMix.

    Args:
        training: the fold's training rows, never those held out.
        target: whose classes are meant.
        classes: their names; empty: the ``rarest`` ones that occur.
        rarest: how many.
    """
    chosen = training.target(target, "mix 'half_cutmix'")
    truth = training.truths[chosen.name]
    if chosen.kind == "regression":
        raise UserError(f"mix 'half_cutmix' by the number {chosen.name!r}", need="a target with classes")
    size = np.nansum(truth, axis=0)
    places = [options.place(chosen, name, "mix 'half_cutmix'") for name in classes]
    if not places:
        places = [int(i) for i in np.argsort(size, kind="stable") if size[i] > 0][:rarest]
    found = np.flatnonzero((np.nan_to_num(truth[:, places]) > 0).any(axis=1))
    if len(found) == 0:
        raise DataError(f"mix 'half_cutmix': no training row is of {listed([chosen.classes[i] for i in places])}")
    return found


def systematic(expected: np.ndarray, rng: np.random.Generator, strata: np.ndarray | None = None) -> np.ndarray:
    """Return whole counts (N,) with the expected values: each is its floor or ceiling, and so is the sum of each stratum.

    Args:
        expected: how often each row should occur (N,) ≥ 0.
        rng: of the epoch.
        strata: class numbers (N,), or None for one stratum.
    """
    drawn = rng.permutation(len(expected))
    if strata is not None:
        drawn = drawn[np.argsort(strata[drawn], kind="stable")]
    edges = np.floor(np.round(np.concatenate([[0.0], np.cumsum(expected[drawn])]), 9) + rng.random())
    count = np.zeros(len(expected), dtype=np.int64)
    count[drawn] = np.diff(edges).astype(np.int64)
    return count


def _classes(target: Target, training: Training) -> np.ndarray:
    """Return each row's class number (N,), −1 where unknown; multi: the rarest label, K without labels; numbers: by their borders."""
    truth = training.truths[target.name]
    known = ~np.isnan(truth).any(axis=1)
    if target.kind == "regression":
        if not target.borders:
            raise UserError(f"sampling by the number {target.name!r}", need="a target with classes", fix="give it borders")
        classes = np.digitize(truth[:, 0], target.borders)
    elif target.kind == "multi":
        size = np.where((n := np.nansum(truth, axis=0)) > 0, n, np.inf)
        classes = np.where(truth > 0, size, np.inf).argmin(axis=1)
        classes = np.where((truth > 0).any(axis=1), classes, target.width)
    else:
        classes = truth.argmax(axis=1)
    return np.where(known, classes, -1)


def _parts(members: np.ndarray, n: int, groups: np.ndarray | None, fixed: np.random.Generator) -> np.ndarray:
    """Return which of n parts, as equal as groups allow, each member of a class is in."""
    owner = members if groups is None else groups[members]
    names, inverse, size = np.unique(owner, return_inverse=True, return_counts=True)
    drawn = fixed.permutation(len(names))
    drawn = drawn[np.argsort(-size[drawn], kind="stable")]  # large groups first, each to the part that has least
    part, load = np.empty(len(names), dtype=np.int64), np.zeros(n)
    for group in drawn:
        part[group] = load.argmin()
        load[part[group]] += size[group]
    if (load == 0).any():
        raise DataError(f"a class of {len(names)} {'rows' if groups is None else 'groups'} cannot be cut into {plural(n, 'part')}")
    return part[inverse]
