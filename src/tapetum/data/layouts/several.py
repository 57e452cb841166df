"""Several labels in one cell: one way of writing them a column; split where the target is ``multi``, named where it is not."""

from __future__ import annotations

import ast
import csv
import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import files
from tapetum.core.errors import DataError, listed
from tapetum.core.progress import Log
from tapetum.core.targets import Target, same_text
from tapetum.core.words import plural

BLANK = " "
MARKS = ("|", ";", ",")  # whichever of them is in a column separates its labels; where none does, blanks do
ODD_MARKS = ("/", "+", "&", "\n", "\t", "\uff1b", "\uff0c", "\u3001")  # part labels here and there; never read as separators unasked
LISTS = (list, tuple, set, frozenset, np.ndarray)
MANY = 20  # different numbers in a column, from which on it is probably no column of class names
_CLOSES = {"[": "]", "{": "}", "(": ")"}
_CALL = re.compile(r"(?:array|list|tuple|set|frozenset)\((.*?)(?:,\s*dtype=[^()]*)?\)", re.DOTALL)
_QUOTED = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([^,\s'"]+)""")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})*(\.\d*)?")
_WHOLE = re.compile(r"\d+")
_TABLE = re.compile(r"""\{\s*(?:"[^"]*"|'[^']*'|\w+)\s*:.*\}|\[\s*[\[{(].*\]""", re.DOTALL)  # {'a': 1}, [['a']]


def read_list(text: str) -> list[str] | None:
    """Return the labels of a cell that is a JSON list or what Python, pandas or numpy print for a list, tuple or set; else None."""
    text = text.strip()
    call = _CALL.fullmatch(text)
    text = call.group(1).strip() if call else text
    if call and not text:  # set()
        return []
    if len(text) < 2 or _CLOSES.get(text[0]) != text[-1]:
        return None
    try:
        found = files.from_json(text)
    except ValueError:
        found = None
    if isinstance(found, list):
        return None if any(isinstance(one, (list, dict)) for one in found) else [_plain(one) for one in found if one is not None]
    inner = text[1:-1].strip()
    if "'" in inner or '"' in inner:
        if _QUOTED.sub("", inner).replace(",", "").strip():
            return None
        return [str(ast.literal_eval(quoted)).strip() if quoted else bare for quoted, bare in _QUOTED.findall(inner)]
    if text[0] == "(":  # (unknown) is a name
        return None
    return [part.strip() for part in (inner.split(",") if "," in inner else inner.split()) if part.strip()]


def split_cell(text: str, target: Target) -> list[str]:
    """Return the labels of one cell: of a printed list, else by the target's separator; a whole class name is itself."""
    if text in target.classes:
        return [text]
    found = read_list(text)
    if found is None:
        found = _parts(text, target.separator)
    return [label for label in found if label]


def with_separator(target: Target, column: pl.Series, row_ids: Sequence[Any], name: str, log: Log) -> Target:
    """Return a multi target with the separator that its column uses.

    One of ``| ; ,`` where it is in the column, else blanks. A comma belongs to the labels (``Smith, John|Doe, Jane``) where it is
    beside another separator in one cell and what it parts is no label by itself. A cell may always be a printed list.

    Args:
        target: whose separator was not declared.
        column: its cells.
        row_ids: for errors.
        name: the table, for errors.
        log: receives messages about the separator.

    Raises:
        DataError: two separators in one column, a nested list or a table in a cell, or cells that may be single labels: rows are named.
    """
    listed_labels: set[str] = set()
    texts: dict[str, Any] = {}
    for cell, row_id in zip(column.to_list(), row_ids, strict=True):
        if isinstance(cell, LISTS):
            listed_labels.update(str(one) for one in cell)
        elif cell is not None and (text := same_text(str(cell).strip())):
            if _TABLE.fullmatch(text) and text not in target.classes:
                raise DataError(
                    f"{name} row {row_id!r} has {target.name} = {text!r}", need="labels, or one flat list of them", fix="correct it"
                )
            found = read_list(text)
            listed_labels.update(found or ())
            if found is None:
                texts.setdefault(text, row_id)
    separator = _separator(target, texts, bool(listed_labels), name)
    if listed_labels:  # what answers are written with: it is in no label
        free = [mark for mark in ((separator, *MARKS) if texts else (BLANK, *MARKS)) if not any(mark in label for label in listed_labels)]
        separator = free[0] if free else separator
    if not target.classes:
        _refuse_unclear(target, separator, texts, listed_labels, name)
    many = sum(len(split_cell(text, dataclasses.replace(target, separator=separator))) > 1 for text in texts)
    if many:
        how = "blanks" if separator == BLANK else repr(separator)
        log(f"target {target.name!r}: labels of one cell are separated by {how} (in {many} of {plural(len(texts), 'different cell')})")
    return dataclasses.replace(target, separator=separator)


def refuse_several(target: Target, column: pl.Series, name: str) -> None:
    """Refuse a column that holds several labels a cell under a target of one answer whose kind was not declared.

    Names may hold blanks and commas (``golden retriever``, ``Smith, John``), so a column is refused only where its parts are labels
    themselves: they are alone in other cells, or at several places, or cells have different numbers of them.

    Raises:
        DataError: names a cell, and the flags for either reading.
    """
    if column.dtype != pl.String:
        return
    texts = [text for text in dict.fromkeys(column.drop_nulls().str.strip_chars().to_list()) if text]
    lists = [text for text in texts if text[0] in "[{" and (read_list(text) is not None) and len(text) > 2]
    if len(lists) * 2 >= len(texts) > 0 or any('"' in text or "'" in text or "," in text for text in lists):
        example, how = lists[0], "printed as a list"
    else:
        marks = (*MARKS, BLANK, *ODD_MARKS)
        found = next(((text, mark) for mark in marks if (text := _several_by(mark, texts)) is not None), None)
        if found is None:
            return
        example, how = found[0], f"separated by {'blanks' if found[1] == BLANK else repr(found[1])}"
    many, one = (shlex.quote(f"{target.name}:{kind}") for kind in ("multi", "single"))
    raise DataError(
        f"{name}: cells of {target.name!r} look like several labels {how}, as {example!r}",
        need="one label in a cell, or a target declared multi",
        fix=f"declare it: --target {many}; or, if such a cell is one label: --target {one}",
    )


def number_hint(target: Target, column: pl.Series) -> str | None:
    """Return a remark where an undeclared target looks like a number to be estimated, rather than class names; else None."""
    known = column.drop_nulls()
    numbers = known.cast(pl.Float64, strict=False) if known.dtype == pl.String or known.dtype.is_numeric() else pl.Series([None])
    if not len(known) or numbers.null_count() or not numbers.is_finite().all():
        return None
    count = numbers.n_unique()
    fractions = bool((numbers != numbers.round()).any())
    if not ((fractions and count >= MANY // 2) or (count > MANY and count * 5 > len(known))):
        return None
    flag = shlex.quote(f"{target.name}:regression")
    return f"target {target.name!r} holds {plural(count, 'different number')}, each read as a class; if it is a number: --target {flag}"


def _separator(target: Target, texts: Mapping[str, Any], lists: bool, name: str) -> str:
    """Return what separates labels in ``texts`` (text → its first row)."""
    rest = [text for text in texts if text not in target.classes]
    for mark in (*MARKS, BLANK) if target.classes else ():
        if rest and all(part in target.classes for text in rest for part in _parts(text, mark)):
            return mark
    found = [mark for mark in MARKS if any(mark in text for text in rest)]
    if not found:
        return "," if lists or (target.classes and not rest) else BLANK
    if len(found) == 1 and not lists:
        return found[0]
    if len(found) == 2 and "," in found and not lists and _inside(found[0], rest):
        return found[0]
    rows = [f"row {texts[text]!r}: {text!r}" for mark in found for text in rest if mark in text][: len(found) + 1]
    ways = [*(repr(mark) for mark in found), *(["printed lists"] if lists else [])]
    raise DataError(
        f"{name}: labels of {target.name!r} are separated in {plural(len(ways), 'way')} ({listed(ways)}): {listed(dict.fromkeys(rows))}",
        need="one separator in a column",
        fix=f'correct the cells, or declare it: --set \'data.targets=[{{name="{target.name}", kind="multi", separator="{found[0]}"}}]\'',
    )


def _refuse_unclear(target: Target, separator: str, texts: Mapping[str, Any], listed_labels: set[str], name: str) -> None:
    """Refuse labels that the separator found leaves joined by another mark, and cells that blanks would part without a sign of it.

    Raises:
        DataError: names the cell, and how to declare either reading.
    """
    parted_target = dataclasses.replace(target, separator=separator)
    parted = {text: split_cell(text, parted_target) for text in texts}
    labels = {label for labels in parted.values() for label in labels} | listed_labels
    for mark in ODD_MARKS:
        joined = [text for text in texts if mark in text and len(parts := _parts(text, mark)) > 1 and set(parts) <= labels - {text}]
        joined = [text for text in joined if parted[text] == [text] or mark.strip()]
        if joined:
            raise _unclear(target, joined[0], mark, separator, name, texts)
    counts = Counter(label for labels_ in parted.values() for label in labels_)
    several = {text: labels_ for text, labels_ in parted.items() if len(labels_) > 1}
    words = [label for labels_ in several.values() for label in labels_]
    alone = all(counts[word] == 1 for word in words) and not all(_WHOLE.fullmatch(word) for word in words)
    if separator == BLANK and len(several) > 1 and not listed_labels and alone:  # no label of them is in another cell
        raise _unclear(target, next(iter(several)), BLANK, "|", name, texts)


def _unclear(target: Target, text: str, mark: str, other: str, name: str, texts: Mapping[str, Any]) -> DataError:
    """Return the error for a cell that is several labels by ``mark`` or one label, where ``other`` separates."""
    how = "blanks" if mark == BLANK else repr(mark)
    spec = f'data.targets=[{{name="{target.name}", kind="multi", separator="%s"}}]'
    declare = "--set " + shlex.quote(spec)
    return DataError(
        f"{name} row {texts[text]!r} has {target.name} = {text!r}, which is one label or several with {how} between them",
        need="to know which",
        fix=f"declare what separates labels: {declare % escaped(mark)}; or, if it is one label: {declare % escaped(other)}",
    )


def escaped(mark: str) -> str:
    """Return a separator as TOML writes it within quotes."""
    return mark.replace("\n", "\\n").replace("\t", "\\t")


def _plain(one: Any) -> str:
    """Return a label of a JSON list as text; whole numbers lose their decimal point, as in other cells."""
    return str(int(one)) if isinstance(one, float) and one.is_integer() else str(one).strip()


def _inside(mark: str, texts: Sequence[str]) -> bool:
    """Tell whether commas are inside labels that ``mark`` separates."""
    labels = {part for text in texts for part in _parts(text, mark)}
    pieces = {part for label in labels if "," in label for part in _parts(label, ",")}
    return any(mark in text and "," in text for text in texts) and not pieces & labels


def _parts(text: str, mark: str) -> list[str]:
    if mark == BLANK:
        return text.split()
    if '"' in text:  # "Smith, John","Doe, Jane"
        text = next(csv.reader([text], delimiter=mark, skipinitialspace=True), [])  # type: ignore[assignment]
        return [part.strip() for part in text if part.strip()]
    return [part.strip().strip("'") if part.strip()[:1] == "'" else part.strip() for part in text.split(mark) if part.strip()]


def _several_by(mark: str, texts: Sequence[str]) -> str | None:
    """Return a text that holds several labels separated by ``mark``, where the column as a whole shows it; else None."""
    parted = {text: _parts(text, mark) for text in texts if mark in text}
    parted = {text: parts for text, parts in parted.items() if len(parts) > 1}
    if not parted or (mark == "," and all(_THOUSANDS.fullmatch(text) for text in texts)):
        return None
    alone = {text for text in texts if text not in parted}
    places: dict[str, set[int]] = {}
    for parts in parted.values():
        for place, part in enumerate(parts):
            places.setdefault(part, set()).add(place)
    known = {part for part, at in places.items() if part in alone or len(at) > 1}
    shows = bool(known) or len({len(parts) for parts in parted.values()}) > 1
    sure = [text for text, parts in parted.items() if set(parts) <= known]
    whole = all(_WHOLE.fullmatch(part) for text in texts for part in text.split())
    if mark in ODD_MARKS:
        return next((text for text, parts in parted.items() if set(parts) <= alone), None)
    if mark == BLANK and not whole:
        shows = set(places) <= alone  # names hold blanks
    elif mark in "|;" or mark == BLANK:  # parts that are always at one place of as many may be levels of one name
        shows = shows or bool(alone)
    elif mark == "," and any(", " in text for text in parted):
        shows = len(sure) >= 0.8 * len(parted) and len(known) > 1
    return (sure or list(parted))[0] if shows else None


def declared(specs: Sequence[Any], name: str) -> frozenset[str]:
    """Return what the user or the layout declared of a target beside its name: ``kind``, ``separator``, ``classes``, …"""
    for spec in specs:
        if isinstance(spec, Mapping):
            if spec.get("name") == name:
                return frozenset(spec) - {"name"}
        elif spec != name and spec.startswith(f"{name}:"):
            return frozenset({"kind"})
    return frozenset()
