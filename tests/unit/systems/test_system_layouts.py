from __future__ import annotations

import itertools
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from images import quiet, save, write_table
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest
from tapetum.data import layouts
from tapetum.data.layouts.reading import recognised
from tapetum.decide.sequences import arrange
from tapetum.decide.steps import Rows
from tapetum.learn.windows import window_rows


def gray(value: int = 0) -> np.ndarray:
    return np.full((4, 5), value, np.uint8)


def same(one: Manifest, two: Manifest) -> None:
    """Two manifests agree in rows, targets and the bytes of their images."""
    columns = [c for c in one.frame.columns if c != "path"]
    assert two.frame.select(columns).equals(one.frame.select(columns))
    assert two.targets == one.targets
    for row in range(len(one)):
        assert [p.read_bytes() for p in two.paths(row)] == [p.read_bytes() for p in one.paths(row)]


def agree(source: Path, place: Path, layout: str, data: Data) -> Manifest:
    one = layouts.read(source, data, quiet)
    two = layouts.read(layouts.write(one, place, layout, quiet), data, quiet)
    same(one, two)
    return one


# --------------------------------------------------------------------------------------------------------------- hpa


@pytest.fixture
def hpa(tmp_path: Path) -> Path:
    root = tmp_path / "hpa"
    for part, ids in (("train", "ab"), ("test", "cd")):
        for i, row_id in enumerate(ids):
            for c, colour in enumerate(("red", "green", "blue", "yellow")):
                save(root / part / f"{row_id}_{colour}.png", gray(10 * i + c))
    write_table(root / "train.csv", ["Id", "Target"], [["a", "16 0"], ["b", "25"]])
    write_table(root / "sample_submission.csv", ["Id", "Predicted"], [["c", "0"], ["d", "0"]])
    return root


def test_hpa_reads_four_channels_in_order_and_28_labels(hpa, tmp_path):
    said: list[str] = []
    manifest = layouts.read(hpa, Data(), said.append)
    assert "layout 'hpa'" in said[0]
    assert manifest.row_ids == ["a", "b", "c", "d"]
    assert manifest.split.tolist() == ["train", "train", "test", "test"]
    assert [p.name for p in manifest.paths(0)] == ["a_red.png", "a_green.png", "a_blue.png", "a_yellow.png"]
    truth = manifest.truth("Target")
    assert truth.shape == (4, 28)
    assert np.flatnonzero(truth[0]).tolist() == [0, 16]
    assert np.isnan(truth[2:]).all()
    agree(hpa, tmp_path / "again", "hpa", Data())


def test_hpa_takes_more_columns_in_any_order(hpa):
    whole = layouts.read(hpa, Data(), quiet)
    (hpa / "train.csv").write_text('"Target", "note","Id"\n16 0,x,a\n25,y,b\n', encoding="utf-8")
    said: list[str] = []
    again = layouts.read(hpa, Data(), said.append)
    assert "layout 'hpa'" in said[0]
    assert any("not used: note" in line for line in said)
    same(whole, again)


@pytest.mark.parametrize("labels", [("cat dog", "dog"), ("28 30", "40")])
def test_a_table_of_other_labels_is_not_hpa(hpa, labels):
    write_table(hpa / "train.csv", ["Id", "Target"], [["a", labels[0]], ["b", labels[1]]])
    assert recognised(hpa / "train.csv")[0] == "table"
    assert recognised(hpa)[0] != "hpa"


def test_green_images_alone_are_not_hpa(hpa):
    for colour in ("red", "blue", "yellow"):
        for file in hpa.glob(f"t*/*_{colour}.png"):
            file.unlink()
    assert recognised(hpa / "train.csv")[0] == "table"


def test_hpa_says_its_classes_and_names_a_wrong_cell(hpa):
    said: list[str] = []
    layouts.read(hpa, Data(), said.append)
    assert any("the system 'hpa', which declares Target (28 classes); a table is read otherwise by --layout table" in line for line in said)
    write_table(hpa / "train.csv", ["Id", "Target"], [["a", "16 0"], ["b", "28"]])
    with pytest.raises(DataError, match="28"):
        layouts.read(hpa, Data(), quiet)


