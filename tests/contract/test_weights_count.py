"""A manifest's weights count in every figure alike: metrics.json, leaderboard, compare, conformal sets; and few groups are called few."""

import numpy as np
import polars as pl
import pytest

from images import plant
from tapetum import api
from tapetum.core import files
from tapetum.core.runs import Run
from tapetum.core.tables import FINAL, Predictions

PROBE = {
    "model__backbone": "test_efficientnet",
    "model__weights": "none",
    "input__size": 32,
    "train__epochs": 0,
    "train__threads": 1,
    "split__folds": 2,
    "probe__views": ["plain"],
    "probe__strengths": [10.0],
    "data__targets": ["label"],
}


def fitted(root, weights, groups):
    planted = plant(root / "data", classes=2, each=18, size=32, signal=0.02)
    table = pl.read_csv(planted.table)
    n = len(table)
    table = table.drop("group", strict=False).with_columns(
        pl.Series("weight", weights(n)), pl.Series("group", [f"g{g}" for g in groups(n)])
    )
    table.write_csv(planted.table)
    return Run(api.fit(planted.table, root / "run", log=lambda _: None, **PROBE)["run"])


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("weighted"), lambda n: np.arange(n) % 4 * 1.0, lambda n: np.arange(n) // 2 % 9)


@pytest.mark.parametrize("metric", ["macro_f1", "accuracy", "log_loss"])
def test_a_weighted_run_has_one_figure_wherever_it_is_read(weighted, metric):
    manifest, final = weighted.manifest(), Predictions.read(weighted.file("oof.parquet")).dense("label", FINAL)
    weight = dict(zip(manifest.row_ids, manifest.weight, strict=True))
    w = np.array([weight[row] for row in final.row_ids])
    right = final.p.argmax(axis=1) == final.y.argmax(axis=1)
    figures = files.read_json(weighted.file("metrics.json"))["figures"]
    own = next(f for f in figures if (f["name"], f["how"], f["metric"]) == ("final", "cross-validated", metric))
    board = api.leaderboard(weighted.root, metric=metric)["leaderboard"]
    pair = api.compare({"a": weighted.root, "b": weighted.root}, metric=metric)["pairs"][0]
    if metric == "accuracy":
        assert own["value"] == pytest.approx(np.average(right, weights=w))
        assert own["value"] != pytest.approx(right.mean())
    assert own["n"] == (w > 0).sum()
    assert next(line for line in board if line["name"] == "final")["value"] == pytest.approx(own["value"])
    assert next(line for line in board if line["name"] == "final")["low"] == pytest.approx(own["low"])
    assert pair["value_a"] == pair["value_b"] == pytest.approx(own["value"])


def test_conformal_coverage_is_weighted(weighted):
    api.conformal(weighted.root)
    found = files.read_json(weighted.file("conformal.json"))
    manifest = weighted.manifest()
    assert found["coverage"]["n"] == (manifest.weight > 0).sum()


def test_two_groups_have_no_interval_and_a_printed_reason(tmp_path):
    run = fitted(tmp_path, np.ones, lambda n: np.arange(n) % 2)
    said = "no interval: 2 groups are too few"
    metrics = files.read_json(run.file("metrics.json"))
    assert {(f["low"], f["high"], f["method"]) for f in metrics["figures"]} == {(None, None, said)}
    again = api.decide(run.root, log=lambda _: None)
    assert said in again["table"]
    assert said in api.leaderboard(run.root)["table"]
    assert said in (run.root / "report.html").read_text(encoding="utf-8").lower()
    assert said in (run.pipeline / "README.md").read_text(encoding="utf-8")
    for text in (again["table"], api.leaderboard(run.root)["table"], api.compare({"a": run.root, "b": run.root})["table"]):
        assert "nan" not in text.lower()
