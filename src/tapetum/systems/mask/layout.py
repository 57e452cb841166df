"""Layout ``masks``: the 18-class mask set, a folder of seven photos a person: mask state × gender × age.

``train/train.csv`` (id, gender, race, age, path), ``train/images/{id}_{gender}_{race}_{age}/{mask1…mask5,incorrect_mask,normal}.*``,
``eval/info.csv`` (ImageID, ans) and ``eval/images/``. People are groups; the answer is mask*6 + gender*3 + age.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.core.words import plural, verb
from tapetum.data.images.formats import has_image_name
from tapetum.data.layouts.delimited import header_of, most_cells, read_delimited, to_delimited
from tapetum.data.layouts.folder import refuse_columns
from tapetum.data.layouts.listing import is_hidden, refuse_undecodable
from tapetum.data.layouts.sheet import Sheet, copy_image, images_among

MASKS, GENDERS, AGES = ("worn", "incorrect", "none"), ("male", "female"), ("0-29", "30-59", "60+")
STATES = {**{f"mask{i}": "worn" for i in range(1, 6)}, "incorrect_mask": "incorrect", "normal": "none"}
COLUMNS = ["id", "gender", "race", "age", "path"]
OWN = ("row_id", "path", "person", "mask", "gender", "age", "years", "race", "split", "ans")  # the columns that are made of it
OLDEST = 100
CODES = len(MASKS) * len(GENDERS) * len(AGES)
FOLDER = re.compile(r"(?P<id>[^/\\]+?)_(?P<gender>male|female)_(?P<race>[^/\\]+)_(?P<age>\d+)")
DERIVED = "mask*6 + gender*3 + age"
TARGETS: tuple[dict[str, Any], ...] = (
    {"name": "mask", "classes": list(MASKS)},
    {"name": "gender", "classes": list(GENDERS)},
    {"name": "age", "kind": "ordinal", "classes": list(AGES)},
)


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    table = source / "train" / "train.csv" if isinstance(source, Path) and source.is_dir() else None
    if table is None or not table.is_file():
        return None
    if set(COLUMNS) <= set(header_of(table)) and most_cells(table, "path", lambda cell: FOLDER.fullmatch(cell) is not None):
        return "train/train.csv has the columns " + ", ".join(COLUMNS) + ", and its paths are called like 000001_female_Asian_45"
    images = table.parent / "images"
    people = [path for path in images.iterdir() if path.is_dir() and not is_hidden(path.name)] if images.is_dir() else []
    named = [path for path in people if FOLDER.fullmatch(path.name)]
    return "the folders of train/images are called like 000001_female_Asian_45" if 2 * len(named) > len(people) else None


def read(source: Path, data: Data, log: Log) -> Sheet:
    """Read the folder; columns ``mask``, ``gender``, ``age`` (three classes), ``years`` (the number), ``race``, ``ans`` (test rows)."""
    if not (source / "train" / "train.csv").is_file():
        raise DataError(f"train/train.csv is not in {source}", need="a folder with train/train.csv and train/images", fix="check the path")
    frame = _people(source, data, log)
    if (source / "eval" / "info.csv").is_file():
        frame = pl.concat([frame, _unknown(source, log)], how="diagonal")
    else:
        _name_unlisted(source, (), log)
    if frame["ans"].null_count() == len(frame):
        frame = frame.drop("ans")
    roles = {"id": "row_id", "path": "path", "group": "person", "split": "split"}
    return Sheet(frame, source, source.name, roles, TARGETS, {"ans": DERIVED})


def age_class(years: float) -> str:
    """Return the class of an age in years."""
    return AGES[0] if years < 30 else AGES[1] if years < 60 else AGES[2]


def write(manifest: Manifest, place: Path, log: Log) -> Path:
    """Write training people and test images; needs the targets mask, gender, age and ``years`` (a number), and people as groups.

    Raises:
        UserError: what the layout cannot hold, by name.
    """
    refuse_columns(manifest, {"group", "split"}, "the mask layout")
    own = {t.name: t.kind for t in manifest.targets if t.expression is None}
    if not {"mask", "gender", "age", "years"} >= set(own) >= {"mask", "gender", "years"} or own["years"] != "regression":
        raise UserError(
            f"targets {listed(own)} cannot be held by the mask layout",
            need="mask, gender and years:regression (age follows from it), and no others",
        )
    frame, splits = manifest.frame, manifest.split
    test = splits == "test"
    people: dict[str, dict[str, Any]] = {}
    for cells in frame.filter(pl.Series(splits == "train")).iter_rows(named=True):
        state, years = Path(cells["path"][0]).stem, cells["years"]
        group = cells.get("group")
        person = {"id": group, "gender": cells["gender"], "race": "Asian", "age": years}
        if STATES.get(state) != cells["mask"] or years is None or group is None or people.setdefault(group, person) != person:
            raise UserError(
                f"row {cells['row_id']!r} cannot be held by the mask layout",
                need="the seven images of a person (group), with one gender and age, called as their state of mask",
            )
    if set(splits) - {"train", "test"} or len(people) * len(STATES) != int((~test).sum()):
        raise UserError("the mask layout holds training people with seven images each, and test rows", fix="write a table")
    with files.whole_folder(place) as aside:
        for person in people.values():
            person["path"] = f"{person['id']}_{person['gender']}_{person['race']}_{person['age']:g}"
        for row, name in enumerate(frame["row_id"].to_list()):
            path = manifest.paths(row)[0]
            inner = f"eval/images/{name}" if test[row] else f"train/images/{people[frame['group'][row]]['path']}/{path.name}"
            copy_image(path, aside / inner)
        table = [[p["id"], p["gender"], p["race"], f"{p['age']:g}", p["path"]] for p in people.values()]
        files.write_text(aside / "train" / "train.csv", to_delimited(pl.DataFrame(table, schema=COLUMNS, orient="row")))
        if test.any():
            answers = frame["ans"].fill_null("0") if "ans" in frame.columns else pl.Series(["0"] * len(frame))
            info = pl.DataFrame({"ImageID": frame["row_id"], "ans": answers}).filter(pl.Series(test))
            files.write_text(aside / "eval" / "info.csv", to_delimited(info))
    log(f"{plural(len(people), 'person', 'people')} and {plural(int(test.sum()), 'test image')} written to {place}")
    return place


def _framed(rows: list[tuple[str | None, ...]], others: Sequence[str]) -> pl.DataFrame:
    """Return rows as columns; ``others`` are further columns of the table, as a family for ``--group``."""
    return pl.DataFrame(rows, schema=dict.fromkeys((*OWN, *others), pl.String), orient="row")


def _people(root: Path, data: Data, log: Log) -> pl.DataFrame:
    """Return the rows of the training people; what is wrong with a person is refused, or left out and named where ``on_bad`` is skip."""
    table = _table(root / "train" / "train.csv", COLUMNS)
    rows: list[tuple[str | None, ...]] = []
    wrong: list[str] = []
    seen: dict[str, int] = {}
    hidden, deeper = 0, list[str]()
    for line, (person, gender, race, age, folder, *others) in enumerate(table.rows(), start=2):
        if problem := _problem(root, person, gender, race, age, folder) or _doubled(person, folder, line, seen):
            wrong.append(f"line {line}: {problem}")
            continue
        photos = _photos(root / "train" / "images" / folder)
        hidden, deeper = hidden + photos.hidden, deeper + [f"{folder}/{name}" for name in photos.deeper]
        if photos.odd:
            wrong.append(f"{folder} holds {plural(photos.count, 'image')}, unlike the others: {listed(photos.odd)}")
        years = _whole(age)
        for state, photo in photos.of_state.items():
            name = f"train/images/{folder}/{photo}"
            rows.append((name, name, person, STATES[state], gender, age_class(years), str(years), race, "train", None, *others))
    if wrong and (data.on_bad == "refuse" or not rows):
        raise DataError(
            f"train.csv has {plural(len(table), 'person', 'people')}, {len(wrong)} of them unlike the others: {listed(wrong, 5)}",
            need=f"male or female, 0 to {OLDEST} whole years, and a folder id_gender_race_age with the seven images {listed(STATES, 7)}",
            fix="correct them, or go on without what is wrong: --on-bad skip" if data.on_bad == "refuse" else "correct them",
        )
    if wrong:
        log(
            f"warning: {len(wrong)} of {plural(len(table), 'person', 'people')} "
            f"{verb(len(wrong), 'is', 'are')} unlike the others, and what is wrong of them is left out: {listed(wrong, 5)}"
        )
    _name_strange_folders(root, table["path"].to_list(), log)
    if deeper:
        log(
            f"warning: {plural(len(deeper), 'image lies', 'images lie')} in folders within those of "
            f"people and {verb(len(deeper), 'is', 'are')} left out: {listed(deeper)}"
        )
    log(
        f"train.csv: {plural(len(table), 'person', 'people')}, {plural(len(rows), 'image')}"
        + (f"; {plural(hidden, 'hidden file')} left out" if hidden else "")
    )
    return _framed(rows, table.columns[len(COLUMNS) :])


def _table(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Return the columns of a table, then what others it has; their order there is free, and absent ones are named."""
    table, _ = read_delimited(path)
    if absent := [name for name in columns if name not in table.columns]:
        raise DataError(
            f"{path.parent.name}/{path.name} has no column {listed(map(repr, absent))} (it has: {listed(table.columns)})",
            need=f"the columns {listed(columns)}",
            fix="name them so in its first line",
        )
    return table.select(*columns, *(name for name in table.columns if name not in (*columns, *OWN)))


