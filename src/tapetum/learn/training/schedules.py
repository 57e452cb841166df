"""The rate at every optimizer step, planned before training as a pure function of the step (numpy only).

A schedule is a function ``(steps, per_epoch, **options) -> multipliers (steps,)``; :func:`plan` adds the warm-up and the optimizer's
rate. Epochs are continuous: step t is at epoch t / per_epoch, so restarts fall where the recipe says, whatever the batch size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapetum.core.choices import pick
from tapetum.core.config import Average, Schedule
from tapetum.core.errors import UserError
from tapetum.core.words import plural
from tapetum.learn.choices import SCHEDULES

AFTER_WARMUP = ("constant", "cosine", "flat_cosine")  # stretched over what the warm-up leaves; the others keep their epochs


def plan(schedule: Schedule, *, steps_per_epoch: int, epochs: int, base_rate: float, history: Sequence[float] = ()) -> np.ndarray:
    """Return the rate of every optimizer step (steps_per_epoch × epochs,) float64.

    Args:
        schedule: name, warm-up and options of the recipe. The warm-up rises in a straight line to the schedule; for ``one_cycle`` it is
            the rising part itself.
        steps_per_epoch: optimizer steps, that is after accumulation.
        epochs: length of this part of training.
        base_rate: the rate where the multiplier is 1.
        history: for ``plateau``: the monitored value after each finished epoch; plan again when one more is known.

    Raises:
        UserError: the schedule does not fit in the epochs.
    """
    check(schedule, epochs)
    choice, options = pick({"name": schedule.name, **schedule.options}, SCHEDULES, "schedule")
    steps = steps_per_epoch * epochs
    if steps == 0:
        return np.zeros(0)
    warm = warmup_steps(schedule, steps, steps_per_epoch)
    if warm >= steps > 1:
        raise UserError(f"a warm-up of {plural(warm, 'step')} in a training of {steps}", need="fewer", fix="lower schedule.warmup")
    shape = choice.load()
    if schedule.name == "one_cycle":
        return base_rate * shape(steps, steps_per_epoch, rise=warm / steps, **options)
    if schedule.name == "plateau":
        options = {**options, "history": history}
    ramp = np.minimum(1.0, (np.arange(steps) + 1) / max(warm, 1))
    if schedule.name in AFTER_WARMUP:
        later = shape(steps - warm, steps_per_epoch, **options)
        return base_rate * ramp * np.concatenate([np.ones(warm), later])
    return base_rate * ramp * shape(steps, steps_per_epoch, **options)


def warmup_steps(schedule: Schedule, steps: int, steps_per_epoch: int) -> int:
    """Return how many steps the warm-up takes: ``warmup`` epochs if it is 1 or more, else that share of all steps."""
    return round(schedule.warmup * (steps_per_epoch if schedule.warmup >= 1 else steps))


def check(schedule: Schedule, epochs: int) -> None:
    """Refuse a schedule that cannot run in so many epochs; needs no data, so it is called when the recipe is read.

    Raises:
        UserError: T0 beyond the training length, phases of another total, a warm-up that never ends, options out of their range.
    """
    _, options = pick({"name": schedule.name, **schedule.options}, SCHEDULES, "schedule")
    if epochs == 0:
        return
    if schedule.warmup >= max(1, epochs):
        raise UserError(f"schedule.warmup is {schedule.warmup:g} epochs and training has {epochs}", need="a warm-up shorter than training")
    if schedule.name == "cosine_restarts":
        if options["t0"] > epochs:
            raise UserError(
                f"schedule T0 is {options['t0']:g} epochs and training has {epochs}: no cycle would end",
                need="T0 within the training length",
                fix="lower schedule.options.t0, raise train.epochs, or use schedule 'cosine'",
            )
    elif schedule.name == "phases":
        _check_phases(options["phases"], epochs)


def remarks(schedule: Schedule, epochs: int) -> list[str]:
    """Return what a user should know of a schedule that runs all the same: training that stops within a cycle."""
    _, options = pick({"name": schedule.name, **schedule.options}, SCHEDULES, "schedule")
    if schedule.name == "cosine_restarts":
        ends = restarts(options["t0"], options["t_mult"], epochs + options["t0"])
    elif schedule.name == "cyclic":
        ends = list(np.arange(1, epochs + 1) * options["cycle"])
    else:
        return []
    last = max([end for end in ends if end <= epochs + 1e-9], default=0.0)
    if math.isclose(last, epochs):
        return []
    return [
        f"training ends {epochs - last:g} epochs into a cycle of {schedule.name}, at a high rate; the last cycle ended at epoch {last:g}"
    ]


def restarts(t0: float, t_mult: float, epochs: float) -> list[float]:
    """Return the epochs (continuous) at which cycles of warm restarts end, up to ``epochs``."""
    ends, length = [float(t0)], float(t0)
    while ends[-1] < epochs:
        length *= t_mult
        ends.append(ends[-1] + length)
    return [end for end in ends if end <= epochs]


def with_average(rates: np.ndarray, average: Average, *, steps_per_epoch: int) -> np.ndarray:
    """Return the plan with SWA's part: the constant rate from its start on, and its further epochs.

    Args:
        rates: the schedule's plan (steps,).
        average: ``start`` is a share of the epochs, rounded up to whole ones; ``rate`` None keeps the plan as it is and continues at its
            mean over the last epoch; ``epochs`` further ones are appended (with ``full_batch``: single steps).
        steps_per_epoch: optimizer steps.

    Source: Izmailov et al. 2018, arXiv 1803.05407.
    """
    if average.name != "swa" or len(rates) == 0:
        return rates
    out = rates.copy()
    if average.rate is not None and average.epochs == 0:
        out[swa_start(average, len(rates) // steps_per_epoch) * steps_per_epoch :] = average.rate
    further = average.epochs * (1 if average.full_batch else steps_per_epoch)
    constant = average.rate if average.rate is not None else float(rates[-steps_per_epoch:].mean())
    return np.concatenate([out, np.full(further, constant)])


def swa_start(average: Average, epochs: int) -> int:
    """Return the epoch (from 0) with which SWA begins; with further epochs it begins after the schedule."""
    return epochs if average.epochs else min(math.ceil(average.start * epochs), max(epochs - 1, 0))


def constant(steps: int, per_epoch: int) -> np.ndarray:
    """Return 1 everywhere."""
    return np.ones(steps)


def cosine(steps: int, per_epoch: int, *, floor: float = 0.0) -> np.ndarray:
    """Fall from 1 to ``floor`` along half a cosine.

    Source: Loshchilov & Hutter 2017, arXiv 1608.03983, one cycle.
    """
    return _anneal(1.0, floor, np.arange(steps) / max(steps, 1))


def cosine_restarts(
    steps: int, per_epoch: int, *, t0: float = 10.0, t_mult: float = 1.0, decay: float = 1.0, floor: float = 0.0
) -> np.ndarray:
    """Cosine cycles of T_i epochs, T_{i+1} = ``t_mult`` · T_i, whose peaks shrink by ``decay``.

    Args:
        steps: optimizer steps.
        per_epoch: optimizer steps in an epoch.
        t0: length of the first cycle in epochs.
        t_mult: growth of the cycles.
        decay: peak of a cycle ÷ peak of the one before.
        floor: where every cycle ends, as a multiple of the rate.

    Source: Loshchilov & Hutter 2017, arXiv 1608.03983.
    """
    out = np.empty(steps)
    start, length, peak = 0.0, float(t0), 1.0
    for step in range(steps):
        epoch = step / per_epoch
        while epoch >= start + length - 1e-9:
            start, length, peak = start + length, length * t_mult, peak * decay
        out[step] = _anneal(max(peak, floor), floor, (epoch - start) / length)
    return out


def cyclic(steps: int, per_epoch: int, *, cycle: float = 2.0, low: float = 0.1, decay: float = 1.0, rise: float = 0.5) -> np.ndarray:
    """Triangles between ``low`` and 1, moved at every step.

    Args:
        steps: optimizer steps.
        per_epoch: optimizer steps in an epoch.
        cycle: epochs from low to low.
        low: the base, as a multiple of the rate.
        decay: height of a triangle ÷ height of the one before (0.5 is "triangular2").
        rise: share of a cycle that rises.

    Source: Smith 2017, arXiv 1506.01186.
    """
    place = np.arange(steps) / per_epoch / cycle
    turn = np.floor(place + 1e-9)
    return low + (1 - low) * decay**turn * _triangle(place - turn, rise)


def phases(
    steps: int, per_epoch: int, *, phases: Sequence[Sequence[float]] = (), cycle: float | None = None, rise: float = 0.5
) -> np.ndarray:
    """Triangles between a max and a min of its own in each phase.

    Args:
        steps: optimizer steps.
        per_epoch: optimizer steps in an epoch.
        phases: (epochs, max, min) each, as multiples of the rate; with an optimizer rate of 1 they are the rates themselves.
        cycle: epochs from min to min within a phase; None: a phase is one cycle.
        rise: share of a cycle that rises; 0 falls from max to min.
    """
    epoch = np.arange(steps) / per_epoch
    out = np.empty(steps)
    start = 0.0
    for length, high, low in phases:
        inside = (epoch >= start - 1e-9) & (epoch < start + length - 1e-9)
        place = (epoch[inside] - start) / (cycle or length)
        out[inside] = low + (high - low) * _triangle(place - np.floor(place + 1e-9), rise)
        start += length
    return out


def one_cycle(steps: int, per_epoch: int, *, rise: float = 0.3, div: float = 25.0, final_div: float = 1e4) -> np.ndarray:
    """Rise from 1/div to 1, then fall to 1/(div · final_div), both along a cosine.

    Args:
        steps: optimizer steps.
        per_epoch: optimizer steps in an epoch.
        rise: share of the steps that rise; a recipe sets it as ``schedule.warmup``.
        div: peak ÷ first rate.
        final_div: first rate ÷ last rate.

    Source: Smith & Topin 2017, arXiv 1708.07120; same as ``torch.optim.lr_scheduler.OneCycleLR``.
    """
    step = np.arange(steps, dtype=np.float64)
    peak = max(rise * steps - 1, 0.0)
    up = _anneal(1 / div, 1.0, step / max(peak, 1e-12))
    down = _anneal(1.0, 1 / (div * final_div), (step - peak) / max(steps - 1 - peak, 1e-12))
    return np.where(step <= peak, up, down) if peak > 0 else down


def flat_cosine(steps: int, per_epoch: int, *, flat: float = 0.75, floor: float = 0.0) -> np.ndarray:
    """Stay at 1 for a share ``flat`` of the steps, then fall to ``floor`` along half a cosine (the usual company of Ranger)."""
    begin = round(flat * steps)
    return np.concatenate([np.ones(begin), cosine(steps - begin, per_epoch, floor=floor)])


def plateau(
    steps: int,
    per_epoch: int,
    *,
    history: Sequence[float] = (),
    factor: float = 0.1,
    patience: int = 2,
    threshold: float = 1e-4,
    cooldown: int = 0,
    floor: float = 0.0,
) -> np.ndarray:
    """Multiply the rate by ``factor`` whenever the loss on held-out rows has not improved for more than ``patience`` epochs.

    Args:
        steps: optimizer steps.
        per_epoch: optimizer steps in an epoch.
        history: that loss after each finished epoch; epochs after the last known keep its multiplier.
        factor: what a plateau multiplies by.
        patience: epochs without an improvement that are borne.
        threshold: relative improvement that counts.
        cooldown: epochs after a reduction that do not count.
        floor: least multiple of the rate.

    Source: same as ``torch.optim.lr_scheduler.ReduceLROnPlateau`` (mode rel).
    """
    out = np.empty(steps)
    value, best, bad, rest = 1.0, math.inf, 0, 0
    for epoch in range(math.ceil(steps / per_epoch)):
        out[epoch * per_epoch : (epoch + 1) * per_epoch] = value
        if epoch >= len(history):
            continue
        new = float(history[epoch])
        best, bad = (new, 0) if new < best * (1 - threshold) else (best, bad + 1)
        if rest > 0:
            rest, bad = rest - 1, 0
        if bad > patience:
            value, rest, bad = max(value * factor, floor), cooldown, 0
    return out


def _anneal(start: float, end: float, share: Any) -> Any:
    return end + (start - end) * 0.5 * (1 + np.cos(np.pi * np.clip(share, 0.0, 1.0)))


def _triangle(place: np.ndarray, rise: float) -> np.ndarray:
    up = place / rise if rise > 0 else np.zeros_like(place)
    down = (1 - place) / (1 - rise) if rise < 1 else np.ones_like(place)
    return np.clip(np.where(place < rise, up, down), 0.0, 1.0)


def _check_phases(phases: Sequence[Sequence[float]], epochs: int) -> None:
    for phase in phases:
        if len(phase) != 3 or not (phase[0] > 0 and phase[1] >= phase[2] >= 0):
            raise UserError(f"schedule 'phases' has the phase {list(phase)}", need="[epochs, max, min] with max ≥ min ≥ 0")
    total = sum(phase[0] for phase in phases)
    if not math.isclose(total, epochs):
        raise UserError(
            f"schedule 'phases' covers {total:g} epochs and training has {epochs}",
            need="phases whose epochs add up to train.epochs",
            fix="change schedule.options.phases or train.epochs",
        )
