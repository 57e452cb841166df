"""Layout ``hpa``: the Human Protein Atlas challenge, four one-channel images and several of 28 labels a sample.

``train.csv`` (Id, Target: class ids with blanks between, and any further columns), ``sample_submission.csv`` (Id, Predicted), images
``train/{Id}_{red,green,blue,yellow}.png`` and ``test/…``, as folders or as zip archives read in place. A part of the images may be in
folders called ``train_…`` and ``test_…`` instead (``train_sample``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.words import plural
from tapetum.data.layouts.delimited import header_of, most_cells, read_delimited, to_delimited
from tapetum.data.layouts.folder import refuse_columns
from tapetum.data.layouts.listing import archive_names
from tapetum.data.layouts.sheet import ARCHIVE_MARK, Sheet, copy_image
from tapetum.data.layouts.table import joined_labels

CHANNELS = ("red", "green", "blue", "yellow")  # microtubules, protein, nucleus, endoplasmic reticulum
CLASSES = tuple(str(i) for i in range(28))
TRUTH, ANSWER = ["Id", "Target"], ["Id", "Predicted"]
TABLE, TEMPLATE = "train.csv", "sample_submission.csv"
SAMPLE = "{Id}_{" + ",".join(CHANNELS) + "}.png"  # the files of one sample


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    if not isinstance(source, Path):
        return None
    table = source / TABLE if source.is_dir() else source
    if table.name != TABLE or not set(TRUTH) <= set(header_of(table)):
        return None
    if any(_images(table.parent, "train", channel) is None for channel in CHANNELS) or not most_cells(table, "Target", _is_codes):
        return None
    return f"{TABLE} has the columns Id and Target (numbers from 0 to {len(CLASSES) - 1}), and images train/…_green.png are beside it"


def read(source: Path, data: Data, log: Log) -> Sheet:
    """Read the folder (or its ``train.csv``); test rows come from ``sample_submission.csv``, where their images are at hand."""
    root = source if source.is_dir() else source.parent
    if not (root / TABLE).is_file():
        raise DataError(
            f"{TABLE} is not in {root}", need=f"a folder with {TABLE} (Id,Target) and images train/…_green.png", fix="check the path"
        )
    frames = [_part(root, "train", TABLE, TRUTH, log)]
    if (root / TEMPLATE).is_file():
        if data.path is not None:
            log(f"{TEMPLATE} is passed over: data.path says where the images of {TABLE} are")
        elif _images(root, "test") is None:
            log(f"{TEMPLATE} is passed over: there are no images in {root.name}/test or test.zip")
        else:
            frames.append(_part(root, "test", TEMPLATE, ANSWER, log).with_columns(pl.lit(None, pl.String).alias("Target")))
    frame = pl.concat(frames, how="diagonal_relaxed")
    targets = ({"name": "Target", "kind": "multi", "classes": list(CLASSES)},)
    return Sheet(frame, root, root.name, {"id": "Id", "path": "path", "split": "split"}, targets)


def write(manifest: Manifest, place: Path, log: Log) -> Path:
    """Write the folder: tables, and a copy of every image.

    Raises:
        UserError: what the layout cannot hold, by name.
    """
    refuse_columns(manifest, {"split"}, "the HPA layout")
    if [(t.name, t.kind) for t in manifest.targets] != [("Target", "multi")]:
        raise UserError(
            f"targets {listed(f'{t.name} ({t.kind})' for t in manifest.targets)} cannot be held by the HPA layout", need="Target (multi)"
        )
    splits, frame = manifest.split, manifest.frame
    for row, row_id in enumerate(manifest.row_ids):
        labels = frame["Target"][row]
        odd = "/" in row_id or len(frame["path"][row]) != len(CHANNELS) or splits[row] not in ("train", "test")
        if odd or (splits[row] == "test") != (labels is None):
            raise UserError(
                f"row {row_id!r} cannot be held by the HPA layout",
                need="an id without '/', four images, split train or test, labels in training rows alone",
            )
    texts = frame.with_columns(joined_labels(frame, "Target", " ")).select(pl.col("row_id").alias("Id"), "Target")
    with files.whole_folder(place) as aside:
        for row, row_id in enumerate(manifest.row_ids):
            for channel, path in zip(CHANNELS, manifest.paths(row), strict=True):
                copy_image(path, aside / splits[row] / f"{row_id}_{channel}.png")
        files.write_text(aside / TABLE, to_delimited(texts.filter(pl.Series(splits == "train"))))
        if (splits == "test").any():
            empty = texts.filter(pl.Series(splits == "test")).select("Id", pl.lit("0").alias("Predicted"))
            files.write_text(aside / TEMPLATE, to_delimited(empty))
    log(f"{plural(len(manifest), 'sample')} written to {place}")
    return place


def _is_codes(cell: str) -> bool:
    """Tell whether a cell holds class ids with blanks between."""
    return set(cell.split()) <= set(CLASSES)


def _images(root: Path, part: str, channel: str = CHANNELS[1]) -> str | None:
    """Return what comes before ``{Id}_green.png``: a folder, or an archive and its inner folder; None without images."""
    others = sorted(p for p in root.glob(f"{part}[_-]*") if p.is_dir() or p.suffix.lower() == ".zip")
    for place in (root / part, root / f"{part}.zip", *others):
        if place.is_dir():
            inner = next((p for p in (place, place / part) if any(p.glob(f"*_{channel}.png"))), None)
            if inner is not None:
                return f"{inner.relative_to(root).as_posix()}/"
        elif place.is_file():
            member = next((name for name in archive_names(place) if name.endswith(f"_{channel}.png")), None)
            if member is not None:
                return f"{place.name}{ARCHIVE_MARK}{member[: member.rfind('/') + 1]}"
    return None


def _part(root: Path, part: str, table: str, columns: list[str], log: Log) -> pl.DataFrame:
    frame, _ = read_delimited(root / table)
    if not set(columns) <= set(frame.columns):
        raise DataError(f"{table} has the columns {listed(frame.columns)}", need=listed(columns), fix="or read it with --layout table")
    before = _images(root, part)
    if before is None:
        raise DataError(f"{root} has no images {part}/…_{CHANNELS[1]}.png", need=f"a folder {part} or an archive {part}.zip")
    if frame["Id"].null_count():
        raise DataError(f"{table} has rows without an Id", fix="fill it in or remove the rows")
    log(f"{table}: {plural(len(frame), 'sample')}, images {before}…_{{{','.join(CHANNELS)}}}.png")
    paths = [[f"{before}{row_id}_{channel}.png" for channel in CHANNELS] for row_id in frame["Id"].to_list()]
    found = frame.with_columns(pl.Series("path", paths, dtype=pl.List(pl.String)), pl.lit(part).alias("split"))
    own = ("Id", "path", "split", "Target")
    others = [name for name in frame.columns if name not in (*own, *columns)]  # as an antibody, for --group
    return found.select("Id", "path", "split", *(["Target"] if "Target" in columns else []), *others)
