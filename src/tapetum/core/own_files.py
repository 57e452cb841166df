"""Files that a command reads, or that make up the run that it is given: it does not write over them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tapetum.core.errors import UserError

RECIPE = "recipe.toml"  # makes a folder a run
FOLDERS = ("members", "features", "pipeline")  # of a run
FILES = (
    RECIPE,
    "origin.json",
    "plan.json",
    "environment.json",
    "run.json",
    "manifest.parquet",
    "oof.parquet",
    "test.parquet",
    "decisions.json",
    "metrics.json",
)


def refuse_own(out: Path | str | None, *given: Any) -> None:
    """Refuse to write over a file that the same command reads (a table of labels, a template, a file of the run that it is given).

    A folder that is read is no place to write a folder either.

    Args:
        out: the file or folder to write; None where nothing is written.
        given: what is read; only paths are looked at.

    Raises:
        UserError: they are one file or one folder, or it is a file by which a run is one.
    """
    if out is None or not Path(out).exists():
        return
    for one in given:
        if not isinstance(one, (str, os.PathLike)) or not Path(one).exists():
            continue
        what, kind = "", "file"
        if os.path.samefile(out, one):
            among, kind = ("what it writes would be among the data", "folder") if Path(one).is_dir() else ("would be replaced", "file")
            what = f"{out} is read by this very command, and {among}"
        elif _is_kept(Path(out).resolve(), Path(one).resolve()):
            what = f"{out} is a file of the run {one}, and would be replaced"
        if what:
            raise UserError(what, need=f"another {kind} to write", fix="choose another name with -o")


def _is_kept(out: Path, run: Path) -> bool:
    """Tell whether a file is one by which a folder is a run."""
    if not out.is_file() or not (run / RECIPE).is_file() or not out.is_relative_to(run):
        return False
    parts = out.relative_to(run).parts
    return parts[0] in FOLDERS or (len(parts) == 1 and parts[0] in FILES)