def test_hpa_keeps_a_column_of_groups_and_takes_declared_paths(hpa, monkeypatch):
    (hpa / "train.csv").write_text("Id,Target,antibody\na,16 0,x\nb,25,y\n", encoding="utf-8")
    manifest = layouts.read(hpa, Data(group="antibody"), quiet)
    assert dict(zip(manifest.row_ids, manifest.groups, strict=True)) == {"a": "x", "b": "y", "c": "c", "d": "d"}
    said = []
    declared = layouts.read(hpa / "train.csv", Data(group="antibody", path="train/{Id}_{red,green,blue,yellow}.png"), said.append)
    assert declared.row_ids == ["a", "b"]
    assert "sample_submission.csv is passed over: data.path says where the images of train.csv are" in said
    monkeypatch.chdir(hpa)
    with pytest.raises(UserError, match=r"^hpa has no column 'antibdy'"):
        layouts.read(Path("."), Data(group="antibdy"), quiet)


def test_hpa_in_zip_archives_reads_the_same(hpa, tmp_path):
    folder = layouts.read(hpa, Data(), quiet)
    for part, inner in (("train", ""), ("test", "test/")):
        with zipfile.ZipFile(hpa / f"{part}.zip", "w") as archive:
            for file in sorted((hpa / part).iterdir()):
                archive.write(file, inner + file.name)
        shutil.rmtree(hpa / part)
    zipped = layouts.read(hpa, Data(), quiet)
    assert zipped.frame.drop("path").equals(folder.frame.drop("path"))
    assert zipped.frame["path"][0][0] == "train.zip!/a_red.png"
    assert zipped.frame["path"][2][0] == "test.zip!/test/c_red.png"
    copied = layouts.read(layouts.write(zipped, tmp_path / "again", "hpa", quiet), Data(), quiet)
    assert copied.frame.drop("path").equals(folder.frame.drop("path"))
    assert copied.paths(3)[3].read_bytes() != copied.paths(3)[2].read_bytes()


def test_hpa_names_a_missing_channel_and_joins_antibodies_as_groups(hpa, tmp_path):
    write_table(tmp_path / "antibodies.csv", ["Id", "group"], [["a", "AB1"], ["b", "AB1"]])
    manifest = layouts.read(hpa, Data(join=(str(tmp_path / "antibodies.csv"),)), quiet)
    assert manifest.groups.tolist() == ["AB1", "AB1", "c", "d"]
    with pytest.raises(UserError, match="columns group cannot be held by the HPA layout"):
        layouts.write(manifest, tmp_path / "x", "hpa", quiet)
    (hpa / "train" / "b_blue.png").unlink()
    with pytest.raises(DataError, match=r"1 of 16 image files that do not exist: train/b_blue\.png"):
        layouts.read(hpa, Data(), quiet)


def test_hpa_refuses_other_targets_by_name(hpa, tmp_path):
    single = layouts.read(hpa, Data(targets=("Target:single",)), quiet)
    with pytest.raises(UserError, match=r"targets Target \(single\) cannot be held"):
        layouts.write(single, tmp_path / "x", "hpa", quiet)


# ------------------------------------------------------------------------------------------------------------- sleep


@pytest.fixture
def sleep(tmp_path: Path) -> Path:
    root, train, test = tmp_path / "sleep", [], []
    for exam, count, table in (("A2019-NX-01-0001", 4, train), ("A2019-NX-01-0002", 3, train), ("A2019-NX-01-0003", 2, test)):
        for i in range(1, count + 1):
            image = f"{exam}_{i:04d}.png"
            save(root / exam / image, gray(i))
            table.append([exam, image, ["Wake", "N1", "N2", "REM"][i - 1]])
    train[0][2] = ""
    write_table(root / "trainset-for_user.csv", None, train)
    write_table(root / "testset-for_user.csv", None, [row[:2] for row in test])
    table = root / "testset-for_user.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    return root


