"""Rows of every part: extra, pseudo-labelled, test, joined; and layouts of challenges, fitted from their folders."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from PIL import Image

from images import write_table
from kinds import fit, noise, save_colour
from tapetum import api
from tapetum.core import files
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.targets import Target

KINDS = ("dark", "light")


def plant(root, start: int, count: int, name: str, *, labelled: bool = True):
    """Write some images of two kinds and a table of them."""
    rng = np.random.default_rng(start)
    rows = []
    for i in range(start, start + count):
        save_colour(root / f"q{i:02d}.png", np.stack([noise(rng, 0.3 + 0.4 * (i % 2)) for _ in range(3)], axis=-1))
        rows.append([f"q{i:02d}.png", *([KINDS[i % 2]] if labelled else [])])
    return write_table(root / name, ["file", *(["kind"] if labelled else [])], rows)


def specs(root):
    return [files.read_json(p) for p in sorted((root / "run" / "members" / "main").glob("fold-*/spec.json"))]


def test_extra_rows_train_and_never_score(tmp_path):
    table, extra = plant(tmp_path, 0, 16, "labels.csv"), plant(tmp_path, 20, 6, "extra.csv")
    fit(table, tmp_path / "run", data__targets=["kind"], data__extra=[str(extra)])
    manifest = Manifest.read(tmp_path / "run" / "manifest.parquet")
    extras = set(np.flatnonzero(manifest.split == "extra").tolist())
    assert len(extras) == 6
    for spec in specs(tmp_path):
        assert extras <= set(spec["train"])
        assert not extras & set(spec["heldout"])
    oof = Predictions.read(tmp_path / "run" / "oof.parquet").dense("kind")
    assert set(oof.row_ids) == {f"q{i:02d}.png" for i in range(16)}
    assert files.read_json(tmp_path / "run" / "metrics.json")["counts"]["scored"] == 16


def test_pseudo_labels_train_and_every_figure_says_so(tmp_path):
    table, test = plant(tmp_path, 0, 16, "labels.csv"), plant(tmp_path, 20, 6, "test.csv", labelled=False)
    ids = [f"q{i:02d}.png" for i in range(20, 26)]
    light = np.array([0.95, 0.97, 0.6, 0.03, 0.5, 0.02])
    p = np.stack([1 - light, light], axis=1).astype(np.float32)
    dense = Dense(
        Target("kind", "single", KINDS), np.array(ids, dtype=object), p, np.full_like(p, np.nan), np.full(6, -1), np.full(6, "ok")
    )
    Predictions.from_dense(dense, role="test").write(tmp_path / "pseudo.parquet")
    said: list[str] = []
    more = {"data__pseudo": str(tmp_path / "pseudo.parquet"), "data__test": [str(test)], "data__pseudo_bound": 0.9}
    result = fit(table, tmp_path / "run", said, data__targets=["kind"], **more)
    manifest = Manifest.read(tmp_path / "run" / "manifest.parquet")
    twins = manifest.frame.filter(pl.col("split") == "extra")
    assert dict(zip(twins["row_id"], twins["kind"], strict=True)) == {
        "pseudo:q20.png": "light",
        "pseudo:q21.png": "light",
        "pseudo:q23.png": "dark",
        "pseudo:q25.png": "dark",
    }
    (mark,) = files.read_json(tmp_path / "run" / "metrics.json")["marks"]
    assert mark.startswith("4 of 20 rows that train have pseudo-labels")
    assert mark in (tmp_path / "run" / "report.html").read_text()
    assert f"marked: {mark}" in result["table"]
    assert not any("too good" in line for line in said)  # a twin of a test row is no leak
    tested = Predictions.read(tmp_path / "run" / "test.parquet").dense("kind")
    assert sorted(tested.row_ids) == ids


def test_test_rows_with_a_truth_are_scored_apart(tmp_path):
    table, test = plant(tmp_path, 0, 16, "labels.csv"), plant(tmp_path, 20, 6, "test.csv")
    result = fit(table, tmp_path / "run", data__targets=["kind"], data__test=[str(test)], train__epochs=0)
    tested = Predictions.read(tmp_path / "run" / "test.parquet").dense("kind")
    accuracy = float((tested.p.argmax(axis=1) == tested.y.argmax(axis=1)).mean())
    figures = files.read_json(tmp_path / "run" / "metrics.json")["figures"]
    (found,) = [f for f in figures if f["name"] == "test rows" and f["metric"] == "accuracy"]
    assert (found["value"], found["n"], found["how"]) == (pytest.approx(accuracy), 6, "test")
    assert files.read_json(tmp_path / "run" / "metrics.json")["counts"]["scored"] == 16
    assert "test rows" in result["table"]


def test_a_table_at_hand_trains_as_its_file_does(tmp_path, monkeypatch):
    table = plant(tmp_path, 0, 12, "labels.csv")
    monkeypatch.chdir(tmp_path)
    fit(pl.read_csv(table), tmp_path / "polars", data__targets=["kind"], train__epochs=0)
    fit(pl.read_csv(table).to_pandas() if _has_pandas() else table, tmp_path / "other", data__targets=["kind"], train__epochs=0)
    one, other = (Predictions.read(tmp_path / n / "oof.parquet").dense("kind") for n in ("polars", "other"))
    np.testing.assert_array_equal(one.p, other.p)


def test_the_mask_layout_fits_and_fills_its_own_template(tmp_path):
    rng = np.random.default_rng(0)
    root, rows = tmp_path / "masks", []
    for person in range(12):
        gender, age = ("male", "female")[person % 2], (20, 40, 65)[person // 2 % 3]
        folder = f"{person:06d}_{gender}_Asian_{age}"
        for place, state in enumerate(("mask1", "mask2", "mask3", "mask4", "mask5", "incorrect_mask", "normal")):
            level = 0.2 if place < 5 else 0.5 if place == 5 else 0.8
            image = np.stack([noise(rng, level), noise(rng, 0.3 + 0.4 * (person % 2)), noise(rng, age / 80)], axis=-1)
            save_colour(root / "train" / "images" / folder / f"{state}.png", image)
        rows.append([f"{person:06d}", gender, "Asian", age, folder])
    write_table(root / "train" / "train.csv", ["id", "gender", "race", "age", "path"], rows)
    for i in range(3):
        save_colour(root / "eval" / "images" / f"x{i}.png", np.stack([noise(rng, 0.5) for _ in range(3)], axis=-1))
    template = write_table(root / "eval" / "info.csv", ["ImageID", "ans"], [[f"x{i}.png", 0] for i in range(3)])
    fit(root, tmp_path / "run", train__monitor="ans/macro_f1")
    manifest = Manifest.read(tmp_path / "run" / "manifest.parquet")
    trained = manifest.frame.filter(pl.col("split") == "train")
    assert trained.group_by("group").agg(pl.col("fold").n_unique())["fold"].max() == 1
    api.submit(tmp_path / "run", template, tmp_path / "out.csv", target="ans")
    found = pl.read_csv(tmp_path / "out.csv")
    assert found["ImageID"].to_list() == ["x0.png", "x1.png", "x2.png"]
    tested = Predictions.read(tmp_path / "run" / "test.parquet")
    parts = [tested.dense(n, row_ids=manifest.where(manifest.split == "test").row_ids).p for n in ("mask", "gender", "age")]
    by_hand = np.einsum("nm,ng,na->nmga", *(p.astype(np.float64) for p in parts)).reshape(-1, 18).argmax(axis=1)
    assert found["ans"].to_list() == by_hand.tolist()


def test_the_sleep_layout_fits_and_answers_one_line_an_epoch(tmp_path):
    rng = np.random.default_rng(0)
    root, train, test = tmp_path / "sleep", [], []
    for exam in range(4):
        name = f"A2019-NX-01-{exam:04d}"
        for epoch in range(10):
            stage = ("Wake", "N2", "REM")[epoch % 3]
            level = {"Wake": 0.2, "N2": 0.5, "REM": 0.8}[stage]
            values = (noise(rng, level) * 255).round().astype(np.uint8)
            file = f"{name}_{epoch:04d}.png"
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / name / file)
            (train if exam < 3 else test).append([name, file, *([stage] if exam < 3 else [])])
    write_table(root / "trainset-for_user.csv", None, train)
    template = write_table(root / "testset-for_user.csv", None, test)
    fit(root, tmp_path / "run", data__side=["progress"], split__folds=3, input__size=[32, 32])
    manifest = Manifest.read(tmp_path / "run" / "manifest.parquet")
    assert set(manifest.groups) == {f"A2019-NX-01-{i:04d}" for i in range(4)}
    api.submit(tmp_path / "run", template, tmp_path / "out.csv")
    lines = (tmp_path / "out.csv").read_text().split()
    assert len(lines) == 10
    tested = Predictions.read(tmp_path / "run" / "test.parquet").dense("stage", row_ids=[row[1] for row in test])
    assert lines == [tested.target.classes[k] for k in tested.p.argmax(axis=1)]


def _has_pandas() -> bool:
    try:
        import pandas  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True
