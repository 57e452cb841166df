"""Images → probabilities: one answer a row, test-time views reduced as probabilities, an image that cannot be read keeps its row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tapetum.core import draws
from tapetum.core.config import Predict, Spec
from tapetum.core.errors import DataError
from tapetum.core.schema import statuses
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.core.view_reducers import reduced
from tapetum.core.words import plural
from tapetum.data.images import dataset, views
from tapetum.learn.models.network import Network
from tapetum.learn.runtime import Runtime


@dataclasses.dataclass(frozen=True)
class Answers:
    """A network's answers for some rows.

    Args:
        rows: (N,) row numbers in the manifest.
        p: target → (N, K) float32, NaN where the image could not be read.
        draws: target → (V, N, K), each view before it was reduced; empty unless asked for, or where no image could be read.
        ok: (N,) bool.
        reasons: row number → why its image could not be read.
    """

    rows: np.ndarray
    p: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]
    ok: np.ndarray
    reasons: dict[int, str]

    def dense(self, targets: Mapping[str, Target], row_ids: Sequence[str], truth: Mapping[str, np.ndarray], fold: int) -> dict[str, Dense]:
        """Return the answers as one :class:`Dense` a target; ``row_ids`` and ``truth`` are of the whole manifest."""
        ids = np.asarray(row_ids, dtype=object)[self.rows]
        status = statuses(self.ok)
        folds = np.full(len(self.rows), fold, dtype=np.int16)
        return {name: Dense(targets[name], ids, p, truth[name][self.rows], folds, status) for name, p in self.p.items()}


@dataclasses.dataclass(frozen=True)
class Watch:
    """What is told while networks answer.

    Args:
        done: called with how many rows are done.
        vectors: called with the numbers of rows that were read and their vectors (B, D): what the first network's backbone makes of the
            first view.
    """

    done: Callable[[int], None] | None = None
    vectors: Callable[[np.ndarray, np.ndarray], None] | None = None


def together(parts: Sequence[Answers], rows: np.ndarray) -> Answers:
    """Return the answers of several processes in one, each row where ``rows`` has it.

    Raises:
        DataError: a row was answered by none of them, or by two.
    """
    answered = np.concatenate([part.rows for part in parts])
    order = np.argsort(answered, kind="stable")
    place = order[np.searchsorted(answered[order], rows).clip(max=len(order) - 1)]
    if len(answered) != len(rows) or len(np.unique(answered)) != len(answered) or (answered[place] != rows).any():
        raise DataError(
            f"processes answered {plural(len(answered), 'row')} of {len(rows)}", need="each row once", fix="give the command again"
        )

    def joined(of: Sequence[np.ndarray], axis: int = 0) -> np.ndarray:
        return np.take(np.concatenate(of, axis=axis), place, axis=axis)

    p = {name: joined([part.p[name] for part in parts]) for name in parts[0].p}
    views = {name: every for part in parts for name, every in part.draws.items()}  # of a part that read an image

    def drawn(part: Answers, name: str) -> np.ndarray:
        like = views[name]
        return part.draws.get(name, np.full((len(like), len(part.rows), like.shape[2]), np.nan, like.dtype))

    draws_ = {name: joined([drawn(part, name) for part in parts], axis=1) for name in views}
    reasons = {row: why for part in parts for row, why in part.reasons.items()}
    return Answers(np.asarray(rows), p, draws_, joined([part.ok for part in parts]), reasons)


def answer(network: Network, images: dataset.ImageDataset, rows: np.ndarray, predict: Predict, runtime: Runtime, **more: Any) -> Answers:
    """Answer for some rows with one network; see :func:`answer_folds`."""
    return answer_folds({0: network}, images, rows, predict, runtime, **more)[0]


@torch.inference_mode()
def answer_folds(
    networks: Mapping[int, Network],
    images: dataset.ImageDataset,
    rows: np.ndarray,
    predict: Predict,
    runtime: Runtime,
    *,
    side: torch.Tensor | Mapping[int, torch.Tensor | None] | None = None,
    key: tuple[Any, ...] = (),
    watch: Watch | None = None,
) -> dict[int, Answers]:
    """Answer for some rows of a manifest, in the order given, with each of several networks.

    Args:
        networks: fold → network; several of them must share one backbone, which then runs once.
        images: decoded and resized by their own transform.
        rows: (N,) row numbers.
        predict: batch size, views, how they are reduced (``auto`` counts as the mean until something is chosen), and whether each
            view's probabilities are kept.
        runtime: device and precision.
        side: (all rows, S) scaled side numbers, or those of each fold, which scales them by its own training rows.
        key: front of the keys of random views.
        watch: what is told meanwhile.

    Returns:
        fold → answers.
    """
    watch = watch or Watch()
    rows = np.asarray(rows, dtype=np.int64)
    ids = images.manifest.row_ids
    gathered = {fold: _Gathered(network, len(rows), predict) for fold, network in networks.items()}
    of_fold = side if isinstance(side, Mapping) else dict.fromkeys(networks, side)
    wanted = _wanted(predict, next(iter(gathered.values())).alone)
    ok = np.zeros(len(rows), dtype=bool)
    for network in networks.values():
        network.eval()
    packed = dataset.Packed(dataset.batches(images, rows, predict.batch, workers=dataset.reading()), watch.done)
    for batch, at in packed:
        sides = {fold: None if s is None else s[batch.rows] for fold, s in of_fold.items()}
        seen: dict[int, list[dict[str, torch.Tensor]]] = {fold: [] for fold in networks}  # logits of each view
        use = batch.ok.numpy()
        for number, x in enumerate(_views(batch.x, wanted, [draws.key(*key, ids[int(r)], "view") for r in batch.rows])):
            logits, vectors = _logits(networks, x, sides, runtime, watch.vectors is not None and number == 0)
            for fold in networks:
                seen[fold].append(logits[fold])
            if watch.vectors is not None and vectors is not None:
                watch.vectors(batch.rows.numpy()[use], vectors[use])
        ok[at[use]] = True
        for fold in networks:
            gathered[fold].take(at, seen[fold], use)
    return {fold: Answers(rows, g.p, {n: np.stack(v) for n, v in g.draws.items()}, ok, packed.reasons) for fold, g in gathered.items()}


def _wanted(predict: Predict, alone: bool) -> tuple[Spec, ...]:
    """Return the views to take: the recipe's, after the plain image where that is answered by itself and none of them."""
    wanted = predict.views if isinstance(predict.views, tuple) else (predict.views,)
    return ("plain", *wanted) if alone else wanted


