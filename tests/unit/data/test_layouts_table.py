from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from images import plant, quiet, save, write_table
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest
from tapetum.data import layouts


def blank_images(root: Path, names: list[str]) -> None:
    for name in names:
        save(root / name, np.zeros((4, 4, 3), np.uint8))


def small(tmp_path: Path, header: list[str], rows: list[list[str]], delimiter: str = ",", name: str = "labels.csv") -> Path:
    column = next(i for i, cell in enumerate(rows[0]) if cell.endswith(".png"))
    blank_images(tmp_path, [row[column] for row in rows])
    return write_table(tmp_path / name, header, rows, delimiter)


ROWS = [["a.png", "x"], ["b.png", "y"], ["c.png", "x"]]


def test_the_schema_that_was_inferred_is_printed(tmp_path):
    said: list[str] = []
    planted = plant(tmp_path, each=2)
    manifest = layouts.read(planted.table, Data(targets=("label",)), said.append)
    text = "\n".join(said)
    assert "path    file   inferred: the only column whose every cell ends like an image file" in text
    assert "group   group  inferred: it is called so" in text
    assert manifest.row_ids == planted.files
    assert manifest.frame["label"].to_list() == planted.labels
    assert manifest.groups.tolist() == planted.groups
    assert manifest.targets[0].classes == ("ant", "bee", "cat")
    assert all(path.is_file() for row in range(len(manifest)) for path in manifest.paths(row))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_delimiters_and_byte_order_marks_give_one_table(tmp_path, delimiter, mark):
    table = small(tmp_path, ["file", "breed"], ROWS, delimiter)
    table.write_bytes(mark + table.read_bytes())
    manifest = layouts.read(table, Data(targets=("breed",)), quiet)
    assert manifest.row_ids == ["a.png", "b.png", "c.png"]
    assert manifest.frame["breed"].to_list() == ["x", "y", "x"]


def test_an_unknown_column_is_answered_with_the_nearest(tmp_path):
    table = small(tmp_path, ["file", "breed"], ROWS)
    with pytest.raises(UserError) as error:
        layouts.read(table, Data(targets=("breeed",)), quiet)
    assert str(error.value) == "labels.csv has no column 'breeed' (it has: file, breed). Did you mean --target breed?"
    for key in ("id", "group", "sequence", "position", "split", "fold", "weight"):
        with pytest.raises(UserError, match="has no column 'nothere'"):
            layouts.read(table, Data(**{"targets": ("breed",), key: "nothere"}), quiet)
    with pytest.raises(UserError) as error:  # as of a recipe made for a folder of splits
        layouts.read(table, Data(targets=("breed",), split="folder"), quiet)
    assert str(error.value).endswith("Did you mean --set data.split=file? Write --set data.split=none where there is none")
    assert "split" not in layouts.read(table, Data(targets=("breed",), split="none"), quiet).frame.columns


def test_without_a_target_the_candidates_are_listed(tmp_path):
    table = small(tmp_path, ["file", "breed", "same"], [[*row, "s"] for row in ROWS])
    with pytest.raises(UserError, match=r"could be one: breed\. .*--target breed"):
        layouts.read(table, Data(), quiet)


def test_ids_are_the_id_column_and_doubles_are_named(tmp_path):
    table = small(tmp_path, ["Id", "file", "breed"], [["7", "a.png", "x"], ["8", "b.png", "y"], ["9", "c.png", "x"]])
    assert layouts.read(table, Data(targets=("breed",)), quiet).row_ids == ["7", "8", "9"]
    assert layouts.read(table, Data(targets=("breed",), id="none"), quiet).row_ids == ["a.png", "b.png", "c.png"]
    doubled = small(tmp_path, ["Id", "file", "breed"], [["7", "a.png", "x"], ["7", "b.png", "y"], ["9", "c.png", "x"]])
    with pytest.raises(DataError, match="more than one row: 7"):
        layouts.read(doubled, Data(targets=("breed",)), quiet)


