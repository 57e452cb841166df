"""Which engine is taken (precision and layout), measured instead of guessed, and as briefly as that allows.

The hardware is asked first. Of what is left one image is timed, and what takes twice as long is dropped; the rest is timed in batches
within a few seconds. What was measured is kept for this machine, model and size in the user's cache; the caller writes the choice to
``plan.json``.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tapetum.core import cache, files
from tapetum.core.config import Train
from tapetum.learn import machine, sessions
from tapetum.learn.runtime import Engine, Precision, Runtime, check, find_device

WORTH = 0.95  # another engine is taken only where it needs less than this share of the first one's time
DROP = 2.0  # times the time of the fastest beyond which an engine is not timed further
HOPELESS = 8.0  # times beyond which even a first, cold step is enough to drop it
ROWS = 8  # images in a batch that is timed, at most
TURNS = 3  # of each step
LIMIT = 6.0  # seconds that measuring may take about, without a budget
RATES = "rates"  # the file of the user's cache
CODE = 2  # grows with changes of Tapetum's own that make steps faster: rates from before are then measured again


@dataclasses.dataclass(frozen=True)
class Work:
    """What a network is timed at.

    Args:
        shape: of one row's image, (C, H, W) or (V, C, H, W).
        training: forward and backward; False: answering, where the layout is free too.
        dtype: of the images.
    """

    shape: Sequence[int]
    training: bool
    dtype: torch.dtype = torch.uint8


@dataclasses.dataclass(frozen=True)
class Measured:
    """The engine that was taken, and the seconds per image of each that was tried."""

    engine: Engine
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values for ``plan.json``."""
        return {"engine": self.engine.to_dict(), "seconds_per_image": self.seconds}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Measured:
        """Rebuild from :meth:`to_dict`."""
        return cls(Engine.from_dict(value["engine"]), dict(value["seconds_per_image"]))

    def summary(self) -> str:
        """Return one line for the log."""
        tried = ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in self.seconds.items())
        return f"computing with {self.engine.name}" + (f" (an image: {tried})" if tried else "")


def candidates(device: str) -> tuple[Precision, ...]:
    """Return the precisions worth measuring on a device, the exact one first; one that would be emulated is none."""
    if device == "cuda":
        return ("32", "bf16") if machine.bf16_in_hardware(device) else ("32", "fp16")
    return ("32", "bf16") if device == "cpu" and machine.bf16_in_hardware(device) else ("32",)


def engines_for(train: Train, *, training: bool, device: str = "auto") -> list[Engine]:
    """Return the engines that a recipe leaves to be tried, the one to take unmeasured first.

    Args:
        train: the recipe's section.
        training: forward and backward; answering leaves the layout free too.
        device: auto, cpu, cuda or mps.
    """
    place = find_device(device)
    layouts = (train.channels_last,) if training or train.precision != "auto" else (False, True)
    names = candidates(place) if train.precision == "auto" else (train.precision,)
    return [Engine(place, name, layout) for name in names for layout in layouts if not (name == "bf16" and not layout and len(layouts) > 1)]


def decide_engine(
    train: Train,
    network: nn.Module,
    work: Work,
    *,
    device: str = "auto",
    rate: bool = False,
    limit: float = LIMIT,
    remembered: bool = True,
) -> Measured:
    """Return the engine of a recipe; ``precision = "auto"`` is measured, anything else is taken as it is.

    Args:
        train: the recipe's section.
        network: what will run; a copy of it is used.
        work: what is measured.
        device: auto, cpu, cuda or mps.
        rate: the seconds of the engine that is taken are wanted, also where there is no other.
        limit: seconds that measuring may take about.
        remembered: take what the user's cache holds, and add to it what is measured.
    """
    engines = engines_for(train, training=work.training, device=device)
    for engine in engines:
        check(engine)
    if len(engines) == 1 and not rate:
        return Measured(engines[0], {})
    keys = {engine.name: _key(network, engine, work) for engine in engines}
    usable = remembered and not _contended()  # rates of a busy moment are of that moment only
    kept = cache.read(RATES) if usable else {}
    seconds = {name: float(kept[key]["seconds"]) for name, (key, _) in keys.items() if _is_rate(kept.get(key))}
    if len(seconds) == len(engines):
        return Measured(_best(engines, seconds), seconds)
    found = measure(network, work, engines, limit=limit, rate=rate, busy=_contended())
    if usable:
        cache.add(RATES, {key: {**about, "seconds": found.seconds[name]} for name, (key, about) in keys.items()})
    return found


def seconds_of(network: nn.Module, work: Work, engines: Sequence[Engine]) -> dict[str, float]:
    """Return the seconds of an image on each of some engines other than torch, remembered for this machine; converting does not count."""
    usable = not _contended()
    kept = cache.read(RATES) if usable else {}
    keys = {engine.name: _key(network, engine, work) for engine in engines}
    seconds = {name: float(kept[key]["seconds"]) for name, (key, _) in keys.items() if _is_rate(kept.get(key))}
    x = torch.zeros((ROWS, *work.shape), dtype=work.dtype)
    timed: dict[str, float] = {}
    for engine in engines:
        if engine.name not in seconds:
            step = _step(copy.deepcopy(network), engine, work.training)
            step(x)  # converts, opens and warms up
            spent = [_timed(step, x) for _ in range(TURNS)]
            timed[engine.name] = round(sum(spent) / len(spent) if _contended() else min(spent), 6)
    if usable:
        cache.add(RATES, {keys[name][0]: {**keys[name][1], "seconds": value} for name, value in timed.items()})
    return seconds | timed


