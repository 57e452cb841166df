from __future__ import annotations

from tapetum.cli import saying
from tapetum.core.runs import Record


def test_a_bar_is_a_line_at_each_tenth_where_there_is_no_terminal(capsys):
    saying._tenths.clear()
    told = Record(saying.progress).share("predicting")
    for done in range(1, 501):
        told(done, 500)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11  # under ten percent, then each tenth
    assert lines[-1] == "predicting: 500 of 500 (100%)"
    assert "s left" in lines[3]
