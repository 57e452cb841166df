from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from images import quiet
from small_runs import contents
from tapetum.core.config import Data
from tapetum.data import layouts
from tapetum.data.images.decode import Composition, compose
from tapetum.systems.hpa.antibodies import (
    COUNTS,
    LABELS,
    ROWS,
    SET_SIZES,
    best_score,
    draw_antibodies,
    draw_brightness,
    label_given_brightness,
    stray_rates,
)
from tapetum.systems.hpa.cells import Line
from tapetum.systems.hpa.patterns import PATTERNS
from tapetum.systems.hpa.simulate import CHANNELS, draw_sample, simulate_hpa

SIZE, PX = 130, 40


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("hpa")
    return out, simulate_hpa(out, size=SIZE, px=PX, seed=2)


def test_the_layout_reads_back_with_four_channels_and_antibodies(made):
    out, summary = made
    said: list[str] = []
    manifest = layouts.read(Path(summary["paths"]["source"]), Data(join=(summary["paths"]["antibodies"],), group="antibody"), said.append)
    assert any("'hpa'" in line for line in said)
    truth = pl.read_csv(out / "truth.csv", schema_overrides={"Target": pl.String})
    assert len(manifest) == SIZE == len(truth)
    by_id = dict(truth.select("row_id", "Target").iter_rows())
    train = manifest.where(manifest.split == "train")
    assert {r: " ".join(labels) for r, labels in train.frame.select("row_id", "Target").iter_rows()} == {r: by_id[r] for r in train.row_ids}
    antibodies = dict(truth.select("row_id", "antibody").iter_rows())
    assert train.groups.tolist() == [antibodies[r] for r in train.row_ids]
    image = compose(manifest.paths(0), Composition())[0]
    assert image.shape == (PX, PX, 4)
    assert image.dtype == np.uint8
    assert (out / "data" / "train.csv").read_text().startswith("Id,Target\n")
    assert (out / "data" / "sample_submission.csv").read_text().startswith("Id,Predicted\n")
    assert set(truth.filter(pl.col("split") == "train")["antibody"]).isdisjoint(truth.filter(pl.col("split") == "test")["antibody"])


