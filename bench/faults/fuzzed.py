"""Changed recipes, prediction tables, templates of submissions and pipelines: each is read, or refused with a sentence that names it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.faults.images import mutated

from tapetum import api, recipes
from tapetum.core import files
from tapetum.core.errors import TapetumError
from tapetum.core.prediction_csv import read_alone
from tapetum.core.tables import Predictions
from tapetum.data.layouts import submission
from tapetum.pipeline.pipeline import Pipeline

VALUES: tuple[Any, ...] = (
    None,
    -1,
    0,
    1e308,
    "",
    "x",
    "../../outside",
    "/etc/passwd",
    [],
    {},
    [[]],
    True,
    2**70,
    "a" * 5000,
    {"": None},
    "\0",
)


def leaves(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value in a JSON value, inner ones too."""
    yield way
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in parts:
        yield from leaves(inner, (*way, key))


def changed(value: Any, rng: random.Random) -> Any:
    """Return a JSON value with one of its values another, or removed."""
    out = json.loads(json.dumps(value))
    *before, last = rng.choice([way for way in leaves(out) if way])
    at = out
    for key in before:
        at = at[key]
    if rng.random() < 0.3:
        del at[last]
    else:
        at[last] = rng.choice(VALUES)
    return out


class Fuzz:
    """Changed inputs of each kind.

    Args:
        run: a finished run.
        home: where they are written.
    """

    def __init__(self, run: Path, home: Path) -> None:
        self.run, self.home = run, home
        self.texts = [path.read_bytes() for path in sorted(Path(recipes.__file__).parents[1].rglob("*.toml"))]
        self.table = Predictions.read(run / "oof.parquet")
        self.target = self.table.targets[0].name
        self.dense = self.table.dense(self.target)
        ids, classes = self.dense.row_ids.tolist(), self.dense.target.classes
        self.template = ("id," + self.target + "\n" + "".join(f"{one},{classes[0]}\n" for one in ids)).encode()
        columns = ",".join(classes)
        rows = "".join(f"{one}," + ",".join(["0.5", "0.25", "0.25"][: len(classes)]) + "\n" for one in ids)
        self.csv = f"id,{columns}\n{rows}".encode()
        self.spec = files.read_json(run / "pipeline" / "pipeline.json")
        self.pipeline = home / "pipeline"
        shutil.copytree(run / "pipeline", self.pipeline)

    def recipe(self, rng: random.Random) -> None:
        """Read a changed recipe."""
        place = self.home / "recipe.toml"
        place.write_bytes(mutated(rng.choice(self.texts), rng))
        api.load_recipe(place)

    def predictions(self, rng: random.Random) -> None:
        """Read a changed table of predictions."""
        if rng.random() < 0.5:
            place = self.home / "p.csv"
            place.write_bytes(mutated(self.csv, rng))
            read_alone(place, self.target, self.dense.target)
        else:
            place = self.home / "p.parquet"
            place.write_bytes(mutated((self.run / "oof.parquet").read_bytes(), rng))
            table = Predictions.read(place)
            for target in table.targets:
                table.dense(target.name)

    def submission(self, rng: random.Random) -> None:
        """Fill a changed template."""
        place = self.home / "template.csv"
        place.write_bytes(mutated(self.template, rng))
        submission.submit(self.dense, place, self.home / "s.csv", lambda _: None, fill=self.dense.target.classes[0])

    def frozen(self, rng: random.Random) -> None:
        """Load a pipeline of which one file is changed."""
        if rng.random() < 0.6:
            (self.pipeline / "pipeline.json").write_text(json.dumps(changed(self.spec, rng)), encoding="utf-8")
            name = Path("pipeline.json")
        else:
            name = rng.choice([p.relative_to(self.pipeline) for p in sorted(self.pipeline.rglob("*")) if p.is_file()])
            (self.pipeline / name).write_bytes(mutated((self.pipeline / name).read_bytes(), rng))
        try:
            Pipeline.load(self.pipeline)
        finally:
            shutil.copyfile(self.run / "pipeline" / name, self.pipeline / name)

    @property
    def kinds(self) -> dict[str, Callable[[random.Random], None]]:
        return {
            "changed recipes": self.recipe,
            "changed predictions": self.predictions,
            "changed submissions": self.submission,
            "changed pipelines": self.frozen,
        }


def attempt(one: Callable[[random.Random], None], rng: random.Random) -> str:
    """Return what was wrong with how an input was taken; blank: it was read, or refused by name."""
    try:
        one(rng)
    except TapetumError as error:
        return "" if str(error).strip() else "refused without a word"
    except BaseException as error:  # a panic of a library is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"{type(error).__name__}: {error}"[:400]
    return ""


def run(fuzz: Fuzz, kind: str, numbers: range, until: Callable[[], bool] = lambda: False) -> tuple[int, list[str]]:
    """Try the inputs of some numbers; return how many were tried, and what went wrong."""
    wrong, done = [], 0
    for number in numbers:
        if until():
            break
        done += 1
        if found := attempt(fuzz.kinds[kind], random.Random(f"{kind}-{number}")):
            wrong.append(f"{number}: {found}")
    return done, wrong
