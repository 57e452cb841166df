"""The recipe: every value that decides what a run does, typed, checked, and with the place it came from.

Values are laid over one another in this order: defaults, the recipe, ``-c`` files, the profile, flags, ``--set``. Tables merge key by
key, everything else (lists too) is replaced. ``[[member]]`` tables then override sections for one member of the ensemble.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tapetum.core import files
from tapetum.core.choices import Choice, pick
from tapetum.core.errors import UserError, listed, nearest

Spec = str | dict[str, Any]  # a name from a room's choices.py, or {"name": …, parameter: value}


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Data(Section):
    """Where rows come from and what their columns mean."""

    layout: str = "auto"
    targets: tuple[Spec, ...] = ()
    id: str | None = None
    path: str | tuple[str, ...] | None = None  # a column, a template 'train/{Id}_{red,green}.png', or several columns
    group: str | None = None
    sequence: str | None = None
    position: str | None = None
    split: str | None = None
    fold: str | None = None
    weight: str | None = None
    side: tuple[str, ...] = ()
    join: tuple[str, ...] = ()  # further tables, joined by the id or by columns of the same name
    test: tuple[str, ...] = ()  # tables of test rows
    extra: tuple[str, ...] = ()  # tables of rows that train and never score
    pseudo: str | None = None  # a Predictions file whose confident test rows train
    pseudo_bound: float = 0.9
    exclude: str | None = None  # a text file of row ids left out, one a line
    audit: str | None = None  # auto: look for near duplicates and gray photos; an audit.parquet: its column `decision` is obeyed
    derive: dict[str, str] = {}  # new target → arithmetic over class numbers
    on_bad: Literal["refuse", "skip"] = "refuse"
    blank: Literal["refuse", "context"] = "refuse"
    limit: int | None = None  # draw this many training rows (stratified); the rest become uncovered


class Split(Section):
    """How rows are held out."""

    scheme: Literal["auto", "image"] = "auto"  # image: rows, even where groups exist; needs allow_leak
    folds: int = Field(5, ge=2)
    holdout: float | None = Field(None, gt=0, lt=1)
    stratify: tuple[str, ...] = ()  # targets to balance; empty: all of them
    allow_leak: str | None = None


class Input(Section):
    """How the files of a row become one picture, and how large it is."""

    size: int | tuple[int, int] | Literal["native"] = 224  # pixels; (height, width)
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bicubic"  # as most of timm's weights were trained
    colour: Literal["auto", "rgb", "gray"] = "auto"
    alpha: Literal["drop", "white", "black", "keep"] = "white"
    paths: Literal["channels", "views"] = "channels"
    crop: tuple[int, int, int, int] | None = None  # top, left, height, width, before resizing
    bands: tuple[tuple[int, int], ...] = ()  # row bands start:end
    bands_as: Literal["rows", "channels", "views"] = "rows"
    join: Literal["none", "x", "y"] = "none"  # several pictures of a row set side by side
    normalise: Literal["weights", "data", "none"] | dict[str, tuple[float, ...]] = "weights"
    cache: Literal["none", "memory"] = "memory"


class Model(Section):
    """The network."""

    backbone: str = "tf_efficientnet_lite0"
    weights: str = "auto"  # auto | none | hub | local-dir:PATH | package:NAME
    channels: Literal["repeat", "zero", "mean", "copy:R", "copy:G", "copy:B"] = "repeat"  # where the picture has not 3 channels
    pooling: Literal["default", "avg", "max", "avgmax", "catavgmax"] = "default"
    dropout: float = Field(0.0, ge=0, lt=1)
    drop_path: float = Field(0.0, ge=0, lt=1)
    head: Spec | None = None  # None: the head that fits the target's kind
    heads: dict[str, Spec] = {}  # target → head
    sharing: Spec = "hard"
    side_width: int = 32
    options: dict[str, Any] = {}  # handed to timm.create_model


class Neighbours(Section):
    """A model over neighbouring pictures of one sequence; length 1 is no sequence model."""

    length: int = Field(1, ge=1)
    head: Spec = "bilstm"
    target: Literal["last", "centre", "all"] = "all"
    positions: int = Field(1, ge=1)  # columns of the last feature map taken within each picture
    windows: int = 0  # pictures joined along x and cut into this many overlapping windows; 0: one picture a step
    window_width: int = 0
    window_stride: int = 0
    features: str = "end-to-end"  # end-to-end | frozen | the name of a member whose fold models give the features


class Loss(Section):
    """What is minimised."""

    name: str | None = None  # an expression such as '0.5*focal+0.5*lovasz'; None: what fits the target's kind
    smoothing: float = Field(0.0, ge=0, lt=1)
    smoothing_over: Literal["K", "K-1"] = "K"
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    options: dict[str, dict[str, Any]] = {}  # loss → its parameters
    targets: dict[str, str] = {}  # target → expression
    weights: dict[str, float] | Literal["equal", "learned"] = "equal"  # between targets
    logit_adjust: float = 0.0  # τ of arXiv 2007.07314


class Optimizer(Section):
    """How weights move."""

    name: str = "adamw"
    rate: float = Field(3e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    head_rate: float = Field(1.0, gt=0)  # the head's rate as a multiple
    options: dict[str, Any] = {}


class Schedule(Section):
    """The rate over steps, as a multiple of the optimizer's rate."""

    name: str = "cosine"
    warmup: float = Field(0.1, ge=0)  # epochs if ≥ 1, else a share of all steps
    options: dict[str, Any] = {}


