"""Templates of file names over a folder's files or a table's rows: which files make a sample, and where a table's files lie."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tapetum.core.errors import DataError, listed
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.data.layouts.listing import archive_names, children
from tapetum.data.layouts.paths import row_paths
from tapetum.data.layouts.sheet import ARCHIVE_MARK, Sheet, missing_files

FIELD = re.compile(r"\{([^{}]*)\}")


def group_files(names: Sequence[str], template: str, *, partial: str = "refuse") -> list[tuple[str, list[str]]]:
    """Return the samples among files: (id, files in the template's order).

    Args:
        names: relative paths.
        template: such as ``train/{Id}_{red,green}.png``; only its last part counts, in whatever folder a file lies.
        partial: ``refuse`` samples that lack a file, or ``keep`` them with the name of the file that is not there.

    Returns:
        One entry a sample, in order of its first file; the id is its folder and the cells of the template's columns. Files that do not fit
        are left to the caller, who sees that they are not in any entry.

    Raises:
        DataError: a sample that lacks a file, under ``partial = "refuse"``.
    """
    parts = FIELD.split(template.rpartition("/")[2])
    lists = [part for i, part in enumerate(parts) if i % 2 and "," in part]
    places = [[p.strip() for p in part.split(",")] for part in lists]
    pattern = re.compile("".join(_piece(part, bool(i % 2)) for i, part in enumerate(parts)))
    samples: dict[str, dict[tuple[int, ...], str]] = {}
    cells_of: dict[str, tuple[str, list[str]]] = {}
    for name in names:
        folder, _, base = name.rpartition("/")
        found = pattern.fullmatch(base)
        if found is None:
            continue
        cells = [text for i, text in enumerate(found.groups()) if "," not in parts[2 * i + 1]]
        picked = [text for i, text in enumerate(found.groups()) if "," in parts[2 * i + 1]]
        order = tuple(options.index(text) for options, text in zip(places, picked, strict=True))
        key = f"{folder}/{'_'.join(cells)}" if folder else "_".join(cells)
        samples.setdefault(key, {})[order] = name
        cells_of[key] = (f"{folder}/" if folder else "", cells)
    orders = list(itertools.product(*(range(len(options)) for options in places)))
    lacking = [key for key, files in samples.items() if len(files) != len(orders)]
    if lacking and partial == "refuse":
        counts = Counter(order for files in samples.values() for order in files)
        labels = ["_".join(options[i] for options, i in zip(places, order, strict=True)) for order in orders]
        counted = ", ".join(f"{label} {counts[order]}" for label, order in zip(labels, orders, strict=True))
        what = (
            f"{plural(len(lacking), 'sample lacks', 'samples lack')} some of the "
            f"{plural(len(orders), 'file')} ({template}): {listed(lacking)}. "
            f"{len(samples) - len(lacking)} of {plural(len(samples), 'row')} complete: {counted}"
        )
        raise DataError(what, fix="add or remove them, or go on without them: --on-bad skip")
    return [(key, [files.get(order) or _named(parts, places, *cells_of[key], order) for order in orders]) for key, files in samples.items()]


def placed(template: str, sheet: Sheet, log: Log) -> str:
    """Return a template with the folder that holds this sheet's files: the one that it names, else the one folder beside it that does.

    Raises:
        DataError: several folders hold as many of the files.
    """
    folder, rest = _folder_of(template if "split" in sheet.frame.columns else template.replace("{split}", "test"))
    if not sheet.root.is_dir() or not len(sheet.frame):
        return folder + rest

    names = [name for row in row_paths(sheet.frame, rest, sheet.name, "test") for name in row]
    total = len(names)

    def present(place: str) -> int:
        return total - len(missing_files([place + name for name in names], sheet.root))

    here = present(folder)
    if here == total:
        return folder + rest
    counts = {place: present(place) for place in _places(sheet.root) if place != folder}
    most = max(counts.values(), default=0)
    best = [place for place, count in counts.items() if count == most]
    if most <= here:
        return folder + rest
    if len(best) > 1:
        raise DataError(
            f"{sheet.name}: {plural(len(best), 'folder holds', 'folders hold')} {most} of the "
            f"{plural(total, 'file')} called {rest!r}: {listed(best)}",
            need="the one to read",
            fix=f"name it: --path '{best[0]}{rest}'",
        )
    log(
        f"{sheet.name}: {folder or 'its folder'} holds {here} of {plural(total, 'file')}, "
        f"{best[0] or 'its folder'} holds {most}: read from there"
    )
    return best[0] + rest


def _folder_of(template: str) -> tuple[str, str]:
    """Return the folders (or the archive) before a template's first column, and the rest."""
    before = template[: template.index("{")] if "{" in template else template
    cut = before.rfind("/") + 1
    return template[:cut], template[cut:]


def _places(root: Path) -> list[str]:
    """Return where a template's files may lie: the table's folder, folders beside the table, and folders in archives beside it."""
    found = [""]
    for place in children(root):
        if place.is_dir():
            found += [f"{place.name}/", *(f"{place.name}/{p.name}/" for p in children(place) if p.is_dir())]
        elif place.suffix.lower() in (".zip", ".tar"):
            folders = {name.rpartition("/")[0] for name in archive_names(place)}
            found += [f"{place.name}{ARCHIVE_MARK}{folder}/" if folder else f"{place.name}{ARCHIVE_MARK}" for folder in sorted(folders)]
    return found


def _named(parts: Sequence[str], places: Sequence[Sequence[str]], folder: str, cells: Sequence[str], order: Sequence[int]) -> str:
    """Return the name that a template gives to one file of a sample."""
    sample_cells, picked = iter(cells), iter(options[i] for options, i in zip(places, order, strict=True))
    texts = [part if i % 2 == 0 else next(picked) if "," in part else next(sample_cells) for i, part in enumerate(parts)]
    return folder + "".join(texts)


def _piece(part: str, is_field: bool) -> str:
    if not is_field:
        return re.escape(part)
    return "(" + "|".join(re.escape(p.strip()) for p in part.split(",")) + ")" if "," in part else "(.+)"
