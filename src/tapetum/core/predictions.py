"""Predictions: a table of probabilities and decisions; and one target of it as dense matrices, on which the work is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.errors import DataError, listed
from tapetum.core.schema import PREDICTIONS_SCHEMA, check_predictions, lists, matrix, shared_texts, statuses, with_answer
from tapetum.core.targets import Target, target_named
from tapetum.core.words import plural

FINAL = "final"
REDUCED = -1  # in `draw`: views already reduced to one answer; in `fold`: mean of folds or refit


@dataclasses.dataclass(frozen=True)
class Dense:
    """One target of one member as matrices, rows in a known order.

    Args:
        target: kind and classes.
        row_ids: (N,) of strings.
        p: (N, K) float32; NaN rows where status is not ok.
        y: (N, K) float32; NaN rows where the truth is unknown.
        fold: (N,) int16, the fold whose model predicted the row.
        status: (N,) of strings.
        answer: (N, K) of 0 and 1, labels that a step decided (thresholds, a vote, context), NaN rows where there is none; None: the
            largest p, or p ≥ ½ for multi, decides.
    """

    target: Target
    row_ids: np.ndarray
    p: np.ndarray
    y: np.ndarray
    fold: np.ndarray
    status: np.ndarray
    answer: np.ndarray | None = None

    @property
    def ok(self) -> np.ndarray:
        """Rows with an answer (N,) bool."""
        return self.status == "ok"

    @property
    def scorable(self) -> np.ndarray:
        """Rows with an answer and a known truth (N,) bool."""
        return self.ok & ~np.isnan(self.y).any(axis=1)

    def where(self, rows: np.ndarray) -> Dense:
        """Return some rows: a boolean mask or row numbers."""
        answer = None if self.answer is None else self.answer[rows]
        part = {name: getattr(self, name)[rows] for name in ("row_ids", "p", "y", "fold", "status")}
        return dataclasses.replace(self, **part, answer=answer)

    def with_p(self, p: np.ndarray) -> Dense:
        """Return the same rows with other probabilities and no decisions yet; rows that are now NaN and were ok become uncovered."""
        p = np.asarray(p, dtype=np.float32)
        lost = np.isnan(p).any(axis=1) & self.ok
        return dataclasses.replace(self, p=p, status=np.where(lost, statuses(~lost, missing=False), self.status), answer=None)


def decided(dense: Dense) -> np.ndarray:
    """Return the decisions (N, K) of 0 and 1: those set, else the largest p (multi: p ≥ ½); NaN rows where there is no answer."""
    if dense.answer is not None:
        return np.asarray(dense.answer, dtype=np.float32)
    if dense.target.kind == "multi":
        out = (dense.p >= 0.5).astype(np.float32)
    else:
        out = np.zeros_like(dense.p, dtype=np.float32)
        out[np.arange(len(out)), np.nan_to_num(dense.p, nan=0.0).argmax(axis=1)] = 1
    out[~dense.ok] = np.nan
    return out


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Probabilities, ours or any other framework's: one row per (row_id, target, member, source, checkpoint, draw, fold).

    Args:
        frame: columns of ``PREDICTIONS_SCHEMA``; no nulls in the key; p null unless status is ok; y null where unknown; answer null where
            no step decided, and it may be absent (tables written before it was a column).
        targets: kind and classes of each target named in the frame.
        manifest_hash, recipe_hash: what they were made from; empty when unknown.
    """

    frame: pl.DataFrame
    targets: tuple[Target, ...]
    manifest_hash: str = ""
    recipe_hash: str = ""

    def __post_init__(self) -> None:
        whole = with_answer(self.frame)
        missing = [name for name in PREDICTIONS_SCHEMA if name not in whole.columns]
        if missing:
            raise DataError(f"a predictions table lacks the columns {listed(missing)}", need=listed(PREDICTIONS_SCHEMA, 20))
        frame = whole.select(pl.col(name).cast(dtype) for name, dtype in PREDICTIONS_SCHEMA.items())
        object.__setattr__(self, "frame", frame)
        check_predictions(frame, self.targets)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def members(self) -> list[str]:
        """Member names in order of first appearance."""
        return self.frame["member"].unique(maintain_order=True).to_list()

    def target(self, name: str) -> Target:
        """Return a target by name."""
        return target_named(self.targets, name, " in these predictions")

    def select(self, **values: Any) -> Predictions:
        """Return the rows whose columns equal ``values`` (a list or tuple: any of them)."""
        frame = self.frame
        for name, value in values.items():
            wanted = frame[name].is_in(list(value)) if isinstance(value, (list, tuple)) else frame[name] == value
            frame = frame if wanted.all() else frame.filter(wanted)
        part = object.__new__(Predictions)  # rows of a checked table are not checked again: a million of them take seconds
        for field in dataclasses.fields(self):
            object.__setattr__(part, field.name, frame if field.name == "frame" else getattr(self, field.name))
        return part

    def dense(self, target: str, member: str = FINAL, row_ids: Sequence[str] | None = None, **values: Any) -> Dense:
        """Return one target of one member as matrices.

        Args:
            target: its name.
            member: its name.
            row_ids: the order wanted; rows not predicted come back ``uncovered``. None keeps the table's order.
            values: further columns to select by (``checkpoint="epoch-003"``, ``source="head"``).

        Raises:
            DataError: more than one row left for an id.
        """
        kind = self.target(target)
        frame = self.select(target=target, member=member, **values).frame
        doubled = frame.filter(pl.col("row_id").is_duplicated())
        if len(doubled):
            raise DataError(
                f"row {doubled['row_id'][0]!r} has "
                f"{plural(len(doubled.filter(pl.col('row_id') == doubled['row_id'][0])), 'prediction')} of "
                f"{target!r} by {member!r}",
                need="one",
                fix="select a checkpoint, draw, source or fold, or reduce them first",
            )
        if row_ids is not None:
            order = pl.DataFrame({"row_id": pl.Series(list(row_ids), dtype=pl.String)})
            frame = order.join(frame, on="row_id", how="left", maintain_order="left").with_columns(
                pl.col("status").fill_null("uncovered"), pl.col("fold").fill_null(REDUCED)
            )
        dense = Dense(
            kind,
            frame["row_id"].to_numpy().astype(object),
            matrix(frame["p"], kind.width),
            matrix(frame["y"], kind.width),
            frame["fold"].to_numpy().astype(np.int16),
            shared_texts(frame["status"]),
        )
        if kind.kind == "regression" or frame["answer"].null_count() == len(frame):
            return dense
        answer = matrix(frame["answer"], kind.width)
        open_ = np.isnan(answer).any(axis=1)  # of another source than the rest, which no step decided
        return dataclasses.replace(dense, answer=np.where(open_[:, None], decided(dense), answer) if (open_ & dense.ok).any() else answer)

    def meta(self) -> dict[str, Any]:
        """Return what the file's metadata hold: targets and hashes."""
        return {"targets": [t.to_dict() for t in self.targets], "manifest": self.manifest_hash, "recipe": self.recipe_hash}

    def write(self, path: Path | str) -> Path:
        """Write as Parquet with targets and hashes in the metadata."""
        return files.write_parquet(path, self.frame, self.meta())

    @classmethod
    def read(cls, path: Path | str) -> Predictions:
        """Read what :meth:`write` wrote."""
        frame, meta = files.read_parquet(path)
        if "targets" in meta and "manifest" not in meta:
            raise DataError(f"{path} is a manifest", need="predictions", fix="name a run's oof.parquet, or what tapetum predict wrote")
        if "targets" not in meta:
            raise DataError(f"{path} is a table, but not predictions", fix="read it with tapetum.decide.external (CSV, .npy) first")
        try:
            return cls(frame, tuple(Target.from_dict(t) for t in meta["targets"]), meta["manifest"], meta["recipe"])
        except DataError as error:
            raise DataError(f"{path}: {error.what}", need=error.need, fix=error.fix) from None

    @classmethod
    def from_dense(
        cls,
        dense: Dense | Sequence[Dense],
        *,
        member: str = FINAL,
        source: str = "head",
        checkpoint: str = FINAL,
        draw: int = 0,
        role: Literal["oof", "test"] = "oof",
        manifest_hash: str = "",
        recipe_hash: str = "",
    ) -> Predictions:
        """Return the table of one or more targets of one member."""
        parts = [dense] if isinstance(dense, Dense) else list(dense)
        frames = []
        for part in parts:
            shown = part.ok
            key = {"target": part.target.name, "member": member, "source": source, "checkpoint": checkpoint, "draw": draw, "role": role}
            frames.append(
                pl.DataFrame(
                    {
                        "row_id": pl.Series(part.row_ids.tolist(), dtype=pl.String),
                        "fold": pl.Series(part.fold, dtype=pl.Int16),
                        "p": lists(part.p, shown),
                        "y": lists(part.y, ~np.isnan(part.y).any(axis=1)),
                        "answer": _answers(part),
                        "status": pl.Series(part.status.tolist(), dtype=pl.String),
                    }
                ).with_columns(pl.lit(value).alias(name) for name, value in key.items())
            )
        frame = pl.concat([f.select(pl.col(n).cast(t) for n, t in PREDICTIONS_SCHEMA.items()) for f in frames])
        return cls(frame, tuple(p.target for p in parts), manifest_hash, recipe_hash)

    @classmethod
    def concat(cls, tables: Sequence[Predictions]) -> Predictions:
        """Join tables; a target must mean the same in all of them.

        Raises:
            DataError: other classes or another class order under the same target name, or a doubled key.
        """
        targets: dict[str, Target] = {}
        for table in tables:
            for target in table.targets:
                known = targets.setdefault(target.name, target)
                if (known.kind, known.classes) != (target.kind, target.classes):
                    raise DataError(
                        f"target {target.name!r} has classes {listed(known.classes)} in one table and {listed(target.classes)} in another",
                        need="the same classes in the same order",
                        fix="read the other table again with its class order stated",
                    )
        first = tables[0]
        return cls(pl.concat([t.frame for t in tables]), tuple(targets.values()), first.manifest_hash, first.recipe_hash)


def _answers(dense: Dense) -> pl.Series:
    """Return the decided labels as a list column; null where no step decided, or the row has no answer."""
    if dense.answer is None or dense.target.kind == "regression":
        return pl.Series([None], dtype=PREDICTIONS_SCHEMA["answer"]).new_from_index(0, len(dense.row_ids))
    return lists(dense.answer, dense.ok & ~np.isnan(dense.answer).any(axis=1))
