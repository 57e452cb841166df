"""Side numbers of a row, scaled by what the training rows of a fold show; a missing number counts as their mean."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import polars as pl

from tapetum.core.errors import DataError
from tapetum.core.tables import Manifest


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Mean and deviation of each side number.

    Args:
        names: columns of the manifest, in order.
        mean: of each (S,).
        std: of each (S,); 1 where a column never varies.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def measure(cls, manifest: Manifest, rows: np.ndarray) -> Scaling | None:
        """Measure on the training rows; None where the manifest has no side numbers."""
        if not manifest.side:
            return None
        values = _numbers(manifest, manifest.side)[rows]
        empty = [name for name, column in zip(manifest.side, values.T, strict=True) if np.isnan(column).all()]
        if empty:
            raise DataError(f"side number {empty[0]!r} is blank in every training row", fix="leave it out of data.side")
        std = np.nanstd(values, axis=0)
        return cls(manifest.side, tuple(np.nanmean(values, axis=0).tolist()), tuple(np.where(std > 1e-12, std, 1.0).tolist()))

    def apply(self, manifest: Manifest) -> np.ndarray:
        """Return the scaled numbers (N, S) float32 of all rows; 0 where one is missing."""
        values = (_numbers(manifest, self.names) - np.array(self.mean)) / np.array(self.std)
        return np.nan_to_num(values, nan=0.0).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any] | None) -> Scaling | None:
        """Rebuild from :meth:`to_dict`; None stays None."""
        return None if value is None else cls(tuple(value["names"]), tuple(value["mean"]), tuple(value["std"]))


def _numbers(manifest: Manifest, names: tuple[str, ...]) -> np.ndarray:
    missing = [name for name in names if name not in manifest.frame.columns]
    if missing:
        raise DataError(f"the side number {missing[0]!r} is not in the table", need=f"the columns {', '.join(names)}")
    columns = manifest.frame.select(pl.col(name).cast(pl.Float64, strict=False) for name in names)
    return columns.to_numpy().astype(np.float64)
