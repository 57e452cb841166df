"""Identities: they train vectors and are never answered; the nearest image's labels count where held-out rows show that they should."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest

import kinds
import small_runs
import tapetum
from images import write_table
from tapetum import api
from tapetum.core import files
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions
from tapetum.core.vectors import Gallery, Vectors
from tapetum.pipeline import Pipeline

LINES, EACH, TESTED = 14, 6, 2


def plant(root, *, seed=0):
    """Write images of LINES individuals, each of a colour of its own; their labels are drawn by individual and cannot be seen.

    ``labels.csv`` (file, label, line) has EACH images of every line, ``test.csv`` (file, label) TESTED further ones.
    """
    rng = np.random.default_rng(seed)
    colours = np.stack(np.meshgrid([0.25, 0.5, 0.75], [0.25, 0.5, 0.75], [0.25, 0.75]), axis=-1).reshape(-1, 3)
    colours = colours[rng.permutation(len(colours))[:LINES]]
    labels = rng.permutation(np.arange(LINES) % 2)
    train, test = [], []
    for line in range(LINES):
        for i in range(EACH + TESTED):
            image = np.clip(colours[line] + rng.normal(0, 0.06, (kinds.SIZE, kinds.SIZE, 3)), 0, 1)
            file = f"images/{line:02d}-{i}.png"
            kinds.save_colour(root / file, image)
            label = ("even", "odd")[labels[line]]
            (train if i < EACH else test).append([file, label, f"line{line}"] if i < EACH else [file, label])
    write_table(root / "labels.csv", ["file", "label", "line"], train)
    write_table(root / "test.csv", ["file", "label"], test)
    return root


def fit(place, out, said=None, **sets):
    values = {
        "data__targets": ["label", "line:identity"],
        "data__test": [str(place / "test.csv")],
        "probe__enabled": False,
        "train__epochs": 2,
        "optimizer__rate": 1e-3,
        "decide__steps": ["retrieval"],
        **sets,
    }
    return kinds.fit(place / "labels.csv", out, said, **values)


def figure(run, name, metric="macro_f1", how="cross-validated"):
    rows = files.read_json(run / "metrics.json")["figures"]
    return next(r for r in rows if (r["name"], r["metric"], r["how"], r["target"]) == (name, metric, how, "label"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A run whose folds and test rows share their individuals with the rows that train."""

    def make(place):
        plant(place)
        said = []
        fit(place, place / "run", said)
        files.write_json(place / "said.json", said)

    return small_runs.once(tmp_path_factory, "retrieval", make)


def test_neighbours_labels_help_where_individuals_return(shared):
    run = shared / "run"
    steps = files.read_json(run / "decisions.json")["steps"]["label"]
    assert steps["final"]["steps"][0]["bound"] is not None
    final, without = figure(run, "final"), figure(run, "without retrieval")
    assert final["value"] > without["value"] + 0.1
    assert final["low"] <= final["value"] <= final["high"]
    gain = next(d for d in files.read_json(run / "metrics.json")["differences"] if d["b"] == "without retrieval")
    both = [figure(run, name, gain["metric"])["value"] for name in ("final", "without retrieval")]
    assert gain["value"] == pytest.approx(both[0] - both[1])
    assert gain["low"] > 0
    assert any("takes the nearest image's labels" in line for line in files.read_json(shared / "said.json"))
    assert "retrieval" in (run / "report.html").read_text()


def test_identities_are_never_answered(shared):
    run = shared / "run"
    for table in [
        run / "oof.parquet",
        run / "test.parquet",
        *run.glob("members/*/*/*oof.parquet"),
        *run.glob("members/*/*/epochs.parquet"),
    ]:
        assert {t.name for t in Predictions.read(table).targets} == {"label"}
    assert not [c for c in pl.read_csv(next(run.glob("members/main/fold-0/history.csv"))).columns if c.startswith("line/")]
    assert {row["target"] for row in files.read_json(run / "metrics.json")["figures"]} == {"label"}
    pipeline = Pipeline.load(run)
    assert list(pipeline.scored) == ["label"]
    assert pipeline.classes_ == ("even", "odd")


def test_every_row_has_a_vector_of_its_fold_model(shared):
    manifest = Run(shared / "run").manifest()
    trains = np.array(manifest.row_ids)[manifest.split == "train"]
    answering = files.read_json(shared / "run/decisions.json")["epochs"]["main"]["per_fold"]
    for fold in (0, 1):
        vectors = Vectors.read(shared / "run/members/main" / f"fold-{fold}/vectors/line@{answering[str(fold)]}.parquet")
        assert sorted(vectors.row_ids) == sorted(trains)
        assert np.allclose(np.linalg.norm(vectors.matrix, axis=1), 1, atol=1e-5)
        gallery = Gallery.read(shared / "run/pipeline/gallery/main" / f"line-fold-{fold}.parquet")
        assert set(gallery.vectors.row_ids) == set(np.array(manifest.row_ids)[(manifest.split == "train") & (manifest.fold != fold)])


