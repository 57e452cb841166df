"""Systems: what one adds to Tapetum (layouts, a simulator, recipes, statements), and where those of all packages are found.

Our own systems are named in ``tapetum/systems/choices.py``. Another package declares its own as an entry point of the group
``tapetum.systems`` that leads to a :class:`System`. A system names its functions as ``"package.module:function"``, so nothing is
imported before it is used and no lower package imports a system.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Mapping
from importlib import metadata, resources
from importlib.resources.abc import Traversable

from tapetum.core.choices import load as named
from tapetum.core.errors import UserError, closest, listed

GROUP = "tapetum.systems"
OWN, GENERAL_LAYOUTS = "tapetum.systems.choices:SYSTEMS", "tapetum.data.choices:LAYOUTS"  # read by name: core imports neither


@dataclasses.dataclass(frozen=True)
class System:
    """A data set with its own layout, and the recipes that are run on it.

    Args:
        name: what ``tapetum simulate`` calls it.
        package: the importable package whose ``*.toml`` are its recipes; a ``statements.csv`` in it lists what its write-up states.
        layouts: layout → ``"package.module:read"``; the module has ``recognise`` too, and ``write`` where it can be written.
        simulator: ``"package.module:function"`` that writes synthetic data for all its recipes, or None.
        template: the file beside the data that says what a submission must look like.
        truth: columns of the simulator's truth.csv: of the answer, and of the groups (None: each row is its own).
    """

    name: str
    package: str
    layouts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    simulator: str | None = None
    template: str = "sample_submission.csv"
    truth: tuple[str, str | None] = ("label", None)

    def recipes(self) -> dict[str, Traversable]:
        """Return its recipes: name → file."""
        return recipes_in(self.package)


@functools.lru_cache(maxsize=1)
def find_systems() -> Mapping[str, System]:
    """Return every system by its name: our own, then those of other packages.

    A system of another package that cannot be imported, or that takes a name in use, is left out with a warning: everything else works
    without it.
    """
    found: dict[str, System] = dict(named(OWN))
    for point in sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name):
        try:
            system: System = point.load()
            problem = _problem(system, found)
        except Exception as error:  # another package's code: whatever it raises, ours goes on
            problem = f"it cannot be imported ({type(error).__name__}: {error})"
        if problem is not None:
            warnings.warn(f"the system {point.name!r} ({point.value}) is left out: {problem}", stacklevel=2)
        else:
            found[system.name] = system
    return found


def find_recipes() -> dict[str, Traversable]:
    """Return every recipe that has a name, sorted: those of no system, and those of each system."""
    found = recipes_in("tapetum.recipes")
    for system in find_systems().values():
        found.update(system.recipes())
    return dict(sorted(found.items()))


def system_with(recipe: str) -> System | None:
    """Return the system that has a recipe, or None."""
    return next((system for system in find_systems().values() if recipe in system.recipes()), None)


def reference_system(recipe: str) -> System:
    """Return the system that has a recipe.

    Raises:
        UserError: there is none.
    """
    system = system_with(recipe)
    if system is None:
        known = [name for name in find_recipes() if system_with(name) is not None]
        near = closest(recipe, known)
        tail = f". Did you mean {near!r}?" if near else ""
        raise UserError(f"there is no reference system {recipe!r} (there are: {listed(known)}){tail}", fix="see: tapetum recipes")
    return system


def recipes_in(package: str) -> dict[str, Traversable]:
    """Return the recipes of a package: name → file."""
    return {p.name.removesuffix(".toml"): p for p in resources.files(package).iterdir() if p.name.endswith(".toml")}


def _problem(system: object, found: Mapping[str, System]) -> str | None:
    """Return why a system cannot be taken, or None."""
    if not isinstance(system, System):
        return f"it is a {type(system).__name__}; needed: a tapetum.core.registry.System"
    recipes = {*recipes_in("tapetum.recipes"), *(name for one in found.values() for name in one.recipes())}
    layouts = {*named(GENERAL_LAYOUTS), *(name for one in found.values() for name in one.layouts)}
    for what, names, used in (
        ("system", {system.name}, set(found)),
        ("layout", set(system.layouts), layouts),
        ("recipe", set(system.recipes()), recipes),
    ):
        if doubled := sorted(names & used):
            return f"there is a {what} {doubled[0]!r} already; needed: a name of its own"
    return None
