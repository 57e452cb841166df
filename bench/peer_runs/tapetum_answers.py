"""Tapetum's answers a turn at a time: ``predict`` from JPEG files to a Parquet table, or vectors from files to a store on disk.

The engine is named as ``BACKEND-PRECISION``, ``torch-32`` and ``torch-bf16`` among them; ``export`` answers by an exported folder.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import polars as pl
import turn

from tapetum.core import answers


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path, help="CSV of path and label")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, help="a run, or an export")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--images", type=int, required=True, help="in a turn")
    parser.add_argument("--features", action="store_true")
    wish = parser.parse_args()
    rows = common.read(wish.table)
    frame = pl.DataFrame({"id": [str(i) for i in range(len(rows))], "path": [row["path"] for row in rows]})
    turn.take(features(frame, wish) if wish.features else predict(frame, wish))


def predict(frame: pl.DataFrame, wish: argparse.Namespace) -> Callable[[str], int]:
    """Answer the first images of the table in each turn; all of them where the word is ``all``."""
    from tapetum.core import allocator
    from tapetum.pipeline import Pipeline
    from tapetum.pipeline.exported import Exported

    allocator.keep_memory()  # as the command does
    pipeline: Any = Exported.load(wish.model) if wish.engine == "export" else Pipeline.load(wish.model)
    if wish.engine != "export":
        from tapetum.pipeline.fastest import with_engines

        pipeline = with_engines(pipeline, {member.name: engine(wish.engine) for member in pipeline.members})

    def once(word: str) -> int:
        some = frame if word == "all" else frame[: wish.images]
        answered = pipeline.answer(pipeline.read([some], lambda _: None))
        answers.table_of(answered, pipeline.spec).write(wish.out)
        return len(some)

    return once


def features(frame: pl.DataFrame, wish: argparse.Namespace) -> Callable[[str], int]:
    """Write the vectors of the next images of the table in each turn."""
    from tapetum.core.config import Input, Model
    from tapetum.core.tables import Manifest
    from tapetum.core.targets import Target
    from tapetum.data.images.dataset import ImageDataset
    from tapetum.data.images.form import Form
    from tapetum.data.images.transforms import EvalTransform
    from tapetum.learn import features, models
    from tapetum.learn.runtime import Runtime

    settings, runtime = Input(size=wish.size, cache="none"), Runtime(engine(wish.engine))
    network = models.build(Model(backbone=common.BACKBONE), [Target("c", "single", ("a", "b"))], 3, settings)
    parts = itertools.cycle(frame.iter_slices(wish.images))

    def once(_: str) -> int:
        some = next(parts)
        shutil.rmtree(wish.out, ignore_errors=True)
        rows = pl.DataFrame({"row_id": some["id"], "path": [[path] for path in some["path"]]})
        images = ImageDataset(Manifest(rows, (), Path()), settings, EvalTransform(settings), form=Form(3))
        features.extract(network, images, store=wish.out, runtime=runtime)
        return len(some)

    return once


def engine(name: str) -> Any:
    """Return an engine by its name."""
    from tapetum.learn.runtime import Engine

    backend, precision = name.split("-")
    return Engine("cpu", precision, name != "torch-32", backend)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
