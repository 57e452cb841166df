"""Which folders of a source are classes: those below folders that hold all of it, not parts of a data set, and not what a table lists."""

from __future__ import annotations

import dataclasses
import posixpath
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from tapetum.core import files
from tapetum.core.delimited import parse_delimited
from tapetum.core.errors import DataError, TapetumError, listed
from tapetum.core.words import plural, verb
from tapetum.data.images.archives import read_bytes
from tapetum.data.layouts.delimited import read_delimited
from tapetum.data.layouts.splits import SPLIT_WORDS

TABLES = (".csv", ".tsv", ".parquet")
MOST_TABLES = 20  # that are compared with the folders
MASKS = frozenset(
    [
        *(
            "mask",
            "masks",
            "label",
            "labels",
            "annotation",
            "annotations",
            "gt",
            "ground",
            "truth",
            "groundtruth",
            "segmentation",
            "segmentations",
        )
    ]
)  # folders of images that describe the images beside them
LISTED = 0.5  # share of the images, or of the rows, from which on a table lists a folder's images
MOST_FILES = 8  # of a row, that a template is proposed for
_NEUTRAL = frozenset(
    [
        *("image", "images", "img", "imgs", "image", "images", "photo", "photos", "frames", "tiles", "crops", "file", "files"),
        *("data", "dataset", "set", "sample", "samples", "part", "full", "small", "raw", "resized"),
        *("jpg", "jpeg", "png", "tif", "tiff", "webp"),
    ]
)
_PARTS = frozenset(["eval", "evaluation", "holdout", "heldout", "unlabeled", "unlabelled"])


def split_of(folder: str) -> str | None:
    """Return the split word in a folder's name (``train``, ``train_images``, ``images-test-512``), or None where it is another name."""
    words = _words(folder)
    words = [short if (short := word.removesuffix("set")) in SPLIT_WORDS else word for word in words]  # trainset
    found = [word for word in words if word in SPLIT_WORDS]
    rest = [word for word in words if word not in SPLIT_WORDS and word not in _NEUTRAL and not word.isdigit()]
    return found[0] if len(found) == 1 and not rest else None


def is_part_name(folder: str) -> bool:
    """Tell whether a folder's name is that of a part of a data set: a split word, or one that no table would use as a split."""
    words = _words(folder)
    return split_of(folder) is not None or (any(word in _PARTS for word in words) and all(word in _PARTS | _NEUTRAL for word in words))


def is_wrapper_name(folder: str) -> bool:
    """Tell whether a folder's name means images and no class (``images``, ``jpg``)."""
    return all(word in _NEUTRAL or word.isdigit() for word in _words(folder)) and not folder.isdigit()


def below_wrappers(names: Sequence[str]) -> str:
    """Return the folders, ending with ``/``, that are above all class folders: each the only one at its level, with no image beside it.

    Args:
        names: images as relative paths.

    Returns:
        An empty string where the first folders are the classes, or where no level has two folders.
    """
    above, rest = "", list(names)
    while True:
        tops = {name.split("/", 1)[0] if "/" in name else "" for name in rest}
        if len(tops) > 1:
            return above if "" not in tops else ""
        top = next(iter(tops))
        if not top:
            return ""
        above += f"{top}/"
        rest = [name.split("/", 1)[1] for name in rest]


@dataclasses.dataclass(frozen=True)
class TableBeside:
    """A table beside the folders that names their images.

    Args:
        path: of the table.
        column: that names the images.
        how: what ``--path`` would be.
        images: how many of the images it names.
        labels: a column that has, for every image named, the name of its class folder; None where there is none.
    """

    path: Path
    column: str
    how: str
    images: int
    labels: str | None


def tables_among(files_: Sequence[str], images: Sequence[str]) -> list[str]:
    """Return the tables among a source's files that may list its images: those on top, and those in folders without images.

    Args:
        files_: every file, as relative paths.
        images: those that are images.
    """
    filled = {name.rpartition("/")[0] for name in images} - {""}
    found = [name for name in files_ if name.lower().endswith(TABLES) and name.rpartition("/")[0] not in filled]
    return sorted(found, key=lambda name: (name.count("/"), name))[:MOST_TABLES]


def table_beside(source: Path, tables: Sequence[str], names: Sequence[str], labels: Sequence[str | None]) -> TableBeside | None:
    """Return the table in a folder or an archive that lists most of its images, or None.

    Args:
        source: the folder or the zip archive.
        tables: from :func:`tables_among`.
        names: the images, as relative paths.
        labels: the class folder of each.
    """
    found = []
    for table in tables:
        at = table.rpartition("/")[0] or "."
        seen = list(names) if at == "." else [posixpath.relpath(name, at) for name in names]
        frame = _frame(source, table)
        if frame is not None:
            found.append(_beside(source / table, frame, seen, dict(zip(seen, labels, strict=True))))

    def rank(one: TableBeside) -> tuple[bool, int, bool]:
        return not ("submission" in one.path.stem.lower() or split_of(one.path.stem) == "test"), one.images, one.labels is not None

    return max((one for one in found if one is not None), key=rank, default=None)


def refuse_two_readings(source: Path, beside: TableBeside, tops: Sequence[str], total: int) -> DataError:
    """Return the error for a folder whose table and folders disagree."""
    path = f" --path {shlex.quote(beside.how)}"
    given = f"give the table: {shlex.quote(beside.path.as_posix())}{path} --target COLUMN"
    if source.is_file():
        given = "unpack the archive and give the table"
    return DataError(
        f"{source} can be read in two ways: {beside.path.name} names {beside.images} of the {plural(total, 'image')} in its column "
        f"{beside.column!r}, and the folders {listed(tops)} would be classes",
        need="one of the two",
        fix=f"{given}; or declare that the folders are classes: --layout folder",
    )


