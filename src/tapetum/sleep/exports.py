"""Write a hypnogram where other programs read it: CSV, BIDS TSV, JSON, EDF+ annotations; the issue table beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files, table_files
from tapetum.core.delimited import to_delimited
from tapetum.core.errors import UserError, listed
from tapetum.sleep.edf_write import write_stages
from tapetum.sleep.hypnogram import Hypnogram
from tapetum.sleep.issues import Issue, table
from tapetum.sleep.stages import SHORT, STAGES

ENDINGS = (".csv", ".tsv", ".json", ".edf")


def export(night: Hypnogram, path: Path | str) -> Path:
    """Write a hypnogram as its ending says.

    ``.csv``: epoch (from 1), onset (s), stage, and ``p_Wake`` … where there are probabilities. ``.tsv``: BIDS events (onset, duration,
    trial_type). ``.json``: stages, probabilities, start. ``.edf``: EDF+ annotations, as long as the night.

    Raises:
        UserError: another ending.
    """
    refuse_ending(path)
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".edf":
        return write_stages(path, night)
    if kind == ".json":
        return files.write_json(path, to_json(night))
    if kind == ".tsv":
        return files.write_text(path, to_delimited(to_bids(night), "\t"))
    return files.write_text(path, to_delimited(to_frame(night)))


def refuse_ending(path: Path | str) -> None:
    """Refuse a file whose ending says no kind of hypnogram."""
    kind = Path(path).suffix.lower()
    if kind not in ENDINGS:
        raise UserError(f"{path} ends in {kind!r}", need=f"a name that ends in {listed(ENDINGS)}")


def to_frame(night: Hypnogram) -> pl.DataFrame:
    """Return a row an epoch: its number from 1, onset in seconds, stage, and probabilities where there are any."""
    columns: dict[str, Any] = {
        "epoch": np.arange(1, len(night) + 1),
        "onset": np.arange(len(night)) * night.epoch,
        "stage": night.labels(),
    }
    if night.p is not None:
        for number, name in enumerate(STAGES):
            columns[f"p_{name}"] = pl.Series(
                [None if np.isnan(one) else round(float(one), 6) for one in night.p[:, number]], dtype=pl.Float64
            )
    return pl.DataFrame(columns)


def to_bids(night: Hypnogram) -> pl.DataFrame:
    """Return events as BIDS names them: an epoch a row, stages as W, N1, N2, N3, R, and n/a for unscored ones."""
    kinds = [SHORT[stage] if stage >= 0 else "n/a" for stage in night.stages.tolist()]
    return pl.DataFrame({"onset": np.arange(len(night)) * night.epoch, "duration": [night.epoch] * len(night), "trial_type": kinds})


def to_json(night: Hypnogram) -> dict[str, Any]:
    """Return plain values that :func:`tapetum.sleep.hypnogram_files.read_hypnogram` reads again."""
    p = None if night.p is None else [None if np.isnan(row).any() else [round(float(one), 6) for one in row] for row in night.p]
    clock = None if night.clock is None else night.clock.replace(microsecond=0).isoformat()
    lights = {"lights_off": night.lights.off, "lights_on": night.lights.on}
    return {"epoch": night.epoch, "start": clock, "scorer": night.scorer, **lights, "stages": night.labels(), "p": p}


def write_issues(path: Path | str, issues: Iterable[Issue]) -> Path:
    """Write the issue table as CSV."""
    return files.write_text(path, table_files.as_csv(table(issues), for_people=True))


def write_statistics(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write statistics as CSV, a row a night."""
    return files.write_text(path, table_files.as_csv(pl.DataFrame(list(rows), infer_schema_length=None), for_people=True))
