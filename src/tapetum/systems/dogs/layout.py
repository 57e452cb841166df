"""Layout ``stanford_dogs``: ``Images/n02085620-Chihuahua/n02085620_7.jpg``, with the official lists of the parts where they are at hand.

The class is what follows the WordNet number; ``train_list.mat`` and ``test_list.mat`` (beside ``Images`` or in ``lists``) become splits.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.targets import read_target
from tapetum.core.words import plural
from tapetum.data.layouts.folder import keep_images, refuse_columns
from tapetum.data.layouts.listing import children
from tapetum.data.layouts.sheet import Sheet, copy_image

_FOLDER = re.compile(r"(n\d{8})-(.+)")
CLASS_FOLDERS = True  # the label of an image is its folder
LISTS = {"train": "train_list.mat", "test": "test_list.mat"}


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    if not isinstance(source, Path) or not source.is_dir():
        return None
    names = [p.name for p in children(_images(source)) if p.is_dir()]
    breeds = [name for name in names if _FOLDER.fullmatch(name)]
    return "its folders are called like n02085620-Chihuahua" if 2 * len(breeds) > len(names) else None


def read(source: Path, data: Data, log: Log) -> Sheet:
    """Read the folder; row ids are paths below ``Images``."""
    root = _images(source)
    names, folders = keep_images(root, log)
    own = {folder for folder in folders if folder.count("/") < 2 and _FOLDER.fullmatch(folder.split("/")[0])}
    empty = sorted(own - {name.rpartition("/")[0] for name in names})
    if empty:
        raise DataError(f"{root} has {plural(len(empty), 'class folder')} without images: {listed(empty)}", fix="fill or remove them")
    loose = [name for name in names if not _FOLDER.fullmatch(name.split("/")[0])]
    if loose:
        raise DataError(f"{root} has images outside the folders of breeds: {listed(loose)}", fix="move or remove them")
    target = read_target(data.targets[0]).name if len(data.targets) == 1 else "breed"
    breeds = [name.split("/")[0].partition("-")[2] for name in names]
    frame = pl.DataFrame({"row_id": names, "path": names, target: breeds})
    roles = {"id": "row_id", "path": "path"}
    splits = _splits(source, names, log)
    if splits is not None:
        frame, roles = frame.with_columns(splits), {**roles, "split": "split"}
    return Sheet(frame, root, source.name, roles, (target,), found=True)


def write(manifest: Manifest, place: Path, log: Log) -> Path:
    """Copy every image below ``Images`` and write the lists of the parts.

    Raises:
        UserError: what the layout cannot hold, by name.
    """
    refuse_columns(manifest, {"split"}, "the Stanford Dogs layout")
    if len(manifest.targets) != 1 or manifest.targets[0].kind != "single":
        raise UserError(f"targets {listed(t.name for t in manifest.targets)} cannot be held by this layout", need="one single-label target")
    for row_id, label in manifest.frame.select("row_id", manifest.targets[0].name).iter_rows():
        folder, _, name = row_id.partition("/")
        found = _FOLDER.fullmatch(folder)
        if found is None or found[2] != label or "/" in name:
            raise UserError(
                f"row {row_id!r} ({label!r}) cannot be held by this layout", need="n02085620-Chihuahua/n02085620_7.jpg or alike"
            )
    splits = manifest.split
    if set(splits) - set(LISTS):
        raise UserError(f"splits {listed(sorted(set(splits)))} cannot be held by this layout", need="train and test")
    with files.whole_folder(place) as aside:
        for row, row_id in enumerate(manifest.row_ids):
            copy_image(manifest.paths(row)[0], aside / "Images" / row_id)
        for part, name in LISTS.items() if "split" in manifest.frame.columns else ():
            _write_list(aside / name, [r for r, s in zip(manifest.row_ids, splits, strict=True) if s == part])
    log(f"{plural(len(manifest), 'image')} copied to {place}")
    return place


def _images(source: Path) -> Path:
    return source / "Images" if (source / "Images").is_dir() else source


def _splits(source: Path, names: list[str], log: Log) -> pl.Series | None:
    """Return the part of each image from the official lists, or None without them."""
    places = [source, source / "lists", source.parent, source.parent / "lists"]
    found = {part: next((p / name for p in places if (p / name).is_file()), None) for part, name in LISTS.items()}
    if any(path is None for path in found.values()):
        return None
    part_of = {name: part for part, path in found.items() if path is not None for name in _read_list(path)}
    unlisted = [name for name in names if name not in part_of]
    if unlisted:
        raise DataError(
            f"{plural(len(unlisted), 'image is', 'images are')} in neither of the official lists: {listed(unlisted)}",
            fix="remove the lists",
        )
    counts = {part: sum(part_of[name] == part for name in names) for part in LISTS}
    log(f"the official lists give {counts['train']} training and {plural(counts['test'], 'test image')}")
    return pl.Series("split", [part_of[name] for name in names], dtype=pl.String)


def _read_list(path: Path) -> list[str]:
    from scipy.io import loadmat

    try:
        return [str(np.asarray(cell).item()) for cell in loadmat(path)["file_list"].ravel()]
    except (KeyError, ValueError, OSError, NotImplementedError) as error:
        raise DataError(f"{path.name} is not a list of Stanford Dogs ({error})", need="a MATLAB file with file_list") from None


def _write_list(path: Path, names: list[str]) -> None:
    from scipy.io import savemat

    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    with files.whole(path) as aside:
        savemat(aside, {"file_list": cells})
