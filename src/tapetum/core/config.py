"""The recipe: every value that decides what a run does, typed (``sections``), checked, and with the place it came from.

Values are laid over one another in this order: defaults, the recipe, ``-c`` files, the profile, the preset, flags, ``--set``. Tables
merge key by key, everything else (lists too) is replaced. ``[[member]]`` tables then override sections for one member of the ensemble.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tapetum.core import checking, files, members, presets
from tapetum.core.choices import Choice, pick
from tapetum.core.errors import UserError, listed, nearest
from tapetum.core.nested import flatten, merge, unflatten
from tapetum.core.registry import find_recipes
from tapetum.core.renamed import with_new_names
from tapetum.core.sections import (
    Average,
    Data,
    Decide,
    Input,
    Loss,
    Memory,
    Model,
    Optimizer,
    Predict,
    Probe,
    Schedule,
    Section,
    SequenceConfig,
    Spec,
    Split,
    Stage,
    Track,
    Train,
    Tune,
)
from tapetum.core.toml import assignment, dump_toml, read_toml

TRAINED = "trained-"  # before a hash that leaves out decisions
_UNTRAINED = {"name", "profile", "statements", "track", "tune", "decide", "member"}


class Recipe(Section):
    """All sections; see the classes of the same names."""

    name: str = "default"  # name of the recipe
    seed: int = Field(0, ge=0)  # random seed
    data: Data = Data()
    split: Split = Split()
    input: Input = Input()
    augment: tuple[Spec, ...] = ("hflip", {"name": "resized_crop", "scale": [0.6, 1.0]})  # augmentations in order
    mix: tuple[Spec, ...] = ()  # mixing of images within a batch
    sample: Spec = "shuffle"  # the rows of an epoch and their order
    model: Model = Model()
    sequence: SequenceConfig = SequenceConfig()
    loss: Loss = Loss(smoothing=0.1)
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    train: Train = Train()
    stages: tuple[Stage, ...] = ()  # parts of training, each with values of its own
    probe: Probe = Probe()
    average: Average = Average()
    memory: Memory = Memory()
    predict: Predict = Predict()
    decide: Decide = Decide()
    track: Track = Track()
    tune: Tune = Tune()
    statements: dict[str, str] = Field(default_factory=dict)  # statement of a write-up → the recipe keys that implement it
    profile: dict[str, dict[str, Any]] = Field(default_factory=dict)  # name → values laid over the recipe, as [profile.cpu]
    # [[member]] tables: members of an ensemble, each with a name and values of its own; only_folds = [0] limits the folds,
    # enabled = false leaves the member out
    member: tuple[dict[str, Any], ...] = ()

    @classmethod
    def stored(cls, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe of values that this or an earlier version stored, as in a fold's ``spec.json``."""
        return cls.model_validate(with_new_names(values))

    def members(self, *, off: bool = False) -> dict[str, Recipe]:
        """Return one resolved recipe a member; without ``[[member]]`` tables there is one, named ``main``.

        Members that are not enabled are checked like the others, and returned too with ``off``.
        """
        if not self.member:
            return {"main": self.seeing({}, "main")}
        base = self.model_dump(mode="python", exclude={"member", "profile"})
        every: dict[str, Recipe] = {}
        on: list[str] = []
        for table in self.member:
            name = members.name_of(table)
            members.check(table)
            values = {k: v for k, v in table.items() if k not in members.OWN_KEYS}
            every[name] = _watching(validated({**merge(base, values), "name": self.name}, where=f"member {name!r}: "), values)
            on += [name] if table.get("enabled", True) else []
        if len({name.casefold() for name in every}) != len(self.member):  # a folder is called so, and some systems know no case
            raise UserError("two [[member]] tables have the same name", need="a name of its own for each")
        if not on:
            raise UserError("no [[member]] is enabled", need="enabled = true in one or more")
        running = {name: every[name].seeing({n: every[n] for n in on}, name) for name in on}
        others = {name: recipe.seeing(every, name) for name, recipe in every.items() if name not in on}
        return {**running, **others} if off else running

    def seeing(self, members: Mapping[str, Recipe], name: str) -> Recipe:
        """Return this member as it sees images: a sequence model that takes another member's features sees as that one does."""
        source = self.sequence.features
        if self.sequence.length == 1 or source in ("end-to-end", "frozen"):
            return self
        before = list(members)[: list(members).index(name)] if name in members else []
        if source not in before or members[source].sequence.length > 1:
            raise UserError(
                f"member {name!r} takes its features from {source!r}",
                need=f"'frozen', 'end-to-end' or a member before it that takes single images (there are: {listed(before) or 'none'})",
            )
        other = members[source]
        kept = {"head": self.model.head, "heads": self.model.heads, "targets": self.model.targets}
        return self.model_copy(update={"model": other.model.model_copy(update={**kept, "sharing": "hard"}), "input": other.input})

    def only_folds(self, member: str) -> tuple[int, ...] | None:
        """Return the folds on which a member runs; None for all."""
        for table in self.member:
            if members.name_of(table) == member and "only_folds" in table:
                return tuple(table["only_folds"])
        return None

    def hash(self) -> str:
        """Return a short hash of every value that decides results."""
        return files.fingerprint(self.model_dump(mode="json", exclude={"profile", "statements", "track"}))

    def trained_hash(self) -> str:
        """Return a short hash of the values that decide what a fold learns; decisions and the members beside it may change later."""
        return TRAINED + files.fingerprint(self.model_dump(mode="json", exclude=_UNTRAINED))

    def to_toml(self) -> str:
        """Return the recipe with every value written out."""
        return dump_toml(self.model_dump(mode="json", exclude={"profile"}))


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A recipe and where each value came from.

    Args:
        recipe: the checked recipe.
        origin: dotted key → default, recipe, file, profile or flag.
    """

    recipe: Recipe
    origin: dict[str, str]

    def explain(self) -> Iterator[tuple[str, Any, str]]:
        """Yield (dotted key, value, origin) for every value, in the order of the sections."""
        for key, value in flatten(self.recipe.model_dump(mode="json", exclude={"profile"})):
            yield key, value, _origin_of(key, self.origin)


def load(
    recipe: str | Path | None = None,
    *,
    over: Sequence[str | Path] = (),
    profile: str | None = None,
    preset: str | None = None,
    flags: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    choices: Mapping[str, Mapping[str, Choice]] | None = None,
    stored: bool = False,
) -> Loaded:
    """Read and check a recipe.

    Args:
        recipe: the name of a built-in recipe, or a TOML file; None for the defaults.
        over: TOML files laid over it.
        profile: a table of ``[profile.NAME]`` in the recipe, laid over those; ``full`` is the recipe itself.
        preset: a name of :data:`tapetum.core.presets.PRESETS`, laid over those; members of the recipe stay.
        flags: dotted key → value, from the command line.
        sets: ``key=value`` with TOML values, from ``--set``.
        choices: section → the package's table, so that names and parameters are checked now.
        stored: whether ``recipe`` is the file of a run: keys that an earlier version called otherwise are read under their names of today.

    Raises:
        UserError: an unknown recipe, profile, key, name or value; the nearest right one is offered.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def lay(table: Mapping[str, Any], source: str) -> None:
        nonlocal values
        by_name = table.get("member")
        if isinstance(by_name, Mapping):  # by name: over that member's values; a list takes the place of all members
            table = {**table, "member": members.laid_over(values.get("member", ()), by_name)}
        values = merge(values, table)
        origin.update({key: source for key, _ in flatten(table)})

    if recipe is not None:
        path = find_recipe(recipe)
        table = read_toml(path)
        lay(with_new_names(table) if stored else table, f"recipe {Path(str(path)).stem}")
    for file in over:
        lay(read_toml(Path(file)), f"file {file}")
    if profile is not None and profile != "full":
        profiles = values.get("profile", {})
        if not isinstance(profiles, Mapping) or not isinstance(profiles.get(profile, {}), Mapping):
            raise UserError(f"the recipe has profile = {profiles!r}", need=f"a table of values for each profile, as [profile.{profile}]")
        if profile not in profiles:
            raise UserError(f"there is no profile {profile!r} (there are: {listed(['full', *profiles])}).{nearest(profile, profiles)}")
        lay(profiles[profile], f"profile {profile}")
    if preset is not None:
        wanted = {key: value for key, value in presets.preset(preset).values.items() if key != "member" or not values.get("member")}
        lay(unflatten(wanted), f"preset {preset}")
    given = unflatten({k: v for k, v in (flags or {}).items() if v is not None})
    # flags by themselves: what a --set lays over a wrong one does not make it right; values of members are checked with their recipes
    validated({key: value for key, value in given.items() if key != "member" or not isinstance(value, Mapping)})
    lay(given, "flag")
    texts: dict[str, str] = {}
    for text in sets:
        lay(assignment(text), "--set")
        texts[text.partition("=")[0].strip()] = text.partition("=")[2].strip()
    values.pop("origin", None)
    checked = validated(values, texts)
    if choices is not None:
        for member in checked.members(off=True).values():
            check_choices(member, choices)
    return Loaded(checked, origin)


