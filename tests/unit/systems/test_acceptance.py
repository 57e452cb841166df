"""How `make acceptance` reads what was handed in."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))
from bench.acceptance import simulator_of

from tapetum.core.errors import DataError
from tapetum.core.tables import Dense, Predictions
from tapetum.core.targets import Target
from tapetum.systems.judge import answers, handed_in, judge


def test_answers_alone_belong_to_the_templates_rows_in_order(tmp_path):
    (tmp_path / "testset-for_user.csv").write_text("\ufeffexam,exam_0002.png\nexam,exam_0001.png\n", encoding="utf-8")
    (tmp_path / "submission.csv").write_text("N1\nREM\n", encoding="utf-8")
    found = handed_in(tmp_path / "submission.csv", {"paths": {"source": str(tmp_path)}}, "sleep-yai")
    assert found.rows() == [("exam_0002.png", "N1"), ("exam_0001.png", "REM")]


@pytest.mark.parametrize("lines", ["N1\n", "N1\nREM\nN2\n", "N1\nlight\n", "N1\n\n"])
def test_answers_for_other_rows_or_stages_are_refused(tmp_path, lines):
    (tmp_path / "testset-for_user.csv").write_text("exam,exam_0001.png\nexam,exam_0002.png\n", encoding="utf-8")
    (tmp_path / "truth.csv").write_text("row_id,exam,stage\nexam_0001.png,exam,N1\nexam_0002.png,exam,N2\n", encoding="utf-8")
    ids, target = np.array(["exam_0001.png", "exam_0002.png"], dtype=object), Target("stage", "single", ("N1", "N2", "REM"))
    p = np.eye(2, 3, dtype=np.float32)
    unknown, folds, ok = np.full_like(p, np.nan), np.full(2, -1, dtype=np.int16), np.array(["ok", "ok"], dtype=object)
    Predictions.from_dense(Dense(target, ids, p, unknown, folds, ok), role="test").write(tmp_path / "test.parquet")
    simulated = {"paths": {"source": str(tmp_path), "truth": str(tmp_path / "truth.csv")}}
    (tmp_path / "submission.csv").write_text("N1\nREM\n", encoding="utf-8")
    assert len(answers(tmp_path / "submission.csv", tmp_path, simulated, "sleep-yai")["y"]) == 2
    (tmp_path / "submission.csv").write_text(lines, encoding="utf-8")
    with pytest.raises(DataError):
        answers(tmp_path / "submission.csv", tmp_path, simulated, "sleep-yai")


def test_a_submission_with_ids_is_read_by_its_header(tmp_path):
    (tmp_path / "submission.csv").write_text("Id,Predicted\n7,1 2\n", encoding="utf-8")
    found = handed_in(tmp_path / "submission.csv", {"paths": {"source": str(tmp_path)}}, "hpa")
    assert (found.columns, found.rows()) == (["Id", "Predicted"], [("7", "1 2")])


def test_systems_on_the_same_task_share_their_data():
    assert simulator_of("sleep-yai") == simulator_of("sleep-dragon") == "sleep"
    assert simulator_of("dogs") == "dogs"


def test_submission_and_truth_may_call_their_column_alike(tmp_path):
    ids, target = np.array(["a.jpg", "b.jpg"], dtype=object), Target("ans", "single", ("0", "1"))
    p = np.eye(2, dtype=np.float32)
    unknown, folds, ok = np.full_like(p, np.nan), np.full(2, -1, dtype=np.int16), np.array(["ok", "ok"], dtype=object)
    Predictions.from_dense(Dense(target, ids, p, unknown, folds, ok), role="test").write(tmp_path / "test.parquet")
    (tmp_path / "submission.csv").write_text("ImageID,ans\na.jpg,0\nb.jpg,1\n", encoding="utf-8")
    (tmp_path / "truth.csv").write_text("row_id,person,ans\nb.jpg,p2,0\na.jpg,p1,1\n", encoding="utf-8")
    found = answers(tmp_path / "submission.csv", tmp_path, {"paths": {"truth": str(tmp_path / "truth.csv")}}, "mask")
    assert found["answer"].tolist() == [[1, 0], [0, 1]]
    assert found["y"].tolist() == [[0, 1], [1, 0]]
    assert found["groups"].tolist() == ["p1", "p2"]
    simulated = {"paths": {"truth": str(tmp_path / "truth.csv")}, "metric": "accuracy", "ceiling": 0.9}
    score = judge(tmp_path / "submission.csv", tmp_path, simulated, "mask")
    assert (score["value"], score["n"], score["groups"], score["ceiling"]) == (0.0, 2, 2, 0.9)
