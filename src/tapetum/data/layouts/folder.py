"""Layout ``folder``: a folder (or a zip archive) of class folders; ``train/`` and ``test/`` above them where so declared.

What it holds: one single-label target, splits, and images below their class at any depth. Row ids are paths below the folder.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.targets import read_target
from tapetum.core.words import plural, verb
from tapetum.data.images import formats
from tapetum.data.layouts import class_folders
from tapetum.data.layouts.listing import Listing, is_hidden, listing, refuse_undecodable
from tapetum.data.layouts.sheet import ARCHIVE_MARK, Sheet, copy_image, images_among
from tapetum.data.layouts.splits import SPLIT_WORDS

CLASS_FOLDERS = True  # the label of an image is its folder
DECLARED = "folder"  # data.split = "folder": the first folders are splits


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    if isinstance(source, Path) and source.is_dir():
        return "it is a folder"
    return "it is a zip archive" if isinstance(source, Path) and source.suffix.lower() == ".zip" else None


def read(source: Path, data: Data, log: Log) -> Sheet:
    """Read a folder of class folders.

    Args:
        source: the folder or the zip archive.
        data: ``targets`` may name the one target (else ``label``); ``split = "folder"`` declares the first folders to be splits.
        log: receives messages about what is left out and what is read as a split.

    Raises:
        DataError: no images, or a class folder without any: it is named.
    """
    names, found = _images(source, log)
    folders = found.folders
    above = class_folders.below_wrappers(names)
    if above:
        log(f"{source.name}: everything is in the folder {above.rstrip('/')}; the folders below it are read")
    folders = [folder.removeprefix(above) for folder in folders if folder.startswith(above) and folder != above.rstrip("/")]
    folders = [folder for folder in folders if folder.count("/") < 2]
    short = [name.removeprefix(above) for name in names]
    by_split = _splits_above(source, folders, data, log)
    labels = [_label(name, by_split) for name in short]
    if data.layout == "auto" and not by_split:
        tables = class_folders.tables_among(found.files, names)
        _beside_a_table(source, tables, names, short, labels, data, log)
        if data.split != "none":
            class_folders.refuse_strange(source, folders, short)
    _refuse_empty(source, folders, short, by_split)
    prefix = f"{source.name}{ARCHIVE_MARK}" if source.is_file() else ""
    target = read_target(data.targets[0]).name if len(data.targets) == 1 else "label"
    columns: dict[str, Any] = {"row_id": names, "path": [prefix + name for name in names], target: labels}
    roles = {"id": "row_id", "path": "path"}
    if by_split:
        tops = [name.split("/", 1)[0] for name in short]
        columns["split"] = [class_folders.split_of(top) or top for top in tops]
        roles["split"] = "split"
    frame = pl.DataFrame({name: pl.Series(values, dtype=pl.String) for name, values in columns.items()})
    deep = sum(name.count("/") > 1 + by_split for name in short)
    if deep:
        log(f"{plural(deep, 'image lies', 'images lie')} deeper than the class folder, of whose class {verb(deep, 'it is', 'they are')}")
    return Sheet(frame, source.parent if source.is_file() else source, source.name, roles, (target,), found=True)


def check_labels(sheet: Sheet, target: str, data: Data) -> None:
    """Refuse a folder without class folders, with a single one, or with images beside them, in the words of folders.

    Raises:
        DataError: names the images or the class.
    """
    frame = sheet.frame
    if "split" in frame.columns:
        frame = frame.filter(~frame["split"].is_in(["test", "testing", "extra", "spare"]))
    names, loose = frame["row_id"].to_list(), frame.filter(frame[target].is_null())["row_id"].to_list()
    source = sheet.root if sheet.root.name == sheet.name else sheet.root / sheet.name
    if loose and (data.blank == "refuse" or len(loose) == len(names)):
        raise class_folders.refuse_unlabelled(source, names, loose)
    classes = frame[target].drop_nulls().unique().to_list()
    if len(classes) == 1 and not (data.test or data.extra):
        raise class_folders.refuse_one_class(source, classes[0])


def write(manifest: Manifest, place: Path, log: Log) -> Path:
    """Copy every image into ``place/[split/]class/``.

    Raises:
        UserError: what the layout cannot hold: another number of targets than one, groups, weights, several images a row, blanks.
    """
    refuse_columns(manifest, {"split"}, "a folder of class folders")
    targets = [t for t in manifest.targets if t.expression is None]
    if len(targets) != 1 or targets[0].kind not in ("single", "ordinal"):
        raise UserError(
            f"targets {listed(f'{t.name} ({t.kind})' for t in targets)} cannot be held by a folder of class folders",
            need="one target with one answer an image",
            fix="write a table",
        )
    labels = manifest.frame[targets[0].name].to_list()
    split = manifest.split.tolist() if "split" in manifest.frame.columns else None
    for row, label in enumerate(labels):
        paths = manifest.frame["path"][row].to_list()
        if label is None or len(paths) != 1 or "/" in label or is_hidden(label):
            raise UserError(
                f"row {manifest.row_ids[row]!r} ({targets[0].name} = {label!r}, "
                f"{plural(len(paths), 'file')}) cannot be held by a class folder",
                fix="write a table",
            )
    seen: Counter[str] = Counter()
    with files.whole_folder(place) as aside:
        for row, label in enumerate(labels):
            above = label if split is None else f"{split[row]}/{label}"
            name = manifest.frame["path"][row][0].rpartition("/")[2]
            seen[f"{above}/{name}"] += 1
            if seen[f"{above}/{name}"] > 1:
                raise UserError(f"two images of class {label!r} are called {name!r}", fix="write a table")
            copy_image(manifest.paths(row)[0], aside / above / name)
    log(f"{plural(len(labels), 'image')} copied to {place}")
    return place


def keep_images(source: Path, log: Log) -> tuple[list[str], list[str]]:
    """Return the images below ``source`` and all its folders, hidden files, runs and files that are no images left out and counted.

    An image is what :mod:`tapetum.data.images.formats` calls one, by its name or its content.

    Raises:
        DataError: no images at all.
    """
    names, found = _images(source, log)
    return names, found.folders


def _images(source: Path, log: Log) -> tuple[list[str], Listing]:
    """Return the images below ``source`` and whatever else is there; see :func:`keep_images`."""
    found = listing(source)
    seen = found.files
    images = images_among(source, seen)
    names = [name for name in seen if name in images]
    other = Counter(Path(name).suffix.lower() or "no ending" for name in seen if name not in images)
    refuse_undecodable(names, f"{source}")
    if found.hidden:
        log(f"{source.name}: {plural(found.hidden, 'hidden file')} left out")
    if found.runs:
        log(
            f"{source.name}: "
            f"{plural(len(found.runs), 'folder holds a run, pipeline or environment', 'folders hold runs, pipelines or environments')} "
            f"and no data: {listed(found.runs)}"
        )
    if other:
        kinds = listed(f"{count} {ending}" for ending, count in other.most_common())
        log(f"{source.name}: {plural(sum(other.values()), 'file that is no image', 'files that are no images')} left out ({kinds})")
    if not names:
        raise DataError(f"{source} holds no images", need=f"files of these formats: {listed(formats.DECODED)}", fix="check the path")
    return names, found


def refuse_columns(manifest: Manifest, columns: set[str], what: str) -> None:
    """Refuse to write what a layout cannot hold: the columns are named.

    Args:
        manifest: the table.
        columns: columns that the layout holds beside ``row_id``, ``path`` and the targets.
        what: the layout, for the error.
    """
    known = {"row_id", "path", "sha256", *columns, *(t.name for t in manifest.targets)}
    extra = [c for c in manifest.frame.columns if c not in known and manifest.frame[c].null_count() < len(manifest)]
    if extra:
        raise UserError(f"columns {listed(extra)} cannot be held by {what}", fix="drop them, or write Parquet")


def _splits_above(source: Path, folders: list[str], data: Data, log: Log) -> bool:
    tops = sorted({folder.split("/", 1)[0] for folder in folders})
    alike = [top for top in tops if class_folders.split_of(top)]
    if data.split == DECLARED:
        odd = [top for top in tops if top not in alike]
        if odd or not tops:
            raise DataError(f"{source} has folders that are no splits: {listed(odd)}", need=f"folders called {listed(SPLIT_WORDS, 20)}")
        return True
    if data.split not in (None, "none"):
        raise UserError(f"data.split is {data.split!r} for a folder", need="'folder' (its first folders are splits) or 'none'")
    if data.split == "none" or len(alike) < 2:
        return False
    inner = {top: {f.split("/")[1] for f in folders if f.startswith(f"{top}/")} for top in alike}
    same = len({frozenset(classes) for classes in inner.values()}) == 1 and all(inner.values())
    if same and len(alike) == len(tops):
        log(f"{source.name}: folders {listed(alike)} hold the same {plural(len(inner[alike[0]]), 'class folder')} and are read as splits")
        return True
    if data.layout == "auto" and not any(inner.values()):  # images of parts, with labels elsewhere
        return False
    raise DataError(
        f"{source} has folders called {listed(alike)} that do not hold the same class folders",
        fix="declare them: --set data.split=folder (splits) or --set data.split=none (classes)",
    )


def _beside_a_table(
    source: Path, tables: list[str], names: list[str], short: list[str], labels: list[str | None], data: Data, log: Log
) -> None:
    """Compare the folders with a table that is beside them; refuse two readings, and folders whose names are those of parts.

    Raises:
        DataError: names both readings.
    """
    tops = sorted({name.split("/", 1)[0] for name in short if "/" in name})
    parts = [top for top in tops if class_folders.is_part_name(top)]
    unlike = data.split != "none" and bool(parts) and all(p in parts or class_folders.is_wrapper_name(p) for p in tops)
    beside = class_folders.table_beside(source, tables, names, labels)
    whole = beside is not None and beside.images >= class_folders.LISTED * len(names)
    if beside is not None and beside.labels is None and (unlike or whole):
        raise class_folders.refuse_two_readings(source, beside, tops, len(names))
    if unlike and len(tops) > 1:
        raise class_folders.refuse_parts(source, tops)
    if beside is not None and beside.labels is not None:
        log(
            f"{beside.path.name} lists {beside.images} of {plural(len(names), 'image')}; "
            f"column {beside.labels!r} has the same labels as the folders"
        )


def _label(name: str, by_split: bool) -> str | None:
    parts = name.split("/")
    place = int(by_split)
    return parts[place] if len(parts) > place + 1 else None


def _refuse_empty(source: Path, folders: list[str], names: list[str], by_split: bool) -> None:
    depth = 1 + by_split
    classes = {"/".join(folder.split("/")[:depth]) for folder in folders if folder.count("/") >= depth - 1}
    filled = {"/".join(name.split("/")[:depth]) for name in names}
    empty = sorted(classes - filled)
    if empty:
        raise DataError(f"{source} has {plural(len(empty), 'class folder')} without images: {listed(empty)}", fix="fill or remove them")
