from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from images import plant, quiet, save, write_table
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.data import layouts
from tapetum.data.images.archives import read_bytes
from tapetum.data.layouts.path_templates import group_files


def test_files_folders_and_tables_make_rows_without_labels(tmp_path, monkeypatch):
    drawn, other = plant(tmp_path / "drawn", each=3), plant(tmp_path / "other", each=1)
    monkeypatch.chdir(tmp_path)
    manifest = layouts.loose([drawn.root / "images", other.table, Path("drawn/images/ant/ant_000.png")], Data(), quiet)
    assert len(manifest) == 9 + 3 + 1
    assert all(manifest.paths(row)[0].is_file() for row in range(len(manifest)))
    assert manifest.row_ids[0] == "ant/ant_000.png"
    assert manifest.row_ids[-1] == "drawn/images/ant/ant_000.png"
    assert manifest.targets == ()
    with pytest.raises(DataError, match="are in more than one row"):
        layouts.loose([drawn.root / "images", drawn.root / "images"], Data(), quiet)
    with pytest.raises(UserError, match="does not exist"):
        layouts.loose(["nowhere"], Data(), quiet)


def test_a_flat_folder_needs_no_classes(tmp_path):
    for i in range(3):
        save(tmp_path / "new" / f"{i}.png", np.zeros((4, 4, 3), np.uint8))
    assert layouts.loose([tmp_path / "new"], Data(), quiet).row_ids == ["0.png", "1.png", "2.png"]


def test_what_belongs_to_training_does_not_hold_for_prediction(tmp_path):
    planted = plant(tmp_path, each=2)
    rows = [[f, "train" if i else "val", str(i % 2)] for i, f in enumerate(planted.files)]
    table = write_table(tmp_path / "new.csv", ["file", "split", "fold"], rows)
    data = Data(targets=("label",), group="group", test=("gone.csv",), exclude="gone.txt", limit=2, id="nothere")
    manifest = layouts.loose([table], data, quiet)
    assert manifest.row_ids == planted.files
    assert not {"split", "fold", "label"} & set(manifest.frame.columns)


def test_files_of_one_sample_are_joined_by_the_template(tmp_path):
    template = "train/{Id}_{red,green}.png"
    names = ["x/a_b_green.png", "x/a_b_red.png", "c_red.png", "c_green.png", "x/notes.png"]
    assert group_files(names, template) == [("x/a_b", ["x/a_b_red.png", "x/a_b_green.png"]), ("c", ["c_red.png", "c_green.png"])]
    with pytest.raises(DataError, match=r"1 sample lacks some of the 2 files .*: d"):
        group_files(["d_red.png"], template)
    for name in names:
        save(tmp_path / "test" / name, np.full((4, 4), len(name), np.uint8))
    said: list[str] = []
    folder = layouts.loose([tmp_path / "test"], Data(path=template), said.append)
    assert folder.row_ids == ["c", "x/a_b"]
    assert [p.name for p in folder.paths(1)] == ["a_b_red.png", "a_b_green.png"]
    assert any("do not fit are left out: x/notes.png" in text for text in said)
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as archive:
        for name in names:
            archive.write(tmp_path / "test" / name, name)
    zipped = layouts.loose([tmp_path / "test.zip"], Data(path=template), quiet)
    assert zipped.row_ids == folder.row_ids
    assert read_bytes(zipped.paths(1)[1]) == folder.paths(1)[1].read_bytes()


def test_a_challenges_folder_is_read_by_its_own_layout(tmp_path):
    for row_id in "ab":
        for colour in ("red", "green", "blue", "yellow"):
            save(tmp_path / "train" / f"{row_id}_{colour}.png", np.zeros((4, 4), np.uint8))
    write_table(tmp_path / "train.csv", ["Id", "Target"], [["a", "16 0"], ["b", "25"]])
    whole = layouts.loose([tmp_path], Data(), quiet)
    part = layouts.loose([tmp_path / "train"], Data(layout="hpa"), quiet)
    assert whole.row_ids == part.row_ids == ["a", "b"]
    assert [len(paths) for paths in part.frame["path"]] == [4, 4]


# ---------------------------------------------------------------------------------- the source's own layout, not training's


@pytest.mark.parametrize("fitted", ["folder", "frame", "table", "webdataset", "sleep", "stanford_dogs"])
def test_table_is_read_whatever_the_pipeline_was_trained_on(tmp_path, fitted):
    planted = plant(tmp_path, classes=2, each=2)
    table = write_table(tmp_path / "new.csv", ["file"], [[f] for f in planted.files])
    data = Data(layout=fitted, path="gone", id="key", group="person")
    assert layouts.loose([table], data, quiet).row_ids == planted.files
    frame = pl.DataFrame({"file": [str(tmp_path / f) for f in planted.files]})
    pandas = pytest.importorskip("pandas").DataFrame({"file": frame["file"].to_list()})
    assert len(layouts.loose([frame], data, quiet)) == len(layouts.loose([pandas], data, quiet)) == 4
    assert len(layouts.loose([tmp_path / "images"], data, quiet)) == 4


