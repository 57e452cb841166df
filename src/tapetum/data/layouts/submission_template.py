"""Read a submission's template: which columns hold ids and answers, and how an answer is written there.

An answer is written in one of these ways, and the template decides which:

| way | the template has | written |
|---|---|---|
| labels | one column: blank, or names of classes (several labels with something between them) | the decided labels |
| probabilities | a column for each class; or one numeric column for two classes | the probability of the column's class |
| zero-one | the same, its cells whole numbers 0 and 1, not all 0 | 1 for a decided label, else 0 |
| number | a regression's column | the number |

A template that fits none of them is refused, with what was tried.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import polars as pl

from tapetum.core.errors import DataError, UserError, listed, nearest
from tapetum.core.targets import Target
from tapetum.core.words import plural

Way = Literal["labels", "probabilities", "zero-one", "number"]
WISHES = ("auto", *get_args(Way)[:3])  # what a user may ask for
SEPARATORS = (" ", "|", ";", ",")  # between several labels of one cell
HOLLOW = frozenset({"na", "n/a", "nan", "none", "null", "unknown", "todo", "tbd", "label", "class", "answer"})  # cells to be replaced


@dataclasses.dataclass(frozen=True)
class Writing:
    """How answers are written.

    Args:
        columns: to fill, in order.
        way: see this module.
        classes: class numbers, one for each column; empty where a column holds whole answers.
        separator: between several labels of a cell.
        why: one sentence for the log.
    """

    columns: tuple[str, ...]
    way: Way
    classes: tuple[int, ...] = ()
    separator: str = " "
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Wish:
    """A user's choices for a template.

    Args:
        column: to fill, where it has several.
        write: ``auto``: as the template's cells say; else ``labels``, ``probabilities`` or ``zero-one``.
        positive: the class whose probability a single numeric column holds; None: the one that the column is called, else the second.
        separator: between several labels of a cell; None: what the template's cells have, else as in the data.
        written: class name → how the template writes it; others as they are.
        ids: the column of ids, where it is not the one that holds the predicted ids.
        order: row ids in the template's order, where it holds none.
    """

    column: str | None = None
    write: str = "auto"
    positive: str | None = None
    separator: str | None = None
    written: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ids: str | None = None
    order: Sequence[str] | None = None


def writing_of(frame: pl.DataFrame, rest: Sequence[str], target: Target, wish: Wish, name: str) -> Writing:
    """Find out how a template wants its answers.

    Args:
        frame: its cells as text, null where blank.
        rest: the columns that hold no ids.
        target: what is answered.
        wish: the user's choices for it.
        name: of the file, for errors.

    Raises:
        UserError: an option that the target or the template does not have.
        DataError: it fits no way of writing; what was tried and why each failed.
    """
    _check(wish, rest, target, name)
    columns = [wish.column] if wish.column is not None else list(rest)
    tried: dict[str, str] = {}
    for what, read in (("a column for each class", _by_class), ("one column of answers", _one_column)):
        found = read(frame, columns, target, wish)
        if isinstance(found, Writing):
            return _used(found, target, wish, name)
        if found:
            tried[what] = found
    reasons = "; ".join(f"{what}: {why.rstrip('.')}" for what, why in tried.items())
    alone = len(columns) == 1 or target.name in columns
    ways = ["name the column to fill with --column"] if len(columns) > 1 else []
    if alone and target.kind != "regression" and _may_hold_answers(frame, columns, target, wish):
        ways += ["write the classes' names all the same with --write labels"]
    fix = ", or ".join(ways) or "add a column for the answers to the template"
    raise DataError(f"{name} has no place for the answers of {target.name!r} ({reasons})", need=_needed(target), fix=fix)


def _may_hold_answers(frame: pl.DataFrame, columns: Sequence[str], target: Target, wish: Wish) -> bool:
    """Tell whether a column that is to be filled has sample answers: by its name, by a cell, or since all cells are the same."""
    if target.name in columns or len(columns) != 1 or wish.column is not None:
        return True
    cells = {cell.casefold() for cell in frame[columns[0]].to_list() if cell is not None and not _hollow(cell)}
    return len(cells) < 2 or bool(cells & {wish.written.get(c, c).casefold() for c in target.classes})


def _check(wish: Wish, rest: Sequence[str], target: Target, name: str) -> None:
    if wish.write not in WISHES:
        raise UserError(f"--write {wish.write!r} is not known.{nearest(wish.write, WISHES)}", need=f"one of {listed(WISHES)}")
    if wish.write != "auto" and target.kind == "regression":
        raise UserError(f"--write {wish.write} was asked for {target.name!r}, a regression", need="nothing: its number is written")
    if wish.column is not None and wish.column not in rest:
        raise UserError(f"{name} has no column {wish.column!r} to fill (it has: {listed(rest)}).{nearest(wish.column, rest)}")
    if wish.positive is not None and wish.positive not in target.classes:
        raise UserError(
            f"--positive {wish.positive!r} is none of the classes of {target.name!r} ({listed(target.classes)})."
            f"{nearest(wish.positive, target.classes)}"
        )


def _used(writing: Writing, target: Target, wish: Wish, name: str) -> Writing:
    """Refuse an option that the way of writing has no use for."""
    if wish.positive is not None and len(writing.classes) != 1:
        raise UserError(f"--positive {wish.positive} was given, but {name} takes {writing.why}", need="one numeric column for two classes")
    if wish.separator is not None and not (writing.way == "labels" and target.kind == "multi"):
        raise UserError(f"--separator {wish.separator!r} was given, but {name} takes {writing.why}", need="several labels in a cell")
    return writing


def _needed(target: Target) -> str:
    if target.kind == "regression":
        return f"a column of numbers, alone or called {target.name!r}"
    two = ", or one numeric column for the probability of one of the two" if len(target.classes) == 2 else ""
    return f"a column for each class ({listed(target.classes)}), or one column of labels, alone or called {target.name!r}{two}"


def _by_class(frame: pl.DataFrame, rest: Sequence[str], target: Target, wish: Wish) -> Writing | str:
    """Read a template with a column for each class; else return why it is none, or nothing where it does not look like one."""
    place = {wish.written.get(c, c): i for i, c in enumerate(target.classes)}
    known, strange = [c for c in rest if c in place], [c for c in rest if c not in place]
    absent = [c for c in place if c not in known]
    if target.kind == "regression" or (not known and len(rest) < 2):
        return ""
    if len(rest) == 1 and len(place) <= 2:
        return ""  # one column of the one class that is asked for
    if strange or absent:
        parts = [f"{c!r} is no class.{nearest(c, place)}" if nearest(c, place) else f"{c!r} is no class" for c in strange[:8]]
        parts += [f"no column for {listed(absent)}"] if absent else []
        return ", ".join(parts) if known or target.name not in rest else ""
    if wish.write == "labels":
        return "--write labels wants one column"
    odd = [
        (c, cell)
        for c in known
        for cell in frame[c].unique(maintain_order=True).to_list()
        if cell and not _hollow(cell) and not _fits(cell)
    ]
    if odd and wish.write == "auto":
        return f"column {odd[0][0]!r} holds {odd[0][1]!r}, which is no number from 0 to 1"
    way, why = _numbers(frame, known, wish)
    return Writing(tuple(known), way, tuple(place[c] for c in known), why=f"{why} in {plural(len(known), 'column')}, one for each class")


def _one_column(frame: pl.DataFrame, rest: Sequence[str], target: Target, wish: Wish) -> Writing | str:
    """Read a template with one column to fill; else return why it cannot be."""
    if len(rest) != 1 and target.name not in rest:
        return f"{plural(len(rest), 'column')} could be filled: {listed(rest, 20)}" if rest else "there is no column beside the ids"
    column = rest[0] if len(rest) == 1 else target.name
    cells = [c for c in frame[column].unique(maintain_order=True).to_list() if c is not None and not _hollow(c)]
    if target.kind == "regression":
        odd = [c for c in cells if finite(c) is None]
        return (
            f"column {column!r} holds {odd[0]!r}, which is no number" if odd else Writing((column,), "number", why=f"numbers in {column!r}")
        )
    names = [wish.written.get(c, c) for c in target.classes]
    if wish.write in ("auto", "labels"):
        found = _labels(column, cells, names, target, wish)
        if isinstance(found, Writing) or wish.write == "labels":
            return found
    else:
        found = f"--write {wish.write} wants a column for each class, or two classes"
    single = _positive(frame, column, cells, target, wish, names)
    return found if single is None else single


def _labels(column: str, cells: Sequence[str], names: Sequence[str], target: Target, wish: Wish) -> Writing | str:
    """Read a column of labels: its cells are blank or hold classes."""
    if column in names and len(names) <= 2 and wish.write == "auto":
        return f"{column!r} is the name of a class"
    if target.kind != "multi":
        strange = [c for c in cells if c not in names]
        if not strange or wish.write == "labels":
            return Writing((column,), "labels", why=f"labels in {column!r}")
        return _unknown(column, strange, names)
    between = [wish.separator] if wish.separator is not None else list(dict.fromkeys((target.separator, *SEPARATORS)))
    strange = []
    for separator in between:
        odd = [part for c in cells for part in c.split(separator) if part.strip() not in names]
        if not odd or wish.write == "labels":
            return _sound(Writing((column,), "labels", separator=separator, why=f"labels in {column!r}"), names)
        strange = strange or odd
    return _unknown(column, strange, names)


def _sound(writing: Writing, names: Sequence[str]) -> Writing:
    """Refuse labels that would be ambiguous when they are read again."""
    holding = [c for c in names if writing.separator in c] if len(names) > 1 else []
    if holding:
        raise UserError(
            f"class {holding[0]!r} holds {writing.separator!r}, which separates the labels of a cell",
            need="a separator that no class holds",
            fix="name one: --separator '|'",
        )
    return writing


def _unknown(column: str, strange: Sequence[str], names: Sequence[str]) -> str:
    one = strange[0]
    more = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
    return f"column {column!r} holds {one!r}{more}, which is no class ({listed(names)}).{nearest(one, names)}"


def _positive(
    frame: pl.DataFrame, column: str, cells: Sequence[str], target: Target, wish: Wish, names: Sequence[str]
) -> Writing | str | None:
    """Read a numeric column as the probability of one of two classes (several labels: of the only one); None where there are more."""
    if len(names) != (1 if target.kind == "multi" else 2):
        return None
    odd = [c for c in cells if not _fits(c)]
    if odd and wish.write == "auto":
        return _unknown(column, odd, names)
    if wish.positive is not None:
        at = target.classes.index(wish.positive)
    else:
        at = names.index(column) if column in names else len(names) - 1
    way, why = _numbers(frame, [column], wish)
    other = "" if column in names or len(names) == 1 else f" (the other way round: --positive {target.classes[1 - at]})"
    return Writing((column,), way, (at,), why=f"{why} of {target.classes[at]!r} in {column!r}{other}")


def _numbers(frame: pl.DataFrame, columns: Sequence[str], wish: Wish) -> tuple[Way, str]:
    """Return whether numeric columns take probabilities or decisions: whole numbers 0 and 1, not all 0, ask for decisions."""
    if wish.write in ("probabilities", "zero-one"):
        way: Way = "probabilities" if wish.write == "probabilities" else "zero-one"
    else:
        cells = {c for name in columns for c in frame[name].unique().to_list()}
        way = "zero-one" if cells in ({"0", "1"}, {"1"}) else "probabilities"
    return way, "probabilities" if way == "probabilities" else "0 and 1 by the decided labels,"


def _hollow(cell: str) -> bool:
    """Tell whether a cell only holds a place: ``?``, ``-``, ``none``."""
    return cell.lower() in HOLLOW or not any(letter.isalnum() for letter in cell)


def _fits(cell: str) -> bool:
    """Tell whether a cell is a number from 0 to 1."""
    value = finite(cell)
    return value is not None and 0 <= value <= 1


def finite(cell: str) -> float | None:
    """Return the finite number that a cell holds; None where it is none."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
