"""Requests of several callers → their answers, by a loaded pipeline or export; torch stays out of an exported one.

Images of several requests are answered in one batch where a row's answer depends on its own image alone. Where decisions look at other rows
(sequences, class rates of a set), or views are drawn by row, each request is answered by itself, as ``predict`` answers a table of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core.config import Data, Input, Predict
from tapetum.core.errors import UserError, listed
from tapetum.core.requests import ImageAnswers, ImageRequest
from tapetum.core.tables import Manifest
from tapetum.data.layouts.unlabelled import files_of
from tapetum.decide.apart import joint_steps
from tapetum.pipeline.frozen import Frozen


class Answering:
    """Answers requests by what was loaded.

    Args:
        loaded: a :class:`~tapetum.pipeline.pipeline.Pipeline` or :class:`~tapetum.pipeline.exported.Exported`.
        max_pixels: an image with more is refused, whatever the pipeline's own limit.
    """

    def __init__(self, loaded: Frozen, max_pixels: int) -> None:
        self.loaded = loaded
        data = Data.model_validate(loaded.spec["data"])
        self.side, self.files = data.side, files_of(data)
        loaded.members = [_bounded(member, max_pixels) for member in loaded.members]
        self.joint = joint_steps(loaded.spec["decisions"], loaded.scored)
        self.apart = bool(self.joint) or any(_is_apart(member) for member in loaded.members)

    def __call__(self, requests: Sequence[ImageRequest]) -> list[ImageAnswers]:
        """Return the answers to some requests, in their order."""
        if self.apart:
            return [self._together([one])[0] for one in requests]
        return self._together(requests)

    def check(self, request: ImageRequest) -> None:
        """Refuse a request that lacks side numbers.

        Raises:
            UserError: names the first one.
        """
        absent = [name for name in self.side if any(name not in row for row in request.side) or not request.side]
        if absent:
            what = f"the side number {absent[0]!r} is absent"
            raise UserError(what, need=f"{listed(self.side)} of each image, as JSON in the field 'side'")

    def _together(self, requests: Sequence[ImageRequest]) -> list[ImageAnswers]:
        rows = [row for one in requests for row in one.rows]
        answered = self.loaded.answer(self.manifest(requests), sources=rows)
        problems, found, start = self.loaded.problems, [], 0
        for one in requests:
            part = np.arange(start, start + len(one))
            mine = {row - start: why for row, why in problems.items() if start <= row < start + len(one)}
            found.append(ImageAnswers({name: dense.where(part) for name, dense in answered.items()}, mine))
            start += len(one)
        return found

    def manifest(self, requests: Sequence[ImageRequest]) -> Manifest:
        """Return a row for each image; of a single request rows are called by their number in it."""
        several = len(requests) > 1
        ids = [f"{number}/{row}" if several else str(row) for number, one in enumerate(requests) for row in range(len(one))]
        paths = [[f"file {number + 1}" for number in range(len(row))] for one in requests for row in one.rows]
        frame = pl.DataFrame({"row_id": ids, "path": paths}, schema={"row_id": pl.String, "path": pl.List(pl.String)})
        for name in self.side:
            values = [row.get(name) for one in requests for row in one.side]
            frame = frame.with_columns(pl.Series(name, values, dtype=pl.Float64))
        if any(one.sequence for one in requests):
            sequence = [str(number) if one.sequence else None for number, one in enumerate(requests) for _ in range(len(one))]
            position = [float(row) for one in requests for row in range(len(one))]
            frame = frame.with_columns(pl.Series("sequence", sequence, dtype=pl.String), pl.Series("position", position))
        return Manifest(frame, (), Path(), self.side)


def _bounded(member: Any, max_pixels: int) -> Any:
    """Return a member that refuses larger images."""
    settings: Input = member.settings
    bounded = settings.model_copy(update={"max_pixels": min(settings.max_pixels, max_pixels)})
    return dataclasses.replace(member, settings=bounded)


def _is_apart(member: Any) -> bool:
    """Tell whether a member's images cannot share a batch with those of others: sequences, own sizes, views drawn by row."""
    predict: Predict | None = getattr(member, "predict", None)
    sequence = getattr(member, "sequence", None)
    views = () if predict is None else predict.views if isinstance(predict.views, tuple) else (predict.views,)
    drawn = any((view if isinstance(view, str) else view.get("name")) == "random" for view in views)
    return drawn or member.settings.size == "native" or (sequence is not None and sequence.length > 1)
