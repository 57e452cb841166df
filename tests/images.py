"""Small images for tests, drawn by numpy: classes differ by texture and colour under noise; flaws are planted and listed.

No torch here. The same arguments give the same bytes.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay")


def quiet(_: str) -> None:
    """Say nothing, for what must be told whom to tell."""


@dataclasses.dataclass
class Planted:
    """What lies where: every image's file and label, its group, and the flaws by kind → files."""

    root: Path
    table: Path
    files: list[str]
    labels: list[str]
    groups: list[str]
    flaws: dict[str, list[str]]


def draw(label: int, rng: np.random.Generator, *, size: int = 48, signal: float = 1.0, gray: bool = False) -> np.ndarray:
    """Return one image (size, size, 3) or (size, size) uint8.

    A class has its own stripe direction, stripe width and tint, which hold under flips and small shifts; ``signal`` 0 is noise
    alone, 1 is easy to see.
    """
    y, x = np.mgrid[0:size, 0:size] / size
    angle = np.pi / 2 * (label % 5) / 4
    wave = np.sin(2 * np.pi * ((3 + 2 * (label % 4)) * (x * np.cos(angle) + y * np.sin(angle)) + rng.random()))
    tint = np.array([np.cos(2.4 * label), np.cos(2.4 * label + 2.1), np.cos(2.4 * label + 4.2)])
    clean = 0.5 + signal * (0.18 * wave[..., None] + 0.14 * tint)
    noisy = clean + rng.normal(0, 0.12, (size, size, 3)) + rng.normal(0, 0.04, 3)
    image = (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8)
    return image.mean(axis=2).round().astype(np.uint8) if gray else image


def plant(
    root: Path,
    *,
    classes: int = 3,
    each: int = 8,
    size: int = 48,
    signal: float = 1.0,
    group_size: int = 1,
    seed: int = 0,
    suffix: str = ".png",
    gray: int = 0,
    exact: bool = False,
    near: bool = False,
    leak: bool = False,
    truncated: bool = False,
    noise_by_group: float = 0.0,
) -> Planted:
    """Draw a folder ``root/images/class/name`` and a table ``root/labels.csv`` (file, label, group) of it.

    Args:
        root: where to draw.
        classes: how many, at most 10.
        each: images a class.
        size: pixels of a side.
        signal: how well classes can be told, 0 to 1.
        group_size: how many images of one class form a group; 1: each its own.
        seed: of all noise.
        suffix: ``.png``, ``.jpg`` or ``.tif``.
        gray: how many of the first images of each class are gray files.
        exact: add a copy, byte for byte, of the first class's first image (flaw ``exact``: original, copy).
        near: add the first image of the last class, brighter by a little and shifted (flaw ``near``).
        leak: put the last image of the second class into the group of the first class's first (flaw ``leak``: both).
        truncated: cut the last image of the last class to a third of its bytes (flaw ``truncated``).
        noise_by_group: strength of a colour cast that a group shares, so that a fold by image leaks.
    """
    rng = np.random.default_rng(seed)
    planted = Planted(root, root / "labels.csv", [], [], [], {})
    for k, name in enumerate(CLASSES[:classes]):
        folder = root / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(each):
            if i % group_size == 0:
                cast = noise_by_group * rng.normal(0, 40, 3)
            image = draw(k, rng, size=size, signal=signal, gray=i < gray)
            if noise_by_group and image.ndim == 3:
                image = np.clip(image + cast, 0, 255).astype(np.uint8)
            _save(planted, f"images/{name}/{name}_{i:03d}{suffix}", image, name, f"{name}-{i // group_size}")
    first, last = planted.files[0], planted.files[(classes - 1) * each]
    if exact:
        copy = first.replace("_000", "_exact")
        (root / copy).write_bytes((root / first).read_bytes())
        _note(planted, copy, planted.labels[0], "copied")
        planted.flaws["exact"] = [first, copy]
    if near:
        twin = last.replace("_000", "_near")
        image = np.asarray(Image.open(root / last)).astype(np.int16)
        _save(planted, twin, np.clip(np.roll(image, 1, axis=1) + 6, 0, 255).astype(np.uint8), CLASSES[classes - 1], "resembling")
        planted.flaws["near"] = [last, twin]
    if leak:
        planted.groups[2 * each - 1] = planted.groups[0]
        planted.flaws["leak"] = [first, planted.files[2 * each - 1]]
    if truncated:
        broken = planted.files[classes * each - 1]
        whole = (root / broken).read_bytes()
        (root / broken).write_bytes(whole[: len(whole) // 3])
        planted.flaws["truncated"] = [broken]
    write_table(planted.table, ["file", "label", "group"], zip(planted.files, planted.labels, planted.groups, strict=True))
    return planted


def write_table(path: Path, header: list[str] | None, rows: object, delimiter: str = ",") -> Path:
    """Write a small delimited file for a test."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        if header is not None:
            writer.writerow(header)
        writer.writerows(rows)  # type: ignore[arg-type]
    return path


def save(path: Path, image: np.ndarray) -> Path:
    """Save one image; the ending says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=95) if path.suffix in (".jpg", ".jpeg") else Image.fromarray(image).save(path)
    return path


def _save(planted: Planted, file: str, image: np.ndarray, label: str, group: str) -> None:
    save(planted.root / file, image)
    _note(planted, file, label, group)


def _note(planted: Planted, file: str, label: str, group: str) -> None:
    planted.files.append(file)
    planted.labels.append(label)
    planted.groups.append(group)