@dataclasses.dataclass(frozen=True)
class _Photos:
    """What a person's folder holds: state → its one photo; what is lacking, doubled or strange; images in folders below; hidden files."""

    of_state: dict[str, str]
    odd: list[str]
    count: int
    deeper: list[str]
    hidden: int


def _photos(folder: Path) -> _Photos:
    names = sorted(path.name for path in folder.iterdir())
    refuse_undecodable(names, f"train/images/{folder.name}")
    seen = [name for name in names if not is_hidden(name)]
    inner = [
        path.relative_to(folder).as_posix() for name in seen if (folder / name).is_dir() for path in sorted((folder / name).rglob("*"))
    ]
    photos = sorted(images_among(folder, [name for name in seen if not (folder / name).is_dir()]))
    of_state = {state: [name for name in photos if Path(name).stem == state] for state in STATES}
    odd = [state for state, found in of_state.items() if not found]
    odd += [f"{state} {len(found)} times ({listed(found)})" for state, found in of_state.items() if len(found) > 1]
    odd += [name for name in photos if Path(name).stem not in STATES]
    alone = {state: found[0] for state, found in of_state.items() if len(found) == 1}  # which of two is right nobody can tell
    deeper = [name for name in inner if has_image_name(name) and not is_hidden(name)]
    return _Photos(alone, odd, len(photos), deeper, len(names) - len(seen))


