"""Face masks drawn on the shared faces: seven photos a person in the layout ``masks``, with Pillow and numpy alone.

The faces are aligned, so that eyes, nose and mouth stand at about the same place in each; :data:`FACE` says where. A mask is a polygon with
folds or a pattern and two straps, multiplied by the light that falls on the face.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tapetum.core import draws, files

WIDTH, HEIGHT = 384, 512  # of a photo in the layout
PHOTOS = (*(f"mask{i}" for i in range(1, 6)), "incorrect_mask", "normal")
GROUPS = {
    "0-2": (0, 2), "3-9": (3, 9), "10-19": (10, 19), "20-29": (20, 29), "30-39": (30, 39), "40-49": (40, 49), "50-59": (50, 59),
    "60-69": (60, 69), "70+": (70, 85),
}  # fmt: skip
FACE = {"nose bridge": 0.45, "nose tip": 0.515, "mouth": 0.575, "chin": 0.675, "half width": 0.165}  # shares of the height; x is the middle
COLOURS = (
    (214, 228, 236), (150, 190, 214), (240, 240, 238), (38, 38, 42), (120, 124, 130), (186, 206, 178), (228, 176, 186), (40, 52, 96),
    (150, 40, 44),
)  # fmt: skip
KINDS = ("surgical", "folded", "cloth", "dotted")


@dataclasses.dataclass(frozen=True)
class Person:
    """One of the shared faces.

    Args:
        name: id in the layout, from the file's name.
        file: the photo.
        gender: male or female.
        group: one of :data:`GROUPS`.
        years: drawn within the group, by the person's name.
    """

    name: str
    file: Path
    gender: str
    group: str
    years: int


def people(labels: Path, seed: int) -> list[Person]:
    """Return the people of the shared faces; ``labels`` is their table."""
    found = []
    with labels.open(encoding="utf-8") as file:
        for cells in csv.DictReader(file):
            name = Path(cells["file"]).stem.rpartition("_")[2]
            low, high = GROUPS[cells["age_group"]]
            years = int(draws.generator(seed, "years", name).integers(low, high + 1))
            found.append(Person(name, labels.parent / cells["file"], cells["gender"].lower(), cells["age_group"], years))
    return found


def write(labels: Path, place: Path, seed: int) -> Path:
    """Write the faces with drawn masks in the layout ``masks``; return its folder."""
    with files.whole_folder(place) as aside:
        rows = [["id", "gender", "race", "age", "path"]]
        for person in people(labels, seed):
            folder = f"{person.name}_{person.gender}_Asian_{person.years}"
            rows.append([person.name, person.gender, "Asian", str(person.years), folder])
            for photo, image in photos(person, seed).items():
                rng = draws.generator(seed, person.name, photo, "file")
                ending = str(rng.choice(["jpg", "jpeg", "png"], p=[0.85, 0.1, 0.05]))
                files.write_bytes(
                    aside / "train" / "images" / folder / f"{photo}.{ending}", _encoded(image, ending, int(rng.integers(75, 95)))
                )
                if rng.random() < 0.01:
                    files.write_bytes(
                        aside / "train" / "images" / folder / f"._{photo}.{ending}", b"\x00\x05\x16\x07"
                    )  # as macOS leaves them
        files.write_text(aside / "train" / "train.csv", "".join(",".join(cells) + "\n" for cells in rows))
    return place


def photos(person: Person, seed: int) -> dict[str, Image.Image]:
    """Return the seven photos of a person by name."""
    whole = Image.open(person.file).convert("RGB")
    side = whole.height * WIDTH / HEIGHT
    left = (whole.width - side) / 2
    face = whole.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, (left, 0.0, left + side, float(whole.height)))
    made = {}
    for photo in PHOTOS:
        rng = draws.generator(seed, person.name, photo)
        image = face if photo == "normal" else with_mask(face, rng, correct=photo != "incorrect_mask")
        made[photo] = taken(image, rng)
    return made


def with_mask(face: Image.Image, rng: np.random.Generator, *, correct: bool) -> Image.Image:
    """Return a face with a mask: over nose, mouth and chin, or with the nose free, or below the mouth."""
    kind, colour = str(rng.choice(KINDS)), np.array(COLOURS[rng.integers(len(COLOURS))], dtype=np.float64)
    top, bottom, half = FACE["nose bridge"], FACE["chin"] + 0.012, FACE["half width"]
    if not correct:
        top, bottom = (FACE["nose tip"] + 0.02, bottom + 0.01) if rng.random() < 0.6 else (FACE["mouth"] + 0.03, FACE["chin"] + 0.06)
    top, bottom, half = top + rng.normal(0, 0.008), bottom + rng.normal(0, 0.008), half * rng.uniform(0.93, 1.07)
    outline, straps = _shape(top, bottom, half, kind)
    alpha, threads = Image.new("L", (WIDTH * 2, HEIGHT * 2)), Image.new("L", (WIDTH * 2, HEIGHT * 2))
    ImageDraw.Draw(alpha).polygon([(x * 2, y * 2) for x, y in outline], fill=255)
    for strap in straps:
        ImageDraw.Draw(threads).line([(x * 2, y * 2) for x, y in strap], fill=255, width=5)
    cover, thread = (
        np.asarray(one.resize((WIDTH, HEIGHT), Image.Resampling.BOX), dtype=np.float64)[..., None] / 255 for one in (alpha, threads)
    )
    pixels = np.asarray(face, dtype=np.float64)
    cloth = colour * _texture(kind, top, bottom, half, rng)[..., None] * _light(pixels)
    drawn = pixels * (1 - thread * 0.8) + thread * 0.8 * np.minimum(235 * _light(pixels), 255)
    drawn = drawn * (1 - cover) + cover * cloth
    return Image.fromarray(np.clip(drawn, 0, 255).astype(np.uint8))


def taken(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return another photo of the same scene: shifted, turned and scaled a little, under other light, with noise."""
    angle, zoom = np.deg2rad(rng.normal(0, 1.5)), rng.uniform(1.03, 1.1)
    dx, dy = rng.normal(0, 4, 2)
    a, b = np.cos(angle) / zoom, np.sin(angle) / zoom
    x, y = WIDTH / 2, HEIGHT / 2
    moved = image.transform(
        image.size, Image.Transform.AFFINE, (a, b, x - a * x - b * y + dx, -b, a, y + b * x - a * y + dy), Image.Resampling.BICUBIC
    )
    if rng.random() < 0.3:
        moved = moved.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 1.2))))
    pixels = np.asarray(moved, dtype=np.float64) / 255
    pixels = pixels ** rng.uniform(0.85, 1.2) * rng.uniform(0.85, 1.12) * rng.normal(1, 0.025, 3)
    pixels += rng.normal(0, rng.uniform(0.005, 0.025), pixels.shape)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8))


