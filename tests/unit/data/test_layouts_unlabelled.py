from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from pictures import plant, quiet, save, write_table
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.data import layouts
from tapetum.data.images.archives import read_bytes
from tapetum.data.layouts.unlabelled import group_files


def test_files_folders_and_tables_make_rows_without_labels(tmp_path, monkeypatch):
    drawn, other = plant(tmp_path / "drawn", each=3), plant(tmp_path / "other", each=1)
    monkeypatch.chdir(tmp_path)
    manifest = layouts.loose([drawn.root / "images", other.table, Path("drawn/images/ant/ant_000.png")], Data(), quiet)
    assert len(manifest) == 9 + 3 + 1
    assert all(manifest.paths(row)[0].is_file() for row in range(len(manifest)))
    assert manifest.row_ids[0] == "ant/ant_000.png"
    assert manifest.row_ids[-1] == "drawn/images/ant/ant_000.png"
    assert manifest.targets == ()
    with pytest.raises(DataError, match="stand in more than one row"):
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
    with pytest.raises(DataError, match=r"1 samples lack some of their 2 files .*: d"):
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
