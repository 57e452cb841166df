"""Which folders of a source are classes: those below folders that hold all of it, not parts of a data set, and not what a table lists."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from tapetum.core import files
from tapetum.core.errors import DataError, TapetumError, listed
from tapetum.data.layouts.delimited import read_delimited
from tapetum.data.layouts.splits import SPLIT_WORDS

TABLES = (".csv", ".tsv", ".parquet")
LISTED = 0.5  # share of the images, or of the rows, from which on a table lists a folder's images
MOST_FILES = 8  # of a row, that a template is proposed for
_NEUTRAL = frozenset(
    [
        *("image", "images", "img", "imgs", "image", "images", "photo", "photos", "frames", "tiles", "crops", "file", "files"),
        *("data", "dataset", "set", "sample", "samples", "part", "full", "small", "raw", "resized"),
        *("jpg", "jpeg", "png", "tif", "tiff", "webp"),
    ]
)


def split_of(folder: str) -> str | None:
    """Return the split word in a folder's name (``train``, ``train_images``, ``images-test-512``), or None where it is another name."""
    words = _words(folder)
    found = [word for word in words if word in SPLIT_WORDS]
    rest = [word for word in words if word not in SPLIT_WORDS and word not in _NEUTRAL and not word.isdigit()]
    return found[0] if len(found) == 1 and not rest else None


def is_wrapper_name(folder: str) -> bool:
    """Tell whether a folder's name says that images are in it, and nothing about them (``images``, ``jpg``)."""
    return all(word in _NEUTRAL or word.isdigit() for word in _words(folder)) and not folder.isdigit()


def below_wrappers(names: Sequence[str]) -> str:
    """Return the folders, ending with ``/``, that stand above all class folders: each the only one at its level, with no image beside it.

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


def table_beside(source: Path, names: Sequence[str], labels: Mapping[str, str | None]) -> TableBeside | None:
    """Return the table in a folder that lists most of its images, or None.

    Args:
        source: the folder.
        names: its images, as relative paths.
        labels: image → its class folder.
    """
    if not source.is_dir():
        return None
    found = [_beside(path, names, labels) for path in sorted(source.iterdir()) if path.suffix.lower() in TABLES and path.is_file()]

    def rank(one: TableBeside) -> tuple[bool, int, bool]:
        return not ("submission" in one.path.stem.lower() or split_of(one.path.stem) == "test"), one.images, one.labels is not None

    return max((one for one in found if one is not None), key=rank, default=None)


def refuse_two_readings(source: Path, beside: TableBeside, tops: Sequence[str], total: int) -> DataError:
    """Return the error for a folder whose table and whose folders say different things."""
    path = f" --path {shlex.quote(beside.how)}"
    return DataError(
        f"{source} can be read in two ways: {beside.path.name} names {beside.images} of the {total} images in its column "
        f"{beside.column!r}, and the folders {listed(tops)} would be classes",
        need="one of the two",
        fix=f"give the table: {shlex.quote(beside.path.as_posix())}{path} --target COLUMN; or say that the folders are classes: "
        "--layout folder",
    )


def refuse_parts(source: Path, tops: Sequence[str]) -> DataError:
    """Return the error for folders that are called like parts of a data set and would have become classes."""
    return DataError(
        f"{source} has the folders {listed(tops)}, whose names are those of parts of a data set, not of classes",
        need="folders that are called like their classes, or a table of labels",
        fix="give the table; or, if they are classes: --set data.split=none",
    )


def refuse_unlabelled(source: Path, names: Sequence[str], loose: Sequence[str]) -> DataError:
    """Return the error for images that lie in no class folder."""
    if len(loose) == len(names):
        return DataError(
            f"{source} has {len(names)} images and no class folders, so none has a label: {listed(loose)}",
            need="a folder for each class, or a table that names images and labels",
            fix="move the images into folders called like their classes, or give the table",
        )
    return DataError(
        f"{len(loose)} of {len(names)} images of {source} lie beside the class folders and have no label: {listed(loose)}",
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


def _beside(path: Path, names: Sequence[str], labels: Mapping[str, str | None]) -> TableBeside | None:
    try:
        frame = files.read_parquet(path)[0] if path.suffix.lower() == ".parquet" else read_delimited(path)[0]
    except TapetumError:  # not a table; whoever gives it will be told
        return None
    texts = [column for column in frame.get_columns() if column.dtype == pl.String]
    for column in texts:
        if column.name.startswith("p_"):  # answers
            return None
    best: TableBeside | None = None
    for column in texts:
        keys = {cell: row for row, cell in enumerate(column.to_list()) if cell}
        for how, key in _keys(column.name, names):
            named = {name: keys[key(name)] for name in names if key(name) in keys}
            rows = len(set(named.values()))
            if len(named) < LISTED * len(names) and (rows < LISTED * len(keys) or rows < 2):
                continue
            if best is None or len(named) > best.images:
                agrees = [c.name for c in texts if c.name != column.name and all(c[row] == labels[name] for name, row in named.items())]
                best = TableBeside(path, column.name, how, len(named), agrees[0] if agrees else None)
    return best


def _keys(column: str, names: Sequence[str]) -> list[tuple[str, Callable[[str], str]]]:
    """Return the ways in which a cell may name an image: (what ``--path`` would be, image → what the cell is)."""
    folders = Counter(name.rpartition("/")[0] for name in names)
    endings = Counter(Path(name).suffix for name in names)
    above = f"{folders.most_common(1)[0][0]}/" if folders.most_common(1)[0][0] else ""
    ending = endings.most_common(1)[0][0]
    field = f"{{{column}}}"
    channels = ",".join(sorted({Path(name).stem.rpartition("_")[2] for name in names})[:MOST_FILES])
    return [
        (column, lambda name: name),
        (f"{above}{field}", lambda name: name.rpartition("/")[2]),
        (f"{above}{field}{ending}", lambda name: Path(name).stem),
        (f"{above}{field}_{{{channels}}}{ending}", lambda name: Path(name).stem.rpartition("_")[0]),
    ]