def test_naming_a_target_keeps_the_layouts_order(hpa, sleep):
    assert len(layouts.read(hpa, Data(targets=("Target:multi",)), quiet).target("Target").classes) == 28
    stages = layouts.read(sleep, Data(blank="context"), quiet).target("stage").classes
    assert layouts.read(sleep, Data(targets=("stage",), blank="context"), quiet).target("stage").classes == stages != tuple(sorted(stages))


def test_sleep_reads_exams_as_sequences_in_time(sleep, tmp_path):
    with pytest.raises(DataError, match=r"1 of 7 training rows has no label: A2019-NX-01-0001_0001\.png"):
        layouts.read(sleep, Data(), quiet)
    data = Data(blank="context", side=("progress", "epochs"))
    manifest = layouts.read(sleep, data, quiet)
    assert len(manifest) == 9
    assert manifest.target("stage").classes == ("Wake", "N1", "N2", "N3", "REM")
    assert manifest.groups[:4].tolist() == ["A2019-NX-01-0001"] * 4
    assert manifest.frame["position"].to_list() == [1, 2, 3, 4, 1, 2, 3, 1, 2]
    assert manifest.frame["progress"].to_list()[:4] == [0.25, 0.5, 0.75, 1.0]
    assert manifest.frame["epochs"].to_list() == [4] * 4 + [3] * 3 + [2] * 2
    assert manifest.split.tolist() == ["train"] * 7 + ["test"] * 2
    assert np.isnan(manifest.truth("stage")[[0, 7, 8]]).all()
    agree(sleep, tmp_path / "again", "sleep", Data(blank="context"))


def test_unlisted_sleep_images_are_counted_or_kept_as_context(sleep):
    table = sleep / "trainset-for_user.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[1:]))
    said: list[str] = []
    assert len(layouts.read(sleep, Data(), said.append)) == 8
    assert any("1 further image of these exams is in no table (A2019-NX-01-0001_0001.png) and is left out" in text for text in said)
    kept = layouts.read(sleep, Data(blank="context"), quiet)
    assert kept.row_ids[0] == "A2019-NX-01-0001_0001.png"
    assert kept.frame["stage"].to_list()[:2] == [None, "N1"]


def test_unlisted_images_of_a_test_exam_are_neighbours_alone(sleep, tmp_path):
    table = sleep / "testset-for_user.csv"
    table.write_text("".join(table.read_text(encoding="utf-8-sig").splitlines(keepends=True)[1:]))
    manifest = layouts.read(sleep, Data(blank="context"), quiet)
    assert manifest.split.tolist() == ["train"] * 7 + ["spare", "test"]
    assert manifest.beside_test.tolist() == [False] * 7 + [True, False]
    assert window_rows(manifest, 2, "last")[8].tolist() == [7, 8]
    agree(sleep, tmp_path / "again", "sleep", Data(blank="context"))


def test_sleep_refuses_unknown_stages_and_exams(sleep, tmp_path):
    table = sleep / "trainset-for_user.csv"
    whole = table.read_text()
    table.write_text(whole.replace("N2", "N22"))
    with pytest.raises(DataError, match="stage = 'N22', which is not among its 5 classes"):
        layouts.read(sleep, Data(blank="context"), quiet)
    table.write_text(whole)
    shutil.move(sleep / "A2019-NX-01-0002", sleep / "elsewhere")
    with pytest.raises(DataError, match="names the exam 'A2019-NX-01-0002', which has no folder"):
        layouts.read(sleep, Data(blank="context"), quiet)
    (sleep / "trainset").mkdir()
    shutil.move(sleep / "elsewhere", sleep / "trainset" / "A2019-NX-01-0002")
    assert len(layouts.read(sleep, Data(blank="context"), quiet)) == 9


def fault(sleep, data=None):
    """Read the exams of ``sleep`` and return what was logged."""
    said: list[str] = []
    layouts.read(sleep, data or Data(blank="context"), said.append)
    return "\n".join(said)


