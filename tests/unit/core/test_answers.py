from __future__ import annotations

import numpy as np
import pytest

from tapetum.core import prediction_csv, scoring, table_files
from tapetum.core.answers import entries, flat_table, text_of
from tapetum.core.tables import Dense
from tapetum.core.targets import Target

KIND = Target("kind", "single", ("ant", "bee", "cat", "dog", "elk", "fox"))
TAGS = Target("tags", "multi", ("big", "old"))
AGE = Target("age", "regression")


def dense(target, p, answer=None):
    p = np.array(p, dtype=np.float32)
    ok = ~np.isnan(p).any(axis=1)
    ids = np.array([f"{i}.png" for i in range(len(p))], dtype=object)
    status = np.where(ok, "ok", "missing").astype(object)
    return Dense(target, ids, p, np.full_like(p, np.nan), np.full(len(p), -1, np.int16), status, answer)


NAN = [np.nan] * 6
P = [[0.01, 0.05, 0.4, 0.3, 0.14, 0.1], NAN]


def test_likeliest_classes_come_first_and_missing_rows_have_reasons():
    found = entries({"kind": dense(KIND, P)}, {1: "an empty file"})
    assert list(found[0]["answers"]["kind"]["p"]) == ["cat", "dog", "elk", "fox", "bee"]
    assert found[0]["answers"]["kind"]["answer"] == "cat"
    assert found[1] == {"id": "1.png", "status": "missing", "reason": "an empty file", "answers": {}}
    lines = text_of({"kind": dense(KIND, P)}, {1: "an empty file"}, top=2).splitlines()
    assert lines[1].split() == ["0.png", "cat", "cat", "0.400,", "dog", "0.300"]
    assert lines[2].split() == ["1.png", "-", "missing:", "an", "empty", "file"]


def test_several_labels_show_the_decided_ones_and_numbers_themselves():
    tags = dense(TAGS, [[0.3, 0.7], [0.1, 0.2]], np.array([[1, 1], [0, 0]], np.float32))
    age = dense(AGE, [[31.25], [np.nan]])
    found = entries({"tags": tags, "age": age}, {})
    assert found[0]["answers"]["tags"]["answer"] == ["big", "old"]
    assert [(name, round(p, 3)) for name, p in found[0]["answers"]["tags"]["p"].items()] == [("old", 0.7), ("big", 0.3)]
    assert found[0]["answers"]["age"] == {"answer": 31.25}
    text = text_of({"tags": tags, "age": age}, {})
    assert "0.png  age     31.25" in text
    assert "no label" in text


@pytest.mark.parametrize("classes", [("a", "b", "a b"), ("[x]", "a b", "c")])
def test_labels_that_hold_the_separator_are_read_back(tmp_path, classes):
    target = Target("tags", "multi", classes, separator=" ")
    answer = np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 0, 0]], np.float32)
    table = flat_table({"tags": dense(target, answer / 2 + 0.2, answer)})
    table_files.write_table(tmp_path / "p.csv", table)
    read = prediction_csv.read_alone(tmp_path / "p.csv", like=target).dense("tags")
    assert read.answer.tolist() == answer.tolist()
    assert scoring.truth_of(target, table["tags"]).tolist() == answer.tolist()


def test_printed_probabilities_are_whole_and_the_likeliest_stay():
    breeds = Target("breed", "single", tuple(f"{kind}_of_the_north_{number}" for number, kind in enumerate(("setter", "hound", "pointer"))))
    shown = text_of({"breed": dense(breeds, [[0.2, 0.7, 0.1], [0.05, 0.9, 0.05]])}, {}).splitlines()
    assert shown[1].endswith("  hound_of_the_north_1 0.700, setter_of_the_north_0 0.200, …")
    assert all(len(line) <= 100 for line in shown)
    several = text_of({"kind": dense(KIND, P[:1])}, {}).splitlines()
    assert several[1].endswith("cat 0.400, dog 0.300, elk 0.140, fox 0.100, bee 0.050"), "what fits is shown without a sign of more"
