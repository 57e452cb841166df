"""Pictures without truth, as ``predict`` takes them: files, folders, archives, tables, or a challenge's folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.tables import Manifest, check_ids
from tapetum.data.layouts.folder import keep_pictures
from tapetum.data.layouts.hpa import CHANNELS
from tapetum.data.layouts.listing import refuse_undecodable
from tapetum.data.layouts.paths import list_column
from tapetum.data.layouts.sheet import ARCHIVE_MARK, Say, relative_to

PLAIN = ("folder", "stanford_dogs")  # layouts that add nothing to a folder of pictures but its labels
_NOT_FOR_PREDICTION = {"split": "none", "fold": "none", "test": (), "extra": (), "pseudo": None, "exclude": None, "limit": None}
_FIELD = re.compile(r"\{([^{}]*)\}")


def loose(sources: Sequence[Path | str], data: Data, say: Say) -> Manifest:
    """Read pictures without truth; every picture is a row, or every sample where ``data.path`` is a template of several files.

    Row ids are the id column of a table, else the path below the folder or archive, else the file's name as given. Of ``data`` only what
    says how a row is composed holds: splits, test tables, exclusions and limits belong to training.

    Raises:
        UserError: a source that does not exist.
        DataError: the same id from two sources, no pictures, or a sample that lacks one of its files.
    """
    frames, root = [], Path.cwd()
    data = data.model_copy(update=_NOT_FOR_PREDICTION)
    for source in map(Path, sources):
        if not source.exists():
            raise UserError(f"{source} does not exist", fix="check the path")
        frames.append(_rows(source, data, root, say))
    if not frames:
        raise UserError("no pictures are named", need="files, folders or a table")
    frame = pl.concat(frames, how="diagonal_relaxed")
    check_ids(frame)
    return Manifest(frame, (), root)


def group_files(names: Sequence[str], template: str) -> list[tuple[str, list[str]]]:
    """Return the samples among files: (id, files in the template's order).

    Args:
        names: relative paths.
        template: such as ``train/{Id}_{red,green}.png``; only its last part counts, in whatever folder a file lies.

    Returns:
        One entry a sample, in order of its first file; the id is its folder and the cells of the template's columns. Files that do not fit
        are left to the caller, who sees that they are not in any entry.

    Raises:
        DataError: a sample that lacks a file.
    """
    parts = _FIELD.split(template.rpartition("/")[2])
    lists = [part for i, part in enumerate(parts) if i % 2 and "," in part]
    places = [[p.strip() for p in part.split(",")] for part in lists]
    pattern = re.compile("".join(_piece(part, bool(i % 2)) for i, part in enumerate(parts)))
    samples: dict[str, dict[tuple[int, ...], str]] = {}
    for name in names:
        folder, _, base = name.rpartition("/")
        found = pattern.fullmatch(base)
        if found is None:
            continue
        cells = [text for i, text in enumerate(found.groups()) if "," not in parts[2 * i + 1]]
        picked = [text for i, text in enumerate(found.groups()) if "," in parts[2 * i + 1]]
        order = tuple(options.index(text) for options, text in zip(places, picked, strict=True))
        key = "_".join(cells)
        samples.setdefault(f"{folder}/{key}" if folder else key, {})[order] = name
    total = 1
    for options in places:
        total *= len(options)
    partial = [key for key, files in samples.items() if len(files) != total]
    if partial:
        raise DataError(
            f"{len(partial)} samples lack some of their {total} files ({template}): {listed(partial)}", fix="add or remove them"
        )
    return [(key, [files[order] for order in sorted(files)]) for key, files in samples.items()]


def _rows(source: Path, data: Data, root: Path, say: Say) -> pl.DataFrame:
    """Return one source's rows, paths as seen from ``root``."""
    from tapetum.data.layouts.reading import TABLE_SUFFIXES, read, recognised

    is_place = source.is_dir() or source.suffix.lower() in (".zip", ".tar", ".json")
    layout = recognised(source)[0] if is_place else ""
    if source.suffix.lower() in TABLE_SUFFIXES or (is_place and layout not in PLAIN):
        part = read(source, data if layout == "" else data.model_copy(update={"layout": layout}), say, labelled=False)
        moved = [[relative_to(path, part.root, root) for path in row] for row in part.frame["path"].to_list()]
        return part.frame.with_columns(list_column("path", moved))
    if not is_place:
        refuse_undecodable([source.as_posix()], "the images")
        return pl.DataFrame({"row_id": [source.as_posix()], "path": [[source.as_posix()]]})
    names = keep_pictures(source, say)[0]
    samples = [(name, [name]) for name in names]
    template = _template(data)
    if template is not None:
        samples = group_files(names, template)
        used = {name for _, files in samples for name in files}
        rest = [name for name in names if name not in used]
        say(
            f"{source.name}: {len(samples)} samples by {template}"
            + (f"; files that do not fit are left out: {listed(rest)}" if rest else "")
        )
        if not samples:
            raise DataError(f"{source} has no files called like {template!r}", fix="check the path, or name a table")
    above = f"{source.as_posix()}{ARCHIVE_MARK}" if source.is_file() else f"{source.as_posix()}/"
    paths = list_column("path", [[above + name for name in files] for _, files in samples])
    return pl.DataFrame({"row_id": [key for key, _ in samples], "path": paths})


def _template(data: Data) -> str | None:
    """Return the template by which several files make a row, if that is how rows were made."""
    if data.layout == "hpa":
        return "{Id}_{" + ",".join(CHANNELS) + "}.png"
    several = isinstance(data.path, str) and any("," in field for field in _FIELD.findall(data.path))
    return data.path if several and isinstance(data.path, str) else None


def _piece(part: str, is_field: bool) -> str:
    if not is_field:
        return re.escape(part)
    return "(" + "|".join(re.escape(p.strip()) for p in part.split(",")) + ")" if "," in part else "(.+)"
