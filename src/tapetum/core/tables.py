"""The two tables that stages pass on: Manifest (images and labels) and Predictions (probabilities and decisions).

Both are polars frames with checked columns. On disk they are Parquet with the targets in the file's metadata; in memory the work is
done on dense matrices (:class:`Dense`), one per target and member, and rows are matched by ``row_id`` alone, never by place.
"""

from __future__ import annotations

from tapetum.core.manifest import RESERVED, SPLITS, Manifest, check_ids, free_name
from tapetum.core.predictions import FINAL, REDUCED, Dense, Predictions, decided

__all__ = ["FINAL", "REDUCED", "RESERVED", "SPLITS", "Dense", "Manifest", "Predictions", "check_ids", "decided", "free_name"]
