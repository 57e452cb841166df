"""The folder of a simulation: the layout in ``data``, and outside of it the labels and what was planted."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.errors import UserError
from tapetum.core.words import plural

LAYOUT, TRUTH, SUMMARY, EXCLUDED = "data", "truth.csv", "simulation.json", "exclude.txt"
_THEN = (2020, 1, 1, 0, 0, 0)  # the time in archives, so that the same seed gives the same bytes


@contextlib.contextmanager
def layout(out: Path) -> Iterator[Path]:
    """Yield a fresh folder that becomes ``out/data`` when the block ends well.

    Raises:
        UserError: ``out`` holds something that is no simulation; it is left alone.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / SUMMARY).is_file()):
        raise UserError(
            f"{out} is there already and is no simulation", need="a new folder, or one that simulate made", fix="choose another"
        )
    files.make_folder(out)
    with files.whole_folder(out / LAYOUT) as aside:
        yield aside


def finish(out: Path, truth: pl.DataFrame, summary: dict[str, Any], **places: Path) -> dict[str, Any]:
    """Write the truth and the summary beside the layout; return the summary with the places, which the file names relative to ``out``."""
    files.write_csv(out / TRUTH, truth)
    places = {**places, "truth": out / TRUTH}
    files.write_json(out / SUMMARY, {**summary, "paths": {name: path.relative_to(out) for name, path in places.items()}})
    return {**summary, "paths": {name: path.as_posix() for name, path in places.items()}}


def pack(folder: Path) -> None:
    """Turn a folder into ``folder.zip`` beside it, its files at the top; the same files give the same bytes."""
    members = sorted(p for p in folder.rglob("*") if p.is_file())
    with files.whole(folder.with_name(f"{folder.name}.zip")) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as archive:
        for member in members:  # stored: images are packed already
            info = zipfile.ZipInfo(member.relative_to(folder).as_posix(), _THEN)
            info.external_attr = 0o644 << 16
            archive.writestr(info, member.read_bytes())
    files.remove(folder)


def how_many(size: str | int, sizes: dict[str, int], least: int) -> int:
    """Return the number of images that ``size`` names.

    Raises:
        UserError: another word, or fewer than ``least``.
    """
    if isinstance(size, str) and size.isdecimal():
        size = int(size)
    count = sizes.get(size) if isinstance(size, str) else size
    if count is None:
        raise UserError(f"size is {size!r}", need=f"{' or '.join(map(repr, sizes))} or a number of images")
    if count < least:
        raise UserError(f"size is {plural(count, 'image')}", need=f"at least {least}, so that each class is in both parts")
    return count


def check_side(px: int) -> None:
    """Refuse a side of images that cannot be drawn."""
    if not 8 <= px <= 4096:
        raise UserError(f"px is {px}", need="a side of 8 to 4096 pixels")


def shares(total: int, weights: Sequence[float]) -> list[int]:
    """Split ``total`` in proportion to ``weights``, rounded by largest remainder."""
    exact = [total * w / sum(weights) for w in weights]
    out = [int(e) for e in exact]
    for i in sorted(range(len(exact)), key=lambda i: out[i] - exact[i])[: total - sum(out)]:
        out[i] += 1
    return out
