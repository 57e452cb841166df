"""Recipes: load one from its name or file with what lies over it, list those that have a name, and explain every value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tapetum.core import config, kept_json
from tapetum.core.config import Loaded, Recipe
from tapetum.core.errors import UserError, closest, for_python, listed
from tapetum.core.options import OPTIONS, several, to_keys
from tapetum.core.registry import find_recipes
from tapetum.core.runs import Run

Texts = str | Path | Sequence[str | Path]  # one, or several


@for_python
def load_recipe(
    recipe: str | Path | None = None,
    *,
    over: Texts = (),
    profile: str | None = None,
    preset: str | None = None,
    flags: Mapping[str, Any] | None = None,
    sets: str | Sequence[str] = (),
) -> Loaded:
    """Return a checked recipe with the origin of each value; see :func:`tapetum.core.config.load`."""
    from tapetum.workflow.choices import ALL

    return config.load(recipe, over=several(over), profile=profile, preset=preset, flags=flags, sets=several(sets), choices=ALL)


def recipes() -> dict[str, str]:
    """Return the recipes that have a name, and the first line of each without its name."""
    lines = {name: path.read_text(encoding="utf-8").partition("\n")[0] for name, path in find_recipes().items()}
    return {name: line.removeprefix("# ").removeprefix(f"{name}: ") for name, line in lines.items()}


def explain(
    recipe: str | Path | None = None, *, over: Texts = (), profile: str | None = None, sets: str | Sequence[str] = ()
) -> Iterator[tuple[str, Any, str]]:
    """Yield (key, value, origin) of every value of a recipe, or of a run's."""
    if recipe is not None and Path(recipe).is_dir():
        for row in kept_json.read_list(Run.existing(recipe).checked().file("origin.json")):
            yield row["key"], row["value"], row["origin"]
        return
    yield from load_recipe(recipe, over=over, profile=profile, sets=sets).explain()


def recipe_of(recipe: Loaded | str | Path | None, options: Mapping[str, Any], **layers: Any) -> Loaded:
    """Return the recipe that a function of the API was given.

    Args:
        recipe: from :func:`load_recipe`, a name or a file; None for the defaults.
        options: names of :data:`tapetum.core.options.OPTIONS`, or recipe keys with ``__`` for dots.
        layers: ``over``, ``profile`` and ``preset``, as for :func:`load_recipe`.

    Raises:
        UserError: an argument that is neither an option nor a recipe key; or a loaded recipe, which cannot be changed any more, and
            something to be laid over it.
    """
    _refuse_unknown(options, layers)
    flags = to_keys(options)
    if not isinstance(recipe, Loaded):
        return load_recipe(recipe, flags=flags, **layers)
    given = [*(name for name, value in layers.items() if value not in (None, ())), *flags]
    if given:
        raise UserError(f"a loaded recipe and {listed(given)} were given", fix="set them when loading the recipe")
    return recipe


def _refuse_unknown(options: Mapping[str, Any], layers: Iterable[str]) -> None:
    """Refuse an argument that no option and no section of a recipe is called; keys with ``__`` are checked with the recipe."""
    known = {*OPTIONS, *Recipe.model_fields, *layers, "recipe", "config", "sets"}
    for name in options:
        if name not in known and "__" not in name and "." not in name:
            near = closest(name, sorted(known))
            tail = f" Did you mean {near!r}?" if near else " See: help(tapetum.api.fit)"
            raise UserError(f"there is no argument {name!r}.{tail}")
