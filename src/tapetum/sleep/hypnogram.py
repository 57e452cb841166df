"""A hypnogram: the stage of each epoch of a night, with probabilities where a program gave them."""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np

from tapetum.core.errors import DataError
from tapetum.sleep.issues import EPOCH
from tapetum.sleep.stages import STAGES, UNSCORED, WAKE


@dataclasses.dataclass(frozen=True)
class Lights:
    """When the night begins and ends.

    Args:
        off: seconds from the start of the hypnogram to lights off; None where nobody says it.
        on: likewise, to lights on.
    """

    off: float | None = None
    on: float | None = None


@dataclasses.dataclass(frozen=True)
class Hypnogram:
    """Stages in the order of time.

    Args:
        stages: (T,) int8; 0 Wake, 1 N1, 2 N2, 3 N3, 4 REM, −1 unscored.
        epoch: seconds of an epoch.
        clock: time of day at the start; None where it is not known.
        p: (T, 5) probabilities, NaN rows where there are none; None where nobody gave any.
        scorer: who or what scored.
        lights: lights off and on, where annotations name them.
    """

    stages: np.ndarray
    epoch: float = EPOCH
    clock: datetime.time | None = None
    p: np.ndarray | None = None
    scorer: str = ""
    lights: Lights = Lights()

    def __post_init__(self) -> None:
        stages = np.asarray(self.stages, dtype=np.int8)
        if stages.ndim != 1 or not len(stages):
            raise DataError(f"a hypnogram has shape {stages.shape}", need="a stage for each of one or more epochs")
        if stages.min() < UNSCORED or stages.max() >= len(STAGES):
            raise DataError(f"a hypnogram holds {sorted(set(stages.tolist()))}", need="0 to 4 (Wake, N1, N2, N3, REM), −1 for unscored")
        if self.p is not None and np.shape(self.p) != (len(stages), len(STAGES)):
            raise DataError(f"probabilities have shape {np.shape(self.p)}", need=f"({len(stages)}, {len(STAGES)})")
        object.__setattr__(self, "stages", stages)

    def __len__(self) -> int:
        return len(self.stages)

    @property
    def minutes(self) -> float:
        """Minutes of an epoch."""
        return self.epoch / 60

    @property
    def asleep(self) -> np.ndarray:
        """Epochs of sleep (T,) bool."""
        return self.stages > WAKE

    def labels(self) -> list[str]:
        """Return the stages' names; unscored epochs are ``?``."""
        return [STAGES[stage] if stage >= 0 else "?" for stage in self.stages.tolist()]

    def part(self, first: int, last: int) -> Hypnogram:
        """Return epochs ``first`` up to but without ``last``; lights off and on are not kept."""
        seconds = first * self.epoch
        clock = self.clock
        if clock is not None:
            clock = (datetime.datetime.combine(datetime.date(2000, 1, 1), clock) + datetime.timedelta(seconds=seconds)).time()
        p = None if self.p is None else self.p[first:last]
        return dataclasses.replace(self, stages=self.stages[first:last], clock=clock, p=p, lights=Lights())


def runs(values: np.ndarray) -> list[tuple[int, int, int]]:
    """Return (value, first, one after the last) of each run of equal values."""
    edges = np.flatnonzero(np.diff(values)) + 1
    starts, ends = np.concatenate([[0], edges]), np.concatenate([edges, [len(values)]])
    return [(int(values[a]), int(a), int(b)) for a, b in zip(starts, ends, strict=True) if b > a]