def check_choices(recipe: Recipe, choices: Mapping[str, Mapping[str, Choice]]) -> None:
    """Refuse names and parameters that no package knows. ``choices`` keys are dotted recipe keys (``optimizer``, ``augment``, …)."""
    for key, table in choices.items():
        value: Any = recipe
        for part in key.split("."):
            value = getattr(value, part)
        by_target = isinstance(value, dict) and key == "model.heads"  # any other table is one choice with its parameters
        specs = value if isinstance(value, tuple) else list(value.values()) if by_target else [value]
        if key == "loss.options":
            specs = [{"name": name, **options} for name, options in value.items()]
        if key == "schedule":
            specs = [value, *(stage.schedule for stage in recipe.stages if stage.schedule is not None)]
        for spec in specs:
            if isinstance(spec, Section):
                values = spec.model_dump()
                pick({"name": values["name"], **values.get("options", {})}, table, key)
            elif spec is not None:
                pick(spec, table, key)


def assignments(sets: Sequence[str]) -> dict[str, Any]:
    """Return dotted key → value of ``key=value`` texts, as ``--set`` reads them."""
    return {key: value for text in sets for key, value in flatten(assignment(text))}


def find_recipe(name: str | Path) -> Any:
    """Return the file of a recipe: a path as it is, or a name (see :func:`~tapetum.core.registry.find_recipes`)."""
    if str(name).endswith(".toml"):
        if not Path(name).is_file():
            raise UserError(f"recipe file {name} does not exist", fix="check the path, or see: tapetum recipes")
        return Path(name)
    known = find_recipes()
    if name not in known:
        raise UserError(f"there is no recipe {str(name)!r} (there are: {listed(known, 40)}).{nearest(str(name), known)}")
    return known[str(name)]


def validated(values: Mapping[str, Any], texts: Mapping[str, str] | None = None, where: str = "") -> Recipe:
    """Return the recipe of nested values; the error names the first wrong key. See :func:`checking.validate`."""
    return checking.validate(Recipe, values, texts, where)


def _origin_of(key: str, origin: Mapping[str, str]) -> str:
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        if (name := ".".join(parts[:end])) in origin:
            return origin[name]
    return "default"


def _watching(member: Recipe, values: Mapping[str, Any]) -> Recipe:
    """Return a member; one with targets of its own watches those, where the figure of the recipe is of another target."""
    watched, own = member.train.monitor, member.model.targets
    if "monitor" not in values.get("train", {}) and own and "/" in watched and watched.partition("/")[0] not in own:
        return member.model_copy(update={"train": member.train.model_copy(update={"monitor": "auto"})})
    return member
