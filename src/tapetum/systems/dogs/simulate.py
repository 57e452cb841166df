"""Simulated dogs: 25 breeds in class folders, with the faults that such collections have, each of them listed.

::

    OUT/data/train/Chihuahua/Chihuahua_00017.jpg …   OUT/data/test/…   OUT/data/sample_submission.csv
    OUT/truth.csv   OUT/exclude.txt   OUT/simulation.json
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image, ImageEnhance

from tapetum.core import draws, files, progress
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.data.simulate import place
from tapetum.systems.dogs.breeds import BREEDS, TWINS, breed_given_traits, draw_traits, label_given_traits
from tapetum.systems.dogs.photos import draw_photo

SIZES = {"small": 1500, "full": 4200}
TEST = (26, 45)  # test photos a breed among 4,200; fewer in proportion
UNEVEN = 0.25  # training photos a breed vary by so much

# Shares of photos, at least one each: the gray one is the real collection's, the others are of the order that audits of web photos find.
GRAY = 0.0026  # both parts; every other one is saved as RGB
MISLABELLED = 0.012  # both parts; any other breed
TRUNCATED = 0.003  # training part from here on: cut off somewhere
NO_IMAGE = 0.0015  # a text called .jpg
MISNAMED = 0.003  # a PNG called .jpg, readable
EXACT = 0.006  # the same bytes under another name; every third in another breed's folder
NEAR = 0.01  # cut, shrunk, brightened and packed again
_DAMAGED = ("truncated", "no_image")
_COPIES = ("exact", "near")


@dataclasses.dataclass
class _Photo:
    """One file to be: ``breed`` is what it shows, ``label`` the folder where it lies, ``of`` the photo of which it is a copy."""

    number: int
    split: str
    breed: int
    label: int
    planted: str = ""
    of: int | None = None

    @property
    def row_id(self) -> str:
        name = BREEDS[self.label]
        return f"{self.split}/{name}/{name}_{self.number:05d}.jpg"


def simulate_dogs(
    out: Path | str,
    *,
    size: str | int = "small",
    px: int = 128,
    seed: int = 0,
    zip: bool = False,
    log: Log = lambda _: None,
) -> dict[str, Any]:
    """Write simulated dog photos in class folders of a training and a test part.

    Args:
        out: a new folder, or one that was simulated before.
        size: ``small``, ``full`` (4,200 as the real collection) or the number of photos.
        px: typical side of a photo; sides vary around it.
        seed: the same seed gives the same bytes.
        zip: one archive ``data/dogs.zip`` instead of folders.
        log: receives messages about progress.

    Returns:
        ``paths`` (``source`` is what to read, ``exclude``, ``truth``), ``counts`` (photos by part and by what was planted),
        ``ceiling`` (the expected accuracy on the test part of a classifier that knows the generator and each dog's traits),
        ``ceiling_clean`` (the same if no label were wrong).

    Raises:
        UserError: a size too small, or a place that holds something else.
    """
    out = Path(out)
    place.check_side(px)
    photos = _plan(place.how_many(size, SIZES, 8 * len(BREEDS)), seed)
    with place.layout(out) as aside:
        for part in ("train", "test"):
            for breed in BREEDS:
                files.make_folder(aside / part / breed)
        traits, drawn = [], progress.share(log, "drawing images")
        for photo in photos:
            traits.append(_write(photo, aside, px, seed))
            drawn(photo.number + 1, len(photos))
        test = sorted(p.row_id for p in photos if p.split == "test")
        template = pl.DataFrame({"id": test, "breed": BREEDS[0]})
        if zip:
            for part in ("train", "test"):
                files.make_folder(aside / "dogs" / part)
                (aside / part).replace(aside / "dogs" / part)
            place.pack(aside / "dogs")
        files.write_csv(aside / "sample_submission.csv", template)
    files.write_text(out / place.EXCLUDED, _excluded(photos))
    source = out / place.LAYOUT / "dogs.zip" if zip else out / place.LAYOUT
    seen = np.stack(traits)[[p.split == "test" for p in photos]]
    summary = {
        "name": "dogs",
        "seed": seed,
        "px": px,
        "counts": _counts(photos),
        "metric": "accuracy",
        "ceiling": float(label_given_traits(seen, MISLABELLED).max(axis=1).mean()),
        "ceiling_clean": float(breed_given_traits(seen).max(axis=1).mean()),
        "twins": [list(pair) for pair in TWINS],
    }
    done = place.finish(out, _truth(photos), summary, source=source, exclude=out / place.EXCLUDED)
    text = f"{plural(len(photos), 'photo')} in {out / place.LAYOUT}"
    log(f"{text}; the best {summary['metric']} possible on the test part is {summary['ceiling']:.3f}")
    return done


def _plan(count: int, seed: int) -> list[_Photo]:
    """Return every photo in order: how many of each breed and part, then what is planted where."""
    rng = draws.generator("simulate", "dogs", seed, "plan")
    test = [max(2, round(n * count / SIZES["full"])) for n in rng.integers(TEST[0], TEST[1] + 1, len(BREEDS))]
    train = place.shares(count - sum(test), rng.uniform(1 - UNEVEN, 1 + UNEVEN, len(BREEDS)).tolist())
    cells = [(split, k) for split, numbers in (("train", train), ("test", test)) for k, n in enumerate(numbers) for _ in range(n)]
    photos = [_Photo(i, split, k, k) for i, (split, k) in enumerate(cells)]
    plain = {split: [photos[i] for i in rng.permutation(count) if cells[i][0] == split] for split in ("train", "test")}
    for split in ("train", "test"):
        for photo in _take(plain[split], GRAY):
            photo.planted = "gray"
        for photo in _take(plain[split], MISLABELLED):
            photo.planted, photo.breed = "mislabelled", int((photo.label + rng.integers(1, len(BREEDS))) % len(BREEDS))
    for share, what in ((TRUNCATED, "truncated"), (NO_IMAGE, "no_image"), (MISNAMED, "misnamed")):
        for photo in _take(plain["train"], share):
            photo.planted = what
    for share, what in ((EXACT, "exact"), (NEAR, "near")):
        for i, photo in enumerate(_take(plain["train"], share)):
            photo.planted = what
            elsewhere = what == "exact" and i % 3 == 0
            originals = [p for p in plain["train"] if not p.planted and (p.label != photo.label) == elsewhere]
            original = originals[rng.integers(len(originals))]
            photo.of, photo.breed = original.number, original.breed
            plain["train"].remove(original)  # a set of duplicates is a pair
    return photos


def _take(plain: list[_Photo], share: float) -> list[_Photo]:
    """Take a share of the photos of a part, at least one, out of those that are as they should be."""
    count = max(1, round(share * len(plain)))
    drawn, plain[:] = plain[:count], plain[count:]
    return drawn


def _write(photo: _Photo, root: Path, px: int, seed: int) -> np.ndarray:
    """Draw one photo and write it; what is planted is a matter of the file, not of the dog, whose traits are returned."""
    rng = draws.generator("simulate", "dogs", seed, "photo", photo.number if photo.of is None else photo.of)
    traits = draw_traits(photo.breed, rng)
    image = draw_photo(traits, rng, px)
    quality = int(rng.integers(78, 96))
    path = root / photo.row_id
    if photo.planted == "gray":
        image = image.convert("L") if photo.number % 2 else image.convert("L").convert("RGB")
    if photo.planted == "near":
        fault_rng = draws.generator("simulate", "dogs", seed, "fault", photo.number)
        image, quality = _again(image, fault_rng), int(fault_rng.integers(60, 75))
    if photo.planted == "truncated":
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=quality)
        data = packed.getvalue()
        fault_rng = draws.generator("simulate", "dogs", seed, "fault", photo.number)
        files.write_bytes(path, data[: int(len(data) * fault_rng.uniform(0.3, 0.8))])
    elif photo.planted == "no_image":
        files.write_text(path, "<!DOCTYPE html><title>404</title><p>This photo is no longer available.\n")
    else:
        image.save(path, "PNG" if photo.planted == "misnamed" else "JPEG", quality=quality)  # in place.layout's folder, whole at its end
    return traits


def _again(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a photo as it comes back from the web: its border cut, shrunk, brightened."""
    width, height = image.size
    left, top, right, bottom = rng.uniform(0, 0.03, 4) * (width, height, width, height)
    image = image.crop((round(left), round(top), round(width - right), round(height - bottom)))
    scale = rng.uniform(0.7, 0.9)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    return ImageEnhance.Brightness(image).enhance(rng.uniform(0.92, 1.1))


def _excluded(photos: list[_Photo]) -> str:
    """Return the list of who looked at every training photo: gray, wrongly labelled and damaged ones, as ``data.exclude`` reads it."""
    lines = []
    for photo in sorted((p for p in photos if p.split == "train"), key=lambda p: p.row_id):
        wrong = photo.label != photo.breed
        if photo.planted in ("gray", *_DAMAGED) or wrong:
            lines.append(f"{photo.row_id}  # {f'shows a {BREEDS[photo.breed]}' if wrong else photo.planted}")
    return "\n".join(["# training photos that a person who looked at every one would leave out", *lines]) + "\n"


def _truth(photos: list[_Photo]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row_id": [p.row_id for p in photos],
            "split": [p.split for p in photos],
            "label": [BREEDS[p.label] for p in photos],
            "shows": [BREEDS[p.breed] for p in photos],
            "planted": pl.Series([p.planted or None for p in photos], dtype=pl.String),
            "copy_of": pl.Series([None if p.of is None else photos[p.of].row_id for p in photos], dtype=pl.String),
        }
    ).sort("row_id")


def _counts(photos: list[_Photo]) -> dict[str, int]:
    kinds = ("gray", "mislabelled", *_DAMAGED, "misnamed", *_COPIES)
    parts = {part: sum(p.split == part for p in photos) for part in ("train", "test")}
    return {**parts, **{kind: sum(p.planted == kind for p in photos) for kind in kinds}}
