"""Vectors by row, the rows that they are searched among, and what is nearest.

Vectors have length 1, so that a product is a cosine. Files are Parquet: an id and a vector a row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.errors import DataError

CHUNK = 4096  # rows compared with a gallery at a time
_TRUTH = "y."  # before a target's name in a gallery's columns


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (N, D) of length 1, so that products are cosines; rows of zeros stay zeros, and rows of NaN stay NaN."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


@dataclasses.dataclass(frozen=True)
class Vectors:
    """One vector a row.

    Args:
        row_ids: (N,) of strings.
        matrix: (N, E) float32 of length 1; NaN rows where an image could not be read.
    """

    row_ids: np.ndarray
    matrix: np.ndarray

    def where(self, rows: np.ndarray) -> Vectors:
        """Return some rows: a boolean mask or row numbers."""
        return Vectors(self.row_ids[rows], self.matrix[rows])

    def write(self, path: Path | str, meta: Mapping[str, Any] | None = None) -> Path:
        """Write as Parquet, ``meta`` in its metadata."""
        return files.write_parquet(path, _frame(self), meta)

    @classmethod
    def read(cls, path: Path | str) -> Vectors:
        """Read what :meth:`write` wrote."""
        frame, _ = files.read_parquet(path)
        return cls(_ids(frame, path), frame["vector"].to_numpy())


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """The nearest gallery rows of some rows: one in each of V galleries (one a fold's model).

    Args:
        cosine: (N, V) float32; NaN where a row has no vector or a gallery does not answer for it.
        y: target → truth of the nearest row (N, V, K); NaN rows where unknown.
    """

    cosine: np.ndarray
    y: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.cosine)

    def __getitem__(self, rows: Any) -> Neighbors:
        return Neighbors(self.cosine[rows], {name: y[rows] for name, y in self.y.items()})

    @classmethod
    def joined(cls, parts: Sequence[Neighbors]) -> Neighbors:
        """Put the galleries of several finds side by side."""
        names = parts[0].y
        cosine = np.concatenate([part.cosine for part in parts], axis=1)
        return cls(cosine, {name: np.concatenate([part.y[name] for part in parts], axis=1) for name in names})


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Rows with vectors of one model, and their truth.

    Args:
        vectors: of rows that have one.
        y: target → (G, K), NaN rows where unknown.
    """

    vectors: Vectors
    y: dict[str, np.ndarray]

    def nearest(self, matrix: np.ndarray) -> Neighbors:
        """Return the gallery row of the largest cosine for each vector (N, E), exactly; V is 1."""
        known = np.isfinite(matrix).all(axis=1)
        cosine = np.full(len(matrix), np.nan, dtype=np.float32)
        place = np.zeros(len(matrix), dtype=np.int64)
        for start in range(0, len(matrix), CHUNK):
            part = start + np.flatnonzero(known[start : start + CHUNK])
            product = matrix[part] @ self.vectors.matrix.T
            place[part] = product.argmax(axis=1)
            cosine[part] = product.max(axis=1)
        y = {name: np.where(known[:, None], truth[place], np.nan)[:, None] for name, truth in self.y.items()}
        return Neighbors(cosine[:, None], y)

    def closest(self, vector: np.ndarray, count: int) -> list[tuple[int, float]]:
        """Return (row of the gallery, cosine) of those nearest to a vector (E,), nearest first."""
        cosine = self.vectors.matrix @ vector
        return [(int(row), float(cosine[row])) for row in np.argsort(-cosine, kind="stable")[:count]]

    def write(self, path: Path | str) -> Path:
        """Write as Parquet: ``row_id``, ``vector`` and ``y.<target>``."""
        return files.write_parquet(path, _frame(self.vectors).with_columns(pl.Series(_TRUTH + name, y) for name, y in self.y.items()))

    @classmethod
    def read(cls, path: Path | str) -> Gallery:
        """Read what :meth:`write` wrote."""
        frame, _ = files.read_parquet(path)
        truths = {name.removeprefix(_TRUTH): frame[name].to_numpy() for name in frame.columns if name.startswith(_TRUTH)}
        return cls(Vectors(_ids(frame, path), frame["vector"].to_numpy()), truths)


def _frame(vectors: Vectors) -> pl.DataFrame:
    ids = pl.Series("row_id", vectors.row_ids.tolist(), dtype=pl.String)
    return pl.DataFrame([ids, pl.Series("vector", np.ascontiguousarray(vectors.matrix, dtype=np.float32))])


def _ids(frame: pl.DataFrame, path: Path | str) -> np.ndarray:
    if not {"row_id", "vector"} <= set(frame.columns):
        raise DataError(f"{path} holds no vectors", need="the columns row_id and vector")
    return frame["row_id"].to_numpy().astype(object)
