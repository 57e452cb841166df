"""How `make acceptance` reads what was handed in."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from bench.acceptance import handed_in, simulator_of


def test_answers_alone_belong_to_the_templates_rows_in_order(tmp_path):
    (tmp_path / "testset-for_user.csv").write_text("\ufeffexam,exam_0002.png\nexam,exam_0001.png\n", encoding="utf-8")
    (tmp_path / "submission.csv").write_text("N1\nREM\n", encoding="utf-8")
    found = handed_in(tmp_path / "submission.csv", {"paths": {"source": str(tmp_path)}}, "sleep-yai")
    assert found.rows() == [("exam_0002.png", "N1"), ("exam_0001.png", "REM")]


def test_a_submission_with_ids_is_read_by_its_header(tmp_path):
    (tmp_path / "submission.csv").write_text("Id,Predicted\n7,1 2\n", encoding="utf-8")
    found = handed_in(tmp_path / "submission.csv", {"paths": {"source": str(tmp_path)}}, "hpa")
    assert (found.columns, found.rows()) == (["Id", "Predicted"], [("7", "1 2")])


def test_systems_on_the_same_task_share_their_data():
    assert simulator_of("sleep-yai") == simulator_of("sleep-dragon") == "sleep"
    assert simulator_of("dogs") == "dogs"