def test_columns_of_targets_are_no_ids_paths_or_roles(tmp_path):
    planted = plant(tmp_path, classes=2, each=2)
    rows = [[f, "ant", "same.png", str(i)] for i, f in enumerate(planted.files)]
    table = write_table(tmp_path / "new.csv", ["file", "id", "copy", "sequence"], rows)
    manifest = layouts.loose([table], Data(), quiet, targets=("id", "copy", "sequence"))
    assert manifest.row_ids == planted.files
    assert manifest.frame["path"].list.len().unique().to_list() == [1]
    assert "sequence" not in manifest.frame.columns
    declared = layouts.loose([table], Data(), quiet, targets=("id", "copy"), declared={"sequence": "sequence", "id": "file"})
    assert declared.frame["sequence"].to_list() == ["0", "1", "2", "3"]


def test_template_finds_its_files_in_their_folder(tmp_path):
    for place in ("train_sample", "test_sample"):
        for name in "ab" if place == "train_sample" else "cd":
            for colour in ("red", "green"):
                save(tmp_path / place / f"{name}_{colour}.png", np.zeros((4, 4), np.uint8))
    said: list[str] = []
    test = write_table(tmp_path / "test.csv", ["Id"], [["c"], ["d"]])
    data = Data(path="train_sample/{Id}_{red,green}.png", id="Id")
    manifest = layouts.loose([test], data, said.append)
    assert all(path.is_file() for row in range(2) for path in manifest.paths(row))
    assert any("test_sample/ holds 4: read from there" in text for text in said)
    own = layouts.loose([write_table(tmp_path / "own.csv", ["Id"], [["a"], ["z"]])], data, quiet)
    assert [p.parent.name for p in own.paths(0)] == ["train_sample"] * 2
    declared = layouts.loose([test], data, quiet, declared={"path": "train_sample/{Id}_{red,green}.png"})
    assert declared.paths(0)[0].parent.name == "train_sample"  # as it was said, and the rows are missing
    split = layouts.loose([write_table(tmp_path / "s.csv", ["Id"], [["c"]])], Data(path="{split}_sample/{Id}_{red,green}.png"), quiet)
    assert split.paths(0)[0].parent.name == "test_sample"
    for colour in ("red", "green"):
        save(tmp_path / "other" / f"c_{colour}.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r"2 folders hold 2 of the 2 files .*: other/, test_sample/.*--path 'other/"):
        layouts.loose([write_table(tmp_path / "c.csv", ["Id"], [["c"]])], data, quiet)


def test_absent_files_are_rows_of_a_prediction(tmp_path):
    planted = plant(tmp_path, classes=2, each=2)
    table = write_table(tmp_path / "new.csv", ["file"], [[f] for f in [*planted.files, "images/gone.png"]])
    said: list[str] = []
    assert len(layouts.loose([table], Data(on_bad="refuse"), said.append)) == 5
    assert any("1 of 5 image files that do not exist; their rows stay as missing: images/gone.png" in text for text in said)
    with pytest.raises(DataError, match=r"images/gone\.png.*--on-bad skip"):
        layouts.loose([table], Data(), quiet, declared={"on_bad": "refuse"})
    for name in ("a_red.png", "a_green.png", "b_red.png"):
        save(tmp_path / "cells" / name, np.zeros((4, 4), np.uint8))
    cells = layouts.loose([tmp_path / "cells"], Data(path="{Id}_{red,green}.png"), quiet)
    assert cells.row_ids == ["a", "b"]
    assert [p.name for p in cells.paths(1)] == ["b_red.png", "b_green.png"]


def test_blank_path_is_a_missing_row_with_ids(tmp_path):
    planted = plant(tmp_path, classes=2, each=1)
    table = write_table(tmp_path / "new.csv", ["id", "file"], [["a", planted.files[0]], ["b", ""]])
    said: list[str] = []
    manifest = layouts.loose([table], Data(path="file"), said.append)
    assert manifest.row_ids == ["a", "b"]
    assert not manifest.paths(1)[0].exists()
    assert any("names no image in 1 of 2 rows of 'file'" in text for text in said)
    with pytest.raises(DataError, match="row 2 has no image in column 'file'"):
        layouts.loose([table], Data(path="file"), quiet, declared={"on_bad": "refuse"})


def test_what_is_declared_for_a_prediction_must_be_there(tmp_path):
    planted = plant(tmp_path, classes=2, each=2)
    table = write_table(tmp_path / "new.csv", ["file"], [[f] for f in planted.files])
    for role in ("id", "group", "sequence", "position"):
        with pytest.raises(UserError, match=r"has no column 'fille' .*Did you mean --.* file"):
            layouts.loose([table], Data(), quiet, declared={role: "fille"})
        with pytest.raises(UserError, match=f"--{role} night names a column"):
            layouts.loose([tmp_path / "images"], Data(), quiet, declared={role: "night"})
    with pytest.raises(UserError, match="skip or refuse"):
        layouts.loose([table], Data(), quiet, declared={"on_bad": "drop"})
    with pytest.raises(UserError, match="Did you mean 'path'"):
        layouts.loose([table], Data(), quiet, declared={"paths": "file"})
    with pytest.raises(DataError, match="has no column 'depth'"):
        layouts.loose([table], Data(side=("depth",)), quiet)
