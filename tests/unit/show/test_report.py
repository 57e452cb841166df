"""The report: what stands in it equals what the run's files hold, and it needs nothing but them."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import io
import re
import shutil

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix

from report_runs import FOLDS, NASTY, TARGETS, dense_of, make_run, text_of
from tapetum import api
from tapetum.core import config, files, intervals, shares
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.show import figures, matrix, measured, report, target_sections, words
from tapetum.show.report import reproduce, write_report
from tapetum.show.run_files import read_run
from tapetum.show.thumbnails import SIDE, Thumbnails, data_uri, eight_bits


def test_whole_run_gives_one_file_without_the_network(whole):
    page = write_report(whole).read_text()
    assert (whole / "report.html").exists()
    outside = re.findall(r"""(?:src|href|action)\s*=\s*["'](?!data:|#)[^"']*""", page) + re.findall(r"url\(|@import|https?://", page)
    assert outside == []
    Balanced().check(page)
    for section in ("result", "selection", "target-1", "training", "folds", "saliency", "log", "files", "recipe", "reproduce"):
        assert f'id="{section}"' in page


def test_headings_are_the_terms_of_the_field(whole):
    page = write_report(whole).read_text()
    heads = {text_of(head).strip() for head in re.findall(r"<h[234][^>]*>.*?</h[234]>", page, re.S)}
    wanted = ["Result", "Paired differences", "All figures", "Model selection", "Confusion matrix", "True and false positives"]
    wanted += ["Per-class results", "Calibration", "Predictions against labels", "Most confident errors", "Largest errors", "Training"]
    wanted += ["Learning rate", "Folds", "Saliency maps", "Log", "Image files", "Recipe", "Reproduce", "Runtime", "Environment"]
    assert [name for name in wanted if name not in heads] == []
    assert not re.search(r"\btruths?\b|\bchance\b", text_of(page), re.I)


def test_every_figure_of_metrics_json_is_written_with_its_interval(whole):
    page = text_of(write_report(whole).read_text())
    for figure in files.read_json(whole / "metrics.json")["figures"]:
        assert words.number(figure["value"]) in page
        assert words.interval(figure["low"], figure["high"]) in page


def test_names_from_the_data_are_escaped(whole):
    page = write_report(whole).read_text()
    assert NASTY not in page
    assert "&lt;script&gt;alert(" in page
    assert page.count("<script>") == 1


def test_two_reports_of_one_run_are_the_same_bytes(whole, tmp_path):
    assert write_report(whole, tmp_path / "a.html").read_bytes() == write_report(whole, tmp_path / "b.html").read_bytes()


FILES = ("manifest.parquet", "oof.parquet", "metrics.json", "decisions.json", "plan.json", "environment.json", "run.json")
FILES += ("audit.parquet", "origin.json", "recipe.toml", "members", "saliency")


@pytest.mark.parametrize("absent", FILES)
def test_any_file_may_be_absent(whole, tmp_path, absent):
    run = shutil.copytree(whole, tmp_path / "run")
    files.remove(run / absent)
    Balanced().check(write_report(run).read_text())


def test_predictions_alone_make_a_report_with_an_interval(whole, tmp_path):
    (run := tmp_path / "alone").mkdir()
    files.copy(whole / "oof.parquet", run / "oof.parquet")
    page = text_of(write_report(run).read_text())
    dense = Predictions.read(run / "oof.parquet").dense("breed")
    expected = intervals.interval("macro_f1", dense.target, dense.p, dense.y, dense.row_ids.astype(str))
    assert f"95 % interval {words.interval(expected.low, expected.high)}" in page
    assert "Training" not in page


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(DataError, match="is not a run"):
        write_report(tmp_path)


def test_a_broken_file_is_named(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    (run / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics\.json is not JSON"):
        write_report(run)


def test_the_confusion_matrix_equals_scikit_learn(whole):
    dense = read_run(whole).held_out(TARGETS[0])
    rows = dense.where(dense.scorable)
    expected = confusion_matrix(rows.y.argmax(1), rows.p.argmax(1), labels=range(4))
    table = Cells().read(str(target_sections.confusion(dense)["figure"]))
    got = np.array([[int(cell or 0) for cell in line[1:5]] for line in table[1:5]])
    assert (got == expected).all()
    assert [int(line[5]) for line in table[1:5]] == expected.sum(1).tolist()


def test_decisions_beside_the_probabilities_win(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    dense = read_run(run).held_out(TARGETS[1])
    table = Predictions.read(run / "oof.parquet")
    decided = Predictions.from_dense(dataclasses.replace(dense, answer=np.ones_like(dense.p)))
    Predictions.concat([*(table.select(target=t.name) for t in TARGETS if t.name != "marks"), decided]).write(run / "oof.parquet")
    lines = target_sections.outcomes(read_run(run).held_out(TARGETS[1]))
    truth = dense.y[dense.scorable]
    assert [line["found"] for line in lines] == truth.sum(0).astype(int).tolist()
    assert [line["added"] for line in lines] == (1 - truth).sum(0).astype(int).tolist()
    assert all(line["missed"] == 0 for line in lines)


def test_the_worst_errors_stand_first_with_their_images(whole):
    found = read_run(whole)
    dense = found.held_out(TARGETS[0])
    shown = target_sections.worst(dense, Thumbnails(found.manifest, found.input()), most=5)
    rows = dense.where(dense.scorable)
    true, given_ = rows.y.argmax(1), rows.p.argmax(1)
    gap = rows.p.max(1) - rows.p[np.arange(len(true)), true]
    expected = rows.row_ids[np.argsort(-gap, kind="stable")[:5]].tolist()
    assert [card["row_id"] for card in shown["cards"]] == expected
    assert shown["wrong"] == int((true != given_).sum())
    for card in shown["cards"]:
        with Image.open(io.BytesIO(base64.b64decode(card["image"].partition(",")[2]))) as image:
            assert image.format == "JPEG"
            assert max(image.size) <= SIDE


def test_images_that_moved_are_found_and_missing_ones_named(whole, tmp_path):
    moved = shutil.copytree(whole.parent / "images", tmp_path / "elsewhere")
    run = shutil.copytree(whole, tmp_path / "run")
    manifest = Manifest.read(run / "manifest.parquet")
    Manifest(manifest.frame, manifest.targets, tmp_path / "gone").write(run / "manifest.parquet")
    lost = write_report(run, tmp_path / "lost.html").read_text()
    there = write_report(run, tmp_path / "there.html", data=moved).read_text()
    assert 'class="absent"' in lost
    assert re.search(r'class="absent"><span>r\d+</span><small>\d+\.png', lost)
    assert lost.count("data:image/jpeg") == 1  # the saliency sheet, which lies in the run
    assert 'class="absent"' not in there


def test_the_fold_table_counts_what_the_manifest_holds(whole):
    manifest = Manifest.read(whole / "manifest.parquet")
    page = write_report(whole).read_text()
    table = Cells().read(page[page.index('id="folds"') :])
    truth = manifest.truth("breed")
    for fold in range(FOLDS):
        rows, line = manifest.fold == fold, table[1 + fold]
        assert int(line[1]) == rows.sum()
        assert int(line[2]) == len(set(manifest.groups[rows]))
        counts = [int(n) for n in line[-5:-1]]
        assert counts == np.nansum(truth[rows], axis=0).astype(int).tolist()


def test_the_fold_table_says_what_ran_and_was_divided(whole, tmp_path):
    text = text_of(write_report(whole, tmp_path / "r.html").read_text())
    assert "Each row is held out in one fold. No group is divided between folds." in text
    run = shutil.copytree(whole, tmp_path / "run")
    manifest = Manifest.read(run / "manifest.parquet")
    fold = [1 - f if i == 0 and f < 2 else f for i, f in enumerate(manifest.fold.tolist())]  # r0 leaves its group
    manifest.with_column("fold", pl.Series(fold, dtype=pl.Int16)).write(run / "manifest.parquet")
    table = Predictions.read(run / "oof.parquet")
    kept = [table.dense(t.name) for t in table.targets]
    for dense in kept:
        gone = dense.fold > 0
        dense.status[gone], dense.p[gone] = "uncovered", np.nan
    Predictions.from_dense(kept).write(run / "oof.parquet")
    text = text_of(write_report(run).read_text())
    assert "Folds 1, 2, 3 did not run: their rows are not held out by any model. 1 group is divided between folds." in text
    assert "folds4, of which 1 ran" in text
    assert "Each row is held out" not in text


def test_the_best_possible_score_names_its_metric(whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    about = {"recipe": "r", "system": "s", "profile": "cpu", "scaled": [], "statements": []}
    files.write_json(run / "statements.json", {**about, "simulated": {"metric": "macro_f1", "ceiling": 0.72}})
    assert "the best possible macro F1 on their test part is 0.720" in text_of(write_report(run).read_text())
    files.write_json(run / "statements.json", {**about, "simulated": {"ceiling": 0.72}})  # of an earlier version
    assert "the best possible score on their test part is 0.720" in text_of(write_report(run).read_text())


def test_time_is_summed_over_starts_and_each_start_counts_once(whole):
    shown = reproduce(read_run(whole))
    assert [(line["stage"], line["seconds"]) for line in shown["stages"]] == [("features", 3.0), ("training", 61.0)]
    assert (shown["total"], shown["starts"]) == (64.0, 2)


def test_a_report_of_3000_rows_stays_small(tmp_path):
    run = make_run(tmp_path, rows=3000, side=96)
    assert write_report(run).stat().st_size < 3_000_000


def test_tables_of_many_classes_keep_those_with_the_lowest_f1():
    k, n = 30, 300
    target = Target("t", "single", tuple(f"k{c:02d}" for c in range(k)))
    y = np.eye(k, dtype=np.float32)[np.arange(n) % k]
    p = y.copy()
    p[np.arange(n) % k < 6] = np.roll(y, 1, axis=1)[np.arange(n) % k < 6]  # six classes are never right
    found = target_sections.classes(dense_of(target, p, y), np.arange(n).astype(str), most=6)
    assert [line["class"] for line in found["lines"]] == [f"k{c:02d}" for c in range(6)]
    assert found["more"] == 24


def test_saliency_stops_where_the_page_has_no_space(whole, monkeypatch):
    found = dataclasses.replace(read_run(whole), saliency=[{"file": "one.png"}] * 9)
    monkeypatch.setattr(report, "SALIENCY_SPACE", 3 * len(report.saliency(found)[0]["image"]))
    assert len(report.saliency(found)) == 3


def test_calibration_error_of_a_hand_computed_case():
    target = Target("t", "single", ("a", "b"))
    p = np.array([[0.9, 0.1]] * 4 + [[0.35, 0.65]] * 2, dtype=np.float32)
    y = np.array([[1, 0]] * 3 + [[0, 1]] + [[0, 1], [1, 0]], dtype=np.float32)
    found = target_sections.reliability(dense_of(target, p, y), np.array(list("abcdef")))
    # bins: 4 answers at 0.9 of which 3/4 true; 2 at 0.65 of which 1/2 true
    assert found["error"] == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.15, abs=1e-6)
    assert found["lean"] == pytest.approx(0.15, abs=1e-6)
    assert found["alone"]
    assert not target_sections.reliability(dense_of(target, p, y), np.array(list("aabbcc")))["alone"]


def test_calibration_says_how_many_decisions_answer_otherwise(whole, tmp_path):
    target = Target("t", "single", ("a", "b"))
    p, y = np.array([[0.5, 0.5]] * 4, dtype=np.float32), np.array([[0, 1]] * 4, dtype=np.float32)
    voted = dataclasses.replace(dense_of(target, p, y), answer=y)  # ties of the votes: decided rightly
    found = target_sections.reliability(voted, np.array(list("abcd")))
    assert (found["true"], found["other"]) == (0.0, 4)
    assert target_sections.reliability(dense_of(target, p, y), np.array(list("abcd")))["other"] == 0
    text = text_of(write_report(whole, tmp_path / "r.html").read_text())
    assert "the most probable class is correct in" in text
    assert "of the predictions are correct" in text  # of several labels


def test_errorless_class_keeps_a_wilson_interval():
    target = Target("t", "single", ("a", "b"))
    y = np.eye(2, dtype=np.float32)[[0] * 7 + [1] * 7]
    rows = target_sections.classes(dense_of(target, y, y), np.arange(14).astype(str))["lines"]
    low, _ = shares.wilson(7, 7)
    assert f"{low:.2f}–1.00" in str(rows[0]["cells"][1]["figure"])
    assert f"{low:.2f}–1.00" in str(rows[0]["cells"][2]["figure"])  # F1 of seven images without an error: as sure as seven groups make it


def test_worst_numbers_and_labels():
    number = Target("n", "regression")
    y = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
    shown = target_sections.worst(dense_of(number, y + np.array([[0.1], [-3], [1]], dtype=np.float32), y), Thumbnails(None, config.Input()))
    assert [card["row_id"] for card in shown["cards"]] == ["r1", "r2", "r0"]
    labels = Target("m", "multi", ("a", "b"))
    truth = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32)
    p = np.array([[0.9, 0.2], [0.1, 0.1], [0.4, 0.6]], dtype=np.float32)
    shown = target_sections.worst(dense_of(labels, p, truth), Thumbnails(None, config.Input()))
    assert [(card["row_id"], card["answer"], card["truth"]) for card in shown["cards"]] == [("r1", "none", "a, b"), ("r2", "b", "none")]


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-6, 1e6), about=st.integers(2, 9))
def test_ticks_lie_inside_and_are_evenly_spaced(low, span, about):
    marks = figures.ticks(low, low + span, about)
    assert len(marks) <= about + 2
    assert all(low - 1e-6 * span - 1e-9 * abs(low) <= t <= low + span + 1e-6 * span + 1e-9 * abs(low) for t in marks)
    if len(marks) > 2:
        steps = np.diff(marks)
        assert np.allclose(steps, steps[0], rtol=1e-4, atol=1e-9)


@given(seed=st.integers(0, 10**6), n=st.integers(241, 900))
def test_a_thinned_curve_keeps_its_ends_and_extremes(seed, n):
    y = np.random.default_rng(seed).normal(size=n).round(1)
    x, kept = figures.thin(np.arange(len(y)), y)
    assert len(x) <= 245
    assert (x[0], x[-1]) == (0, len(y) - 1)
    assert (kept.min(), kept.max()) == (y.min(), y.max())
    assert (y[x] == kept).all()


def test_alike_classes_stand_side_by_side():
    counts = np.diag([10.0] * 9)
    for a, b in ((0, 5), (2, 7), (1, 8)):
        counts[a, b] = counts[b, a] = 6
    order = matrix.similar_order(counts)
    assert sorted(order) == list(range(9))
    for a, b in ((0, 5), (2, 7), (1, 8)):
        assert abs(order.index(a) - order.index(b)) == 1


def test_a_whisker_stands_where_its_numbers_are():
    drawn = str(figures.whiskers([figures.Dot("a", 0.5, 0.25, 1.0), figures.Dot("b", 0.0, 0.0, 0.0)], label="x"))
    left = [float(v) for v in re.findall(r'<b style="left:([\d.]+)%"', drawn)]
    start, width = map(float, re.findall(r'<i style="left:([\d.]+)%;width:([\d.]+)%"', drawn)[0])
    assert left == [50.0, 0.0]  # the scale is [0, 1]: both ends are reached
    assert (start, width) == (25.0, 75.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9124, "0.912"), (-0.0174, "−0.017"), (-0.0001, "0.000"), (12.345, "12.3"), (1234.5, "1,234"), (None, "–"), (float("nan"), "–")],
)
def test_numbers_are_written_for_reading(value, text):
    assert words.number(value) == text


