"""Layout ``masks``: the 18-class mask set, a folder of seven photos a person: mask state × gender × age.

``train/train.csv`` (id, gender, race, age, path), ``train/images/{id}_{gender}_{race}_{age}/{mask1…mask5,incorrect_mask,normal}.*``,
``eval/info.csv`` (ImageID, ans) and ``eval/images/``. People are groups; the answer is mask*6 + gender*3 + age.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import polars as pl

from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError, listed
from tapetum.core.progress import Log
from tapetum.core.tables import Manifest
from tapetum.data.layouts.delimited import read_delimited, to_delimited
from tapetum.data.layouts.folder import refuse_columns
from tapetum.data.layouts.listing import is_hidden, refuse_undecodable
from tapetum.data.layouts.sheet import Sheet, copy_image, images_among

MASKS, GENDERS, AGES = ("worn", "incorrect", "none"), ("male", "female"), ("0-29", "30-59", "60+")
STATES = {**{f"mask{i}": "worn" for i in range(1, 6)}, "incorrect_mask": "incorrect", "normal": "none"}
COLUMNS = ["id", "gender", "race", "age", "path"]
OLDEST = 100
FOLDER = re.compile(r"[^_]+_(male|female)_[^_]+_\d+")
DERIVED = "mask*6 + gender*3 + age"
TARGETS: tuple[dict[str, Any], ...] = (
    {"name": "mask", "classes": list(MASKS)},
    {"name": "gender", "classes": list(GENDERS)},
    {"name": "age", "kind": "ordinal", "classes": list(AGES)},
)


def recognise(source: Any) -> str | None:
    """Say why ``source`` is of this layout, or None."""
    if isinstance(source, Path) and source.is_dir() and (table := source / "train" / "train.csv").is_file():
        with table.open(encoding="utf-8-sig", errors="replace") as file:
            if file.readline().strip().split(",") == COLUMNS:
                return "train/train.csv has the columns " + ", ".join(COLUMNS)
    return None


def read(source: Path, data: Data, log: Log) -> Sheet:
    """Read the folder; columns ``mask``, ``gender``, ``age`` (three classes), ``years`` (the number), ``race``, ``ans`` (test rows)."""
    if not (source / "train" / "train.csv").is_file():
        raise DataError(f"train/train.csv is not in {source}", need="a folder with train/train.csv and train/images", fix="check the path")
    rows = _people(source, data, log)
    if (source / "eval" / "info.csv").is_file():
        rows += _unknown(source, log)
    columns = ("row_id", "path", "person", "mask", "gender", "age", "years", "race", "split", "ans")
    frame = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")
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
    log(f"{len(people)} people and {int(test.sum())} test images written to {place}")
    return place


def _people(root: Path, data: Data, log: Log) -> list[tuple[str | None, ...]]:
    """Return the rows of the training people; what is wrong with a person is refused, or left out and named where ``on_bad`` is skip."""
    table, _ = read_delimited(root / "train" / "train.csv")
    rows: list[tuple[str | None, ...]] = []
    wrong: list[str] = []
    hidden = 0
    for line, (person, gender, race, years, folder) in enumerate(table.select(COLUMNS).iter_rows(), start=2):
        if problem := _problem(root, person, gender, years, folder):
            wrong.append(f"line {line}: {problem}")
            continue
        names = sorted(path.name for path in (root / "train" / "images" / folder).iterdir())
        refuse_undecodable(names, f"train/images/{folder}")
        hidden += sum(map(is_hidden, names))
        photos = sorted(images_among(root / "train" / "images" / folder, [n for n in names if not is_hidden(n)]))
        found = {Path(name).stem: name for name in photos}
        if len(found) != len(photos) or set(found) != set(STATES):
            odd = sorted(set(STATES) - set(found)) or sorted({n for n in photos if Path(n).stem not in STATES}) or photos
            wrong.append(f"{folder} holds {len(photos)} images, unlike the others: {listed(odd)}")
        for state, mask in STATES.items():
            if state in found:
                name = f"train/images/{folder}/{found[state]}"
                rows.append((name, name, person, mask, gender, age_class(int(years)), years, race, "train", None))
    if wrong and data.on_bad == "refuse":
        raise DataError(
            f"train.csv has {len(table)} people, {len(wrong)} of them unlike the others: {listed(wrong, 5)}",
            need=f"male or female, 0 to 100 years, and a folder id_gender_race_age with the seven images {listed(STATES, 7)}",
            fix="correct them, or go on without what is wrong: --on-bad skip",
        )
    if wrong:
        log(
            f"warning: {len(wrong)} of {len(table)} people are unlike the others, and what is wrong of them is left out: {listed(wrong, 5)}"
        )
    _name_strange_folders(root, table["path"].to_list(), log)
    log(f"train.csv: {len(table)} people, {len(rows)} images" + (f"; {hidden} hidden files left out" if hidden else ""))
    return rows


def _problem(root: Path, person: str | None, gender: str | None, years: str | None, folder: str | None) -> str:
    """Return what is wrong with a line of train.csv, or an empty text."""
    if person is None:
        return "no id"
    if gender not in GENDERS:
        return f"{person} has gender {gender!r}"
    if years is None or not years.isdecimal() or int(years) > OLDEST:
        return f"{person} has age {years!r}"
    if folder is None or not FOLDER.fullmatch(folder):
        return f"{person} has the folder {folder!r}"
    return "" if (root / "train" / "images" / folder).is_dir() else f"the folder {folder!r} is not in train/images"


def _name_strange_folders(root: Path, known: list[str | None], log: Log) -> None:
    """Say which folders of train/images no line of train.csv names."""
    place = root / "train" / "images"
    there = sorted(path.name for path in place.iterdir() if path.is_dir() and not is_hidden(path.name)) if place.is_dir() else []
    if strange := [name for name in there if name not in set(known)]:
        log(f"warning: {len(strange)} folders of train/images are in no line of train.csv and are left out: {listed(strange)}")


def _unknown(root: Path, log: Log) -> list[tuple[str | None, ...]]:
    """Return the evaluation rows; answers that are all the same are a template, not truth."""
    table, _ = read_delimited(root / "eval" / "info.csv")
    answers = table["ans"].to_list() if "ans" in table.columns else [None] * len(table)
    known = len(set(answers)) > 1
    what = "with labels" if known else f"without labels (every ans is {answers[0]!r}: a template)" if answers else "none"
    log(f"eval/info.csv: {len(table)} images, {what}")
    rows: list[tuple[str | None, ...]] = []
    for name, answer in zip(table["ImageID"].to_list(), answers, strict=True):
        truth: tuple[str | None, ...] = (None, None, None, None, None)
        if known and answer is not None:
            if not answer.isdecimal() or int(answer) > 17:
                raise DataError(f"eval/info.csv has ans = {answer!r} for {name!r}", need="0 to 17")
            code = int(answer)
            truth = (MASKS[code // 6], GENDERS[code // 3 % 2], AGES[code % 3], None, None)
        rows.append((name, f"eval/images/{name}", None, *truth, "test", answer if known else None))
    return rows