def test_pipeline_answers_as_the_run_with_retrieved_labels(shared):
    run = shared / "run"
    kept = Predictions.read(run / "test.parquet").dense("label")
    alone = shutil.copytree(run / "pipeline", shared / "alone", dirs_exist_ok=True)
    paths = [str(shared / row_id) for row_id in kept.row_ids]
    p = tapetum.load(alone).predict_proba(paths)
    assert np.allclose(p, kept.p, atol=1e-5)
    assert (p.argmax(1) == kept.y.argmax(1)).mean() > 0.8
    plain = Pipeline.load(alone)
    plain.galleries = {}
    assert not np.allclose(plain.predict_proba(paths), kept.p, atol=0.05)


def test_deciding_again_reads_the_vectors_that_stand(shared, tmp_path):
    run = shutil.copytree(shared / "run", tmp_path / "run")
    before = small_runs.contents(run, "members/*/*/vectors/*")
    said = []
    api.decide(run, sets=['decide.steps=[{name="retrieval", bound=0.99999, weight=0.5}]'], log=said.append)
    assert before == small_runs.contents(run, "members/*/*/vectors/*")
    assert not any("vectors of" in line for line in said)
    fitted = files.read_json(run / "decisions.json")["steps"]["label"]["final"]["steps"][0]
    assert fitted == {"bound": 0.99999, "weight": 0.5}


def test_new_individuals_leave_the_answers_as_they_were(tmp_path):
    place = plant(tmp_path / "data", seed=1)
    said = []
    fit(place, tmp_path / "run", said, data__group="line", train__epochs=1)
    manifest = files.read_parquet(tmp_path / "run" / "manifest.parquet")[0].filter(pl.col("fold").is_not_null())
    assert manifest.group_by("line").agg(pl.col("fold").n_unique())["fold"].max() == 1  # nobody stands on both sides
    final = figure(tmp_path / "run", "final")
    rows = files.read_json(tmp_path / "run" / "metrics.json")["figures"]
    without = [r for r in rows if (r["name"], r["metric"]) == ("without retrieval", "macro_f1")]
    if without:
        assert final["value"] >= without[0]["value"] - 0.02
    else:
        assert any("retrieval is not used for" in line for line in said)
        assert not (tmp_path / "run/pipeline/gallery").exists()


def test_only_identities_are_nothing_to_answer(tmp_path):
    place = plant(tmp_path / "data")
    said = small_runs.cli("fit", place / "labels.csv", "--target", "line:identity", "-o", tmp_path / "run")
    assert said.code == 2
    assert "no target is scored" in said.error


def test_hpa_plus_goes_on_without_the_table_of_antibodies(tmp_path):
    from tapetum.core.runs import Record
    from tapetum.data import layouts
    from tapetum.data.choices import MIXES
    from tapetum.learn.training.checks import check_training
    from tapetum.systems.reproduce import _with_places

    kinds.plant_hpa(tmp_path, rows=30, test=4)
    plus = api.load_recipe("hpa-plus")
    seen = {}
    for there in (True, False):
        if not there:
            (tmp_path / "antibodies.csv").unlink()
        said = []
        recipe = _with_places(plus, tmp_path, Record(said.append)).recipe
        manifest = layouts.read(tmp_path, recipe.data, lambda _: None)
        check_training(recipe, manifest.targets, MIXES)
        seen[there] = [t.name for t in manifest.targets], "group" in manifest.frame.columns
        assert there or any("no identities are learned" in line for line in said)
    assert seen == {True: (["Target", "antibody"], True), False: (["Target"], False)}


def test_a_model_trained_on_all_rows_searches_all_rows(shared, tmp_path):
    run = shutil.copytree(shared / "run", tmp_path / "run")
    api.decide(run, sets=["decide.pipeline=refit"])
    manifest = Run(run).manifest()
    gallery = Gallery.read(run / "pipeline/gallery/main/line-refit.parquet")
    assert set(gallery.vectors.row_ids) == set(np.array(manifest.row_ids)[manifest.split == "train"])
    kept = Predictions.read(run / "test.parquet").dense("label")
    assert (kept.p.argmax(1) == kept.y.argmax(1)).mean() > 0.8
