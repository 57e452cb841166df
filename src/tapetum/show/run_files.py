"""What a run folder holds, read once: every file may be absent, and a report then leaves out what would need it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import audited, files, kept_json
from tapetum.core.config import Input
from tapetum.core.errors import DataError
from tapetum.core.runs import Run
from tapetum.core.tables import FINAL, Dense, Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.show import words

PARTS: dict[str, type] = {  # of the JSON files: what pages read, and its form
    **dict.fromkeys(("headline", "counts", "choice", "blend", "epochs", "versions", "seconds"), dict),
    **dict.fromkeys(("figures", "differences", "marks", "warnings", "starts", "log"), list),
}
KEYS = {  # that such a part, or each of its entries, has
    "headline": {"target", "metric"},
    "figures": {"target", "name", "metric", "value", "low", "high"},
    "differences": {"target", "metric", "a", "b"},
    "starts": {"seconds"},
    "origin.json": {"key", "value", "origin"},
    "saliency.json": {"file"},
}


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The files of a run in memory; None or empty where a file is absent.

    Args:
        run: the folder.
        manifest: rows, targets, groups and folds.
        final: ``oof.parquet``: the final answer on held-out rows, with its decided labels.
        members: member → fold → its own held-out predictions.
        history: member → fold → a row an epoch.
        schedule: member → fold → planned rate by step.
        metrics, decisions, plan, environment, record: the JSON files (record is ``run.json``).
        audit: a row an image file, with its status.
        origin: recipe key, value and where it came from.
        saliency: the list of ``saliency/saliency.json``.
        statements: ``statements.json`` of a reference system: what its write-up says and where it is; ``first_look`` its counts.
        composed: how the files of a row become one image; None: as the run's recipe says.
    """

    run: Run
    manifest: Manifest | None
    final: Predictions | None
    members: dict[str, dict[int, Predictions]]
    history: dict[str, dict[int, pl.DataFrame]]
    schedule: dict[str, dict[int, pl.DataFrame]]
    metrics: dict[str, Any]
    decisions: dict[str, Any]
    plan: dict[str, Any]
    environment: dict[str, Any]
    record: dict[str, Any]
    audit: pl.DataFrame | None
    origin: list[dict[str, Any]]
    saliency: list[dict[str, Any]]
    statements: dict[str, Any] = dataclasses.field(default_factory=dict)
    first_look: dict[str, Any] = dataclasses.field(default_factory=dict)
    composed: Input | None = None

    @classmethod
    def of_answers(
        cls, run: Run, manifest: Manifest, final: Predictions, metrics: dict[str, Any], audit: pl.DataFrame, composed: Input
    ) -> RunFiles:
        """Return what an evaluation found, as a run without training: answers to labelled images and their figures.

        Args:
            run: a name for the page; nothing is read from its folder.
            manifest: the rows with their truth.
            final: the answers.
            metrics: as metrics.json holds them.
            audit: a row an image, with its status.
            composed: how the files of a row become one image.
        """
        empty: dict[str, Any] = {name: {} for name in ("members", "history", "schedule", "decisions", "plan", "environment", "record")}
        return cls(
            run=run, manifest=manifest, final=final, metrics=metrics, audit=audit, origin=[], saliency=[], composed=composed, **empty
        )

    @property
    def is_evaluation(self) -> bool:
        """Whether these are the answers of a pipeline to other images, not a run."""
        return self.composed is not None

    @property
    def targets(self) -> tuple[Target, ...]:
        """The scored targets that the final answer covers (without it: the manifest's)."""
        if self.final is not None:
            seen = set(self.final.frame["target"].unique().to_list())
            return tuple(t for t in self.final.targets if t.name in seen)
        return tuple(t for t in self.manifest.targets if t.scored) if self.manifest is not None else ()

    def with_short_names(self) -> RunFiles:
        """Return the same run whose classes have names that fit a page."""
        if self.final is None or all(words.class_names(t.classes) == t.classes for t in self.final.targets):
            return self
        targets = tuple(dataclasses.replace(t, classes=words.class_names(t.classes)) for t in self.final.targets)
        return dataclasses.replace(self, final=dataclasses.replace(self.final, targets=targets))

    def groups(self, row_ids: np.ndarray) -> np.ndarray:
        """Return the group of each row (N,) of strings; the row itself where the manifest does not tell."""
        if self.manifest is None:
            return row_ids.astype(str)
        known = dict(zip(self.manifest.row_ids, self.manifest.groups, strict=True))
        return np.array([str(known.get(row, row)) for row in row_ids], dtype=object)

    def weight(self, row_ids: np.ndarray) -> np.ndarray | None:
        """Return the weight of each row (N,), 1 where the manifest does not tell; None where it gives no weights."""
        known = None if self.manifest is None else self.manifest.weights
        return None if known is None else np.array([known.get(row, 1.0) for row in row_ids])

    def held_out(self, target: Target) -> Dense | None:
        """Return the final answer to a target with its decisions, rows in the table's order; None where there is none."""
        return None if self.final is None else self.final.dense(target.name)

    def of_member(self, member: str, fold: int, target: str) -> Dense | None:
        """Return one fold's own held-out answers of a member: views reduced where they are, the last checkpoint."""
        table = self.members.get(member, {}).get(fold)
        if table is None or target not in table.frame["target"].to_list():
            return None
        draws = table.frame["draw"].unique().to_list()
        checkpoints = table.frame["checkpoint"].unique(maintain_order=True).to_list()
        table = table.select(draw=-1 if -1 in draws else 0, checkpoint=FINAL if FINAL in checkpoints else checkpoints[-1])
        try:
            return table.dense(target, table.members[0])
        except DataError:  # several sources of one answer: none is the plain one
            return None

    def input(self) -> Input:
        """Return how the files of a row become one image; the defaults where the run has no recipe."""
        if self.composed is not None:
            return self.composed
        return self.run.recipe().input if self.run.recipe_file.exists() else Input()


