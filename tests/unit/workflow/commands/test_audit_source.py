"""`tapetum audit` of data alone: labels are of use to it, and not needed."""

from __future__ import annotations

import shutil

import polars as pl
import pytest

from images import plant
from tapetum import api


@pytest.fixture
def flat(tmp_path):
    """Six images in one folder, of which ``b.png`` is a copy of another and ``c.jpg`` is none."""
    planted = plant(tmp_path / "drawn", classes=2, each=2, size=16)
    (tmp_path / "flat").mkdir()
    for number, name in enumerate(planted.files):
        shutil.copy(planted.root / name, tmp_path / "flat" / f"a{number}.png")
    shutil.copy(tmp_path / "flat" / "a0.png", tmp_path / "flat" / "b.png")
    (tmp_path / "flat" / "c.jpg").write_bytes(b"\xff\xd8 no more")
    return tmp_path / "flat"


def given(flat, how):
    """Return the same images as a folder, as one class folder, as an archive, as a table or as a frame."""
    names = sorted(path.name for path in flat.iterdir())
    if how == "one class":
        (flat.parent / "above").mkdir()
        return shutil.move(flat, flat.parent / "above" / "cats").parent
    if how == "zip":
        return shutil.make_archive(str(flat.parent / "images"), "zip", flat)
    frame = pl.DataFrame({"file": [f"{flat}/{name}" for name in names], "camera": [name[0] for name in names]})
    if how == "table":
        frame.write_csv(flat.parent / "files.csv")
        return flat.parent / "files.csv"
    return frame if how == "frame" else flat


@pytest.mark.parametrize("how", ["folder", "one class", "zip", "table", "frame"])
def test_images_without_labels_are_audited(flat, tmp_path, how):
    said: list[str] = []
    found = api.audit(given(flat, how), tmp_path / "audit.csv", log=said.append)
    assert (found["rows"], found["findings"].get("exact duplicate")) == (6, 2)
    assert "have no labels: copies with several labels, small classes and label suspects are left out" in found["table"]
    assert any("is read without labels" in line for line in said)


def test_a_copy_in_unlabelled_test_images_is_a_leak(flat, tmp_path):
    (tmp_path / "parts" / "test").mkdir(parents=True)
    shutil.move(flat / "b.png", tmp_path / "parts" / "test")
    shutil.move(flat, tmp_path / "parts" / "train")
    found = api.audit(tmp_path / "parts", tmp_path / "audit.csv", data__split="folder")
    assert found["findings"]["leak"] == 2


def test_an_image_beside_class_folders_is_audited(flat, tmp_path):
    for label in ("ant", "bee"):
        (flat / label).mkdir()
        shutil.copy(flat / "a1.png", flat / label / "d.png")
    found = api.audit(flat, tmp_path / "audit.csv")
    assert found["rows"] == 8
    assert found["findings"]["label conflict"] == 2


def test_images_without_labels_can_be_reviewed(flat, tmp_path):
    found = api.review(flat, tmp_path / "decisions.csv", decisions=tmp_path / "review.sqlite", export=True)
    assert found["rows"] == 6
