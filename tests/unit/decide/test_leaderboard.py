from __future__ import annotations

import numpy as np
import pytest

from simulated_predictions import dense_of, single
from tapetum.core import intervals, metrics
from tapetum.core.errors import UserError
from tapetum.core.tables import Dense, decided
from tapetum.core.targets import Target
from tapetum.decide.compare import holm
from tapetum.decide.leaderboard import leaderboard
from tapetum.decide.steps import Rows


def blurred(dense: Dense, amount: float, seed: int = 1) -> Dense:
    z = np.log(dense.p) + np.random.default_rng(seed).normal(0, amount, dense.p.shape)
    return dense.with_p(np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))


@pytest.fixture(name="three")
def _three() -> tuple[list[tuple[str, Dense]], Rows]:
    dense, rows = single(1200)
    return [("worse", blurred(dense, 1.0)), ("best", dense), ("worst", blurred(dense, 3.0))], rows


def test_best_comes_first_and_others_show_their_difference(three: tuple[list[tuple[str, Dense]], Rows]) -> None:
    entries, rows = three
    board = leaderboard(entries, rows, "macro_f1")
    named = dict(entries)
    assert board["name"].to_list() == ["best", "worse", "worst"]
    assert board["rank"].to_list() == [1, 2, 3]
    for line in board.iter_rows(named=True):
        dense = named[line["name"]]
        assert line["value"] == pytest.approx(metrics.score("macro_f1", dense.target, dense.p, dense.y))
        apart = intervals.difference("macro_f1", dense.target, (dense.p, named["best"].p), dense.y, rows.groups)
        assert (line["difference"], line["difference_low"]) == pytest.approx((apart.value, apart.low))
    assert board["tied"].to_list() == [True, False, False]
    assert board["holm"].to_list()[1:] == pytest.approx(holm(board["p"].to_list()[1:]))


def test_an_optimistic_figure_leads_nothing(three: tuple[list[tuple[str, Dense]], Rows]) -> None:
    entries, rows = three
    board = leaderboard(entries, rows, how={"best": "in-sample"})
    assert board["how"].to_list() == ["in-sample", "given", "given"]  # it still stands where its figure puts it
    by_name = {line["name"]: line for line in board.iter_rows(named=True)}
    assert by_name["worse"]["difference"] == 0
    assert by_name["best"]["difference"] > 0


def test_errors_are_ranked_from_the_smallest() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(40, 10, (300, 1))
    target = Target("age", "regression")
    entries = [(f"sd {s}", dense_of(target, y + rng.normal(0, s, y.shape), y)) for s in (5, 1, 3)]
    board = leaderboard(entries, Rows.new(entries[0][1].row_ids))
    assert board["metric"].unique().to_list() == ["mae"]
    assert board["name"].to_list() == ["sd 1", "sd 3", "sd 5"]
    assert (board["difference"].to_numpy()[1:] > 0).all()


def test_all_are_scored_on_the_rows_that_all_answer(three: tuple[list[tuple[str, Dense]], Rows]) -> None:
    entries, rows = three
    name, dense = entries[1]
    half = dense.where(np.arange(1199, 599, -1))  # other rows, other order
    board = leaderboard([entries[0], (name, half)], rows, "accuracy")
    by_name = {line["name"]: line for line in board.iter_rows(named=True)}
    assert {line["n"] for line in by_name.values()} == {600}
    assert (by_name["worse"]["answered"], by_name["best"]["answered"]) == (1200, 600)
    right = (decided(entries[0][1])[600:] == dense.y[600:]).all(axis=1).mean()
    assert by_name["worse"]["value"] == pytest.approx(right)


def test_a_board_wants_names_and_aligned_rows(three: tuple[list[tuple[str, Dense]], Rows]) -> None:
    entries, rows = three
    with pytest.raises(UserError, match="doubled: best"):
        leaderboard([entries[1], entries[1]], rows)
    with pytest.raises(UserError, match="aligned with the first entry"):
        leaderboard(entries, rows.where(np.arange(10)))
    with pytest.raises(UserError, match="0 entries"):
        leaderboard([], rows)