def test_sleep_names_gaps_and_goes_on(sleep):
    exam = "A2019-NX-01-0001"
    table = sleep / "trainset-for_user.csv"
    for number in range(7, 10):
        save(sleep / exam / f"{exam}_{number:04d}.png", gray(number))
    table.write_text(table.read_text() + "".join(f"{exam},{exam}_{n:04d}.png,N2\n" for n in range(7, 10)))
    assert "1 gap in the numbers of exams: A2019-NX-01-0001 5–6 (2 epochs)" in fault(sleep)
    (sleep / exam / f"{exam}_0008.png").unlink()
    table.write_text("".join(line for line in table.read_text().splitlines(keepends=True) if "_0008" not in line))
    assert "2 gaps in the numbers of exams: A2019-NX-01-0001 5–6, A2019-NX-01-0001 8 (3 epochs)" in fault(sleep)
    kept = layouts.read(sleep, Data(blank="context"), quiet).frame.filter(pl.col("sequence") == exam)
    assert kept["position"].to_list() == [1, 2, 3, 4, 7, 9]


def test_sleep_refuses_doubled_and_missing_numbers_by_name(sleep):
    exam, table = "A2019-NX-01-0002", sleep / "trainset-for_user.csv"
    whole = table.read_text()
    save(sleep / exam / f"{exam}_002.png", gray(9))
    with pytest.raises(DataError, match=r"1 image that no table names .*/.*_002\.png \(beside .*_0002\.png\).*remove these files"):
        layouts.read(sleep, Data(blank="context"), quiet)
    assert "_002.png" in fault(sleep, Data(blank="context", on_bad="skip"))
    (sleep / exam / f"{exam}_002.png").unlink()
    table.write_text(whole + f"{exam},{exam}_0002.png,N1\n")
    with pytest.raises(DataError, match="1 number stands twice in an exam: 2 of A2019-NX-01-0002"):
        layouts.read(sleep, Data(blank="context"), quiet)
    save(sleep / exam / "last.png", gray(9))
    table.write_text(whole + f"{exam},last.png,N1\n")
    with pytest.raises(DataError, match=r"names the image 'last\.png'.*order in time"):
        layouts.read(sleep, Data(blank="context"), quiet)
    (sleep / exam / "last.png").unlink()
    table.write_text(whole + "A2019-NX-01-0003,A2019-NX-01-0003_0001.png,N1\n")
    with pytest.raises(DataError, match="both name the exams A2019-NX-01-0003"):
        layouts.read(sleep, Data(blank="context"), quiet)


@pytest.mark.parametrize("cell", ["A2019-NX-01-0001_0099.png", "A2019-NX-01-0002/A2019-NX-01-0002_0003.png", "A2019-NX-01-00020_0009.png"])
def test_sleep_refuses_images_of_another_exam_or_folder(sleep, cell):
    exam, table = "A2019-NX-01-0002", sleep / "trainset-for_user.csv"
    save(sleep / exam / cell.rpartition("/")[2], gray(9))
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]) + f"{exam},{cell},N1\n")
    with pytest.raises(DataError, match=f"names the image '{cell}' in the exam '{exam}'.*--on-bad skip"):
        layouts.read(sleep, Data(blank="context"), quiet)
    said = fault(sleep, Data(blank="context", on_bad="skip"))
    assert "1 of 7 rows of trainset-for_user.csv is left out" in said
    assert cell in said


def test_sleep_counts_rows_of_tables_apart_from_other_images(sleep):
    exam = "A2019-NX-01-0003"
    save(sleep / exam / f"{exam}_0003.png", gray(3))
    save(sleep / exam / "thumb.png", gray(9))
    said = fault(sleep)
    assert "testset-for_user.csv: 2 epochs of 1 exam" in said
    assert f"1 further image of these exams is in no table ({exam}_0003.png) and is kept as context" in said
    assert f"1 image in folders of exams is no epoch of them and is left out: {exam}/thumb.png" in said
    kept = layouts.read(sleep, Data(blank="context"), quiet)
    assert len(kept) == 10
    assert "thumb.png" not in kept.row_ids


