"""Images of every kind, from files to a submission: what was drawn is what reaches the network, channel by channel."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile
from PIL import Image

from images import write_table
from kinds import fit, noise, plant_hpa, plant_tiff, save_colour, save_gray
from tapetum import api
from tapetum.core import files
from tapetum.core.tables import Manifest, Predictions
from tapetum.learn.models import Network

COLOURS = ("red", "green", "blue", "yellow")


@pytest.fixture
def seen(monkeypatch):
    """Every batch that a network normalised, as it came in."""
    batches = []
    plain = Network.normalise

    def normalise(self, x):
        batches.append(x.clone())
        return plain(self, x)

    monkeypatch.setattr(Network, "normalise", normalise)
    return batches


@pytest.fixture(scope="module")
def hpa(tmp_path_factory):
    """A finished run on the HPA layout: four channels, 28 labels, test rows, antibodies joined as groups."""
    root = tmp_path_factory.mktemp("hpa")
    plant_hpa(root / "data")
    said: list[str] = []
    batches = []
    plain = Network.normalise
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "normalise", lambda self, x: (batches.append(x.clone()), plain(self, x))[1])
        fit(root / "data", root / "run", said, data__join=[str(root / "data" / "antibodies.csv")], data__group="antibody", augment=[])
    return root, said, batches


def test_four_files_of_a_sample_keep_their_order(hpa):
    root, _, batches = hpa
    manifest = Manifest.read(root / "run" / "manifest.parquet")
    trained = manifest.where(manifest.split == "train")
    drawn = np.stack(
        [[np.asarray(Image.open(root / "data" / "train" / f"{r}_{colour}.png")) for colour in COLOURS] for r in trained.row_ids]
    )
    rows = {image.tobytes() for image in drawn}
    images = [one for batch in batches if batch.shape[-1] == 32 and str(batch.dtype) == "torch.uint8" for one in batch.numpy()]
    first = [one.tobytes() for one in images if one.tobytes() in rows]
    assert len(set(first)) == len(trained)  # each sample came in, byte for byte, its channels in the order of the files


def test_many_labels_are_submitted_as_the_template_wants_them(hpa, tmp_path):
    root, _, _ = hpa
    template = root / "data" / "sample_submission.csv"
    api.submit(root / "run", template, tmp_path / "submission.csv")
    found, asked = pl.read_csv(tmp_path / "submission.csv", infer_schema=False), pl.read_csv(template, infer_schema=False)
    assert found.columns == ["Id", "Predicted"]
    assert found["Id"].to_list() == asked["Id"].to_list()
    dense = Predictions.read(root / "run" / "test.parquet").dense("Target", row_ids=asked["Id"].to_list())
    assert dense.target.width == 28
    for cell, p in zip(found["Predicted"].to_list(), dense.p, strict=True):
        assert (cell or "").split() == [dense.target.classes[k] for k in np.flatnonzero(p >= 0.5)]


def test_groups_from_a_joined_table_never_cross_folds(hpa):
    root, said, _ = hpa
    frame = Manifest.read(root / "run" / "manifest.parquet").frame.filter(pl.col("split") == "train")
    assert frame["group"].n_unique() == 30
    assert frame.group_by("group").agg(pl.col("fold").n_unique())["fold"].max() == 1
    assert any("antibodies.csv joined by Id: 60 of 70 rows found theirs" in line for line in said)


def test_pipeline_composes_channel_files_as_its_data(hpa, tmp_path):
    root, _, _ = hpa
    result = api.predict(root / "run", [root / "data" / "test"], tmp_path / "p.parquet")
    assert (result["rows"], result["missing"]) == (10, 0)
    again = Predictions.read(tmp_path / "p.parquet").dense("Target", row_ids=[f"s{i:03d}" for i in range(60, 70)])
    run = Predictions.read(root / "run" / "test.parquet").dense("Target", row_ids=[f"s{i:03d}" for i in range(60, 70)])
    np.testing.assert_array_equal(again.p, run.p)


def test_sixteen_bits_and_five_pages_reach_the_network_whole(tmp_path, seen):
    table = plant_tiff(tmp_path / "data")
    said: list[str] = []
    fit(table, tmp_path / "run", said, data__targets=["label"], augment=[], input__normalise="data", probe__enabled=True)
    drawn = {(tifffile.imread(p).astype(np.float32) / np.float32(65535)).tobytes() for p in sorted((tmp_path / "data").glob("*.tif"))}
    came = {one.numpy().tobytes() for batch in seen if batch.dtype.is_floating_point for one in batch}
    assert drawn <= came
    state = files.read_json(tmp_path / "run" / "pipeline" / "pipeline.json")
    assert state["members"][0]["form"]["channels"] == 5
    assert state["members"][0]["form"]["dtype"] == "float32"
    result = api.predict(tmp_path / "run", [tmp_path / "data" / "t00.tif", tmp_path / "data" / "t01.tif"], tmp_path / "p.csv")
    assert result["missing"] == 0
    assert pl.read_csv(tmp_path / "p.csv").columns == ["id", "status", "label", "p_high", "p_low"]


def test_channels_are_measured_on_each_folds_training_rows_alone(tmp_path):
    table = plant_tiff(tmp_path / "data", rows=16)
    fit(table, tmp_path / "run", data__targets=["label"], input__normalise="data")
    manifest = Manifest.read(tmp_path / "run" / "manifest.parquet")
    for fold in (0, 1):
        kept = files.read_json(tmp_path / "run" / "members" / "probe" / f"fold-{fold}" / "channels.json")
        rows = [r for r, f in zip(manifest.row_ids, manifest.fold, strict=True) if f != fold]
        pixels = np.stack([tifffile.imread(tmp_path / "data" / r) / 65535 for r in rows])
        np.testing.assert_allclose(kept["mean"], pixels.mean(axis=(0, 2, 3)), atol=1e-6)
        np.testing.assert_allclose(kept["std"], pixels.std(axis=(0, 2, 3)), atol=1e-6)
    p = api.predict(tmp_path / "run", [tmp_path / "data"], tmp_path / "p.parquet")
    assert p["missing"] == 0  # a pipeline of several statistics answers with each of them


def test_what_becomes_of_pretrained_channels_is_said_and_kept(tmp_path):
    plant_hpa(tmp_path / "data", rows=12, test=0, labels=3)
    said: list[str] = []
    more = {"model__backbone": "tf_efficientnet_lite0", "model__weights": "auto", "train__epochs": 0, "probe__size": 32}
    (tmp_path / "data" / "sample_submission.csv").unlink()
    fit(tmp_path / "data", tmp_path / "run", said, model__channels="copy:G", **more)
    assert any(line.startswith("channels: 4 for 3 (copy:G): channels 1-3 keep") for line in said)
    kept = files.read_json(tmp_path / "run" / "run.json")
    assert "(copy:G)" in str(kept)
    assert "copy:G" in (tmp_path / "run" / "pipeline" / "pipeline.json").read_text()


def test_images_in_a_zip_are_read_in_place(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    with zipfile.ZipFile(_made(tmp_path / "data" / "images.zip"), "w") as archive:
        for i in range(12):
            save_gray(tmp_path / "one.png", noise(rng, 0.3 + 0.4 * (i % 2)))
            archive.write(tmp_path / "one.png", f"inner/p{i}.png")
            rows.append([f"p{i}", "ab"[i % 2]])
    table = write_table(tmp_path / "data" / "labels.csv", ["id", "kind"], rows)
    result = fit(table, tmp_path / "run", data__targets=["kind"], data__path="images.zip!/inner/{id}.png", train__epochs=0)
    assert Manifest.read(tmp_path / "run" / "manifest.parquet").row_ids[0] == "p0"
    assert not list((tmp_path / "data").glob("*.png"))
    assert Path(result["report"]).is_file()


@pytest.mark.parametrize(
    ("how", "shape"),
    [
        ({"input__bands": [[0, 8], [20, 28]]}, (3, 16, 32)),
        ({"input__bands": [[0, 8], [20, 28]], "input__bands_as": "channels"}, (6, 8, 32)),
        ({"input__bands": [[0, 8], [20, 28]], "input__bands_as": "views"}, (2, 3, 8, 32)),
        ({"input__crop": [4, 2, 20, 24]}, (3, 20, 24)),
        ({"data__path": ["file", "other"], "input__join": "x"}, (3, 32, 64)),
        ({"data__path": ["file", "other"], "input__join": "y"}, (3, 64, 32)),
        ({"data__path": ["file", "other"], "input__paths": "views"}, (2, 3, 32, 32)),
        ({"data__path": ["file", "other"]}, (6, 32, 32)),
    ],
)
def test_row_is_composed_as_the_recipe_says(tmp_path, seen, how, shape):
    rng = np.random.default_rng(1)
    rows = []
    for i in range(8):
        for name in (f"a{i}.png", f"b{i}.png"):
            save_colour(tmp_path / "data" / name, np.stack([noise(rng, 0.3 + 0.4 * (i % 2)) for _ in range(3)], axis=-1))
        rows.append([f"a{i}.png", f"b{i}.png", "ab"[i % 2]])
    table = write_table(tmp_path / "data" / "labels.csv", ["file", "other", "kind"], rows)
    fit(table, tmp_path / "run", data__targets=["kind"], **{"data__path": "file", "input__size": "native", "train__epochs": 1, **how})
    views = [batch for batch in seen if batch.ndim == 4]
    channels, height, width = shape[-3:]
    assert {tuple(batch.shape[1:]) for batch in views if str(batch.dtype) == "torch.uint8"} == {(channels, height, width)}
    if len(shape) == 4:
        assert {len(batch) % 2 for batch in views} == {0}
    a = np.asarray(Image.open(tmp_path / "data" / "a0.png")).transpose(2, 0, 1)
    b = np.asarray(Image.open(tmp_path / "data" / "b0.png")).transpose(2, 0, 1)
    parts = _composed(a, b, how)
    came = {one.numpy().tobytes() for batch in views for one in batch}
    assert all(part.tobytes() in came for part in parts)
    assert api.predict(tmp_path / "run", [table], tmp_path / "p.parquet")["missing"] == 0


def _composed(a: np.ndarray, b: np.ndarray, how: dict) -> list[np.ndarray]:
    """Return the images of the first row as a reader of the recipe would cut and lay them."""
    if "input__bands" in how:
        bands = [a[:, 0:8], a[:, 20:28]]
        how_bands = how.get("input__bands_as", "rows")
        joined = {"rows": [np.concatenate(bands, axis=1)], "channels": [np.concatenate(bands, axis=0)], "views": bands}[how_bands]
    elif "input__crop" in how:
        joined = [a[:, 4:24, 2:26]]
    elif how.get("input__paths") == "views":
        joined = [a, b]
    else:
        joined = [np.concatenate([a, b], axis={"x": 2, "y": 1}.get(how.get("input__join", ""), 0))]
    return [np.ascontiguousarray(one) for one in joined]


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
