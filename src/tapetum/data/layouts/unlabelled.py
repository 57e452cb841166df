"""Images without truth, as ``predict`` takes them: files, folders, archives, tables, frames, or a challenge's folder.

Each source is read by its own layout, whatever the pipeline was trained on. Of the training data's columns those count that the source
has; what the caller names now (``--path``, ``--id``, …) must be there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.places import archive_of, refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest, check_ids
from tapetum.core.targets import read_target
from tapetum.core.words import plural
from tapetum.data.layouts.available import is_class_folders, sample_files
from tapetum.data.layouts.folder import keep_images
from tapetum.data.layouts.listing import refuse_undecodable
from tapetum.data.layouts.path_templates import FIELD, group_files, placed
from tapetum.data.layouts.paths import is_template, list_column, template_columns, unknown_column
from tapetum.data.layouts.roles import Roles, find_roles
from tapetum.data.layouts.sheet import ARCHIVE_MARK, Sheet, relative_to

DECLARED = ("path", "id", "group", "sequence", "position", "layout", "on_bad")  # what a caller may declare about the images to predict
_COLUMNS = ("id", "group", "sequence", "position")
_NOT_FOR_PREDICTION = {"split": "none", "fold": "none", "test": (), "extra": (), "pseudo": None, "exclude": None, "limit": None}


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """How the sources of one prediction are read.

    Args:
        data: of the training data, what says how a row is composed; ``layout`` and ``on_bad`` as declared now.
        declared: what the caller names.
        targets: of the pipeline; their columns are never read.
        several: the template by which several files make a row, or None.
    """

    data: Data
    declared: Mapping[str, Any]
    targets: Collection[str]
    several: str | None


def loose(
    sources: Sequence[Any], data: Data, log: Log, *, targets: Collection[str] = (), declared: Mapping[str, Any] | None = None
) -> Manifest:
    """Read images without truth; every image is a row, or every sample where ``data.path`` is a template of several files.

    Row ids are the id column of a table, else the path below the folder or archive, else the file's name as given. Of ``data`` only what
    says how a row is composed holds: the layout, splits, test tables, exclusions and limits belong to training.

    Args:
        sources: paths, or polars and pandas frames.
        data: the ``[data]`` that the pipeline was trained by.
        log: receives messages about how each source is read.
        targets: names of the pipeline's targets; a column of that name is never an id, a path or a role.
        declared: values of :data:`DECLARED` that hold for these sources; ``on_bad`` is ``skip`` unless it is given.

    Raises:
        UserError: a source that does not exist, or a declared column that a source does not have.
        DataError: the same id from two sources, or no images.
    """
    stated = {key: value for key, value in (declared or {}).items() if value is not None}
    _check_declared(stated)
    several = _template(data if "path" not in stated else data.model_copy(update={"path": stated["path"], "layout": ""}))
    data = data.model_copy(update={**_NOT_FOR_PREDICTION, "layout": "auto", "on_bad": "skip", **stated})
    wanted = _Wanted(data, stated, frozenset(targets), several)
    frames, root = [], Path.cwd()
    for source in sources:
        place = Path(source) if isinstance(source, str) else source
        refuse_nowhere((archive_of(place) if isinstance(place, Path) else None) or place)
        frames.append(_rows(place, wanted, root, log))
    if not frames:
        raise UserError("no images are named", need="files, folders or a table")
    frame = pl.concat(frames, how="diagonal_relaxed")
    check_ids(frame)
    return Manifest(frame, (), root)


def holds_rows(place: Path) -> bool:
    """Tell whether a path is a table, a folder or an archive, rather than one image."""
    from tapetum.data.layouts.reading import TABLE_SUFFIXES

    return place.is_dir() or (place.is_file() and place.suffix.lower() in (*TABLE_SUFFIXES, ".zip", ".tar"))


def files_of(data: Data) -> int:
    """Return how many files make one row of images like the training data."""
    template = _template(data)
    if template is not None:
        return math.prod(field.count(",") + 1 for field in FIELD.findall(template))
    return len(data.path) if isinstance(data.path, tuple) else 1


def _rows(source: Any, wanted: _Wanted, root: Path, log: Log) -> pl.DataFrame:
    """Return one source's rows, paths as seen from ``root``."""
    from tapetum.data.layouts.reading import TABLE_SUFFIXES, recognised

    layout = wanted.data.layout
    if not isinstance(source, Path):
        return _table(source, wanted, root, log)
    if archive_of(source) is not None:
        _refuse_columns(source, wanted)
        return pl.DataFrame({"row_id": [source.as_posix()], "path": [[source.as_posix()]]})
    is_place = source.is_dir() or source.suffix.lower() in (".zip", ".tar", ".json")
    if is_place and layout == "auto":
        layout = recognised(source)[0]
    if source.suffix.lower() in TABLE_SUFFIXES or not (layout == "auto" or is_class_folders(layout)):
        return _table(source, dataclasses.replace(wanted, data=wanted.data.model_copy(update={"layout": layout})), root, log)
    _refuse_columns(source, wanted)
    if not is_place:
        refuse_undecodable([source.as_posix()], "the images")
        return pl.DataFrame({"row_id": [source.as_posix()], "path": [[source.as_posix()]]})
    names = keep_images(source, log)[0]
    samples = [(name, [name]) for name in names]
    if wanted.several is not None:
        samples = group_files(names, wanted.several, partial="keep" if wanted.data.on_bad == "skip" else "refuse")
        used = {name for _, files in samples for name in files}
        rest = [name for name in names if name not in used]
        log(
            f"{source.name}: {plural(len(samples), 'sample')} by {wanted.several}"
            + (f"; files that do not fit are left out: {listed(rest)}" if rest else "")
        )
        if not samples:
            raise DataError(f"{source} has no files called like {wanted.several!r}", fix="name the template with --path, or name a table")
    above = f"{source.as_posix()}{ARCHIVE_MARK}" if source.is_file() else f"{source.as_posix()}/"
    paths = list_column("path", [[above + name for name in files] for _, files in samples])
    return pl.DataFrame({"row_id": [key for key, _ in samples], "path": paths})