def test_verdict_knows_the_better_direction_and_doubt():
    def said(metric, value, low, high):
        return words.verdict({"a": "final", "b": "probe", "metric": metric, "value": value, "low": low, "high": high})

    assert "is better than the probe by 0.020" in said("macro_f1", 0.02, 0.01, 0.03)
    assert "is better than the probe by 5.592 in mean absolute error (95 % interval 4.700 to 7.100)" in said("mae", -5.592, -7.1, -4.7)
    assert "is worse than the probe by 0.050 in accuracy (95 % interval 0.020 to 0.080)" in said("accuracy", -0.05, -0.08, -0.02)
    assert "it is better by 0.010 in mean absolute error (95 % interval −0.020 to 0.040)" in said("mae", -0.01, -0.04, 0.02)
    assert "not clearly different from the probe: it is worse by 0.318 in accuracy" in said("accuracy", -0.318, -1.0, 0.5)
    assert "no interval: 2 groups are too few" in words.verdict(
        {"a": "x", "b": "y", "metric": "mae", "value": 1.0, "low": None, "high": None, "method": "no interval: 2 groups are too few"}
    )
    assert "is worse than the probe" in said("log_loss", 0.02, 0.01, 0.03)
    assert "is not clearly different from" in said("log_loss", 0.02, -0.01, 0.03)


