"""Functions that make runs: fit, find_rate, tune, ablate, reproduce, and job, which they start."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tapetum.api.images import simulate
from tapetum.api.outputs import run_folder
from tapetum.api.recipe import Texts, load_recipe, recipe_of
from tapetum.api.results import Result, of_run
from tapetum.core import locks, presets
from tapetum.core.config import Loaded
from tapetum.core.errors import for_python
from tapetum.core.options import OPTIONS, several
from tapetum.core.places import refuse_nowhere
from tapetum.core.progress import Log
from tapetum.core.registry import reference_system
from tapetum.core.runs import Run


@for_python
def fit(
    data: Any,
    out: Path | str | None = None,
    *,
    target: Any = None,
    derive: Mapping[str, str] | str | Sequence[str] | None = None,
    id: str | None = None,
    path: Texts | None = None,
    group: str | None = None,
    sequence: Any = None,
    position: str | None = None,
    layout: str | None = None,
    on_bad: str | None = None,
    folds: int | None = None,
    holdout: float | None = None,
    seed: int | None = None,
    test: Texts | None = None,
    extra: Texts | None = None,
    join: Texts | None = None,
    side: str | Sequence[str] | None = None,
    pseudo: Path | str | None = None,
    backbone: str | None = None,
    weights: Path | str | None = None,
    online: bool = False,
    size: int | tuple[int, int] | str | None = None,
    epochs: int | None = None,
    batch: int | str | None = None,
    saliency: str | None = None,
    track: Texts | None = None,
    recipe: Loaded | str | Path | None = None,
    config: Texts = (),
    profile: str | None = None,
    preset: str | None = None,
    budget: str | None = None,
    plan: Path | str | None = None,
    on: str | None = None,
    devices: int = 1,
    log: Log | None = None,
    command: str | None = None,
    **sets: Any,
) -> Result:
    """Labelled images in, a run out: check → split → features → probe → training → decisions → pipeline → report.

    Args:
        data: a folder of class folders, a table, a layout's folder, or a polars or pandas frame.
        out: the run's folder; the same call goes on where it stopped. None: a new folder, ``runs/run``, or ``runs/run-2`` and so on
            where that is there already.
        target: the label column, or several; with its kind, as ``"tags:multi"`` or ``"age:ordinal=0-2<3-9<10-19"``.
        derive: targets composed of others, as ``{"ans": "mask*6 + gender*3 + age"}``.
        id: the column of row ids.
        path: the column of image paths, a template as ``"train/{Id}_{red,green}.png"``, or several columns.
        group: the column of groups, which never cross folds.
        sequence: the column of sequences.
        position: the column of the place in the sequence.
        layout: how the data are laid out; None recognises it.
        on_bad: ``"skip"`` goes on without images that cannot be read; they are refused otherwise.
        folds: how many (5 without this).
        holdout: one split instead of folds: the share held out, as 0.2.
        seed: of everything random.
        test: tables of test rows.
        extra: tables of rows that train and never score.
        join: tables whose columns are joined by id.
        side: columns of tabular features.
        pseudo: a Predictions file whose confident rows train.
        backbone: any timm model.
        weights: ``"auto"``, ``"none"``, or a folder.
        online: allow weights from the hub.
        size: of the image in pixels.
        epochs: of fine-tuning; 0 for the probe alone.
        batch: images in a batch, or ``"auto"``.
        saliency: maps of the worst answers: gradient, loss, integrated or gradcam.
        track: trackers that get the curves, too: tensorboard, mlflow, or both.
        recipe: from :func:`~tapetum.api.load_recipe`, a name, a file; None for the defaults.
        config: TOML files laid over the recipe.
        profile: of the recipe, as ``"cpu"``.
        preset: ``"fast"``, ``"good"`` or ``"best"``.
        budget: wall time for all of it, as ``"10m"``.
        plan: plan.json of another run, repeated here.
        on: where folds train: ``local`` (this process), ``ray`` (this machine's processors), ``ray:ADDRESS`` (a cluster) or
            ``slurm:OPTIONS`` (options of sbatch). The run's folder and the data must be seen there under the same paths.
        devices: processes that train a fold together, each on a device of its own.
        log: told what happens.
        command: shown in the report; None: this call.
        sets: further recipe keys with ``__`` for dots, as ``train__precision="32"``, or in a table, ``sets={"train.precision": "32"}``.

    Returns:
        The run: its summary, its figures as a table, and ``{"run", "report", "pipeline", "table", "figures", "choice"}``.
    """
    options = {name: value for name, value in locals().items() if name in OPTIONS and value is not None and value is not False} | sets
    began = time.monotonic()  # the budget counts the imports, too
    place = run_folder(out, "runs/run")
    if Run.at(place) is None:  # a run that is there tells itself what it was made from
        refuse_nowhere(data)
    loaded = recipe_of(recipe, options, over=config, profile=profile, preset=preset)
    from tapetum.workflow.commands.fit import fit as chain

    told = command or _call("fit", data, out, options)
    from tapetum.workflow.launch.places import At
    from tapetum.workflow.stages import budget as budgets

    limit = budget or presets.budget_of(preset)
    clock = budgets.Clock(None if limit is None else budgets.seconds(limit), began=began)
    found = chain(data, place, loaded, clock=clock, plan=plan, at=At(on, devices), log=log, command=told)
    return of_run(found)


@for_python
def trace(
    data: Any,
    out: Path | str | None = None,
    *,
    recipe: Loaded | str | Path | None = None,
    member: str | None = None,
    steps: int = 20,
    log: Log | None = None,
    command: str | None = None,
    **options: Any,
) -> Result:
    """Measure where the time of a training step goes; see :func:`tapetum.workflow.commands.trace.trace`.

    Args:
        data: as for :func:`fit`.
        out: a run folder of its own; None: a new one under ``runs``.
        recipe: as for :func:`fit`.
        member: which one, where there are several.
        steps: batches.
        log: told what happens.
        command: kept in the record.
        options: as for :func:`fit` (``target``, ``size``, …), and recipe keys with ``__`` for dots.
    """
    refuse_nowhere(data)
    place = run_folder(out, "runs/trace")
    loaded = recipe_of(recipe, options)
    from tapetum.workflow.commands.trace import trace as measure

    told = command or _call("trace", data, out, options)
    found = measure(data, place, loaded, member=member, steps=steps, log=log, command=told)
    rows = [{"part": name, **values} for name, values in found["parts"].items()]
    return Result(found, lines=found["table"].splitlines(), rows=rows, path=place)


@for_python
def find_rate(
    data: Any,
    out: Path | str | None = None,
    *,
    recipe: Loaded | str | Path | None = None,
    member: str | None = None,
    repeats: int = 3,
    steps: int = 100,
    low: float = 1e-7,
    high: float = 10.0,
    log: Log | None = None,
    command: str | None = None,
    **options: Any,
) -> Result:
    """Test which learning rate suits, from where training would start; see :func:`tapetum.workflow.commands.find_rate.find_rate`.

    Args:
        data: as for :func:`fit`.
        out: a run folder of its own; None: a new one under ``runs``.
        recipe: as for :func:`fit`.
        member: which one, where there are several.
        repeats: tests with other batches each.
        steps: of one test.
        low: first rate.
        high: last rate.
        log: told what happens.
        command: kept in the record.
        options: as for :func:`fit` (``target``, ``size``, …), and recipe keys with ``__`` for dots.
    """
    refuse_nowhere(data)
    place = run_folder(out, "runs/find-rate")
    loaded = recipe_of(recipe, options)
    from tapetum.workflow.commands.find_rate import RangeTest
    from tapetum.workflow.commands.find_rate import find_rate as find

    test, told = RangeTest(repeats, steps, low, high), command or _call("find_rate", data, out, options)
    found = find(data, place, loaded, member=member, test=test, log=log, command=told)
    return Result(found, rows=found["repeats"], path=found["run"])


@for_python
def tune(
    data: Any,
    out: Path | str | None = None,
    *,
    recipe: Loaded | str | Path | None = None,
    trials: int | None = None,
    budget: str | None = None,
    on: str | None = None,
    devices: int = 1,
    log: Log | None = None,
    command: str | None = None,
    **options: Any,
) -> Result:
    """Search the recipe's ``tune.space``, or go on with a search; see :func:`tapetum.workflow.commands.tune.tune`.

    Args:
        data: as for :func:`fit`.
        out: a run folder of its own; None: a new one under ``runs``.
        recipe: as for :func:`fit`.
        trials: how many in all.
        budget: wall time for this start.
        on: as for :func:`fit`.
        devices: as for :func:`fit`.
        log: told what happens.
        command: kept in the record.
        options: as for :func:`fit` (``target``, ``size``, …), and recipe keys with ``__`` for dots.
    """
    refuse_nowhere(data)
    place = run_folder(out, "runs/tune")
    loaded = recipe_of(recipe, options)
    from tapetum.workflow.commands.tune import tune as search
    from tapetum.workflow.launch.places import At

    told = command or _call("tune", data, out, options)
    found = search(data, place, loaded, trials_=trials, budget=budget, at=At(on, devices), log=log, command=told)
    return Result(found, path=found["run"])


@for_python
def ablate(
    data: Any,
    out: Path | str | None = None,
    *,
    recipe: Loaded | str | Path | None = None,
    pieces: str | Sequence[str] = (),
    seeds: int | Sequence[int] = (0,),
    on: str | None = None,
    devices: int = 1,
    log: Log | None = None,
    command: str | None = None,
    **options: Any,
) -> Result:
    """Switch off one piece of a recipe at a time and measure what it is worth; see :func:`tapetum.workflow.commands.ablate.ablate`.

    Args:
        data: as for :func:`fit`.
        out: a run folder of its own; None: a new one under ``runs``.
        recipe: as for :func:`fit`.
        pieces: their names; empty takes all that the recipe uses.
        seeds: of training.
        on: as for :func:`fit`.
        devices: as for :func:`fit`.
        log: told what happens.
        command: kept in the record.
        options: as for :func:`fit` (``target``, ``size``, …), and recipe keys with ``__`` for dots.
    """
    refuse_nowhere(data)
    place = run_folder(out, "runs/ablate")
    loaded = recipe_of(recipe, options)
    from tapetum.workflow.commands.ablate import ablate as measure
    from tapetum.workflow.launch.places import At

    told, at = command or _call("ablate", data, out, options), At(on, devices)
    found = measure(data, place, loaded, pieces=several(pieces), seeds=several(seeds), at=at, log=log, command=told)
    return Result(found, rows=found["pieces"], path=found["run"])


@for_python
def reproduce(
    name: str,
    out: Path | str | None = None,
    *,
    data: Path | str | None = None,
    simulated: Mapping[str, Any] | None = None,
    size: str | int = "small",
    profile: str | None = None,
    sets: Mapping[str, Any] | None = None,
    log: Log | None = None,
    command: str = "tapetum.api.reproduce(…)",
) -> Result:
    """Run a reference system from its layout to its submission; see :func:`tapetum.systems.reproduce.reproduce`.

    Args:
        name: a recipe of a reference system, as ``dogs`` or ``mask-plus``; :func:`~tapetum.api.recipes` lists them.
        out: the run's folder; None: a new one under ``runs``.
        data: the data in their layout; None: simulate data of ``size`` beside the run.
        simulated: what :func:`~tapetum.api.simulate` returned.
        size: of the simulated data.
        profile: ``cpu``; None for the write-up's sizes.
        sets: further recipe keys.
        log: told what happens.
        command: kept in the report.
    """
    system = reference_system(name)
    refuse_nowhere(data)
    place = run_folder(out, "runs/reproduced")
    from tapetum.systems.reproduce import reproduce as chain

    if data is None and simulated is None:
        simulated = simulate(system.name, place.with_name(f"{place.name}-data"), size=size, log=log)
    given = data if simulated is None else simulated
    return of_run(chain(name, place, given, load_recipe, profile=profile, sets=sets, log=log, command=command))


@for_python
def job(spec: Path | str, *, wait: bool = False, devices: int = 1, log: Log | None = None) -> dict[str, Any]:
    """Run one job from its spec.json.

    Args:
        spec: what :func:`fit` or :func:`predict` wrote for it.
        wait: where another process runs the same job, until it ends; else that is an error.
        devices: processes that run it together.
        log: told what happens.

    Returns:
        Its final state, and under ``log`` the messages.
    """
    refuse_nowhere(spec)
    if not wait:
        locks.refuse_held(Path(spec).parent)
    from tapetum.workflow.commands.job import run

    return run(Path(spec), wait=wait, devices=devices, log=log)


def _call(name: str, data: Any, out: Any, options: Mapping[str, Any]) -> str:
    """Return a call of the API as text, for the record: data that are no path are left out."""
    shown = [repr(str(one)) if isinstance(one, (str, Path)) else "…" for one in (data, out) if one is not None]
    return f"tapetum.api.{name}({', '.join([*shown, *(f'{key}={value!r}' for key, value in options.items())])})"