def _problem(root: Path, person: str | None, gender: str | None, race: str | None, age: str | None, folder: str | None) -> str:
    """Return what is wrong with a line of train.csv, or an empty text."""
    if person is None:
        return "no id"
    if gender not in GENDERS:
        return f"{person} has gender {gender!r}"
    if (years := _whole(age)) < 0 or years > OLDEST:
        return f"{person} has age {age!r}, which is no whole number from 0 to {OLDEST}"
    if folder is None or not (named := FOLDER.fullmatch(folder)):
        return f"{person} has the folder {folder!r}"
    stated = {"id": (person, named["id"]), "gender": (gender, named["gender"]), "race": (race or named["race"], named["race"])}
    stated["age"] = (str(years), str(int(named["age"])))
    if odd := [f"{what} {own!r}" for what, (own, other) in stated.items() if own != other]:
        return f"{person} has {listed(odd)} and the folder {folder!r}"
    return "" if (root / "train" / "images" / folder).is_dir() else f"the folder {folder!r} is not in train/images"


def _doubled(person: str, folder: str, line: int, seen: dict[str, int]) -> str:
    """Return where a folder or an id stood before, or an empty text; both are noted in ``seen``."""
    for name, what in ((f"folder {folder}", f"the folder {folder!r}"), (f"id {person}", f"the id {person!r}")):
        if (before := seen.setdefault(name, line)) != line:
            return f"{what} stands in line {before} already"
    return ""


