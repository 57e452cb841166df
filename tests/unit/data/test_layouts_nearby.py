from __future__ import annotations

import re

import numpy as np
import pytest

from images import quiet, save, write_table
from tapetum.core.config import Data
from tapetum.core.errors import DataError
from tapetum.data import layouts


@pytest.mark.parametrize(
    ("cells", "suggested"),
    [(["a.png", "b.png"], "--path 'train_images/{image_id}'"), (["a", "b"], "--path 'train_images/{image_id}.png'")],
)
def test_images_in_a_folder_below_are_suggested(tmp_path, cells, suggested):
    for name in ("a.png", "b.png"):
        save(tmp_path / "train_images" / name, np.zeros((4, 4, 3), np.uint8))
    table = write_table(tmp_path / "train.csv", ["image_id", "label"], [[cells[0], "x"], [cells[1], "y"]])
    with pytest.raises(DataError, match=re.escape(suggested)) as caught:
        layouts.read(table, Data(targets=("label",)), quiet)
    assert "on-bad" not in str(caught.value)
    path = suggested.removeprefix("--path ").strip("'")
    assert len(layouts.read(table, Data(targets=("label",), path=path), quiet)) == 2


def test_numeric_ids_find_their_images(tmp_path):
    for name in ("7.jpg", "8.jpg"):
        save(tmp_path / name.replace(".jpg", ".png"), np.zeros((4, 4, 3), np.uint8))
    table = write_table(tmp_path / "train.csv", ["id", "label"], [["7", "x"], ["8", "y"]])
    with pytest.raises(DataError, match=re.escape("--path '{id}.png'")):
        layouts.read(table, Data(targets=("label",)), quiet)


def test_without_images_anywhere_the_general_advice_stays(tmp_path):
    table = write_table(tmp_path / "train.csv", ["file", "label"], [["a.png", "x"], ["b.png", "y"]])
    with pytest.raises(DataError, match=re.escape("--on-bad skip")):
        layouts.read(table, Data(targets=("label",)), quiet)
