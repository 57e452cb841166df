"""``tapetum evaluate``, ``api.evaluate`` and ``Pipeline.score``: figures of labelled images that a pipeline may never have seen."""

from __future__ import annotations

import json
import shutil
import zipfile

import numpy as np
import pandas
import polars as pl
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, f1_score

import kinds
import small_runs
import tapetum
from images import plant, write_table
from tapetum import api
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Predictions

CLASSES = ("ant", "bee", "cat")


@pytest.fixture
def fresh(tmp_path):
    """24 labelled images that no run has seen, some hard to tell."""
    return plant(tmp_path / "fresh", classes=3, each=8, size=32, seed=7, signal=0.3, group_size=2)


@pytest.fixture(scope="session")
def several(tmp_path_factory):
    """A run with single, several-label, ordinal, number and derived targets, and its table of people."""

    def make(place):
        table = with_tags(kinds.plant_people(place / "data", rows=24))
        targets = ["mask", "gender", "age_group:ordinal=young<middle<old", "count:regression", "tags:multi"]
        kinds.fit(
            table, place / "run", train__epochs=0, data__targets=targets, data__group="person", data__derive={"ans": "mask*2 + gender"}
        )

    return small_runs.once(tmp_path_factory, "evaluated-kinds", make)


def with_tags(table):
    frame = pl.read_csv(table)
    tags = [["a", "b", "a b"][i % 3] for i in range(len(frame))]
    frame.with_columns(pl.Series("tags", tags)).write_csv(table)
    return table


def value(result, metric, name="unseen images", target=None):
    rows = [f for f in result["figures"] if f["metric"] == metric and f["name"] == name and target in (None, f["target"])]
    assert len(rows) == 1
    return rows[0]


def without_places(result):
    return {key: one for key, one in result.items() if key not in ("out", "report")}


def test_figures_are_those_of_the_predictions_it_writes(probed, fresh, tmp_path):
    result = api.evaluate(probed, fresh.table, tmp_path / "out")
    dense = Predictions.read(tmp_path / "out" / "predictions.parquet").dense("label")
    truth = dict(zip(fresh.files, fresh.labels, strict=True))
    answered = [CLASSES[k] for k in dense.p.argmax(axis=1)]
    wanted = [truth[row] for row in dense.row_ids]
    assert [CLASSES[k] for k in dense.y.argmax(axis=1)] == wanted
    accuracy = value(result, "accuracy")
    assert accuracy["value"] == pytest.approx(accuracy_score(wanted, answered))
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert (accuracy["n"], accuracy["groups"], accuracy["how"]) == (24, 12, "test")
    assert value(result, "macro_f1")["value"] == pytest.approx(f1_score(wanted, answered, average="macro", labels=CLASSES, zero_division=0))
    assert value(result, "accuracy", "prior")["value"] == pytest.approx(1 / 3)
    assert [row["n"] for row in result["per_class"]["label"]] == [8, 8, 8]
    matrix = np.array(result["confusion"]["label"]["matrix"])
    assert matrix.sum() == 24
    assert np.trace(matrix) == sum(a == b for a, b in zip(answered, wanted, strict=True))
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["figures"] == result["figures"]
    assert result["known"] == [] == result["marks"]
    assert set(Predictions.read(tmp_path / "out" / "predictions.parquet").frame["role"].to_list()) == {"test"}


def test_same_images_score_the_same_from_every_source(probed, fresh, tmp_path):
    with zipfile.ZipFile(tmp_path / "fresh.zip", "w") as archive:
        for path in sorted((fresh.root / "images").rglob("*.png")):
            archive.write(path, path.relative_to(fresh.root / "images"))
    frame = pl.read_csv(fresh.table).with_columns(file=pl.lit(f"{fresh.root}/") + pl.col("file"))
    sources = [
        fresh.root / "images",
        tmp_path / "fresh.zip",
        frame.drop("group"),
        pandas.DataFrame(frame.drop("group").to_dict(as_series=False)),
    ]
    found = [api.evaluate(probed, source) for source in sources]
    for other in found:
        assert other["figures"] == found[0]["figures"]
        assert other["confusion"] == found[0]["confusion"]
    assert value(found[0], "accuracy")["groups"] == 24
    assert value(found[0], "accuracy")["value"] == value(api.evaluate(probed, fresh.table), "accuracy")["value"]


