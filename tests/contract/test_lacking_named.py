"""A class that a split holds out whole is named in the log, in metrics.json, in the table and in the report."""

import polars as pl

from images import plant
from tapetum import api
from tapetum.core import files
from tapetum.core.runs import Run

PROBE = {
    "model__backbone": "test_efficientnet", "model__weights": "none", "input__size": 32, "train__epochs": 0, "train__threads": 1,
    "probe__views": ["plain"], "probe__strengths": [10.0], "data__targets": ["label"],
}  # fmt: skip


def test_a_class_wholly_held_out_is_named_everywhere(tmp_path):
    planted = plant(tmp_path / "data", classes=3, each=8, size=32)
    table = pl.read_csv(planted.table)
    labels = table["label"].to_list()
    gone = sorted(set(labels))[-1]
    fold = [0 if label == gone or i % 4 == 0 else -1 for i, label in enumerate(labels)]
    table.with_columns(pl.Series("fold", fold)).write_csv(planted.table)
    said: list[str] = []
    run = Run(api.fit(planted.table, tmp_path / "run", log=said.append, **PROBE)["run"])
    words = f"label = {gone} is in the held-out part only (8 rows)"
    assert any(words in text for text in said)
    assert any(words in text for text in files.read_json(run.file("metrics.json"))["warnings"])
    again = api.decide(run.root, log=lambda _: None)
    assert f"warning: {words}" in again["table"]
    assert words in run.file("report.html").read_text(encoding="utf-8")


def test_split_names_it_too(tmp_path):
    planted = plant(tmp_path / "data", classes=2, each=4, size=32)
    table = pl.read_csv(planted.table)
    labels = table["label"].to_list()
    last = sorted(set(labels))[-1]
    table.with_columns(pl.Series("fold", [1 if label == last else i % 2 for i, label in enumerate(labels)])).write_csv(planted.table)
    said: list[str] = []
    api.split(planted.table, recipe=api.load_recipe(sets=("data.targets=['label']",)), log=said.append)
    assert any(f"label = {last} is in fold 1 only (4 rows)" in text for text in said)
