"""Read a source by its layout into a checked manifest; log everything that was inferred or left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core.choices import pick
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.expressions import expression_names
from tapetum.core.places import absent, moved, refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.requests import LARGEST_NUMBER
from tapetum.core.tables import Manifest, check_ids
from tapetum.core.targets import Target, look_alikes, read_target
from tapetum.core.words import plural, verb
from tapetum.data.layouts import additions, available, folder, several
from tapetum.data.layouts.cells import count_blanks, decimal_point, parse_column, settle_derived, settle_targets, text_column
from tapetum.data.layouts.frame import plain_columns
from tapetum.data.layouts.nearby import path_beside
from tapetum.data.layouts.paths import list_column, row_paths
from tapetum.data.layouts.roles import Roles, changed_codes, find_roles
from tapetum.data.layouts.sheet import Sheet, count_complete, missing_files, refuse_missing, relative_to
from tapetum.data.layouts.splits import read_splits
from tapetum.data.simulate.place import LAYOUT, SUMMARY

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".parquet")


def read(source: Any, data: Data, log: Log, *, labelled: bool = True) -> Manifest:
    """Read images with their labels.

    Args:
        source: a folder, a table, an archive, a manifest written before, or a polars or pandas frame.
        data: what the user declares; ``layout = "auto"`` recognises the source, and logs what it is.
        log: receives messages about the schema and whatever is inferred, joined or left out.
        labelled: false where labels are of use and not needed (an audit): images without a label stay, and data without labels have no
            targets.

    Returns:
        The manifest: targets with classes from training rows, derived ones last; folds only where the data bring them.

    Raises:
        UserError: an unknown layout, column or target; the nearest name is offered.
        DataError: the data as they are cannot be used: the file, row or class is named.
    """
    written = written_before(source, data)
    if written is not None:
        log(f"{Path(source).name} is a manifest: {plural(len(written), 'row')}, targets {listed(t.name for t in written.targets)}")
        log_absent(written, Path(source), data, log)
        return written
    sheet = additions.join_tables(open_sheet(source, data, log), data, log)
    needed, labelled = labelled, labelled or _has_labels(sheet, data, log)
    roles = find_roles(sheet, data, labelled=labelled)
    log("\n".join([f"{sheet.name}: columns read as", *roles.lines()]))
    roles = _with_separators(sheet, roles, data, log, labelled)
    if needed and sheet.layout == "folder":
        folder.check_labels(sheet, roles.targets[0].name, data)
    frame = to_rows(sheet, roles, data, log)
    additions.refuse_twice(source, data)
    for places, split in ((data.test, "test"), (data.extra, "extra")):
        for place in places:
            frame = _append(frame, sheet.root, Path(place), split, targets=roles.targets, data=data, log=log)
    frame = additions.leave_out(frame, data, log)
    if "split" in frame.columns:
        frame = read_splits(frame, sheet.name, log)
    derive = _derived(sheet, roles, data, log)
    names = {t.name for t in roles.targets}
    frame = frame.drop([name for name in sheet.derive if name not in derive and name not in names], strict=False)
    if not labelled:
        targets: tuple[Target, ...] = ()
        frame = frame.drop([name for name in (*(t.name for t in roles.targets), *sheet.derive, *data.derive) if name in frame.columns])
        frame = additions.draw_limit(frame, targets, data, log)
    else:
        frame = additions.add_pseudo_labels(frame, roles.targets, data, log)
        count_blanks(roles.targets, frame, data if needed else data.model_copy(update={"blank": "context"}), log)
        targets = settle_targets(roles.targets, frame, derive)
        frame = settle_derived(targets, frame)
        frame = additions.draw_limit(frame, targets, data, log)
        for target in targets:
            _log_classes(target, log)
    return Manifest(frame, targets, sheet.root, roles.side, sheet.layout)


def write(manifest: Manifest, place: Path | str, layout: str, log: Log) -> Path:
    """Write a manifest in a layout; what the layout cannot hold is refused by name.

    Args:
        manifest: the table.
        place: the file or folder to write.
        layout: a name of :func:`~tapetum.data.layouts.available.layouts`.
        log: receives messages about what was written.

    Raises:
        UserError: an unknown layout, one that cannot be written, or what the layout cannot hold.
    """
    module = available.module(layout)
    if not hasattr(module, "write"):
        raise UserError(f"layout {layout!r} can be read alone", fix="write another layout, as table")
    done: Path = module.write(manifest, Path(place), log)
    return done


def open_sheet(source: Any, data: Data, log: Log) -> Sheet:
    """Return a source's rows by its layout; ``auto`` asks each layout in turn and logs which one recognised it."""
    source = Path(source) if isinstance(source, str) else source
    refuse_nowhere(source)
    if isinstance(source, Path) and (source / SUMMARY).is_file() and (source / LAYOUT).is_dir():
        raise UserError(f"{source} is a simulation, whose images are in its folder {LAYOUT!r}", fix=f"name that folder: {source / LAYOUT}")
    name = data.layout
    if name == "auto":
        name, why = recognised(source)
        log(f"{source.resolve().name if isinstance(source, Path) else 'the table'} is read as layout {name!r}: {why}")
    choice, options = pick(name, available.layouts(), "layout")
    sheet = choice.load()(source, data, log, **options)
    if data.layout == "auto" and (system := available.system_of(name)) is not None and (classes := _declared(sheet)):
        log(
            f"this is the layout of the system {system!r}, which declares {listed(classes, 7)}; a table is read otherwise by --layout table"
        )
    if not len(sheet.frame):
        raise DataError(f"{sheet.name or sheet.root.resolve()} has no rows", need="one line an image")
    called = sheet.name or sheet.root.resolve().name  # the folder "." has no name of its own
    return dataclasses.replace(sheet, frame=plain_columns(sheet.frame, data, log), layout=name, name=called)