def test_rows_known_from_training_are_named_and_scored_apart(probed, planted, fresh, tmp_path):
    alone = api.evaluate(probed, fresh.root / "images")
    mixed = tmp_path / "mixed"
    shutil.copytree(fresh.root / "images", mixed)
    for i in range(3):
        shutil.copy(planted / f"images/bee/bee_00{i}.png", mixed / "bee" / f"renamed_{i}.png")
    result = api.evaluate(tapetum.load(probed), mixed)
    assert result["known"] == [f"bee/renamed_{i}.png" for i in range(3)]
    assert [f for f in result["figures"] if f["name"] == "unseen images"] == [f for f in alone["figures"] if f["name"] == "unseen images"]
    apart = value(result, "accuracy", "images known from training")
    assert (apart["n"], apart["how"]) == (3, "in-sample")
    assert "3 of 27 rows are known from training" in result["table"]
    assert result["figures"][0]["name"] == "unseen images"


def test_only_known_rows_are_in_sample_and_never_called_unseen(probed, planted, tmp_path):
    said = small_runs.cli("evaluate", probed, planted / "labels.csv", "--report", tmp_path / "page.html", verbose=False)
    assert said.code == 0
    first = said.out.splitlines()[0]
    assert "], in-sample, on " in first
    assert "(baseline 0." in first
    assert "unseen images in" not in said.out
    assert "every figure is in-sample" in said.out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "In-sample: the pipeline was trained on these same images" in page
    assert len(said.out.splitlines()) <= 9


def test_a_pipeline_without_a_list_says_so(probed, fresh, tmp_path):
    shutil.copytree(probed / "pipeline", tmp_path / "old")
    (tmp_path / "old" / "training_images.parquet").unlink()
    spec = json.loads((tmp_path / "old" / "pipeline.json").read_text(encoding="utf-8"))
    del spec["files"]  # older versions listed none
    (tmp_path / "old" / "pipeline.json").write_text(json.dumps(spec), encoding="utf-8")
    assert "no list of its training images" in api.evaluate(tmp_path / "old", fresh.table)["marks"][0]


def test_unknown_classes_are_refused_by_name_or_counted(probed, fresh, tmp_path):
    rows = [
        [f"{fresh.root}/{f}", "cow" if i < 3 else "antt" if i == 3 else c]
        for i, (f, c) in enumerate(zip(fresh.files, fresh.labels, strict=True))
    ]
    table = write_table(tmp_path / "odd.csv", ["file", "label"], rows)
    said = small_runs.cli("evaluate", probed, table)
    assert said.code == 3
    assert "4 of 24 rows" in said.error
    assert "'cow' (3 rows), 'antt' (1 row)" in said.error
    assert "ant, bee, cat" in said.error
    result = api.evaluate(probed, table, on_bad="skip")
    assert result["counts"]["unknown"] == {"label": 4}
    assert value(result, "accuracy")["n"] == 20


def test_unreadable_images_are_counted_and_exit_with_4(probed, fresh, tmp_path):
    (fresh.root / fresh.files[0]).write_bytes(b"no image")
    (fresh.root / fresh.files[1]).unlink()
    said = small_runs.cli("evaluate", probed, fresh.table, "-o", tmp_path / "p.csv", "--json")
    assert said.code == 4, said.err
    result = json.loads(said.out)
    assert (result["counts"]["missing"], value(result, "accuracy")["n"]) == (2, 22)
    assert set(result["problems"]) == set(fresh.files[:2])
    frame = pl.read_csv(tmp_path / "p.csv")
    assert len(frame) == 24
    assert frame["status"].to_list().count("missing") == 2
    assert frame["label_true"].to_list() == fresh.labels
    assert small_runs.cli("evaluate", probed, fresh.table, "--on-bad", "refuse").code == 3


def test_a_column_called_otherwise_is_named(probed, fresh, tmp_path):
    rows = [[f"{fresh.root}/{f}", c] for f, c in zip(fresh.files, fresh.labels, strict=True)]
    table = write_table(tmp_path / "t.csv", ["file", "labels"], rows)
    said = small_runs.cli("evaluate", probed, table)
    assert said.code == 2
    assert "'label'" in said.error
    assert "Did you mean 'labels'" in said.error
    assert "--target label=COLUMN" in said.error
    for words in ("label=labels", "labels"):
        assert small_runs.cli("evaluate", probed, table, "--target", words).code == 0
    assert "no column 'lables'" in small_runs.cli("evaluate", probed, table, "--target", "label=lables").error