def test_verdict_names_what_folds_by_image_are_worth():
    def said(value, low, high):
        return words.verdict({"a": "probe", "b": "probe, folds by group", "metric": "accuracy", "value": value, "low": low, "high": high})

    assert "make the probe look better than folds by group by 0.050 in accuracy" in said(0.05, 0.02, 0.08)
    assert "do not clearly change what the probe reaches" in said(0.01, -0.02, 0.04)


def test_a_difference_to_the_baseline_does_not_set_the_scale(whole):
    shown = next(d for d in measured.differences(read_run(whole)) if d["target"] == "breed")
    assert "final − probe" in str(shown["figure"])
    assert "chance" not in str(shown["figure"])
    assert "baseline" not in str(shown["figure"])


@pytest.mark.parametrize(
    ("dtype", "channels"), [(np.uint8, 1), (np.uint16, 1), (np.float32, 2), (np.uint8, 3), (np.uint16, 4), (np.uint8, 7)]
)
def test_any_image_becomes_eight_bits(dtype, channels):
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 60000 if dtype == np.uint16 else 255, (20, 30, channels))
    image = whole.astype(dtype) if dtype != np.float32 else (whole / 255).astype(dtype)
    shown = eight_bits(image)
    assert shown.dtype == np.uint8
    assert shown.shape == ((20, 30) if channels == 1 else (20, 30, 3))
    if dtype == np.uint8:
        assert (shown == (image[..., 0] if channels == 1 else image[..., :3])).all()
    else:
        assert np.corrcoef(shown.reshape(600, -1)[:, 0], image[..., 0].ravel())[0, 1] > 0.99
    assert data_uri(image).startswith("data:image/jpeg;base64,")