def _table(source: Any, wanted: _Wanted, root: Path, log: Log) -> pl.DataFrame:
    """Return the rows of a table, a frame, or a folder whose layout is more than a folder of images."""
    from tapetum.data.layouts.reading import log_absent, open_sheet, to_rows, written_before

    written = None if set(wanted.declared) & {"path", *_COLUMNS} else written_before(source, wanted.data)
    if written is not None:
        log(f"{source.name} is a manifest: {plural(len(written), 'row')}")
        log_absent(written, source, wanted.data, log)
        known = {*(t.name for t in written.targets), "split", "fold"}
        frame, start = written.frame.drop([c for c in written.frame.columns if c in known]), written.root
    else:
        sheet = open_sheet(source, wanted.data, log)
        data = _fitting(sheet, wanted, log)
        sheet = _without_truth(sheet, wanted, data)
        roles = find_roles(sheet, data, labelled=False)
        log("\n".join([f"{sheet.name}: columns read as", *roles.lines()]))
        sheet = _with_blanks(sheet, roles, data, log)
        frame, start = to_rows(sheet, roles, data, log, "test"), sheet.root
        frame = frame.drop([c for c in ("split", "fold") if c in frame.columns])
    moved = [[relative_to(path, start, root) for path in row] for row in frame["path"].to_list()]
    return frame.with_columns(list_column("path", moved))


def _with_blanks(sheet: Sheet, roles: Roles, data: Data, log: Log) -> Sheet:
    """Return the sheet with blank paths named as such: where rows have ids, such a row stays and is missing."""
    path = roles.path
    if data.on_bad != "skip" or "id" not in roles.plain or not isinstance(path, str) or path not in sheet.frame.columns:
        return sheet
    blank = sheet.frame[path].null_count()
    if not blank or sheet.frame.schema[path] != pl.String:
        return sheet
    log(f"warning: {sheet.name} names no image in {blank} of {plural(len(sheet.frame), 'row')} of {path!r}; they stay as missing")
    return dataclasses.replace(sheet, frame=sheet.frame.with_columns(pl.col(path).fill_null("(blank)")))


