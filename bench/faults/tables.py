"""Hostile tables through reading, batches, parts, predictions and submissions: no row may be lost, doubled or moved; planted bugs are.

A table names images out of a small set that a stand-in for a network tells apart, so each row's right answer is known from its image alone.
Its ids, its order, the size of batches and parts, its format, and which files are damaged are drawn by hypothesis. The same check then runs
against mutants of the program, each of which loses, doubles or moves rows: it must find every one.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from tapetum.core import parts
from tapetum.core.errors import TapetumError
from tapetum.core.runs import Record
from tapetum.core.tables import Predictions
from tapetum.data import layouts
from tapetum.data.images import dataset
from tapetum.data.layouts import submission
from tapetum.learn import inference
from tapetum.pipeline.load import Member
from tapetum.pipeline.pipeline import Pipeline
from tapetum.workflow.commands import predict

GOOD, BAD = 12, 4
NASTY = (
    "=1+1",
    "007",
    "7",
    "1e5",
    "NA",
    "null",
    "nan",
    " a",
    "a ",
    "A",
    "a",
    "é",
    "e\u0301",
    "a,b",
    'a"b',
    "a;b",
    "a\tb",
    "../a",
    "-",
    "0.10",
)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
IDS = st.lists(st.one_of(st.sampled_from(NASTY), TEXT).filter(str.strip), min_size=2, max_size=14, unique=True)


@dataclasses.dataclass(frozen=True)
class Table:
    """What is drawn: ids, the image of each, sizes, format."""

    ids: list[str]
    images: list[int]
    batch: int
    part: int
    written: str
    given: str
    order: list[int]


@st.composite
def tables(draw: Any) -> Table:
    """Draw a table of 2 to 14 rows."""
    ids = draw(IDS)
    images = draw(st.lists(st.integers(0, GOOD + BAD - 1), min_size=len(ids), max_size=len(ids)))
    ways = draw(st.tuples(st.integers(1, 5), st.integers(1, 6), st.sampled_from([".csv", ".parquet"]), st.sampled_from(["frame", "csv"])))
    return Table(ids, images, *ways, draw(st.permutations(range(len(ids)))))


class StandIn(torch.nn.Module):
    """A network that answers from the colour of an image alone.

    Args:
        like: the network whose targets it has.
    """

    def __init__(self, like: Any) -> None:
        super().__init__()
        self.targets, self.device = like.targets, torch.device("cpu")

    def forward(self, x: torch.Tensor, side: Any = None) -> dict[str, torch.Tensor]:
        """Return logits that differ for every image of the set."""
        scale = 1.0 if x.dtype == torch.uint8 else 255.0
        number = (x.float().mean((2, 3))[:, 0] * scale / 16).round()
        return {name: torch.stack([torch.sin(number * (k + 1) + k) for k in range(t.width)], 1) for name, t in self.targets.items()}

    def probabilities(self, logits: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the shares."""
        return {name: one.softmax(1) for name, one in logits.items()}


