"""Several recordings or hypnograms at once: find their files, and let one that is refused not stop the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import polars as pl

from tapetum.core.errors import DataError, EnvironmentFault, TapetumError, UserError
from tapetum.core.places import refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.sleep.hypnogram_files import RECORDINGS, TABLES, beside, staged_in
from tapetum.sleep.issues import REFUSED, Issue

Made = TypeVar("Made")


def find(places: Path | str | Sequence[Path | str], endings: Sequence[str]) -> list[Path]:
    """Return files: those named, and in folders all with one of the endings, in the order of their names; hidden ones are left out.

    Raises:
        UserError: a place that is not there, or a folder without such a file.
    """
    out: list[Path] = []
    for place in [places] if isinstance(places, (str, Path)) else places:
        refuse_nowhere(place)
        path = Path(place)
        if not path.is_dir():
            out.append(path)
            continue
        found = [one for one in sorted(path.rglob("*")) if one.suffix.lower() in endings and one.is_file() and not _is_hidden(one, path)]
        if not found:
            raise UserError(f"{path} holds no file that ends in {', '.join(endings)}", need="one or more")
        out += found
    return list(dict.fromkeys(out))


def hypnograms(places: Path | str | Sequence[Path | str]) -> list[Path]:
    """Return files of hypnograms as :func:`find` does, each night once.

    Of a folder that ``tapetum sleep stage`` wrote it is one file a night, and neither its tables of issues, statistics and epochs to review
    nor the same hypnogram in other formats; of a review it is the hypnogram without the log of changes. A recording whose scoring lies
    beside it (``night.csv``, ``night-hypnogram.edf``) is left out.
    """
    found = find(places, (*RECORDINGS, *TABLES, ".json"))
    named = {Path(place) for place in ([places] if isinstance(places, (str, Path)) else places)}
    staged = {folder: inside for folder in {path.parent for path in found} if (inside := staged_in(folder)) is not None}
    above = {folder.parent for folder in staged}

    def counts(path: Path) -> bool:
        if path in named:
            return True
        if path.parent in staged:
            return path == staged[path.parent]
        if path.parent in above and path.name in ("issues.csv", "statistics.csv"):
            return False
        if path.suffix.lower() in RECORDINGS and beside(path, path.parent) is not None:
            return False  # the recording of a night whose scoring lies beside it
        return not path.name.endswith("-changes.csv")

    return [path for path in found if counts(path)]


def night_of(path: Path) -> Path:
    """Return what a hypnogram is called by: its file, or the folder of a night that was staged."""
    return path.parent if staged_in(path.parent) == path else path


def each(paths: Iterable[Path], work: Callable[[Path], Made], log: Log) -> tuple[dict[Path, Made], list[Issue]]:
    """Return what ``work`` makes of each file, and an issue for each that is refused.

    Raises:
        TapetumError: the only file is refused, or something other than a file is at fault.
    """
    paths = list(paths)
    names = called(paths)
    made: dict[Path, Made] = {}
    refused: list[Issue] = []
    for path in paths:
        try:
            made[path] = work(path)
        except EnvironmentFault:
            raise
        except TapetumError as error:
            if len(paths) == 1:
                raise
            log(f"warning: refused: {error.text if names[path] in error.text else f'{names[path]}: {error.text}'}")
            fix = ". ".join(part for part in (error.need and f"needed: {error.need}", error.fix) if part)
            refused.append(Issue(names[path], REFUSED, "", error.what, fix, "all"))
    if refused and not made:
        raise DataError(
            f"all {plural(len(paths), 'file is', 'files are')} refused; the first: {refused[0].what}", need=refused[0].assumed or None
        )
    return made, refused


def called(paths: Sequence[Path]) -> dict[Path, str]:
    """Return what each file is called in tables: its name, with as many folders before it as tell files of one name apart.

    The hypnogram of a staged night is called as the night's folder.
    """
    places = {path: night_of(path) for path in paths}
    out: dict[Path, str] = {}
    for path, place in places.items():
        others = [other for other in places.values() if other.name == place.name and other != place]
        depth = 1
        while depth < len(place.parts) and any(other.parts[-depth:] == place.parts[-depth:] for other in others):
            depth += 1
        out[path] = "/".join(place.parts[-depth:])
    return out


def named(issues: Iterable[Issue], name: str) -> list[Issue]:
    """Return the issues of a file that is called so among others."""
    return [dataclasses.replace(one, file=name) for one in issues]


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def in_the_night(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows with exam and position (from 1) beside their place in the night: ``progress`` (0 to 1) and the exam's ``epochs``."""
    last = pl.max_horizontal(pl.lit(1), pl.col("position").max().over("exam"))
    return frame.with_columns((pl.col("position") / last).alias("progress"), pl.len().over("exam").alias("epochs"))
