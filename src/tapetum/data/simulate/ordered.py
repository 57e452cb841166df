"""Recordings of small images whose class lies in their order: two classes look alike and differ only in what came before.

A recording goes round through K = 4 states, staying a while in each. States 0 and 2 show the same colour; the colours of all overlap.
So one image alone can never tell 0 from 2, and the best that anybody can do with a whole recording is known: forward–backward with the
true numbers.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from tapetum.core import draws, files

COLOUR = np.array([0.0, -1.0, 0.0, 1.0])  # of each state, in units of STEP
STEP, SPREAD = 0.16, 0.07  # of the colour, and of an image around it
STAY = 0.7  # chance to stay from one image to the next; else the next state of the round
NAMES = ("rise", "low", "fall", "high")


@dataclasses.dataclass(frozen=True)
class Ordered:
    """What lies where, and what could be known about it.

    Args:
        root: the folder; ``labels.csv`` in it has file, stage, night and place.
        states: (N,) of every image in the table's order.
        night: (N,) number of the recording.
        alone: (N, 4) the best probabilities from one image.
        together: (N, 4) the best probabilities from the whole recording.
    """

    root: Path
    states: np.ndarray
    night: np.ndarray
    alone: np.ndarray
    together: np.ndarray

    def best(self) -> dict[str, float]:
        """Return the accuracy of the best possible answers: ``alone`` and ``together``."""
        return {name: float((getattr(self, name).argmax(axis=1) == self.states).mean()) for name in ("alone", "together")}


def simulate(folder: Path | str, *, nights: int = 24, length: int = 40, size: int = 16, seed: int = 0) -> Ordered:
    """Write recordings as small images in ``images.zip`` and a table.

    Args:
        folder: new or empty.
        nights: how many recordings.
        length: images of each.
        size: pixels of a side.
        seed: of everything.
    """
    root = files.make_folder(folder)
    rng = draws.generator(seed, "ordered")
    rows, states, levels = [], [], []
    with files.whole(root / "images.zip") as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as archive:
        for night in range(nights):
            path = _chain(length, rng)
            level = STEP * COLOUR[path] + rng.normal(0, SPREAD, length)
            for place, z in enumerate(level):
                name = f"night-{night:02d}/{place:03d}.png"
                archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), _png(_image(float(z), size, rng)))
                rows.append((f"images.zip!/{name}", NAMES[path[place]], f"night-{night:02d}", place))
            states.append(path)
            levels.append(level)
    files.write_csv(root / "labels.csv", pl.DataFrame(rows, schema=["file", "stage", "night", "place"], orient="row"))
    likely = [np.exp(-0.5 * ((z[:, None] - STEP * COLOUR) / SPREAD) ** 2) for z in levels]
    together = np.concatenate([_smoothed(part) for part in likely])
    alone = np.concatenate([part / part.sum(axis=1, keepdims=True) for part in likely])
    return Ordered(root, np.concatenate(states), np.repeat(np.arange(nights), length), alone, together)


def _chain(length: int, rng: np.random.Generator) -> np.ndarray:
    start, moves = int(rng.integers(4)), rng.random(length) >= STAY
    moves[0] = False
    return (start + np.cumsum(moves)) % 4


def _image(z: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return an image (size, size, 3) whose red and green part by ``z``, under noise that the mean over pixels removes."""
    clean = 0.5 + np.array([z, -z, 0.0])
    noisy = clean + rng.normal(0, 0.05, (size, size, 3))
    return (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8)


def _png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "png")
    return out.getvalue()


def _smoothed(likely: np.ndarray) -> np.ndarray:
    """Return P(state of each image | all images) (T, 4) by forward–backward with the true chain."""
    move = STAY * np.eye(4) + (1 - STAY) * np.roll(np.eye(4), 1, axis=1)
    forward, backward = likely.copy(), np.ones_like(likely)
    forward[0] /= forward[0].sum()
    for t in range(1, len(likely)):
        forward[t] *= forward[t - 1] @ move
        forward[t] /= forward[t].sum()
    for t in range(len(likely) - 2, -1, -1):
        backward[t] = move @ (likely[t + 1] * backward[t + 1])
        backward[t] /= backward[t].sum()
    both = forward * backward
    return both / both.sum(axis=1, keepdims=True)