def _declared(sheet: Sheet) -> list[str]:
    """Return the targets whose classes the layout brings, as ``Target (28 classes)``."""
    classes = {t["name"]: t["classes"] for t in sheet.targets if isinstance(t, Mapping) and "classes" in t}
    return [f"{name} ({plural(len(some), 'class', 'classes')})" for name, some in classes.items()]


def recognised(source: Any) -> tuple[str, str]:
    """Return the first layout that recognises ``source``, and why."""
    for name in available.layouts():
        why = available.module(name).recognise(source)
        if why is not None:
            return name, why
    what = f"{source}" if isinstance(source, Path) else f"a {type(source).__name__}"
    raise UserError(
        f"no layout reads {what}",
        need="a folder, a table (CSV, Parquet, polars, pandas) or an archive",
        fix="name it: --layout" if isinstance(source, Path) and source.is_dir() else None,
    )


def to_rows(sheet: Sheet, roles: Roles, data: Data, log: Log, split: str = "train") -> pl.DataFrame:
    """Return the manifest's columns of one sheet: row_id, path, plain roles, parsed targets and side numbers.

    Raises:
        DataError: an image file that is not there, a doubled id, or a cell that does not fit its target.
    """
    paths = _with_slashes(row_paths(sheet.frame, roles.path, sheet.name, split), sheet, log)
    source = sheet.frame
    ids = text_column(source[roles.plain["id"]]) if "id" in roles.plain else pl.Series([_below(row[0], sheet.root) for row in paths])
    frame = pl.DataFrame({"row_id": ids, "path": list_column("path", paths)})
    check_ids(frame, sheet.name, roles.plain.get("id", "row_id"))
    if not sheet.found:
        _check_files(frame, sheet, data, log)
    for role, column in roles.plain.items():
        if role != "id":
            values = text_column(source[column]) if role in ("group", "sequence") else source[column]
            frame = frame.with_columns(values.alias(role))
    row_ids = frame["row_id"].to_list()
    for target in roles.targets:
        if target.name in source.columns:
            frame = frame.with_columns(parse_column(target, source[target.name], row_ids, sheet.name))
    for name in {**sheet.derive, **data.derive}:
        if name in source.columns and name not in frame.columns:
            frame = frame.with_columns(source[name].cast(pl.String))
    for column in roles.side:
        frame = frame.with_columns(_numbers(source[column], row_ids, sheet.name))
    return frame


