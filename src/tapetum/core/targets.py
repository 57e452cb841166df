"""What is to be learned: kinds of target, class order, coding and decoding, and answers composed of others.

One coding serves everything after it. A target's truth and its probabilities are float matrices (N, K) over its classes in order
(regression: (N, 1), the value); a row of NaN is an unlabelled row.

| kind | a cell of the manifest | truth (N, K) | probabilities (N, K) |
|---|---|---|---|
| single | class name | one-hot | sum to 1 |
| multi | list of class names | 0 or 1 each | each in [0, 1] |
| ordinal | class name, classes in their order | one-hot | sum to 1 |
| regression | number | the number | the number |
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, cast, get_args

import numpy as np

from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.words import plural

Kind = Literal["single", "multi", "ordinal", "regression"]
KINDS: tuple[str, ...] = get_args(Kind)
MOST_SUGGESTED = 30  # classes that an error message orders
_WITH_KIND = re.compile(rf"(?P<name>.+?):(?P<rest>(?:{'|'.join((*KINDS, 'identity'))})(?:=.*)?)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Target:
    """One thing to be answered about each image.

    Args:
        name: the column in the manifest.
        kind: single, multi, ordinal or regression.
        classes: names in order; empty for a plain regression, or until they are read from the data.
        borders: regression only: ascending values that cut the number into ``len(borders) + 1`` classes.
        expression: a derived target's arithmetic over the class numbers of other targets.
        scored: false trains and writes vectors, but no probabilities (identities for retrieval).
        separator: multi only: what is between labels in one cell of a table.
    """

    name: str
    kind: Kind = "single"
    classes: tuple[str, ...] = ()
    borders: tuple[float, ...] = ()
    expression: str | None = None
    scored: bool = True
    separator: str = " "

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(map(same_text, self.classes)))
        if self.kind not in KINDS:
            raise UserError(f"target {self.name!r} has kind {self.kind!r}", need=f"one of {listed(KINDS)}.{nearest(self.kind, KINDS)}")
        doubled = sorted({c for c in self.classes if self.classes.count(c) > 1})
        if doubled:
            raise UserError(f"target {self.name!r} names a class twice: {listed(doubled)}", need="each class once, in order")
        if self.kind == "regression" and self.classes and len(self.classes) != len(self.borders) + 1:
            raise UserError(
                f"target {self.name!r} has {plural(len(self.borders), 'border')} and {plural(len(self.classes), 'class', 'classes')}",
                need="one class more than borders",
            )
        if list(self.borders) != sorted(set(self.borders)):
            raise UserError(f"target {self.name!r} has borders {list(self.borders)}", need="ascending numbers")
        if self.kind == "ordinal" and len(self.classes) == 1:
            raise UserError(f"target {self.name!r} has one class in its order", need="two or more, as low<middle<high")

    @property
    def width(self) -> int:
        """Columns of the truth and of the probabilities: classes, or 1 for a number."""
        return 1 if self.kind == "regression" else len(self.classes)

    @property
    def is_identity(self) -> bool:
        """True where classes are names of individuals, learned for the sake of vectors: single, and never scored."""
        return self.kind == "single" and not self.scored and self.expression is None

    @property
    def is_distribution(self) -> bool:
        """True where a row of probabilities sums to 1."""
        return self.kind in ("single", "ordinal")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Target:
        """Rebuild from :meth:`to_dict`."""
        return cls(**{**value, "classes": tuple(value["classes"]), "borders": tuple(value["borders"])})


_PLAIN_NUMBER = re.compile(r"-?\d{1,300}(\.\d*)?")


def same_text(name: str) -> str:
    """Return a class name in the one form (NFC) of what looks the same: macOS writes é as e and an accent."""
    return unicodedata.normalize("NFC", name)


def look_alikes(classes: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the classes that differ only in case, in blanks or characters that nobody sees, or in how a number is written."""
    alike: dict[Any, list[str]] = {}
    for name in classes:
        seen = "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if unicodedata.category(c)[0] not in "ZC")
        alike.setdefault(float(seen) if _PLAIN_NUMBER.fullmatch(seen) else seen, []).append(name)
    return [tuple(names) for names in alike.values() if len(names) > 1]


def as_class(label: str, classes: Sequence[str]) -> str:
    """Return the one class that is the same number, otherwise written (``2.0`` for ``2``, as spreadsheets write it); else the label."""
    if label in classes or not _PLAIN_NUMBER.fullmatch(label):
        return label
    meant = [name for name in classes if _PLAIN_NUMBER.fullmatch(name) and float(name) == float(label)]
    return meant[0] if len(meant) == 1 else label


