from __future__ import annotations

from tapetum.core import draws


def test_a_draw_in_proportion_keeps_shares_and_forgets_order():
    strata = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    names = [f"row-{i}" for i in range(100)]
    drawn = draws.in_proportion(strata, names, 20, "some", 0)
    assert [sum(strata[place] == stratum for place in drawn) for stratum in "abc"] == [12, 6, 2]
    turned = draws.in_proportion(strata[::-1], names[::-1], 20, "some", 0)
    assert {names[place] for place in drawn} == {names[::-1][place] for place in turned}
    assert drawn != draws.in_proportion(strata, names, 20, "some", 1)


def test_even_places_hold_both_ends_and_each_place_once():
    assert draws.evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert draws.evenly(3, 32).tolist() == [0, 1, 2]
    assert draws.evenly(0, 5).tolist() == []
