"""Which learning rate: a range test from where training would start, repeated with other batches; a curve and a suggestion."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.config import Loaded, Recipe
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.progress import Log
from tapetum.core.runs import Record, Run
from tapetum.core.words import plural
from tapetum.workflow.session import Session
from tapetum.workflow.stages.plan import plan_of
from tapetum.workflow.stages.prepare import prepare
from tapetum.workflow.stages.train import write_spec

NAME = "find-rate"
DISAGREE = 10.0  # largest over smallest steepest rate of the repeats beyond which their mean means little


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """A learning-rate range test.

    Args:
        repeats: with other batches each; the suggestion is their geometric mean.
        steps: of one test.
        low: first rate.
        high: last rate.

    Raises:
        UserError: rates or numbers that make no test.
    """

    repeats: int = 3
    steps: int = 100
    low: float = 1e-7
    high: float = 10.0

    def __post_init__(self) -> None:
        if self.repeats < 1 or self.steps < 10 or not 0 < self.low < self.high:
            raise UserError(
                f"a range test of {self.repeats} repeats and {plural(self.steps, 'step')} from {self.low:g} to {self.high:g}",
                need="1 or more, 10 or more, 0 < low < high",
            )

    @property
    def rates(self) -> np.ndarray:
        """The rates of the steps, in a geometric row."""
        return np.geomspace(self.low, self.high, self.steps)


def find_rate(
    source: Any,
    out: Path | str,
    loaded: Loaded,
    *,
    member: str | None = None,
    test: RangeTest = RangeTest(),
    log: Log | None = None,
    command: str = "tapetum.api.find_rate",
) -> dict[str, Any]:
    """Test rates on the first fold's training rows, as the recipe trains: its start, augmentation, mixing, loss, optimizer and batch.

    Args:
        source: as for ``fit``.
        out: a run folder of its own; ``rates.json``, ``rates.csv``, ``rates.png`` and ``rates.svg`` are in it.
        loaded: the recipe.
        member: which one, where there are several.
        test: its rates, and how often it is made.
        log: where messages go.
        command: kept in the run's record.

    Returns:
        ``{"run", "member", "suggestion", "steepest", "tenth", "recipe", "table", "repeats"}``.

    Raises:
        UserError: an unknown member.
    """
    record = Record(log)
    recipe = loaded.recipe
    chosen = _member(recipe, member)
    with Run.opened(out, loaded, {}) as run:
        try:
            with record.stage("files"):
                session = Session(run, prepare(run, source, recipe, record), recipe, record)
            if recipe.probe.enabled and chosen[1].train.start == "probe":
                from tapetum.workflow.stages.probe import probe_member

                with record.stage("probe"):
                    probe_member(session)
            with record.stage("range test"):
                curves = _curves(session, chosen[0], test)
            return _result(run, chosen, curves, record)
        finally:
            record.write(run, command)


def _member(recipe: Recipe, wanted: str | None) -> tuple[str, Recipe]:
    members = recipe.members()
    if wanted is None:
        return next(iter(members.items()))
    if wanted not in members:
        raise UserError(f"there is no member {wanted!r} (there are: {listed(members)}).{nearest(wanted, members)}")
    return wanted, members[wanted]


def _curves(session: Session, name: str, test: RangeTest) -> Sequence[Any]:
    """Run the tests one after the other; each begins at the same weights and sees other batches."""
    from tapetum.learn.training import job, rate_finder
    from tapetum.learn.training.fold import Training
    from tapetum.learn.training.keep import Keeper

    plan = plan_of(session, name)
    fold = plan["folds"][0]
    folder = session.run.root / NAME / name
    spec = write_spec(session, session.ref(name, fold), {**plan, "cuts": {}}, folder / "spec.json")
    curves = []
    for repeat in range(test.repeats):
        training = Training(job.build(files.read_json(spec), session.manifest, Keeper(folder), session.log))
        training.key = (session.recipe.seed, f"{name}/{NAME}-{repeat}", fold)
        optimizer = training.begin()
        curve = rate_finder.find(_steps(training, optimizer), training.network, optimizer, test.rates, others=[training.fold.objective])
        session.log(f"{name}: test {repeat + 1} of {test.repeats}: {plural(len(curve.rates), 'rate')}, steepest at {curve.steepest:.2g}")
        curves.append(curve)
    return curves


def _steps(training: Any, optimizer: Any) -> Callable[[int], float]:
    """Return what takes one optimizer step at the rate that is in the optimizer and gives its loss, over epochs without end."""
    from tapetum.learn.training.loop import Group, Progress, forward_backward, mixed, trained

    progress = Progress()

    def batches() -> Iterator[Any]:
        number = 0
        while True:
            epoch = training.epoch(number % max(training.fold.epochs, 1))
            for batch in epoch.batches:
                yield epoch, batch
            number += 1

    every = batches()

    def step(number: int) -> float:
        rate = max(group["lr"] / group.get("scale", 1.0) for group in optimizer.param_groups)
        losses, shares, group = [], [], Group(training.recipe.train.accumulate)
        network, objective = training.network, training.fold.objective
        for part in range(group.accumulate):
            epoch, batch = next(every)
            whole = mixed(epoch, batch, (number, part))
            shares.append(group.share(epoch.weight[batch.rows], whole.y))
            losses.append(forward_backward(network, objective, training.runtime, epoch, progress, whole, shares[-1]))
        group.close(trained(network, objective))
        training.runtime.step(network, optimizer, rate, training.recipe.train.clip or None)
        return float(np.average(losses, weights=shares if sum(shares) > 0 else None))

    return step


def _result(run: Run, member: tuple[str, Recipe], curves: Sequence[Any], record: Record) -> dict[str, Any]:
    from tapetum.learn.training import rate_finder
    from tapetum.show import rates as drawing

    found = rate_finder.suggest(curves)
    frames = [
        pl.DataFrame({"repeat": [i] * len(c.rates), "rate": c.rates, "loss": c.losses, "smoothed": c.smoothed})
        for i, c in enumerate(curves)
    ]
    files.write_csv(run.file("rates.csv"), pl.concat(frames))
    for suffix in ("png", "svg"):
        drawing.draw([(c.rates, c.losses, c.smoothed) for c in curves], found, run.file(f"rates.{suffix}"))
    each = [{"steepest": c.steepest, "tenth": c.tenth, "steps": len(c.rates)} for c in curves]
    result = {"member": member[0], **found, "recipe": member[1].optimizer.rate, "repeats": each}
    files.write_json(run.file("rates.json"), result)
    record(f"suggested: --set optimizer.rate={found['suggestion']:.2g} (the recipe has {member[1].optimizer.rate:g})")
    spread = max(c.steepest for c in curves) / min(c.steepest for c in curves)
    if spread > DISAGREE:
        record(f"warning: the tests disagree by a factor of {spread:.0f}: take more steps or repeats, or a larger batch, before using it")
    lines = [f"{'test':10} {'steepest':>10} {'a tenth of the least':>22}"]
    lines += [f"{i + 1:<10} {one['steepest']:>10.2g} {one['tenth']:>22.2g}" for i, one in enumerate(each)]
    lines += [f"{'together':10} {found['steepest']:>10.2g} {found['tenth']:>22.2g}"]
    return {"run": str(run.root), "table": "\n".join(lines), **result}
