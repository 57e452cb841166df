"""Images → unit vectors of a cosine head, by row: what retrieval searches."""

from __future__ import annotations

import numpy as np
import torch

from tapetum.core.tables import Manifest
from tapetum.core.vectors import Vectors
from tapetum.data.images import dataset
from tapetum.learn.models.network import Network
from tapetum.learn.runtime import Runtime
from tapetum.learn.side import Scaling


@torch.inference_mode()
def embed(
    network: Network,
    images: dataset.ImageDataset,
    rows: np.ndarray,
    target: str,
    runtime: Runtime,
    *,
    scaling: Scaling | None = None,
    batch: int = 64,
) -> Vectors:
    """Return the vectors of some rows of a manifest, of the image as it is; NaN where it cannot be read.

    Args:
        network: with a cosine head for the target.
        images: decoded and resized as for answers.
        rows: (N,) row numbers.
        target: whose head gives the vectors.
        runtime: device and precision.
        scaling: of side numbers, or None.
        batch: images at once.

    Raises:
        UserError: the target's head gives no vectors.
    """
    manifest: Manifest = images.manifest
    rows = np.asarray(rows, dtype=np.int64)
    side = None if scaling is None else runtime.to_device(torch.from_numpy(scaling.apply(manifest)))
    network = runtime.to_device(network).eval()
    found: np.ndarray | None = None
    for part, at in dataset.Packed(dataset.batches(images, rows, batch)):
        values = _vectors(network, part.x, target, None if side is None else side[part.rows], runtime)
        found = np.full((len(rows), values.shape[1]), np.nan, dtype=np.float32) if found is None else found
        use = part.ok.numpy()
        found[at[use]] = values[use]
    if found is None and len(rows):  # not one can be read: an empty image tells how many numbers a vector has
        nothing = images.empty(int(rows[0]), None)[None]
        found = np.full_like(_vectors(network, nothing, target, None if side is None else side[rows[:1]], runtime), np.nan)
        found = np.repeat(found, len(rows), axis=0)
    ids = np.array(manifest.row_ids, dtype=object)[rows]
    return Vectors(ids, np.zeros((0, 0), dtype=np.float32) if found is None else found)


def _vectors(network: Network, x: torch.Tensor, target: str, side: torch.Tensor | None, runtime: Runtime) -> np.ndarray:
    def forward(part: slice) -> np.ndarray:
        with runtime.autocast():
            found = network.vectors(runtime.to_device(x[part]), target, None if side is None else side[part])
        return found.float().cpu().numpy()

    return np.concatenate(runtime.in_pieces(forward, len(x)))
