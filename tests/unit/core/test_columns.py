from __future__ import annotations

from tapetum.core.columns import aligned, wrapped


def test_a_wide_table_fits_and_keeps_what_must_be_whole():
    lines = [["name", "value", "note"], ["x" * 60, "0.5", "y" * 80]]
    text = aligned(lines, right={1}, whole={0})
    assert max(map(len, text.splitlines())) <= 100
    assert "x" * 60 in text
    assert "…" in text


def test_a_narrow_table_is_not_changed():
    assert aligned([["a", "b"], ["long", "1"]], right={1}) == "a     b\nlong  1"


def test_a_wrapped_sentence_keeps_every_word_whole():
    text = "warning: it is so; look for another with: tapetum find-rate DATA --set optimizer.rate=1e-3 " + "x" * 130
    lines = wrapped(text, 2)
    assert " ".join(line.strip() for line in lines) == text
    assert [line for line in lines if "find-rate" in line]
    assert max(map(len, lines[:-1])) <= 100
    assert all(line.startswith("  ") for line in lines[1:])
