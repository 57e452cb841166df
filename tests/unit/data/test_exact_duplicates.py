from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from images import quiet, save
from tapetum import api
from tapetum.core.errors import DataError
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data import audit
from tapetum.data.images.decode import Composition


def exams(root: Path, shared: np.ndarray) -> pl.DataFrame:
    """Write four exams of three images, whose first image is the same to the byte."""
    rng = np.random.default_rng(0)
    rows = []
    for exam in "ABCD":
        for n in range(3):
            save(root / f"{exam}{n}.png", shared if n == 0 else rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
            rows.append({"file": str(root / f"{exam}{n}.png"), "stage": "ab"[n % 2], "exam": exam})
    return pl.DataFrame(rows)


def test_blank_images_join_no_exams_and_folds_agree_with_fit(tmp_path):
    table = exams(tmp_path, np.zeros((8, 8, 3), dtype=np.uint8))
    said: list[str] = []
    how = {"data__targets": ["stage"], "group": "exam", "folds": 2}
    found = api.folds(table, out=tmp_path / "m.parquet", log=said.append, **how)
    assert [row["groups"] for row in found["folds"] if row["target"] == "all"] == [2, 2]
    assert any("4 rows are blank images with the same bytes" in text for text in said)


def test_other_duplicates_that_join_too_much_are_named(tmp_path):
    table = exams(tmp_path, np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    with pytest.raises(DataError, match=r"A0\.png is in 4 groups \(A, B, C, D\).*1 group for 2 folds.*exclude=FILE"):
        api.folds(table, data__targets=["stage"], group="exam", folds=2)
    two = table.filter(pl.col("exam").is_in(["A", "B"]) | ~pl.col("file").str.contains("0.png"))
    said: list[str] = []
    found = api.folds(two, data__targets=["stage"], group="exam", folds=2, log=said.append)
    assert sum(row["groups"] for row in found["folds"] if row["target"] == "all") == 3  # A and B are one
    assert any("2 rows are byte-equal duplicates" in text for text in said)


def test_hashes_without_decoding_are_those_of_the_checks(tmp_path):
    table = exams(tmp_path, np.zeros((8, 8, 3), dtype=np.uint8))
    ids = [Path(file).name for file in table["file"]]
    manifest = Manifest(pl.DataFrame({"row_id": [*ids, "gone"], "path": [*([i] for i in ids), ["gone.png"]]}), (), tmp_path)
    assert audit.hashes_of(manifest) == audit.check_files(manifest, Composition(), quiet)["sha256"].to_list()


@pytest.mark.parametrize(
    ("cells", "shown"), [(["a", "b"], r"\(a\).*\(b\)"), ([["a", "b"], ["b"]], r"\(a, b\).*\(b\)"), (["a", None], None)]
)
def test_equal_images_with_several_labels_are_named(tmp_path, cells, shown):
    for name in ("one.png", "two.png"):
        save(tmp_path / name, np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    target = Target("stage", "multi" if isinstance(cells[0], list) else "single", ("a", "b"))
    frame = pl.DataFrame({"row_id": ["one", "two"], "path": [["one.png"], ["two.png"]], "stage": cells})
    manifest, said = Manifest(frame, (target,), tmp_path), []
    audit.exact_duplicates(manifest, ["x", "x"], Composition(), said.append)
    warned = [text for text in said if "1 image is there several times with several labels of 'stage'" in text]
    assert len(warned) == (shown is not None)
    assert shown is None or re.search(f"one {shown.replace('.*', ' and two ')}", warned[0])