class Checker:
    """Runs tables and counts rows that are lost, doubled or moved.

    Args:
        run: a finished run, whose pipeline gets stand-ins for its networks.
        home: where images and tables are written.
    """

    def __init__(self, run: Path, home: Path) -> None:
        self.home = home
        loaded = Pipeline.load(run)
        loaded.members = [self._stood_in(member) for member in loaded.members]
        self.loaded, self.files = loaded, [f"i{number}.png" for number in range(GOOD + BAD)]
        for number, name in enumerate(self.files):
            Image.fromarray(np.full((32, 32, 3), number * 16, dtype=np.uint8)).save(home / name)
        for number, content in enumerate((b"", b"no image", (home / self.files[0]).read_bytes()[:60])):
            (home / self.files[GOOD + number]).write_bytes(content)
        (home / self.files[-1]).unlink()
        self.target = next(iter(loaded.scored))
        self.right = self._right()
        self.tables = self.rows = self.refused = 0
        self.faults: list[str] = []

    @staticmethod
    def _stood_in(member: Member) -> Member:
        networks: dict[int, Any] = {fold: StandIn(network) for fold, network in member.networks.items()}
        return dataclasses.replace(member, networks=networks, shared=False)

    def _right(self) -> np.ndarray:
        """Return each image's own answer, asked for alone; NaN where it is damaged."""
        out = []
        for name in self.files:
            frame = pl.DataFrame({"id": ["x"], "file": [name]})
            dense = self.loaded.answer(self._read(frame), quiet)[self.target]
            out.append(dense.p[0])
        found = np.stack(out)
        assert np.isnan(found[GOOD:]).all()
        assert len(np.unique(found[:GOOD].round(4), axis=0)) == GOOD
        return found

    def _read(self, source: Any) -> Any:
        if isinstance(source, pl.DataFrame):
            source = source.with_columns(pl.col("file").map_elements(lambda name: str(self.home / name), return_dtype=pl.String))
        return layouts.loose([source], self._data(), quiet, targets=self.loaded.targets, declared={"id": "id", "path": "file"})

    @functools.cache  # noqa: B019
    def _data(self) -> Any:
        from tapetum.core.config import Data

        return Data.model_validate({**self.loaded.spec["data"], "targets": None, "group": None} | {"targets": ()})

    def check(self, table: Table) -> None:
        """Predict a table, write a submission of it, and count what is wrong."""
        self.tables += 1
        with tempfile.TemporaryDirectory(dir=self.home) as place:
            try:
                found = self._wrong(self._as_read(table), Path(place))
            except TapetumError as error:
                self.refused += 1
                found = "" if "in more than one row" in str(error) and _collide(table) else f"refused: {error}"
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            if found and len(self.faults) < 20:
                self.faults.append(f"{table}: {found}"[:1500])
        self.rows += len(table.ids)

    @staticmethod
    def _as_read(table: Table) -> Table:
        """Return a table with the ids that its reader gives: cells of text have no spaces around them."""
        return dataclasses.replace(table, ids=[one.strip() for one in table.ids]) if table.given == "csv" and not _collide(table) else table

    def _wrong(self, table: Table, place: Path) -> str:
        frame = pl.DataFrame({"id": table.ids, "file": [self.files[i] for i in table.images]})
        source: Any = frame
        if table.given == "csv":
            source = self.home / f"{place.name}.csv"
            frame.write_csv(source, quote_style="always")
        loaded = self.loaded
        loaded.members = [dataclasses.replace(m, predict=m.predict.model_copy(update={"batch": table.batch})) for m in loaded.members]
        manifest = self._read(source)
        if table.given == "csv":
            source.unlink()
        out = place / f"out{table.written}"
        with mock.patch.object(predict, "PART", table.part):
            predict.write(predict.Work(loaded, manifest, Record()), out)
        wrong = self._differences(table, *self._written(out))
        return wrong or self._submitted(table, out, place)

    def _written(self, out: Path) -> tuple[list[str], np.ndarray]:
        if out.suffix == ".parquet":
            dense = Predictions.read(out).dense(self.target)
            return [str(one) for one in dense.row_ids], dense.p
        found = pl.read_csv(out, infer_schema=False)
        p = found.select(pl.nth(*range(-self.right.shape[1], 0)).cast(pl.Float32))
        return found["id"].to_list(), p.to_numpy()

    def _differences(self, table: Table, ids: list[str], p: np.ndarray) -> str:
        if sorted(ids) != sorted(table.ids):
            lost, extra = set(table.ids) - set(ids), [one for one in ids if one not in table.ids or ids.count(one) > 1]
            return f"lost {lost}, doubled or new {extra}"
        wanted = self.right[[table.images[table.ids.index(one)] for one in ids]]
        return "" if np.allclose(p, wanted, atol=1e-4, equal_nan=True) else "answers stand at other rows"

    def _submitted(self, table: Table, out: Path, place: Path) -> str:
        if out.suffix != ".parquet" or any(one != one.strip() for one in table.ids):  # cells of a template have no spaces around them
            return ""
        dense, classes = Predictions.read(out).dense(self.target), self.loaded.scored[self.target].classes
        ids = [table.ids[i] for i in table.order]
        pl.DataFrame({"id": ids, self.target: [classes[0]] * len(ids)}).write_csv(place / "template.csv", quote_style="always")
        submission.submit(dense, place / "template.csv", place / "s.csv", quiet, fill=classes[1])
        found = pl.read_csv(place / "s.csv", infer_schema=False)
        if found["id"].to_list() != ids:
            return "ids of the submission are others"
        p = {one: self.right[table.images[table.ids.index(one)]] for one in ids}
        wanted = [classes[1] if np.isnan(p[one]).any() else classes[int(p[one].argmax())] for one in ids]
        return "" if found[self.target].to_list() == wanted else "answers of the submission stand at other rows"


def _collide(table: Table) -> bool:
    return table.given == "csv" and len({one.strip() for one in table.ids}) < len(table.ids)


