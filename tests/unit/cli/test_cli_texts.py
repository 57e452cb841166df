"""What commands print of their results."""

from __future__ import annotations

from tapetum.cli import texts


def test_each_member_of_an_ensemble_begins_a_line():
    members = [{"name": f"member-{i}", "model": {"targets": ["age"]}, "sample": {"name": "subset", "part": i}} for i in range(3)]
    lines = texts.explain({"values": [{"key": "member", "value": members, "origin": "recipe mask"}]}, False)
    starts = [line.removeprefix("member").strip() for line in lines if '{ name = "member-' in line]
    assert [one.split('"')[1] for one in starts] == ["member-0", "member-1", "member-2"]
    assert all(one.startswith("{ name") for one in starts)
