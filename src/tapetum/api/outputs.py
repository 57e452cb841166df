"""Places that a function of the API writes to: one that cannot be written is refused before any work is done."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from tapetum.core import locks
from tapetum.core.disk import Kind, refuse_unwritable
from tapetum.core.places import free_folder

Given = ParamSpec("Given")
Made = TypeVar("Made")


def writes(**kinds: Kind) -> Callable[[Callable[Given, Made]], Callable[Given, Made]]:
    """Let a function refuse places that it could not write at its end.

    Args:
        kinds: argument → what is written there; where it is None the function has a place of its own.
    """

    def wrap(function: Callable[Given, Made]) -> Callable[Given, Made]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def run(*given: Given.args, **named: Given.kwargs) -> Made:
            found = signature.bind(*given, **named).arguments
            for name, kind in kinds.items():
                if found.get(name) is not None:
                    refuse_unwritable(found[name], kind)
            return function(*given, **named)

        return run

    return wrap


def run_folder(out: Path | str | None, otherwise: str) -> Path:
    """Return the folder of a run, a new one where none is named; one that cannot be written or that another process holds is refused."""
    place = free_folder(otherwise) if out is None else Path(out)
    refuse_unwritable(place, "folder")
    return locks.refuse_held(place)
