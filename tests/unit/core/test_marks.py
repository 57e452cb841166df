from __future__ import annotations

from tapetum.core import marks
from tapetum.core.marks import Mark


def row(how, value=0.5, metric="accuracy", name="final", **more):
    return {"target": "t", "name": name, "metric": metric, "how": how, "value": value, "low": 0.1, "high": 0.9, "n": 4, "groups": 2, **more}


def test_figure_is_named_by_folds_and_choices():
    assert marks.how_by([], 3) == "cross-validated"
    assert marks.how_by([Mark("leaks")], 1) == "held-out"
    assert marks.how_by([Mark("leaks"), Mark("soup", in_sample=True)], 5) == "in-sample"


def test_main_figure_is_not_in_sample_if_another_exists():
    every = [row("in-sample", 0.9), row("cross-validated", 0.7), row("cross-validated", 0.6, "kappa"), row("held-out", 0.8, name="probe")]
    assert marks.main(every, "t")["value"] == 0.7
    assert marks.main(every, "t", "kappa")["value"] == 0.6
    assert marks.main(every, "t", name="probe")["how"] == "held-out"
    assert marks.main(every[:1], "t")["value"] == 0.9
    assert marks.main([row("cross-validated", None)], "t") is None


def test_words_of_earlier_runs_are_read():
    assert [marks.how_of({"how": how}) for how in ("nested", "optimistic", "test")] == ["cross-validated", "in-sample", "test"]


def test_an_estimate_in_the_ledger_says_how_it_was_measured():
    told = marks.estimate(row("in-sample", marks=["a"]))
    assert (told["value"], told["how"], told["marks"]) == (0.5, "in-sample", ["a"])


def test_marks_are_numbered_in_the_order_of_the_run():
    assert marks.numbered({"marks": ["b", "a"]}, ["a", "b", "c"]) == " [2, 1]"
    assert marks.numbered({"marks": []}, ["a"]) == ""