def test_the_same_seed_gives_the_same_bytes_also_as_archives(made, tmp_path):
    out, _ = made
    summary = simulate_hpa(tmp_path / "packed", size=SIZE, px=PX, seed=2, zip=True)
    plain = contents(out / "data")
    for part in ("train", "test"):
        with zipfile.ZipFile(tmp_path / "packed" / "data" / f"{part}.zip") as archive:
            packed = {f"{part}/{name}": hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
        assert packed == {name: digest for name, digest in plain.items() if name.startswith(f"{part}/")}
        assert not (tmp_path / "packed" / "data" / part).exists()
    tables = contents(tmp_path / "packed" / "data")
    assert {name: plain[name] for name in ("train.csv", "sample_submission.csv", "antibodies.csv")}.items() <= tables.items()
    rows = [layouts.read(Path(source), Data(), quiet) for source in (summary["paths"]["source"], out / "data")]
    assert rows[0].row_ids == rows[1].row_ids
    assert (compose(rows[0].paths(7), Composition())[0] == compose(rows[1].paths(7), Composition())[0]).all()


def test_counts_have_the_shape_of_the_real_ones():
    """At full size every rare label has exactly its real count; the shares of images with 1 to 4 labels lie within 4 points."""
    stained = draw_antibodies(ROWS, 0, "train")
    found = stained.labels.sum(axis=0)
    rare = np.array(COUNTS) < 5000
    assert len(stained.labels) == ROWS
    assert (np.abs(found[rare] - np.array(COUNTS)[rare]) <= 0.02 * np.array(COUNTS)[rare] + 1).all()
    assert (np.abs(found / np.array(COUNTS) - 1) < 0.15).all()
    sizes = np.bincount(stained.labels.sum(axis=1), minlength=5)[1:] / ROWS
    assert np.abs(sizes - SET_SIZES).max() < 0.04
    per_antibody = np.bincount(stained.antibody)
    assert per_antibody[per_antibody > 0].mean() > 4


@pytest.mark.parametrize("rows", [70, 190, 900])
def test_every_label_stands_in_several_antibodies_of_each_part(rows):
    stained = draw_antibodies(rows, 3, "test")
    assert len(stained.labels) == len(stained.antibody) == rows
    assert stained.labels.any(axis=1).all()
    assert stained.labels.sum(axis=1).max() <= 4
    assert stained.labels.any(axis=0).all()
    if rows >= 190:
        assert min(len(np.unique(stained.antibody[stained.labels[:, k]])) for k in range(28)) >= 2


def test_images_of_an_antibody_share_most_labels():
    stained = draw_antibodies(2000, 1, "train")
    i, j = np.random.default_rng(0).integers(2000, size=(2, 20000))
    overlap = (stained.labels[i] & stained.labels[j]).sum(axis=1) / (stained.labels[i] | stained.labels[j]).sum(axis=1)
    same = stained.antibody[i] == stained.antibody[j]
    assert overlap[same & (i != j)].mean() > 0.9
    assert overlap[~same].mean() < 0.4


def test_bayes_over_sets_is_right_where_sets_are_few():
    """Two sets, {0} and {0, 1}: the posterior of label 1 by hand."""
    labels = np.zeros((10, 28), dtype=bool)
    labels[:, 0] = True
    labels[:4, 1] = True
    rates = stray_rates(labels)
    brightness = np.zeros((2, 28))
    brightness[:, 0] = 1.0
    brightness[0, 1] = 0.7
    with np.errstate(divide="ignore", invalid="ignore"):
        p = label_given_brightness(brightness, rates, labels)
    from tapetum.systems.hpa.antibodies import BRIGHT, FAINT

    def density(x, mean, deviation):
        return np.exp(-0.5 * ((np.log(x) - mean) / deviation) ** 2) / deviation

    with_, without = 0.4 * density(0.7, *BRIGHT), 0.6 * rates[1] * density(0.7, *FAINT)
    assert p[0, 1] == pytest.approx(with_ / (with_ + without))
    assert p[1, 1] == pytest.approx(0, abs=1e-12)  # a label always shines
    assert p[:, 0] == pytest.approx(1)


def test_ceiling_probabilities_are_calibrated_and_unbeaten(made):
    _, summary = made
    assert 0 < summary["ceiling"] <= 1
    every = draw_antibodies(3000, 4, "train").labels
    rng, rates = np.random.default_rng(0), stray_rates(every)
    brightness = draw_brightness(every, rates, rng)
    p = label_given_brightness(brightness, rates, every)
    between = (p > 0.3) & (p < 0.7)
    assert abs(every[between].mean() - p[between].mean()) < 0.06
    best = best_score(every, every, seed=0, repeats=3)
    for bound in (0.3, 0.45, 0.6, 0.8):
        assert f1_score(every, brightness > bound, average="macro", zero_division=0) < best + 0.01


def test_each_label_changes_the_protein_channel_alone():
    assert len(PATTERNS) == len(LABELS) == 28
    line = Line.draw(np.random.default_rng(0))
    without = draw_sample(np.zeros(28), line, np.random.default_rng(1), 64)
    for label in range(28):
        with_ = draw_sample(np.eye(28)[label], line, np.random.default_rng(1), 64)
        gain = with_[CHANNELS.index("green")].astype(int) - without[CHANNELS.index("green")]
        assert (gain > 40).sum() >= 4, LABELS[label]


def test_copies_hold_the_same_pixels_turned_or_not(made):
    out, _ = made
    truth = pl.read_csv(out / "truth.csv").filter(pl.col("planted").is_not_null())
    assert set(truth["planted"]) == {"exact", "turned"}
    for row_id, planted, original in truth.select("row_id", "planted", "copy_of").iter_rows():
        a, b = (np.asarray(Image.open(out / "data" / "train" / f"{name}_blue.png")) for name in (row_id, original))
        turned = [np.rot90(x, k) for x in (b, b.T) for k in range(4)]
        assert any((a == t).all() for t in turned)
        assert (a == b).all() == (planted == "exact")
