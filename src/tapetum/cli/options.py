"""Arguments and options that several commands take, each declared once; those that set values of a recipe are in ``core.options``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tapetum.core.options import OPTIONS, to_keys

Data = Annotated[Path, typer.Argument(help="a folder of class folders, a table (CSV, Parquet) or a layout's folder")]
RunFolder = Annotated[Path, typer.Argument(help="a run folder")]
Out = Annotated[Path, typer.Option("-o", "--out", help="where to write")]
NowAt = Annotated[Path | None, typer.Option("--data", help="of a run: where its data are now, if they moved")]
Member = Annotated[str | None, typer.Option(help="which member, where there are several")]
OneTarget = Annotated[str | None, typer.Option(help="which one, where there are several")]
MetricName = Annotated[str, typer.Option(help="auto: the target's default")]
Budget = Annotated[str | None, typer.Option(help="wall time for this start, as 90s, 10m, 2h")]
At = Annotated[str | None, typer.Option("--on", help="where jobs run: local, ray, ray:ADDRESS, slurm or 'slurm:OPTIONS of sbatch'")]
Devices = Annotated[int, typer.Option(help="processes that train a fold together, each on a device of its own", min=1)]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="a built-in recipe or a TOML file")]
Over = Annotated[list[Path] | None, typer.Option("-c", "--config", help="a TOML file laid over the recipe")]
Preset = Annotated[
    str | None,
    typer.Option(help="fast: the probe; good: fine-tuning too, within --budget (default 30m); best: more epochs, views and members"),
]
Profile = Annotated[str | None, typer.Option(help="a profile of the recipe, as cpu; full is the recipe itself")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="key=value, as train.epochs=3")]
IdColumn = Annotated[str | None, typer.Option("--id", help=OPTIONS["id"].help)]
PathColumns = Annotated[list[str] | None, typer.Option("--path", help=OPTIONS["path"].help)]
GroupColumn = Annotated[str | None, typer.Option("--group", help=OPTIONS["group"].help)]
SequenceColumn = Annotated[str | None, typer.Option("--sequence", help=OPTIONS["sequence"].help)]
PositionColumn = Annotated[str | None, typer.Option("--position", help=OPTIONS["position"].help)]
Layout = Annotated[str | None, typer.Option("--layout", help=OPTIONS["layout"].help)]
OnBad = Annotated[str | None, typer.Option("--on-bad", help=OPTIONS["on_bad"].help)]
LAYERS = {"recipe": RecipeName, "config": Over, "profile": Profile, "set": Sets}


def flag(name: str) -> Any:
    """Return the type, name and help of an option of :data:`~tapetum.core.options.OPTIONS` as typer takes them."""
    one = OPTIONS[name]
    kinds: dict[type, Any] = {bool: bool, list: list[str] | None}
    return Annotated[kinds.get(one.kind, one.kind | None), typer.Option(f"--{name.replace('_', '-')}", help=one.help)]


def with_recipe(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command ``--recipe``, ``-c``, ``--profile``, ``--set`` and some options of a recipe; it gets what they make as ``recipe``.

    A flag that the command declares itself goes to both.
    """

    def wrap(command: Callable[..., Any]) -> Callable[..., Any]:
        parameters = {name: one for name, one in inspect.signature(command, eval_str=True).parameters.items() if name != "recipe"}
        shared = {**{name: flag(name) for name in names}, **LAYERS}

        @functools.wraps(command)
        def run(**given: Any) -> Any:
            recipe = _load(given, to_keys({name: given[name] for name in OPTIONS if name in names}))
            return command(**{name: given[name] for name in parameters}, recipe=recipe)

        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "online" else None, annotation=option)
            for name, option in shared.items()
            if name not in parameters
        ]
        vars(run)["__signature__"] = inspect.Signature([*parameters.values(), *added])  # typer reads a command's options from it
        return run

    return wrap


def _load(given: dict[str, Any], flags: dict[str, Any]) -> Any:
    from tapetum import api

    layers = {"profile": given["profile"], "preset": given.get("preset"), "sets": given["set"] or ()}
    return api.load_recipe(given["recipe"], over=given["config"] or (), flags=flags, **layers)
