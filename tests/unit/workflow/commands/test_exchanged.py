"""Exchanged channels are found by what a backbone sees of each image as it is, and with its channels exchanged."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tapetum import api

OPTIONS = {
    "model.backbone": "test_efficientnet",
    "model.weights": "none",
    "input.size": 64,
    "probe.size": 64,
}


@pytest.fixture
def warm(tmp_path):
    """Return a folder of 48 images of red patches on gray, of which one is stored as BGR, and one is damaged."""
    rng = np.random.default_rng(0)
    for kind in "ab":
        (tmp_path / "images" / kind).mkdir(parents=True)
    for number in range(48):
        pixels = np.repeat(rng.integers(60, 200, (64, 64, 1)), 3, axis=2).astype(np.uint8)
        y, x = rng.integers(0, 32, 2)
        pixels[y : y + 30, x : x + 30] = (200, 60, 40)
        stored = pixels[..., ::-1] if number == 5 else pixels
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "images" / "ab"[number % 2] / f"{number:02d}.png")
    (tmp_path / "images" / "b" / "11.png").write_bytes(b"no image")
    return tmp_path


def test_audit_finds_exchanged_channels_by_features(warm):
    said: list[str] = []
    found = api.audit(warm / "images", warm / "a.csv", channels=True, log=said.append, **OPTIONS)
    table = pl.read_csv(warm / "a.csv")
    assert found["findings"]["swapped channels"] == 1
    notes = dict(zip(table["row_id"], table["note"], strict=True))
    assert [note for row_id, note in notes.items() if row_id.endswith("05.png") and "swapped channels: probably 1 and 3" in note]


def test_gray_images_have_no_channels_to_exchange(tmp_path):
    for number in range(4):
        (tmp_path / "images" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40, 40), 50 * number, np.uint8)).save(tmp_path / "images" / "ab"[number % 2] / f"{number}.png")
    said: list[str] = []
    found = api.audit(tmp_path / "images", tmp_path / "a.csv", channels=True, log=said.append, **OPTIONS)
    assert "swapped channels" not in found["findings"]
    assert any("have not three channels" in text for text in said)