def parse_target(text: str) -> Target:
    """Read ``NAME``, ``NAME:KIND`` or ``NAME:KIND=DETAILS``.

    Details are the ordered classes of an ordinal target (``age:ordinal=0-2<3-9<10-19``), the borders of a regression
    (``age:regression=30,60``) or the classes of a single or multi target in the order wanted (``stage:single=Wake,N1,N2``).
    ``NAME:identity`` is a single target that is not scored: names of individuals, which train vectors for retrieval.
    """
    named = _WITH_KIND.fullmatch(text)  # a name may hold colons itself
    name, rest = (named["name"], named["rest"]) if named else (text.partition(":")[0], text.partition(":")[2])
    word, _, details = rest.partition("=")
    if word == "identity" and name and not details:
        return Target(name, scored=False)
    kind = cast(Kind, word or "single")  # Target refuses anything else
    if not name:
        raise UserError(f"target {text!r} has no name", need="NAME, NAME:KIND or NAME:ordinal=low<middle<high")
    if not details:
        return Target(name, kind)
    if kind == "regression":
        try:
            borders = tuple(float(part) for part in details.split(","))
        except ValueError:
            borders = (math.nan,)
        if not all(map(math.isfinite, borders)):
            raise UserError(f"target {text!r} has borders that are not numbers", need="NAME:regression=30,60")
        return Target(name, kind, borders=borders)
    separator = "<" if kind == "ordinal" else ","
    return Target(name, kind, classes=tuple(part.strip() for part in details.split(separator)))


def read_target(spec: str | Mapping[str, Any]) -> Target:
    """Return the target of ``NAME:KIND=DETAILS`` or of a table ``{name, kind, classes, borders, separator, scored}``.

    Raises:
        UserError: an unknown key in the table, or a value of another type than the key has.
    """
    if isinstance(spec, str):
        return parse_target(spec)
    fields = [field.name for field in dataclasses.fields(Target) if field.name != "expression"]
    for key in spec:
        if key not in fields:
            raise UserError(f"target {dict(spec)} has an unknown key {key!r} (known: {listed(fields)}).{nearest(key, fields)}")
    if "name" not in spec:
        raise UserError(f"target {dict(spec)} has no name", need="name = 'a column'")
    values = {**spec, **{key: tuple(spec[key]) for key in ("classes", "borders") if isinstance(spec.get(key), (list, tuple))}}
    for key, (fits, need) in _VALUES.items():
        if key in values and not fits(values[key]):
            raise UserError(f"target {spec['name']!r} has {key} = {spec[key]!r}", need=need)
    if "classes" in values:
        values["classes"] = tuple(map(str, values["classes"]))  # whole numbers are names, as they are in a table
    return Target(**values)


