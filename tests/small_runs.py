"""Small runs for tests: a tiny network without pretrained weights on planted images, one thread, 32 bits, and ways to break them.

:func:`dying` kills itself on demand: ``replace:7`` before the seventh file gets its name, ``backward:3`` in the third batch,
``after:fold-0/state.json:2`` when that file was written the second time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock

ENGINE = {"device": "cpu", "precision": "32", "channels_last": False}
BASE = {
    "model.backbone": "test_efficientnet",
    "model.weights": "none",
    "input.size": 32,
    "train.epochs": 2,
    "train.batch": 8,
    "train.threads": 1,
    "train.precision": "32",
    "split.folds": 3,
    "data.targets": ["label"],
    "data.group": "group",
    "probe.strengths": [1.0, 100.0],
}


def recipe(**values: Any) -> Any:
    """Return the small recipe with some values changed (``train__epochs=1``); None leaves a value at Tapetum's default."""
    from tapetum import api

    flags = {**BASE, **{key.replace("__", "."): value for key, value in values.items()}}
    return api.load_recipe(flags={key: value for key, value in flags.items() if value is not None})


def fit(source: Any, out: Path, *, plan: Path | None = None, log: Any = None, **values: Any) -> dict[str, Any]:
    from tapetum import api

    return api.fit(source, out, recipe=recipe(**values), plan=plan, log=log)


def flags(**values: Any) -> list[str]:
    """Return the small recipe as ``--set`` flags of the command line."""
    from tapetum.core.config import flatten

    merged = {**BASE, **{key.replace("__", "."): value for key, value in values.items()}}
    pairs = [pair for key, value in merged.items() if value is not None for pair in flatten({key: value})]
    return [word for key, value in pairs for word in ("--set", f"{key}={json.dumps(value)}")]


@dataclasses.dataclass
class Said:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one sentence after ``error:``; anything else fails the test."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.rstrip().splitlines()[-1] == lines[0], self.err
        assert "Traceback" not in self.err
        return lines[0].removeprefix("error: ")


def cli(*words: Any, verbose: bool = True) -> Said:
    """Run the command line in this process, with ``--verbose`` where the command has it and ``verbose`` is not False."""
    from tapetum.cli import main, mending

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["tapetum", *map(str, words)]
    if verbose and (command := mending.running()) and "--verbose" in mending.options_of(command):
        sys.argv.append("--verbose")
    code: Any = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = end.code
    finally:
        sys.argv = before
    return Said(int(code or 0), out.getvalue(), err.getvalue())


def once(tmp_path_factory: Any, name: str, make: Callable[[Path], Any]) -> Path:
    """Make a folder once for all processes of a test session; ``make`` fills it."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{place}.lock"):
        if not Path(f"{place}.done").exists():
            shutil.rmtree(place, ignore_errors=True)  # of a try that failed
            place.mkdir()
            make(place)
            Path(f"{place}.done").touch()
    return place


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def contents(folder: Path, pattern: str = "**/*") -> dict[str, str]:
    """Return relative path → hash of the files that match."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.glob(pattern)) if path.is_file()}


# ------------------------------------------------------------------------------------------------------- killed on purpose


class Killed(Exception):
    """Stands for a kill: what was in memory is lost."""


def killed_after_each_epoch(spec: Path) -> tuple[dict[str, Any], int]:
    """Run a job that is killed one epoch later at every start, until it ends; return its state and how often it was killed."""
    from tapetum.learn.training import job

    at = 0

    def kill(epochs: int, seconds: float) -> bool:
        if epochs > at:
            raise Killed
        return True

    while True:
        try:
            return job.run(spec, may_go_on=kill), at
        except Killed:
            at += 1


def fold_rows(place: Path) -> Any:
    """Plant 18 images of two classes and return their manifest, dealt to three folds."""
    import numpy as np

    from images import plant
    from tapetum.core.config import Data
    from tapetum.data import layouts

    plant(place, classes=2, each=9, size=32)
    rows = layouts.read(place / "labels.csv", Data(targets=("label",)), lambda _: None)
    return rows.with_column("fold", np.arange(len(rows)) % 3)


def fold_spec(folder: Path, file: Path, manifest: Any, recipe: Any, until: Any = None) -> Path:
    """Write the spec of fold 0 of a manifest that is in ``file``: the other folds train."""
    import numpy as np

    from tapetum.learn.training import job

    return job.write_spec(
        folder,
        file,
        member="main",
        fold=0,
        recipe=recipe.model_dump(mode="json", exclude={"profile", "member"}),
        manifest_hash=manifest.content_hash(),
        data_root=str(manifest.root),
        train=np.flatnonzero(manifest.fold != 0).tolist(),
        heldout=np.flatnonzero(manifest.fold == 0).tolist(),
        form={"channels": 3, "dtype": "uint8", "size": [32, 32]},
        probe=None,
        engine=ENGINE,
        until=until,
    )


def _die_at(moment: str) -> None:
    what, _, number = moment.rpartition(":")
    left = [int(number)]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if what == "backward":
        from tapetum.learn.runtime import Runtime

        backward = Runtime.backward
        Runtime.backward = lambda self, loss: (count(), backward(self, loss))[1]
        return
    when, _, name = what.partition(":")
    replace = os.replace

    def renamed(source: Any, target: Any) -> None:
        if when == "replace":
            count()
        replace(source, target)
        if when == "after" and str(target).replace(os.sep, "/").endswith(name):
            count()

    os.replace = renamed


def dying(source: str, out: str, plan: str, die: str) -> int:
    """Fit, and kill this process where ``die`` says: what a :class:`bench.faults.forge.Forge` runs in a child."""
    if die:
        _die_at(die)
    fit(Path(source), Path(out), plan=Path(plan) if plan else None, log=print)
    return 0
