from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from images import plant
from tapetum import api
from tapetum.core.errors import UserError

TINY = (
    "model.backbone=test_efficientnet", "model.weights=none", "input.size=32", "train.batch=8", "train.threads=1",
    "train.precision='32'", "split.folds=2", "probe.enabled=false",
)  # fmt: skip


def _recipe():
    return api.load_recipe(sets=TINY)


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rates")
    plant(folder / "data", classes=2, each=10, size=32)
    said: list[str] = []
    found = api.find_rate(folder / "data" / "images", folder / "run", recipe=_recipe(), repeats=2, steps=15, low=1e-5, log=said.append)
    return folder, found, said


def test_repeats_see_other_batches_from_the_same_weights(tested):
    folder, _, _ = tested
    table = pl.read_csv(folder / "run" / "rates.csv")
    first, second = (table.filter(pl.col("repeat") == i) for i in (0, 1))
    assert first["rate"][:3].to_list() == second["rate"][:3].to_list()
    assert first["rate"][0] == pytest.approx(1e-5)
    assert not np.isclose(first["loss"][0], second["loss"][0], rtol=1e-6)


def test_the_suggestion_is_the_smaller_geometric_mean(tested):
    _, found, said = tested
    steepest = np.exp(np.mean([np.log(one["steepest"]) for one in found["repeats"]]))
    tenth = np.exp(np.mean([np.log(one["tenth"]) for one in found["repeats"]]))
    assert found["suggestion"] == pytest.approx(min(steepest, tenth))
    assert any(f"optimizer.rate={found['suggestion']:.2g}" in line for line in said)


def test_plots_and_json_stand_in_the_run(tested):
    folder, found, _ = tested
    run = folder / "run"
    assert (run / "rates.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (run / "rates.svg").read_bytes()
    assert json.loads((run / "rates.json").read_text())["suggestion"] == found["suggestion"]


def test_a_test_repeats_to_the_bit(tested):
    folder, _, _ = tested
    api.find_rate(folder / "data" / "images", folder / "again", recipe=_recipe(), repeats=1, steps=15, low=1e-5)
    whole = pl.read_csv(folder / "run" / "rates.csv").filter(pl.col("repeat") == 0)
    assert pl.read_csv(folder / "again" / "rates.csv").equals(whole)


@pytest.mark.parametrize(
    ("how", "words"), [({"repeats": 0}, "0 repeats"), ({"low": 1.0, "high": 0.1}, "from 1 to 0.1"), ({"member": "mian"}, "main")]
)
def test_what_makes_no_test_is_refused(tmp_path: Path, how, words):
    with pytest.raises(UserError, match=words):
        api.find_rate(tmp_path, tmp_path / "run", recipe=_recipe(), **how)
