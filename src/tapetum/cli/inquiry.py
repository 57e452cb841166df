"""Commands that answer questions about tapetum itself: recipes, explain, doctor."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tapetum.cli import texts
from tapetum.cli.commands import command
from tapetum.cli.options import Over, Profile, Sets

app = typer.Typer()


@command(app, "tapetum recipes", text=texts.recipes)
def recipes() -> dict[str, Any]:
    """List the built-in recipes with their first line."""
    from tapetum import api

    return {"recipes": api.recipes()}


@command(app, "tapetum explain dogs --profile cpu", "tapetum explain runs/first", text=texts.explain)
def explain(
    recipe: Annotated[str | None, typer.Argument(help="a recipe's name, a TOML file or a run folder")] = None,
    config: Over = None,
    profile: Profile = None,
    set: Sets = None,
) -> dict[str, Any]:
    """Print every value of a recipe and where it comes from."""
    from tapetum import api

    rows = api.explain(recipe, over=config or (), profile=profile, sets=set or ())
    return {"values": [{"key": key, "value": value, "origin": origin} for key, value, origin in rows]}


@command(app, "tapetum doctor", text=texts.doctor)
def doctor(log: Any) -> dict[str, Any]:
    """List devices, precisions, versions and which weights are at hand."""
    from tapetum import api

    return api.doctor()
