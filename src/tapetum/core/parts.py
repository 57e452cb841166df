"""Finished parts of a long prediction: a table each, with what it was made of, so that the same command goes on after a kill."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import polars as pl

from tapetum.core import files
from tapetum.core.errors import DataError
from tapetum.core.places import ARCHIVE_MARK
from tapetum.core.tables import Manifest, Predictions

ENDING = ".parts"  # after the name of the table that the parts become


class Parts:
    """A folder of tables beside the table that they become.

    Args:
        out: the table.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(out.name + ENDING)

    def place(self, number: int) -> Path:
        """Return the file of a part."""
        return self.folder / f"part-{number:06d}.parquet"

    def about(self, number: int) -> Path:
        """Return the file that says what a part was made of, which bytes it has, and which rows have no answer."""
        return self.folder / f".part-{number:06d}.json"

    def reasons(self, number: int, made_of: str) -> dict[str, str] | None:
        """Return row id → why it has no answer, of a part that is as it was written and was made of the same; None where it is not."""
        try:
            kept = files.read_json(self.about(number))
            if kept["made_of"] != made_of or kept["sha256"] != files.sha256(self.place(number)):
                return None
            return dict(kept["reasons"])
        except (OSError, ValueError, TypeError, KeyError, DataError):  # absent or damaged: the part is made again
            return None

    def read(self, number: int) -> Predictions:
        """Return a part."""
        return Predictions.read(self.place(number))

    def write(self, number: int, made_of: str, table: Predictions, reasons: Mapping[str, str]) -> None:
        """Write a part whole; what is said about it comes last."""
        place = table.write(self.place(number))
        files.write_json(self.about(number), {"made_of": made_of, "sha256": files.sha256(place), "reasons": dict(reasons)})

    def join(self, count: int, table: Path) -> None:
        """Write all parts as one Predictions table: target after target, rows in their order; memory does not grow with the parts."""
        first = self.read(0)
        every = pl.scan_parquet([self.place(number) for number in range(count)], glob=False)
        whole = pl.concat([every.filter(pl.col("target") == target.name) for target in first.targets])
        files.write_streamed(table, whole, first.meta())


def made_of(manifest: Manifest, whole: str) -> str:
    """Return what tells whether a part is still right: its rows, the size and times of their files, and what is the same for all.

    Args:
        manifest: the part's rows.
        whole: a hash of the pipeline and of how it predicts.
    """
    paths = [str(manifest.root / path).partition(ARCHIVE_MARK)[0] for row in manifest.frame["path"].to_list() for path in row]
    states = {path: _state(path) for path in dict.fromkeys(paths)}
    return files.fingerprint([whole, manifest.frame.to_dict(as_series=False), list(states.values())], 32)


def _state(path: str) -> list[int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]  # cp -p and tar keep the time of the content alone


def holds_parts(folder: Path) -> bool:
    """Tell whether a folder holds parts and nothing else."""
    names = [one.name for one in folder.iterdir()]
    return any(name.startswith("part-") for name in names) and all(name.startswith((".", "part-")) for name in names)


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds something else than parts.

    Raises:
        DataError: it would be removed at the end.
    """
    others: Iterable[Path] = folder.iterdir() if folder.is_dir() else ()
    odd = next((one for one in others if not one.name.startswith((".", "part-"))), None)
    if odd is not None or folder.is_file():
        raise DataError(
            f"{folder} holds {odd.name if odd else 'no parts'}", need="a place for the parts", fix="choose another name with -o"
        )
