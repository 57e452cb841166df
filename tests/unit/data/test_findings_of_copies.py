"""Large sets of copies are described in time that grows with their rows, and what is wrong about them is still found."""

from __future__ import annotations

import dataclasses
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


def test_copies_of_extra_rows_in_the_test_part_are_leaks():
    kinds, _ = findings.find(copies(["x", "x"], ["extra", "test"]))
    assert all("leak" in found for found in kinds)
    pseudo = copies(["x", "x"], ["extra", "test"])
    meant = pseudo.manifest.with_column("pseudo", pl.Series([True, False]))
    assert not any("leak" in found for found in findings.find(dataclasses.replace(pseudo, manifest=meant))[0])


def test_each_target_is_compared_where_both_labels_are_known():
    seen = copies(["x", "x"], ["train", "train"])
    other = (*seen.manifest.targets, Target("size", "single", ("small", "large")), Target("tags", "multi", ("p", "q")))
    for sizes, tags, conflict in (
        (["small", "large"], [None, ["p"]], True),
        ([None, "large"], [["p", "q"], ["q", "p"]], False),
        ([None, None], [["p"], ["q"]], True),
    ):
        frame = seen.manifest.frame.with_columns(size=pl.Series(sizes, dtype=pl.String), tags=pl.Series(tags, dtype=pl.List(pl.String)))
        kinds, _ = findings.find(dataclasses.replace(seen, manifest=Manifest(frame, other, Path())))
        assert [("label conflict" in found) for found in kinds] == [conflict] * 2


def test_images_kept_apart_name_the_group_they_joined():
    """0 is of group g and joins 1, 3 of group h joins 2; 1 and 2 look alike and have no group of their own."""
    names = ["0", "1", "2", "3"]
    seen = copies(["x"] * 4, ["train"] * 4)
    sets = DuplicateSets(np.array([0, 0, 2, 2]), np.zeros(4, bool), np.ones(4), ((1, 2),))
    manifest = seen.manifest.with_column("group", pl.Series(["g", None, None, "h"]))
    assert manifest.row_ids == names
    _, notes = findings.find(dataclasses.replace(seen, manifest=manifest, sets=sets))
    assert notes[1] == "shows the same as 0; looks like 2 of group h, not joined"
    assert notes[2] == "shows the same as 3; looks like 1 of group g, not joined"
