"""The audit that a run keeps: people may change its decisions, so it has no hash; its rows carry those of their images."""

from __future__ import annotations

import polars as pl

from tapetum.core import files, hashes
from tapetum.core.errors import DataError, listed
from tapetum.core.runs import Run
from tapetum.core.tables import Manifest

FILE = "audit.parquet"


def read(run: Run, manifest: Manifest) -> pl.DataFrame:
    """Return a run's audit, a row an image.

    Args:
        run: its folder.
        manifest: the run's.

    Raises:
        DataError: the file is broken, or that of other images.
    """
    place = run.file(FILE)
    table, _ = files.read_parquet(place)
    if "row_id" not in table.columns:
        raise DataError(f"{place} is no audit (it has no column row_id)", fix=f"make it anew: tapetum audit {run.root}")
    known = table if "sha256" in table.columns else table.with_columns(sha256=pl.lit(None, pl.String))
    both = manifest.frame.select("row_id", mine="sha256").join(known.select("row_id", "sha256"), on="row_id")
    other = both.filter(pl.col("mine") != pl.col("sha256"))["row_id"].to_list()
    if other or (len(manifest) and not len(both)):
        what = f"has other images than the run: {listed(other)}" if other else "has no row of the run"
        raise DataError(f"{place} {what}", fix=f"put the run's own file back, or make it anew: tapetum audit {run.root}")
    return table


def found(run: Run, manifest: Manifest | None) -> pl.DataFrame | None:
    """Return a run's audit; None of a run that is not finished, or made by an earlier version, and has none."""
    place = run.file(FILE)
    if manifest is None or not (place.exists() or run.file(hashes.RECORD).exists()):
        return files.read_parquet(place)[0] if place.exists() else None
    if not place.exists():
        raise DataError(f"{place} is absent", fix=f"put it back, or make it anew: tapetum audit {run.root}")
    return read(run, manifest)