class Stage(Section):
    """A part of training with values of its own; None keeps the recipe's."""

    epochs: int = Field(ge=1)
    trains: str = "all"  # head | top-N | all
    size: int | tuple[int, int] | None = None
    batch: int | None = None
    rate: float | None = None
    schedule: Schedule | None = None
    predict: bool = False  # write test predictions at the stage's end


class Train(Section):
    """The loop."""

    epochs: int = Field(8, ge=0)
    batch: int | Literal["auto"] = 32
    accumulate: int = Field(1, ge=1)
    clip: float = Field(1.0, ge=0)  # global norm of the gradients; 0 clips nothing
    precision: Literal["auto", "32", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    threads: int | None = None
    workers: int = 0
    start: Literal["probe", "random"] = "probe"
    frozen_norm: bool = False
    monitor: str = "auto"
    patience: int | None = None
    patience_on: str = "loss"
    epoch: int | str = "best"  # whose weights are taken: a number, last, swa, soup; best: cross-fitted
    restart_on_nan: bool = True


class Probe(Section):
    """The linear baseline on cached features."""

    enabled: bool = True
    size: int | Literal["auto"] = "auto"  # pixels; auto: 9/7 of input.size where pretrained weights take any size
    views: tuple[str, ...] = ("plain", "hflip")
    strengths: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0, 1e3, 1e4, 1e5)  # inverse regularisation C, chosen by inner folds


class Average(Section):
    """Averages of weights along training."""

    name: Literal["none", "ema", "swa", "soup"] = "none"
    decay: float = 0.999
    start: float = 0.75  # share of the epochs after which SWA begins
    rate: float | None = None
    epochs: int = 0  # further epochs of SWA after the schedule; full_batch: steps
    full_batch: bool = False
    best: int = 3
    refresh_norm: bool = True


class Memory(Section):
    """What happens when memory runs out."""

    keep_effective: bool = True
    floor: int = 1


Reducer = Literal["plain", "mean", "logits", "max"]  # of the views' probabilities, or of logits before them; plain: the picture as it is


class Predict(Section):
    """How answers are taken."""

    batch: int = 64
    views: Spec | tuple[Spec, ...] = "plain"  # plain | flips | dihedral | crops | random | scales; several are joined
    reduce: Literal["auto", "plain", "mean", "logits", "max"] | dict[str, Reducer] = "mean"  # auto: what held-out rows prefer
    keep_draws: bool = False
    saliency: Literal["none", "gradient", "loss", "integrated", "gradcam"] = "none"  # maps of the worst and some right answers
    saliency_rows: int = Field(12, ge=2)

    def reducer(self, target: str) -> str:
        """Return how a target's views are reduced; before anything is chosen ``auto`` is the mean."""
        how = self.reduce.get(target, "mean") if isinstance(self.reduce, dict) else self.reduce
        return "mean" if how == "auto" else how


class Decide(Section):
    """From probabilities to decisions; every step is cross-fitted."""

    choose: Literal["auto", "probe", "finetune"] = "auto"
    calibrate: Spec = "none"
    blend: Spec = "mean"
    steps: tuple[Spec, ...] = ()  # priors, thresholds, context … in order
    pipeline: Literal["folds", "refit", "best-fold"] = "folds"


class Tune(Section):
    """The search space of ``tapetum tune``: recipe key → {low, high, log} or a list of values."""

    space: dict[str, Any] = {}
    trials: int = Field(20, ge=1)
    budget: str | None = None
    sampler: Literal["tpe", "random"] = "tpe"
    prune: bool = True  # end a trial after a fold in which it is worse than the median of the trials before


