"""Images → vectors, once: stored by row with what they are, so that probe, audit and sequence heads share them.

A store is a folder named by a hash of weights, preprocessing and engine. Rows are worked through in fixed chunks, each kept as soon as
it is done; a chunk is used again where its rows and the contents of their images are the same, so a kill loses at most one chunk.
Rows whose contents are not known are computed anew each time, but for those that could not be read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tapetum.core import draws, files, kept_json, stores
from tapetum.core.arrays import load_array
from tapetum.core.choices import name_of
from tapetum.core.config import Input, Spec
from tapetum.core.errors import DataError
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.data.images import dataset
from tapetum.data.images import views as seen
from tapetum.learn import sessions
from tapetum.learn.models.backbone import built, state_hash
from tapetum.learn.runtime import Engine, Runtime

CHUNK = 512  # rows worked through between two writes


@dataclasses.dataclass(frozen=True)
class Features:
    """Vectors of the rows of a manifest.

    Args:
        row_ids: (N,) of strings.
        vectors: (N, V, D) float32, one vector a view as the backbone gave it; NaN where the image could not be read.
        status: (N,) ok or missing.
        reasons: row_id → why its image could not be read.
        images: the manifest's, as evaluation shows them.
        views: names of the views.
        key: the hash that names the store.
    """

    row_ids: np.ndarray
    vectors: np.ndarray
    status: np.ndarray
    reasons: dict[str, str]
    views: tuple[str, ...]
    key: str

    def of(self, row_ids: Sequence[str] | np.ndarray) -> np.ndarray:
        """Return the vectors of some rows (M, V, D), in the order given; rows that are not here are NaN."""
        place = {row_id: i for i, row_id in enumerate(self.row_ids)}
        out = np.full((len(row_ids), *self.vectors.shape[1:]), np.nan, dtype=np.float32)
        for i, row_id in enumerate(row_ids):
            if row_id in place:
                out[i] = self.vectors[place[row_id]]
        return out


def extract(
    network: nn.Module,
    images: dataset.ImageDataset,
    *,
    views: Sequence[Spec] = ("plain",),
    store: Path | str | None = None,
    runtime: Runtime | None = None,
    batch: int = 32,
    log: Log | None = None,
    after_batch: Callable[[int, int], None] | None = None,
) -> Features:
    """Return the vectors of all rows of some images, from the store where they are there.

    Args:
        network: with ``features(x)``; normalises by itself.
        images: as evaluation shows them; their manifest gives the order of the rows.
        views: names of ``data.choices.VIEWS``; those that show several images count as several views.
        store: the run's ``features`` folder; None keeps nothing.
        runtime: device, precision, layout.
        batch: rows at once.
        log: receives messages about what is computed and where it came from.
        after_batch: called with (rows done, rows in all).
    """
    runtime = runtime or Runtime()
    manifest = images.manifest
    what = describe(network, images.settings, views, runtime)
    key = files.fingerprint(what)
    folder = None if store is None else Path(store) / key
    contents = manifest.frame["sha256"].to_list()
    if folder is not None and (kept := stored(folder, manifest.row_ids, contents)) is not None:
        if log is not None:
            log(f"features: {plural(len(manifest), 'row')} from {folder}")
        return kept
    work = _Work(runtime.to_device(network).eval(), images, tuple(views), runtime, batch)
    reasons: dict[str, str] = {}

    def parts() -> Iterator[np.ndarray]:
        for rows in _chunks(images, batch):
            part, why = _chunk(work, rows, folder, contents)
            reasons.update(why)
            yield part
            if after_batch is not None:
                after_batch(int(rows[-1]) + 1, len(manifest))

    vectors = gather(parts(), len(manifest))
    status = np.array(["missing" if row_id in reasons else "ok" for row_id in manifest.row_ids], dtype=object)
    broken = np.flatnonzero(~np.isfinite(vectors.sum(axis=(1, 2))) & (status == "ok"))
    if len(broken):
        raise DataError(
            f"the network gives numbers that are not finite for {plural(len(broken), 'image')}, first {manifest.row_ids[broken[0]]!r}",
            fix="set train.precision = '32', or check the weights",
        )
    found = Features(np.array(manifest.row_ids, dtype=object), vectors, status, reasons, _names(views, vectors.shape[1]), key)
    if folder is not None:
        keep(folder, found, contents, what)
    if log is not None:
        log(
            f"features: {plural(len(manifest), 'row')} × {plural(vectors.shape[1], 'view')} × "
            f"{plural(vectors.shape[2], 'number')} ({runtime.engine.name})"
        )
    return found


def _chunks(images: dataset.ImageDataset, batch: int) -> list[np.ndarray]:
    """Return the rows of each chunk: whole batches, with about ``CHUNK`` rows that are not known to be missing."""
    known = np.zeros(len(images), dtype=bool)
    known[list(images.missing)] = True
    chunks: list[np.ndarray] = []
    first, work = 0, 0
    for start in range(0, len(images), batch):
        end = min(start + batch, len(images))
        work += int((~known[start:end]).sum())
        if work + batch > max(batch, CHUNK) or end == len(images):
            chunks.append(np.arange(first, end))
            first, work = end, 0
    return chunks


def describe(network: nn.Module, settings: Input, views: Sequence[Spec], runtime: Runtime) -> dict[str, Any]:
    """Return what the vectors depend on besides the images: weights, preprocessing, engine."""
    backbone = getattr(network, "backbone", network)
    numbers = {name: getattr(network, name).flatten().tolist() for name in ("mean", "std") if hasattr(network, name)}
    preprocessing = settings.model_dump(mode="json", exclude={"cache", "normalise"})
    return {
        "weights": state_hash(backbone),
        "backbone": getattr(backbone, "pretrained_cfg", {}).get("architecture", type(backbone).__name__),
        **built(backbone),
        "preprocessing": {**preprocessing, **numbers},
        **({"positions": network.positions} if getattr(network, "positions", 1) != 1 else {}),
        "views": list(views),
        "engine": {**runtime.engine.to_dict(), "torch": torch.__version__, **_version(runtime.engine)},
    }


def _version(engine: Engine) -> dict[str, str]:
    return {} if engine.backend == "torch" else {engine.backend: sessions.version(engine.backend)}


@dataclasses.dataclass(frozen=True)
class _Work:
    """What every chunk needs."""

    network: Any
    images: dataset.ImageDataset
    views: tuple[Spec, ...]
    runtime: Runtime
    batch: int


def _chunk(work: _Work, rows: np.ndarray, folder: Path | None, contents: list[str | None]) -> tuple[np.ndarray, dict[str, str]]:
    """Return the vectors of some rows, from the part that an earlier start left, or computed and then left as one.

    Parts are named by the rows and contents that they hold, and their hash is kept, so nothing is taken for something else.
    """
    if folder is None:
        return _computed(work, rows)
    ids = work.images.manifest.frame["row_id"]
    name = files.fingerprint([[ids[int(r)], contents[r]] for r in rows])
    part, why = folder / "parts" / f"{name}.npy", folder / "parts" / f"{name}.json"
    if part.exists() and why.exists():
        kept = kept_json.read_object(why)
        reasons: dict[str, str] = kept.get("reasons", {})
        known = all(contents[r] is not None or ids[int(r)] in reasons for r in rows)
        if known and kept.get("vectors_sha256") == files.sha256(part):
            return load_array(part), reasons
    vectors, reasons = _computed(work, rows)
    files.write_array(part, vectors)
    files.write_json(why, {"reasons": reasons, "vectors_sha256": files.sha256(part)})
    return vectors, reasons


@torch.inference_mode()
def _computed(work: _Work, rows: np.ndarray) -> tuple[np.ndarray, dict[str, str]]:
    """Return the vectors of some rows (N, V, D), NaN where an image cannot be read; (N, 0, 0) where none can."""
    ids = work.images.manifest.frame["row_id"]
    out = np.zeros((len(rows), 0, 0), dtype=np.float32)
    packed = dataset.Packed(dataset.batches(work.images, rows, work.batch, workers=dataset.reading()))
    for batch, at in packed:
        keys = [draws.key("features", ids[int(row)]) for row in batch.rows]
        found = []
        for spec in work.views:
            for x in seen.expand(batch.x, spec, keys):
                found.append(_vectors(work, x))
        vectors = np.stack(found, axis=1)
        if not out.shape[2]:
            out = np.full((len(rows), *vectors.shape[1:]), np.nan, dtype=np.float32)
        use = batch.ok.numpy()
        out[at[use]] = vectors[use]
    return out, {ids[row]: why for row, why in packed.reasons.items()}


def _vectors(work: _Work, x: torch.Tensor) -> np.ndarray:
    def forward(part: slice) -> np.ndarray:
        with work.runtime.autocast():
            out: np.ndarray = work.network.features(work.runtime.to_device(x[part])).float().cpu().numpy()
            return out

    return np.concatenate(work.runtime.in_pieces(forward, len(x)))


def gather(parts: Iterable[np.ndarray], count: int) -> np.ndarray:
    """Return the vectors of all chunks (count, V, D), each put into its place as it comes, so that none is held twice.

    A chunk without a readable row is (rows, 0, 0): it does not know how many numbers a vector has, and its vectors are NaN.
    """
    out, first = np.zeros((count, 1, 0), dtype=np.float32), 0
    for part in parts:
        if part.shape[2]:
            if not out.shape[2]:
                out = np.full((count, *part.shape[1:]), np.nan, dtype=np.float32)
            out[first : first + len(part)] = part
        first += len(part)
    return out


def _names(views: Sequence[Spec], count: int) -> tuple[str, ...]:
    names = [name_of(spec) for spec in views]
    return tuple(names) if len(names) == count else tuple(f"view-{i}" for i in range(count))


def keep(folder: Path, found: Features, contents: list[str | None], what: dict[str, Any]) -> None:
    """Write vectors first, then the index that says what they are; parts are no longer needed."""
    rows = {"row_id": found.row_ids.tolist(), "sha256": contents, "status": found.status.tolist(), "reasons": found.reasons}
    stores.write(folder, found.vectors, {"what": what, "views": list(found.views), **rows})
    files.remove(folder / "parts")


def stored(folder: Path, row_ids: list[str], contents: list[str | None]) -> Features | None:
    """Return the rows from a finished store, if it has all of them with the same image contents.

    Raises:
        DataError: a file of the store is not the one that was written.
    """
    if not (folder / stores.INDEX).exists():
        return None
    index = stores.index(folder)
    place = {
        (row_id, content): i
        for i, (row_id, content) in enumerate(zip(index["row_id"], index["sha256"], strict=True))
        if content is not None or row_id in index["reasons"]
    }
    wanted = list(zip(row_ids, contents, strict=True))
    if any(pair not in place for pair in wanted):
        return None
    at = np.array([place[pair] for pair in wanted], dtype=np.int64)
    vectors = stores.vectors(folder, index)
    if len(vectors) != len(index["row_id"]):
        return None
    status = np.array(index["status"], dtype=object)[at]
    known = set(row_ids)
    reasons = {k: v for k, v in index["reasons"].items() if k in known}
    if not np.array_equal(at, np.arange(len(vectors))):
        vectors = vectors[at]
    return Features(np.array(row_ids, dtype=object), vectors, status, reasons, tuple(index["views"]), folder.name)
