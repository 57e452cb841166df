"""The layout of `mask`: order of classes, other headers, lines that contradict the folders, and what evaluation tables may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from images import quiet, save, write_table
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.data import layouts
from tapetum.data.layouts.reading import recognised
from tapetum.systems.mask.layout import COLUMNS, STATES

PEOPLE = [("000001", "female", "45"), ("000002", "male", "60"), ("000003", "male", "29")]
LINES = [[person, gender, "Asian", age, f"{person}_{gender}_Asian_{age}"] for person, gender, age in PEOPLE]
NAMED = ("mask", "gender", "age:ordinal=0-29<30-59<60+")
ANS = {"ans": "mask*6 + gender*3 + age"}


@pytest.fixture
def people(tmp_path: Path) -> Path:
    root = tmp_path / "people"
    for *_, folder in LINES:
        for state in STATES:
            save(root / "train/images" / folder / f"{state}.png", np.zeros((4, 4, 3), np.uint8))
    write_table(root / "train/train.csv", COLUMNS, LINES)
    for name in ("a.png", "b.png", "c.png"):
        save(root / "eval/images" / name, np.zeros((4, 4, 3), np.uint8))
    answers(root, "0", "0", "0")
    return root


def answers(root: Path, *given: str, column: str = "ImageID") -> None:
    write_table(root / "eval/info.csv", [column, "ans"], [[f"{name}.png", ans] for name, ans in zip("abc", given, strict=True)])


def train_csv(root: Path, **cells: str) -> None:
    """Change cells of the second person's line."""
    changed = [cells.get(column, cell) for column, cell in zip(COLUMNS, LINES[1], strict=True)]
    write_table(root / "train/train.csv", COLUMNS, [LINES[0], changed, LINES[2]])


def codes(manifest) -> list[str]:
    return [str(code) for code in manifest.truth("ans").argmax(axis=1)[: manifest.split.tolist().count("train")]]


@pytest.mark.parametrize("derive", [{}, ANS])
def test_naming_the_targets_keeps_the_codes(people, derive):
    whole = layouts.read(people, Data(), quiet)
    named = layouts.read(people, Data(targets=NAMED, derive=derive, group="person"), quiet)
    assert codes(named) == codes(whole)
    assert named.target("mask").classes == ("worn", "incorrect", "none")
    assert layouts.read(people, Data(targets=("age",)), quiet).target("age").kind == "ordinal"
    with pytest.raises(UserError, match="'mask' is ordinal without an order"):
        layouts.read(people, Data(targets=("mask:ordinal",)), quiet)


def test_another_order_never_gives_other_codes(people):
    other = ("mask:single=none,incorrect,worn", "gender", "age")
    with pytest.raises(UserError, match=r"'ans' gives other codes than this layout's.*mask none would be 0 instead of 12"):
        layouts.read(people, Data(targets=other, derive=ANS), quiet)
    said: list[str] = []
    assert [t.name for t in layouts.read(people, Data(targets=other), said.append).targets] == ["mask", "gender", "age"]
    assert any("'ans' is left out" in line and "mask = worn, incorrect, none" in line for line in said)
    same = layouts.read(people, Data(targets=other, derive={"ans": "(2-mask)*6 + gender*3 + age"}), quiet)
    assert codes(same) == codes(layouts.read(people, Data(), quiet))


def test_tables_written_of_it_keep_the_codes(people, tmp_path):
    whole = layouts.read(people, Data(), quiet)
    parquet = whole.write(tmp_path / "m.parquet")
    assert codes(layouts.read(parquet, Data(targets=NAMED, derive=ANS), quiet)) == codes(whole)
    assert "--target 'mask:single=worn,incorrect,none'" in layouts.flags(whole)
    assert "--target 'gender:single=male,female'" in layouts.flags(whole)


@pytest.mark.parametrize(
    "header",
    ['"id","gender","race","age","path"', "id, gender, race, age, path", "id;gender;race;age;path"],
)
def test_a_header_in_another_dress_is_recognised(people, header):
    table = people / "train/train.csv"
    rest = table.read_text(encoding="utf-8").splitlines()[1:]
    table.write_text("\n".join([header, *(line.replace(",", ";") if ";" in header else line for line in rest)]), encoding="utf-8")
    assert recognised(people)[0] == "masks"
    assert len(layouts.read(people, Data(), quiet)) == 3 * 7 + 3


