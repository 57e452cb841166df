from __future__ import annotations

import pytest

from tapetum.core.ids import match


@pytest.mark.parametrize(
    ("wanted", "have", "expected"),
    [
        (["a", "b"], ["b", "a"], {"a": "a", "b": "b"}),
        (["a", "b"], ["a.jpg", "b.jpg"], {"a": "a.jpg", "b": "b.jpg"}),
        (["a.jpg", "b.jpg"], ["a", "b"], {"a.jpg": "a", "b.jpg": "b"}),
        (["a"], ["x/a.jpg"], {"a": "x/a.jpg"}),
        (["a.jpg"], ["x/a.jpg"], {"a.jpg": "x/a.jpg"}),
        (["x/a"], ["x/a.jpg", "y/a.jpg"], {"x/a": "x/a.jpg"}),
        (["a"], ["x/a.jpg", "y/a.jpg"], {}),  # two files of one name
        (["a"], ["a.jpg", "a.png"], {}),
        (["a.jpg", "a"], ["x/a.jpg"], {"a.jpg": "x/a.jpg"}),  # and the other has no row
        (["a.v1"], ["a.v2"], {}),
        (["1.5"], ["1.25"], {}),
        (["a", "b.jpg", None], ["a", "n/b.jpg"], {"a": "a", "b.jpg": "n/b.jpg"}),
    ],
)
def test_ids_match_exactly_or_by_an_unambiguous_name(wanted, have, expected):
    found = match(wanted, have)
    assert found.of == expected
    assert bool(found.text()) == any(a != b for a, b in expected.items())


def test_files_of_other_folders_are_never_one():
    assert match(["cat/1.png"], ["dog/1.png"]).of == {}
    assert match(["cat/1.png", "2"], ["data/cat/1.png", "dog/2.png"]).of == {"cat/1.png": "data/cat/1.png", "2": "dog/2.png"}