def test_missing_image_is_named_and_skip_keeps_its_row(tmp_path):
    table = small(tmp_path, ["file", "breed"], ROWS)
    (tmp_path / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 image files that do not exist: b\.png"):
        layouts.read(table, Data(targets=("breed",)), quiet)
    said: list[str] = []
    manifest = layouts.read(table, Data(targets=("breed",), on_bad="skip"), said.append)
    assert len(manifest) == 3
    assert any("b.png" in text for text in said)


def test_two_columns_of_images_are_not_guessed_between(tmp_path):
    rows = [["a.png", "b.png", "x"], ["b.png", "a.png", "y"]]
    blank_images(tmp_path, ["a.png", "b.png"])
    table = write_table(tmp_path / "t.csv", ["left", "right", "side"], rows)
    with pytest.raises(DataError, match="2 columns of image files: left, right"):
        layouts.read(table, Data(targets=("side",)), quiet)
    both = layouts.read(table, Data(targets=("side",), path=("left", "right")), quiet)
    assert both.frame["path"].to_list() == [["a.png", "b.png"], ["b.png", "a.png"]]


def test_template_gives_several_files_a_row_in_order(tmp_path):
    colours = ["red", "green", "blue", "yellow"]
    blank_images(tmp_path, [f"train/{i}_{c}.png" for i in "ab" for c in colours])
    table = write_table(tmp_path / "train.csv", ["Id", "Target"], [["a", "0 3"], ["b", "1"]])
    data = Data(layout="table", targets=("Target:multi",), path="train/{Id}_{red,green,blue,yellow}.png")
    manifest = layouts.read(table, data, quiet)
    assert manifest.row_ids == ["a", "b"]
    assert manifest.frame["path"].to_list() == [[f"train/{i}_{c}.png" for c in colours] for i in "ab"]
    assert manifest.frame["Target"].to_list() == [["0", "3"], ["1"]]
    assert manifest.truth("Target").tolist() == [[1, 0, 1], [0, 1, 0]]
    (tmp_path / "train/b_blue.png").unlink()
    with pytest.raises(DataError, match=r"train/b_blue\.png"):
        layouts.read(table, data, quiet)
    with pytest.raises(UserError, match="no column 'ID'"):
        layouts.read(table, Data(targets=("Target:multi",), path="train/{ID}_{red,green}.png"), quiet)


def test_cells_are_split_only_where_the_target_is_multi(tmp_path):
    table = small(tmp_path, ["file", "t"], [["a.png", "0 3"], ["b.png", "1"]])
    assert layouts.read(table, Data(targets=("t:single",)), quiet).targets[0].classes == ("1", "0 3")
    assert layouts.read(table, Data(targets=("t:multi",)), quiet).targets[0].classes == ("0", "1", "3")
    piped = small(tmp_path, ["file", "t"], [["a.png", "u v|w"], ["b.png", "w"]], name="p.csv")
    manifest = layouts.read(piped, Data(targets=({"name": "t", "kind": "multi", "separator": "|"},)), quiet)
    assert manifest.frame["t"].to_list() == [["u v", "w"], ["w"]]


def test_blank_cells_are_counted_and_refused_without_any_target(tmp_path):
    rows = [["a.png", "x", "1"], ["b.png", "y", ""], ["c.png", "x", "2"], ["d.png", "", "2"]]
    table = small(tmp_path, ["file", "t", "u"], rows)
    said: list[str] = []
    manifest = layouts.read(table, Data(targets=("t", "u:regression")), said.append)
    assert manifest.frame["t"].to_list() == ["x", "y", "x", None]
    assert manifest.frame["u"].to_list() == [1.0, None, 2.0, 2.0]
    assert np.isnan(manifest.truth("t")[3]).all()
    assert sum("blank in 1 of 4" in text for text in said) == 2
    with pytest.raises(DataError, match=r"1 of 4 training rows has no label: d\.png"):
        layouts.read(table, Data(targets=("t",)), quiet)
    with pytest.raises(DataError, match=r"fill them in \(\[\] where an image has none of several labels\), or"):
        layouts.read(table, Data(targets=("t:multi",)), quiet)
    written = small(tmp_path, ["file", "t"], [["a.png", "x"], ["b.png", "y"], ["d.png", "[]"]], name="none.csv")
    assert layouts.read(written, Data(targets=("t:multi",)), quiet).frame["t"].to_list() == [["x"], ["y"], []]
    kept = layouts.read(table, Data(targets=("t",), blank="context"), quiet)
    assert kept.frame["t"].to_list() == ["x", "y", "x", None]


def test_odd_classes_and_numbers_are_refused_by_name(tmp_path):
    rows = [["a.png", "x", "1", ""], ["b.png", "x", "many", ""]]
    table = small(tmp_path, ["file", "t", "u", "v"], rows)
    with pytest.raises(DataError, match="only class 'x'"):
        layouts.read(table, Data(targets=("t",)), quiet)
    with pytest.raises(DataError, match=r"row 'b\.png' has u = 'many'"):
        layouts.read(table, Data(targets=("u:regression",)), quiet)
    with pytest.raises(DataError, match=r"row 'a\.png' has t = 'x', which is not among its 2 classes"):
        layouts.read(table, Data(targets=("t:ordinal=y<z",)), quiet)
    with pytest.raises(UserError, match="ordinal without an order"):
        layouts.read(table, Data(targets=("t:ordinal",)), quiet)


def test_derived_answers_are_composed_and_a_contradiction_is_named(tmp_path):
    rows = [["a.png", "0", "f", "1"], ["b.png", "1", "m", "2"], ["c.png", "1", "f", ""]]
    table = small(tmp_path, ["file", "mask", "gender", "ans"], rows)
    data = Data(targets=("mask", "gender"), derive={"ans": "mask*2 + gender"})
    order = r"counted from 0 in the order gender = f, m; mask = 0, 1\. .*--target 'gender:single=f,m'"
    with pytest.raises(DataError, match=rf"row 'a\.png' has ans = '1', but its parts give '0' \(2 of 2 rows differ\).*{order}"):
        layouts.read(table, data, quiet)
    manifest = layouts.read(table, Data(targets=("mask", "gender"), derive={"sum": "mask*2 + gender"}), quiet)
    assert manifest.truth("sum").argmax(axis=1).tolist() == [0, 3, 2]
    with pytest.raises(UserError, match="uses 'gendr', which is no target"):
        layouts.read(table, Data(targets=("mask", "gender"), derive={"s": "mask*2 + gendr"}), quiet)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,t\na.png,x\nb.png\n", "line 3 has 1 cell"),
        ("a.png,x\nb.png,y\n", "has no header"),
        ("file,t,t\na.png,x,y\n", "two columns called t"),
        ("file,\na.png,x\n", "no name for column 2"),
        (",file,t\n0,a.png,x\n1,b.png,y\n", r"no name for column 1. name it in the header line \(pandas wrote .* index=False\)"),
        ('file,t\na.png,"x\n', "cannot be read near line"),
        ("", "is empty"),
        ("file,t\n", "has no rows"),
    ],
)
def test_broken_tables_are_refused_with_their_line(tmp_path, text, says):
    blank_images(tmp_path, ["a.png", "b.png"])
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        layouts.read(tmp_path / "t.csv", Data(targets=("t",)), quiet)


