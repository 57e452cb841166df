"""TOML as it is written: what stands where, and that it reads back."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.core.errors import UserError
from tapetum.core.toml import assignment, dump_toml, read_toml, toml_value

leaf = st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
tree = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (1e-5, "1e-05"),
        ([0.6, 1.0], "[0.6, 1.0]"),
        ([[1], []], "[[1], []]"),
        ("a\n[\n,\n]", '"a\\n[\\n,\\n]"'),
        ({"name": "x", "scale": [1, 2], "none": None}, '{ name = "x", scale = [1, 2] }'),
    ],
)
def test_a_value_stands_on_one_line(value: object, expected: str):
    assert toml_value(value) == expected


@given(tree)
@settings(max_examples=60, deadline=None)
def test_any_value_reads_back_from_one_line(value: object):
    text = toml_value(value)
    assert "\n" not in text
    assert tomllib.loads(f"v = {text}")["v"] == value


def test_tables_follow_the_values_of_theirs():
    table = {"seed": 1, "none": None, "a": {"b": {"x": None}, "steps": ["bias", {"name": "prior", "target": [0.5, 0.5]}]}, "last": [1, 2]}
    assert dump_toml(table).split("\n") == [
        "seed = 1",
        "last = [1, 2]",
        "",
        "[a]",
        'steps = ["bias", { name = "prior", target = [0.5, 0.5] }]',
        "",
        "[a.b]",
        "",
    ]


def test_a_name_of_stray_bytes_is_escaped():
    assert dump_toml({"data": b"\xe9.png".decode("utf-8", "surrogateescape")}) == 'data = "\\udce9.png"\n'


def test_values_that_nest_too_deep_are_named(tmp_path):
    deep = f"{'[' * 5000}{']' * 5000}"
    (tmp_path / "recipe.toml").write_text(f"a = {deep}")
    with pytest.raises(UserError, match="nests too deep"):
        read_toml(tmp_path / "recipe.toml")
    assert assignment(f"a={deep}") == {"a": deep}
