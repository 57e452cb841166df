from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from tapetum.core import files
from tapetum.core.errors import DataError, UserError
from tapetum.core.ledger import Ledger


def submit(folder: Path, name: str, text: str) -> Path:
    return files.write_text(folder / name, text)


def filled(folder: Path, own: list[float], outside: list[float]) -> Ledger:
    ledger = Ledger(folder)
    for i, (here, there) in enumerate(zip(own, outside, strict=True)):
        made = ledger.add(
            submit(folder, f"s{i}.csv", f"id,ans\n{i},1\n"), metric="macro_f1", own={"value": here, "low": here - 0.02, "high": here + 0.02}
        )
        if np.isfinite(there):
            ledger.score(made.sha256[:10], there, board="public")
    return ledger


def test_what_was_handed_in_is_found_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    file = submit(tmp_path, "a.csv", "id,ans\n1,2\n")
    made = ledger.add(
        file, recipe={"name": "mask", "hash": "ab"}, metric="macro_f1", own={"value": 0.7, "low": None, "high": None}, note="first"
    )
    assert made.sha256 == files.sha256(file)
    again = Ledger(tmp_path / "ledger.jsonl").find("a.csv")
    assert again == made
    assert (again.recipe["name"], again.own["value"], again.note, again.outside) == ("mask", 0.7, "first", {})


def test_the_same_bytes_are_one_submission(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    first = ledger.add(submit(tmp_path, "a.csv", "same"))
    assert ledger.add(submit(tmp_path, "b.csv", "same")) == first
    assert len(ledger.submissions()) == 1


def test_later_score_replaces_the_earlier_and_keeps_lines(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add(submit(tmp_path, "a.csv", "x"))
    for value in (0.4, 0.45):
        ledger.score("a.csv", value, board="public")
    ledger.score("a.csv", 0.44, board="private")
    assert ledger.find("a.csv").outside == {"public": 0.45, "private": 0.44}
    assert ledger.boards() == ["public", "private"]
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 4


def test_how_own_and_outside_relate_equals_scipy(tmp_path: Path) -> None:
    own, outside = [0.70, 0.72, 0.71, 0.75, 0.60], [0.69, 0.715, 0.72, 0.73, np.nan]
    found = filled(tmp_path, own, outside).relation("public")
    apart = np.array(outside[:4]) - np.array(own[:4])
    bounds = ttest_1samp(apart, 0).confidence_interval(0.95)
    assert (found.n, found.submissions) == (4, 5)
    assert found.rank_correlation == pytest.approx(1 - 6 * (0 + 1 + 1 + 0) / (4 * (16 - 1)))  # ranks 1 3 2 4 and 1 2 3 4
    assert found.offset == pytest.approx(apart.mean())
    assert (found.offset_low, found.offset_high) == pytest.approx((bounds.low, bounds.high))
    assert (found.inside, found.with_interval) == (int((np.abs(apart) <= 0.02 + 1e-12).sum()), 4)
    assert "4 of 5 submissions scored" in str(found)


@pytest.mark.parametrize("pairs", [[], [(0.7, 0.6)], [(0.7, 0.6), (0.8, 0.7)], [(0.7, 0.6), (0.7, 0.65), (0.7, 0.7)]])
def test_too_little_to_relate_is_said_and_not_made_up(tmp_path: Path, pairs: list[tuple[float, float]]) -> None:
    found = filled(tmp_path, [a for a, _ in pairs], [b for _, b in pairs]).relation("public")
    assert found.n == len(pairs)
    assert found.rank_correlation is None
    assert (found.offset is None) == (not pairs)
    assert (found.offset_low is None) == (len(pairs) < 2)
    json.dumps(files.to_json(found.__dict__))


def test_what_cannot_be_entered_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        ledger.add(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"no submission 'a\.csv'"):
        ledger.score("a.csv", 0.5)
    ledger.add(submit(tmp_path, "a.csv", "x"))
    ledger.add(submit(tmp_path, "a.csv", "y"))
    with pytest.raises(UserError, match=r"2 submissions are called 'a\.csv'"):
        ledger.score("a.csv", 0.5)
    with pytest.raises(UserError, match="not a number"):
        ledger.score("a.csv", float("nan"))


def test_a_broken_ledger_is_named(tmp_path: Path) -> None:
    files.write_text(tmp_path / "ledger.jsonl", '{"event": "outside", "sha256": "zz", "board": "b", "score": 1}\n')
    with pytest.raises(DataError, match="line 1 of"):
        Ledger(tmp_path).submissions()
    files.write_text(tmp_path / "ledger.jsonl", "half a li")
    with pytest.raises(DataError, match="is not a ledger"):
        Ledger(tmp_path).submissions()


def test_estimates_without_an_interval_are_called_so(tmp_path):
    book = Ledger(tmp_path)
    file = tmp_path / "one.csv"
    file.write_text("x", encoding="utf-8")
    book.add(file, metric="accuracy", own={"value": 0.8, "low": None, "high": None, "method": "no interval: 2 groups are too few"})
    book.score("one.csv", 0.7)
    assert "our estimates have no interval" in str(book.relation())


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0b", "\x1e"])
def test_a_note_may_hold_what_unicode_calls_a_line_end(tmp_path, end):
    (tmp_path / "s.csv").write_text("id", encoding="utf-8")
    ledger = Ledger(tmp_path)
    ledger.add(tmp_path / "s.csv", note=f"one{end}two")
    ledger.score("s.csv", 0.5)
    assert [one.note for one in ledger.submissions()] == [f"one{end}two"]