class Recipe(Section):
    """All sections; see the classes of the same names."""

    name: str = "default"
    seed: int = 0
    data: Data = Data()
    split: Split = Split()
    input: Input = Input()
    augment: tuple[Spec, ...] = ("hflip", {"name": "resized_crop", "scale": [0.6, 1.0]})
    mix: tuple[Spec, ...] = ()
    sample: Spec = "shuffle"
    model: Model = Model()
    sequence: Neighbours = Neighbours()
    loss: Loss = Loss(smoothing=0.1)
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    train: Train = Train()
    stages: tuple[Stage, ...] = ()
    probe: Probe = Probe()
    average: Average = Average()
    memory: Memory = Memory()
    predict: Predict = Predict()
    decide: Decide = Decide()
    tune: Tune = Tune()
    statements: dict[str, str] = {}  # statement of a write-up → the recipe keys where it stands
    profile: dict[str, dict[str, Any]] = {}
    member: tuple[dict[str, Any], ...] = ()

    def members(self) -> dict[str, Recipe]:
        """Return one resolved recipe a member; without ``[[member]]`` tables there is one, named ``main``."""
        if not self.member:
            return {"main": self.seeing({}, "main")}
        base = self.model_dump(mode="python", exclude={"member", "profile"})
        out: dict[str, Recipe] = {}
        for table in self.member:
            own = {k: v for k, v in table.items() if k not in ("name", "only_folds")}
            out[_member_name(table)] = validated({**merge(base, own), "name": self.name})
        if len(out) != len(self.member):
            raise UserError("two [[member]] tables have the same name", need="a name of its own for each")
        return {name: own.seeing(out, name) for name, own in out.items()}

    def seeing(self, members: Mapping[str, Recipe], name: str) -> Recipe:
        """Return this member as it sees pictures: one over neighbours that takes another member's features sees as that one does."""
        source = self.sequence.features
        if self.sequence.length == 1 or source in ("end-to-end", "frozen"):
            return self
        before = list(members)[: list(members).index(name)] if name in members else []
        if source not in before or members[source].sequence.length > 1:
            raise UserError(
                f"member {name!r} takes its features from {source!r}",
                need=f"'frozen', 'end-to-end' or a member before it that looks at single pictures (there are: {listed(before) or 'none'})",
            )
        other = members[source]
        kept = {"head": self.model.head, "heads": self.model.heads}
        return self.model_copy(update={"model": other.model.model_copy(update={**kept, "sharing": "hard"}), "input": other.input})

    def only_folds(self, member: str) -> tuple[int, ...] | None:
        """Return the folds on which a member runs; None for all."""
        for table in self.member:
            if _member_name(table) == member and "only_folds" in table:
                return tuple(table["only_folds"])
        return None

    def hash(self) -> str:
        """Return a short hash of every value that decides results."""
        return files.fingerprint(self.model_dump(mode="json", exclude={"profile", "statements"}))

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
    flags: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    choices: Mapping[str, Mapping[str, Choice]] | None = None,
) -> Loaded:
    """Read and check a recipe.

    Args:
        recipe: the name of a built-in recipe, or a TOML file; None for the defaults.
        over: TOML files laid over it.
        profile: a table of ``[profile.NAME]`` in the recipe, laid over those; ``full`` is the recipe itself.
        flags: dotted key → value, from the command line.
        sets: ``key=value`` with TOML values, from ``--set``.
        choices: section → the room's table, so that names and parameters are checked now.

    Raises:
        UserError: an unknown recipe, profile, key, name or value; the nearest right one is offered.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}

    def lay(table: Mapping[str, Any], source: str) -> None:
        nonlocal values
        values = merge(values, table)
        origin.update({key: source for key, _ in flatten(table)})

    if recipe is not None:
        path = find_recipe(recipe)
        lay(read_toml(path), f"recipe {Path(str(path)).stem}")
    for file in over:
        lay(read_toml(Path(file)), f"file {file}")
    if profile is not None and profile != "full":
        profiles = values.get("profile", {})
        if profile not in profiles:
            raise UserError(f"there is no profile {profile!r} (there are: {listed(['full', *profiles])}).{nearest(profile, profiles)}")
        table = dict(profiles[profile])
        by_member = table.pop("member", {})
        lay(table, f"profile {profile}")
        if by_member:
            values["member"] = [merge(m, by_member.get(m.get("name", ""), {})) for m in values.get("member", [])]
            origin["member"] = f"profile {profile}"
    lay(unflatten({k: v for k, v in (flags or {}).items() if v is not None}), "flag")
    for text in sets:
        lay(_assignment(text), "--set")
    values.pop("origin", None)
    checked = validated(values)
    if choices is not None:
        for member in checked.members().values():
            check_choices(member, choices)
    return Loaded(checked, origin)


def check_choices(recipe: Recipe, choices: Mapping[str, Mapping[str, Choice]]) -> None:
    """Refuse names and parameters that no room knows. ``choices`` keys are dotted recipe keys (``optimizer``, ``augment``, …)."""
    for key, table in choices.items():
        value: Any = recipe
        for part in key.split("."):
            value = getattr(value, part)
        by_target = isinstance(value, dict) and key == "model.heads"  # any other table is one choice with its parameters
        specs = value if isinstance(value, tuple) else list(value.values()) if by_target else [value]
        for spec in specs:
            if isinstance(spec, Section):
                values = spec.model_dump()
                pick({"name": values["name"], **values.get("options", {})}, table, key)
            elif spec is not None:
                pick(spec, table, key)


def assignments(sets: Sequence[str]) -> dict[str, Any]:
    """Return dotted key → value of ``key=value`` texts, as ``--set`` reads them."""
    return {key: value for text in sets for key, value in flatten(_assignment(text))}


def find_recipe(name: str | Path) -> Any:
    """Return the file of a recipe: a path as it is, or a built-in name."""
    if str(name).endswith(".toml"):
        if not Path(name).is_file():
            raise UserError(f"recipe file {name} does not exist", fix="check the path, or see: tapetum recipes")
        return Path(name)
    built_in = builtin_recipes()
    if name not in built_in:
        raise UserError(f"there is no recipe {str(name)!r} (there are: {listed(built_in, 40)}).{nearest(str(name), built_in)}")
    return built_in[str(name)]


def builtin_recipes() -> dict[str, Any]:
    """Return the recipes that come with Tapetum: name → file."""
    folder = resources.files("tapetum") / "recipes"
    return {p.name.removesuffix(".toml"): p for p in sorted(folder.iterdir(), key=lambda p: p.name) if p.name.endswith(".toml")}


def read_toml(path: Any) -> dict[str, Any]:
    """Read a TOML file; what is wrong in it is said with the file's name."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist", fix="check the path") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from None


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one table over another: tables merge, everything else is replaced."""
    out = dict(low)
    for key, value in high.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for every leaf; an empty table is a leaf."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested tables."""
    out: dict[str, Any] = {}
    for key, value in flat.items():
        *parts, last = key.split(".")
        table = out
        for part in parts:
            table = table.setdefault(part, {})
        table[last] = value
    return out


