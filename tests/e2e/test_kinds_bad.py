"""What cannot be learned from is named and refused before any training, or skipped where that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kinds import fit, noise, plant_hpa, plant_people, save_gray
from tapetum import api
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Predictions


@pytest.fixture
def cells(tmp_path):
    """Twelve samples of four channel files each."""
    plant_hpa(tmp_path / "data", rows=12, test=0, labels=3)
    (tmp_path / "data" / "sample_submission.csv").unlink()
    return tmp_path / "data"


def test_a_missing_channel_file_is_named(cells, tmp_path):
    (cells / "train" / "s003_blue.png").unlink()
    with pytest.raises(DataError, match=r"1 of 48 image files that do not exist: train/s003_blue\.png"):
        fit(cells, tmp_path / "run", train__epochs=0)


def test_sample_without_a_channel_is_a_missing_row(cells, tmp_path):
    (cells / "train" / "s003_blue.png").unlink()
    said: list[str] = []
    fit(cells, tmp_path / "run", said, data__on_bad="skip")
    oof = Predictions.read(tmp_path / "run" / "oof.parquet").dense("Target")
    assert [r for r, s in zip(oof.row_ids, oof.status, strict=True) if s == "missing"] == ["s003"]
    assert len(oof.row_ids) == 12
    assert any("s003" in line and "blue" in line for line in said)


def test_channels_of_different_sizes_are_named_with_both_sizes(cells, tmp_path):
    save_gray(cells / "train" / "s004_green.png", noise(np.random.default_rng(0), 0.5, size=40))
    with pytest.raises(DataError, match=r"s004 \(s004_green\.png: 40x40, and s004_red\.png is 32x32; .*one size"):
        fit(cells, tmp_path / "run", train__epochs=0)
    fit(cells, tmp_path / "skipped", data__on_bad="skip", train__epochs=0)
    oof = Predictions.read(tmp_path / "skipped" / "oof.parquet").dense("Target")
    assert (oof.status == "missing").sum() == 1


def test_a_channel_file_in_colour_among_gray_ones_is_named(cells, tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(cells / "train" / "s005_red.png")
    with pytest.raises(DataError, match=r"different numbers of channels: .*s005 has 6"):
        fit(cells, tmp_path / "run", train__epochs=0)
    said: list[str] = []
    fit(cells, tmp_path / "skipped", said, data__on_bad="skip", train__epochs=1)
    assert any("s005 (6 channels; most images have 4)" in line for line in said)
    oof = Predictions.read(tmp_path / "skipped" / "oof.parquet").dense("Target")
    assert [r for r, s in zip(oof.row_ids, oof.status, strict=True) if s == "missing"] == ["s005"]
    api.audit(tmp_path / "skipped")  # finds every file whole
    assert api.decide(tmp_path / "skipped")["choice"]["final"]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ({"data__targets": ["age_group:ordinal=young<old"]}, r"'p\d\d.png' has age_group = 'middle', which is not among its 2 classes"),
        ({"data__targets": ["age_group:ordinal"]}, r"ordinal without an order.*middle<old<young"),
        (
            {"data__targets": ["mask", "gender"], "data__derive": {"ans": "mask*2 + gendr"}},
            r"'ans' uses 'gendr', which is no target.*'gender'",
        ),
        ({"data__targets": ["mask", "age:regression"], "data__derive": {"ans": "mask*2 + age"}}, r"'ans' uses 'age', a regression target"),
        ({"data__targets": ["mask"], "data__derive": {"ans": "__import__('os')"}}, r"holds Call"),
        ({"data__targets": ["mask"], "loss__name": "bce"}, r"loss 'bce' is for multi targets, and 'mask' is single"),
        (
            {"data__targets": ["age:regression"], "loss__name": "cross_entropy"},
            r"is for single and ordinal targets, and 'age' is regression",
        ),
        ({"data__targets": ["mask"], "model__head": "coral"}, r"coral.*'mask'"),
        ({"data__targets": ["mask"], "model__heads": {"maks": "mlp"}}, r"model.heads names 'maks'.*'mask'"),
        ({"data__targets": ["mask", "gender"], "loss__weights": {"gendre": 2.0}}, r"loss.weights names 'gendre'.*'gender'"),
        ({"data__targets": ["age:regression"], "mix": ["mixup"]}, r"mix 'mixup' with the number 'age'"),
        ({"data__targets": ["mask"], "data__side": ["countt"]}, r"no column 'countt'"),
        ({"data__targets": ["mask"], "model__channels": "first"}, r"'model.channels' is 'first'; needed: 'repeat'"),
        ({"data__targets": ["mask:multi", "age:regression=60,30"]}, r"borders \[60.0, 30.0\]"),
        ({"data__targets": ["gender:regression"]}, r"has gender = 'female'"),
    ],
)
def test_unfit_targets_are_refused_before_reading_images(tmp_path, monkeypatch, sets, words):
    table = plant_people(tmp_path / "data", rows=12)
    from tapetum.data.images import decode

    read = []
    monkeypatch.setattr(decode, "decode", lambda *args, **more: read.append(args))
    with pytest.raises((UserError, DataError), match=words):
        fit(table, tmp_path / "run", **sets)
    assert not read


def test_image_of_other_channels_is_a_missing_prediction(cells, tmp_path):
    fit(cells, tmp_path / "run", train__epochs=0)
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(tmp_path / "colour.png")
    said: list[str] = []
    found = api.predict(tmp_path / "run", [tmp_path / "colour.png"], tmp_path / "p.csv", log=said.append)
    assert found["missing"] == 1
    assert any("3 channels" in line and "have 4" in line for line in said)
