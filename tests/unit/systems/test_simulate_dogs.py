from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from PIL import Image

from images import quiet
from small_runs import contents
from tapetum.core import draws
from tapetum.core.config import Data
from tapetum.core.errors import UserError
from tapetum.data import layouts
from tapetum.systems.dogs.breeds import BREEDS, TWINS, breed_given_traits, clouds, draw_traits, label_given_traits
from tapetum.systems.dogs.photos import draw_photo
from tapetum.systems.dogs.simulate import simulate_dogs

SIZE, PX = 200, 40


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("dogs")
    return out, simulate_dogs(out, size=SIZE, px=PX, seed=5)


def test_the_layout_reads_back_with_its_parts_and_classes(made):
    out, summary = made
    manifest = layouts.read(Path(summary["paths"]["source"]), Data(), quiet)
    truth = pl.read_csv(out / "truth.csv")
    assert manifest.targets[0].classes == BREEDS == tuple(sorted(BREEDS))
    assert len(manifest) == SIZE == summary["counts"]["train"] + summary["counts"]["test"]
    read = manifest.frame.select("row_id", "split", "label").sort("row_id")
    assert read.equals(truth.select("row_id", "split", "label").sort("row_id"))
    template = pl.read_csv(out / "data" / "sample_submission.csv")
    assert template["id"].to_list() == sorted(truth.filter(pl.col("split") == "test")["row_id"].to_list())
    assert set(manifest.frame.filter(pl.col("split") == "test")["label"]) == set(BREEDS)
    assert not [p for p in (out / "data").rglob("*") if "truth" in p.name or p.name == "exclude.txt"]


def test_same_seed_gives_same_bytes_also_as_archive(made, tmp_path):
    out, summary = made
    again = simulate_dogs(tmp_path / "again", size=SIZE, px=PX, seed=5, zip=True)
    with zipfile.ZipFile(again["paths"]["source"]) as archive:
        packed = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
        assert len({info.date_time for info in archive.infolist()}) == 1
    plain = contents(out / "data")
    assert plain.pop("sample_submission.csv") == contents(tmp_path / "again" / "data")["sample_submission.csv"]
    assert packed == plain
    assert (tmp_path / "again" / "truth.csv").read_bytes() == (out / "truth.csv").read_bytes()
    folder, archive = (layouts.read(Path(s["paths"]["source"]), Data(), quiet).frame for s in (summary, again))
    assert folder.select("row_id", "split", "label").equals(archive.select("row_id", "split", "label"))
    images = [np.asarray(draw_photo(draw_traits(3, rng), rng, PX)) for rng in (draws.generator("a", i) for i in (0, 1, 0))]
    assert images[0].tobytes() == images[2].tobytes() != images[1].tobytes()


def test_what_is_planted_is_in_the_files(made):
    out, summary = made
    planted = {(r["planted"], r["row_id"]): r for r in pl.read_csv(out / "truth.csv").iter_rows(named=True) if r["planted"]}
    kinds = {kind for kind, _ in planted}
    assert kinds == {"gray", "mislabelled", "truncated", "no_image", "misnamed", "exact", "near"}
    for kind in kinds:
        assert sum(k == kind for k, _ in planted) == summary["counts"][kind] >= 1
    for (kind, row_id), row in planted.items():
        data = (out / "data" / row_id).read_bytes()
        if kind == "exact":
            assert data == (out / "data" / row["copy_of"]).read_bytes()
        elif kind == "near":
            assert data != (out / "data" / row["copy_of"]).read_bytes()
            assert row["split"] == "train"
        elif kind == "gray":
            pixels = np.asarray(Image.open(out / "data" / row_id).convert("RGB")).astype(int)
            assert np.ptp(pixels, axis=-1).max() == 0
        elif kind == "mislabelled":
            assert row["shows"] != row["label"]
        elif kind == "misnamed":
            assert data.startswith(b"\x89PNG")


def test_listed_faulty_photos_can_be_excluded(made):
    out, summary = made
    manifest = layouts.read(Path(summary["paths"]["source"]), Data(exclude=str(out / "exclude.txt")), quiet)
    truth = pl.read_csv(out / "truth.csv").filter(pl.col("split") == "train")
    left = set(manifest.row_ids)
    bad = (pl.col("shows") != pl.col("label")) | pl.col("planted").is_in(["gray", "truncated", "no_image"])
    assert not left & set(truth.filter(bad.fill_null(False))["row_id"])
    assert left >= set(truth.filter(pl.col("planted").is_null())["row_id"])


def test_twins_overlap_as_a_normal_distribution_says():
    """Two equally frequent normal clouds at distance d: the best rule errs in Φ(−d/2) of the cases."""
    rng = np.random.default_rng(0)
    a, b = (BREEDS.index(name) for name in TWINS[0])
    distance = np.linalg.norm(clouds().means[a, 0] - clouds().means[b, 0])
    n = 4000
    traits = np.stack([draw_traits(k, rng) for k in (a, b) for _ in range(n)])
    p = breed_given_traits(traits)
    assert np.allclose(p.sum(axis=1), 1)
    picked = np.where(p[:, a] >= p[:, b], a, b)
    error = np.mean(picked != np.repeat([a, b], n))
    assert abs(error - NormalDist().cdf(-distance / 2)) < 0.01


def test_the_ceiling_is_what_bayes_reaches_on_fresh_dogs(made):
    """The mean of the largest probability is the accuracy to be expected; a draw of many dogs must agree with it."""
    _, summary = made
    rng = np.random.default_rng(1)
    truth = np.repeat(np.arange(len(BREEDS)), 160)
    traits = np.stack([draw_traits(k, rng) for k in truth])
    reached = np.mean(breed_given_traits(traits).argmax(axis=1) == truth)
    expected = breed_given_traits(traits).max(axis=1).mean()
    assert abs(reached - expected) < 4 * np.sqrt(expected * (1 - expected) / len(truth))
    assert 0.8 < summary["ceiling"] < summary["ceiling_clean"] <= 1
    assert np.allclose(label_given_traits(traits[:5], 0.1).sum(axis=1), 1)


def test_sizes_vary_and_follow_px():
    rng = np.random.default_rng(2)
    for px in (32, 64):
        sizes = np.array([draw_photo(draw_traits(i % 25, rng), rng, px).size for i in range(40)])
        assert len(np.unique(sizes, axis=0)) > 20
        assert 0.85 * px < np.sqrt(sizes.prod(axis=1)).mean() < 1.15 * px


def test_used_place_and_too_small_size_are_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="no simulation"):
        simulate_dogs(tmp_path, size=SIZE, px=PX)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(UserError, match="at least 200"):
        simulate_dogs(tmp_path / "new", size=10)
    with pytest.raises(UserError, match="'large'"):
        simulate_dogs(tmp_path / "new", size="large")