def dump_toml(table: Mapping[str, Any]) -> str:
    """Return TOML for JSON-like values; None is left out (TOML has no null)."""
    lines = [f"{_toml_key(k)} = {_toml_value(v)}" for k, v in table.items() if v is not None and not _is_table(v)]
    for key, value in table.items():
        if _is_table(value):
            lines += ["", f"[{_toml_key(key)}]", *_toml_table(value, _toml_key(key))]
    return "\n".join(lines).strip() + "\n"


def _toml_table(table: Mapping[str, Any], prefix: str) -> list[str]:
    lines = [f"{_toml_key(k)} = {_toml_value(v)}" for k, v in table.items() if v is not None and not _is_table(v)]
    for key, value in table.items():
        if _is_table(value):
            name = f"{prefix}.{_toml_key(key)}"
            lines += ["", f"[{name}]", *_toml_table(value, name)]
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _toml_key(key: str) -> str:
    return key if key and all(c.isalnum() or c in "-_" for c in key) and key.isascii() else _toml_text(key)


def _toml_text(value: Any) -> str:
    return files.to_json(value).replace("\x7f", "\\u007f")  # the one character that JSON may hold bare and TOML may not


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    return _toml_text(value)


def _assignment(text: str) -> dict[str, Any]:
    key, sign, value = text.partition("=")
    if not sign:
        raise UserError(f"--set {text!r} has no '='", need="--set key=value, as --set train.epochs=3")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a bare word is a string
    return unflatten({key.strip(): parsed})


def validated(values: Mapping[str, Any]) -> Recipe:
    """Return the recipe of nested values; the first thing that is wrong is said with its key."""
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(_first_problem(error)) from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(
        str(part) for part in problem["loc"] if not (isinstance(part, str) and ("[" in part or part in ("int", "str", "float")))
    )
    if problem["type"] == "extra_forbidden":
        known = [key for key, _ in flatten(Recipe().model_dump())] + list(Recipe.model_fields)
        siblings = [k for k in known if k.rpartition(".")[0] == where.rpartition(".")[0]]
        close = difflib.get_close_matches(where, siblings, n=1, cutoff=0.6) or difflib.get_close_matches(where, known, n=1, cutoff=0.6)
        same = [k for k in known if k.rpartition(".")[2] == where.rpartition(".")[2]]
        offer = (close or same)[:1]
        return f"the recipe has no key {where!r}." + (f" Did you mean {offer[0]!r}?" if offer else " See: tapetum explain")
    return f"recipe key {where!r} is {problem['input']!r}; needed: {problem['msg'].removeprefix('Input should be ')}"


def _origin_of(key: str, origin: Mapping[str, str]) -> str:
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        if (name := ".".join(parts[:end])) in origin:
            return origin[name]
    return "default"


def _member_name(table: Mapping[str, Any]) -> str:
    if not table.get("name"):
        raise UserError("a [[member]] table has no name", need="name = '…' in each")
    return str(table["name"])
