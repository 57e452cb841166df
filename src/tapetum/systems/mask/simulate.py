"""Simulated people with and without masks: seven photos each, in 18 classes, some of them wrong, each of those listed.

::

    OUT/data/train/train.csv   OUT/data/train/images/000012_female_Asian_45/{mask1…mask5,incorrect_mask,normal}.{jpg,jpeg,png}
    OUT/data/eval/info.csv     OUT/data/eval/images/cbc5c6e168e63498590db46022617123f1fe1268.jpg …
    OUT/truth.csv   OUT/simulation.json
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tapetum.core import draws, files, progress
from tapetum.core.progress import Log
from tapetum.core.words import plural
from tapetum.data.simulate import place
from tapetum.systems.mask.faces import Looks, draw_photo
from tapetum.systems.mask.layout import AGES, COLUMNS, GENDERS, MASKS
from tapetum.systems.mask.layout import STATES as FILES
from tapetum.systems.mask.masks import Kind
from tapetum.systems.mask.people import PARTS, Person, age_class, best_score, plan_people

PHOTOS = len(FILES)
SIZES = {"small": 300 * PHOTOS, "full": sum(PARTS.values()) * PHOTOS}
FORMATS = {".jpg": 0.8, ".jpeg": 0.1, ".png": 0.1}  # shares of training photos; evaluation photos are .jpg
SHADOWED = 0.05  # share of training people whose folder holds hidden files of a Mac, as the real set's do
SHADOW = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \x00\x02\x00\x00\x00\x09\x00\x00\x00\x32\x00\x00\x00\xb0"


@dataclasses.dataclass(frozen=True)
class _Photo:
    """One photo: where it lies, and what is seen of the mask (``worn``, ``nose``, ``chin``, ``none``) against what its file says."""

    person: Person
    row_id: str
    path: str
    shows: str
    mask: int

    @property
    def true_mask(self) -> int:
        return {"worn": 0, "nose": 1, "chin": 1, "none": 2}[self.shows]

    @property
    def ans(self) -> int:
        return self.mask * 6 + self.person.said_gender * 3 + int(age_class(self.person.said_years))

    @property
    def truth(self) -> int:
        return self.true_mask * 6 + self.person.gender * 3 + int(age_class(self.person.years))


def simulate_mask(
    out: Path | str,
    *,
    size: str | int = "small",
    px: int = 384,
    seed: int = 0,
    log: Log = lambda _: None,
) -> dict[str, Any]:
    """Write simulated people in the layout of the mask set, seven photos each; the evaluation part has other people.

    Args:
        out: a new folder, or one that was simulated before.
        size: ``small`` (300 people), ``full`` (4,500 people as the real set) or the number of photos, seven a person.
        px: width of a photo; its height is four thirds of that.
        seed: the same seed gives the same bytes.
        log: told of progress.

    Returns:
        ``paths`` (``source`` is what to read, ``truth``), ``counts`` (photos by part, people, people with wrong labels by what is wrong),
        ``classes`` (training photos of each of the 18), ``ceiling`` (the macro-F1 on the evaluation part to be expected of who knows the
        generator and sees each sign of age and gender that a photo shows, each photo alone).

    Raises:
        UserError: a size too small, or a place that holds something else.
    """
    out = Path(out)
    place.check_side(px)
    people = plan_people(place.how_many(size, SIZES, 30 * PHOTOS) // PHOTOS, seed)
    photos = [photo for person in people for photo in _plan(person, seed)]
    with place.layout(out) as aside:
        files.make_folder(aside / "eval" / "images")
        drawn = progress.share(log, "drawing images")
        for i, photo in enumerate(photos):
            _write(photo, aside, px, seed, list(FILES)[i % PHOTOS])
            drawn(i + 1, len(photos))
        _write_tables(people, photos, aside, seed)
    summary = {
        "name": "mask",
        "seed": seed,
        "px": px,
        "counts": _counts(people),
        "classes": np.bincount([p.ans for p in photos if p.person.part == "train"], minlength=18).tolist(),
        "metric": "macro_f1",
        "ceiling": _ceiling([p for p in photos if p.person.part == "eval"], seed),
    }
    done = place.finish(out, _truth(photos), summary, source=out / place.LAYOUT)
    text = f"{plural(len(people), 'person', 'people')}, {plural(len(photos), 'photo')} in {out / place.LAYOUT}"
    log(f"{text}; the best {summary['metric']} possible on the evaluation part is {summary['ceiling']:.3f}")
    return done


def folder_of(person: Person) -> str:
    """Return the name of a training person's folder."""
    return f"{person.number:06d}_{GENDERS[person.said_gender]}_Asian_{person.said_years}"


