"""What a pipeline and an export have in common: the file that says what they are, their targets, and how rows are read and named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.core import hashes
from tapetum.core.config import Data
from tapetum.core.errors import DataError, EnvironmentFault
from tapetum.core.progress import Log
from tapetum.core.tables import Dense, Manifest
from tapetum.core.targets import Target
from tapetum.data import layouts
from tapetum.data.images.given import Source
from tapetum.decide.steps import Rows
from tapetum.pipeline.combine import Answered

KEYS = ("format", "targets", "sources", "data", "members", "decisions")


class Frozen:
    """A loaded folder that answers images.

    Args:
        folder: where it was loaded from.
        spec: the JSON file that says what it is.
    """

    members: list[Any]

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self.folder, self.spec = folder, spec
        self.targets = {one["name"]: Target.from_dict(one) for one in spec["targets"]}
        self.problems: dict[int, str] = {}  # of the last answer: row number → why it has none

    @property
    def scored(self) -> dict[str, Target]:
        """The targets that are answered, by name."""
        return {name: target for name, target in self.targets.items() if target.scored}

    def read(self, sources: Sequence[Any], log: Log, **declared: Any) -> Manifest:
        """Return the rows that some sources name, composed as the pipeline's own data were; each source is read by its own layout.

        Args:
            sources: files, folders, archives, tables or frames.
            log: told how they are read.
            declared: columns, ``layout`` and ``on_bad``, as for :func:`tapetum.api.predict`.
        """
        return layouts.loose(sources, Data.model_validate(self.spec["data"]), log, targets=self.targets, declared=declared)

    def answer(
        self,
        manifest: Manifest,
        log: Log | None = None,
        tick: Callable[[int, int], None] | None = None,
        *,
        sources: Sequence[Sequence[Source]] | None = None,
        told: Callable[[Answered, Rows], None] | None = None,
    ) -> dict[str, Dense]:
        """Return one Dense a scored target for every row of a manifest, in its order."""
        raise NotImplementedError

    def log_missing(self, manifest: Manifest, log: Log | None) -> None:
        """Log the rows of the last answer that have none, with the reason."""
        for row, reason in sorted(self.problems.items()):
            if log is not None:
                log(f"warning: missing: {manifest.row_ids[row]} ({reason})")


def unseen(manifest: Manifest) -> Rows:
    """Return the rows as decision steps see them: of no fold."""
    rows = Rows.of(manifest)
    return dataclasses.replace(rows, fold=np.full(len(rows), -1, dtype=np.int16))


def checked(spec: Any, place: Path, newest: int, *, fix: str, keys: Sequence[str] = KEYS) -> dict[str, Any]:
    """Return what the JSON file of a pipeline or an export holds, as this version reads it.

    Args:
        spec: its content.
        place: the file.
        newest: the newest format that is read.
        fix: what mends a damaged one.
        keys: what it must hold.

    Raises:
        EnvironmentFault: a newer version of Tapetum wrote it.
        DataError: something of it is absent.
    """
    found = spec.get("format") if isinstance(spec, dict) else None
    if isinstance(found, int) and found > newest:
        what = f"{place} has format {found}, from a newer version of Tapetum"
        raise EnvironmentFault(what, need=f"format {newest} or older", fix="update Tapetum")
    absent = [key for key in keys if not isinstance(spec, dict) or not spec.get(key)]
    if absent:
        raise DataError(f"{place} is damaged: {absent[0]!r} is absent", fix=fix)
    return dict(spec)


def written_files(folder: Path) -> dict[str, str]:
    """Return file → SHA-256 of all that a folder holds but what is for people (README.md)."""
    found = [place for place in folder.rglob("*") if place.is_file() and place.suffix != ".md"]
    return hashes.of_files(folder, [place.relative_to(folder).as_posix() for place in found])
