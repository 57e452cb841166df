"""The images that a pipeline was made from, by content hash alone: no paths, no names, no labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.tables import Manifest

FILE = "training_images.parquet"
TRAINED, CHOSEN_ON = "trained", "chosen on"  # a shipped model learned from the image; or only decisions were fitted on it


def write_known(folder: Path, manifest: Manifest, folds: Sequence[int]) -> Path:
    """Write the content hashes of a run's training and extra rows into its pipeline's folder.

    Args:
        folder: of the pipeline.
        manifest: of the run, with hashes and folds.
        folds: whose models ship; −1 is one trained on all rows.
    """
    ours = np.isin(manifest.split, ["train", "extra"]) & (manifest.weight > 0)  # others taught nothing, and nothing was chosen on them
    held_out = np.array([set(folds) == {int(fold)} and fold >= 0 for fold in manifest.fold])  # out by the only model that ships
    use = pl.Series("use", np.where(held_out, CHOSEN_ON, TRAINED).tolist(), dtype=pl.String)
    frame = manifest.frame.select("sha256").with_columns(use).filter(pl.Series(ours) & pl.col("sha256").is_not_null())
    frame = frame.sort("sha256", pl.col("use") == CHOSEN_ON).unique("sha256", keep="first", maintain_order=True)
    return files.write_parquet(folder / FILE, frame)


def read_known(folder: Path) -> dict[str, str] | None:
    """Return content hash → use of the images that a pipeline was made from; None where it has no list (made by an older version)."""
    if not (folder / FILE).exists():
        return None
    frame, _ = files.read_parquet(folder / FILE)
    return dict(zip(frame["sha256"].to_list(), frame["use"].to_list(), strict=True))
