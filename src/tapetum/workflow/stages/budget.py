"""A time budget → how many folds and epochs of fine-tuning fit into it, from rates measured on this machine."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tapetum.core.config import Train
from tapetum.core.errors import UserError
from tapetum.core.runs import Record, Run
from tapetum.core.words import plural
from tapetum.learn import machine
from tapetum.learn.runtime import Engine, keep_settings

RESERVE = 0.08  # share of the budget kept for what takes longer than it was measured to
AFTER = 3.0  # seconds that decisions, pipeline and report take on a machine on which the imports take ``IMPORTS``
IMPORTS = 6.0  # seconds that importing torch, timm and the rest takes on two virtual processors
MEASURING = 0.03  # share of the budget that one measurement may take
DECODE = 1 / 150  # seconds for decoding and augmenting an image on one core, on the safe side; cached images need less
LIMIT = 6.0  # seconds that one measurement may take about, however much time there is
FEWEST = 3  # epochs below which fine-tuning all folds is not worth it: fewer folds are taken instead


@dataclasses.dataclass(frozen=True)
class OtherEngine:
    """An engine that answers held-out images in place of the one that trains.

    Args:
        inference: images a second.
        convert: seconds of a conversion, for each answer with other weights.
        least: images at once from which it answers.
    """

    inference: float
    convert: float
    least: int

    @classmethod
    def from_plan(cls, answers: Mapping[str, Any] | None) -> OtherEngine | None:
        """Return the engine that ``plan.json`` has under a member's ``answers``; None where the one that trains answers."""
        if answers is None or "from_images" not in answers:
            return None
        each = answers["seconds_per_image"][Engine.from_dict(answers["engine"]).name]
        return cls(rate(each), answers["convert_seconds"], answers["from_images"])


@dataclasses.dataclass(frozen=True)
class Rates:
    """What was measured before planning, in images a second.

    Args:
        training: forward, backward and step.
        inference: forward alone, by the engine that trains.
        start: seconds that each fold needs before its first epoch.
        other: the engine of held-out images, where that is another one.
    """

    training: float
    inference: float
    start: float
    other: OtherEngine | None = None

    def answering(self, images: int) -> float:
        """Return the seconds in which so many held-out images are answered at once, counting each view."""
        if self.other is not None and images and images >= self.other.least:
            return self.other.convert + images / self.other.inference
        return images / self.inference


def rate(each: float) -> float:
    """Return images a second where the network needs ``each`` seconds for one: a tenth more, and the image is decoded."""
    return 1 / (each * 1.1 + DECODE)


