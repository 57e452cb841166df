"""The data of a run in counts, and the images behind the cells of its confusion matrix."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl

from report_runs import TARGETS, make_run
from tapetum.core import files
from tapetum.core.tables import Manifest
from tapetum.show import cell_images, data_sections, thumbnails
from tapetum.show.run_files import read_run
from tapetum.show.target_sections import answered, right
from tapetum.show.thumbnails import Thumbnails


def opened(tmp_path, targets=1):
    found = read_run(make_run(tmp_path, rows=60))
    dense = found.held_out(TARGETS[0])
    rows = dense.where(dense.scorable)
    made = Thumbnails(found.manifest, found.input())
    return rows, cell_images.openable(rows, answered(rows).argmax(1), made, targets)


def test_cells_name_the_rows_that_they_count(tmp_path):
    rows, found = opened(tmp_path)
    true, given = rows.y.argmax(1), answered(rows).argmax(1)
    for cell, content in found["cells"].items():
        i, j = map(int, cell.split(","))
        inside = set(rows.row_ids[(true == i) & (given == j)].tolist())
        assert content["n"] == len(inside)
        assert {line[0] for line in content["rows"]} <= inside
        assert len(content["rows"]) == min(len(inside), cell_images.MOST_ROWS)
    assert sum(content["n"] for content in found["cells"].values()) == len(true)


def test_every_cell_gets_an_image_before_any_gets_two(tmp_path, monkeypatch):
    monkeypatch.setattr(cell_images, "MOST_SHOWN", 16)
    _, found = opened(tmp_path)
    cells = found["cells"].values()
    assert len(found["images"]) == 16
    assert sum(content["rows"][0][3] >= 0 for content in cells) == min(len(cells), 16)


def test_images_stop_where_the_page_has_no_space(tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails, "SPACE", 3000)
    found = read_run(make_run(tmp_path, rows=60))
    made = Thumbnails(found.manifest, found.input())
    shown = [made(f"r{i}") for i in range(12)]
    assert shown[0][0] is not None
    assert shown[-1] == (None, "left out, so that the page stays small")
    assert sum(len(uri or "") for uri, _ in shown) < 3000 + max(len(uri or "") for uri, _ in shown)
    assert made("r0") == shown[0]


def test_overview_counts_splits_classes_and_sizes(tmp_path):
    run = make_run(tmp_path, rows=60)
    manifest = Manifest.read(run / "manifest.parquet")
    split = ["test" if i % 6 == 0 else "train" for i in range(60)]
    manifest.with_column("split", pl.Series(split)).write(run / "manifest.parquet")
    sizes = pl.DataFrame({"row_id": manifest.row_ids, "status": "ok", "height": [24] * 40 + [30] * 20, "width": 32, "channels": 3})
    files.write_parquet(run / "audit.parquet", sizes.with_columns(findings=pl.Series([["dark"]] * 4 + [[]] * 56)))
    found = read_run(run)
    shown = data_sections.overview(found, Thumbnails(found.manifest, found.input()))
    assert [(line["split"], line["rows"]) for line in shown["splits"]] == [("train", 50), ("test", 10)]
    breed = shown["classes"][0]["lines"]
    labels = manifest.frame["breed"].to_list()
    for line in breed:
        assert line["scored"] == sum(a == line["class"] and b == "train" for a, b in zip(labels, split, strict=True))
        assert line["other"] == sum(a == line["class"] and b == "test" for a, b in zip(labels, split, strict=True))
    assert [(line["height"], line["len"]) for line in shown["sizes"]["lines"]] == [(24, 40), (30, 20)]
    assert len(shown["samples"]) == data_sections.SAMPLES
    assert data_sections.findings(found) == [("dark", 4)]


def test_evaluated_images_count_whatever_their_split(tmp_path):
    run = make_run(tmp_path, rows=60)
    manifest = Manifest.read(run / "manifest.parquet").with_column("split", pl.Series(["test"] * 60))
    found = dataclasses.replace(read_run(run), manifest=manifest, composed=read_run(run).input())
    shown = data_sections.overview(found, Thumbnails(found.manifest, found.input()))
    assert [(line["split"], line["what"], line["rows"]) for line in shown["splits"]] == [("test", "evaluated", 60)]
    assert sum(line["scored"] for line in shown["classes"][0]["lines"]) == 60
    assert len(shown["samples"]) == data_sections.SAMPLES


def test_right_examples_are_the_most_confident_of_their_class(tmp_path):
    found = read_run(make_run(tmp_path, rows=60))
    dense = found.held_out(TARGETS[0])
    rows = dense.where(dense.scorable)
    cards = right(dense, Thumbnails(found.manifest, found.input()))
    true, given = rows.y.argmax(1), rows.p.argmax(1)
    assert len(cards) == 4
    for card in cards:
        k = TARGETS[0].classes.index(card["truth"])
        hit = np.flatnonzero((true == k) & (given == k))
        assert card["row_id"] == rows.row_ids[hit[rows.p[hit, k].argmax()]]
    blind = dataclasses.replace(dense, answer=np.roll(np.nan_to_num(dense.y), 1, axis=1))
    assert right(blind, Thumbnails(None, found.input())) == []
