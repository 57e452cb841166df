"""Commands that make runs: fit, find-rate, tune, ablate, reproduce, and job, which they start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tapetum.cli.options import READING, SPLITTING, Budget, Data, Json, Member, Out, Profile, Sets, with_recipe
from tapetum.cli.saying import command_line, progress, show
from tapetum.core import errors

app = typer.Typer()
MODELS = ("backbone", "weights", "online", "size", "epochs", "batch", "saliency")


@app.command()
@with_recipe(*READING, *SPLITTING, "test", "extra", "join", "side", "pseudo", *MODELS)
def fit(
    data: Data,
    recipe: Any,
    out: Out = Path("runs/run"),
    budget: Budget = None,
    plan: Annotated[Path | None, typer.Option(help="repeat the plan.json of another run")] = None,
    json: Json = False,
) -> None:
    """Files in, a run out: check → split → features → probe → training → decisions → pipeline → report."""
    from tapetum import api

    show(api.fit(data, out, recipe=recipe, budget=budget, plan=plan, log=progress, command=command_line()), json)


@app.command("find-rate")
@with_recipe(*READING, "seed")
def find_rate(
    data: Data,
    recipe: Any,
    out: Out = Path("runs/find-rate"),
    member: Member = None,
    repeats: Annotated[int, typer.Option(help="tests with other batches each", min=1)] = 3,
    steps: Annotated[int, typer.Option(help="rates of one test", min=10)] = 100,
    low: Annotated[float, typer.Option(help="first rate")] = 1e-7,
    high: Annotated[float, typer.Option(help="last rate")] = 10.0,
    json: Json = False,
) -> None:
    """Try growing rates from where training would start, three times over; plot the loss and suggest a rate."""
    from tapetum import api

    how: dict[str, Any] = {"member": member, "repeats": repeats, "steps": steps, "low": low, "high": high}
    show(api.find_rate(data, out, recipe=recipe, **how, log=progress, command=command_line()), json)


@app.command()
@with_recipe(*READING, *SPLITTING)
def tune(
    data: Data,
    recipe: Any,
    out: Out = Path("runs/tune"),
    trials: Annotated[int | None, typer.Option(help="how many in all; earlier starts count", min=1)] = None,
    budget: Budget = None,
    json: Json = False,
) -> None:
    """Search the recipe's tune.space on the same folds; report the cross-validated figure, not the best trial's."""
    from tapetum import api

    show(api.tune(data, out, recipe=recipe, trials=trials, budget=budget, log=progress, command=command_line()), json)


@app.command()
@with_recipe(*READING, *SPLITTING)
def ablate(
    data: Data,
    recipe: Any,
    out: Out = Path("runs/ablate"),
    pieces: Annotated[str | None, typer.Option(help="names with commas between; all that the recipe uses, where none is given")] = None,
    seeds: Annotated[str, typer.Option(help="seeds of training, with commas between")] = "0",
    json: Json = False,
) -> None:
    """Switch off one piece of a recipe at a time, on the same folds and seeds, and print what each is worth."""
    from tapetum import api

    named = [name.strip() for name in (pieces or "").split(",") if name.strip()]
    try:
        numbers = [int(number) for number in seeds.split(",")]
    except ValueError:
        raise errors.UserError(f"--seeds is {seeds!r}", need="whole numbers with commas between, as 0,1,2") from None
    show(api.ablate(data, out, recipe=recipe, pieces=named, seeds=numbers, log=progress, command=command_line()), json)


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="dogs, dogs-plus, hpa, hpa-plus, or a recipe of another package's system")],
    out: Out = Path("runs/reproduced"),
    data: Annotated[Path | None, typer.Option(help="the data in their layout")] = None,
    simulate: Annotated[bool, typer.Option("--simulate", help="use synthetic data, written beside the run")] = False,
    size: Annotated[str, typer.Option(help="of the synthetic data: small, full, or a number of images")] = "small",
    profile: Profile = None,
    set: Sets = None,
    json: Json = False,
) -> None:
    """Run a reference system from its layout to a submission checked against the sample; the report lists every statement."""
    from tapetum import api
    from tapetum.core.config import assignments

    if (data is None) == (not simulate):
        raise errors.UserError("reproduce needs data", need="either --data DIR or --simulate")
    how: dict[str, Any] = {"data": data, "size": size, "profile": profile, "sets": assignments(set or ())}
    result = api.reproduce(name, out, **how, log=progress, command=command_line())
    show({key: value for key, value in result.items() if key != "cycles"}, json)


@app.command()
def job(spec: Annotated[Path, typer.Argument(help="a spec.json that fit wrote")]) -> None:
    """Run one job (a member's fold) from its spec alone; the exit code says whether a retry makes sense."""
    from tapetum import api

    show(api.job(spec, log=progress), False)