def test_more_columns_in_another_order_are_read_alike(people):
    write_table(people / "train/train.csv", ["note", *reversed(COLUMNS)], [["x", *reversed(line)] for line in LINES])
    assert recognised(people)[0] == "masks"
    assert len(set(layouts.read(people, Data(), quiet).groups[:21])) == 3
    write_table(people / "train/train.csv", ["ID", *COLUMNS[1:]], LINES)
    with pytest.raises(DataError, match=r"train/train\.csv has no column 'id'"):
        layouts.read(people, Data(), quiet)


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({"path": LINES[0][4]}, f"line 3: 000002 has id '000002', gender 'male', age '60' and the folder '{LINES[0][4]}'"),
        ({"id": "000001"}, f"line 3: 000001 has id '000001' and the folder '{LINES[1][4]}'"),
        ({"gender": "female"}, "line 3: 000002 has gender 'female' and the folder"),
        ({"age": "20"}, "line 3: 000002 has age '20' and the folder"),
        ({"race": "Other"}, "line 3: 000002 has race 'Other' and the folder"),
        ({"path": f"../images/{LINES[1][4]}"}, "line 3: 000002 has the folder"),
        ({"age": "60.5"}, "line 3: 000002 has age '60.5', which is no whole number"),
    ],
)
def test_a_line_that_contradicts_its_folder_is_named(people, cells, says):
    train_csv(people, **cells)
    with pytest.raises(DataError, match=r"1 of them unlike the others") as found:
        layouts.read(people, Data(), quiet)
    assert says in str(found.value)
    left = layouts.read(people, Data(on_bad="skip"), quiet)
    assert set(left.groups[:14]) == {"000001", "000003"}


def test_doubled_lines_are_named_and_skipped(people):
    write_table(people / "train/train.csv", COLUMNS, [*LINES, LINES[1]])
    with pytest.raises(DataError, match=r"line 5: the folder '000002_male_Asian_60' stands in line 3 already.*--on-bad skip"):
        layouts.read(people, Data(), quiet)
    assert len(layouts.read(people, Data(on_bad="skip"), quiet)) == 3 * 7 + 3


def test_whole_ages_with_a_point_are_read(people):
    train_csv(people, age="60.0")
    assert layouts.read(people, Data(), quiet).frame["age"].to_list()[7:14] == ["60+"] * 7
    write_table(people / "train/train.csv", COLUMNS, [[*line[:3], "old", line[4]] for line in LINES])
    with pytest.raises(DataError, match="has age 'old', which is no whole number from 0 to 100"):
        layouts.read(people, Data(on_bad="skip"), quiet)


def test_both_photos_of_a_doubled_state_are_left_out(people):
    save(people / "train/images" / LINES[1][4] / "mask1.jpg", np.zeros((4, 4, 3), np.uint8))
    save(people / "train/images" / LINES[0][4] / "more/mask1.png", np.zeros((4, 4, 3), np.uint8))
    said: list[str] = []
    left = layouts.read(people, Data(on_bad="skip"), said.append).row_ids
    assert not [name for name in left if name.startswith(f"train/images/{LINES[1][4]}/mask1.")]
    assert any("mask1 2 times (mask1.jpg, mask1.png)" in line for line in said)
    assert any(f"1 image lies in folders within those of people and is left out: {LINES[0][4]}/more/mask1.png" in line for line in said)


def test_blanks_are_no_second_answer(people):
    answers(people, "0", "", "0")
    said: list[str] = []
    manifest = layouts.read(people, Data(), said.append)
    assert np.isnan(manifest.truth("ans")[-3:]).all()
    assert any("every ans is '0': a template" in line for line in said)
    answers(people, "0", "", "17")
    assert layouts.read(people, Data(), quiet).frame["mask"].to_list()[-3:] == ["worn", None, "none"]


def test_odd_evaluation_tables_are_named(people):
    answers(people, "0", "0", "0", column="image")
    with pytest.raises(DataError, match=r"eval/info.csv has no column 'ImageID' \(it has: image, ans\)"):
        layouts.read(people, Data(), quiet)
    write_table(people / "eval/info.csv", ["ImageID", "ans"], [["b.png", "0"]])
    said: list[str] = []
    layouts.read(people, Data(), said.append)
    assert any("2 photos of eval/images are in no line of eval/info.csv and are left out: a.png, c.png" in line for line in said)


def test_further_columns_of_both_tables_are_kept(people):
    whole = layouts.read(people, Data(), quiet)
    lines = [[*line, family, "x"] for line, family in zip(LINES, ("f1", "f1", "f2"), strict=True)]
    write_table(people / "train/train.csv", [*COLUMNS, "family", "split"], lines)
    write_table(people / "eval/info.csv", ["family", "ImageID", "ans"], [["f3", f"{name}.png", "0"] for name in "abc"])
    again = layouts.read(people, Data(group="family"), quiet)
    assert again.groups.tolist() == ["f1"] * 14 + ["f2"] * 7 + ["f3"] * 3
    assert again.split.tolist() == whole.split.tolist()
    assert codes(again) == codes(whole)


def test_a_table_of_other_paths_is_not_this_layout(people, tmp_path):
    said: list[str] = []
    layouts.read(people, Data(), said.append)
    assert any("the system 'mask', which declares mask (3 classes), gender (2 classes), age (3 classes);" in line for line in said)
    own = tmp_path / "own"
    for name in "abcd":
        save(own / "train" / f"{name}.png", np.zeros((4, 4, 3), np.uint8))
    write_table(own / "train/train.csv", COLUMNS, [[name, "male", "x", "30", f"{name}.png"] for name in "abcd"])
    assert recognised(own)[0] != "masks"
    assert recognised(own / "train/train.csv")[0] == "table"
