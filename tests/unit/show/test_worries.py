"""What to worry about: each kind is told where it is there, and not told where it is not."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from report_runs import dense_of, make_run
from tapetum.core.runs import Run
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.show.first_screen import summary
from tapetum.show.run_files import RunFiles, read_run
from tapetum.show.worries import worries

TARGET = Target("t", "single", ("a", "b"))


def found_of(tmp_path, p, y, fold, group, *, metrics=None, audit=None) -> RunFiles:
    n = len(y)
    frame = pl.DataFrame(
        {
            "row_id": [f"r{i}" for i in range(n)],
            "path": [[f"{i}.png"] for i in range(n)],
            "t": [TARGET.classes[int(k)] for k in y.argmax(1)],
            "group": group,
            "fold": pl.Series(fold, dtype=pl.Int16),
        }
    )
    dense = dataclasses.replace(dense_of(TARGET, p.astype(np.float32), y), fold=np.asarray(fold, dtype=np.int16))
    empty = {name: {} for name in ("members", "history", "schedule", "decisions", "plan", "environment", "record")}
    return RunFiles(
        run=Run(tmp_path),
        manifest=Manifest(frame, (TARGET,), tmp_path),
        final=Predictions.from_dense(dense),
        metrics=metrics or {},
        audit=audit,
        origin=[],
        saliency=[],
        **empty,
    )


def right_share(shares, each, sure):
    """Return predictions of two folds of which such a share is right, all with the same probability."""
    y = np.eye(2, dtype=np.float32)[np.arange(len(shares) * each) % 2]
    fold = np.repeat(np.arange(len(shares)), each)
    right = np.concatenate([np.arange(each) < share * each for share in shares])
    p = np.where(right[:, None], y, 1 - y) * (2 * sure - 1) + (1 - sure)
    return p, y, fold


def kinds(found, **counts):
    return [one.kind for one in worries(found, counts) if one.kind != "Moved"]


def test_calibrated_alike_folds_of_many_groups_worry_nobody(tmp_path):
    p, y, fold = right_share((0.8, 0.8), 50, 0.8)
    assert kinds(found_of(tmp_path, p, y, fold, [f"g{i}" for i in range(100)]), groups=100) == []


def test_overconfidence_is_told_with_its_size(tmp_path):
    p, y, fold = right_share((0.8, 0.8), 50, 0.95)
    (one,) = [w for w in worries(found_of(tmp_path, p, y, fold, [f"g{i}" for i in range(100)]), {"groups": 100}) if w.kind != "Moved"]
    assert one.kind == "Calibration"
    assert "15 points higher" in one.text


def test_folds_that_differ_are_named(tmp_path):
    p, y, fold = right_share((0.5, 0.9), 50, 0.7)
    told = worries(found_of(tmp_path, p, y, fold, [f"g{i}" for i in range(100)]), {"groups": 100})
    text = next(w.text for w in told if w.kind == "Folds differ")
    assert "in fold 0 and" in text
    assert "in fold 1." in text


def test_few_groups_and_groups_divided_between_folds(tmp_path):
    p, y, fold = right_share((0.8, 0.8), 50, 0.8)
    told = kinds(found_of(tmp_path, p, y, fold, [f"g{i % 10}" for i in range(100)]), groups=10)
    assert {"Few groups", "Leak"} <= set(told)


@pytest.mark.parametrize("column", ["findings", "duplicate"])
def test_copies_on_two_sides_are_a_leak(tmp_path, column):
    p, y, fold = right_share((0.8, 0.8), 50, 0.8)
    groups = [f"g{i}" for i in range(100)]
    ids = [f"r{i}" for i in range(100)]
    cells = {
        "findings": [["leak"] if i in (0, 60) else [] for i in range(100)],
        "duplicate": ["r0" if i in (0, 60) else None for i in range(100)],
    }
    audit = pl.DataFrame({"row_id": ids, column: cells[column]})
    assert kinds(found_of(tmp_path, p, y, fold, groups, audit=audit), groups=100) == ["Leak"]
    same = pl.DataFrame({"row_id": ids, "duplicate": ["r0" if i in (0, 1) else None for i in range(100)]})
    assert kinds(found_of(tmp_path, p, y, fold, groups, audit=same), groups=100) == []


def test_an_in_sample_figure_and_small_classes_are_told(tmp_path):
    p, y, fold = right_share((0.8, 0.8), 50, 0.8)
    figure = {"target": "t", "name": "final", "metric": "accuracy", "how": "in-sample", "value": 0.8, "marks": []}
    about = ["1 of 2 classes has fewer than 140 groups", "3 files have names of ImageNet: x"]
    metrics = {"headline": {"target": "t", "metric": "accuracy"}, "figures": [figure], "data": about}
    told = kinds(found_of(tmp_path, p, y, fold, [f"g{i}" for i in range(100)], metrics=metrics), groups=100)
    assert told == ["In-sample", "Small classes", "ImageNet"]


def test_first_screen_has_question_result_and_baseline(tmp_path):
    found = read_run(make_run(tmp_path, rows=60))
    shown = summary(found, {"rows": 60, "groups": 30}, 4)
    assert shown["asked"][0].startswith("Which of 4 classes is breed: pug, boxer")
    assert shown["data"] == "60 images in 30 groups, each held out once in 4 folds"
    apart = summary(found, {"rows": 70, "scored": 60, "groups": 30}, 4)["data"]
    assert apart == "60 images in 30 groups, each held out once in 4 folds; 10 more rows in other splits"
    alone = summary(found, {"rows": 60, "groups": 60}, 4)["data"]  # each image is its own group
    assert alone == "60 images, each held out once in 4 folds"
    assert [one["target"] for one in shown["results"]] == ["breed", "marks", "age", "weight_kg"]
    figures = {(f["target"], f["how"]): f["value"] for f in found.metrics["figures"] if f["name"] == "final"}
    assert [one["figure"]["value"] for one in shown["results"]] == [figures[t.name, "cross-validated"] for t in found.targets]