def _append(frame: pl.DataFrame, root: Path, place: Path, split: str, *, targets: tuple[Target, ...], data: Data, log: Log) -> pl.DataFrame:
    """Add the rows of another table as test or extra rows; its paths are seen from the main table's folder, its labels split as there."""
    sheet = additions.join_tables(open_sheet(place, data, log), data, log)
    roles = find_roles(sheet, data, labelled=False, first=targets)
    log("\n".join([f"{sheet.name}: columns read as", *roles.lines(), f"  every row is split {split!r}"]))
    more = to_rows(sheet, roles, data, log, split).with_columns(pl.lit(split).alias("split"))
    if "split" not in frame.columns:
        frame = frame.with_columns(pl.lit("train").alias("split"))
    both = pl.concat([frame, _moved(more, sheet.root, root)], how="diagonal_relaxed")
    check_ids(both)
    return both


def _has_labels(sheet: Sheet, data: Data, log: Log) -> bool:
    """Tell whether a sheet has labels: class folders, or a target that the user or the layout names."""
    if sheet.layout == "folder":
        labels = sheet.frame[read_target(sheet.targets[0]).name]
        has, why = (
            labels.n_unique() > 1,
            "all images lie in one folder" if labels.null_count() < len(labels) else "there are no class folders",
        )
    else:
        rest = [name for name in sheet.frame.columns if sheet.frame[name].n_unique() > 1]
        has, why = bool(data.targets or sheet.targets), f"no target is named (columns: {listed(rest)}); name it: --target COLUMN"
    if not has:
        log(f"warning: {sheet.name} is read without labels, since {why}")
    return has


def _with_separators(sheet: Sheet, roles: Roles, data: Data, log: Log, labelled: bool) -> Roles:
    """Find what separates the labels of multi targets; name undeclared targets whose cells say that they are multi, or a number."""
    specs = (*data.targets, *sheet.targets)
    column = roles.plain.get("id")
    row_ids = sheet.frame[column].to_list() if column is not None else list(range(1, len(sheet.frame) + 1))

    def settled(target: Target) -> Target:
        stated = several.declared(specs, target.name)
        if target.name not in sheet.frame.columns:
            return target
        cells = sheet.frame[target.name]
        if target.kind == "multi" and "separator" not in stated:
            return several.with_separator(target, cells, row_ids, sheet.name, log)
        if labelled and target.kind == "single" and target.scored and not stated and not available.is_class_folders(sheet.layout):
            several.refuse_several(target, cells, sheet.name)
            if (hint := several.number_hint(target, cells)) is not None:
                log(hint)
        return target

    return dataclasses.replace(roles, targets=tuple(settled(target) for target in roles.targets))


def _derived(sheet: Sheet, roles: Roles, data: Data, log: Log) -> dict[str, str]:
    """Return the derived targets: the user's, and the layout's where the targets named allow them.

    Raises:
        UserError: the user's derived target has the name of the layout's and gives other codes, since classes are in another order.
    """
    have = {t.name for t in roles.targets if t.kind in ("single", "ordinal")}
    brought = {name: text for name, text in sheet.derive.items() if name not in have and name not in data.derive}
    fit = {name: text for name, text in brought.items() if have >= set(expression_names(text))}
    for name in brought.keys() - fit.keys():
        log(f"derived target {name!r} is left out: its parts {listed(expression_names(brought[name]))} are not all targets")
    for name in {**fit, **data.derive}.keys() & sheet.derive.keys():
        change = changed_codes(sheet, roles.targets, name, data.derive.get(name, sheet.derive[name]))
        if change is not None and name in data.derive:
            raise UserError(
                f"derived target {name!r} gives other codes than this layout's {name!r}: {change}",
                need=f"the layout's classes in its order, or another name than {name!r}",
                fix="name the targets without classes to keep the layout's order, or call the derived target otherwise",
            )
        if change is not None:
            log(f"warning: derived target {name!r} is left out, since it would give other codes than this layout's: {change}")
            del fit[name]
    derive = {**fit, **data.derive}
    for target in roles.targets:
        name = f"{target.name}_class"
        if target.borders and target.name not in {text.strip() for text in derive.values()}:
            if name in derive or name in {t.name for t in roles.targets}:
                log(f"{name!r} is taken, so the classes between the borders of {target.name!r} are no target of their own")
            else:
                derive[name] = target.name
    return derive


def _moved(frame: pl.DataFrame, root: Path, new_root: Path) -> pl.DataFrame:
    paths = [[relative_to(path, root, new_root) for path in row] for row in frame["path"].to_list()]
    return frame.with_columns(list_column("path", paths))


