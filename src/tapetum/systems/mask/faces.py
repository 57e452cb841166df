"""Photos of a simulated person: a drawn face before a background, with or without a mask, under some light, by some camera.

Face shape, skin, hair, clothes and background are the person's own in every photo; age and gender show by the person's signs alone.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tapetum.data.simulate.textures import bank, ramp
from tapetum.systems.mask.masks import Kind, mask_shape
from tapetum.systems.mask.people import Person

Colour = tuple[float, float, float]
Point = tuple[float, float]

SKINS: tuple[Colour, ...] = ((236, 200, 170), (224, 184, 150), (206, 164, 130), (190, 146, 112))
HAIRS: tuple[Colour, ...] = ((28, 24, 24), (44, 32, 26), (70, 46, 32), (104, 70, 44))
GRAY: Colour = (206, 206, 208)
DARK: Colour = (60, 36, 30)
LIPS: Colour = (196, 70, 84)
BLURRED = 0.1  # share of photos out of focus


@dataclasses.dataclass(frozen=True)
class Looks:
    """What is a person's own and says nothing of age or gender.

    Args:
        skin, hair, clothes, wall: colours.
        width: of the face over its usual width.
        length: of the face likewise.
        eyes: size of the eyes likewise.
        gap: distance of the eyes likewise.
        nose: length of the nose likewise.
        parting: where the hair parts, −1 to 1.
        glasses: whether there are any.
        pattern: of the background, a texture's name.
        contrast: of that texture.
    """

    skin: Colour
    hair: Colour
    clothes: Colour
    wall: Colour
    width: float
    length: float
    eyes: float
    gap: float
    nose: float
    parting: float
    glasses: bool
    pattern: str
    contrast: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Looks:
        """Return the looks of a new person."""
        skin, hair = _between(SKINS, rng), _between(HAIRS, rng)
        clothes, wall = _any_colour(20, rng), _any_colour(90, rng)
        width, length, eyes, gap, nose = np.exp(rng.normal(0, (0.06, 0.05, 0.1, 0.06, 0.1))).tolist()
        pattern = ("broad", "large", "medium")[rng.integers(3)]
        parting, glasses, contrast = rng.uniform(-0.7, 0.7), bool(rng.random() < 0.3), rng.uniform(2, 22)
        return cls(skin, hair, clothes, wall, width, length, eyes, gap, nose, parting, glasses, pattern, contrast)


class Sketch:
    """A canvas on which shapes are painted in the face's own coordinates: half its width is 1, the middle of the face is 0, down is +.

    Args:
        image: painted over.
        at: the face's middle in pixels.
        unit: pixels of half a face.
        tilt: radians.
        stretch: how much longer than usual the face is.
        turn: how far what lies before the face moves aside as the head turns.
    """

    def __init__(self, image: Image.Image, at: Point, unit: float, tilt: float, stretch: float, turn: float) -> None:
        self.pen = ImageDraw.Draw(image)
        self.unit, self.turn = unit, turn
        c, s = unit * math.cos(tilt), unit * math.sin(tilt)
        self.matrix = np.array([[c, s], [-s * stretch, c * stretch]])
        self.at = np.array(at)

    def pixels(self, points: Sequence[Point] | np.ndarray, depth: float = 0.0) -> list[float]:
        """Return points of the face as a flat list of pixel coordinates; ``depth`` is how far they lie before the face."""
        moved = np.asarray(points, dtype=float) + np.array([self.turn * depth, 0.0])
        flat: list[float] = (moved @ self.matrix + self.at).ravel().tolist()
        return flat

    def shape(self, colour: Colour, points: Sequence[Point] | np.ndarray, depth: float = 0.0) -> None:
        """Fill a polygon."""
        self.pen.polygon(self.pixels(points, depth), fill=_whole(colour))

    def oval(self, colour: Colour, at: Point, radii: Point, depth: float = 0.0, power: float = 2.0) -> None:
        """Fill an ellipse, or with a greater power a rounder rectangle."""
        self.shape(colour, np.asarray(at) + _outline(power) * radii, depth)

    def line(self, colour: Colour, points: Sequence[Point], width: float, depth: float = 0.0) -> None:
        """Draw a line of a width in face units, at least a pixel."""
        self.pen.line(self.pixels(points, depth), fill=_whole(colour), width=max(1, round(width * self.unit)), joint="curve")


def draw_photo(person: Person, looks: Looks, state: str, kind: Kind | None, rng: np.random.Generator, px: int) -> Image.Image:
    """Return one photo of a person.

    Args:
        person: whose signs are shown.
        looks: the person's own.
        state: ``worn``, ``nose`` or ``chin`` (incorrectly worn below either), or ``none``.
        kind: of the mask; None without one.
        rng: pose, light and camera are drawn from it.
        px: width; the height is four thirds of it.
    """
    height = round(px * 4 / 3)
    image = Image.new("RGB", (px, height), _whole(looks.wall))
    at = (px * (0.5 + rng.normal(0, 0.02)), height * (0.5 + rng.normal(0, 0.015)))
    unit = px * 0.215 * math.exp(rng.normal(0, 0.04)) * looks.width
    sketch = Sketch(image, at, unit, rng.normal(0, 0.04), looks.length / looks.width, float(np.clip(rng.normal(0, 0.05), -0.12, 0.12)))
    age, gender = person.age_signs, person.gender_signs
    hair = blend(looks.hair, GRAY, _rise(age[0], 34, 68))
    _draw_back(sketch, looks, hair, gender[0])
    _draw_skin(sketch, looks, age, gender)
    _draw_front(sketch, looks, hair, age[0])
    _draw_eyes(sketch, looks, blend(looks.hair, GRAY, 0.6 * _rise(age[0], 34, 68)), age[1], gender[1])
    if kind is not None:
        mask_shape(sketch, kind, state)
    return _develop(image, looks, rng, px)


def blend(one: Sequence[float], other: Sequence[float], share: float) -> Colour:
    """Return a colour between two; ``share`` is that of the other one."""
    a, b, c = (x + (y - x) * share for x, y in zip(one, other, strict=True))
    return a, b, c


def _draw_back(sketch: Sketch, looks: Looks, hair: Colour, long: float) -> None:
    """Draw what lies behind the face: hair down to where it goes with the sign of gender, neck, shoulders."""
    reach = 0.25 + 0.75 * (long + 1.5)  # of the hair below the eyes
    sketch.oval(hair, (0, -0.35), (1.16, 1.22))
    if reach > 0.3:
        side = 1.1 + 0.12 * min(reach, 1.5)
        sketch.shape(
            hair, [(-1.1, -0.4), (1.1, -0.4), (side, reach), (side - 0.35, reach + 0.1), (0.35 - side, reach + 0.1), (-side, reach)]
        )
    sketch.shape(blend(looks.skin, DARK, 0.18), [(-0.5, 0.7), (0.5, 0.7), (0.55, 2.0), (-0.55, 2.0)])
    sketch.shape(looks.clothes, [(-0.6, 1.65), (0, 1.95), (0.6, 1.65), (1.9, 2.15), (2.3, 4.0), (-2.3, 4.0), (-1.9, 2.15)])


def _draw_skin(sketch: Sketch, looks: Looks, age: np.ndarray, gender: np.ndarray) -> None:
    """Draw ears, face, nose and mouth; the jaw, lips and stubble are the third sign of gender, folds and cheeks the third of age."""
    skin, shade = looks.skin, blend(looks.skin, DARK, 0.3)
    for side in (-1, 1):
        sketch.oval(blend(skin, DARK, 0.12), (side * 1.0, 0.05), (0.14, 0.26), -0.5)
    jaw = 2.35 - 0.25 * float(np.clip(gender[2], -2.5, 2.5))  # a man's is squarer
    sketch.oval(skin, (0, 0), (1.0, 1.3), power=2.0)
    sketch.oval(skin, (0, 0.35), (0.86, 0.93), power=jaw)
    stubble = _rise(-gender[2], 0.0, 3.0)
    if stubble > 0:
        sketch.oval(blend(skin, looks.hair, 0.4 * stubble), (0, 0.92), (0.68, 0.36), 0.3)
        sketch.oval(blend(skin, looks.hair, 0.3 * stubble), (0, 0.58), (0.36, 0.08), 0.6)
    old = _rise(age[2], 15, 72)
    for side in (-1, 1):
        sketch.line(blend(skin, DARK, 0.75 * old), [(side * 0.26, 0.34), (side * 0.44, 0.56), (side * 0.46, 0.76 + 0.2 * old)], 0.045, 0.5)
        sketch.line(blend(skin, DARK, 0.6 * old), [(side * 0.62, 0.8), (side * 0.5, 1.0), (side * 0.3, 1.1)], 0.04, 0.3)
    length = 0.34 * looks.nose
    sketch.line(shade, [(0.1, -0.1), (0.15, length - 0.08), (0.02, length)], 0.04, 1.0)
    sketch.oval(shade, (0, length), (0.17, 0.06), 1.0)
    full = float(np.clip(0.075 + 0.02 * gender[2], 0.03, 0.13))
    sketch.oval(blend(blend(skin, DARK, 0.3), LIPS, _rise(gender[2], -2.5, 2.0)), (0, 0.74), (0.34, full), 0.7)
    sketch.line(blend(skin, DARK, 0.7), [(-0.32, 0.74), (0, 0.755), (0.32, 0.74)], 0.025, 0.7)


def _draw_front(sketch: Sketch, looks: Looks, hair: Colour, age: float) -> None:
    """Draw the hair over the forehead; the hairline goes up with the first sign of age."""
    line = -0.58 - 0.34 * _rise(age, 15, 72)
    part = looks.parting
    top = [(1.12 * math.cos(a), -0.42 - 1.06 * math.sin(a)) for a in np.linspace(math.pi, 0, 13)]
    sketch.shape(hair, [*top, (0.98, -0.3), (0.86, line + 0.12), (part, line - 0.1), (-0.86, line + 0.12), (-0.98, -0.3)])


def _draw_eyes(sketch: Sketch, looks: Looks, hair: Colour, age: float, gender: float) -> None:
    """Draw eyes and brows: lashes and thin brows are the second sign of gender, lines and bags the second of age."""
    old, lashes = _rise(age, 15, 72), _rise(gender, -1.5, 2.5)
    skin, size = looks.skin, looks.eyes * (1.1 - 0.3 * old)
    for k in range(3):
        y = -0.72 + 0.11 * k
        sketch.line(blend(skin, DARK, 0.5 * old), [(-0.5, y + 0.03), (0, y), (0.5, y + 0.03)], 0.03, 0.5)
    for side in (-1, 1):
        x = side * 0.42 * looks.gap
        sketch.oval(blend(skin, DARK, 0.45 * old), (x, 0.05), (0.24, 0.12), 0.5)
        sketch.oval(skin, (x, 0.005), (0.25, 0.12), 0.5)
        for k in range(3):
            sketch.line(blend(skin, DARK, 0.6 * old), [(x + side * 0.27, -0.06), (x + side * 0.44, -0.16 + 0.09 * k)], 0.022, 0.2)
        sketch.oval((238, 236, 232), (x, -0.06), (0.2, 0.085 * size), 0.5)
        sketch.oval((38, 26, 22), (x, -0.06), (0.085, 0.085 * size), 0.6)
        lid = [(x - 0.21, -0.06), (x, -0.06 - 0.1 * size), (x + 0.21, -0.06)]
        sketch.line(blend(skin, (16, 12, 12), 0.35 + 0.65 * lashes), lid, 0.025 + 0.045 * lashes, 0.5)
        brow = 0.09 * _rise(-gender, -2.5, 2.5) + 0.035
        sketch.line(hair, [(x - side * 0.2, -0.27), (x + side * 0.05, -0.34), (x + side * 0.27, -0.26)], brow, 0.4)
        if looks.glasses:
            sketch.line((40, 40, 46), (np.array([x, -0.05]) + _outline(2.6)[::4] * (0.34, 0.24)).tolist(), 0.03, 0.8)
    if looks.glasses:
        sketch.line((40, 40, 46), [(-0.1, -0.06), (0.1, -0.06)], 0.03, 0.9)


def _develop(image: Image.Image, looks: Looks, rng: np.random.Generator, px: int) -> Image.Image:
    """Return the photo: soft edges, a textured background and skin, light from one side, exposure, cast, noise."""
    textures, (width, height) = bank(px), image.size
    shifted = image.copy()
    shifted.paste(image, (1, 1))
    image = Image.blend(image, shifted, 0.5)  # soft edges at a tenth of what a filter takes
    if rng.random() < BLURRED:
        image = image.filter(ImageFilter.BoxBlur(px / 384 * rng.uniform(1.5, 3.0)))
    light = 1 + np.float32(rng.normal(0, 0.14)) * ramp(width)[None] + np.float32(rng.normal(0, 0.1)) * ramp(height)[:, None]
    gain = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.04, 3)).astype(np.float32)
    shade = np.float32(looks.contrast) * textures.cut(looks.pattern, (height, width), rng)
    shade *= _outside(px)
    shade += np.float32(rng.uniform(1.5, 7)) * textures.cut("grain", (height, width), rng)
    planes = []
    for plane, factor in zip(image.split(), gain, strict=True):
        seen = np.asarray(plane) * (light * factor)
        seen += shade
        planes.append(Image.fromarray(np.clip(seen, 0, 255, out=seen).astype(np.uint8)))
    return Image.merge("RGB", planes)


def _between(colours: Sequence[Colour], rng: np.random.Generator) -> Colour:
    one, other = rng.integers(len(colours), size=2)
    return blend(colours[one], colours[other], rng.random())


def _any_colour(dark: float, rng: np.random.Generator) -> Colour:
    a, b, c = rng.uniform(dark, 240, 3).tolist()
    return a, b, c


def _rise(value: float, low: float, high: float) -> float:
    """Return 0 at ``low`` and 1 at ``high``, straight between them."""
    return float(np.clip((value - low) / (high - low), 0, 1))


def _whole(colour: Sequence[float]) -> tuple[int, int, int]:
    a, b, c = (int(min(max(x, 0), 255)) for x in colour)
    return a, b, c


@functools.lru_cache(maxsize=256)
def _outline(power: float) -> np.ndarray:
    """Return the outline (48, 2) of a superellipse with radii 1, not to be written to."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    round_ = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.sign(round_) * np.abs(round_) ** (2 / power)


@functools.lru_cache(maxsize=2)
def _outside(px: int) -> np.ndarray:
    """Return how much of the background's texture shows at each pixel (H, W): little where faces are."""
    x, y = ramp(px)[None] / 0.62, (ramp(round(px * 4 / 3))[:, None] - 0.05) / 0.66
    return np.clip(np.hypot(x, y) - 0.75, 0.04, 1).astype(np.float32)