def _without_truth(sheet: Sheet, wanted: _Wanted, data: Data) -> Sheet:
    """Return the sheet without the columns of targets, the pipeline's and the layout's own, unless they say where the images are."""

    paths = [data.path] if isinstance(data.path, str) else list(data.path or ())
    kept = {name for path in paths for name in (template_columns(path) if is_template(path, sheet.frame.columns) else [path])}
    kept |= {str(value) for key, value in wanted.declared.items() if key in _COLUMNS} | set(data.side)
    truth = {*wanted.targets, *(read_target(spec).name for spec in sheet.targets), *sheet.derive} - kept
    names = [name for name in sheet.frame.columns if name in truth and name not in sheet.roles.values()]
    return dataclasses.replace(sheet, frame=sheet.frame.drop(names), targets=(), derive={})


def _fitting(sheet: Sheet, wanted: _Wanted, log: Log) -> Data:
    """Return the training data's roles as far as this sheet has their columns; declared ones must be there.

    Raises:
        UserError: a declared column, or one of several path columns, that the sheet does not have.
        DataError: it lacks a column of side numbers.
    """
    data, columns = wanted.data, sheet.frame.columns
    update: dict[str, Any] = {}
    for role in _COLUMNS:
        name = getattr(data, role)
        if name is None or name == "none" or name in columns:
            continue
        if role in wanted.declared:
            raise unknown_column(name, columns, sheet.name, f"--{role}")
        update[role] = None
    lacking = [name for name in data.side if name not in columns]
    if lacking:
        need = f"the columns {listed(data.side)}, whose numbers the pipeline takes beside the image"
        raise DataError(f"{sheet.name} has no column {lacking[0]!r} (it has: {listed(columns, 20)})", need=need)
    if "path" not in wanted.declared:
        update["path"] = _path(sheet, wanted, log)
    return data.model_copy(update=update)


def _path(sheet: Sheet, wanted: _Wanted, log: Log) -> str | tuple[str, ...] | None:
    """Return the training data's path columns or templates as they hold for this sheet; None: to be inferred."""
    path, columns = wanted.data.path, sheet.frame.columns
    if path is None and wanted.several is not None and "path" not in sheet.roles:
        path = f"train/{wanted.several}"
    if path is None:
        return None
    items = [path] if isinstance(path, str) else list(path)
    used = [name for item in items for name in (template_columns(item) if is_template(item, columns) else [item])]
    absent = [name for name in used if name not in columns and name != "split"]
    if absent and ("path" in sheet.roles or (len(items) == 1 and wanted.several is None)):
        log(f"{sheet.name} has no column {absent[0]!r}, which named the images of the training data: the column is looked for")
        return None
    if absent:
        raise unknown_column(absent[0], columns, sheet.name, "--path", fix="name the columns or the template of several files with --path")
    found = tuple(placed(item, sheet, log) if is_template(item, columns) else item for item in items)
    return found[0] if isinstance(path, str) else found


def _check_declared(declared: Mapping[str, Any]) -> None:
    for key in declared:
        if key not in DECLARED:
            raise UserError(f"{key!r} is not used for images to predict (known: {listed(DECLARED)}).{nearest(key, DECLARED)}")
    if declared.get("on_bad", "skip") not in ("skip", "refuse"):
        raise UserError(f"--on-bad {declared['on_bad']!r} is not known", need="skip or refuse")


def _refuse_columns(source: Path, wanted: _Wanted) -> None:
    """Refuse declared columns for images that have none."""
    named = [f"--{role} {wanted.declared[role]}" for role in (*_COLUMNS, "path") if role in wanted.declared]
    if wanted.several is not None:
        named = [text for text in named if not text.startswith("--path")]
    if named:
        raise UserError(
            f"{named[0]} names a column, and {source} is no table", need="a table that has it", fix="predict a CSV or Parquet table"
        )


def _template(data: Data) -> str | None:
    """Return the template by which several files make a row, if that is how rows were made."""
    if (files := sample_files(data.layout)) is not None:
        return files
    several = isinstance(data.path, str) and any("," in field for field in FIELD.findall(data.path))
    return data.path if several and isinstance(data.path, str) else None