@pytest.mark.parametrize(("layout", "table"), [("sleep", "trainset-for_user.csv"), ("masks", "train/train.csv"), ("hpa", "train.csv")])
def test_folders_without_a_layouts_table_are_refused(tmp_path, layout, table):
    with pytest.raises(DataError, match=f"{table} is not in {tmp_path}; needed: a folder with {table}"):
        layouts.read(tmp_path, Data(layout=layout), quiet)


@pytest.mark.parametrize("layout", ["auto", "sleep", "masks", "hpa", "stanford_dogs"])
def test_a_simulations_folder_names_its_data(tmp_path, layout):
    (tmp_path / "simulation.json").write_text("{}")
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=f"name that folder: {tmp_path}/data"):
        layouts.read(tmp_path, Data(layout=layout), quiet)


def test_sleep_names_exams_without_labels_or_table(sleep):
    table, exam = sleep / "trainset-for_user.csv", "A2019-NX-01-0002"
    assert "exams in trainset-for_user.csv have no label" not in fault(sleep)
    lines = table.read_text().splitlines()
    table.write_text("\n".join(f"{line.rpartition(',')[0]}," if exam in line else line for line in lines) + "\n")
    assert f"1 exam in trainset-for_user.csv has no label at all: {exam}; its epochs train and score nothing" in fault(sleep)
    manifest = layouts.read(sleep, Data(blank="context"), quiet)
    assert manifest.frame.filter(pl.col("sequence") == exam)["stage"].null_count() == 3
    save(sleep / "A2019-NX-01-0009" / "A2019-NX-01-0009_0001.png", gray())
    save(sleep / "trainset" / "A2019-NX-01-0010" / "A2019-NX-01-0010_0001.png", gray())
    (sleep / "notes").mkdir()
    said = fault(sleep)
    assert "2 folders of exams are in no table and are left out: A2019-NX-01-0009, trainset/A2019-NX-01-0010" in said
    assert len(layouts.read(sleep, Data(blank="context"), quiet)) == len(manifest)


def test_sleep_sequences_end_at_gaps_and_exams(sleep):
    """The layout's positions, a model's windows and the decoder's slots agree on who is whose neighbour."""
    exam, table = "A2019-NX-01-0001", sleep / "trainset-for_user.csv"
    save(sleep / exam / f"{exam}_0006.png", gray(6))
    table.write_text(table.read_text() + f"{exam},{exam}_0006.png,REM\n")
    manifest = layouts.read(sleep, Data(blank="context"), quiet)
    at = {row_id: i for i, row_id in enumerate(manifest.row_ids)}
    before, after, other = at[f"{exam}_0004.png"], at[f"{exam}_0006.png"], at["A2019-NX-01-0002_0001.png"]
    seen = window_rows(manifest, 2, "last")
    assert seen[after].tolist() == [-1, after]
    assert seen[before].tolist() == [before - 1, before]
    assert seen[other].tolist() == [-1, other]
    step = {frozenset(pair) for block in arrange(Rows.of(manifest)) for line in block.index for pair in itertools.pairwise(line)}
    assert frozenset((before - 1, before)) in step
    assert frozenset((before, after)) not in step
    exams = manifest.frame["sequence"].to_list()
    assert all(exams[a] == exams[b] for a, b in (tuple(pair) for pair in step if len(pair) == 2) if min(a, b) >= 0)


# ------------------------------------------------------------------------------------------------------------- masks


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    root, people = tmp_path / "masks", [("000001", "female", 45), ("000002", "male", 60), ("000003", "male", 29)]
    states = ["mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal"]
    for person, gender, age in people:
        for s, state in enumerate(states):
            suffix = [".jpg", ".jpeg", ".png"][s % 3]
            folder = root / "train" / "images" / f"{person}_{gender}_Asian_{age}"
            save(folder / f"{state}{suffix}", np.full((6, 4, 3), 20 * s, np.uint8))
            (folder / f"._{state}{suffix}").write_bytes(b"Mac OS X shadow")
    rows = [[p, g, "Asian", str(a), f"{p}_{g}_Asian_{a}"] for p, g, a in people]
    write_table(root / "train" / "train.csv", ["id", "gender", "race", "age", "path"], rows)
    for name in ("cbc5c6e1.jpg", "0e72482b.jpg"):
        save(root / "eval" / "images" / name, np.zeros((6, 4, 3), np.uint8))
    write_table(root / "eval" / "info.csv", ["ImageID", "ans"], [["cbc5c6e1.jpg", "0"], ["0e72482b.jpg", "0"]])
    return root


