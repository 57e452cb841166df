"""The journal of a fault campaign: what is finished stays finished, and counts for the program that it was tried on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.faults import __main__ as faults
from bench.faults import journal as journals
from bench.faults import spread, trials
from bench.faults.journal import Journal

NAME = "faults: fit"


def begun(folder, trials=("a", "b", "c"), **given):
    journal = Journal(NAME, folder, **given)
    journal.begin(trials, 3)
    return journal


def test_a_campaign_goes_on_behind_its_last_finished_trial(tmp_path):
    first = begun(tmp_path)
    first.add("a")
    first.add("b", ["a file is torn"], wrong=1)
    second = begun(tmp_path)
    assert set(second.done) == {"a", "b"}
    second.add("c", trials=4, notes={"killed": 4})
    out = Journal(NAME, tmp_path).finished()
    assert (out.trials, out.of, out.survived, out.wrong, out.failures) == (6, 3, 5, 1, ["a file is torn"])
    assert out.notes == {"killed": 4, "sources": {journals.source(): 3}}


def test_a_line_that_a_kill_cut_is_tried_again(tmp_path):
    begun(tmp_path).add("a")
    with (tmp_path / "faults-fit.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"trial": "b", "sou')
    second = begun(tmp_path)
    assert set(second.done) == {"a"}
    second.add("b")
    assert set(begun(tmp_path).done) == {"a", "b"}


def test_trials_count_for_the_program_that_was_tried(tmp_path, monkeypatch):
    first = begun(tmp_path)
    first.add("a")
    first.add("b", ["lost"])
    old = first.source
    monkeypatch.setattr(journals, "source", lambda: "mended")
    assert begun(tmp_path).done == {}
    assert Journal(NAME, tmp_path).finished().trials == 0
    mended = begun(tmp_path, also=[old])
    assert set(mended.done) == {"a"}, "what failed before is tried again"
    mended.add("b")
    out = Journal(NAME, tmp_path).finished()
    assert (out.trials, out.survived, out.notes["sources"]) == (2, 2, {old: 1, "mended": 1})


def test_faults_that_are_no_more_count_no_more(tmp_path, monkeypatch):
    first = begun(tmp_path)
    first.add("a")
    first.add("b")
    monkeypatch.setattr(journals, "source", lambda: "mended")
    begun(tmp_path, trials=["b", "c"], also=[first.source])
    assert Journal(NAME, tmp_path).finished().trials == 1


def test_the_table_is_written_from_journals_alone(tmp_path, monkeypatch, capsys):
    begun(tmp_path).add("a")
    monkeypatch.setattr(sys, "argv", ["faults", "--long", "--finished", "--journal", str(tmp_path)])
    assert faults.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "| faults: fit | 1 of 3 | 1 | 0 | 0 | 3 |"


def halves(name, run, home, first, last, end):
    return {"trials": last - first, "wrong": [], "notes": {"sum": sum(range(first, last))}}


@pytest.mark.parametrize("done", [0, 1])
def test_parts_over_processes_are_run_once(tmp_path, monkeypatch, done):
    monkeypatch.setattr(spread, "concurrent", _InTurn)
    base = trials.Base(tmp_path, None, [], tmp_path / "journal")
    for _ in range(done + 1):
        out = spread.over(base, "hostile tables", halves, 600, 1)
    assert (out.trials, out.survived, out.notes["sum"]) == (600, 600, sum(range(600)))
    assert len((tmp_path / "journal" / "hostile-tables.jsonl").read_text(encoding="utf-8").splitlines()) == 3 + done + 1


class _InTurn:
    """Futures without processes, which would import everything anew."""

    class futures:
        @staticmethod
        def as_completed(waiting):
            return waiting

        class ProcessPoolExecutor:
            def __init__(self, *_, **__): ...

            def __enter__(self):
                return self

            def __exit__(self, *_): ...

            def submit(self, work, *given):
                class Future:
                    def result(self):
                        return work(*given)

                return Future()
