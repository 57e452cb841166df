"""Arguments and options that several commands take, each declared once, and the flags that set values of a recipe."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from tapetum.core.errors import UserError

Data = Annotated[Path, typer.Argument(help="a folder of class folders, a table (CSV, Parquet) or a layout's folder")]
RunFolder = Annotated[Path, typer.Argument(help="a run folder")]
Out = Annotated[Path, typer.Option("-o", "--out", help="where to write")]
NowAt = Annotated[Path | None, typer.Option("--data", help="of a run: where its data are now, if they moved")]
Member = Annotated[str | None, typer.Option(help="which member, where there are several")]
OneTarget = Annotated[str | None, typer.Option(help="which one, where there are several")]
MetricName = Annotated[str, typer.Option(help="auto: the target's default")]
Budget = Annotated[str | None, typer.Option(help="wall time for this start, as 90s, 10m, 2h")]
Targets = Annotated[list[str] | None, typer.Option("--target", help="NAME, NAME:multi, NAME:ordinal=low<high, NAME:regression=30,60")]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="a built-in recipe or a TOML file")]
Over = Annotated[list[Path] | None, typer.Option("-c", "--config", help="a TOML file laid over the recipe")]
Preset = Annotated[
    str | None,
    typer.Option(help="fast: the probe; good: fine-tuning too, within --budget (default 30m); best: more epochs, views and members"),
]
Profile = Annotated[str | None, typer.Option(help="a profile of the recipe, as cpu; full is the recipe itself")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="key=value, as train.epochs=3")]
IdColumn = Annotated[str | None, typer.Option("--id", help="the id column")]
PathColumns = Annotated[
    list[str] | None, typer.Option("--path", help="the path column, a template as 'train/{Id}_{red,green}.png', or several (repeat it)")
]
GroupColumn = Annotated[str | None, typer.Option("--group", help="the column of groups, which never cross folds")]
SequenceColumn = Annotated[str | None, typer.Option("--sequence", help="the column of sequences (exams, nights)")]
PositionColumn = Annotated[str | None, typer.Option("--position", help="the column of the place in the sequence")]
Layout = Annotated[str | None, typer.Option("--layout", help="how the data are laid out; auto recognises it")]
OnBad = Annotated[str | None, typer.Option("--on-bad", help="refuse or skip images that cannot be read")]
LAYERS = {"recipe": RecipeName, "config": Over, "profile": Profile, "set": Sets}


def _named(texts: list[str]) -> dict[str, str]:
    pairs = [(name.strip(), expression.strip()) for name, _, expression in (text.partition("=") for text in texts)]
    for text, (name, expression) in zip(texts, pairs, strict=True):
        if not name or not expression:
            raise UserError(f"--derive {text!r} cannot be read", need="NAME=EXPRESSION, as ans=mask*6+gender*3+age")
    return dict(pairs)


def _weights(text: str) -> str:
    return text if text in ("auto", "none", "hub") or ":" in text else f"local-dir:{text}"


def _number(text: str) -> int | str:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text


class Flag(NamedTuple):
    """A flag that sets one value of a recipe.

    Args:
        key: of the recipe.
        option: its type, names and help.
        read: makes the recipe's value of what was given; None leaves the recipe as it is.
    """

    key: str
    option: Any
    read: Callable[[Any], Any] = lambda given: given


FLAGS = {
    "target": Flag("data.targets", Targets),
    "derive": Flag(
        "data.derive",
        Annotated[list[str] | None, typer.Option("--derive", help="a target composed of others, as 'ans=mask*6+gender*3+age'")],
        _named,
    ),
    "id": Flag("data.id", IdColumn),
    "path": Flag("data.path", PathColumns, lambda given: given[0] if len(given) == 1 else given),
    "group": Flag("data.group", GroupColumn),
    "sequence": Flag("data.sequence", SequenceColumn),
    "position": Flag("data.position", PositionColumn),
    "layout": Flag("data.layout", Layout),
    "on_bad": Flag("data.on_bad", OnBad),
    "test": Flag("data.test", Annotated[list[str] | None, typer.Option(help="a table of test rows")]),
    "extra": Flag("data.extra", Annotated[list[str] | None, typer.Option(help="a table of rows that train and never score")]),
    "join": Flag("data.join", Annotated[list[str] | None, typer.Option(help="a table whose columns are joined by id")]),
    "side": Flag("data.side", Annotated[list[str] | None, typer.Option(help="a column of tabular features")]),
    "pseudo": Flag("data.pseudo", Annotated[str | None, typer.Option(help="a Predictions file whose confident rows train")]),
    "folds": Flag("split.folds", Annotated[int | None, typer.Option(help="number of folds (default 5)")]),
    "holdout": Flag("split.holdout", Annotated[float | None, typer.Option(help="one quick split: the share held out, as 0.2")]),
    "backbone": Flag("model.backbone", Annotated[str | None, typer.Option(help="any timm model")]),
    "online": Flag(
        "model.weights",
        Annotated[bool, typer.Option("--online", help="allow weights from the hub")],
        lambda given: "hub" if given else None,
    ),
    "weights": Flag("model.weights", Annotated[str | None, typer.Option(help="auto, none, or a folder (local-dir:PATH)")], _weights),
    "size": Flag("input.size", Annotated[int | None, typer.Option(help="side of the image in pixels")]),
    "epochs": Flag("train.epochs", Annotated[int | None, typer.Option(help="epochs of fine-tuning; 0 for the probe alone")]),
    "batch": Flag(
        "train.batch",
        Annotated[str | None, typer.Option(help="images in a batch, or auto")],
        _number,
    ),
    "saliency": Flag(
        "predict.saliency",
        Annotated[str | None, typer.Option(help="maps of the worst answers: gradient, loss, integrated or gradcam")],
    ),
    "seed": Flag("seed", Annotated[int | None, typer.Option(help="random seed")]),
}
READING = ("target", "derive", "id", "path", "group", "sequence", "position", "layout", "on_bad")
SPLITTING = ("folds", "holdout", "seed")


def with_recipe(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command ``--recipe``, ``-c``, ``--profile``, ``--set`` and some :data:`FLAGS`; it gets what they make as ``recipe``.

    A flag that the command declares itself goes to both.
    """

    def wrap(command: Callable[..., Any]) -> Callable[..., Any]:
        parameters = {name: one for name, one in inspect.signature(command, eval_str=True).parameters.items() if name != "recipe"}
        shared = {**{name: FLAGS[name].option for name in names}, **LAYERS}

        @functools.wraps(command)
        def run(**given: Any) -> Any:
            flags = {FLAGS[name].key: value for name in FLAGS if name in names and (value := _read(name, given[name])) is not None}
            recipe = _load(given, flags)
            return command(**{name: given[name] for name in parameters}, recipe=recipe)

        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False if name == "online" else None, annotation=option)
            for name, option in shared.items()
            if name not in parameters
        ]
        vars(run)["__signature__"] = inspect.Signature([*parameters.values(), *added])  # typer reads a command's options from it
        return run

    return wrap


def _read(name: str, given: Any) -> Any:
    return None if given in (None, [], ()) else FLAGS[name].read(given)


def _load(given: dict[str, Any], flags: dict[str, Any]) -> Any:
    from tapetum import api

    layers = {"profile": given["profile"], "preset": given.get("preset"), "sets": given["set"] or ()}
    return api.load_recipe(given["recipe"], over=given["config"] or (), flags=flags, **layers)
