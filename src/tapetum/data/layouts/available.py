"""Every layout by its name, general ones and those of systems, and what their modules declare.

A layout's module has ``recognise`` and ``read``, and ``write`` where it can be written. It may also declare ``CLASS_FOLDERS = True`` (the
label of an image is the folder that it lies in, and nothing else is known of it) and ``SAMPLE = "{Id}_{red,green}.png"`` (the files of one
sample).
"""

from __future__ import annotations

import importlib
from types import ModuleType

from tapetum.core.choices import Choice, pick
from tapetum.core.registry import find_systems
from tapetum.data.choices import LAYOUTS


def layouts() -> dict[str, Choice]:
    """Return layout → where it is read, in the order in which ``auto`` asks: what is special before what is general."""
    special = {name: Choice(where) for system in find_systems().values() for name, where in system.layouts.items()}
    return {"frame": LAYOUTS["frame"], **special, **LAYOUTS}


def module(layout: str) -> ModuleType:
    """Return the module of a layout.

    Raises:
        UserError: an unknown layout; the nearest name is offered.
    """
    choice, _ = pick(layout, layouts(), "layout")
    return importlib.import_module(choice.where.partition(":")[0])


def system_of(layout: str) -> str | None:
    """Return the system whose data a layout is of, or None for a general one."""
    return next((name for name, system in find_systems().items() if layout in system.layouts), None)


def is_class_folders(layout: str) -> bool:
    """Tell whether a layout is a folder of images whose folders are their labels."""
    return layout in layouts() and bool(getattr(module(layout), "CLASS_FOLDERS", False))


def sample_files(layout: str) -> str | None:
    """Return the template by which several files make a sample of this layout, or None."""
    return getattr(module(layout), "SAMPLE", None) if layout in layouts() else None