def _shape(top: float, bottom: float, half: float, kind: str) -> tuple[list[tuple[float, float]], list[list[tuple[float, float]]]]:
    """Return the outline of a mask and its two straps in pixels."""
    x, w, high = WIDTH / 2, half * HEIGHT, bottom - top
    peak = 0.02 if kind == "folded" else 0.006
    right = [
        (0.35, top + 0.008),
        (0.8, top + 0.1 * high),
        (0.97, top + 0.3 * high),
        (0.88, top + 0.68 * high),
        (0.55, bottom - 0.08 * high),
    ]
    half_outline = [(x + share * w, y * HEIGHT) for share, y in right]
    mirrored = [(2 * x - px, py) for px, py in reversed(half_outline)]
    outline = [(x, (top - peak) * HEIGHT), *half_outline, (x, (bottom + peak) * HEIGHT), *mirrored]
    ears = (0.41, 0.47)
    straps = [
        [(x + sign * 0.95 * w, (top + share * high) * HEIGHT), (x + sign * 1.18 * w, ear * HEIGHT)]
        for sign in (-1, 1)
        for share, ear in zip((0.25, 0.6), ears, strict=True)
    ]
    return outline, straps


def _texture(kind: str, top: float, bottom: float, half: float, rng: np.random.Generator) -> np.ndarray:
    """Return how bright each pixel (H, W) of the cloth is: round like the face below it, with folds or a pattern."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    across, down = (x - WIDTH / 2) / (half * HEIGHT), (y / HEIGHT - top) / (bottom - top)
    shade = 1.02 - 0.3 * across**2 - 0.12 * (down - 0.4) ** 2
    if kind == "surgical":
        shade -= 0.1 * sum(np.exp(-(((down - place) / 0.02) ** 2)) for place in (0.3, 0.5, 0.7))
    elif kind == "folded":
        shade += 0.08 * (np.abs(across) < 0.02) - 0.08 * np.exp(-(((down - 0.3 - 0.25 * np.abs(across)) / 0.02) ** 2))
    elif kind == "dotted":
        shade -= 0.25 * (np.hypot((x % 14) - 7, (y % 14) - 7) < 3)
    return np.asarray(shade + rng.normal(0, 0.015, shade.shape))


def _light(pixels: np.ndarray) -> np.ndarray:
    """Return the light on the middle of a photo (1, W, 3): a plane through its brightness, in the colour of its brightest parts.

    A mask in a dark photo is dark, one in red light is red, and one lit from the left is brighter there.
    """
    top, bottom = round(0.35 * HEIGHT), round(0.68 * HEIGHT)
    left, right = round(0.3 * WIDTH), round(0.7 * WIDTH)
    middle = pixels[top:bottom, left:right] / 255
    bright = middle.reshape(-1, 3)
    bright = bright[bright.mean(axis=1) >= np.quantile(bright.mean(axis=1), 0.8)].mean(axis=0)
    tint = (bright / max(bright.max(), 1e-3)) ** 0.5  # skin is red by itself; half of the cast is taken for light
    y, x = np.mgrid[top:bottom, left:right]
    terms = np.stack([np.ones(x.size), x.ravel() / WIDTH - 0.5, y.ravel() / HEIGHT - 0.5], axis=1)
    plane = np.linalg.lstsq(terms, middle.mean(axis=2).ravel(), rcond=None)[0]
    level = plane[0] + plane[1] * (
        np.arange(WIDTH)[None, :] / WIDTH - 0.5
    )  # a plane, and level from top to bottom: hair and clothes tilt it
    return np.asarray(np.clip(0.25 + 1.25 * level, 0.12, 1.1)[..., None] * tint)


def _encoded(image: Image.Image, ending: str, quality: int) -> bytes:
    out = io.BytesIO()
    if ending == "png":
        image.save(out, "PNG")
    else:
        image.save(out, "JPEG", quality=quality)
    return out.getvalue()
