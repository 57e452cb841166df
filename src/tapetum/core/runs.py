"""A run: the folder that holds everything one `fit` decided and found; where each file of it is, and its jobs.

A run can be moved and goes on where it stopped: whole files show what is done, never memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tapetum.core import files, hashes, kept_json, locks, progress
from tapetum.core.config import Loaded, Recipe
from tapetum.core.errors import DataError, UserError
from tapetum.core.progress import Log
from tapetum.core.records import environment, logged
from tapetum.core.tables import Manifest

PROBE = "probe"  # the member that every run has unless it is switched off
BY_GROUP_FILE = "probe-by-group.parquet"  # the probe's held-out answers under folds by group, where the run's own go by image
BEFORE_MANIFEST = ("recipe.toml", "origin.json", "environment.json", "run-id.json", "run.json", "audit.parquet", "plan.json")
TRACE = "trace.json"  # what ``tapetum trace`` leaves; such a folder is no run of ``fit``
START = "epoch-000"  # the checkpoint of a fold before any training
HASHED = ("recipe.toml", "origin.json", "environment.json", "run-id.json", "run.json", "plan.json", "manifest.parquet", BY_GROUP_FILE,
          "statements.json", "first-look.json", "features/*/index.json", "members/*/*/*.*", "members/*/*/vectors/*")  # fmt: skip
MADE_ANEW = ("decisions.json", "metrics.json", "oof.parquet", "test.parquet", "test-before-steps.parquet", "saliency/*",
             "pipeline/pipeline.json")  # by every decision of a run, from its folds  # fmt: skip
UNREAD = ("memory.json", locks.HOLDER, locks.LOCK)  # of a fold


def checkpoint_of(checkpoint: int | str) -> str | None:
    """Return the checkpoint that ``train.checkpoint`` names; None for the best one, which is chosen."""
    if checkpoint == "best":
        return None
    return f"epoch-{checkpoint:03d}" if isinstance(checkpoint, int) else checkpoint


@dataclasses.dataclass(frozen=True)
class Run:
    """Paths of a run folder and the few files that every stage reads.

    Args:
        root: the folder.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))

    @property
    def recipe_file(self) -> Path:
        """The recipe with every value written out."""
        return self.root / "recipe.toml"

    @property
    def plan_file(self) -> Path:
        """What was measured to decide: precision, engine, the budget's epochs and folds."""
        return self.root / "plan.json"

    @property
    def manifest_file(self) -> Path:
        """The manifest with its folds."""
        return self.root / "manifest.parquet"

    @property
    def features(self) -> Path:
        """Feature vectors, a folder for each set of weights and preprocessing."""
        return self.root / "features"

    @property
    def pipeline(self) -> Path:
        """The frozen pipeline."""
        return self.root / "pipeline"

    def file(self, name: str) -> Path:
        """Return a file at the run's root."""
        return self.root / name

    def member(self, member: str, fold: int) -> Path:
        """Return the folder of one member's fold; refit on all rows is fold −1."""
        return self.root / "members" / member / ("refit" if fold < 0 else f"fold-{fold}")

    def folds_of(self, member: str, file: str) -> dict[int, Path]:
        """Return fold → file for the folds of a member in which that file exists."""
        found = {}
        for folder in sorted((self.root / "members" / member).glob("fold-*")):
            if (folder / file).exists():
                found[int(folder.name.removeprefix("fold-"))] = folder / file
        return dict(sorted(found.items()))

    def manifest(self, root: Path | str | None = None) -> Manifest:
        """Read the run's manifest; ``root`` says where the images are now, if they moved."""
        return Manifest.read(self.manifest_file, root)

    def recipe(self) -> Recipe:
        """Read the run's recipe."""
        from tapetum.core.config import load

        return load(self.recipe_file, stored=True).recipe

    def plan(self) -> dict[str, Any]:
        """Read plan.json; empty where nothing is planned yet."""
        plan = self.described("plan.json")
        if not isinstance(plan.get("members", {}), dict):
            raise DataError(f"{self.plan_file} has no JSON object as 'members'", fix="restore the file, or make the run again")
        return plan

    def described(self, name: str) -> dict[str, Any]:
        """Read one of the run's JSON files; empty where it is not there yet.

        Raises:
            DataError: it holds no JSON object.
        """
        place = self.file(name)
        return kept_json.read_object(place) if place.exists() else {}

    def seal(self) -> None:
        """Keep the hashes of a finished run's files; not of audit.parquet, which people change, and of the ledger, which grows."""
        found = [place for pattern in (*HASHED, *MADE_ANEW) for place in self.root.glob(pattern) if place.is_file()]
        hashes.keep(self.root, [place.relative_to(self.root).as_posix() for place in found if place.name not in UNREAD])

    def checked(self, *patterns: str, goes_on: bool = False) -> Run:
        """Return the run; refuse a file of it, among those that ``patterns`` name, that was changed, cut or exchanged since it was sealed.

        Args:
            patterns: of the files that are about to be read (``*`` stands for folders, too); none: those at the run's root.
            goes_on: the caller makes anew what is absent with its whole folder, as a fold; else that is refused, too.

        Raises:
            DataError: names the file or folder.
        """
        hashes.check(self.root, self.mend, hashes.matching(patterns) if patterns else lambda name: "/" not in name, goes_on=goes_on)
        return self

    def mend(self, name: str) -> str:
        """Return what mends a file that is not the one that was written."""
        if name.startswith("members/"):
            return hashes.mend_fold((self.root / name).parent)
        again = hashes.matching(MADE_ANEW)(name)
        or_ = f", or make it anew from the folds: tapetum decide {self.root}" if again else ""
        return f"put the run's own file back{or_}; where the change is meant, remove {self.root / hashes.RECORD}"

    def keep_plan(self, **values: Any) -> dict[str, Any]:
        """Add values to plan.json; what is there already wins, since a plan is only read on resume."""
        plan = {**values, **self.plan()}
        with hashes.renewed(self.root, self.plan_file.name):
            files.write_json(self.plan_file, plan)
        return plan

    @classmethod
    def existing(cls, root: Path | str) -> Run:
        """Return a run that is there.

        Raises:
            UserError: the folder holds no run.
        """
        run = cls.at(root)
        if run is None:
            raise UserError(f"{root} is not a run (it has no recipe.toml)", fix="make one with: tapetum fit DATA -o RUN")
        return run

    @classmethod
    def at(cls, place: object) -> Run | None:
        """Return the run that lies at a path; None for other folders and files, and for data that are no path."""
        run = cls(Path(place)) if isinstance(place, (str, Path)) else None
        return run if run is not None and (run.recipe_file.exists() or run.file("run-id.json").exists()) else None

    def is_of_another(self, recipe: Recipe) -> bool:
        """Tell whether a run is here, and was made by another recipe."""
        marker = self.file("run-id.json")
        return marker.exists() and files.read_json(marker).get("recipe") != recipe.hash()

    @classmethod
    def finished(cls, root: Path | str) -> Run:
        """Return a run that has its predictions.

        Raises:
            UserError: the folder holds no run.
            DataError: the run is not finished, or a file at its root is not the one that was written.
        """
        run = cls.existing(root)
        if not run.file("oof.parquet").exists():
            if run.file(TRACE).exists():
                raise DataError(f"{root} is a trace: it measured some steps and has no predictions", need="a run that tapetum fit made")
            raise DataError(f"{root} is not finished (it has no oof.parquet)", fix=f"finish it: tapetum fit DATA -o {root}")
        return run.checked()

    @classmethod
    def start(cls, root: Path | str, loaded: Loaded, identity: Mapping[str, Any]) -> Run:
        """Open a run folder for this recipe and data: fresh, or the one that an earlier start of the same command left.

        Args:
            root: the folder.
            loaded: the recipe with its origins.
            identity: what else must be the same to go on (the source of the data).

        Raises:
            DataError: the folder holds the run of another recipe or other data, or files that are no run.
        """
        run = cls(Path(root))
        files.make_folder(run.root)
        run.checked("run-id.json", "recipe.toml")
        mine = {"recipe": loaded.recipe.hash(), **identity}
        marker = run.file("run-id.json")
        if marker.exists() and (run.manifest_file.exists() or files.read_json(marker) == mine):
            theirs = files.read_json(marker)
            changed = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
            if changed:
                what = run._differences(loaded.recipe) if "recipe" in changed else "; ".join(f"{k}: {theirs.get(k)}" for k in changed)
                raise DataError(
                    f"{root} is the run of another {' and '.join(changed)} ({what})", fix="choose another folder with -o, or remove it"
                )
            run._refuse_edited(loaded.recipe)
            return run
        ours = BEFORE_MANIFEST if (run.root / locks.HOLDER).exists() else ()
        if any(p for p in run.root.iterdir() if not p.name.startswith(".") and p.name not in ours):
            raise DataError(f"{root} holds files, but no run", fix="choose an empty or new folder with -o")
        with locks.lock(run.root):
            # A start that was killed or refused before its manifest stood decided nothing, so it binds nobody.
            files.remove(marker)
            files.remove(run.file("run.json"))
            files.remove(run.plan_file)
            files.write_json(run.file("environment.json"), environment())
            run.adopt(loaded, identity)
        return run

    @classmethod
    @contextlib.contextmanager
    def opened(cls, root: Path | str, loaded: Loaded, identity: Mapping[str, Any]) -> Iterator[Run]:
        """Start a run, or go on with it, and hold it; a start that fails before anything is decided leaves nothing behind.

        Args:
            root: the folder.
            loaded: the recipe with its origins.
            identity: see :meth:`start`.
        """
        root = Path(root)
        new = [place for place in (root, *root.absolute().parents) if not place.exists()]
        before = set(os.listdir(root)) if root.is_dir() else set()
        try:
            run = cls.start(root, loaded, identity)
            with locks.lock(run.root):
                run.checked(*HASHED, goes_on=True)
                yield run
        except BaseException:
            if not before & {"manifest.parquet", "run-id.json"}:
                _take_back(root, before, new)
            raise

    def adopt(self, loaded: Loaded, identity: Mapping[str, Any] | None = None) -> None:
        """Make this the run of a recipe: write it with its origins, and the marker last; ``identity`` None keeps the marker's own."""
        marker = self.file("run-id.json")
        known = identity if identity is not None else {k: v for k, v in files.read_json(marker).items() if k != "recipe"}
        files.write_text(self.recipe_file, loaded.recipe.to_toml())
        origin = [{"key": key, "value": value, "origin": source} for key, value, source in loaded.explain()]
        files.write_json(self.file("origin.json"), origin)
        files.write_json(marker, {"recipe": loaded.recipe.hash(), **known})

    def _refuse_edited(self, recipe: Recipe) -> None:
        """Refuse a recipe.toml that is not the one that the run began with: later commands work by that file."""
        if not self.recipe_file.exists():
            raise DataError(f"{self.root} has no {self.recipe_file.name}", fix="restore it, or choose another folder with -o")
        if self.recipe().hash() != recipe.hash():
            what = f"{self.recipe_file} was changed since the run began ({self._differences(recipe)})"
            raise DataError(what, fix="undo the change, or choose another folder with -o")

    def _differences(self, recipe: Recipe) -> str:
        from tapetum.core.config import flatten

        theirs = dict(flatten(self.recipe().model_dump(mode="json")))
        mine = dict(flatten(recipe.model_dump(mode="json")))
        keys = [k for k in {**theirs, **mine} if theirs.get(k) != mine.get(k) and not k.startswith("profile")]
        return "; ".join(f"{k} was {theirs.get(k)!r}, now {mine.get(k)!r}" for k in keys[:3]) or "recipe"


