"""One file of at most 5 MB whatever the run holds, with a text for every drawing."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

from report_runs import dense_of, make_run
from tapetum.core import config, files
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.targets import Target
from tapetum.show import cell_images, matrix, report, target_sections, words
from tapetum.show.report import write_report
from tapetum.show.run_files import read_run
from tapetum.show.thumbnails import Thumbnails

BOUND = 5_000_000


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """20,000 rows of 200 classes with long names, several labels beside, audit findings and a long log."""
    run, n, k = tmp_path_factory.mktemp("large") / "run", 20_000, 200
    rng = np.random.default_rng(0)
    one = Target("species", "single", tuple(f"species number {i:03d} of the genus" for i in range(k)))
    two = Target("tags", "multi", tuple(f"tag {i:03d}" for i in range(30)))
    label, tags = rng.integers(0, k, n), rng.random((n, 30), dtype=np.float32) < 0.1
    ids = [f"a/rather/long/folder/name/of/images/IMG_{i:08d}.jpeg" for i in range(n)]
    columns = {
        "row_id": ids,
        "path": [[name] for name in ids],
        "species": [one.classes[c] for c in label],
        "tags": [[two.classes[c] for c in np.flatnonzero(row)] for row in tags],
        "group": [f"g{i // 4}" for i in range(n)],
        "fold": pl.Series(np.arange(n) // 4 % 5, dtype=pl.Int16),
    }
    manifest = Manifest(pl.DataFrame(columns), (one, two), run.parent)
    manifest.write(run / "manifest.parquet")
    final = []
    for target in (one, two):
        y = manifest.truth(target.name)
        p = np.clip(0.5 * y + 0.5 * rng.random(y.shape, dtype=np.float32), 0, 1).astype(np.float32)
        if target is one:
            p = p / p.sum(1, keepdims=True)
        status = np.full(n, "ok", dtype=object)
        final.append(Dense(target, np.array(ids, dtype=object), p, y, manifest.fold, status))
    Predictions.from_dense(final).write(run / "oof.parquet")
    audit = pl.DataFrame(
        {"row_id": ids, "status": "truncated", "reason": "the file ends too early", "height": range(1, n + 1), "width": 9, "channels": 3}
    )
    suspects = audit.with_columns(suspect=pl.lit(True), suspicion=pl.lit(0.5), note=pl.lit("x" * 80), suggested=pl.lit(["a"]))
    files.write_parquet(run / "audit.parquet", suspects)
    files.write_json(run / "run.json", {"command": "tapetum fit", "log": [f"message {i}: {'x' * 100}" for i in range(20_000)]})
    files.write_json(
        run / "decisions.json", {"thresholds": {name: {"cut": i / k, "list": list(range(500))} for i, name in enumerate(one.classes)}}
    )
    files.write_json(run / "metrics.json", {"warnings": [f"class {i} is in one fold only" for i in range(500)]})
    return run


@pytest.mark.slow
def test_a_report_of_many_rows_and_classes_stays_small(large):
    page = write_report(large)
    assert page.stat().st_size <= BOUND
    assert page.read_bytes() == write_report(large, large / "again.html").read_bytes()


def test_every_drawing_has_a_text(tmp_path):
    page = write_report(make_run(tmp_path, rows=60)).read_text()
    drawings = re.findall(r"<svg\b[^>]*>", page)
    assert len(drawings) >= 8
    for drawing in drawings:
        assert 'role="img"' in drawing
        assert len(re.search(r'aria-label="([^"]*)"', drawing)[1]) >= 20
    assert all(re.search(r'alt="[^"]+"', image) for image in re.findall(r"<img\b[^>]*>", page))


def test_a_map_says_what_opens_by_keys(tmp_path, monkeypatch):
    run = make_run(tmp_path, rows=60)
    assert "by keys, the pairs" not in write_report(run).read_text()
    monkeypatch.setattr(target_sections, "MOST_CELLS", 1)
    assert "by keys, the pairs below the map open theirs" in write_report(run).read_text()


def confused(k: int, n: int):
    """Predictions of ``k`` classes that are drawn at random, so that nearly every cell of the matrix has an image."""
    rng = np.random.default_rng(0)
    target = Target("t", "single", tuple(f"class {i}" for i in range(k)))
    y = np.eye(k, dtype=np.float32)[rng.integers(0, k, n)]
    return dense_of(target, rng.dirichlet(np.ones(k), n).astype(np.float32), y)


@pytest.mark.parametrize("targets", [1, 12])
@pytest.mark.parametrize(("k", "n"), [(60, 6000), (40, 4000)])
def test_cells_are_bounded_and_each_that_opens_has_images(k, n, targets):
    shown = target_sections.confusion(confused(k, n), Thumbnails(None, config.Input()), targets)
    cells = shown["opened"]["cells"]
    most = cell_images.MOST_NAMED // targets
    assert sum(len(cell["rows"]) for cell in cells.values()) <= most
    assert any(len(set(cell.split(","))) == 1 for cell in cells)
    drawn = re.findall(r'data-cell="([\d,]+)"', str(shown["figure"]))
    assert set(drawn) <= set(cells)
    assert len(drawn) >= min(most // 2, len(cells) // 2)
    assert str(shown["figure"]).count("h1v1h-1z") <= matrix.MOST_SQUARES // targets


def test_long_names_of_classes_stay_apart_and_short():
    names = ("a" * 500, "a" * 501, "short", "b" * 119)
    shown = words.class_names(names)
    assert len(set(shown)) == 4
    assert shown[2:] == names[2:]
    assert max(map(len, shown)) < 140
    assert str(words.breakable("x" * 5000)).startswith("x" * 100)
    assert len(words.breakable("x" * 5000)) <= words.LONGEST_ID


def test_too_large_a_page_names_what_it_lacks(tmp_path, monkeypatch):
    run = make_run(tmp_path, rows=20)
    whole = report.render(read_run(run))
    assert "Left out" not in whole
    monkeypatch.setattr(report, "MOST_BYTES", len(whole.encode()) - 100)
    less = report.render(read_run(run))
    assert len(less.encode()) < len(whole.encode())
    assert 'id="saliency"' not in less
    assert "at most 5 MB: saliency" in less
    monkeypatch.setattr(report, "MOST_BYTES", 1000)
    least = report.render(read_run(run))
    assert 'id="summary"' in least
    assert 'id="training"' not in least
    assert "3 targets more" in least
