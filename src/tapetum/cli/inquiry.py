"""Commands that answer questions about tapetum itself: recipes, explain, doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from tapetum.cli.options import Json, Over, Profile, Sets
from tapetum.cli.saying import show

app = typer.Typer()


@app.command()
def recipes() -> None:
    """List the built-in recipes with their first line."""
    from tapetum import api

    for name, line in api.recipes().items():
        print(f"{name:20} {line}")


@app.command()
def explain(
    recipe: Annotated[str | None, typer.Argument(help="a recipe's name, a TOML file or a run folder")] = None,
    config: Over = None,
    profile: Profile = None,
    set: Sets = None,
) -> None:
    """Print every value of a recipe and where it comes from."""
    from tapetum import api

    for key, value, origin in api.explain(recipe, over=config or (), profile=profile, sets=set or ()):
        print(f"{key:32} {value!s:44} {origin}")


@app.command()
def doctor(json: Json = False) -> None:
    """List devices, precisions, versions and which weights are at hand."""
    from tapetum import api

    show(api.doctor(), json)