def _plan(person: Person, seed: int) -> list[_Photo]:
    """Return the photos of a person; evaluation photos have names that say nothing."""
    rng = draws.generator("simulate", "mask", seed, "photos", person.number)
    photos = []
    for i, (stem, mask) in enumerate(FILES.items()):
        shows = {"worn": "worn", "none": "none", "incorrect": ("nose", "chin")[rng.integers(2)]}[mask]
        if person.part == "eval":
            name = hashlib.sha1(f"mask {seed} {person.number} {i}".encode(), usedforsecurity=False).hexdigest() + ".jpg"
            path = f"eval/images/{name}"
        else:
            name = path = f"train/images/{folder_of(person)}/{stem}{rng.choice(list(FORMATS), p=list(FORMATS.values()))}"
        photos.append(_Photo(person, name, path, shows, MASKS.index(mask)))
    if person.planted == "swapped":
        wrong, without = photos[-2], photos[-1]
        photos[-2:] = [dataclasses.replace(wrong, shows=without.shows), dataclasses.replace(without, shows=wrong.shows)]
    return photos


def _write(photo: _Photo, root: Path, px: int, seed: int, stem: str) -> None:
    person, path = photo.person, root / photo.path
    files.make_folder(path.parent)
    looks = Looks.draw(draws.generator("simulate", "mask", seed, "looks", person.number))
    rng = draws.generator("simulate", "mask", seed, "photo", person.number, stem)
    kind = None if photo.shows == "none" else Kind.draw(rng)
    image = draw_photo(person, looks, photo.shows, kind, rng, px)
    if path.suffix == ".png":
        image.save(path, "PNG", compress_level=1)  # in place.layout's folder, whole at its end
    else:
        image.save(path, "JPEG", quality=int(rng.integers(82, 96)))


def _write_tables(people: list[Person], photos: list[_Photo], root: Path, seed: int) -> None:
    train = [p for p in people if p.part == "train"]
    rows = [(f"{p.number:06d}", GENDERS[p.said_gender], "Asian", p.said_years, folder_of(p)) for p in train]
    files.write_csv(root / "train" / "train.csv", pl.DataFrame(rows, schema=COLUMNS, orient="row"))
    names = sorted(photo.row_id for photo in photos if photo.person.part == "eval")
    files.write_csv(root / "eval" / "info.csv", pl.DataFrame({"ImageID": names, "ans": [0] * len(names)}))
    rng = draws.generator("simulate", "mask", seed, "shadows")
    chosen = {train[i].number for i in rng.choice(len(train), max(1, round(SHADOWED * len(train))), replace=False)}
    for photo in photos:
        if photo.person.number in chosen:
            path = root / photo.path
            files.write_bytes(path.with_name(f"._{path.name}"), SHADOW)
    files.write_bytes(root / "train" / "images" / f"._{folder_of(train[0])}", SHADOW)


def _ceiling(photos: list[_Photo], seed: int) -> float:
    gender = np.array([p.person.gender for p in photos])
    years = np.array([p.person.years for p in photos])
    mask = np.array([p.true_mask for p in photos])
    lower = np.array([p.shows in ("chin", "none") for p in photos])
    return best_score(np.array([p.ans for p in photos]), gender, years, mask, lower, seed)


def _truth(photos: list[_Photo]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row_id": [p.row_id for p in photos],
            "split": ["train" if p.person.part == "train" else "test" for p in photos],
            "ans": [p.ans for p in photos],
            "shows": [p.truth for p in photos],
            "person": [f"{p.person.number:06d}" for p in photos],
            "mask": [MASKS[p.mask] for p in photos],
            "gender": [GENDERS[p.person.said_gender] for p in photos],
            "age": [AGES[int(age_class(p.person.said_years))] for p in photos],
            "years": [p.person.said_years for p in photos],
            "planted": pl.Series([_planted(p) for p in photos], dtype=pl.String),
        }
    ).sort("row_id")


def _planted(photo: _Photo) -> str | None:
    """Return what is wrong with a photo's label, or None."""
    wrong = photo.person.planted
    return (wrong or None) if wrong != "swapped" or photo.mask != photo.true_mask else None


def _counts(people: list[Person]) -> dict[str, int]:
    parts = {name: PHOTOS * sum(p.part == part for p in people) for name, part in (("train", "train"), ("test", "eval"))}
    wrong = {f"wrong {what}": sum(p.planted == what for p in people) for what in ("gender", "age")}
    return {**parts, "people": len(people), **wrong, "swapped": sum(p.planted == "swapped" for p in people)}
