"""How many threads a run computes with: decided once by the load of the machine, kept in plan.json, and only read on resume."""

from __future__ import annotations

import os

import torch

from tapetum.core.config import Train
from tapetum.core.runs import Record, Run
from tapetum.learn import machine


def threads_of(run: Run, train: Train, record: Record) -> int | None:
    """Return the threads to compute with: the recipe's; torch's own (None) under ``OMP_NUM_THREADS``; else as planned.

    Args:
        run: whose plan.json keeps the number.
        train: the recipe's section.
        record: told once, where the load decides.
    """
    if train.threads is None and not os.environ.get("OMP_NUM_THREADS") and "threads" not in run.plan():
        count, why = machine.threads_now()
        run.keep_plan(threads=count)
        record(f"computing with {count} thread{'s' if count > 1 else ''} ({why})")
    return machine.threads(train.threads, run.plan().get("threads"))


def set_threads(run: Run, train: Train, record: Record) -> None:
    """Let torch compute with the threads of :func:`threads_of`."""
    count = threads_of(run, train, record)
    if count is not None:
        torch.set_num_threads(count)