# ------------------------------------------------------------------------------------------------------------ a fake run


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report"), rows=60)


class Balanced(html.parser.HTMLParser):
    """Checks that every tag that opens is closed, in order."""

    VOID = frozenset(["meta", "br", "img", "link", "input", "wbr", "hr", "circle", "path", "rect"])

    def check(self, page: str) -> None:
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open
            assert self.open.pop() == tag


class Cells(html.parser.HTMLParser):
    """Reads the first table of a page as lines of texts."""

    def read(self, page: str) -> list[list[str]]:
        self.lines: list[list[str]] = []
        self.feed(page[page.index("<table") : page.index("</table>")])
        return self.lines

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.lines.append([])
        elif tag in ("td", "th"):
            self.lines[-1].append("")

    def handle_data(self, data):
        if self.lines and self.lines[-1]:
            self.lines[-1][-1] += data.strip()


@pytest.mark.parametrize(("name", "kind"), [("decisions.json", "object"), ("metrics.json", "object"), ("origin.json", "list")])
def test_a_file_of_another_shape_is_named(tmp_path, name, kind):
    run = make_run(tmp_path, 8)
    (run / name).write_text("{}" if kind == "list" else "[]")
    with pytest.raises(DataError, match=rf"{name} holds no {kind}"):
        read_run(run)


@pytest.mark.parametrize("name", ["metrics.json", "recipe.toml", "report"])
def test_a_page_replaces_no_other_file(tmp_path, name):
    run = make_run(tmp_path, 8)
    before = (run / "metrics.json").read_bytes()
    for others in ((), (run,)):
        with pytest.raises(UserError, match="a report cannot be written as"):
            api.report(run, run / name, others=others)
    assert (run / "metrics.json").read_bytes() == before