def read_run(folder: Path | str, data: Path | str | None = None) -> RunFiles:
    """Read a run folder.

    Args:
        folder: the run.
        data: where the images are now, if they moved.

    Raises:
        DataError: the folder holds neither a manifest nor predictions, or a file in it is broken or not the one that was written.
    """
    run = Run(Path(folder))
    if not (run.manifest_file.exists() or run.file("oof.parquet").exists()):
        raise DataError(
            f"{folder} is not a run (it has neither manifest.parquet nor oof.parquet)", fix="make one with: tapetum fit DATA -o RUN"
        )
    run.checked().checked("members/*", "features/*", "saliency/*")
    manifest = run.manifest(data) if run.manifest_file.exists() else None
    members = sorted(p.name for p in (run.root / "members").glob("*") if p.is_dir())

    def by_fold(file: str, read: Any) -> dict[str, dict[int, Any]]:
        found = {m: {fold: read(path) for fold, path in run.folds_of(m, file).items()} for m in members}
        return {m: folds for m, folds in found.items() if folds}

    return RunFiles(
        run,
        manifest,
        _if_there(run.file("oof.parquet"), Predictions.read),
        by_fold("oof.parquet", Predictions.read),
        by_fold("history.csv", files.read_csv),
        by_fold("schedule.csv", files.read_csv),
        _json(run.file("metrics.json"), dict),
        _json(run.file("decisions.json"), dict),
        run.plan(),
        _json(run.file("environment.json"), dict),
        _json(run.file("run.json"), dict),
        audited.found(run, manifest),
        _json(run.file("origin.json"), list),
        _json(run.root / "saliency" / "saliency.json", list),
        _json(run.file("statements.json"), dict),
        _json(run.file("first-look.json"), dict),
    )


def _if_there(path: Path, read: Any) -> Any:
    return read(path) if path.exists() else None


def _json(path: Path, kind: type) -> Any:
    """Return what a JSON file holds, an object or a list; empty where there is no file.

    Raises:
        DataError: it holds something else, or a part that pages read has another form.
    """
    read: Any = kept_json.read_object if kind is dict else kept_json.read_list
    found = read(path) if path.exists() else kind()
    fix = "remove it and run the command again"
    for name, value in (found if isinstance(found, dict) else {path.name: found}).items():
        if value is not None and not isinstance(value, PARTS.get(name, object)):
            raise DataError(f"{name!r} in {path} is no {'object' if PARTS[name] is dict else 'list'}", fix=fix)
        entries = value if isinstance(value, list) else [value] if value else []
        if name in KEYS and not all(isinstance(one, dict) and KEYS[name] <= set(one) for one in entries):
            raise DataError(f"{name!r} in {path} is not what a run writes", fix=fix)
    return found
