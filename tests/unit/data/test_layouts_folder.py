from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from images import plant, quiet
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.data import layouts


@pytest.fixture
def images(tmp_path: Path) -> Path:
    plant(tmp_path / "drawn", each=3)
    return tmp_path / "drawn" / "images"


def test_class_folders_give_the_label_and_hidden_files_are_counted(images):
    (images / "ant" / "._ant_000.png").write_bytes(b"shadow")
    (images / ".cache").mkdir()
    (images / ".cache" / "a.png").write_bytes(b"")
    (images / "bee" / "notes.txt").write_text("x")
    (images / "bee" / "deeper").mkdir()
    shutil.move(images / "bee" / "bee_001.png", images / "bee" / "deeper" / "bee_001.png")
    said: list[str] = []
    manifest = layouts.read(images, Data(), said.append)
    assert len(manifest) == 9
    assert manifest.targets[0].name == "label"
    assert dict(zip(manifest.row_ids, manifest.frame["label"], strict=True))["bee/deeper/bee_001.png"] == "bee"
    text = "\n".join(said)
    assert "2 hidden files left out" in text
    assert "1 file that is no image left out (1 .txt)" in text
    assert "1 image lies deeper" in text
    assert layouts.read(images, Data(targets=("breed",)), quiet).targets[0].name == "breed"


def test_empty_and_single_classes_are_refused_by_name(images):
    (images / "zebra").mkdir()
    with pytest.raises(DataError, match="1 class folder without images: zebra"):
        layouts.read(images, Data(), quiet)
    for name in ("zebra", "bee", "cat"):
        shutil.rmtree(images / name)
    with pytest.raises(DataError, match="only one class folder, 'ant'"):
        layouts.read(images, Data(), quiet)
    shutil.rmtree(images / "ant")
    with pytest.raises(DataError, match="holds no images"):
        layouts.read(images, Data(), quiet)


def test_an_image_beside_the_class_folders_has_no_label(images):
    shutil.move(images / "ant" / "ant_000.png", images / "ant_000.png")
    with pytest.raises(DataError, match=r"1 of 9 images of .* lies beside the class folders, without a label: ant_000\.png"):
        layouts.read(images, Data(), quiet)


def split_folders(images: Path, root: Path) -> Path:
    for part, number in (("train", 0), ("val", 1), ("test", 2)):
        for name in ("ant", "bee", "cat"):
            (root / part / name).mkdir(parents=True)
            shutil.copy(images / name / f"{name}_00{number}.png", root / part / name)
    return root


def test_train_and_test_folders_with_equal_classes_are_splits(images, tmp_path):
    said: list[str] = []
    root = split_folders(images, tmp_path / "parts")
    manifest = layouts.read(root, Data(), said.append)
    assert any("read as splits" in text for text in said)
    assert manifest.targets[0].classes == ("ant", "bee", "cat")
    by_id = dict(zip(manifest.row_ids, zip(manifest.split, manifest.fold, strict=True), strict=True))
    assert by_id["train/ant/ant_000.png"] == ("train", -1)
    assert by_id["val/ant/ant_001.png"] == ("train", 0)
    assert by_id["test/cat/cat_002.png"] == ("test", -1)
    assert layouts.read(root, Data(split="none"), quiet).targets[0].classes == ("test", "train", "val")


def test_other_classes_below_train_and_test_must_be_declared(images, tmp_path):
    root = split_folders(images, tmp_path / "parts")
    shutil.rmtree(root / "test" / "cat")
    with pytest.raises(DataError, match="do not hold the same class folders"):
        layouts.read(root, Data(), quiet)
    declared = layouts.read(root, Data(split="folder"), quiet)
    assert sorted(set(declared.split)) == ["test", "train"]
    for file in (root / "test").rglob("*.png"):
        shutil.move(file, root / "test" / file.name)
    for folder in ("ant", "bee"):
        (root / "test" / folder).rmdir()
    loose = layouts.read(root, Data(split="folder"), quiet)
    assert loose.frame.filter(loose.frame["split"] == "test")["label"].to_list() == [None, None]


