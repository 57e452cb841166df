from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from images import plant, quiet, save
from tapetum.core.config import Data
from tapetum.core.errors import DataError
from tapetum.core.tables import Dense, Predictions
from tapetum.data import layouts
from tapetum.data.images.decode import Composition, compose
from tapetum.data.layouts.class_folders import below_wrappers, is_wrapper_name, split_of
from tapetum.data.layouts.path_templates import group_files


def images(root: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        save(root / name, np.full((4, 4, 3), i % 250, np.uint8))
    return root


def test_folder_above_the_classes_is_read_and_logged(tmp_path):
    planted = plant(tmp_path / "a" / "images", each=2)
    shutil.move(planted.root / "images", tmp_path / "top" / "data" / "images")
    heard: list[str] = []
    manifest = layouts.read(tmp_path / "top", Data(), heard.append)
    assert manifest.targets[0].classes == ("ant", "bee", "cat")
    assert manifest.row_ids[0].startswith("data/images/ant/")
    assert all(path.is_file() for row in range(len(manifest)) for path in manifest.paths(row))
    assert "everything is in the folder data/images" in "\n".join(heard)
    (tmp_path / "top" / "data" / "images" / "zebra").mkdir()
    with pytest.raises(DataError, match="1 class folder without images: zebra"):
        layouts.read(tmp_path / "top", Data(), quiet)


def test_splits_one_folder_too_high_are_splits(tmp_path):
    root = images(tmp_path / "top", *(f"data/{s}/{c}/{s}{c}.png" for s in ("train", "val") for c in "ab"))
    manifest = layouts.read(root, Data(), quiet)
    assert manifest.targets[0].classes == ("a", "b")
    assert sorted(manifest.fold.tolist()) == [-1, -1, 0, 0]


@pytest.mark.parametrize(
    ("names", "above"),
    [
        (["a/x/1.png", "a/y/1.png"], "a/"),
        (["a/b/x/1.png", "a/b/y/1.png"], "a/b/"),
        (["x/1.png", "y/1.png"], ""),
        (["a/1.png", "a/y/1.png"], ""),
        (["a/x/1.png", "0.png"], ""),
        (["a/1.png", "a/2.png"], ""),
        (["1.png"], ""),
    ],
)
def test_wrappers_are_folders_that_hold_everything(names, above):
    assert below_wrappers(names) == above


def test_flat_folder_and_single_class_are_refused_by_folders(tmp_path):
    flat = images(tmp_path / "flat", "0.png", "1.png")
    with pytest.raises(DataError, match=r"flat has 2 images and no class folders, so none has a label: 0\.png") as error:
        layouts.read(flat, Data(), quiet)
    assert "column" not in str(error.value)
    with pytest.raises(DataError, match="no class folders"):
        layouts.read(flat, Data(blank="context"), quiet)
    with pytest.raises(DataError, match="images in only one class folder, 'cats'") as error:
        layouts.read(images(tmp_path / "one", "cats/0.png", "cats/1.png"), Data(), quiet)
    assert "column" not in str(error.value)


def test_a_zip_of_windows_is_read_as_any_other(tmp_path):
    planted = plant(tmp_path / "drawn", each=2)
    for name, member in (("w.zip", "{}"), ("deep.zip", "set\\{}")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in sorted((planted.root / "images").rglob("*.png")):
                info = zipfile.ZipInfo("x")
                info.filename = member.format(file.relative_to(planted.root / "images").as_posix().replace("/", "\\"))
                archive.writestr(info, file.read_bytes())
        manifest = layouts.read(tmp_path / name, Data(), quiet)
        assert manifest.targets[0].classes == ("ant", "bee", "cat")
        assert compose(manifest.paths(0), Composition())[0].shape == (48, 48, 3)
    with zipfile.ZipFile(tmp_path / "dots.zip", "w") as archive:
        for file in sorted((planted.root / "images").rglob("*.png")):
            archive.write(file, f"./{file.relative_to(planted.root / 'images').as_posix()}")
            archive.filelist[-1].filename = f"./{file.relative_to(planted.root / 'images').as_posix()}"
    assert len(layouts.read(tmp_path / "dots.zip", Data(), quiet)) == 6


@pytest.mark.parametrize("names", [("train_sample", "test_sample"), ("train_images", "test_images"), ("images-train-512", "images")])
def test_folders_called_like_parts_never_become_classes(tmp_path, names):
    root = images(tmp_path / "parts", *(f"{name}/{i}.png" for name in names for i in range(2)))
    with pytest.raises(DataError, match="parts of a data set, not of classes") as error:
        layouts.read(root, Data(), quiet)
    assert "--set data.split=none" in str(error.value)
    assert set(layouts.read(root, Data(split="none"), quiet).targets[0].classes) == set(names)


def test_train_and_test_image_folders_are_splits(tmp_path):
    root = images(tmp_path / "parts", *(f"{s}_images/{c}/{s}{c}.png" for s in ("train", "test") for c in "ab"))
    manifest = layouts.read(root, Data(), quiet)
    assert manifest.targets[0].classes == ("a", "b")
    assert sorted(manifest.split) == ["test", "test", "train", "train"]


@pytest.mark.parametrize(
    ("header", "cell", "flag"),
    [
        ("file,label", "train_images/{}.png", "--path file"),
        ("image_id,label", "{}", "--path 'train_images/{image_id}.png'"),
        ("name,label", "{}.png", "--path 'train_images/{name}'"),
    ],
)
def test_table_beside_folders_is_named_with_its_path(tmp_path, header, cell, flag):
    root = images(tmp_path / "kaggle", *(f"train_images/{i}.png" for i in range(6)), "test_images/9.png")
    lines = [header, *(f"{cell.format(i)},{'ab'[i % 2]}" for i in range(6))]
    (root / "train.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"read in two ways: train\.csv names 6 of the 7 images") as error:
        layouts.read(root, Data(), quiet)
    assert flag in str(error.value)
    path = flag.removeprefix("--path ").strip("'")
    assert layouts.read(root / "train.csv", Data(targets=("label",), path=path), quiet).targets[0].classes == ("a", "b")
    assert set(layouts.read(root, Data(layout="folder", split="none"), quiet).targets[0].classes) == {"test_images", "train_images"}


def test_table_repeating_the_folders_is_no_second_reading(tmp_path):
    root = images(tmp_path / "same", *(f"{c}/{c}{i}.png" for c in "xy" for i in range(3)))
    (root / "labels.csv").write_text("file,kind\n" + "".join(f"{c}{i}.png,{c}\n" for c in "xy" for i in range(3)))
    heard: list[str] = []
    assert layouts.read(root, Data(), heard.append).targets[0].classes == ("x", "y")
    assert "labels.csv lists 6 of 6 images; column 'kind' has the same labels as the folders" in "\n".join(heard)
    (root / "labels.csv").write_text("file,kind\n" + "".join(f"{c}{i}.png,{i}\n" for c in "xy" for i in range(3)))
    with pytest.raises(DataError, match="read in two ways"):
        layouts.read(root, Data(), quiet)
    assert layouts.read(root, Data(layout="folder"), quiet).targets[0].classes == ("x", "y")
    (root / "labels.csv").write_text("page,text\n1,a\n")
    assert layouts.read(root, Data(), quiet).targets[0].classes == ("x", "y")


def test_split_words_are_read_in_compound_names():
    assert [split_of(name) for name in ("train", "Train_Images", "images-test-512", "val2017", "validation set", "training")] == [
        *("train", "train", "test", "val", "validation", "training")
    ]
    assert [split_of(name) for name in ("trainer", "bullet_train", "test_tube", "images", "7")] == [None] * 5
    assert [is_wrapper_name(name) for name in ("images", "JPEG", "img_512", "cats", "7")] == [True, True, True, False, False]


CHANNELS = ("red", "green", "blue", "yellow")


def hpa(root: Path, folder: str, ids: str, listed: str) -> Path:
    images(root, *(f"{folder}/{i}_{c}.png" for i in ids for c in CHANNELS))
    (root / "train.csv").write_text("Id,Target\n" + "".join(f"{i},{k} 25\n" for k, i in enumerate(listed)))
    return root


@pytest.mark.parametrize("folder", ["train", "train_sample", "train-512", "train_sample/train"])
def test_hpa_folder_is_recognised_with_partial_images(tmp_path, folder):
    root = images(hpa(tmp_path / "hpa", folder, "ab", "ab"), *(f"test_sample/z_{c}.png" for c in CHANNELS))
    (root / "sample_submission.csv").write_text("Id,Predicted\nz,0\n")
    manifest = layouts.read(root, Data(), quiet)
    assert manifest.layout == "hpa"
    assert manifest.frame["path"].to_list()[-1][0] == "test_sample/z_red.png"
    assert sorted(manifest.split) == ["test", "train", "train"]


def test_partial_hpa_folder_is_refused_unless_allowed(tmp_path):
    root = hpa(tmp_path / "hpa", "train_sample", "ab", "abcdef")
    (root / "train_sample" / "b_blue.png").unlink()
    with pytest.raises(DataError, match="1 of 6 rows complete: red 2, green 2, blue 1, yellow 2"):
        layouts.read(root, Data(), quiet)
    assert len(layouts.read(root, Data(on_bad="skip"), quiet)) == 6


def test_where_no_row_has_all_its_files_they_are_counted(tmp_path):
    for k, channel in enumerate(("red", "green")):
        images(tmp_path, *(f"im/{2 * i + k}_{channel}.png" for i in range(5)))
    (tmp_path / "t.csv").write_text("Id,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(10)))
    with pytest.raises(DataError, match="0 of 10 rows complete: red 5, green 5"):
        layouts.read(tmp_path / "t.csv", Data(targets=("label",), path="im/{Id}_{red,green}.png"), quiet)
    names = [f"im/{2 * i + k}_{c}.png" for k, c in enumerate(("red", "green")) for i in range(5)]
    with pytest.raises(DataError, match="0 of 10 rows complete: red 5, green 5"):
        group_files(names, "im/{Id}_{red,green}.png")


@pytest.mark.parametrize("parts", [("fold1", "fold2"), ("train", "other"), ("site_a", "site_b", "site_c")])
def test_folders_of_equal_folders_never_become_classes(tmp_path, parts):
    root = images(tmp_path / "parts", *(f"{part}/{c}/{part}{c}.png" for part in parts for c in "ab"))
    with pytest.raises(DataError, match="can be read in two ways") as error:
        layouts.read(root, Data(), quiet)
    assert "--layout folder" in str(error.value)
    assert layouts.read(root, Data(layout="folder"), quiet).targets[0].classes == tuple(sorted(parts))


def test_folders_called_trainset_and_testset_are_splits(tmp_path):
    root = images(tmp_path / "parts", *(f"{s}set/{c}/{s}{c}.png" for s in ("train", "test") for c in "ab"))
    manifest = layouts.read(root, Data(), quiet)
    assert (manifest.targets[0].classes, sorted(manifest.split)) == (("a", "b"), ["test", "test", "train", "train"])


@pytest.mark.parametrize("names", [("images", "masks"), ("img", "labels"), ("images", "gt"), ("images", "ground_truth")])
def test_images_and_their_masks_never_become_two_classes(tmp_path, names):
    root = images(tmp_path / "parts", *(f"{name}/{i}.png" for name in names for i in range(2)))
    with pytest.raises(DataError, match="parts of a data set, not of classes"):
        layouts.read(root, Data(), quiet)
    assert set(layouts.read(root, Data(split="none"), quiet).targets[0].classes) == set(names)


def test_classes_that_hold_different_folders_stay_classes(tmp_path):
    root = images(tmp_path / "deep", "cat/day/0.png", "cat/night/1.png", "dog/day/2.png", "masks/a/3.png")
    assert layouts.read(root, Data(), quiet).targets[0].classes == ("cat", "dog", "masks")


def test_table_in_its_own_folder_or_archive_is_found(tmp_path):
    files = [f"images/p{k}/{k}{i}.png" for k in (1, 2) for i in range(3)]
    root = images(tmp_path / "kaggle", *files)
    rows = "".join(f"{file.removeprefix('images/')},{'ab'[i % 2]}\n" for i, file in enumerate(files))
    (root / "meta").mkdir()
    (root / "meta" / "labels.csv").write_text("file,label\n" + rows.replace("p1", "../images/p1").replace("p2", "../images/p2"))
    with pytest.raises(DataError, match=r"labels\.csv names 6 of the 6 images in its column 'file'"):
        layouts.read(root, Data(), quiet)
    with zipfile.ZipFile(tmp_path / "kaggle.zip", "w") as archive:
        for file in files:
            archive.write(root / file, file)
        archive.writestr("images/labels.csv", "file,label\n" + rows)
    with pytest.raises(DataError, match=r"labels\.csv names 6 of the 6 images") as error:
        layouts.read(tmp_path / "kaggle.zip", Data(), quiet)
    assert "unpack the archive and give the table" in str(error.value)
    assert layouts.read(tmp_path / "kaggle.zip", Data(layout="folder"), quiet).targets[0].classes == ("p1", "p2")


def test_proposed_training_path_is_never_the_test_images(tmp_path):
    root = images(tmp_path / "kaggle", *(f"{part}/{i}.png" for part in ("test", "train") for i in range(4)))
    (root / "train.csv").write_text("id,label\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(4)))
    with pytest.raises(DataError, match=r"--path 'train/\{id\}\.png'"):
        layouts.read(root, Data(), quiet)


@pytest.mark.parametrize("other", ["eval", "evaluation_images", "holdout", "unlabeled"])
def test_folders_of_parts_are_no_classes(tmp_path, other):
    root = images(tmp_path / "set", "train/1.png", "train/2.png", f"{other}/3.png", f"{other}/4.png")
    with pytest.raises(DataError, match="names are those of parts of a data set, not of classes"):
        layouts.read(root, Data(), quiet)
    assert set(layouts.read(root, Data(split="none"), quiet).targets[0].classes) == {"train", other}


def test_predictions_beside_class_folders_list_no_labels(tmp_path):
    root = images(tmp_path / "top", *(f"{c}/{c}{i}.png" for c in "ab" for i in range(3)))
    manifest = layouts.read(root, Data(), quiet)
    p = np.full((6, 2), 0.5, dtype=np.float32)
    status = np.full(6, "ok", dtype=object)
    dense = Dense(manifest.targets[0], np.array(manifest.row_ids, dtype=object), p, p, np.full(6, -1, dtype=np.int16), status)
    Predictions.from_dense([dense], member="final", role="test").write(root / "p.parquet")
    assert layouts.read(root, Data(), quiet).row_ids == manifest.row_ids
