from __future__ import annotations

from tapetum.cli import progress
from tapetum.cli.progress import Progress
from tapetum.core.runs import Record


def test_progress_is_a_line_at_each_tenth_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUICK", 0.0)
    told = Record(Progress()).share("predicting")
    for done in range(1, 501):
        told(done, 500)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11  # under ten percent, then each tenth
    assert lines[-1] == "predicting: 500 of 500 (100%)"
    assert "s left" in lines[3]
