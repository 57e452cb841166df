"""A choice: a name in a recipe, the function behind it, and what may be set of it.

Packages list theirs in ``choices.py`` files that import nothing heavy, so that checks and ``explain`` answer at once; a test
compares the lists with the functions' signatures.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from tapetum.core.bounds import Range, refusal
from tapetum.core.errors import UserError, listed, nearest


class Choice:
    """Where a piece lives and which parameters a recipe may set.

    Args:
        where: ``"package.module:function"``.
        kinds: the target kinds it can serve; empty for all.
        limits: parameter → its range, where :data:`tapetum.core.bounds.LIMITS` does not say it.
        parameters: name → default.
    """

    def __init__(self, where: str, *, kinds: tuple[str, ...] = (), limits: Mapping[str, Range] | None = None, **parameters: Any) -> None:
        self.where, self.kinds, self.parameters, self.limits = where, kinds, parameters, limits or {}

    def load(self) -> Callable[..., Any]:
        """Import the module and return the function or class."""
        function: Callable[..., Any] = load(self.where)
        return function

    def __repr__(self) -> str:
        return f"Choice({self.where!r}, {self.parameters})"


def load(where: str) -> Any:
    """Return what ``"package.module:name"`` names.

    Raises:
        UserError: the module or the name in it does not exist.
    """
    module, _, name = where.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise UserError(f"{where!r} cannot be imported ({error})", need="'package.module:function'") from None
    except AttributeError:
        raise UserError(f"module {module!r} has no {name!r}", need="'package.module:function'") from None


def name_of(spec: str | Mapping[str, Any]) -> str:
    """Return the name of a choice as a recipe gives it: by itself, or in a table with its parameters."""
    return spec if isinstance(spec, str) else str(spec["name"])


def pick(spec: str | Mapping[str, Any], choices: Mapping[str, Choice], what: str) -> tuple[Choice, dict[str, Any]]:
    """Return the choice that a recipe's value names, and its parameters filled with defaults.

    Args:
        spec: ``"name"``, ``"package.module:function"`` or ``{"name": …, parameter: value}``.
        choices: the package's table.
        what: what is being chosen, for the error (``"loss"``).

    Raises:
        UserError: an unknown name or parameter (the nearest one is offered), or a number out of its range.
    """
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "name" not in given:
        raise UserError(f"{what} {given} has no name", need=f"name = one of {listed(choices)}")
    name = str(given.pop("name"))
    if name not in choices:
        if ":" in name:
            return Choice(name, **given), given
        raise UserError(f"there is no {what} {name!r} (there are: {listed(choices, 40)}).{nearest(name, choices)}")
    choice = choices[name]
    for key in given:
        if key not in choice.parameters:
            raise UserError(
                f"{what} {name!r} has no parameter {key!r} (it has: {listed(choice.parameters) or 'none'})."
                f"{nearest(key, choice.parameters)}"
            )
        if need := refusal(key, given[key], choice.parameters[key], choice.limits):
            raise UserError(f"{what} {name!r} has {key} = {given[key]!r}", need=need)
    return choice, {**choice.parameters, **given}