def test_masks_read_seven_images_a_person_and_compose_the_answer(masks):
    said: list[str] = []
    manifest = layouts.read(masks, Data(), said.append)
    assert len(manifest) == 3 * 7 + 2
    assert "21 hidden files left out" in "\n".join(said)
    by_id = dict(zip(manifest.row_ids, manifest.truth("ans").argmax(axis=1), strict=True))
    assert by_id["train/images/000001_female_Asian_45/mask1.jpg"] == 0 * 6 + 1 * 3 + 1
    assert by_id["train/images/000002_male_Asian_60/incorrect_mask.png"] == 1 * 6 + 0 * 3 + 2
    assert by_id["train/images/000003_male_Asian_29/normal.jpg"] == 2 * 6 + 0 * 3 + 0
    assert [t.name for t in manifest.targets] == ["mask", "gender", "age", "ans"]
    assert len(set(manifest.groups[:7])) == 1
    assert np.isnan(manifest.truth("ans")[-2:]).all()
    assert manifest.target("ans").classes == tuple(str(i) for i in range(18))


def test_masks_take_evaluation_answers_only_where_they_differ(masks):
    write_table(masks / "eval" / "info.csv", ["ImageID", "ans"], [["cbc5c6e1.jpg", "11"], ["0e72482b.jpg", "6"]])
    manifest = layouts.read(masks, Data(), quiet)
    assert manifest.frame.select("mask", "gender", "age").rows()[-2:] == [("incorrect", "female", "60+"), ("incorrect", "male", "0-29")]
    assert manifest.truth("ans")[-2:].argmax(axis=1).tolist() == [11, 6]
    said: list[str] = []
    alone = layouts.read(masks, Data(targets=("mask",)), said.append)
    assert [t.name for t in alone.targets] == ["mask"]
    assert "ans" not in alone.frame.columns
    assert any("'ans' is left out" in text for text in said)


def test_masks_round_trip_needs_the_years(masks, tmp_path):
    targets = ("mask:single=worn,incorrect,none", "gender:single=male,female", "age:ordinal=0-29<30-59<60+", "years:regression")
    agree(masks, tmp_path / "again", "masks", Data(targets=targets))
    with pytest.raises(UserError, match="targets mask, gender, age cannot be held by the mask layout"):
        layouts.write(layouts.read(masks, Data(), quiet), tmp_path / "x", "masks", quiet)


def _break(masks: Path, what: str) -> tuple[str, int]:
    """Make one thing wrong with the second person; return what must be named and how many of the 21 training images are left."""
    images, table = masks / "train" / "images", masks / "train" / "train.csv"
    text = table.read_text()
    if what == "photo":
        (images / "000002_male_Asian_60" / "mask3.png").unlink()
        return "000002_male_Asian_60 holds 6 images, unlike the others: mask3", 20
    if what == "doubled":
        save(images / "000002_male_Asian_60" / "mask1.png", np.zeros((6, 4, 3), np.uint8))
        return "000002_male_Asian_60 holds 8 images", 20
    if what == "age":
        table.write_text(text.replace("male,Asian,60,", "male,Asian,160,"))
        return "line 3: 000002 has age '160'", 14
    if what == "gender":
        table.write_text(text.replace("000002,male", "000002,man"))
        return "line 3: 000002 has gender 'man'", 14
    if what == "gone":
        shutil.rmtree(images / "000002_male_Asian_60")
        return "line 3: the folder '000002_male_Asian_60' is not in train/images", 14
    (images / "000002_male_Asian_60").rename(images / "000002-male-60")
    table.write_text(text.replace("000002_male_Asian_60", "000002-male-60"))
    return "line 3: 000002 has the folder '000002-male-60'", 14


