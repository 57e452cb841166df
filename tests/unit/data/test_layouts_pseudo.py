from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from images import plant, quiet, write_table
from tapetum.core.choices import load
from tapetum.core.config import Data, Split
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.data import layouts
from tapetum.data.layouts.available import layouts as available_layouts
from tapetum.data.split import assign_folds


def predictions(path: Path, target: Target, p: dict[str, list[float]], missing: tuple[str, ...] = ()) -> str:
    values = np.array(list(p.values()), np.float32)
    status = np.array(["missing" if i in missing else "ok" for i in p], dtype=object)
    values[status != "ok"] = np.nan
    dense = Dense(target, np.array(list(p), dtype=object), values, np.full_like(values, np.nan), np.full(len(p), -1), status)
    return str(Predictions.from_dense(dense, role="test").write(path))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    planted = plant(tmp_path, each=4)
    rows = [
        [str(i), f, label, group, "train"]
        for i, (f, label, group) in enumerate(zip(planted.files, planted.labels, planted.groups, strict=True))
    ]
    for i in (1, 5, 9):
        rows[i][2], rows[i][4] = "", "test"
    rows[2][2], rows[2][4] = "", "extra"
    rows[6][4] = "extra"
    rows[1][3] = rows[0][3] = "shared"
    return write_table(tmp_path / "all.csv", ["id", "file", "label", "group", "split"], rows)


SINGLE = Target("label", "single", ("ant", "bee", "cat"))


def test_confident_test_rows_get_an_extra_copy(table, tmp_path):
    p = {"1": [0.95, 0.03, 0.02], "5": [0.2, 0.5, 0.3], "9": [0.05, 0.0, 0.95], "2": [0.0, 0.99, 0.01], "6": [0.0, 0.0, 1.0]}
    said: list[str] = []
    data = Data(targets=("label",), pseudo=predictions(tmp_path / "p.parquet", SINGLE, p, missing=("9",)))
    with pytest.raises(DataError, match="group 'shared' is in splits"):  # the table itself leaks; the twin would not mend that
        assign_folds(layouts.read(table, data, quiet), Split(folds=2), 0, quiet)
    table.write_text(table.read_text().replace("shared,test", "alone,test"))
    manifest = layouts.read(table, data, said.append)
    by_id = {row["row_id"]: row for row in manifest.frame.iter_rows(named=True)}
    assert (by_id["1"]["split"], by_id["1"]["label"], by_id["1"]["pseudo"]) == ("test", None, False)
    assert (by_id["pseudo:1"]["split"], by_id["pseudo:1"]["label"], by_id["pseudo:1"]["pseudo"]) == ("extra", "ant", True)
    assert by_id["pseudo:1"]["path"] == by_id["1"]["path"]
    assert (by_id["2"]["split"], by_id["2"]["label"], by_id["2"]["pseudo"]) == ("extra", "bee", True)
    assert (by_id["6"]["label"], by_id["6"]["pseudo"]) == ("bee", False)  # a known label is never overwritten
    assert "pseudo:5" not in by_id
    assert "pseudo:9" not in by_id
    assert len(manifest) == 13
    assert any("2 of 5 predicted rows are confident at 0.9" in text for text in said)
    folds = assign_folds(manifest, Split(folds=2), 0, quiet)
    assert folds.fold[folds.split == "test"].tolist() == [-1, -1, -1]


def test_csv_predictions_label_the_same_rows_as_parquet(table, tmp_path):
    p = {"1": [0.95, 0.03, 0.02], "5": [0.2, 0.5, 0.3], "9": [0.05, 0.0, 0.95], "2": [0.0, 0.99, 0.01]}
    table.write_text(table.read_text().replace("shared,test", "alone,test"))
    file = predictions(tmp_path / "p.parquet", SINGLE, p, missing=("9",))
    rows = [["9", "missing", "", "", "", ""], *([i, "ok", "ant", *map(str, one)] for i, one in p.items() if i != "9")]
    flat = write_table(tmp_path / "p.csv", ["id", "status", "label", "p_ant", "p_bee", "p_cat"], rows)
    shuffled = write_table(tmp_path / "q.csv", ["id", "p_cat", "p_ant", "p_bee"], [[r[0], r[5], r[3], r[4]] for r in rows[1:]])
    whole = layouts.read(table, Data(targets=("label",), pseudo=file), quiet).frame
    for csv in (flat, shuffled):
        assert layouts.read(table, Data(targets=("label",), pseudo=str(csv)), quiet).frame.equals(whole, null_equal=True)
    wrong = write_table(tmp_path / "w.csv", ["id", "p_ant", "p_bee"], [["1", "0.5", "0.9"]])
    with pytest.raises(DataError, match="sum to 1"):
        layouts.read(table, Data(targets=("label",), pseudo=str(wrong)), quiet)


def test_the_bound_and_several_labels(table, tmp_path):
    multi = Target("label", "multi", ("ant", "bee", "cat"))
    p = {"1": [0.95, 0.97, 0.02], "5": [0.95, 0.5, 0.0], "9": [0.0, 0.1, 0.1]}
    data = Data(targets=("label:multi",), pseudo=predictions(tmp_path / "p.parquet", multi, p))
    table.write_text(table.read_text().replace("shared,test", "alone,test"))
    frame = layouts.read(table, data, quiet).frame
    twins = {i: label for i, label, pseudo in frame.select("row_id", "label", "pseudo").iter_rows() if pseudo}
    assert twins == {"pseudo:1": ["ant", "bee"], "pseudo:9": []}
    strict = layouts.read(table, Data(targets=("label:multi",), pseudo=data.pseudo, pseudo_bound=0.96), quiet)
    assert not strict.frame["pseudo"].any()


def test_predictions_of_other_rows_or_targets_are_refused(table, tmp_path):
    other = predictions(tmp_path / "p.parquet", SINGLE, {"0": [1.0, 0.0, 0.0], "77": [1.0, 0.0, 0.0]})
    with pytest.raises(DataError, match="covers no test or extra row"):
        layouts.read(table, Data(targets=("label",), pseudo=other), quiet)
    named = predictions(tmp_path / "q.parquet", Target("mood", "single", ("a", "b")), {"1": [1.0, 0.0]})
    with pytest.raises(UserError, match="predicts mood; needed: a target with classes among label"):
        layouts.read(table, Data(targets=("label",), pseudo=named), quiet)


def test_every_layout_reads_writes_and_recognises():
    for choice in available_layouts().values():
        module = importlib.import_module(choice.where.partition(":")[0])
        assert load(choice.where) is module.read
        assert module.recognise(object()) is None
        assert callable(module.write)
