"""Photos for the measurements of speed: the shared dogs and faces, and as many different JPEG files made of them as are wanted."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, ImageOps

import recorded

Row = dict[str, str]


def mixed(sets: Sequence[tuple[str, str]] = (("dogs", "breed"), ("faces", "gender"))) -> list[Row]:
    """Return path, label and set of all photos of some sets, mixed."""
    rows = []
    for name, label in sets:
        with (recorded.DATA / name / "labels.csv").open(newline="", encoding="utf-8") as text:
            rows += [{"path": str(recorded.DATA / name / row["file"]), "label": row[label], "set": name} for row in csv.DictReader(text)]
    return [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]


def derived(photos: Sequence[Row], count: int, place: Path) -> list[Row]:
    """Write so many different JPEG files: the photos, mirrored ones and parts of them; return their rows."""
    place.mkdir()
    rows = []
    for number in range(count):
        photo = photos[number % len(photos)]
        image, path, version = Image.open(photo["path"]).convert("RGB"), place / f"{number}.jpg", number // len(photos)
        if version % 2:
            image = ImageOps.mirror(image)
        if version >= 2:
            cut = 8 * (version // 2)
            image = image.crop((cut, cut, image.width - cut, image.height - cut))
        image.save(path, quality=92)
        rows.append({**photo, "path": str(path)})
    return rows


def write(rows: Sequence[Row], table: Path) -> Path:
    """Write a table of rows."""
    pl.DataFrame(rows).write_csv(table)
    return table