@pytest.mark.parametrize("what", ["photo", "doubled", "age", "gender", "gone", "folder"])
def test_masks_refuse_or_skip_a_wrong_person(masks, what):
    named, left = _break(masks, what)
    with pytest.raises(DataError, match=f"3 people, 1 of them unlike the others: .*{re.escape(named)}.*--on-bad skip"):
        layouts.read(masks, Data(), quiet)
    said: list[str] = []
    manifest = layouts.read(masks, Data(on_bad="skip"), said.append)
    assert int((manifest.split == "train").sum()) == left
    assert any(line.startswith("warning: 1 of 3 people") and named in line for line in said)


def test_masks_name_folders_that_no_line_has(masks):
    save(masks / "train" / "images" / "000009_male_Asian_20" / "normal.jpg", np.zeros((6, 4, 3), np.uint8))
    said: list[str] = []
    assert len(layouts.read(masks, Data(), said.append)) == 3 * 7 + 2
    assert any("1 folder of train/images is in no line of train.csv and is left out: 000009_male_Asian_20" in line for line in said)


def test_masks_keep_an_evaluation_row_without_photo(masks):
    (masks / "eval" / "images" / "0e72482b.jpg").unlink()
    with pytest.raises(DataError, match=r"eval/images/0e72482b\.jpg.*--on-bad skip"):
        layouts.read(masks, Data(), quiet)
    said: list[str] = []
    manifest = layouts.read(masks, Data(on_bad="skip"), said.append)
    assert manifest.row_ids[-1] == "0e72482b.jpg"
    assert any("0e72482b.jpg" in line for line in said)


# -------------------------------------------------------------------------------------------------------------- dogs


@pytest.fixture
def dogs(tmp_path: Path) -> Path:
    for folder in ("n02085620-Chihuahua", "n02110958-pug"):
        for i in range(3):
            save(tmp_path / "dogs" / "Images" / folder / f"{folder[:9]}_{i}.jpg", np.full((8, 8, 3), 40 * i, np.uint8))
    return tmp_path / "dogs"


def test_stanford_dogs_drop_the_wordnet_number_from_the_class(dogs, tmp_path):
    said: list[str] = []
    manifest = layouts.read(dogs, Data(), said.append)
    assert "layout 'stanford_dogs'" in said[0]
    assert manifest.target("breed").classes == ("Chihuahua", "pug")
    assert manifest.row_ids[0] == "n02085620-Chihuahua/n02085620_0.jpg"
    agree(dogs, tmp_path / "again", "stanford_dogs", Data())


def test_a_stray_folder_leaves_the_dogs_recognised(dogs):
    (dogs / "Images" / "notes").mkdir()
    assert layouts.read(dogs, Data(), quiet).target("breed").classes == ("Chihuahua", "pug")
    save(dogs / "Images" / "notes" / "a.jpg", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"images outside the folders of breeds: notes/a\.jpg"):
        layouts.read(dogs, Data(), quiet)


def test_stanford_dogs_take_over_the_official_lists(dogs, tmp_path):
    manifest = layouts.read(dogs, Data(), quiet).with_column("split", ["train", "train", "test"] * 2)
    place = layouts.write(manifest, tmp_path / "again", "stanford_dogs", quiet)
    again = layouts.read(place, Data(), quiet)
    same(manifest.with_column("split", manifest.split.tolist()), again)
    assert again.split.tolist() == ["train", "train", "test"] * 2
    save(place / "Images" / "n02110958-pug" / "n02110958_9.jpg", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"1 image is in neither of the official lists: n02110958-pug/n02110958_9\.jpg"):
        layouts.read(place, Data(), quiet)
    other = manifest.with_column("breed", ["pug"] * 5 + ["Chihuahua"])
    with pytest.raises(UserError, match="cannot be held by this layout"):
        layouts.write(other, tmp_path / "x", "stanford_dogs", quiet)