def seconds(text: str) -> float:
    """Read ``90s``, ``10m``, ``1.5h`` or a bare number of seconds."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if not found or float(found[1]) <= 0:
        raise UserError(f"budget {text!r} cannot be read", need="a time above 0, as 90s, 10m or 2h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def plan(left: float, folds: Mapping[int, tuple[int, int]], epochs: int, rates: Rates, *, views: int = 1) -> dict[str, Any]:
    """Plan whole epochs and folds of fine-tuning into the seconds that are left.

    All folds come first: with all of them at ``FEWEST`` epochs affordable, epochs grow up to the recipe's. Otherwise as many folds
    as that many epochs allow, and with not even one, none.

    Args:
        left: seconds.
        folds: fold → (rows that train, rows held out).
        epochs: the recipe's.
        rates: measured.
        views: held-out views an epoch.

    Returns:
        ``{"folds": [...], "epochs": n, "epoch_seconds": {fold: s}, "seconds": expected, "why": sentence}``, JSON-able.
    """
    usable = left * (1 - RESERVE)
    cost = {f: train / rates.training + rates.answering(views * heldout) for f, (train, heldout) in folds.items()}

    def total(chosen: list[int], n: int) -> float:
        return sum(rates.start + n * cost[f] for f in chosen)

    every = list(folds)
    fewest = min(FEWEST, epochs)
    chosen, n = every, 0
    if epochs and total(every, fewest) <= usable:
        n = max(e for e in range(fewest, epochs + 1) if total(every, e) <= usable)
        why = f"all {plural(len(every), 'fold')} for {n} of {plural(epochs, 'epoch')}"
    else:
        chosen = []
        for fold in every:
            if epochs and total([*chosen, fold], fewest) <= usable:
                chosen.append(fold)
        n = fewest if chosen else 0
        if len(chosen) == 1:
            n = max(e for e in range(fewest, epochs + 1) if total(chosen, e) <= usable)
        why = (
            f"{len(chosen)} of {plural(len(every), 'fold')} for {plural(n, 'epoch')}; "
            "fewer folds than the probe's, so they are compared but do not replace it"
            if chosen
            else f"no fine-tuning: one fold for {plural(fewest, 'epoch')} needs "
            f"{total(every[:1], fewest):.0f} s, {max(usable, 0):.0f} s are left"
        )
    return {
        "folds": chosen,
        "epochs": n,
        "epoch_seconds": {str(f): round(cost[f], 2) for f in chosen},
        "seconds": round(total(chosen, n), 1) if chosen else 0.0,
        "why": why,
    }


def against(kept: Mapping[str, Any], budget: float | None, *, given: bool) -> str:
    """Return the note for a kept plan that meets another budget than the one it was made for; empty where it fits.

    Args:
        kept: a member's part of plan.json.
        budget: seconds of this start, or None.
        given: the plan is another run's, repeated as it is.
    """
    within = "epoch_seconds" in kept
    if given:
        return "" if budget is None else "the given plan is repeated as it stands; the budget ends no training"
    if budget is None:
        stands = (
            f"{plural(len(kept['folds']), 'fold')} for "
            f"{plural(kept['epochs'], 'epoch stands', 'epochs stand')}. For more, choose a new folder with -o"
        )
        return f"its plan was made within a budget: {stands}" if within else ""
    if not within:
        return "its plan was made without a budget: folds and epochs stand, and the budget ends training after an epoch"
    if kept.get("budget", budget) != budget:
        return f"its plan was made for a budget of {kept['budget']:g} s and stands; training ends by that of {budget:g} s"
    return ""


def plan_probe(left: float, rows: int, views: Sequence[Any], each: float) -> dict[str, Any]:
    """Plan the probe, which always runs, into the seconds that are left: in all of its views, else in the first alone.

    Args:
        left: seconds.
        rows: images to be passed through the backbone.
        views: of each image.
        each: seconds that one view of an image takes, as measured.

    Returns:
        ``{"views": [...], "seconds": expected, "overrun": seconds beyond the budget, "why": a sentence, or nothing where it fits}``.
    """
    usable = left * (1 - RESERVE)

    def needed(many: int) -> float:
        return rows * (many * each + DECODE)

    chosen, why = list(views), ""
    if needed(len(views)) > usable and len(views) > 1:
        chosen = chosen[:1]
        why = (
            f"the probe would need about {needed(len(views)):.0f} s in {plural(len(views), 'view')} "
            f"and {max(left, 0):.0f} s are left; it takes one"
        )
    seconds = needed(len(chosen))
    overrun = max(0.0, seconds - left)
    if seconds > usable:
        why = (
            f"the probe alone needs about {seconds:.0f} s and {max(left, 0):.0f} s are left; it is run all the same, nothing is fine-tuned"
            + (f", and the budget is overrun by about {overrun:.0f} s" if overrun else "")
        )
    return {"views": chosen, "seconds": round(seconds, 1), "overrun": round(overrun, 1), "why": why}


def after(imports: float) -> float:
    """Return the seconds to keep for decisions, pipeline and report, by how long this machine's imports took (0 where they were done)."""
    return AFTER * min(max(imports / IMPORTS, 1.0), 4.0)


class Clock:
    """How much of a budget is spent: this start's wall time and what earlier starts of the same run kept of theirs.

    Args:
        budget: seconds, or None for no budget.
        spent: seconds of earlier starts whose work was kept.
        began: of ``time.monotonic()``, when this start began, before anything was imported; None: now.
        after: seconds kept for what follows training; test rows that the pipeline will answer are added once they are known.
    """

    def __init__(self, budget: float | None, spent: float = 0.0, *, began: float | None = None, after: float = 0.0) -> None:
        self.budget, self.spent, self.after = budget, spent, after
        self._began = time.monotonic() if began is None else began

    @property
    def elapsed(self) -> float:
        """Seconds spent."""
        return self.spent + time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds left for probe and training; infinite without a budget."""
        return float("inf") if self.budget is None else self.budget - self.elapsed - self.after

    @property
    def measuring(self) -> float:
        """Seconds that one measurement may take about."""
        return LIMIT if self.budget is None else min(LIMIT, max(0.5, MEASURING * self.budget))

    def allows(self, more: float) -> bool:
        """True if ``more`` seconds of work, what follows and the reserve still end within the budget and a tenth."""
        return self.budget is None or self.elapsed + more + max(self.after, self.budget * RESERVE) <= self.budget * 1.1


def threads_of(run: Run, train: Train, record: Record) -> int | None:
    """Return the threads to compute with: the recipe's; torch's own (None) under ``OMP_NUM_THREADS``; else as planned.

    Args:
        run: whose plan.json keeps the number.
        train: the recipe's section.
        record: told once, where the load decides.
    """
    if train.threads is None and not machine.threads_are_given() and "threads" not in run.plan():
        count, why = machine.threads_now()
        run.keep_plan(threads=count)
        record(f"computing with {plural(count, 'thread')} ({why})")
    return machine.threads(train.threads, run.plan().get("threads"))


def set_threads(run: Run, train: Train, record: Record) -> None:
    """Let torch compute with the threads of :func:`threads_of`."""
    count = threads_of(run, train, record)
    if count is not None:
        keep_settings()
        torch.set_num_threads(count)