def _below(path: str, root: Path) -> str:
    if not path.startswith("/") and path[1:2] != ":":
        return path
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path


def _with_slashes(paths: list[list[str]], sheet: Sheet, log: Log) -> list[list[str]]:
    """Return paths with ``/`` where a table written on Windows has ``\\`` and the files are there under the other name alone."""
    windows = {path: path.replace("\\", "/") for row in paths for path in row if "\\" in path} if not sheet.found else {}
    gone = missing_files(windows, sheet.root)
    still = set(missing_files([windows[path] for path in gone], sheet.root))
    there = {path: windows[path] for path in gone if windows[path] not in still}
    if there:
        log(f"{sheet.name}: {plural(len(there), 'path is', 'paths are')} written with backslashes, here read with /")
    return [[there.get(path, path) for path in row] for row in paths] if there else paths


def _check_files(frame: pl.DataFrame, sheet: Sheet, data: Data, log: Log) -> None:
    every = frame["path"].explode().to_list()
    missing = missing_files(every, sheet.root)
    if missing and data.on_bad == "refuse":
        beside = path_beside(sheet.frame, sheet.root) if len(missing) == len(every) else None
        raise refuse_missing(missing, frame["path"].to_list(), sheet.name, sheet.root, beside)
    if missing:
        gone = f"{len(missing)} of {plural(len(every), 'image file')} that do not exist"
        counts = count_complete(frame["path"].to_list(), missing)
        log(f"warning: {sheet.name} names {gone}; their rows stay as missing: {listed(missing)}{counts}")


def _numbers(column: pl.Series, row_ids: Sequence[str], name: str) -> pl.Series:
    nested = column.dtype.is_nested() or column.dtype.is_temporal() or column.dtype == pl.Object
    numbers = column.cast(pl.Float64, strict=False) if not nested else pl.Series([None] * len(column), dtype=pl.Float64)
    bad = column.is_not_null() & (numbers.is_null() | ~(numbers.is_finite() & (numbers.abs() <= LARGEST_NUMBER)).fill_null(False))
    if bad.any():
        row, cell = int(bad.arg_true()[0]), column.filter(bad).to_list()[0]
        what = (
            f"{name} row {row_ids[row]!r} has {column.name} = {cell!r} ({int(bad.sum())} of "
            f"{plural(len(bad), 'cell')} {verb(int(bad.sum()), 'is no number', 'are no numbers')})"
        )
        raise DataError(what, need=f"a finite number{decimal_point(cell)}, or a blank")
    return numbers


def written_before(source: Any, data: Data) -> Manifest | None:
    """Return a Parquet manifest as it was written, unless targets are named anew."""
    if not isinstance(source, (str, Path)) or Path(source).suffix.lower() != ".parquet" or data.targets or not Path(source).exists():
        return None
    try:
        manifest = Manifest.read(source)
    except DataError:
        return None  # a plain table
    return manifest


def log_absent(manifest: Manifest, file: Path, data: Data, log: Log) -> None:
    """Say which images of a manifest are not there; where none is, or all are needed, the data moved and that is refused."""
    gone = absent(manifest)
    if not gone:
        return
    if data.on_bad == "refuse" or len(gone) == len(manifest):
        raise moved(manifest, gone, f"put the data back, or move {file.name} into the folder that its paths start from")
    log(
        f"warning: the images of {len(gone)} of {plural(len(manifest), 'row')} "
        f"{verb(len(gone), 'is', 'are')} not below {manifest.root}; they stay as missing: {listed(gone)}"
    )


def _log_classes(target: Target, log: Log) -> None:
    if target.kind == "regression":
        log(f"target {target.name!r}: a number" + (f", with the borders {listed(target.borders, 12)}" if target.borders else ""))
    else:
        joint = f", from {target.expression}" if target.expression else ""
        log(f"target {target.name!r}: {plural(len(target.classes), 'class', 'classes')} in this order{joint}: {listed(target.classes, 12)}")
        for names in look_alikes(target.classes) if not target.expression else ():
            alike = listed(map(repr, names))
            log(f"target {target.name!r}: classes {alike} differ only in case, blanks or the form of a number; each is a class of its own")
