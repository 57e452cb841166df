"""Rows → windows of neighbouring rows of their sequence: for training on images or kept vectors, and for answers averaged over windows.

A window belongs to one row, its target row (of ``all``: the row it is laid around), and never leaves that row's sequence; places before the
first and after the last image, gaps in the positions, and images that cannot be read are masked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tapetum.core.config import Predict, Recipe, SequenceConfig
from tapetum.core.errors import UserError
from tapetum.core.tables import Manifest
from tapetum.data.images import dataset
from tapetum.learn.inference import Answers, Watch
from tapetum.learn.models.sequence import SequenceNetwork, Steps
from tapetum.learn.runtime import Runtime
from tapetum.learn.window_rows import BLOCK, anchors, window_rows


def check(recipe: Recipe) -> None:
    """Refuse a sequence section that cannot be trained.

    Raises:
        UserError: with what would do.
    """
    how = recipe.sequence
    if how.length == 1:
        return
    if recipe.mix:
        raise UserError("mix with a sequence model: a mixture of two nights has no order", fix="set mix = []")
    if how.windows and how.target == "all":
        raise UserError("sequence.windows with target 'all': windows cross images, so they predict none", need="'last' or 'centre'")
    if how.windows and how.features != "end-to-end":
        raise UserError(f"sequence.windows with features {how.features!r}: vectors are kept by image", need="features = 'end-to-end'")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where windows come from: vectors of rows kept in memory, or their images.

    Args:
        table: from :func:`window_rows`.
        target: last, centre or all.
        vectors: (N, P, D) float32, NaN rows where an image could not be read; None takes images.
        images: of the same rows; None takes vectors.
        reasons: row number → why its image could not be read, where vectors are kept.
    """

    table: np.ndarray
    target: str
    vectors: np.ndarray | None = None
    images: dataset.ImageDataset | None = None
    reasons: Mapping[int, str] = dataclasses.field(default_factory=dict)

    def batches(
        self,
        rows: np.ndarray,
        sizes: int | Sequence[int],
        key_of: Callable[[str, int], int] | None = None,
        workers: int = 0,
    ) -> Iterator[dataset.Batch]:
        """Yield the windows of some rows, in their order.

        ``rows`` of a batch are the target rows (B,), or with ``all`` those of every step (B, L), −1 where masked by the edges.

        Args:
            rows: row numbers.
            sizes: windows a batch, or of each batch in turn.
            key_of: (row_id, occurrence) → key of an image's draws.
            workers: threads that decode ahead.
        """
        rows = np.asarray(rows, dtype=np.int64)
        step = [min(sizes, len(rows) - i) for i in range(0, len(rows), sizes)] if isinstance(sizes, int) else list(sizes)
        parts = np.split(rows, np.cumsum(step)[:-1])
        if self.vectors is not None:
            for part in parts:
                values, known = self._kept(part)
                yield self._batch(part, values, known, {int(r): self.reasons[int(r)] for r in part if int(r) in self.reasons})
            return
        yield from self._read(parts, key_of, workers)

    def _kept(self, part: np.ndarray) -> tuple[Tensor, np.ndarray]:
        if self.vectors is None:
            raise ValueError("no vectors are kept")
        at = self.table[part]
        values = self.vectors[np.maximum(at, 0)]
        known = (at >= 0) & np.isfinite(values).all(axis=(2, 3))
        return torch.from_numpy(np.where(known[..., None, None], values, 0).astype(np.float32)), known

    def _read(self, parts: list[np.ndarray], key_of: Callable[[str, int], int] | None, workers: int) -> Iterator[dataset.Batch]:
        if self.images is None:
            raise ValueError("a source of windows has either vectors or images")
        real = [self.table[part] >= 0 for part in parts]
        flat = [self.table[part][mask] for part, mask in zip(parts, real, strict=True)]
        every = np.concatenate(flat) if flat else np.zeros(0, dtype=np.int64)
        read = dataset.batches(self.images, every, [len(part) for part in flat], key_of, workers)
        for part, mask, batch in zip(parts, real, read, strict=True):
            values = torch.zeros((*mask.shape, *batch.x.shape[1:]), dtype=batch.x.dtype)
            values[torch.from_numpy(mask)] = batch.x
            known = mask.copy()
            known[mask] = batch.ok.numpy()
            wanted = set(part.tolist())
            yield self._batch(part, values, known, {row: why for row, why in batch.reasons.items() if row in wanted})

    def _batch(self, part: np.ndarray, values: Tensor, known: np.ndarray, reasons: dict[int, str]) -> dataset.Batch:
        at = self.table[part]
        readable = (known & (at == part[:, None])).any(axis=1)
        rows = at if self.target == "all" else part
        return dataset.Batch(torch.from_numpy(rows), Steps(values, torch.from_numpy(known)), torch.from_numpy(readable), reasons)  # type: ignore[arg-type]

    def anchors(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows whose windows together answer for ``rows``."""
        return anchors(self.table, rows, self.target)


@torch.inference_mode()
def answer_folds(
    networks: Mapping[int, SequenceNetwork],
    source: Source,
    rows: np.ndarray,
    predict: Predict,
    runtime: Runtime,
    *,
    side: Mapping[int, Tensor] | None = None,
    watch: Watch | None = None,
) -> dict[int, Answers]:
    """Answer for some rows with each of several networks; the windows that answer for one row are averaged as probabilities.

    Args:
        networks: fold → network; several of them share one backbone, which then runs once an image.
        source: of the rows; images as evaluation shows them.
        rows: (M,) row numbers, in the order of the answers.
        predict: batch size; only the plain view is taken.
        runtime: device and precision.
        side: fold → (N + 1, S) its scaled side numbers, the last row for places without an image.
        watch: what is told meanwhile; no vectors where a network takes the images of a window together.
    """
    rows, watch = np.asarray(rows, dtype=np.int64), watch or Watch()
    for network in networks.values():
        network.eval()
    reasons: dict[int, str] = {}
    sums: dict[int, dict[str, np.ndarray]] = {fold: {} for fold in networks}
    counts = np.zeros(len(source.table), dtype=np.int64)
    readable = np.zeros(len(source.table), dtype=bool)
    done = 0
    for block in _blocks(source, rows):
        seen = _with_vectors(next(iter(networks.values())), source, source.table[block], predict, runtime, watch)
        for batch in seen.batches(block, predict.batch):
            reasons.update(batch.reasons)
            x: Steps = batch.x  # type: ignore[assignment]
            if not bool(x.mask.any()):
                continue  # not one image of these windows can be read
            at, real = _answered_rows(batch, source.target)
            np.add.at(counts, at[real], 1)
            readable[at[real]] = True
            for fold, network in networks.items():
                own_side = None if side is None else side[fold][batch.rows]
                for name, values in _probabilities(network, x, own_side, runtime).items():
                    total = sums[fold].setdefault(name, np.zeros((len(source.table), values.shape[-1]), dtype=np.float64))
                    np.add.at(total, at[real], values[real])
        reasons.update(seen.reasons)
        done += len(block)
        if watch.done is not None:
            watch.done(done)
    ok = readable[rows]
    found, lost = {}, set(rows[~ok].tolist())
    for fold, totals in sums.items():
        if not totals:  # not one image can be read
            scored = [target for target in networks[fold].targets.values() if target.scored]
            totals.update({target.name: np.zeros((len(source.table), target.width)) for target in scored})
        share = 1 / np.maximum(counts[rows], 1)[:, None]
        means = {name: np.where(ok[:, None], total[rows] * share, np.nan).astype(np.float32) for name, total in totals.items()}
        found[fold] = Answers(rows, means, {}, ok, {r: why for r, why in reasons.items() if r in lost})
    return found


def _probabilities(network: SequenceNetwork, x: Steps, side: Tensor | None, runtime: Runtime) -> dict[str, np.ndarray]:
    """Return the probabilities of a batch of windows, one row a place that is answered."""

    def forward(part: slice) -> dict[str, np.ndarray]:
        with runtime.autocast():
            found = network.probabilities(network(runtime.to_device(x[part]), None if side is None else side[part]))
        return {name: p.float().cpu().numpy().reshape(-1, p.shape[-1]) for name, p in found.items()}

    pieces = runtime.in_pieces(forward, len(x))
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def step_vectors(network: SequenceNetwork, x: Tensor, runtime: Runtime) -> np.ndarray:
    """Return the vectors of single images (B, C, H, W) as (B, P, D), in pieces where memory runs out."""

    def forward(part: slice) -> np.ndarray:
        with runtime.autocast():
            return network.step_vectors(runtime.to_device(x[part])).float().cpu().numpy()

    return np.concatenate(runtime.in_pieces(forward, len(x)))


def _blocks(source: Source, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows whose windows are laid, some thousand at a time."""
    anchors = source.anchors(rows)
    for start in range(0, len(anchors), BLOCK):
        yield anchors[start : start + BLOCK]


def _answered_rows(batch: dataset.Batch, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the row that each answer of a batch is for, and which of them count."""
    steps: Steps = batch.x  # type: ignore[assignment]
    if target == "all":
        return batch.rows.numpy().ravel(), steps.mask.numpy().ravel()
    return batch.rows.numpy(), batch.ok.numpy()


def _with_vectors(network: SequenceNetwork, source: Source, table: np.ndarray, predict: Predict, runtime: Runtime, watch: Watch) -> Source:
    """Return a source whose vectors are kept: each image goes through the backbone once, however many windows show it."""
    if source.images is None or network.joined is not None:
        return source
    needed = np.unique(table[table >= 0])
    place = np.full(len(source.table) + 1, -1, dtype=np.int64)
    place[needed] = np.arange(len(needed))
    found: np.ndarray | None = None
    packed = dataset.Packed(dataset.batches(source.images, needed, predict.batch))
    for batch, at in packed:
        vectors = step_vectors(network, batch.x, runtime)
        found = np.full((len(needed), *vectors.shape[1:]), np.nan, dtype=np.float32) if found is None else found
        use = batch.ok.numpy()
        found[at[use]] = vectors[use]
        if watch.vectors is not None:
            watch.vectors(batch.rows.numpy()[use], vectors[use].mean(axis=1))
    if found is None:  # not one can be read: an empty image tells how many numbers a vector has
        nothing = step_vectors(network, source.images.empty(int(needed[0]), None)[None], runtime)
        found = np.repeat(np.full_like(nothing, np.nan), len(needed), axis=0)
    return _Compact(source.table, source.target, found, None, packed.reasons, place)


@dataclasses.dataclass(frozen=True)
class _Compact(Source):
    """Vectors of some rows only; ``place`` says where each row's stand."""

    place: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def _kept(self, part: np.ndarray) -> tuple[Tensor, np.ndarray]:
        if self.vectors is None:
            raise ValueError("no vectors are kept")
        at = self.place[self.table[part]]
        values = self.vectors[np.maximum(at, 0)]
        known = (at >= 0) & np.isfinite(values).all(axis=(2, 3))
        return torch.from_numpy(np.where(known[..., None, None], values, 0).astype(np.float32)), known


def padded(values: Tensor, fill: float) -> Tensor:
    """Return a table of all rows with one more, so that row −1 is a place without an image."""
    return torch.cat([values, torch.full_like(values[:1], fill)]) if len(values) else values


def of_recipe(manifest: Manifest, how: SequenceConfig, step: float | None = None) -> Source:
    """Return the windows of a recipe over a manifest, without images or vectors yet; ``step`` as for :func:`window_rows`."""
    return Source(window_rows(manifest, how.length, how.target, step), how.target)