def refuse_parts(source: Path, tops: Sequence[str]) -> DataError:
    """Return the error for folders that are called like parts of a data set and would have become classes."""
    return DataError(
        f"{source} has the folders {listed(tops)}, whose names are those of parts of a data set, not of classes",
        need="folders that are called like their classes, or a table of labels",
        fix="give the table; or, if they are classes: --set data.split=none; an audit reads parts without labels: --set data.split=folder",
    )


def refuse_strange(source: Path, folders: Sequence[str], names: Sequence[str]) -> None:
    """Refuse folders that would be classes and are something else by all signs: parts that hold the same folders, images and masks.

    Args:
        source: the folder or the archive.
        folders: the class folders and those right in them.
        names: the images.

    Raises:
        DataError: names the folders.
    """
    tops = sorted({folder.split("/", 1)[0] for folder in folders})
    masks = {top for top in tops if set(_words(top)) <= MASKS}
    if 0 < len(masks) < len(tops) and all(top in masks or is_wrapper_name(top) for top in tops):
        raise refuse_parts(source, tops)
    inner = {top: frozenset(f.split("/")[1] for f in folders if f.startswith(f"{top}/")) for top in tops}
    direct = any(name.count("/") < 2 for name in names)
    if len(tops) > 1 and not direct and len(set(inner.values())) == 1 and len(inner[tops[0]]) > 1:
        raise DataError(
            f"{source} can be read in two ways: the folders {listed(tops)} all hold the folders {listed(sorted(inner[tops[0]]))}",
            need="to know which of them are classes",
            fix=f"if they are {listed(tops, 3)}: --layout folder; else give a table of images, labels and parts",
        )


def refuse_unlabelled(source: Path, names: Sequence[str], loose: Sequence[str]) -> DataError:
    """Return the error for images that lie in no class folder."""
    if len(loose) == len(names):
        return DataError(
            f"{source} has {plural(len(names), 'image')} and no class folders, so none has a label: {listed(loose)}",
            need="a folder for each class, or a table that names images and labels",
            fix="move the images into folders called like their classes, or give the table",
        )
    return DataError(
        f"{len(loose)} of {plural(len(names), 'image')} of {source} {verb(len(loose), 'lies', 'lie')} "
        f"beside the class folders, without a label: {listed(loose)}",
        fix="move them into a class folder or away, or keep them as context of their sequences: --set data.blank=context",
    )


def refuse_one_class(source: Path, label: str) -> DataError:
    """Return the error for a folder with a single class folder."""
    return DataError(
        f"{source} has images in only one class folder, {label!r}",
        need="two class folders or more",
        fix="check the path: it is the folder right above the class folders",
    )


def _words(folder: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+|(?<=[a-z])(?=\d)", folder.lower()) if word] or [folder.lower()]


def _frame(source: Path, table: str) -> pl.DataFrame | None:
    """Return a table of a folder or of a zip archive; None where it is none."""
    path = source / table
    try:
        if source.is_file():
            text = read_bytes(f"{source.as_posix()}!/{table}").decode("utf-8-sig")
            return None if path.suffix.lower() == ".parquet" else parse_delimited(text, path.name)[0]
        return files.read_parquet(path)[0] if path.suffix.lower() == ".parquet" else read_delimited(path)[0]
    except (TapetumError, UnicodeDecodeError):
        return None


def _beside(path: Path, frame: pl.DataFrame, names: Sequence[str], labels: Mapping[str, str | None]) -> TableBeside | None:
    if {"row_id", "target", "member", "status", "p"} <= set(frame.columns):  # answers, as predict and evaluate write them
        return None
    texts = [column for column in frame.get_columns() if column.dtype == pl.String]
    for column in texts:
        if column.name.startswith("p_"):  # answers
            return None
    best: TableBeside | None = None
    for column in texts:
        keys = {cell: row for row, cell in enumerate(column.to_list()) if cell}
        for how, key in _keys(column.name, names, split_of(path.stem)):
            named = {name: keys[key(name)] for name in names if key(name) in keys}
            rows = len(set(named.values()))
            if len(named) < LISTED * len(names) and (rows < LISTED * len(keys) or rows < 2):
                continue
            if best is None or len(named) > best.images:
                agrees = [c.name for c in texts if c.name != column.name and all(c[row] == labels[name] for name, row in named.items())]
                best = TableBeside(path, column.name, how, len(named), agrees[0] if agrees else None)
    return best


def _keys(column: str, names: Sequence[str], part: str | None) -> list[tuple[str, Callable[[str], str]]]:
    """Return the ways in which a cell may name an image: (what ``--path`` would be, image → what the cell is).

    Where images of one name lie in several folders, those in the folder of the table's own ``part`` (``train``) are meant.
    """
    folders = Counter(name.rpartition("/")[0] for name in names)
    endings = Counter(Path(name).suffix for name in names)
    most = max(folders, key=lambda folder: (part is not None and split_of(folder.partition("/")[0]) == part, folders[folder]))
    above = f"{most}/" if most else ""
    ending = endings.most_common(1)[0][0]
    field = f"{{{column}}}"
    channels = ",".join(sorted({Path(name).stem.rpartition("_")[2] for name in names})[:MOST_FILES])
    return [
        (column, lambda name: name),
        (f"{above}{field}", lambda name: name.rpartition("/")[2]),
        (f"{above}{field}{ending}", lambda name: Path(name).stem),
        (f"{above}{field}_{{{channels}}}{ending}", lambda name: Path(name).stem.rpartition("_")[0]),
    ]