def test_one_class_alone_is_scored_over_all_classes(probed, fresh):
    only = pl.read_csv(fresh.table).filter(pl.col("label") == "bee").with_columns(file=pl.lit(f"{fresh.root}/") + pl.col("file"))
    result = api.evaluate(probed, only)
    hit = value(result, "accuracy")["value"]
    assert value(result, "macro_f1")["value"] == pytest.approx(2 * hit / (1 + hit) / 3)
    assert [row["class"] for row in result["per_class"]["label"]] == list(CLASSES)


def test_a_split_is_taken_and_duplicates_form_a_group(probed, fresh, tmp_path):
    rows = [[f"{fresh.root}/{f}", c, ("valid", "test")[i % 2]] for i, (f, c) in enumerate(zip(fresh.files, fresh.labels, strict=True))]
    table = write_table(tmp_path / "t.csv", ["file", "label", "split"], rows)
    assert value(api.evaluate(probed, table, split="test"), "accuracy")["n"] == 12
    assert value(api.evaluate(probed, table, split="val"), "accuracy")["n"] == 12
    with pytest.raises(UserError, match=r"no row of split 'tset'.*Did you mean 'test'"):
        api.evaluate(probed, table, split="tset")
    shutil.copy(fresh.root / fresh.files[0], fresh.root / "images" / "ant" / "copy.png")
    result = api.evaluate(probed, fresh.root / "images")
    assert (value(result, "accuracy")["n"], value(result, "accuracy")["groups"]) == (25, 24)


def test_blank_images_form_no_group(probed, fresh, tmp_path):
    for file in fresh.files[:3]:
        Image.new("RGB", (32, 32), (7, 7, 7)).save(fresh.root / file, "png")
    result = api.evaluate(probed, fresh.root / "images")
    assert value(result, "accuracy")["groups"] == 24  # three photos of one gray are three groups


