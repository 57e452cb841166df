"""The probe sees side numbers beside the image: a signal that stands in them alone is found, and the frozen pipeline answers the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kinds
from images import write_table
from tapetum.core import files
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions
from tapetum.pipeline import Pipeline

PROBE_ALONE = {"data__targets": ["kind"], "train__epochs": 0, "decide__choose": "probe"}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Images of noise; ``kind`` follows from the number ``depth``, whose scale is far from 1, and three numbers are missing."""
    folder = tmp_path_factory.mktemp("side")
    rng = np.random.default_rng(4)
    rows = []
    for i in range(72):
        kind = i % 3
        kinds.save_gray(folder / f"r{i:02d}.png", kinds.noise(rng, 0.5, 32))
        depth = "" if i % 25 == 24 else f"{500 + 100 * kind + rng.normal(0, 10):.2f}"
        rows.append([f"r{i:02d}.png", "abc"[kind], depth])
    return write_table(folder / "labels.csv", ["path", "kind", "depth"], rows)


def accuracy(run: Path) -> float:
    figures = files.read_json(run / "metrics.json")["figures"]
    return next(f["value"] for f in figures if f["name"] == "final" and f["how"] == "cross-validated" and f["metric"] == "accuracy")


def test_a_signal_in_the_side_numbers_alone_is_found(table, tmp_path):
    kinds.fit(table, tmp_path / "with", **PROBE_ALONE, data__side=["depth"])
    kinds.fit(table, tmp_path / "without", **PROBE_ALONE)
    assert accuracy(tmp_path / "without") < 0.6
    assert accuracy(tmp_path / "with") > 0.85
    manifest = Run(tmp_path / "with").manifest()
    depth = manifest.frame["depth"].cast(float).to_numpy()
    for fold in (0, 1):
        kept = files.read_json(tmp_path / "with" / "members" / "probe" / f"fold-{fold}" / "scaling.json")
        own = depth[manifest.fold != fold]
        assert (kept["mean"][0], kept["std"][0]) == pytest.approx((np.nanmean(own), np.nanstd(own)))


def test_the_frozen_pipeline_answers_as_the_run_did(table, tmp_path):
    kinds.fit(table, tmp_path / "run", **PROBE_ALONE, data__side=["depth"], split__holdout=0.3, probe__views=["plain", "hflip"])
    oof = Predictions.read(tmp_path / "run" / "oof.parquet").dense("kind")
    answered = Pipeline.load(tmp_path / "run").answer(Run(tmp_path / "run").manifest())["kind"]
    place = {row: i for i, row in enumerate(answered.row_ids)}
    held = oof.ok
    assert held.sum() > 10
    np.testing.assert_allclose(answered.p[[place[r] for r in oof.row_ids[held]]], oof.p[held], atol=1e-5)


def test_each_folds_model_scales_by_its_own_rows(table, tmp_path):
    """Two folds' probes share a backbone, which runs once, and each takes the numbers as its own training rows scale them."""
    kinds.fit(table, tmp_path / "run", **PROBE_ALONE, data__side=["depth"])
    pipeline = Pipeline.load(tmp_path / "run")
    (member,) = pipeline.members
    assert member.shared
    assert member.scalings[0] != member.scalings[1]
    both = pipeline.answer(Run(tmp_path / "run").manifest())["kind"].p
    apart = []
    for fold in (0, 1):
        alone = Pipeline.load(tmp_path / "run")
        (one,) = alone.members
        del one.networks[1 - fold]
        apart.append(alone.answer(Run(tmp_path / "run").manifest())["kind"].p)
    np.testing.assert_allclose(both, (apart[0] + apart[1]) / 2, atol=1e-5)


def test_training_may_start_from_such_a_probe(table, tmp_path):
    kinds.fit(table, tmp_path / "run", data__targets=["kind"], data__side=["depth"], train__start="probe")
    assert (Predictions.read(tmp_path / "run" / "oof.parquet").frame["status"] == "ok").all()
    saw = Run(tmp_path / "run").folds_of("main", "history.csv")
    assert sorted(saw) == [0, 1]
