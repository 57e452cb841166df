from __future__ import annotations

from tapetum.show.summary import lines


def figure(target, name, value, **more):
    one = {"target": target, "name": name, "metric": "accuracy", "how": "cross-validated", "low": 0.1, "high": 0.95}
    return {**one, "value": value, "n": 90, "groups": 45, "marks": [], **more}


def metrics(targets=("breed",), **more):
    figures = [one for t in targets for one in (figure(t, "final", 0.9), figure(t, "chance", 0.04, how="baseline"))]
    choice = {"final": "probe", "reason": "fine-tuning is within one standard error and more complicated"}
    counts = {"scored": 90, "missing": 0, "uncovered": 0, "unknown": 0}
    headline = {"target": targets[0], "metric": "accuracy"}
    return {"headline": headline, "figures": figures, "choice": choice, "counts": counts, "marks": [], "warnings": [], **more}


def test_one_target_has_its_figure_baseline_and_selection():
    assert lines(metrics()) == [
        "accuracy 0.900 [0.100, 0.950], cross-validated, 90 images in 45 groups",
        "baseline 0.040 (always the most frequent class)",
        "selected: probe; fine-tuning is within one standard error and more complicated",
    ]


def test_figure_of_labelled_test_rows_is_shown_beside():
    found = metrics()
    found["figures"].append(figure("breed", "test rows", 0.8, how="test", n=50))
    assert lines(found)[2] == "test rows 0.800 [0.100, 0.950], 50 images; nothing was chosen on them"


def test_selection_shows_the_figure_of_the_choice_and_as_decided():
    found = metrics()
    decided = {"metric": "macro_f1", "value": 0.6554, "how": "cross-validated"}
    found["choice"] = {"final": "finetune", "reason": "the best macro_f1 before decision steps, 0.612 (probe 0.550)", "decided": decided}
    text = (
        "selected: fine-tuning; the best macro_f1 before decision steps, 0.612 (probe 0.550); macro_f1 as decided, cross-validated: 0.655"
    )
    assert " ".join(line.strip() for line in lines(found)[2:]) == text
    found["choice"]["reason"] = "decide.choose says so"
    assert lines(found)[2:] == ["selected: fine-tuning; decide.choose says so"]


def test_many_targets_and_warnings_stay_within_the_lines():
    found = lines(metrics(targets=tuple("abcde"), warnings=[f"class {i} has one image" for i in range(9)], marks=["leaks by intent: why"]))
    assert len(found) == 6
    assert found[3] == "2 more targets are in the report"
    assert found[-1] == "warning: class 0 has one image; 9 more, in the report"
    assert lines(metrics(warnings=[f"class {i} has one image" for i in range(9)]))[3:] == [
        "warning: class 0 has one image",
        "warning: class 1 has one image",
        "warning: class 2 has one image; 6 more, in the report",
    ]


def test_marks_of_the_leading_figure_are_shown_before_other_warnings():
    leak, other = "leaks by intent: why", "member b: stopped"
    leading = [figure("breed", "final", 0.9, marks=[leak]), figure("breed", "final", 0.95, how="in-sample", marks=[other])]
    found = metrics(warnings=["a class is rare", "b class is rare"], marks=[leak, other])
    found["figures"] = [*leading, *found["figures"][1:]]
    assert lines(found, 5)[-2:] == [f"warning: {leak}", "warning: a class is rare; 2 more, in the report"]
    assert lines(found, 4)[-1] == f"warning: {leak}; 3 more, in the report"
    several = metrics(targets=("mask", "gender", "age", "ans"), warnings=["a class is rare"])
    assert len(lines(several, 5)) == 5
    assert lines(several, 5)[-1] == "warning: a class is rare"


def test_three_tasks_and_their_composed_answer_are_shown():
    found = lines(metrics(targets=("mask", "gender", "age", "ans")))
    assert [line.partition(":")[0] for line in found] == ["mask", "gender", "age", "ans", "selected"]


def test_missing_images_are_a_warning():
    counts = {"scored": 90, "missing": 2, "uncovered": 0, "unknown": 0}
    assert lines(metrics(counts=counts))[-1] == "warning: 2 of 90 held-out images cannot be read and are not scored"


def test_no_scored_image_is_said():
    assert lines(metrics() | {"figures": [figure("breed", "final", None)]})[0].startswith("accuracy not defined")


def test_a_long_warning_keeps_the_mend_at_its_end():
    mend = "to give every class its share of rows: --set sample.name=balanced"
    long = f"class 'wire-haired pointing griffon' has one image of 2,624, which is fewer than the folds, and {mend}"
    found = lines(metrics(warnings=[long, *(f"class {i} has one image" for i in range(9))]))
    assert " ".join(line.strip() for line in found[3:]) == f"warning: {long} warning: class 0 has one image; 8 more, in the report"
    assert len(found) == 6
    assert max(map(len, found)) <= 100


def test_the_first_warning_is_whole_where_no_room_is_left():
    long = " ".join(["word"] * 60) + " --set a.b=c"
    found = lines(metrics(warnings=[long, "b"]), 4)
    assert " ".join(line.strip() for line in found[3:]) == f"warning: {long}; 1 more, in the report"


def test_the_selection_is_not_cut():
    found = metrics()
    found["choice"] = {"final": "finetune", "reason": "the best mean of 4 targets, " + "probe 0.812 and " * 8 + "the end"}
    assert " ".join(line.strip() for line in lines(found)[2:]).endswith("the end")