def test_every_kind_is_scored_and_absent_targets_left_out(several, tmp_path):
    table = with_tags(kinds.plant_people(tmp_path / "people", rows=18, seed=5))
    result = api.evaluate(several / "run", table, tmp_path / "out", report=tmp_path / "page.html")
    assert {f["target"] for f in result["figures"]} == {"mask", "gender", "age_group", "count", "tags", "ans"}
    for target, metric in [("mask", "accuracy"), ("age_group", "ordinal_mae"), ("count", "mae"), ("tags", "macro_f1"), ("ans", "accuracy")]:
        assert value(result, metric, target=target)["n"] == 18
    assert set(result["confusion"]["tags"]) == {"classes", "tp", "fp", "fn", "tn"}
    assert len(result["confusion"]["ans"]["classes"]) == 6
    assert "count" not in result["confusion"]
    assert "age_group" in (tmp_path / "page.html").read_text(encoding="utf-8")
    frame = pl.read_csv(table).drop("gender", "count")
    part = api.evaluate(several / "run", frame.with_columns(file=pl.lit(f"{table.parent}/") + pl.col("file")))
    assert {f["target"] for f in part["figures"]} == {"mask", "age_group", "tags"}
    only = api.evaluate(several / "run", table, target="ans")
    assert {f["target"] for f in only["figures"]} == {"ans"}
    assert value(only, "accuracy")["value"] == value(result, "accuracy", target="ans")["value"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_two_evaluations_of_the_same_images_are_compared(probed, fresh, tmp_path, kind):
    result = api.evaluate(probed, fresh.table, tmp_path / f"one.{kind}")
    shutil.copy(tmp_path / f"one.{kind}", tmp_path / f"two.{kind}")
    said = small_runs.cli("compare", tmp_path / f"one.{kind}", tmp_path / f"two.{kind}", "--metric", "accuracy", "--json")
    assert said.code == 0, said.err
    (pair,) = json.loads(said.out)["pairs"]
    assert (pair["n"], pair["value_a"]) == (24, pytest.approx(value(result, "accuracy")["value"]))
    if kind == "parquet":
        said = small_runs.cli("compare", tmp_path / "one.parquet", tmp_path / "two.parquet", "--manifest", tmp_path / "one.parquet")
        assert "one.parquet is a table of predictions, not a manifest" in said.error


def test_truth_of_every_kind_is_read_back_from_csv(several, tmp_path):
    table = with_tags(kinds.plant_people(tmp_path / "people", rows=18, seed=5))
    result = api.evaluate(several / "run", table, tmp_path / "one.csv")
    shutil.copy(tmp_path / "one.csv", tmp_path / "two.csv")
    for target, metric in (("count", "mae"), ("tags", "macro_f1"), ("mask", "accuracy")):
        words = ["compare", tmp_path / "one.csv", tmp_path / "two.csv", "--target", target, "--metric", metric, "--json"]
        said = small_runs.cli(*words)
        assert said.code == 0, said.err
        assert json.loads(said.out)["pairs"][0]["value_a"] == pytest.approx(value(result, metric, target=target)["value"], abs=1e-5)


def test_first_screen_of_the_page_has_result_and_baseline(probed, planted, fresh, tmp_path):
    pages = {}
    for name, data in (("unseen", fresh.table), ("known", planted / "labels.csv")):
        result = api.evaluate(probed, data, report=tmp_path / f"{name}.html")
        page = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        pages[name] = page.split('<section id="summary">')[1].split("</section>")[0]
        assert f"accuracy <b>{result['figures'][0]['value']:.3f}</b>" in pages[name]
        assert "always the most frequent class; the shares are those of these very rows" in pages[name]
        assert "<td>train</td>" not in page
    assert "on 24 unseen images." in pages["unseen"]
    assert "in-sample, on 24 images known from training." in pages["known"]
    assert "leaks" not in pages["unseen"]
    assert "differences between folds" not in pages["unseen"]


def test_run_is_never_overwritten_and_odd_places_are_refused(probed, fresh, tmp_path):
    before = small_runs.sha256(probed / "metrics.json")
    assert small_runs.cli("evaluate", probed, fresh.table, "-o", probed).code == 2
    assert small_runs.sha256(probed / "metrics.json") == before
    assert small_runs.cli("evaluate", probed, fresh.table, "-o", tmp_path / "p.xlsx").code == 2
    said = small_runs.cli("evaluate", probed, fresh.root, "-o", fresh.root)
    assert (said.code, "would be among the data" in said.error) == (2, True)
    assert small_runs.cli("evaluate", probed, fresh.table, "--report", tmp_path / "p.pdf").code == 2


def test_verbose_prints_the_table_by_class_and_the_confusion_matrix(probed, fresh):
    said = small_runs.cli("evaluate", probed, fresh.table, "--verbose")
    assert said.code == 0
    assert "label: class" in said.out
    assert "label ↓ prediction →" in said.out


def test_score_is_accuracy_and_refuses_what_would_flatter_it(probed, fresh):
    model = tapetum.load(probed)
    paths = [fresh.root / f for f in fresh.files]
    answers = model.predict(paths)
    assert model.score(paths, fresh.labels) == pytest.approx(accuracy_score(fresh.labels, answers))
    assert model.score(paths, np.array(fresh.labels), metric="macro_f1") == pytest.approx(
        f1_score(fresh.labels, answers, average="macro", labels=CLASSES, zero_division=0)
    )
    with pytest.raises(UserError, match="23 labels of 'label' were given for 24 images"):
        model.score(paths, fresh.labels[1:])
    with pytest.raises(DataError, match="'cow'"):
        model.score(paths[:1], ["cow"])
    (fresh.root / fresh.files[2]).write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 24 images cannot be read: numbers 2"):
        model.score(paths, fresh.labels)


def test_score_of_several_targets_is_a_dict(several, tmp_path):
    table = with_tags(kinds.plant_people(tmp_path / "people", rows=6, seed=5))
    frame = pl.read_csv(table)
    model = tapetum.load(several / "run")
    paths = [table.parent / f for f in frame["file"].to_list()]
    truth = {"mask": frame["mask"], "count": frame["count"], "tags": [cell.split() for cell in frame["tags"].to_list()]}
    found = model.score(paths, truth)
    assert set(found) == {"mask", "count", "tags"}
    assert found["mask"] == pytest.approx(np.mean([a == b for a, b in zip(model.predict(paths)["mask"], truth["mask"], strict=True)]))
    with pytest.raises(UserError, match="a dict of target"):
        model.score(paths, frame["mask"])
