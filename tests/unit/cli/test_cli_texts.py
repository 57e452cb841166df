"""What commands print of their results."""

from __future__ import annotations

import errno

import pytest

from tapetum import cli
from tapetum.cli import texts


def test_each_member_of_an_ensemble_begins_a_line():
    members = [{"name": f"member-{i}", "model": {"targets": ["age"]}, "sample": {"name": "subset", "part": i}} for i in range(3)]
    lines = texts.explain({"values": [{"key": "member", "value": members, "origin": "recipe mask"}]}, False)
    starts = [line.removeprefix("member").strip() for line in lines if '{ name = "member-' in line]
    assert [one.split('"')[1] for one in starts] == ["member-0", "member-1", "member-2"]
    assert all(one.startswith("{ name") for one in starts)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError("Permission denied (os error 13): ...a/b"), "error: a file cannot be written: Permission denied. Choose"),
        (OSError(errno.EIO, "", "a/b"), "error: a/b cannot be read or written: Input/output error. The same command goes on"),
    ],
)
def test_an_error_of_the_system_is_one_sentence(monkeypatch, capsys, error, says):
    def fails():
        raise error

    monkeypatch.setattr(cli, "app", fails)
    monkeypatch.setattr("sys.argv", ["tapetum"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 5
    assert capsys.readouterr().err.startswith(says)


def test_a_file_that_may_not_be_read_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    said = cli._told(PermissionError(errno.EACCES, "", str(tmp_path)))
    assert said == f"error: {tmp_path} cannot be read: Permission denied. Give yourself the right to read it"


def test_abstaining_from_all_says_which_error_was_wanted():
    coverage = {"value": 0.9, "low": 0.8, "high": 0.95}
    result = {"coverage": coverage, "size": 1.5, "single": 0.5, "empty": 0.0, "classes": {}, "conformal": "c.json", "review": "r.csv"}
    abstain = {"threshold": 2.0, "risk": None, "bound": None, "coverage": 0.0, "n": 125, "wanted": 0.1}
    line = texts.conformal({**result, "abstain": abstain}, False)[2]
    assert "keeps the error below 10.0% with 95 % confidence (125 images)" in line
    some = {**abstain, "threshold": 0.8, "risk": 0.04, "bound": 0.1, "coverage": 0.5}
    line = texts.conformal({**result, "abstain": some}, False)[2]
    assert line.endswith("answers 50.0% of the images with an error of 4.0% (at most 10.0% with 95 % confidence)")


@pytest.mark.parametrize(("many", "told"), [(0, False), (2, True)])
def test_empty_table_of_labels_is_not_offered_to_training(many, told):
    counts = {"decided": many, "rows": 9, "kept": 0, "excluded": 0, "relabelled": many, "contested": [], "twice": 0, "kappa": None}
    lines = texts.review({**counts, "labelled": many, "out": "labelled.csv"}, False)
    assert any("--extra labelled.csv" in line for line in lines) == told


def test_a_search_prints_its_first_mark_whole():
    mark = "trial 3: " + "the rows that judge it trained, too; " * 4 + "--set split.heldout_trains=false"
    values = {f"optimizer.rate_of_part_{i}": 0.001 for i in range(6)}
    result = {"best": 1, "trials": 3, "pruned": 0, "values": values, "marks": [mark, "b"], "recipe": "best.toml", "table": ""}
    result |= {"cross-validated": {}, "in-sample": {}}
    text = " ".join(line.strip() for line in texts.tune(result, False))
    assert f"warning: {mark}; 1 more, with --verbose" in text
    assert all(f"{key} = 0.001" in text for key in values)
    assert max(map(len, texts.tune(result, False))) <= 100