def test_other_encodings_are_refused_by_byte(tmp_path):
    (tmp_path / "t.csv").write_bytes("file,t\na.png,é\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"t\.csv is not UTF-8 \(line 2: b'a\.png,\\xe9'\)"):
        layouts.read(tmp_path / "t.csv", Data(targets=("t",)), quiet)


def test_split_and_fold_columns_are_taken_over(tmp_path):
    rows = [["a.png", "x", "train"], ["b.png", "y", "Valid"], ["c.png", "x", ""], ["d.png", "", "test"]]
    table = small(tmp_path, ["file", "t", "split"], rows)
    manifest = layouts.read(table, Data(targets=("t",)), quiet)
    assert manifest.split.tolist() == ["train", "train", "train", "test"]
    assert manifest.fold.tolist() == [-1, 0, -1, -1]
    odd = small(tmp_path, ["file", "t", "part"], [["a.png", "x", "train"], ["b.png", "y", "hidden"]], name="odd.csv")
    with pytest.raises(DataError, match=r"row 'b\.png' has split = 'hidden'"):
        layouts.read(odd, Data(targets=("t",), split="part"), quiet)
    folds = small(tmp_path, ["file", "t", "fold"], [["a.png", "x", "0"], ["b.png", "y", "1"], ["c.png", "x", ""]], name="folds.csv")
    assert layouts.read(folds, Data(targets=("t",)), quiet).fold.tolist() == [0, 1, -1]


def test_test_extra_join_exclude_and_side_numbers(tmp_path):
    table = small(tmp_path, ["id", "file", "t"], [["1", "a.png", "x"], ["2", "b.png", "y"], ["3", "c.png", "x"], ["4", "d.png", "y"]])
    deeper = tmp_path / "more"
    small(deeper, ["id", "file"], [["5", "e.png"]], name="test.csv")
    small(deeper, ["id", "file", "t"], [["6", "f.png", "y"]], name="extra.csv")
    write_table(tmp_path / "who.csv", ["id", "group", "size"], [["1", "g", "0.5"], ["2", "g", "2"], ["3", "h", ""], ["9", "h", "1"]])
    (tmp_path / "bad.txt").write_text("# looked at by hand\n4  # gray\n\n")
    data = Data(
        targets=("t",),
        side=("size",),
        join=(str(tmp_path / "who.csv"),),
        test=(str(deeper / "test.csv"),),
        extra=(str(deeper / "extra.csv"),),
        exclude=str(tmp_path / "bad.txt"),
    )
    said: list[str] = []
    manifest = layouts.read(table, data, said.append)
    assert manifest.row_ids == ["1", "2", "3", "5", "6"]
    assert manifest.split.tolist() == ["train", "train", "train", "test", "extra"]
    assert manifest.frame["size"].to_list() == [0.5, 2.0, None, None, None]
    assert manifest.groups.tolist() == ["g", "g", "h", "5", "6"]
    assert manifest.side == ("size",)
    assert [manifest.paths(row)[0].is_file() for row in range(5)] == [True] * 5
    assert any("3 of 4 rows found theirs" in text for text in said)
    (tmp_path / "bad.txt").write_text("44\n")
    with pytest.raises(DataError, match="names 1 row that the data do not have: 44"):
        layouts.read(table, data, quiet)
    write_table(tmp_path / "who.csv", ["id", "group", "size"], [["1", "g", "1"], ["1", "h", "1"]])
    with pytest.raises(DataError, match="several rows for id"):
        layouts.read(table, data, quiet)


def test_a_limit_keeps_shares_and_leaves_the_rest_spare(tmp_path):
    rows = [[f"{i}.png", "xyz"[(i % 10 > 5) + (i % 10 > 8)]] for i in range(100)]
    table = small(tmp_path, ["file", "t"], rows)
    manifest = layouts.read(table, Data(targets=("t",), limit=30), quiet)
    kept = manifest.frame.filter(pl.col("split") == "train")["t"].value_counts()
    assert dict(kept.iter_rows()) == {"x": 18, "y": 9, "z": 3}
    assert (manifest.split == "spare").sum() == 70
    again = layouts.read(table, Data(targets=("t",), limit=20), quiet)
    assert set(again.frame.filter(pl.col("split") == "train")["row_id"]) < set(manifest.frame.filter(pl.col("split") == "train")["row_id"])


@pytest.mark.parametrize("name", ["again.csv", "again.tsv", "again.parquet", "deeper/again.csv"])
def test_what_is_written_is_read_as_the_same_table(tmp_path, name):
    planted = plant(tmp_path, each=3)
    rows = [
        [
            file,
            label,
            group,
            "0-2" if i % 2 else "3-9",
            str(i / 4),
            "u v" if i % 3 else "w",
            str(i % 2),
            "test" if i == 5 else "train",
            str(i),
        ]
        for i, (file, label, group) in enumerate(zip(planted.files, planted.labels, planted.groups, strict=True))
    ]
    table = write_table(tmp_path / "all.csv", ["file", "label", "group", "age", "size", "many", "fold", "split", "depth"], rows)
    data = Data(
        targets=("label", "age:ordinal=0-2<3-9", "size:regression=0.5,1", "many:multi"), side=("depth",), derive={"d": "label*2+age"}
    )
    one = layouts.read(table, data, quiet)
    place = layouts.write(one, tmp_path / name, "table", quiet)
    two = layouts.read(place, data, quiet)
    columns = [c for c in one.frame.columns if c != "path"]
    assert two.frame.select(columns).equals(one.frame.select(columns))
    assert two.targets == one.targets
    assert [p.resolve() for row in range(len(two)) for p in two.paths(row)] == [
        p.resolve() for row in range(len(one)) for p in one.paths(row)
    ]


def test_a_text_table_refuses_what_it_cannot_hold(tmp_path):
    planted = plant(tmp_path, each=2)
    one = layouts.read(planted.table, Data(targets=("label",)), quiet)
    many = layouts.read(planted.table, Data(targets=("label:multi",)), quiet)
    joined = many.with_column("label", [["ant", "one label"], *many.frame["label"].to_list()[1:]])
    with pytest.raises(UserError, match=r"ant_000\.png.*holds the separator ' '"):
        layouts.write(joined, tmp_path / "a.csv", "table", quiet)
    with pytest.raises(UserError, match=r"ant_000\.png.*'\[\]' reads as no label at all"):
        layouts.write(many.with_column("label", [["[]"], *many.frame["label"].to_list()[1:]]), tmp_path / "a.csv", "table", quiet)
    with pytest.raises(UserError, match="columns odd cannot be held"):
        layouts.write(one.with_column("odd", list(range(6))), tmp_path / "a.csv", "table", quiet)
    assert not (tmp_path / "a.csv").exists()


def test_polars_and_pandas_frames_give_the_file_table(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    planted = plant(tmp_path, each=2)
    monkeypatch.chdir(tmp_path)
    one = layouts.read(planted.table, Data(targets=("label",)), quiet)
    for frame in (pl.read_csv(planted.table), pl.scan_csv(planted.table), pandas.read_csv(planted.table)):
        assert layouts.read(frame, Data(targets=("label",)), quiet).frame.equals(one.frame)
    numbers = pandas.DataFrame({"file": planted.files[:3], "t": [1.0, 0.0, float("nan")]})
    kept = layouts.read(numbers, Data(targets=("t",), blank="context"), quiet)
    assert kept.frame["t"].to_list() == ["1", "0", None]
    lists = pl.DataFrame({"file": planted.files[:2], "t": [["u v", "w"], []]})
    assert layouts.read(lists, Data(targets=("t:multi",)), quiet).frame["t"].to_list() == [["u v", "w"], []]


def test_a_written_manifest_is_read_as_it_is(tmp_path):
    planted = plant(tmp_path, each=2)
    one = layouts.read(planted.table, Data(targets=("label:ordinal=cat<bee<ant",)), quiet)
    two = layouts.read(one.write(tmp_path / "m.parquet"), Data(), quiet)
    assert isinstance(two, Manifest)
    assert two.frame.equals(one.frame)
    assert two.targets == one.targets


def test_unknown_layouts_and_sources_are_named(tmp_path):
    planted = plant(tmp_path, each=2)
    with pytest.raises(UserError, match="Did you mean 'table'"):
        layouts.read(planted.table, Data(layout="tabel", targets=("label",)), quiet)
    with pytest.raises(UserError, match="does not exist"):
        layouts.read(tmp_path / "gone.csv", Data(), quiet)
    with pytest.raises(UserError, match="no layout reads"):
        layouts.read(tmp_path / planted.files[0], Data(), quiet)


@pytest.mark.shared_data
def test_real_tables_are_read(shared_data):
    dogs = layouts.read(shared_data / "dogs" / "labels.csv", Data(targets=("breed",)), quiet)
    assert (len(dogs), len(dogs.targets[0].classes)) == (175, 25)
    faces = layouts.read(
        shared_data / "faces" / "labels.csv",
        Data(targets=("gender", "age_group:ordinal=0-2<3-9<10-19<20-29<30-39<40-49<50-59<60-69<70+")),
        quiet,
    )
    assert faces.truth("age_group").sum(axis=0).tolist() == [40.0] * 9


@pytest.mark.parametrize(
    "text", ["sep=|\nfile|label\n{}", '"sep=;"\r\nfile;label\r\n{}', "sep=;,,\nfile;label\n{}", "file|label\n{}", "sep=#\nfile#label\n{}"]
)
def test_separators_that_a_first_line_states_or_bars_are_read(tmp_path, text):
    mark = next(m for m in ";#|" if f"file{m}label" in text)
    end = "\r\n" if "\r" in text else "\n"
    for i in range(2):
        save(tmp_path / f"{i}.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "t.csv").write_text(text.format("".join(f"{i}.png{mark}{'ab'[i]}{end}" for i in range(2))), newline="")
    assert layouts.read(tmp_path / "t.csv", Data(targets=("label",)), quiet).frame["label"].to_list() == ["a", "b"]


def test_windows_and_dotted_paths_name_the_same_files(tmp_path):
    heard: list[str] = []
    blank_images(tmp_path, ["img/0.png", "img/1.png"])
    (tmp_path / "w.csv").write_text("file,label\nimg\\0.png,a\nimg\\1.png,b\n")
    (tmp_path / "d.csv").write_text("file,label\n./img/0.png,a\nimg//./1.png,b\n")
    for name in ("w.csv", "d.csv"):
        manifest = layouts.read(tmp_path / name, Data(targets=("label",)), heard.append)
        assert manifest.row_ids == ["img/0.png", "img/1.png"]
    assert "2 paths are written with backslashes" in "\n".join(heard)
    (tmp_path / "twice.csv").write_text("file,label\n./img/0.png,a\nimg/0.png,b\n")
    with pytest.raises(DataError, match=r"1 id is in more than one row: img/0\.png"):
        layouts.read(tmp_path / "twice.csv", Data(targets=("label",)), quiet)


@pytest.mark.parametrize(("there", "named"), [("0.jpg", "0.JPG"), ("0.png", "0.jpg"), ("cafe\u0301.png", "caf\u00e9.png")])
def test_missing_file_is_answered_with_the_one_there(tmp_path, there, named):
    blank_images(tmp_path, ["img/1.png"])
    (tmp_path / "img" / there).write_bytes(b"x")
    (tmp_path / "t.csv").write_text(f"file,label\nimg/{named},a\nimg/1.png,b\n", encoding="utf-8")
    with pytest.raises(DataError, match="In its place there is") as error:
        layouts.read(tmp_path / "t.csv", Data(targets=("label",)), quiet)
    assert there in str(error.value)


def test_a_decimal_comma_is_named(tmp_path):
    table = small(tmp_path, ["file", "y"], [["0.png", "1,5"], ["1.png", "2,5"]], ";")
    with pytest.raises(DataError, match="a finite number with a decimal point"):
        layouts.read(table, Data(targets=("y:regression",)), quiet)


def test_a_hash_in_an_id_is_no_comment(tmp_path):
    names = ["a.png", "a.png#1.png", "b.png", "c.png"]
    table = small(tmp_path, ["file", "label"], [[name, "xy"[i % 2]] for i, name in enumerate(names)])
    (tmp_path / "out.txt").write_text("a.png#1.png # blurred\n# nothing\nc.png#dark\n")
    data = Data(targets=("label",), path="file", exclude=str(tmp_path / "out.txt"))
    with pytest.raises(DataError, match="only class"):
        layouts.read(table, data, quiet)
    (tmp_path / "out.txt").write_text("a.png#1.png # blurred\n# nothing\n")
    assert layouts.read(table, data, quiet).row_ids == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("odd", [1e31, -1e300, date(2020, 1, 1), datetime(2020, 1, 1)])
def test_side_numbers_that_no_network_takes_are_refused(odd, tmp_path):
    small(tmp_path, ["id", "file", "t"], [["1", "a.png", "x"], ["2", "b.png", "y"]])
    frame = pl.DataFrame({"file": [str(tmp_path / "a.png"), str(tmp_path / "b.png")], "size": [odd, odd]})
    with pytest.raises(DataError, match=r"has size = .*\(2 of 2 cells are no numbers\)"):
        layouts.loose([frame], Data(side=("size",)), quiet)
    assert layouts.loose([frame.with_columns(size=pl.lit(1e29))], Data(side=("size",)), quiet).frame["size"].to_list() == [1e29] * 2


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"extra": ("b.csv", "b.csv")}, r"b\.csv is given twice as --extra"),
        ({"test": ("b.csv", "./b.csv")}, r"b\.csv is given twice as --test"),
        ({"test": ("b.csv",), "extra": ("b.csv",)}, r"b\.csv is given as --test and as --extra"),
        ({"extra": ("labels.csv",)}, r"labels\.csv is given as the data and as --extra"),
    ],
)
def test_table_that_is_given_twice_is_refused_as_that(tmp_path, named, message):
    table = small(tmp_path, ["file", "label"], ROWS)
    write_table(tmp_path / "b.csv", ["file", "label"], [["b2.png", "x"]])
    blank_images(tmp_path, ["b2.png"])
    given = {key: tuple(f"{tmp_path}/{name}" for name in names) for key, names in named.items()}
    with pytest.raises(UserError, match=message):
        layouts.read(table, Data(targets=("label",), **given), quiet)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_none_of_the_labels_is_written_and_read_back(tmp_path, ending):
    many = layouts.read(plant(tmp_path, each=2).table, Data(targets=("label:multi",)), quiet)
    cells = [["ant", "cat"], [], None, *many.frame["label"].to_list()[3:]]
    place = layouts.write(many.with_column("label", cells), tmp_path / f"a.{ending}", "table", quiet)
    read = layouts.read(place, Data(targets=("label:multi",), blank="context"), quiet)
    assert read.frame["label"].to_list() == cells
