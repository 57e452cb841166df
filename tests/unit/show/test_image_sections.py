"""The map of the images, the sequences, and the members: what is drawn is what the run's files hold."""

from __future__ import annotations

import re

import numpy as np
import pytest

from report_runs import TARGETS, dense_of, make_run
from tapetum.core import files
from tapetum.core.targets import Target
from tapetum.show import embedding, members, plots, sequence_section
from tapetum.show.run_files import read_run


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return read_run(make_run(tmp_path_factory.mktemp("images"), rows=60, sequences=6))


@pytest.mark.parametrize("shape", [(80, 30), (600, 520), (5, 1), (3, 40)])
def test_components_are_the_singular_vectors_of_the_centred_rows(shape):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=shape) * np.linspace(6, 1, shape[1]) ** 3
    points, share = embedding.components(vectors)
    left, values, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    expected = (left * values)[:, :2]
    assert points.shape == (shape[0], 2)
    assert share == pytest.approx((expected**2).sum() / (values**2).sum(), rel=1e-3)
    for k in range(expected.shape[1]):
        assert abs(np.corrcoef(points[:, k], expected[:, k])[0, 1]) == pytest.approx(1, abs=1e-3)
    assert np.array_equal(points, embedding.components(vectors)[0])


def test_equal_vectors_have_no_components():
    points, share = embedding.components(np.ones((4, 3)))
    assert (points.tolist(), share) == ([[0, 0]] * 4, 0)


def test_nearest_images_with_the_same_label_are_counted():
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=float)
    assert embedding.alike(vectors, ["a", "a", "b", "b"]).tolist() == pytest.approx([1 / 3] * 4)
    assert embedding.alike(vectors, ["a", "a", "a", "a"]).tolist() == [1.0] * 4


def test_map_has_every_image_and_a_ring_for_errors(found):
    shown = embedding.embedding(found, TARGETS[0])
    dense = found.held_out(TARGETS[0])
    rows = dense.where(dense.scorable)
    drawn = str(shown["figure"])
    assert shown["n"] == len(rows.row_ids) == drawn.count("h0")
    wrong = rows.p.argmax(1) != rows.y.argmax(1)
    assert drawn.count("a4 4 0 1 0 8 0") == wrong.sum() > 0
    for line in shown["lines"]:
        mine = rows.y.argmax(1) == TARGETS[0].classes.index(line["class"])
        assert (line["n"], line["wrong"]) == (mine.sum(), (mine & wrong).sum())


def test_map_of_many_images_is_bounded(found, monkeypatch):
    monkeypatch.setattr(embedding, "MOST_POINTS", 20)
    shown = embedding.embedding(found, TARGETS[0])
    assert (shown["n"], shown["of"]) == (20, 59)


@pytest.mark.parametrize("target", TARGETS[1:])
def test_map_has_a_colour_for_every_kind_of_target(found, target):
    shown = embedding.embedding(found, target)
    assert sum(line["n"] for line in shown["lines"]) == shown["n"] == 59


def test_no_features_no_map(tmp_path):
    run = make_run(tmp_path, rows=20)
    files.remove(run / "features")
    assert embedding.embedding(read_run(run), TARGETS[0]) is None


def test_sequences_are_scored_and_drawn_in_the_order_of_positions(found):
    shown = sequence_section.sequences(found, TARGETS[0])
    dense = found.held_out(TARGETS[0])
    of = dict(found.manifest.frame.select("row_id", "sequence").iter_rows())
    for line in shown["lines"]:
        rows = dense.where(np.array([of[row] == line["sequence"] for row in dense.row_ids]) & dense.scorable)
        assert line["scored"] == len(rows.row_ids)
        assert line["score"] == pytest.approx((rows.p.argmax(1) == rows.y.argmax(1)).mean())
    scores = [line["score"] for line in shown["lines"]]
    assert scores == sorted(scores)
    assert [shown["drawn"][0]["sequence"], shown["drawn"][-1]["sequence"]] == [
        shown["lines"][0]["sequence"],
        shown["lines"][-1]["sequence"],
    ]
    assert len(shown["drawn"]) == 4
    name = shown["drawn"][0]["sequence"]
    backwards = [row for row in reversed(found.manifest.row_ids) if of[row] == name]  # positions fall as rows rise
    labels = dict(found.manifest.frame.select("row_id", "breed").iter_rows())
    first = TARGETS[0].classes.index(labels[backwards[0]])
    drawn = re.search(r'class="line one" d="M[\d.]+ ([\d.]+)', str(shown["drawn"][0]["figures"][0]))[1]
    assert float(drawn) == pytest.approx(14 + 15 * first + 7.5)


