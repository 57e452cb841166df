"""Trackers get a run's curves and figures beside the run's own files; each needs the extra ``track``, and telemetry is off."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tapetum.core import extras, files
from tapetum.core.errors import first_line
from tapetum.core.progress import Log
from tapetum.core.sections import Track

KEPT = "trackers.json"  # in the run: which run of MLflow is its
PARAMETER = 500  # characters of a recipe value that MLflow keeps


class Tracker(Protocol):
    """One tracker."""

    def curve(self, part: str, values: Mapping[str, float], step: int) -> None:
        """Take the figures of an epoch of one part of the run, as ``main/fold-0``."""

    def end(self, values: Mapping[str, float]) -> None:
        """Take the figures of the whole run, by name."""


class Trackers:
    """All trackers of a run; one that fails is left out from then on, since no curve is worth the training.

    Args:
        items: name → tracker.
        log: told of those that fail.
    """

    def __init__(self, items: Mapping[str, Tracker] | None = None, log: Log | None = None) -> None:
        self._items, self._log = dict(items or {}), log

    def epoch(self, member: str, fold: int, row: Mapping[str, Any]) -> None:
        """Take a row of a fold's history."""
        part = f"{member}/" + ("refit" if fold < 0 else f"fold-{fold}")
        values = _numbers({name: value for name, value in row.items() if name != "epoch"})
        self._each(lambda one: one.curve(part, values, int(row["epoch"])))

    def figures(self, figures: Sequence[Mapping[str, Any]]) -> None:
        """Take the figures of ``metrics.json``."""
        named = {"/".join(str(row[key]) for key in ("how", "name", "target", "metric") if row.get(key)): row["value"] for row in figures}
        self._each(lambda one: one.end(_numbers(named)))

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        for name, one in list(self._items.items()):
            try:
                tell(one)
            except Exception as error:  # a server that is gone, a full disk
                del self._items[name]
                if self._log is not None:
                    self._log(f"warning: {name} gets no more figures of this run ({first_line(error, named=True)})")


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers."""
    return {k: float(v) for k, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)}


def check(track: Track) -> None:
    """Refuse trackers that are not installed.

    Raises:
        EnvironmentFault: the extra ``track`` is not installed.
    """
    packages = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
    for name in track.to:
        extras.need("track", f"track.to = {name!r}", *packages[name])


@contextlib.contextmanager
def opened(track: Track, run: Path, values: Mapping[str, Any], log: Log) -> Iterator[Trackers]:
    """Yield the trackers of a run, closed at the end.

    Args:
        track: the recipe's section.
        run: its folder.
        values: dotted recipe key → value, for those that keep them.
        log: told of trackers that fail.
    """
    check(track)
    with contextlib.ExitStack() as stack:
        items: dict[str, Tracker] = {}
        if "tensorboard" in track.to:
            items["tensorboard"] = stack.enter_context(contextlib.closing(_TensorBoard(run / "tensorboard")))
        if "mlflow" in track.to:
            items["mlflow"] = stack.enter_context(_mlflow(track, run, values))
        yield Trackers(items, log)


class _TensorBoard:
    """Event files, a folder for each part; TensorBoard's own writer appends to them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._writers = folder, dict[str, Any]()

    def curve(self, part: str, values: Mapping[str, float], step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = self._writers.get(part) or self._writers.setdefault(part, EventFileWriter(str(self._folder / part)))
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        writer.add_event(Event(step=step, wall_time=time.time(), summary=summary))
        writer.flush()

    def end(self, values: Mapping[str, float]) -> None:
        self.curve("run", values, 0)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()


class _MLflow:
    """A run of MLflow."""

    def __init__(self, client: Any, run: str) -> None:
        self._client, self._run = client, run

    def curve(self, part: str, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, _allowed(f"{part}/{name}"), value, step=step)

    def end(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, _allowed(name), value)


def _allowed(name: str) -> str:
    """Return a name with the characters that MLflow takes."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)


@contextlib.contextmanager
def _mlflow(track: Track, run: Path, values: Mapping[str, Any]) -> Iterator[_MLflow]:
    """Yield this run's run of MLflow: a new one, or that of an earlier start."""
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}  # before it is imported
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = track.uri or f"sqlite:///{(run / 'mlflow.db').resolve().as_posix()}"
    client, kept = MlflowClient(tracking_uri=uri), run / KEPT
    known = files.read_json(kept) if kept.exists() else {}
    if known.get("uri") != uri:
        found = client.get_experiment_by_name(track.experiment)
        experiment = found.experiment_id if found is not None else client.create_experiment(track.experiment)
        known = {"uri": uri, "run": client.create_run(experiment, run_name=run.name).info.run_id}
        files.write_json(kept, known)
        for key, value in values.items():
            client.log_param(known["run"], _allowed(key), str(value)[:PARAMETER])
    client.update_run(known["run"], status="RUNNING")
    state = "FAILED"
    try:
        yield _MLflow(client, known["run"])
        state = "FINISHED"
    finally:
        client.set_terminated(known["run"], status=state)
