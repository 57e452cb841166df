"""Which backend answers: torch, or ONNX Runtime or OpenVINO where that saves more than it costs and gives the same labels.

Another backend costs seconds: the backbone is converted (once for a kind of backbone and image size on a machine), a batch is timed, and
its answers to real images are compared with those of torch. For few images torch stays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tapetum.core import draws
from tapetum.core.agreement import Agreement, agreement
from tapetum.core.config import Train
from tapetum.core.errors import TapetumError, first_line
from tapetum.core.progress import Log
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.core.words import plural
from tapetum.data.images.dataset import ImageDataset, batches
from tapetum.learn import compiled, machine, sessions, speed, trunks
from tapetum.learn.models.network import Network
from tapetum.learn.runtime import Engine, Runtime
from tapetum.learn.speed import Measured, Work

WRITING, FILLING = 12.0, 2.0  # seconds to convert a backbone of a new kind, and to put weights into a converted one
TIMING = 2.0  # seconds to open an engine and to time it
SAMPLE = {"32": 64, "bf16": 200}  # images whose answers are compared: 200 where rounding can move labels, so that one in 200 is seen
FASTER = 0.5  # share of torch's time that another engine is expected to save, before it is timed
FEWEST = 100  # images below which nothing is looked at


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen, and why.

    Args:
        measured: the engine, and the seconds of an image of each that was timed.
        parity: name of an engine → how far it agrees with torch.
        why: in words, for the log; nothing where there was nothing to choose.
    """

    measured: Measured
    parity: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values for ``plan.json``."""
        return self.measured.to_dict() | ({"parity": self.parity} if self.parity else {})


Judge = Callable[[Engine, int], Agreement]  # (engine, number of images) → how far its answers are those of torch in 32 bits


def offered(train: Train, wanted: str, torchs: Engine) -> list[Engine]:
    """Return the engines beside torch that are there, the exact ones first.

    Args:
        train: the recipe's section: a precision that it names is kept to.
        wanted: the recipe's or the caller's engine.
        torchs: the engine by which torch answers.
    """
    if torchs.device != "cpu" or wanted == "torch" or train.precision == "fp16":
        return []
    names = [name for name in sessions.PACKAGES if wanted in ("auto", name) and sessions.is_installed(name)]
    exact = [dataclasses.replace(torchs, precision="32", backend=name) for name in names]
    halves = "openvino" in names and train.precision != "32" and machine.bf16_in_hardware()
    return exact + ([dataclasses.replace(torchs, precision="bf16", backend="openvino")] if halves else [])


def choose(
    measured: Measured,
    engines: Sequence[Engine],
    network: Network,
    work: Work,
    rows: int,
    judge: Judge,
    *,
    force: bool,
    conversions: int = 1,
) -> Choice:
    """Return the engine that answers: torch's own, or the fastest of others whose labels for real images are those of torch.

    Args:
        measured: torch's engine and the seconds that it needs for an image.
        engines: from :func:`offered`.
        network: what answers; a copy of it is timed.
        work: what is timed.
        rows: images to answer, counting each view.
        judge: compares answers.
        force: take what is offered wherever its labels agree, however few images there are.
        conversions: how often other weights are put into the backbone for these images.
    """
    base = measured.seconds.get(measured.engine.name, 0.0)
    if not engines or not (force or rows >= FEWEST):
        return Choice(measured)
    x = torch.zeros((1, *work.shape), dtype=work.dtype)
    whole, kind = trunks.is_kept(network, x)
    if not whole and not trunks.can_write():
        return Choice(measured, why="the backbone is not converted: onnx and onnxscript (the extra export) are not installed")
    cost = (0.0 if whole else FILLING if kind else WRITING) + (conversions - 1) * FILLING + TIMING + SAMPLE["32"] * 2 * base
    if not force and rows * base * FASTER < cost:
        return Choice(
            measured,
            why=f"{plural(rows, 'image is', 'images are')} too few to convert the backbone ({rows * base:.0f} s by {measured.engine.name})",
        )
    try:
        timed = speed.seconds_of(network, work, engines)
    except TapetumError:
        raise
    except Exception as error:  # exporters and engines raise whatever they stumble over
        return Choice(measured, why=f"the backbone cannot be converted ({first_line(error, named=True)})")
    return _judged(Measured(measured.engine, {**measured.seconds, **timed}), engines, rows, judge, force)


def _judged(measured: Measured, engines: Sequence[Engine], rows: int, judge: Judge, force: bool) -> Choice:
    """Return the engine after each that is faster was compared with torch, as long as that costs less than it saves."""
    seconds, best, parity = measured.seconds, measured.engine, {}
    base, lines = seconds.get(best.name, float("inf")), []
    for engine in engines:
        now, count = seconds.get(best.name, float("inf")), SAMPLE[engine.precision]
        saved = rows * (now - seconds[engine.name])
        if not (force and best.backend == "torch") and (seconds[engine.name] > speed.WORTH * now or saved < count * base):
            continue
        found = judge(engine, count)
        parity[engine.name] = found.to_dict()
        lines.append(f"{engine.name} {'gives other labels' if found.low else 'agrees'}: {found.summary()}")
        if not found.low:
            best = engine
    return Choice(Measured(best, seconds), parity, "; ".join(lines))


def usable(engine: Engine, network: Network, shape: Sequence[int], dtype: torch.dtype, rows: int) -> Engine:
    """Return an engine as it was planned, or by torch where its package is absent or a conversion costs more than it saves.

    Args:
        engine: the planned one.
        network: of the kind that answers.
        shape: of an image (C, H, W).
        dtype: of the images.
        rows: images to answer, counting each view.
    """
    if engine.backend == "torch" or not sessions.is_installed(engine.backend):
        return engine.by_torch()
    whole, kind = trunks.is_kept(network, torch.zeros((1, *shape), dtype=dtype))
    if not whole and not trunks.can_write():
        return engine.by_torch()
    least = FEWEST // 2 * (1 if whole else 4 if kind else 20)
    return engine if rows >= least else engine.by_torch()


class Sample:
    """Some real images, read when they are first needed.

    Args:
        images: as evaluation shows them.
        rows: (N,) row numbers; those that cannot be read are left out.
    """

    def __init__(self, images: ImageDataset, rows: np.ndarray) -> None:
        self.images, self.rows = images, rows

    def take(self, count: int) -> tuple[Tensor, np.ndarray]:
        """Return the images of about so many rows, spread evenly, and their row numbers."""
        rows = self.rows[draws.evenly(len(self.rows), count)]
        batch = next(batches(self.images, rows, max(1, len(rows))))
        return batch.x[batch.ok], batch.rows[batch.ok].numpy()


def by_vectors(network: Network, sample: Sample, truth: Mapping[str, np.ndarray], targets: Sequence[Target]) -> Judge:
    """Return what compares engines where nothing is fitted yet: by labels that least squares on their vectors give, cross-fitted.

    Args:
        network: gives the vectors.
        sample: the images.
        truth: target → labels of all rows (N, K).
        targets: whose labels are compared.
    """
    kept: dict[tuple[str, int], np.ndarray] = {}

    def judge(engine: Engine, count: int) -> Agreement:
        x, rows = sample.take(count)
        plain = engine.reference()
        for one in (plain, engine):
            if (one.name, count) not in kept:
                kept[one.name, count] = vectors_of(network, x, one)
        ours, theirs = {}, {}
        for target in targets:
            y = truth[target.name][rows]
            mine, other = _cross_fitted(kept[plain.name, count], kept[engine.name, count], y)
            ours[target.name], theirs[target.name] = _dense(target, mine, y), _dense(target, other, y)
        return agreement(ours, theirs, engine.name)

    return judge


@torch.inference_mode()
def vectors_of(network: Network, x: Tensor, engine: Engine, batch: int = 32) -> np.ndarray:
    """Return the vectors (B, D) of images on an engine; the network goes back to torch."""
    runtime = Runtime(engine)
    network = runtime.to_device(network).eval()
    with runtime.autocast():
        parts = [network.features(runtime.to_device(x[at : at + batch])).float().cpu() for at in range(0, len(x), batch)]
    compiled.attach(network, engine.by_torch())
    return torch.cat(parts).numpy()


def _cross_fitted(reference: np.ndarray, other: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return least squares' answers (N, K) for both vectors, each half of the rows by what the other half's reference gives."""
    mean, std = reference.mean(axis=0), reference.std(axis=0) + 1e-6
    z, q = ((one - mean) / std / np.sqrt(reference.shape[1]) for one in (reference, other))
    known = ~np.isnan(y).any(axis=1)
    centre = y[known].mean(axis=0) if known.any() else np.zeros(y.shape[1])
    ours, theirs = np.tile(centre, (len(y), 1)), np.tile(centre, (len(y), 1))
    for part in (0, 1):
        fit, held = np.flatnonzero(known & (np.arange(len(y)) % 2 != part)), np.arange(len(y)) % 2 == part
        weight = z[fit].T @ np.linalg.solve(z[fit] @ z[fit].T + np.eye(len(fit)), y[fit] - centre)
        ours[held] += z[held] @ weight
        theirs[held] += q[held] @ weight
    return ours, theirs


def _dense(target: Target, p: np.ndarray, y: np.ndarray) -> Dense:
    ids = np.array([str(row) for row in range(len(p))], dtype=object)
    p = p if target.kind == "regression" else p.clip(0, 1)
    return Dense(target, ids, p.astype(np.float32), y, np.zeros(len(p), dtype=np.int16), np.full(len(p), "ok", dtype=object))


def said(choice: Choice, log: Log | None) -> None:
    """Log why an engine was chosen."""
    if log is not None and choice.why:
        log(f"engine: {choice.measured.engine.name}; {choice.why}")