def _views(x: torch.Tensor, wanted: tuple[Spec, ...], keys: list[int]) -> Iterator[torch.Tensor]:
    for spec in wanted:
        yield from views.expand(x, spec, keys)


def _logits(
    networks: Mapping[int, Network], x: torch.Tensor, side: Mapping[int, torch.Tensor | None], runtime: Runtime, is_watched: bool
) -> tuple[dict[int, dict[str, torch.Tensor]], np.ndarray | None]:
    """Return fold → the logits of a batch, and its vectors where they are watched; several networks share one pass of the backbone."""

    def forward(part: slice) -> tuple[dict[int, dict[str, torch.Tensor]], torch.Tensor | None]:
        part_side = {fold: None if numbers is None else numbers[part] for fold, numbers in side.items()}
        with runtime.autocast():
            if len(networks) == 1 and not is_watched:
                return {fold: network(runtime.to_device(x[part]), part_side[fold]) for fold, network in networks.items()}, None
            f, map_ = next(iter(networks.values())).head_inputs(runtime.to_device(x[part]))
            return {fold: network.from_features(f, part_side[fold], map_) for fold, network in networks.items()}, f

    pieces = runtime.in_pieces(forward, len(x))
    first = pieces[0][0]
    logits = {fold: {name: torch.cat([piece[fold][name] for piece, _ in pieces]) for name in first[fold]} for fold in networks}
    return logits, np.concatenate([f.float().cpu().numpy() for _, f in pieces if f is not None]) if is_watched else None


class _Gathered:
    """The probabilities of one network as batches come in; rows that could not be read stay NaN."""

    def __init__(self, network: Network, rows: int, predict: Predict) -> None:
        self.network, self.rows, self.keep_draws = network, rows, predict.keep_draws
        self.how = {name: predict.reducer(name) for name, target in network.targets.items() if target.scored}
        first = predict.views[0] if isinstance(predict.views, tuple) else predict.views
        self.alone = "plain" in self.how.values() and views.first_draw(first) > 0  # the first view then is none of those to reduce
        self.p = {name: np.full((rows, network.targets[name].width), np.nan, dtype=np.float32) for name in self.how}
        self.draws: dict[str, list[np.ndarray]] = {}

    def take(self, at: np.ndarray, seen: list[dict[str, torch.Tensor]], use: np.ndarray) -> None:
        """Turn a batch's logits (one dict a view) into probabilities, reduce the views, and keep those in use at the rows ``at``."""
        several = seen[1:] if self.alone else seen
        if "logits" in self.how.values():
            together = self.network.probabilities({name: torch.stack([one[name].float() for one in several]).mean(0) for name in seen[0]})
        stacks = [self.network.probabilities(one) for one in seen]
        for name, how in self.how.items():
            stack = np.stack([one[name].float().cpu().numpy() for one in stacks])
            stack, out = stack[:, use], self.p[name]
            if how == "plain":
                out[at[use]] = stack[0]
            elif how == "logits":
                out[at[use]] = together[name].float().cpu().numpy()[use]
            else:
                out[at[use]] = reduced(stack[len(seen) - len(several) :], how, self.network.targets[name])
            if self.keep_draws:
                rows_views = stack[len(seen) - len(several) :]
                kept = self.draws.setdefault(name, [np.full_like(out, np.nan) for _ in rows_views])
                for view, one in zip(kept, rows_views, strict=True):
                    view[at[use]] = one
