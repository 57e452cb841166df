"""Rows of a manifest as batches of tensors. A row that cannot be read keeps its slot, so that no other row changes."""

from __future__ import annotations

import copy
import dataclasses
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tapetum.core import processors
from tapetum.core.config import Input
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.tables import Manifest
from tapetum.data.images.archives import DecodeError
from tapetum.data.images.decode import Composition, read_row
from tapetum.data.images.form import Form
from tapetum.data.images.given import Pixels, Source

GIB = 1 << 30
WAITING = 4  # batches of rows that wait at most for others to fill theirs


class Transform(Protocol):
    """What :class:`EvalTransform` and :class:`TrainTransform` have in common."""

    def __call__(self, images: Sequence[np.ndarray], key: int) -> Tensor:
        """Return (C, H, W) or (V, C, H, W)."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some rows on their way to the network.

    Args:
        rows: row numbers of the manifest (B,) int64.
        x: (B, C, H, W) or (B, V, C, H, W), uint8 or float32 in [0, 1]; zeros where a row could not be read.
        ok: (B,) bool.
        reasons: row number → why it could not be read.
    """

    rows: Tensor
    x: Tensor
    ok: Tensor
    reasons: dict[int, str]


class ImageCache:
    """Decoded images held in memory up to a bound; what does not fit is not held.

    Nothing is dropped when it is full: epochs visit all rows in turn, so the row used longest ago is needed next.

    Args:
        budget: most bytes held.
    """

    def __init__(self, budget: int) -> None:
        self.free = budget
        self._images: dict[int, list[np.ndarray]] = {}
        self._lock = threading.Lock()

    def get(self, row: int) -> list[np.ndarray] | None:
        """Return the images of a row, if they are held."""
        return self._images.get(row)

    def put(self, row: int, images: list[np.ndarray]) -> None:
        """Hold the images of a row, if it fits."""
        size = sum(image.nbytes for image in images)
        with self._lock:
            if size <= self.free and row not in self._images:
                self._images[row] = images
                self.free -= size


class ImageDataset:
    """The images of a manifest, decoded once where memory allows.

    Args:
        manifest: its paths are read; where ``sha256`` is set, files that have changed since count as unreadable.
        settings: the recipe's ``[input]``.
        transform: :class:`EvalTransform` or :class:`TrainTransform`.
        form: what all images of the data have in common, decided once from all of them (``Form.of``), or the one of a pipeline.
        sources: what each row is composed of, where that is not the manifest's files.
        missing: row_id → why its image cannot be read, where that is known already; such files are not opened.
        cache_bytes: most bytes of decoded images held with ``input.cache = "memory"``; what does not fit is decoded anew each time.
    """

    def __init__(
        self,
        manifest: Manifest,
        settings: Input,
        transform: Transform,
        *,
        form: Form,
        sources: Sequence[Sequence[Source]] | None = None,
        missing: Mapping[str, str] | None = None,
        cache_bytes: int = 2 * GIB,
    ) -> None:
        self.manifest, self.settings, self.transform = manifest, settings, transform
        self.how = Composition.from_input(settings)
        self.kept = ImageCache(cache_bytes if settings.cache == "memory" else 0)
        self._hashes = manifest.frame["sha256"].to_list()
        self.form, self.sources = form, sources
        self.missing = {row: missing[row_id] for row, row_id in enumerate(manifest.row_ids) if row_id in missing} if missing else {}

    def __len__(self) -> int:
        return len(self.manifest)

    def with_transform(self, transform: Transform) -> ImageDataset:
        """Return the same images, with the same memory of them, seen through another transform."""
        other = copy.copy(self)
        other.transform = transform
        return other

    def read(self, row: int) -> list[np.ndarray]:
        """Return the decoded image of a row, one (H, W, C) a view, in the common form.

        Raises:
            DecodeError: a file is missing, damaged, changed, or does not fit.
        """
        if (kept := self.kept.get(row)) is not None:
            return kept
        name = str(self.manifest.frame["row_id"][row])
        images = [self.form.fit(image, name) for image in self._decode(row)]
        self.kept.put(row, images)
        return images

    def tensor(self, row: int, key: int = 0) -> Tensor | str:
        """Return the transformed image of a row, or why it cannot be read; that is found out once."""
        if row in self.missing:
            return self.missing[row]
        try:
            images = self.read(row)
        except DecodeError as error:
            self.missing[row] = error.reason
            return error.reason
        return self.transform(images, key)

    def empty(self, row: int, shape: torch.Size | None) -> Tensor:
        """Return zeros for a row that cannot be read; ``shape`` is that of a readable row of its batch."""
        if shape is None:
            size = self.settings.size
            height, width = self.form.size if size == "native" else (size, size) if isinstance(size, int) else size
            views = self.how.views(len(self.manifest.frame["path"][row]))
            shape = torch.Size([*([views] if views > 1 else []), self.form.channels, height, width])
        return torch.zeros(shape, dtype=getattr(torch, self.form.dtype))

    def _decode(self, row: int) -> list[np.ndarray]:
        given: Sequence[Source] = self.manifest.paths(row) if self.sources is None else self.sources[row]
        how = {"keeps_alpha": self.how.alpha == "keep", "dtype": self.form.dtype}
        given = [one.seen_as(self.form.channels, len(given), **how) if isinstance(one, Pixels) else one for one in given]  # type: ignore[arg-type]
        return read_row(given, self.how, self._hashes[row])[1]


