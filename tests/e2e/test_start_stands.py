"""The network before training is a checkpoint: where every epoch is worse, fine-tuning answers as it began, and so does its pipeline."""

from __future__ import annotations

import numpy as np
import pytest

import small_runs
import tapetum
from tapetum.core import files
from tapetum.core.tables import Predictions

RUINOUS = {"optimizer__rate": 3.0, "train__clip": 0, "schedule__warmup": 0, "decide__choose": "finetune", "split__folds": 3}


@pytest.fixture(scope="module")
def ruined(tmp_path_factory, planted):
    def make(place):
        small_runs.fit(planted / "labels.csv", place / "run", probe__views=["plain"], probe__size=32, train__epochs=2, **RUINOUS)

    return small_runs.once(tmp_path_factory, "ruined", make) / "run"


def test_harmful_training_is_not_taken(ruined):
    epochs = files.read_json(ruined / "decisions.json")["epochs"]["main"]
    trained = [value for name, value in epochs["curve"].items() if name != "epoch-000"]
    assert next(iter(epochs["curve"])) == "epoch-000"
    assert len(trained) == 2
    assert epochs["curve"]["epoch-000"] > max(trained)
    assert epochs["final"] == "epoch-000"
    at_start = [Predictions.read(ruined / "members" / "main" / f"fold-{k}" / "epochs.parquet") for k in range(3)]
    own = Predictions.concat([table.select(checkpoint="epoch-000") for table in at_start]).dense("label", "main")
    probes = [Predictions.read(ruined / "members" / "probe" / f"fold-{k}" / "oof.parquet") for k in range(3)]
    probe = Predictions.concat(probes).dense("label", "probe", own.row_ids.tolist())
    assert np.abs(own.p - probe.p).max() < 1e-4  # one head on the same vectors, computed in other batches


def test_its_pipeline_ships_the_start(ruined):
    for k in range(3):
        kept = [file.name for file in (ruined / "members" / "main" / f"fold-{k}" / "checkpoints").iterdir()]
        assert "epoch-000.safetensors" in kept
    assert len(tapetum.load(str(ruined / "pipeline")).members) == 1


def test_a_random_start_is_no_checkpoint(planted, tmp_path):
    small_runs.fit(planted / "labels.csv", tmp_path / "run", train__start="random", train__epochs=1, **RUINOUS)
    assert "epoch-000" not in files.read_json(tmp_path / "run" / "decisions.json")["epochs"]["main"]["curve"]