def _all(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple) and all(map(fits, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {  # key of a target's table → what it may be
    "name": (_is_text, "the name of a column"),
    "kind": (_is_text, f"one of {listed(KINDS)}"),
    "classes": (_all(lambda one: isinstance(one, str) or type(one) is int), "a list of names, as ['low', 'high']"),
    "borders": (_all(lambda one: type(one) in (int, float) and math.isfinite(one)), "a list of ascending finite numbers, as [30, 60]"),
    "separator": (_is_text, "a text"),
    "scored": (lambda value: isinstance(value, bool), "true or false"),
}


def target_named(targets: Sequence[Target], name: str, where: str = "") -> Target:
    """Return a target by name; a typo is answered with the nearest one, and with ``where`` it was looked for."""
    for target in targets:
        if target.name == name:
            return target
    names = [t.name for t in targets]
    raise UserError(f"there is no target {name!r}{where} (there are: {listed(names)}).{nearest(name, names)}")


def with_classes(target: Target, cells: Iterable[Any]) -> Target:
    """Return ``target`` with its classes read from the data where they were not declared (sorted by name).

    Raises:
        UserError: an ordinal target without an order.
        DataError: fewer than two classes, or a numeric target with cells that are no numbers.
    """
    if target.kind == "regression" or target.classes:
        return target
    found: set[str] = set()
    for cell in cells:
        if cell is not None:
            found.update(cell if target.kind == "multi" else [cell])
    if target.kind == "ordinal":
        order = "<".join(sorted(found, key=_by_numbers)) if 2 <= len(found) <= MOST_SUGGESTED else "low<middle<high"
        raise UserError(
            f"target {target.name!r} is ordinal without an order",
            need="its classes from the lowest to the highest",
            fix=f"give it, as: --target '{target.name}:ordinal={order}'",
        )
    if len(found) < 2 and not (target.kind == "multi" and found):
        have = f"only class {found.pop()!r}" if found else "no labels at all"
        raise DataError(f"target {target.name!r} has {have}", need="two classes or more", fix="check the label column")
    return dataclasses.replace(target, classes=sorted_classes(found))


def sorted_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names in the order that they have where none is declared: whole numbers by value, then names by letter."""
    return tuple(sorted(names, key=_natural))


def encode(target: Target, cells: Sequence[Any], row_ids: Sequence[str] | None = None) -> np.ndarray:
    """Return the truth matrix (N, K) float32 of a column of the manifest; NaN rows where a cell is null.

    Args:
        target: with its classes known.
        cells: names, lists of names or numbers, as the table in this module's docstring says.
        row_ids: for errors.

    Raises:
        DataError: a label that is not among the classes; the row is named.
    """
    truth = np.full((len(cells), target.width), np.nan, dtype=np.float32)
    place = {name: i for i, name in enumerate(target.classes)}
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        if target.kind == "regression":
            truth[row, 0] = cell
            continue
        names = list(cell) if target.kind == "multi" else [cell]
        truth[row] = 0.0
        for given in names:
            name = same_text(given) if isinstance(given, str) else given
            if name not in place:
                where = f"row {row_ids[row]!r}" if row_ids is not None else f"row {row}"
                raise DataError(
                    f"{where} has {target.name} = {name!r}, which is not among its {plural(len(place), 'class', 'classes')} "
                    f"({listed(target.classes)}).{nearest(name, place)}"
                )
            truth[row, place[name]] = 1.0
    return truth


def decode(target: Target, p: np.ndarray, threshold: float | np.ndarray = 0.5) -> list[Any]:
    """Return labels (or numbers) for probabilities (N, K); None for a row of NaN.

    Args:
        target: with its classes known.
        p: (N, K).
        threshold: multi only, a number or one for each class (K,); an empty answer stays empty.
    """
    answers: list[Any] = []
    for row in np.asarray(p):
        if np.isnan(row).any():
            answers.append(None)
        elif target.kind == "regression":
            answers.append(float(row[0]))
        elif target.kind == "multi":
            answers.append([target.classes[i] for i in np.flatnonzero(row >= threshold)])
        else:
            answers.append(target.classes[int(row.argmax())])
    return answers


def answer_classes(target: Target) -> tuple[str, ...]:
    """Return the classes that a target's answers fall into: its own, or those between a regression's borders (``<30 30-60 >=60``)."""
    if target.kind != "regression" or target.classes:
        return target.classes
    if not target.borders:
        return ()
    between = [f"{low:g}-{high:g}" for low, high in itertools.pairwise(target.borders)]
    return (f"<{target.borders[0]:g}", *between, f">={target.borders[-1]:g}")


def cut_by_borders(target: Target, value: np.ndarray, deviation: float | None = None) -> np.ndarray:
    """Decode numbers (N, 1) into class probabilities (N, K) by the target's borders.

    Args:
        target: a regression with borders.
        value: (N, 1); NaN stays NaN.
        deviation: standard deviation of the residual; None gives one-hot rows, else each class has its normal mass.
    """
    from scipy.special import ndtr

    value = np.asarray(value, dtype=np.float64).reshape(-1, 1)
    borders = np.asarray(target.borders, dtype=np.float64)[None, :]
    below = (value < borders).astype(np.float64) if not deviation else ndtr((borders - value) / deviation)
    edges = np.concatenate([np.zeros_like(value), below, np.ones_like(value)], axis=1)
    p = np.diff(edges, axis=1)
    p[np.isnan(value[:, 0])] = np.nan
    return p.astype(np.float32)


def _by_numbers(name: str) -> list[str | int]:
    """Return the key under which 3-9 comes before 10-19."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def _natural(name: str) -> tuple[int, int, str]:
    """Sort key: whole numbers by value before names by letter, so that class 10 follows 9; ``²`` and ``--5`` are names."""
    return (0, int(name), name) if re.fullmatch(r"-?\d{1,300}", name) else (1, 0, name)
