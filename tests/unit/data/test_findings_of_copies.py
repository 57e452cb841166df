"""Large sets of copies are described in time that grows with their rows, and what is wrong about them is still found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data.audit import findings
from tapetum.data.audit.file_checks import FILES_SCHEMA
from tapetum.data.audit.near_duplicates import DuplicateSets

COUNT = 5_000


def copies(labels, splits):
    names = [str(i) for i in range(len(labels))]
    frame = pl.DataFrame({"row_id": names, "path": [[f"{n}.png"] for n in names], "kind": labels, "split": splits})
    manifest = Manifest(frame, (Target("kind", "single", ("x", "y")),), Path())
    sets = DuplicateSets(np.zeros(len(names), np.int64), np.ones(len(names), bool), np.ones(len(names)))
    files = pl.DataFrame({"row_id": names}).with_columns(pl.lit(None, dtype).alias(c) for c, dtype in FILES_SCHEMA.items() if c != "row_id")
    return findings.Seen(manifest, files, [None] * len(names), sets, [None] * len(names), np.full(len(names), np.nan))


def test_a_large_set_of_copies_takes_few_sentences_each():
    seen = copies(["x"] * (COUNT - 1) + ["y"], ["train"] * (COUNT - 2) + ["test", "train"])
    assert len(findings._of_copies(seen)) < 50 * COUNT
    kinds, notes = findings.find(seen)
    assert all("label conflict" in found for found in kinds)
    assert all("leak" in found for found in kinds)
    assert notes[0].startswith("shows the same as 4998, in the other part; shows the same as 4999, labelled otherwise; ")


def test_unknown_labels_hide_no_conflict():
    seen = copies([*[None] * 20, *["x"] * 20, "y"], ["train"] * 41)
    kinds, _ = findings.find(seen)
    assert [("label conflict" in found) for found in kinds] == [False] * 20 + [True] * 21
    assert {"exact duplicate"} == set(kinds[0])
