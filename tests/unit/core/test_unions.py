from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tapetum.core.unions import Unions, united


@given(pairs=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=15))
def test_sets_are_the_connected_components(pairs):
    sets = Unions[int]()
    for one, other in pairs:
        sets.join(one, other)
    graph = coo_array(([1] * len(pairs), ([a for a, _ in pairs], [b for _, b in pairs])), shape=(10, 10))
    label = connected_components(graph, directed=False)[1]
    assert all((sets.first(a) == sets.first(b)) == (label[a] == label[b]) for a in range(10) for b in range(10))
    assert all(sets.first(first) == first for _, first in sets.joined())


def test_sets_of_two_sources_that_share_a_row_are_one():
    exact, alike = {"a": "1", "b": "1", "e": "2"}, {"b": "x", "c": "x", "d": "2"}
    assert united(exact, alike) == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "e"}  # what both call 2 are two sets
    assert united({}, {}) == {}
