"""Commands that make runs: fit, find-rate, tune, ablate, reproduce, and job, which they start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tapetum.cli import texts
from tapetum.cli.commands import command
from tapetum.cli.options import At, Budget, Data, Devices, Member, Out, Preset, Profile, Sets, with_recipe
from tapetum.cli.streams import command_line
from tapetum.core import errors, presets
from tapetum.core.options import ADDING, MODELS, NETWORK, READING, SPLITTING, TRAINING

app = typer.Typer()


@command(
    app,
    "tapetum fit images -o runs/first --budget 10m",
    "tapetum fit labels.csv --target label --group patient -o runs/second",
    "tapetum fit images --preset fast -o runs/quick",
    text=texts.fit,
)
@with_recipe(*READING, *SPLITTING, *ADDING, *MODELS, "track")
def fit(
    data: Data,
    recipe: Any,
    log: Any,
    out: Out = Path("runs/run"),
    budget: Budget = None,
    preset: Preset = None,
    plan: Annotated[Path | None, typer.Option(help="repeat the plan.json of another run")] = None,
    on: At = None,
    devices: Devices = 1,
) -> dict[str, Any]:
    """Files in, a run out: check → split → features → probe → training → decisions → pipeline → report."""
    from tapetum import api

    budget = budget or presets.budget_of(preset)
    return api.fit(data, out, recipe=recipe, budget=budget, plan=plan, on=on, devices=devices, log=log, command=command_line())


@command(app, "tapetum find-rate images -o runs/find-rate", name="find-rate", text=texts.find_rate)
@with_recipe(*READING, *SPLITTING, *ADDING, *NETWORK, "batch")
def find_rate(
    data: Data,
    recipe: Any,
    log: Any,
    out: Out = Path("runs/find-rate"),
    member: Member = None,
    repeats: Annotated[int, typer.Option(help="tests with other batches each", min=1)] = 3,
    steps: Annotated[int, typer.Option(help="rates of one test", min=10)] = 100,
    low: Annotated[float, typer.Option(help="first rate")] = 1e-7,
    high: Annotated[float, typer.Option(help="last rate")] = 10.0,
) -> dict[str, Any]:
    """Try growing rates from where training would start, three times over; plot the loss and suggest a rate."""
    from tapetum import api

    how: dict[str, Any] = {"member": member, "repeats": repeats, "steps": steps, "low": low, "high": high}
    return api.find_rate(data, out, recipe=recipe, **how, log=log, command=command_line())


@command(app, "tapetum trace images --size 224 -o runs/trace", text=texts.table, leave_out=("table",))
@with_recipe(*READING, *MODELS, "seed")
def trace(
    data: Data,
    recipe: Any,
    log: Any,
    out: Out = Path("runs/trace"),
    member: Member = None,
    steps: Annotated[int, typer.Option(help="batches", min=1)] = 20,
) -> dict[str, Any]:
    """Measure where the time of a training step goes: read, decode, augment, forward, backward, optimizer."""
    from tapetum import api

    return api.trace(data, out, recipe=recipe, member=member, steps=steps, log=log, command=command_line())


@command(app, "tapetum tune labels.csv --target label --recipe my.toml --trials 20 -o runs/tune", text=texts.tune)
@with_recipe(*READING, *SPLITTING, *ADDING, *TRAINING)
def tune(
    data: Data,
    recipe: Any,
    log: Any,
    out: Out = Path("runs/tune"),
    trials: Annotated[int | None, typer.Option(help="how many in all; earlier starts count", min=1)] = None,
    budget: Budget = None,
    on: At = None,
    devices: Devices = 1,
) -> dict[str, Any]:
    """Search the recipe's tune.space on the same folds; report the cross-validated figure, not the best trial's."""
    from tapetum import api

    how: dict[str, Any] = {"trials": trials, "budget": budget, "on": on, "devices": devices}
    return api.tune(data, out, recipe=recipe, **how, log=log, command=command_line())


@command(app, "tapetum ablate labels.csv --target label --recipe my.toml --pieces hflip,probe -o runs/ablate", text=texts.ablate)
@with_recipe(*READING, *SPLITTING, *ADDING, *TRAINING)
def ablate(
    data: Data,
    recipe: Any,
    log: Any,
    out: Out = Path("runs/ablate"),
    pieces: Annotated[str | None, typer.Option(help="names with commas between; all that the recipe uses, where none is given")] = None,
    seeds: Annotated[str, typer.Option(help="seeds of training, with commas between")] = "0",
    on: At = None,
    devices: Devices = 1,
) -> dict[str, Any]:
    """Switch off one piece of a recipe at a time, on the same folds and seeds, and print what each is worth."""
    from tapetum import api

    named = [name.strip() for name in (pieces or "").split(",") if name.strip()]
    try:
        numbers = [int(number) for number in seeds.split(",")]
    except ValueError:
        raise errors.UserError(f"--seeds is {seeds!r}", need="whole numbers with commas between, as 0,1,2") from None
    how: dict[str, Any] = {"pieces": named, "seeds": numbers, "on": on, "devices": devices}
    return api.ablate(data, out, recipe=recipe, **how, log=log, command=command_line())


@command(app, "tapetum reproduce dogs --simulate --profile cpu -o runs/dogs", text=texts.reproduce, leave_out=("cycles",))
def reproduce(
    log: Any,
    name: Annotated[str, typer.Argument(help="a recipe of a reference system, as dogs-plus (tapetum recipes lists them)")],
    out: Out = Path("runs/reproduced"),
    data: Annotated[Path | None, typer.Option(help="the data in their layout")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="use synthetic data, written beside the run")] = False,
    size: Annotated[str, typer.Option(help="of the synthetic data: small, full, or a number of images")] = "small",
    profile: Profile = None,
    set: Sets = None,
) -> dict[str, Any]:
    """Run a reference system from its layout to a submission checked against the sample; the report lists every statement."""
    from tapetum import api
    from tapetum.core.config import assignments
    from tapetum.core.registry import reference_system

    reference_system(name)
    if data is not None and simulate:
        raise errors.UserError("reproduce was given --data and --simulate", need="one of them, not both")
    if data is None and not simulate:
        raise errors.UserError("reproduce needs data", need="either --data DIR or --simulate")
    how: dict[str, Any] = {"data": data, "size": size, "profile": profile, "sets": assignments(set or ())}
    return api.reproduce(name, out, **how, log=log, command=command_line())


@command(app, "tapetum job runs/first/members/main/fold-0/spec.json", text=texts.job)
def job(
    log: Any,
    spec: Annotated[Path, typer.Argument(help="a spec.json that fit or predict wrote")],
    wait: Annotated[bool, typer.Option("--wait", help="while another process runs the same job, until it ends")] = False,
    devices: Devices = 1,
) -> dict[str, Any]:
    """Run one job (a member's fold, or rows to predict) from its spec alone; the exit code says whether a retry makes sense."""
    from tapetum import api

    return api.job(spec, wait=wait, devices=devices, log=log)