def batches(
    images: ImageDataset,
    rows: Sequence[int] | np.ndarray,
    batch_size: int | Sequence[int],
    key_of: Callable[[str, int], int] | None = None,
    workers: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Yield rows in the order given; the last batch may be smaller.

    Args:
        images: where they come from.
        rows: row numbers of the manifest; one may be there several times.
        batch_size: rows a batch, or of each batch in turn.
        key_of: (row_id, occurrence of the row so far, from 0) → the key of its draws; None: 0 for all.
        workers: threads that decode ahead (decoding leaves Python's lock); 0 works in this one. Their number changes no value.
        share: (k, n): of each batch only the k-th of n parts is read and yielded.
    """
    wanted = [int(row) for row in rows]
    sizes = [batch_size] * math.ceil(len(wanted) / max(batch_size, 1)) if isinstance(batch_size, int) else list(batch_size)
    if (isinstance(batch_size, int) and batch_size < 1) or any(size < 1 for size in sizes):
        raise UserError(f"a batch of {batch_size} rows", need="at least one")
    ids = images.manifest.frame["row_id"]
    seen: Counter[int] = Counter()
    keys = []
    for row in wanted:
        keys.append(0 if key_of is None else key_of(ids[row], seen[row]))
        seen[row] += 1
    ends = np.cumsum(sizes).tolist()
    parts = [_share(end - size, end, *share) for end, size in zip(ends, sizes, strict=True)]
    if workers < 1:
        for part in parts:
            yield _collate(images, wanted[part], [images.tensor(row, key) for row, key in zip(wanted[part], keys[part], strict=True)])
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="images")
    ahead: deque[tuple[list[int], list[Future[Tensor | str]]]] = deque()
    try:
        for part in parts:
            jobs = [pool.submit(images.tensor, row, key) for row, key in zip(wanted[part], keys[part], strict=True)]
            ahead.append((wanted[part], jobs))
            if len(ahead) > 2:  # two batches are under way while one is used
                yield _collect(images, *ahead.popleft())
        while ahead:
            yield _collect(images, *ahead.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _share(start: int, end: int, place: int, of: int) -> slice:
    """Return the part of a batch that is the ``place``-th of ``of``; the first ones have a row more, as ``tensor_split`` makes them."""
    least, more = divmod(end - start, of)
    first = start + place * least + min(place, more)
    return slice(first, first + least + (place < more))


def reading() -> int:
    """Return how many threads read images while a network answers: one, where another processor is there for it."""
    return 1 if processors.cores() > 1 else 0


def _collect(images: ImageDataset, rows: list[int], jobs: list[Future[Tensor | str]]) -> Batch:
    return _collate(images, rows, [job.result() for job in jobs])


def _collate(images: ImageDataset, rows: list[int], items: list[Tensor | str]) -> Batch:
    """Return the batch of rows whose items are tensors, or reasons."""
    readable = {row: item for row, item in zip(rows, items, strict=True) if isinstance(item, Tensor)}
    shapes = {tuple(x.shape): row for row, x in readable.items()}
    if len(shapes) > 1:
        ids = images.manifest.frame["row_id"]
        examples = [f"{ids[row]} is {'x'.join(map(str, shape))}" for shape, row in shapes.items()]
        raise DataError(
            f"images of one batch have different shapes: {listed(examples, 3)}", need="one shape", fix="set input.size to a number"
        )
    shape = next((x.shape for x in readable.values()), None)
    x = torch.stack([item if isinstance(item, Tensor) else images.empty(row, shape) for row, item in zip(rows, items, strict=True)])
    reasons = {row: item for row, item in zip(rows, items, strict=True) if isinstance(item, str)}
    return Batch(torch.tensor(rows, dtype=torch.int64), x, torch.tensor([isinstance(item, Tensor) for item in items]), reasons)


class Packed:
    """Batches as a network answers them: what cannot be read is not computed, and no other row's answer changes by a bit.

    An answer depends on its row, and in its last bits on the shape of the batch and the place in it, but not on the rows beside it. So a
    batch without a readable row is left out, and those with some are put together place by place: each row stays at the place that it had,
    in a batch of the same shape.

    Args:
        stream: from :func:`batches`.
        after_batch: called with how many rows of the stream are done.

    Attributes:
        reasons: row number → why it could not be read, of what has been seen so far.
    """

    def __init__(self, stream: Iterable[Batch], after_batch: Callable[[int], None] | None = None) -> None:
        self.stream, self.after_batch = stream, after_batch
        self.reasons: dict[int, str] = {}
        self._like: Batch | None = None
        self._waiting: list[deque[tuple[int, int, Tensor]]] = []  # of each place in a batch: (row, its number in the stream, image)

    def __iter__(self) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yield (batch, the number in the stream of the row at each place); both −1, and not ok, where no row is."""
        done = 0
        for batch in self.stream:
            at = np.arange(done, done + len(batch.rows))
            done += len(batch.rows)
            self.reasons.update(batch.reasons)
            if bool(batch.ok.all()):
                yield batch, at
            elif bool(batch.ok.any()):
                yield from self._wait(batch, at)
            if self.after_batch is not None:
                self.after_batch(done)
        yield from self._rest()

    def _wait(self, batch: Batch, at: np.ndarray) -> Iterator[tuple[Batch, np.ndarray]]:
        """Let the readable rows of a batch wait for others; yield what need not wait any longer."""
        if self._like is None or (batch.x.shape, batch.x.dtype) != (self._like.x.shape, self._like.x.dtype):
            yield from self._rest()
            self._like, self._waiting = batch, [deque() for _ in at]
        for place in np.flatnonzero(batch.ok.numpy()).tolist():
            self._waiting[place].append((int(batch.rows[place]), int(at[place]), batch.x[place].clone()))
        while all(self._waiting) or sum(map(len, self._waiting)) > WAITING * len(self._waiting):
            yield self._together()

    def _rest(self) -> Iterator[tuple[Batch, np.ndarray]]:
        while any(self._waiting):
            yield self._together()

    def _together(self) -> tuple[Batch, np.ndarray]:
        """Return a batch of the first row that waits for each place."""
        if self._like is None:
            raise ValueError("nothing waits")
        x = torch.zeros_like(self._like.x)
        rows, at = np.full(len(x), -1, dtype=np.int64), np.full(len(x), -1, dtype=np.int64)
        for place, queue in enumerate(self._waiting):
            if queue:
                rows[place], at[place], x[place] = queue.popleft()
        return Batch(torch.from_numpy(rows), x, torch.from_numpy(at >= 0), {}), at


def channel_statistics(images: ImageDataset, rows: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each channel over all pixels of some rows, in [0, 1], as (C,) float64.

    Images are taken one at a time as ``images.transform`` shows them; use :class:`EvalTransform` and the rows of a training fold.
    Rows that cannot be read are left out.

    Raises:
        DataError: none can be read.
    """
    count, mean, spread = 0, np.zeros(images.form.channels), np.zeros(images.form.channels)
    for row in rows:
        x = images.tensor(int(row))
        if isinstance(x, str):
            continue
        values = x.double() if x.is_floating_point() else x.double() / 255
        values = values.transpose(-3, 0).reshape(images.form.channels, -1)  # views count as more pixels
        more, part_mean = values.shape[1], values.mean(1)
        apart = part_mean.numpy() - mean  # images are put together by Chan et al. 1983: no difference of large squares
        spread += (values - part_mean[:, None]).square().sum(1).numpy() + apart**2 * (count * more / (count + more))
        mean += apart * (more / (count + more))
        count += more
    if not count:
        raise DataError("the channels cannot be measured: not one of the rows can be read", fix="see the reasons in audit.parquet")
    return mean, np.sqrt(spread / count)
