from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from small_runs import recipe
from tapetum.core.errors import DataError
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.workflow.stages.prepare import check_neighbours


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
