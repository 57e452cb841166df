"""Curves and thresholds: areas as scikit-learn's, counts as counted by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from report_runs import dense_of
from tapetum.core.targets import Target
from tapetum.decide.choices import STEPS
from tapetum.show import ranking_sections


def answers(kind: str, k: int, n: int = 60, seed: int = 0):
    rng = np.random.default_rng(seed)
    if kind == "multi":
        y = (rng.random((n, k)) < 0.3).astype(np.float32)
        p = np.clip(0.5 * y + 0.6 * rng.random((n, k)), 0, 1)
    else:
        y = np.eye(k, dtype=np.float32)[rng.integers(0, k, n)]
        p = y + rng.random((n, k)) * 1.5
        p = p / p.sum(1, keepdims=True)
    return dense_of(Target("t", kind, tuple(f"k{c}" for c in range(k))), p.round(2).astype(np.float32), y)


@pytest.mark.parametrize(("kind", "k"), [("single", 3), ("multi", 4), ("ordinal", 3), ("single", 2)])
def test_areas_equal_those_of_scikit_learn(kind, k):
    dense = answers(kind, k)
    found = ranking_sections.rankings(dense, None)
    assert len(found["lines"]) == (1 if k == 2 else k)
    for line in found["lines"]:
        c = line["place"]
        assert line["roc_auc"] == pytest.approx(roc_auc_score(dense.y[:, c], dense.p[:, c]))
        assert line["average_precision"] == pytest.approx(average_precision_score(dense.y[:, c], dense.p[:, c]))
    assert str(found["roc"]).count('<path class="line') == len(found["lines"])


def test_many_classes_draw_the_lowest_and_the_highest():
    found = ranking_sections.rankings(answers("multi", 30, n=400), None)
    values = [line["average_precision"] for line in found["lines"]]
    assert values == sorted(values)
    drawn = re.findall(r"</i>(k\d+) ", str(found["pr"]))
    assert set(drawn) == {line["class"] for line in (*found["lines"][:4], *found["lines"][-4:])}
    assert found["left_out"] == 22


def test_curve_of_many_rows_has_few_points():
    drawn = str(ranking_sections.rankings(answers("single", 2, n=50_000), None)["roc"])
    line = re.search(r'class="line c0" d="([^"]*)"', drawn)[1]
    assert line.count("L") <= ranking_sections.MOST_POINTS + 5


@pytest.mark.parametrize(("positive", "n", "shift"), [(5, 126, 9.0), (60, 20_000, 3.0), (300, 20_000, 1.5)])
def test_drawn_curves_enclose_the_areas_beside_them(positive, n, shift, monkeypatch):
    rng = np.random.default_rng(positive)
    y = np.zeros((n, 2), dtype=np.float32)
    y[:, 1] = np.arange(n) < positive
    p = 1 / (1 + np.exp(-rng.standard_normal((n, 2)) - shift * y))
    drawn = []
    monkeypatch.setattr(ranking_sections.plots, "unit_curves", lambda lines, **_: drawn.append(lines[-1]) or "")
    line = ranking_sections.rankings(dense_of(Target("t", "single", ("a", "b")), p.astype(np.float32), y), None)["lines"][-1]
    roc, pr = drawn
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(line["roc_auc"], abs=0.004)
    assert np.trapezoid(pr.y, pr.x) == pytest.approx(line["average_precision"], abs=0.02)


def test_a_class_without_rows_has_no_curve():
    dense = answers("multi", 3)
    dense.y[:, 1] = 0
    assert [line["class"] for line in ranking_sections.rankings(dense, None)["lines"] if line["class"] == "k1"] == []


def test_counts_at_each_threshold_are_those_of_the_rows():
    dense = answers("multi", 3)
    found = ranking_sections.thresholds(dense)["data"]
    for c in range(3):
        for step in (0, 13, 50, 77, 100):
            above = dense.p[:, c] >= np.float32(step / 100)
            assert found["tp"][c][step] == int((above & (dense.y[:, c] > 0.5)).sum())
            assert found["fp"][c][step] == int((above & (dense.y[:, c] < 0.5)).sum())


def test_only_two_classes_or_several_labels_have_a_threshold():
    assert ranking_sections.thresholds(answers("single", 3)) is None
    assert ranking_sections.thresholds(answers("single", 2))["data"]["classes"] == ["k1"]
    many = ranking_sections.thresholds(answers("multi", 300))
    assert len(many["data"]["classes"]) == ranking_sections.MOST_SLIDERS
    assert many["left_out"] == 100


@pytest.mark.parametrize(("kind", "k"), [("multi", 3), ("single", 2), ("ordinal", 2)])
def test_step_that_chooses_a_threshold_suits_the_target(kind, k):
    assert kind in STEPS[ranking_sections.thresholds(answers(kind, k))["step"]].kinds
