"""The options that set one value of a recipe: ``--target`` of the command line, ``target=`` of the Python API. One table serves both."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tapetum.core.errors import KindError, UserError
from tapetum.core.nested import flatten


def several(value: Any) -> list[Any]:
    """Return a value as a list: a text, a path or a number alone is a list of one, and None an empty one."""
    if value is None:
        return []
    if isinstance(value, (str, bytes, os.PathLike, Mapping)) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def _named(given: Any) -> dict[str, str]:
    if isinstance(given, Mapping):
        return dict(given)
    texts = several(given)
    pairs = [(name.strip(), expression.strip()) for name, _, expression in (text.partition("=") for text in texts)]
    for text, (name, expression) in zip(texts, pairs, strict=True):
        if not name or not expression:
            raise UserError(f"--derive {text!r} cannot be read", need="NAME=EXPRESSION, as ans=mask*6+gender*3+age")
    return dict(pairs)


def _weights(given: Any) -> str:
    text = str(given)
    return text if text in ("auto", "none", "hub") or ":" in text else f"local-dir:{text}"


def _number(given: Any) -> Any:
    return int(given) if isinstance(given, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", given) else given


@dataclasses.dataclass(frozen=True)
class Option:
    """An option that sets one value of a recipe.

    Args:
        key: of the recipe.
        kind: of a value on the command line: ``str``, ``int``, ``float``, ``bool``, or ``list`` (of texts).
        help: for the command line.
        read: makes the recipe's value of what was given; None leaves the recipe as it is.
    """

    key: str
    kind: type
    help: str
    read: Callable[[Any], Any] = lambda given: given


OPTIONS = {
    "target": Option("data.targets", list, "NAME, NAME:multi, NAME:ordinal=low<high, NAME:regression=30,60"),
    "derive": Option("data.derive", list, "a target composed of others, as 'ans=mask*6+gender*3+age'", _named),
    "id": Option("data.id", str, "the id column"),
    "path": Option(
        "data.path",
        list,
        "the path column, a template as 'train/{Id}_{red,green}.png', or several (repeat it)",
        lambda given: given[0] if len(given) == 1 else given,
    ),
    "group": Option("data.group", str, "the column of groups, which never cross folds"),
    "sequence": Option("data.sequence", str, "the column of sequences (exams, nights)"),
    "position": Option("data.position", str, "the column of the place in the sequence"),
    "layout": Option("data.layout", str, "how the data are laid out; auto recognises it"),
    "on_bad": Option("data.on_bad", str, "refuse or skip images that cannot be read"),
    "test": Option("data.test", list, "a table of test rows"),
    "extra": Option("data.extra", list, "a table of rows that train and never score"),
    "join": Option("data.join", list, "a table whose columns are joined by id"),
    "side": Option("data.side", list, "a column of tabular features"),
    "pseudo": Option("data.pseudo", str, "a Predictions file whose confident rows train"),
    "folds": Option("split.folds", int, "number of folds (default 5)"),
    "holdout": Option("split.holdout", float, "one quick split: the share held out, as 0.2"),
    "backbone": Option("model.backbone", str, "any timm model"),
    "online": Option("model.weights", bool, "allow weights from the hub", lambda given: "hub" if given else None),
    "weights": Option("model.weights", str, "auto, none, or a folder (local-dir:PATH)", _weights),
    "size": Option("input.size", int, "side of the image in pixels"),
    "epochs": Option("train.epochs", int, "epochs of fine-tuning; 0 for the probe alone"),
    "batch": Option("train.batch", str, "images in a batch, or auto", _number),
    "saliency": Option("predict.saliency", str, "maps of the worst answers: gradient, loss, integrated or gradcam"),
    "track": Option("track.to", list, "a tracker that gets the curves, too: tensorboard or mlflow (needs the extra track)"),
    "seed": Option("seed", int, "random seed"),
}
READING = ("target", "derive", "id", "path", "group", "sequence", "position", "layout", "on_bad")
SPLITTING = ("folds", "holdout", "seed")
ADDING = ("test", "extra", "join", "side", "pseudo")
NETWORK = ("backbone", "weights", "online", "size")
TRAINING = (*NETWORK, "epochs", "batch")
MODELS = (*TRAINING, "saliency")
_LISTS = {one.key for one in OPTIONS.values() if one.kind is list} - {"data.path", "data.derive"}


def to_keys(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted recipe key → value of keyword arguments.

    Args:
        given: names of :data:`OPTIONS`, or recipe keys with ``__`` for dots (``train__epochs``, ``augment``); None leaves the recipe
            as it is. Where the recipe wants a list, one value is enough. ``sets`` is a table of dotted keys.

    Raises:
        UserError: two of them set one key, each to another value.
        KindError: ``sets`` is no table.
    """
    found: dict[str, Any] = {}
    setter: dict[str, tuple[str, Any]] = {}  # every key that was set → what set it, and the value
    for name, value in _with_sets(given):
        if value is None:
            continue
        option = OPTIONS.get(name)
        if option is None or (isinstance(value, Mapping) and option.kind is not list):  # a section, as sequence={"length": 5}
            key, read = name.replace("__", "."), value
        else:
            key, read = option.key, option.read(_plain(several(value) if option.kind is list and name != "derive" else value))
        if read is not None and not (option is not None and option.kind is list and read in ([], ())):
            found[key] = _plain(several(read) if key in _LISTS else read)
            shown = name if option is None else f"--{name.replace('_', '-')}"
            for leaf, one in flatten({key: found[key]}):
                other, before = setter.setdefault(leaf, (shown, one))
                if before != one:
                    raise UserError(f"{other} and {shown} both set {leaf}, to {before!r} and {one!r}", need="one of them")
    return found


def _with_sets(given: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Yield (name, value) of keyword arguments, and those of the table ``sets`` after them; ``online`` only allows, ``weights`` names."""
    left_out = {"sets"} if given.get("weights") is None else {"sets", "online"}
    yield from ((name, value) for name, value in given.items() if name not in left_out)
    sets = given.get("sets")
    if sets is not None and not (isinstance(sets, Mapping) and all(isinstance(key, str) for key in sets)):
        raise KindError(f"sets is {sets!r}", need="recipe keys and their values, as {'train.batch': 8}")
    yield from ((key.replace(".", "__"), value) for key, value in (sets or {}).items())


def _plain(value: Any) -> Any:
    """Return a value as TOML could hold it: paths as text, numbers of numpy as Python's."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "ndim", 0) else value
