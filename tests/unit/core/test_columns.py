from __future__ import annotations

from tapetum.core.columns import aligned


def test_a_wide_table_fits_and_keeps_what_must_be_whole():
    lines = [["name", "value", "note"], ["x" * 60, "0.5", "y" * 80]]
    text = aligned(lines, right={1}, whole={0})
    assert max(map(len, text.splitlines())) <= 100
    assert "x" * 60 in text
    assert "…" in text


def test_a_narrow_table_is_not_changed():
    assert aligned([["a", "b"], ["long", "1"]], right={1}) == "a     b\nlong  1"