def test_a_zip_archive_reads_as_the_folder_in_it(images, tmp_path):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for file in sorted(images.rglob("*.png")):
            archive.write(file, file.relative_to(images))
        archive.writestr("__MACOSX/ant/._ant_000.png", b"")
    folder, zipped = layouts.read(images, Data(), quiet), layouts.read(tmp_path / "p.zip", Data(), quiet)
    assert zipped.row_ids == folder.row_ids
    assert zipped.frame["label"].equals(folder.frame["label"])
    assert zipped.frame["path"][0].to_list() == ["p.zip!/ant/ant_000.png"]
    (tmp_path / "t.csv").write_text("file,t\np.zip!/ant/ant_000.png,x\np.zip!/bee/bee_009.png,y\n")
    with pytest.raises(DataError, match=r"1 of 2 image files that do not exist: p\.zip!/bee/bee_009\.png"):
        layouts.read(tmp_path / "t.csv", Data(targets=("t",)), quiet)


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "p.zip").write_bytes(b"PK no")
    with pytest.raises(DataError, match=r"p\.zip cannot be read"):
        layouts.read(tmp_path / "p.zip", Data(), quiet)


def test_what_is_written_is_read_as_the_same_table(images, tmp_path):
    root = split_folders(images, tmp_path / "parts")
    for source in (images, root):
        one = layouts.read(source, Data(), quiet)
        if "fold" in one.frame.columns:  # folds of a folder come from val/, which is written as train/
            with pytest.raises(UserError, match="columns fold cannot be held by a folder"):
                layouts.write(one, tmp_path / "x", "folder", quiet)
            assert not (tmp_path / "x").exists()
            continue
        two = layouts.read(layouts.write(one, tmp_path / "again", "folder", quiet), Data(), quiet)
        assert two.frame.equals(one.frame)
        assert (tmp_path / "again" / "ant" / "ant_000.png").read_bytes() == (images / "ant" / "ant_000.png").read_bytes()


def test_a_folder_refuses_what_it_cannot_hold(tmp_path):
    planted = plant(tmp_path, each=2)
    one = layouts.read(planted.table, Data(targets=("label",)), quiet)
    with pytest.raises(UserError, match="columns group cannot be held"):
        layouts.write(one, tmp_path / "x", "folder", quiet)
    many = layouts.read(planted.table, Data(targets=("label:multi",), group="none"), quiet)
    with pytest.raises(UserError, match=r"targets label \(multi\) cannot be held"):
        layouts.write(many, tmp_path / "x", "folder", quiet)


def added(images: Path, column: str, name: str = "more.csv") -> str:
    """Write a table of two new images beside the class folders, with their labels in a column."""
    place = images.parent / "new"
    place.mkdir(exist_ok=True)
    for number in range(2):
        shutil.copy(images / "ant" / f"ant_00{number}.png", place / f"n{number}.png")
    (place / name).write_text(f"path,{column}\nn0.png,ant\nn1.png,bee\n")
    return str(place / name)


@pytest.mark.parametrize("option", ["extra", "test"])
def test_labels_of_an_added_table_are_those_of_the_folder(images, option):
    """The folder's target is found, not declared; the labels of the added rows were dropped without a word."""
    said: list[str] = []
    manifest = layouts.read(images, Data.model_validate({option: (added(images, "label"),)}), said.append)
    assert manifest.frame["label"].to_list()[-2:] == ["ant", "bee"]
    assert any("as in the first table" in text for text in said)
    assert not any("warning" in text for text in said)


def test_added_rows_that_train_nothing_are_counted(images):
    said: list[str] = []
    layouts.read(images, Data(extra=(added(images, "kind"),)), said.append)
    assert "warning: 2 of 2 extra rows have no label and train nothing" in said
