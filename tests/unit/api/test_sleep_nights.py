"""A pipeline of ours as the engine of the sleep laboratory."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from tapetum.api import sleep_nights
from tapetum.core.runs import Record
from tapetum.sleep import render
from tapetum.sleep.stages import STAGES


def staged(monkeypatch, place, many):
    """Return the table that the pipeline is asked about, and the night; the first epoch is answered last, with the first stage."""
    asked = []

    def predict(_, table, **columns):
        rows = pl.read_csv(table, schema_overrides={"epoch": pl.String})
        asked.append(rows)
        stages = np.arange(many) % len(STAGES)
        p = {f"p_{name}": (stages == i).astype(float) for i, name in enumerate(STAGES)}
        found = pl.DataFrame({"row_id": rows[columns["id"]], "stage": [STAGES[i] for i in stages], **p})
        return SimpleNamespace(to_polars=found.reverse)

    monkeypatch.setattr("tapetum.api.answers.predict", predict)
    monkeypatch.setattr(render, "prepare", lambda *_: None)
    monkeypatch.setattr(render, "write", lambda *_, **__: many)
    night = sleep_nights._of_pipeline(place, Record())(SimpleNamespace(clock=None), None, None)
    return asked[0], night


def test_a_pipeline_sees_the_place_in_the_night_it_learned(monkeypatch, tmp_path):
    rows, _ = staged(monkeypatch, tmp_path, 4)
    assert rows["path"].to_list() == [f"night/night_000{i}.png" for i in (1, 2, 3, 4)]
    assert rows["position"].to_list() == [1, 2, 3, 4]
    assert rows["progress"].to_list() == pytest.approx([0.25, 0.5, 0.75, 1])
    assert rows["epochs"].to_list() == [4] * 4


def test_more_than_9999_epochs_stay_in_the_order_of_time(monkeypatch, tmp_path):
    _, night = staged(monkeypatch, tmp_path, 10_003)
    assert np.array_equal(night.stages, np.arange(10_003) % len(STAGES))


def test_recordings_of_one_name_never_share_a_folder(tmp_path):
    paths = [tmp_path / "in" / name for name in ("1/a.edf", "2/a.edf", "3/a-2.edf", "4/a.edf")]
    found = sleep_nights._folders(paths, tmp_path / "out", lambda name: True)
    assert [found[path].name for path in paths] == ["a", "a-3", "a-2", "a-4"]