def quiet(_: str) -> None:
    """Say nothing."""


def run(checker: Checker, count: int, number: int = 0, until: Callable[[], bool] = lambda: False) -> Checker:
    """Check so many tables, or fewer where ``until`` becomes true."""

    @seed(number)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(tables())
    def every(table: Table) -> None:
        if not until():
            checker.check(table)

    every()
    return checker


def _without_slot(images: Any, rows: list[int], items: list[Any], real: Any = dataset._collate) -> Any:
    """Collate a batch whose damaged images have no slot: those behind move up."""
    good = [item for item in items if not isinstance(item, str)]
    return real(images, rows, good + [good[-1] if good else items[0]] * (len(rows) - len(good)))


def _last_dropped(*given: Any, real: Any = dataset.batches, **named: Any) -> Iterator[Any]:
    found = list(real(*given, **named))
    yield from found[:-1] if len(found) > 1 else found


def _sorted_answers(*given: Any, real: Any = inference.answer_folds, **named: Any) -> Any:
    found = real(*given, **named)
    return {fold: dataclasses.replace(one, p={name: np.sort(p, axis=0) for name, p in one.p.items()}) for fold, one in found.items()}


def _filled(*given: Any, real: Any = inference.answer_folds, **named: Any) -> Any:
    found = real(*given, **named)
    for one in found.values():
        for p in one.p.values():
            p[np.isnan(p).any(axis=1)] = 1 / p.shape[1]
        one.ok[:] = True
    return found


def _rows(change: Callable[[pl.DataFrame], pl.DataFrame], real: Any = layouts.loose) -> Callable[..., Any]:
    def loose(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        return dataclasses.replace(found, frame=change(found.frame))

    return loose


def _id(change: Callable[[pl.Expr], pl.Expr]) -> Callable[..., Any]:
    return _rows(lambda frame: frame.with_columns(change(pl.col("row_id"))).unique("row_id", maintain_order=True))


def _parts_of(self: Any, before: int, after: int) -> list[np.ndarray]:
    total, size = len(self.manifest), predict.PART
    ranges = [np.arange(max(start - before, 0), min(start + size - after, total)) for start in range(0, max(total, 1), size)]
    return [part for part in ranges if len(part)]


def _other_part(self: Any, number: int, real: Any = parts.Parts.read) -> Predictions:
    return real(self, number - 1 if number else 0)


def _by_position(dense: Any, ids: Any, threshold: Any, real: Any = submission._answers) -> Any:
    return real(dense, dense.row_ids.tolist(), threshold)


MUTANTS: dict[str, tuple[Any, str, Any]] = {
    "a damaged image has no slot in its batch": (dataset, "_collate", _without_slot),
    "the last batch is dropped": (dataset, "batches", _last_dropped),
    "answers are sorted": (inference, "answer_folds", _sorted_answers),
    "a damaged image gets an answer": (inference, "answer_folds", _filled),
    "ids lose their spaces": (layouts, "loose", _id(lambda ids: ids.str.strip_chars())),
    "ids are written small": (layouts, "loose", _id(lambda ids: ids.str.to_lowercase())),
    "ids are normalised": (
        layouts,
        "loose",
        _id(lambda ids: ids.map_elements(functools.partial(unicodedata.normalize, "NFKC"), pl.String)),
    ),
    "ids lose their zeros": (layouts, "loose", _id(lambda ids: ids.str.strip_chars_start("0"))),
    "rows of one image are one": (layouts, "loose", _rows(lambda frame: frame.unique("path", maintain_order=True))),
    "parts overlap": (predict.Work, "parts", property(functools.partial(_parts_of, before=1, after=0))),
    "parts lose their last row": (predict.Work, "parts", property(functools.partial(_parts_of, before=0, after=1))),
    "a part is read for another": (parts.Parts, "read", _other_part),
    "a submission is filled by position": (submission, "_answers", _by_position),
}


def caught(checker: Checker, name: str, most: int = 400) -> int:
    """Return after how many tables a mutant is found; 0: it is not found."""
    owner, attribute, mutant = MUTANTS[name]
    before, checker.faults, started = checker.faults, [], checker.tables
    first: list[int] = []

    def until() -> bool:
        if checker.faults and not first:
            first.append(checker.tables - started)
        return bool(checker.faults)

    with mock.patch.object(owner, attribute, mutant):
        run(checker, most, 1, until)
    found = bool(checker.faults)
    checker.faults, after = before, checker.tables - started
    return (first[0] if first else after) if found else 0