def test_numbers_in_sequences_are_two_curves(found):
    shown = sequence_section.sequences(found, TARGETS[3])
    assert shown["score"] == "mean absolute error"
    assert str(shown["drawn"][0]["figures"][0]).count('<path class="line') == 2


def test_several_labels_and_data_without_sequences_show_none(found, tmp_path):
    assert sequence_section.sequences(found, TARGETS[1]) is None
    assert sequence_section.sequences(read_run(make_run(tmp_path, rows=20)), TARGETS[0]) is None


def test_rare_classes_of_a_sequence_share_a_line():
    k, n = 30, 200
    target = Target("t", "single", tuple(f"k{c}" for c in range(k)))
    y = np.eye(k, dtype=np.float32)[np.minimum(np.random.default_rng(0).geometric(0.2, n) - 1, k - 1)]
    truth, answer, p, names = sequence_section._few_classes(dense_of(target, y, y))
    assert len(names) == sequence_section.MOST_CLASSES == p.shape[1]
    assert names[-1] == "other"
    assert np.allclose(p.sum(axis=1), 1)
    assert (p.argmax(axis=1) == truth).all()
    assert (truth == answer).all()


def test_staircase_turns_where_the_label_does():
    drawn = str(plots.hypnogram(np.array([0, 0, 1, -1, 1]), np.array([0, 1, 1, 1, 1]), ["a", "b"], "x"))
    step = (640 - 92) / 5
    label = re.search(r'class="line one" d="([^"]*)"', drawn)[1]
    assert label == f"M92 21.5H{92 + 2 * step:g}V36.5H{92 + 3 * step:g}M{92 + 4 * step:g} 36.5H640"
    differs = re.search(r'class="differs" d="([^"]*)"', drawn)[1]
    assert differs.count("M") == 1  # position 1; position 3 has no label


def test_density_areas_fill_the_frame():
    p = np.array([[0.25, 0.75], [1.0, 0.0]])
    drawn = str(plots.density(p, ["a", "b"], "x"))
    first, second = re.findall(r'class="c\d area" d="([^"]*)"', drawn)
    assert first.startswith("M92 71.5H366")  # a quarter of 90 pixels above 94
    assert "4H366" in second


def test_members_have_their_weight_and_steps_their_order(found, tmp_path):
    run = make_run(tmp_path, rows=20)
    blend = {
        "members": ["main", "wide"],
        "calibrate": {"name": "temperature"},
        "blend": {"name": "weights"},
        "steps": [{"name": "thresholds"}],
    }
    blend["final"] = {"calibrate": {"main": {"temperature": 1.5}}, "blend": {"weights": [0.25, 0.75]}, "steps": [{"at": [0.4]}]}
    files.write_json(run / "decisions.json", {"blend": {"breed": blend}, "steps": {}})
    shown = read_run(run)
    lines = members.members(shown, "breed")
    assert [(line["member"], line["weight"]) for line in lines] == [("main", 0.25), ("wide", 0.75)]
    assert lines[0]["folds"] == [0, 1, 2, 3]
    assert [(one["step"], one["name"]) for one in members.steps(shown)[0]["lines"]] == [
        ("calibrate", "temperature"),
        ("blend", "weights"),
        ("decide", "thresholds"),
    ]
    files.write_json(run / "decisions.json", {"choice": {"final": "probe"}, "blend": {"breed": blend}, "steps": {}})
    assert members.steps(read_run(run)) == [], "the probe answers: nothing of this makes its answer"
    files.write_json(run / "decisions.json", {"choice": {"final": "mean"}, "blend": {"breed": blend}, "steps": {}})
    assert len(members.steps(read_run(run))[0]["lines"]) == 3


@pytest.mark.parametrize(("size", "said"), [(288, "288 pixels"), ([64, 480], "64×480 pixels"), ("native", "images at their own size")])
def test_probe_says_at_which_size_it_sees_images(size, said, tmp_path):
    run = make_run(tmp_path, rows=20)
    what = {"backbone": "resnet18", "views": ["plain", "hflip"], "preprocessing": {"size": size}}
    for name, stored in (("a", {**what, "views": ["plain"], "preprocessing": {"size": 32}}), ("b", what)):
        files.write_json(run / "features" / name / "index.json", {"what": stored, "row_id": []})
    shown = read_run(run)
    shown.members["probe"] = {0: shown.members["main"][0]}
    assert {line["member"]: line["what"] for line in members.members(shown, "breed")}["probe"] == f"linear probe on resnet18, {said}"
