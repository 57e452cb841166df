from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from images import save
from small_runs import recipe
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.workflow.stages.prepare import check_neighbours, check_recipe


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({}, False),
        ({"sequence__length": 4}, True),
        ({"decide__steps": ["bias"]}, False),
        ({"decide__steps": ["context"]}, True),
        ({"decide__steps": [{"name": "rules"}]}, True),
        ({"decide__steps": ["smooth"]}, True),
        ({"sequence__length": 4, "split__allow_leak": "as written"}, False),
        ({"member": [{"name": "a"}, {"name": "b", "sequence": {"length": 3}}]}, True),
    ],
)
def test_what_looks_at_neighbours_needs_whole_sequences(values, refused):
    ids = ["r0", "r1", "r2", "r3"]
    columns = {"sequence": ["n", "n", "m", "m"], "position": [1.0, 2.0, 1.0, 2.0], "group": ids, "fold": [0, 1, 0, 0]}
    frame = pl.DataFrame({"row_id": ids, "path": [[f"{i}.png"] for i in ids], "label": list("abab"), **columns})
    manifest = Manifest(frame, (Target("label", "single", ("a", "b")),), Path())
    if not refused:
        check_neighbours(manifest, recipe(**values).recipe)
        return
    with pytest.raises(DataError, match=r"1 sequence \(n\) is in several folds"):
        check_neighbours(manifest, recipe(**values).recipe)


@pytest.mark.parametrize("sample", [{"name": "subset", "target": "label", "cut": {"a": 2}, "part": 0}, "balanced"])
@pytest.mark.parametrize("target", ["all", "last"])
def test_samples_are_refused_where_every_step_of_a_window_trains(tmp_path, sample, target):
    rows = [(f"{night}{n}.png", "ab"[n % 2], night, n) for night in "nmop" for n in range(4)]
    for file, *_ in rows:
        save(tmp_path / file, np.zeros((4, 4, 3), dtype=np.uint8))
    pl.DataFrame(rows, orient="row", schema=["file", "label", "night", "n"]).write_csv(tmp_path / "t.csv")
    columns = {"data__group": None, "data__sequence": "night", "data__position": "n"}
    how = recipe(**columns, sample=sample, sequence__length=2, sequence__target=target).recipe
    if target == "last":
        check_recipe(tmp_path / "t.csv", how)
        return
    with pytest.raises(UserError, match=r"with sequence\.target 'all'.*needed: sample = 'shuffle'"):
        check_recipe(tmp_path / "t.csv", how)
