"""What a terminal prints: a few lines for people, no table wider than 100 columns, no dictionary."""

from __future__ import annotations

import json

import pytest

import small_runs


def test_a_fit_prints_at_most_eight_lines_and_no_log(planted, tmp_path):
    words = ["fit", planted / "labels.csv", "-o", tmp_path / "run", *small_runs.flags(train__epochs=1)]
    said = small_runs.cli(*words, verbose=False)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert len(lines) <= 8
    assert lines[0].startswith("accuracy ")
    assert "cross-validated" in lines[0]
    assert lines[1].startswith("baseline ")
    assert lines[2].startswith("selected: ")
    assert lines[-2].startswith("report ")
    assert lines[-1].startswith("next     tapetum predict ")
    assert "columns read as" not in said.err
    assert "columns read as" in (tmp_path / "run" / "run.json").read_text()

    again = small_runs.cli(*words)
    assert "columns read as" in again.err
    assert len(again.out.splitlines()) > len(lines)
    assert max(map(len, again.out.splitlines()[:5])) <= 100
    machine = json.loads(small_runs.cli(*words, "--json").out)
    assert machine["figures"]


@pytest.mark.parametrize(
    "words", [["leaderboard"], ["conformal"], ["ledger"], ["compare", "--views", "flips"], ["explain"], ["doctor"], ["recipes"], ["report"]]
)
def test_no_command_prints_a_dictionary(words, tuned, tmp_path):
    run = [] if words[0] in ("doctor", "recipes") else [tuned]
    said = small_runs.cli(words[0], *run, *words[1:], *(["-o", tmp_path / "r.html"] if words[0] == "report" else []))
    assert said.code == 0, said.err
    assert "{'" not in said.out
    assert not any(line.startswith(("{", "[")) or '": ' in line for line in said.out.splitlines())
    if words[0] != "report":
        table = [line for line in said.out.splitlines() if str(tuned) not in line]
        assert max(map(len, table)) <= 100
