"""The two tables that stages pass on: Manifest (images and labels) and Predictions (probabilities and decisions).

Both are polars frames with checked columns. On disk they are Parquet with the targets in the file's metadata; in memory the work is
done on dense matrices (:class:`Dense`), one per target and member, and rows are matched by ``row_id`` alone, never by place.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from tapetum.core import files, places
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.schema import PREDICTIONS_SCHEMA, STATUSES, check_predictions, lists, matrix, with_answer
from tapetum.core.targets import Target, compose, encode, expression_names

SPLITS = ("train", "test", "extra", "spare")  # spare: left out by data.limit, neither trains nor scores
FINAL = "final"
REDUCED = -1  # in `draw`: views already reduced to one answer; in `fold`: mean of folds or refit

_OPTIONAL = {"group": pl.String, "sequence": pl.String, "position": pl.Float64, "split": pl.String, "weight": pl.Float64, "fold": pl.Int16}
_BOUNDS = {"weight": (0.0, math.inf), "fold": (-1.0, 32767.0)}
RESERVED = frozenset({"row_id", "path", "sha256", "pseudo", *_OPTIONAL})


@dataclasses.dataclass(frozen=True)
class Manifest:
    """One row an image (or a sample of several images).

    Args:
        frame: ``row_id`` (unique), ``path`` (list of strings, relative to ``root``), ``sha256`` (null until hashed), a column for each
            target that is not derived, optional ``group sequence position split weight fold`` and side numbers.
        targets: every target, derived ones last, classes known.
        root: the folder that paths start from.
        side: names of the side-number columns.
        layout: how the source was laid out; images to predict are composed by it. Empty where rows were made otherwise.
    """

    frame: pl.DataFrame
    targets: tuple[Target, ...]
    root: Path
    side: tuple[str, ...] = ()
    layout: str = ""

    def __post_init__(self) -> None:
        frame = self.frame
        if "sha256" not in frame.columns:
            frame = frame.with_columns(pl.lit(None, pl.String).alias("sha256"))
        for name, dtype in _OPTIONAL.items():
            if name in frame.columns:
                frame = frame.with_columns(_cast(frame, name, dtype))
        object.__setattr__(self, "frame", frame)
        object.__setattr__(self, "root", Path(self.root))
        check_ids(frame)
        for target in self.targets:
            if target.name in RESERVED:
                raise UserError(f"a target is called {target.name!r}, a name with a meaning of its own", fix="rename the column")
            if target.expression is None and target.name not in frame.columns:
                raise DataError(
                    f"the manifest has no column {target.name!r} (it has: {listed(frame.columns)}).{nearest(target.name, frame.columns)}"
                )
        if "split" in frame.columns:
            odd = frame.filter(pl.col("split").is_not_null() & ~pl.col("split").is_in(SPLITS))
            if len(odd):
                raise DataError(f"row {odd['row_id'][0]!r} has split = {odd['split'][0]!r}", need=f"one of {listed(SPLITS)}")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def row_ids(self) -> list[str]:
        """The ids in row order."""
        return self.frame["row_id"].to_list()

    @property
    def split(self) -> np.ndarray:
        """``train``, ``test`` or ``extra`` for each row; rows without a split are ``train``."""
        if "split" not in self.frame.columns:
            return np.full(len(self), "train", dtype=object)
        return self.frame["split"].fill_null("train").to_numpy().astype(object)

    @property
    def fold(self) -> np.ndarray:
        """Which fold holds each row out (N,) int16; −1 for test and extra rows, and where folds are not yet drawn."""
        if "fold" not in self.frame.columns:
            return np.full(len(self), -1, dtype=np.int16)
        return self.frame["fold"].fill_null(-1).to_numpy().astype(np.int16)

    @property
    def groups(self) -> np.ndarray:
        """The group of each row (N,) of strings: ``group``, else ``sequence``, else the row itself."""
        out = self.frame["row_id"]
        for name in ("sequence", "group"):
            if name in self.frame.columns:
                own = self.frame[name]
                out = pl.select(pl.coalesce(pl.lit(own), pl.lit(out))).to_series()
        return out.to_numpy().astype(object)

    @property
    def weight(self) -> np.ndarray:
        """The weight of each row (N,) float32; 1 where none is given."""
        if "weight" not in self.frame.columns:
            return np.ones(len(self), dtype=np.float32)
        return self.frame["weight"].fill_null(1.0).to_numpy().astype(np.float32)

    @property
    def weights(self) -> dict[str, float] | None:
        """Row id → weight; None where the manifest gives none. They count in training, in what is fitted and in every figure."""
        if "weight" not in self.frame.columns:
            return None
        return dict(zip(self.row_ids, self.weight.tolist(), strict=True))

    def weights_of(self, row_ids: Iterable[str]) -> np.ndarray | None:
        """Return the weights of some rows (N,); None where the manifest gives none."""
        known = self.weights
        return None if known is None else np.array([known[row_id] for row_id in row_ids], dtype=np.float64)

    def target(self, name: str) -> Target:
        """Return a target by name; a typo is answered with the nearest one."""
        for target in self.targets:
            if target.name == name:
                return target
        names = [t.name for t in self.targets]
        raise UserError(f"there is no target {name!r} (there are: {listed(names)}).{nearest(name, names)}")

    def truth(self, name: str) -> np.ndarray:
        """Return the truth matrix (N, K) float32 of a target; NaN rows where unknown. Derived targets are composed."""
        target = self.target(name)
        if target.expression is None or target.name in self.frame.columns:
            return encode(target, self.frame[name].to_list(), self.row_ids)
        parts = {t.name: t for t in self.targets if t.name in expression_names(target.expression)}
        return compose(target, parts, {n: self.truth(n) for n in parts})

    def paths(self, row: int) -> list[Path]:
        """Return the files of a row, as they can be opened (zip members keep ``a.zip!/x.png``)."""
        return [self.root / p for p in self.frame["path"][row]]

    def where(self, rows: np.ndarray) -> Manifest:
        """Return the manifest of some rows: a boolean mask or row numbers."""
        rows = np.asarray(rows)
        picked = np.flatnonzero(rows) if rows.dtype == bool else rows
        return dataclasses.replace(self, frame=self.frame[picked.tolist()])

    def with_column(self, name: str, values: Iterable[Any]) -> Manifest:
        """Return the manifest with a column added or replaced."""
        return dataclasses.replace(self, frame=self.frame.with_columns(pl.Series(name, values)))

    def content_hash(self) -> str:
        """Return a short hash of rows, targets and image contents; the folder that holds them does not matter."""
        columns = [c for c in self.frame.columns if c != "fold"]
        return files.fingerprint([self.frame.select(columns).to_dict(as_series=False), [t.to_dict() for t in self.targets]])

    def write(self, path: Path | str) -> Path:
        """Write as Parquet with targets, root and side columns in the metadata."""
        targets = [t.to_dict() for t in self.targets]
        meta = {"targets": targets, **places.kept_root(self.root, Path(path)), "side": list(self.side), "layout": self.layout}
        return files.write_parquet(path, self.frame, meta)

    @classmethod
    def read(cls, path: Path | str, root: Path | str | None = None) -> Manifest:
        """Read what :meth:`write` wrote; ``root`` says where the images are now, if they moved otherwise than together with the file."""
        frame, meta = files.read_parquet(path)
        if "targets" not in meta:
            raise DataError(f"{path} is a table, but not a manifest", fix="read it with layout 'table'")
        targets = tuple(Target.from_dict(t) for t in meta["targets"])
        place = Path(root) if root is not None else places.found_root(Path(path), meta, frame["path"].to_list())
        return cls(frame, targets, place, tuple(meta["side"]), meta.get("layout", ""))


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
        return dataclasses.replace(self, p=p, status=np.where(lost, "uncovered", self.status), answer=None)


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
        for target in self.targets:
            if target.name == name:
                return target
        names = [t.name for t in self.targets]
        raise UserError(f"there is no target {name!r} in these predictions (there are: {listed(names)}).{nearest(name, names)}")

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
                f"row {doubled['row_id'][0]!r} has {len(doubled.filter(pl.col('row_id') == doubled['row_id'][0]))} predictions of "
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
            np.array(STATUSES, dtype=object)[frame["status"].cast(pl.Enum(STATUSES)).to_physical().to_numpy()],  # three strings, not N
        )
        if kind.kind == "regression" or frame["answer"].null_count() == len(frame):
            return dense
        answer = matrix(frame["answer"], kind.width)
        open_ = np.isnan(answer).any(axis=1)  # of another source than the rest, which no step decided
        return dataclasses.replace(dense, answer=np.where(open_[:, None], decided(dense), answer) if (open_ & dense.ok).any() else answer)

    def write(self, path: Path | str) -> Path:
        """Write as Parquet with targets and hashes in the metadata."""
        meta = {"targets": [t.to_dict() for t in self.targets], "manifest": self.manifest_hash, "recipe": self.recipe_hash}
        return files.write_parquet(path, self.frame, meta)

    @classmethod
    def read(cls, path: Path | str) -> Predictions:
        """Read what :meth:`write` wrote."""
        frame, meta = files.read_parquet(path)
        if "targets" not in meta:
            raise DataError(f"{path} is a table, but not predictions", fix="read it with tapetum.decide.elsewhere (CSV, .npy) first")
        return cls(frame, tuple(Target.from_dict(t) for t in meta["targets"]), meta["manifest"], meta["recipe"])

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


def check_ids(frame: pl.DataFrame, name: str = "the manifest", column: str = "row_id") -> None:
    """Refuse a table whose ``row_id`` is absent, null or doubled; the first rows are named, with their files.

    Args:
        frame: with ``row_id`` and, where rows have files, ``path``.
        name: the table, for errors.
        column: what the ids are called there.
    """
    if "row_id" not in frame.columns:
        raise DataError("a manifest needs a row_id in every row", fix="name the id column with --id")
    blank = frame["row_id"].is_null()
    if blank.any():
        what = f"{name} row {int(blank.arg_true()[0]) + 1} has no id in {column!r} ({int(blank.sum())} of {len(frame)} rows have none)"
        raise DataError(what, need="a row_id in every row", fix="fill it in, or name another id column: --id COLUMN (none: the paths)")
    doubled = frame.filter(pl.col("row_id").is_duplicated())
    if len(doubled):
        names = doubled["row_id"].unique(maintain_order=True).to_list()
        where = ""
        if "path" in doubled.columns:
            own = doubled.filter(pl.col("row_id") == names[0])["path"].to_list()
            files_ = [", ".join(paths) if isinstance(paths, list) else str(paths) for paths in own]
            where = f" ({names[0]} is {' and '.join(files_[:3])})" if any(file != names[0] for file in files_) else ""
        raise DataError(
            f"{len(names)} ids are in more than one row: {listed(names)}{where}", need="each id once", fix="remove the doubled rows"
        )


def free_name(name: str, taken: Iterable[str]) -> str:
    """Return ``name``, or what begins with ``tapetum_`` where a column or target of the user is called so."""
    used = set(taken)
    while name in used:
        name = f"tapetum_{name}"
    return name


def _cast(frame: pl.DataFrame, name: str, dtype: Any) -> pl.Series:
    """Return an optional column in its type.

    Raises:
        DataError: a cell that is no text, no finite number, no weight or no fold: the first is named.
    """
    column = frame[name]
    if column.dtype.is_nested() or column.dtype == pl.Object:
        found, odd = column, column.is_not_null()
    elif dtype == pl.String:
        return column.cast(pl.String)
    else:
        found = column.cast(pl.Float64, strict=False)
        low, high = _BOUNDS.get(name, (-math.inf, math.inf))
        good = found.is_finite() & found.is_between(low, high) & ((found == found.round()) if dtype.is_integer() else found.is_not_null())
        odd = column.is_not_null() & ~good.fill_null(False)
    if not odd.any():
        return found.cast(dtype)
    needs = {"weight": "numbers of 0 or more", "fold": "whole numbers", "position": "numbers"}.get(name, "texts")
    row_id, first = frame["row_id"].filter(odd)[0], column.filter(odd).to_list()[0]
    raise DataError(
        f"column {name!r} holds values that are no {needs} ({int(odd.sum())} of {len(odd)}; the first is row {row_id!r}: {first!r})",
        fix=f"correct them, or, if the column means something else: --set data.{name}=none",
    )