def measure(
    network: nn.Module,
    work: Work,
    engines: Sequence[Engine],
    *,
    rows: int = ROWS,
    repeats: int = TURNS,
    limit: float = LIMIT,
    rate: bool = True,
    busy: bool = False,
) -> Measured:
    """Time a few steps on each engine; the first one stays unless another needs clearly less time.

    Args:
        network: takes images; a copy of it is used, so neither weights nor statistics change.
        work: what is measured.
        engines: to try.
        rows: in a batch, at most.
        repeats: of each step; the fastest counts, or their mean where the machine is busy.
        limit: seconds that all of it may take about; slow machines time smaller batches, and in the end single images.
        rate: time the last engine that is left, too, for the rate that it has in batches.
        busy: other programs compute as well, and go on doing so: the fastest step would promise too much.
    """
    began = time.perf_counter()
    few = 2 if work.training else 1  # a BatchNorm takes no statistics from one row
    steps: dict[str, Callable[[Tensor], None]] = {}
    seconds: dict[str, float] = {}
    least = float("inf")
    for engine in engines:
        steps[engine.name] = _step(copy.deepcopy(network), engine, work.training)
        seconds[engine.name] = _first(steps[engine.name], torch.zeros((few, *work.shape), dtype=work.dtype), least)
        least = min(least, seconds[engine.name])
    left = [name for name in steps if seconds[name] <= DROP * least]
    left_over = limit - (time.perf_counter() - began)
    fits = int(left_over / ((repeats + 1) * sum(seconds[name] for name in left)))
    if (len(left) > 1 or rate) and min(rows, fits) > few:
        x = torch.zeros((min(rows, fits), *work.shape), dtype=work.dtype)
        timed: dict[str, list[float]] = {name: [] for name in left}
        for turn in range(repeats + 1):  # in turns, so that another load on the machine meets all alike
            for name in left:
                spent = _timed(steps[name], x)
                if turn:  # the first one warms up
                    timed[name].append(spent)
            if turn and time.perf_counter() - began > limit:
                break
        seconds |= {name: sum(spent) / len(spent) if busy else min(spent) for name, spent in timed.items()}
    rounded = {name: round(value, 6) for name, value in seconds.items()}
    return Measured(_best([engine for engine in engines if engine.name in left], seconds), rounded)


def _best(engines: Sequence[Engine], seconds: Mapping[str, float]) -> Engine:
    best = min(engines, key=lambda e: seconds[e.name])
    return best if seconds[best.name] < WORTH * seconds[engines[0].name] else engines[0]


def _first(step: Callable[[Tensor], None], x: Tensor, least: float) -> float:
    """Return the seconds per row of a second step; of the first, cold one where that already took far too long."""
    cold = _timed(step, x)
    return cold if cold > HOPELESS * least else _timed(step, x)


def _timed(step: Callable[[Tensor], None], x: Tensor) -> float:
    began = time.perf_counter()
    step(x)
    return (time.perf_counter() - began) / len(x)


def _step(network: nn.Module, engine: Engine, training: bool) -> Callable[[Tensor], None]:
    """Return what one step on an engine does."""
    runtime = Runtime(engine, deterministic=False)
    network = runtime.to_device(network.train(training))
    answer: Any = network if training else getattr(network, "features", network)

    def step(x: Tensor) -> None:
        with torch.set_grad_enabled(training), runtime.autocast():
            out = answer(runtime.to_device(x))
        if training:
            parts = list(out.values()) if isinstance(out, dict) else [out]
            torch.stack([part.float().square().mean() for part in parts]).sum().backward()
        if runtime.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def _contended() -> bool:
    """Tell whether other programs take processors that these threads would need."""
    found = machine.load()
    return found.idle is not None and found.idle < torch.get_num_threads() - 0.5


def _key(network: nn.Module, engine: Engine, work: Work) -> tuple[str, dict[str, Any]]:
    """Return the key of a rate in the cache, and what it is of."""
    parts = [[name, list(p.shape), p.requires_grad] for name, p in network.named_parameters()]
    kind = type(getattr(network, "backbone", network)).__name__
    about = {
        "processor": machine.processor(engine.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__ if engine.backend == "torch" else sessions.version(engine.backend),
        "engine": engine.name,
        "model": f"{kind}-{files.fingerprint(parts, 8)}",
        "shape": list(work.shape),
        "dtype": str(work.dtype).removeprefix("torch."),
        "work": "training" if work.training else "answering",
        "code": CODE,
    }
    return files.fingerprint(about), about


def _is_rate(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("seconds"), (int, float)) and 0 < entry["seconds"] < float("inf")