def _take_back(root: Path, before: set[str], new: list[Path]) -> None:
    """Remove what a start wrote into a run that decided nothing, and the folders that it made; findings (audit.parquet) stay."""
    names = set(os.listdir(root)) - before if root.is_dir() else set()
    if not names <= {*BEFORE_MANIFEST, *locks.HELD} - {"audit.parquet"}:
        return
    for name in names:
        files.remove(root / name)
    for place in new:
        with contextlib.suppress(OSError):  # it holds something of somebody else
            place.rmdir()


class Record:
    """The log of a run: passed on at once, and kept with the seconds of each stage in ``run.json``.

    Args:
        log: where messages go; None keeps them only.
    """

    def __init__(self, log: Log | None = None) -> None:
        self._log = log
        self.messages: list[str] = []
        self._known: set[str] = set()  # the same, to look one up: there may be one for each of very many rows
        self.stages: dict[str, float] = {}
        self.started = time.time()

    def __call__(self, message: str) -> None:
        """Log a message once; one that begins with a carriage return is progress, which is passed on and not kept."""
        if message.startswith(progress.PASSING):
            if self._log is not None:
                self._log(message)
            return
        if message in self._known:
            return
        self._known.add(message)
        self.messages.append(message)
        if self._log is not None:
            self._log(message)

    def share(self, what: str) -> Callable[[int, int], None]:
        """Return a function that reports how far some work is; see :func:`tapetum.core.progress.share`."""
        return progress.share(self, what)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the wall seconds of a stage; its name is passed on as progress."""
        self(f"{progress.PASSING}{name}")
        began = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = round(self.stages.get(name, 0.0) + time.perf_counter() - began, 3)

    def write(self, run: Run, command: str) -> None:
        """Write the log; messages of earlier starts of the same run stay in front."""
        path = run.file("run.json")
        with hashes.renewed(run.root, path.name):
            self._write(path, command)

    def _write(self, path: Path, command: str) -> None:
        before = files.read_json(path) if path.exists() else {"starts": []}
        earlier = [start for start in before["starts"] if start["started"] != self.started]
        starts = [*earlier, {"command": command, "started": self.started, "seconds": self.stages}]
        earlier_messages = logged(before)
        log = [*earlier_messages, *(m for m in self.messages if m not in earlier_messages)]
        files.write_json(path, {"command": command, "started": self.started, "seconds": self.stages, "starts": starts, "log": log})
