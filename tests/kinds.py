"""Tables of every kind for end-to-end tests: images whose channels carry the answer, drawn by numpy; and the smallest fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from images import write_table
from tapetum import api

SIZE = 32
SMALLEST = {
    "model__backbone": "test_efficientnet",
    "model__weights": "none",
    "input__size": SIZE,
    "train__epochs": 1,
    "train__batch": 16,
    "train__threads": 1,
    "train__precision": "32",
    "split__folds": 2,
    "probe__views": ["plain"],
    "probe__strengths": [10.0],
    "augment": ["hflip"],
    "loss__smoothing": 0.0,
}


def fit(data: Any, out: Path, said: list[str] | None = None, **sets: Any) -> dict[str, Any]:
    """Run the smallest fit; what it says is added to ``said``."""
    log = (said if said is not None else []).append
    return api.fit(data, out, log=log, **{**SMALLEST, **sets})


def noise(rng: np.random.Generator, level: float, size: int = SIZE) -> np.ndarray:
    """Return one channel (size, size) in [0, 1] around a level."""
    return np.clip(level + rng.normal(0, 0.08, (size, size)), 0, 1)


def save_gray(path: Path, values: np.ndarray) -> None:
    """Save one channel as an 8-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((values * 255).round().astype(np.uint8)).save(path)


def save_colour(path: Path, values: np.ndarray) -> None:
    """Save (H, W, 3) in [0, 1] as an 8-bit PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((values * 255).round().astype(np.uint8)).save(path)


def plant_hpa(root: Path, *, rows: int = 60, test: int = 10, labels: int = 28, seed: int = 0) -> dict[str, Any]:
    """Write the HPA layout: four one-channel files a sample, up to three of 28 labels; a label shifts one channel's level.

    Returns:
        id → mean level of each channel as it was drawn, to follow the channels' order.
    """
    rng = np.random.default_rng(seed)
    levels: dict[str, list[float]] = {}
    train, empty = [], []
    for i in range(rows + test):
        row_id, part = f"s{i:03d}", "train" if i < rows else "test"
        own = sorted({i % labels, *rng.choice(labels, int(rng.integers(0, 3)), replace=False).tolist()})
        levels[row_id] = [0.2 + 0.15 * c + 0.02 * (own[0] % 7) for c in range(4)]
        for colour, level in zip(("red", "green", "blue", "yellow"), levels[row_id], strict=True):
            save_gray(root / part / f"{row_id}_{colour}.png", noise(rng, level))
        if part == "train":
            train.append([row_id, " ".join(map(str, own))])
        else:
            empty.append([row_id, "0"])
    write_table(root / "train.csv", ["Id", "Target"], train)
    write_table(root / "sample_submission.csv", ["Id", "Predicted"], empty)
    write_table(root / "antibodies.csv", ["Id", "antibody"], [[r, f"ab{i // 2}"] for i, (r, _) in enumerate(train)])
    return levels


def plant_tiff(root: Path, *, rows: int = 24, channels: int = 5, seed: int = 0) -> Path:
    """Write 16-bit TIFFs of several pages, a page a channel, and their table; channel 4 tells the two classes apart."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(rows):
        name = ("low", "high")[i % 2]
        pages = np.stack([noise(rng, 0.1 + 0.1 * c) for c in range(channels)])
        pages[-1] = noise(rng, 0.2 if name == "low" else 0.8)
        tifffile.imwrite(_made(root / f"t{i:02d}.tif"), (pages * 65535).astype(np.uint16), photometric="minisblack")
        lines.append([f"t{i:02d}.tif", name])
    return write_table(root / "labels.csv", ["file", "label"], lines)


def plant_people(root: Path, *, rows: int = 48, seed: int = 0, blanks: bool = False) -> Path:
    """Write images with a colour (mask: yes, wrong, no), a direction (gender) and a brightness (age, a number), and their table."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(rows):
        mask, gender, age = i % 3, (i // 3) % 2, float(rng.integers(5, 80))
        image = np.stack([noise(rng, 0.2 + 0.4 * age / 80) for _ in range(3)], axis=-1)
        image[..., mask] += 0.25
        ramp = np.linspace(-0.15, 0.15, SIZE)
        image += (ramp[:, None] if gender else ramp[None, :])[..., None]
        save_colour(root / f"p{i:02d}.png", np.clip(image, 0, 1))
        group = "young" if age < 30 else "middle" if age < 60 else "old"
        cells: list[Any] = [("yes", "wrong", "no")[mask], ("female", "male")[gender], age, group]
        if blanks and i % 4 == 1:
            cells[i // 4 % 4] = ""
        lines.append([f"p{i:02d}.png", *cells, f"person{i // 2}", round(age / 10 + rng.normal(), 3)])
    return write_table(root / "labels.csv", ["file", "mask", "gender", "age", "age_group", "person", "count"], lines)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