def _whole(text: str | None) -> int:
    """Return the whole number that a cell holds (20, 20.0); -1 where it holds none."""
    return int(text.partition(".")[0]) if text is not None and re.fullmatch(r"\d+(\.0*)?", text) else -1


def _name_strange_folders(root: Path, known: list[str | None], log: Log) -> None:
    """Say which folders of train/images no line of train.csv names."""
    place = root / "train" / "images"
    there = sorted(path.name for path in place.iterdir() if path.is_dir() and not is_hidden(path.name)) if place.is_dir() else []
    if strange := [name for name in there if name not in set(known)]:
        log(
            f"warning: {plural(len(strange), 'folder')} of train/images "
            f"{verb(len(strange), 'is', 'are')} in no line of train.csv and {verb(len(strange), 'is', 'are')} left out: {listed(strange)}"
        )


def _unknown(root: Path, log: Log) -> pl.DataFrame:
    """Return the evaluation rows; answers that are all the same, or blank, are a template and no truth."""
    table, _ = read_delimited(root / "eval" / "info.csv")
    own = ["ImageID", *(["ans"] if "ans" in table.columns else [])]
    table = _table(root / "eval" / "info.csv", own)
    names = table["ImageID"].to_list()
    answers = table["ans"].to_list() if "ans" in table.columns else [None] * len(table)
    given = sorted({answer for answer in answers if answer is not None})
    known = len(given) > 1
    alike = f"every ans is {given[0]!r}" if given else "no ans is given"
    log(
        f"eval/info.csv: {plural(len(table), 'image')}, "
        f"{'with labels' if known else f'without labels ({alike}: a template)' if answers else 'none'}"
    )
    _name_unlisted(root, names, log)
    rows: list[tuple[str | None, ...]] = []
    for (name, *cells), answer in zip(table.rows(), answers, strict=True):
        truth: tuple[str | None, ...] = (None, None, None, None, None)
        code_text = None
        if known and answer is not None:
            if not 0 <= (code := _whole(answer)) < CODES:
                raise DataError(f"eval/info.csv has ans = {answer!r} for {name!r}", need=f"0 to {CODES - 1}")
            truth = (MASKS[code // 6], GENDERS[code // 3 % 2], AGES[code % 3], None, None)
            code_text = str(code)
        rows.append((name, f"eval/images/{name}", None, *truth, "test", code_text, *cells[len(own) - 1 :]))
    return _framed(rows, table.columns[len(own) :])


def _name_unlisted(root: Path, names: Sequence[str], log: Log) -> None:
    """Say which evaluation photos no line of info.csv names."""
    place = root / "eval" / "images"
    there = sorted(path.name for path in place.iterdir() if not is_hidden(path.name)) if place.is_dir() else []
    if unlisted := sorted(images_among(place, there) - set(names)):
        log(
            f"warning: {plural(len(unlisted), 'photo')} of eval/images {verb(len(unlisted), 'is', 'are')} "
            f"in no line of eval/info.csv and {verb(len(unlisted), 'is', 'are')} left out: {listed(unlisted)}"
        )
