"""Cells under a microscope: where their nuclei and borders lie, and the three channels that every image shows."""

from __future__ import annotations

import dataclasses

import numpy as np

from tapetum.data.simulate.textures import Bank, bank

TALL = (0.16, 0.26)  # nucleus radius over the image's side, lines of cells apart
CELL = (1.9, 3.0)  # cell radius over nucleus radius


@dataclasses.dataclass(frozen=True)
class Line:
    """What the cells of one line have in common; all images of an antibody come from one line."""

    nucleus: float
    cell: float
    long: float
    texture: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Line:
        """Return some line of cells."""
        return cls(rng.uniform(*TALL) / 2, rng.uniform(*CELL), rng.uniform(1, 1.5), rng.uniform(0.5, 1.5))


@dataclasses.dataclass(frozen=True)
class Field:
    """What one image shows, pixel by pixel (H, W) float32, each pixel belonging to the cell whose nucleus is nearest.

    Args:
        r: distance from the nucleus' middle; 1 at its border.
        edge: distance to the cell's border, over the nucleus radius; negative outside.
        between: distance to the border that two cells share, likewise; large where only one cell is near.
        u: along a direction of each cell's own, over the nucleus radius.
        v: across it.
        inside: 1 in nuclei, 0 elsewhere, soft.
        cytosol: 1 in cells around the nuclei, soft.
        cell: number of the cell.
        cells: how many there are.
        pixels: of a nucleus radius.
        textures: random fields.
        rng: further draws.
    """

    r: np.ndarray
    edge: np.ndarray
    between: np.ndarray
    u: np.ndarray
    v: np.ndarray
    inside: np.ndarray
    cytosol: np.ndarray
    cell: np.ndarray
    cells: int
    pixels: float
    textures: Bank
    rng: np.random.Generator

    def noise(self, wave: str) -> np.ndarray:
        """Return a random field (H, W) of mean 0 and variance 1; a view."""
        return self.textures.cut(wave, self.r.shape, self.rng)

    def of_cell(self, low: float, high: float) -> np.ndarray:
        """Return one random number a cell, laid over its pixels."""
        return self.rng.uniform(low, high, self.cells).astype(np.float32)[self.cell]


def draw_field(line: Line, rng: np.random.Generator, px: int) -> Field:
    """Return where the cells of an image of ``px`` × ``px`` lie."""
    textures = bank(px)
    radius = line.nucleus * px * rng.uniform(0.9, 1.1)
    spacing = radius * line.cell * 1.55
    steps = np.arange(-0.5, px / spacing + 0.5)
    places = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) * spacing + rng.uniform(-0.5, 0.5, 2) * spacing
    places += rng.normal(0, 0.16 * spacing, places.shape)
    reach = line.cell * radius
    places = places[((places > -reach) & (places < px + reach)).all(axis=1) & (rng.random(len(places)) < 0.85)]
    if not len(places):
        places = np.full((1, 2), px / 2)
    turns = rng.uniform(0, np.pi, len(places))
    grid = np.arange(px, dtype=np.float32)
    wander = textures.cut("large", (px, px), rng) * np.float32(0.12)
    r, second = (np.full((px, px), np.float32(1e3)) for _ in range(2))
    u, v = np.zeros((px, px), np.float32), np.zeros((px, px), np.float32)
    cell = np.zeros((px, px), np.intp)
    for i, ((left, top), turn) in enumerate(zip(places, turns, strict=True)):
        c, s = np.float32(np.cos(turn) / radius), np.float32(np.sin(turn) / radius)
        x, y = grid[None] - np.float32(left), grid[:, None] - np.float32(top)
        own_u, own_v = c * x + s * y, c * y - s * x
        d = np.sqrt((own_u * np.float32(line.long**-0.5)) ** 2 + (own_v * np.float32(line.long**0.5)) ** 2)
        nearer = d < r
        np.minimum(second, np.maximum(d, r), out=second)
        np.copyto(r, d, where=nearer)
        np.copyto(u, own_u, where=nearer)
        np.copyto(v, own_v, where=nearer)
        cell[nearer] = i
    between = (second - r) / 2
    r += wander * r * np.float32(0.5)
    edge = np.minimum(between, np.float32(line.cell) - r) + wander * 2
    k = np.float32(max(radius / 2, 1.5))
    inside = np.clip((1 - r) * k + np.float32(0.5), 0, 1)
    cytosol = np.clip(edge * k + np.float32(0.5), 0, 1) * (1 - inside)
    return Field(r, edge, between, u, v, inside, cytosol, cell, len(places), radius, textures, rng)


def draw_nuclei(field: Field, line: Line) -> np.ndarray:
    """Return the blue channel (H, W), 0…1: nuclei, mottled."""
    return field.inside * (field.of_cell(0.55, 0.95) + np.float32(0.1 * line.texture) * field.noise("medium"))


def draw_microtubules(field: Field) -> np.ndarray:
    """Return the red channel (H, W), 0…1: threads through the cytosol, denser near the nucleus."""
    threads = np.exp(-6 * np.abs(field.noise("fine"))) + np.exp(-6 * np.abs(field.noise("fine")))
    return field.cytosol * threads * np.exp(-0.45 * np.maximum(field.r - 1, 0)) * np.float32(0.75)


def draw_reticulum(field: Field) -> np.ndarray:
    """Return the yellow channel (H, W), 0…1: a haze around the nucleus, netted."""
    haze = np.exp(-0.9 * np.maximum(field.r - 1, 0)) * (np.float32(0.7) + np.float32(0.25) * field.noise("fine"))
    return field.cytosol * haze
