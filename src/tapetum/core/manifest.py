"""The Manifest: a table of images and labels, one row an image, with checked columns."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files, places
from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.expressions import compose, expression_names
from tapetum.core.schema import shared_texts
from tapetum.core.targets import Target, encode, target_named
from tapetum.core.words import plural, verb

SPLITS = ("train", "test", "extra", "spare")  # spare: left out by data.limit, neither trains nor scores
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

    @functools.cached_property
    def row_ids(self) -> list[str]:
        """The ids in row order, made once: of ten million rows each copy is 0.6 GB. Nobody may change the list."""
        return self.frame["row_id"].to_list()

    @property
    def split(self) -> np.ndarray:
        """``train``, ``test`` or ``extra`` for each row; rows without a split are ``train``."""
        if "split" not in self.frame.columns:
            return np.full(len(self), "train", dtype=object)
        return shared_texts(self.frame["split"].fill_null("train"))

    @property
    def beside_test(self) -> np.ndarray:
        """Which rows (N,) are spare and of a sequence of the test part: they are neighbours there, and nobody asks for their answers."""
        split = self.split
        if "sequence" not in self.frame.columns or not (split == "spare").any():
            return np.zeros(len(self), dtype=bool)
        sequence = self.frame["sequence"]
        tested = sequence.is_in(sequence.filter(pl.Series(split == "test")).drop_nulls().unique().implode()).fill_null(False)
        return tested.to_numpy() & (split == "spare")

    @property
    def fold(self) -> np.ndarray:
        """Which fold holds each row out (N,) int16; −1 for test and extra rows, and where folds are not yet drawn."""
        if "fold" not in self.frame.columns:
            return np.full(len(self), -1, dtype=np.int16)
        return self.frame["fold"].fill_null(-1).to_numpy().astype(np.int16)

    @property
    def groups(self) -> np.ndarray:
        """The group of each row (N,) of strings: ``group``, else ``sequence``, else the row itself."""
        known = [name for name in ("group", "sequence") if name in self.frame.columns]
        return shared_texts(self.frame.select(pl.coalesce(pl.col([*known, "row_id"]).cast(pl.String))).to_series())

    @property
    def declared_groups(self) -> list[str | None]:
        """The group that the data give each row: ``group``, else ``sequence``; None where they give neither."""
        known = [name for name in ("group", "sequence") if name in self.frame.columns]
        if not known:
            return [None] * len(self)
        found: list[str | None] = self.frame.select(pl.coalesce(pl.col(known).cast(pl.String))).to_series().to_list()
        return found

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
        return target_named(self.targets, name)

    def truth(self, name: str) -> np.ndarray:
        """Return the truth matrix (N, K) float32 of a target; NaN rows where unknown. Derived targets are composed."""
        target = self.target(name)
        if target.expression is None or target.name in self.frame.columns:
            column = self.frame[name]
            found = _truth_of(target, column)
            return encode(target, column.to_list(), self.row_ids) if found is None else found
        parts = {t.name: t for t in self.targets if t.name in expression_names(target.expression)}
        return compose(target, parts, {n: self.truth(n) for n in parts})

    def paths(self, row: int) -> list[Path]:
        """Return the files of a row, as they can be opened (zip members keep ``a.zip!/x.png``)."""
        return [self.root / p for p in self.frame["path"][row]]

    def where(self, rows: np.ndarray | range) -> Manifest:
        """Return the manifest of some rows: a boolean mask or row numbers."""
        if isinstance(rows, range) and rows.step == 1:
            return self._part(self.frame.slice(rows.start, len(rows)))
        rows = np.asarray(rows)
        if rows.dtype == bool:
            return self if rows.all() else self._part(self.frame.filter(pl.Series(rows)))
        return dataclasses.replace(self, frame=self.frame[rows.astype(np.int64)])

    def _part(self, frame: pl.DataFrame) -> Manifest:
        """Return some of the rows, each once: what was checked is not checked again, which takes seconds of millions of rows."""
        part = object.__new__(Manifest)
        for field in dataclasses.fields(self):
            object.__setattr__(part, field.name, frame if field.name == "frame" else getattr(self, field.name))
        return part

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
    def read(cls, path: Path | str, root: Path | str | None = None, rows: range | None = None) -> Manifest:
        """Read what :meth:`write` wrote.

        Args:
            path: the file.
            root: where the images are now, if they moved otherwise than together with the file.
            rows: of it; None: all.
        """
        frame, meta = files.read_parquet(path, rows)
        if "targets" not in meta:
            raise DataError(f"{path} is a table, but not a manifest", fix="read it with layout 'table'")
        if "path" not in frame.columns:
            raise DataError(f"{path} is a table of predictions, not a manifest", need="a manifest, as tapetum split -o writes it")
        targets = tuple(Target.from_dict(t) for t in meta["targets"])
        place = Path(root) if root is not None else places.found_root(Path(path), meta, frame["path"].to_list())
        return cls(frame, targets, place, tuple(meta["side"]), meta.get("layout", ""))


def _truth_of(target: Target, column: pl.Series) -> np.ndarray | None:
    """Return :func:`encode` of a column of numbers, or of texts that are all among the classes; None where cells must be looked at."""
    if target.kind == "regression" and column.dtype.is_numeric():
        return column.cast(pl.Float32).fill_null(float("nan")).to_numpy().reshape(-1, 1).copy()
    if target.kind not in ("single", "ordinal") or column.dtype != pl.String or target.width != len(target.classes):
        return None
    places = column.replace_strict(list(target.classes), list(range(target.width)), default=-1, return_dtype=pl.Int32)
    codes = pl.select(pl.when(column.is_null()).then(None).otherwise(places)).to_series()
    if (codes == -1).any():
        return None
    truth = np.zeros((len(column), target.width), dtype=np.float32)
    known = codes.is_not_null().to_numpy()
    truth[~known] = np.nan
    truth[np.flatnonzero(known), codes.drop_nulls().to_numpy()] = 1
    return truth


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
        n = int(blank.sum())
        none = f"{n} of {plural(len(frame), 'row')} {verb(n, 'has', 'have')} none"
        what = f"{name} row {int(blank.arg_true()[0]) + 1} has no id in {column!r} ({none})"
        raise DataError(what, need="a row_id in every row", fix="fill it in, or name another id column: --id COLUMN (none: the paths)")
    doubled = frame.filter(pl.col("row_id").is_duplicated())
    if len(doubled):
        names = doubled["row_id"].unique(maintain_order=True).to_list()
        where = ""
        if "path" in doubled.columns:
            paths_of_first = doubled.filter(pl.col("row_id") == names[0])["path"].to_list()
            files_ = [", ".join(paths) if isinstance(paths, list) else str(paths) for paths in paths_of_first]
            where = f" ({names[0]} is {' and '.join(files_[:3])})" if any(file != names[0] for file in files_) else ""
        two = "; files of one name in two folders: name the folder above both, or an id column" if where else ""
        what = f"{plural(len(names), 'id is', 'ids are')} in more than one row: {listed(names)}{where}"
        raise DataError(what, need="each id once", fix=f"remove the doubled rows{two}")


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
        fix=f"correct them, or, if the column means something else, rename it (for a fit: --set data.{name}=none)",
    )
