"""No row is lost, doubled or moved, whatever cannot be read."""

import numpy as np
import polars as pl
import pytest

import small_runs
from tapetum.core import files
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions

BROKEN = "images/cat/cat_007.png"
BROKEN_TEST = "more/images/bee/bee_001.png"


def test_out_of_fold_rows_stand_once_and_broken_are_missing(tuned, damaged):
    table = Predictions.read(tuned / "oof.parquet")
    wanted = pl.read_csv(damaged / "labels.csv")["file"].to_list()
    assert sorted(table.frame["row_id"].to_list()) == sorted(wanted)
    assert table.members == ["final"]
    status = dict(table.frame.select("row_id", "status").iter_rows())
    assert {row for row, s in status.items() if s != "ok"} == {BROKEN}
    assert status[BROKEN] == "missing"


def test_the_test_part_stands_once_and_holds_no_training_row(tuned, damaged):
    table = Predictions.read(tuned / "test.parquet")
    assert sorted(table.frame["row_id"].to_list()) == sorted(pl.read_csv(damaged / "test.csv")["file"].to_list())
    assert set(table.frame["role"]) == {"test"}
    assert dict(table.frame.select("row_id", "status").iter_rows())[BROKEN_TEST] == "missing"


def test_truth_in_the_table_is_the_labels_files(tuned, damaged):
    dense = Predictions.read(tuned / "oof.parquet").dense("label")
    label = dict(pl.read_csv(damaged / "labels.csv").select("file", "label").iter_rows())
    assert [dense.target.classes[k] for k in dense.y.argmax(axis=1)] == [label[row] for row in dense.row_ids]


def test_each_row_is_answered_by_its_heldout_fold(tuned):
    manifest = Run(tuned).manifest()
    fold = dict(zip(manifest.row_ids, manifest.fold.tolist(), strict=True))
    for table in [Predictions.read(path) for path in Run(tuned).folds_of("main", "epochs.parquet").values()]:
        assert all(fold[row] == k for row, k in table.frame.select("row_id", "fold").iter_rows())


def test_no_group_crosses_folds(tuned):
    manifest = Run(tuned).manifest()
    trained = manifest.fold >= 0
    assert trained.sum() == 24
    for name in np.unique(manifest.groups[trained]):
        assert len(set(manifest.fold[trained & (manifest.groups == name)])) == 1
    for spec in [files.read_json(path) for path in Run(tuned).folds_of("main", "spec.json").values()]:
        inside, outside = manifest.groups[spec["train"]], manifest.groups[spec["heldout"]]
        assert not set(inside) & set(outside)


def test_counts_say_what_is_missing_and_scores_leave_it_out(tuned):
    counts = files.read_json(tuned / "metrics.json")["counts"]
    assert (counts["scored"], counts["ok"], counts["missing"], counts["uncovered"]) == (24, 23, 1, 0)
    final = [f for f in files.read_json(tuned / "metrics.json")["figures"] if f["name"] == "final"]
    assert {f["n"] for f in final} == {23}


def test_the_headline_figure_can_be_computed_again_from_the_table(tuned):
    from sklearn.metrics import accuracy_score, f1_score

    dense = Predictions.read(tuned / "oof.parquet").dense("label")
    truth, answer = dense.y[dense.ok].argmax(axis=1), dense.p[dense.ok].argmax(axis=1)
    figures = files.read_json(tuned / "metrics.json")["figures"]
    nested = {f["metric"]: f["value"] for f in figures if f["name"] == "final" and f["how"] == "cross-validated"}
    assert nested["accuracy"] == pytest.approx(accuracy_score(truth, answer))
    assert nested["macro_f1"] == pytest.approx(f1_score(truth, answer, average="macro", labels=[0, 1, 2], zero_division=0))


def test_predict_writes_every_image_once(tuned, damaged, tmp_path):
    said = small_runs.cli("predict", tuned / "pipeline", damaged / "images", "-o", tmp_path / "p.parquet", "--json")
    assert said.code == 4
    table = Predictions.read(tmp_path / "p.parquet")
    assert len(table) == 24
    assert table.frame["row_id"].n_unique() == 24
    assert "cat_007.png" in said.err
    assert '"missing": 1' in said.out


def test_features_are_computed_of_rows_that_train_alone(planted, tmp_path):
    small_runs.fit(planted / "labels.csv", tmp_path / "run", train__epochs=0, data__limit=12)
    manifest = Run(tmp_path / "run").manifest()
    (index,) = (tmp_path / "run" / "features").glob("*/index.json")
    assert sorted(files.read_json(index)["row_id"]) == sorted(
        row for row, split in zip(manifest.row_ids, manifest.split, strict=True) if split == "train"
    )
    assert len(files.read_json(index)["row_id"]) == 12
