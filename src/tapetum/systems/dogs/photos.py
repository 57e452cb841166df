"""A photo of a simulated dog, drawn from its traits: head, ears, muzzle and chest before a ground, under some light, by some camera.

Nothing but the traits depends on the breed, so a perfect classifier uses them alone.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from tapetum.data.simulate.textures import Bank, bank, ramp

ASPECTS = (1.0, 4 / 3, 3 / 4, 3 / 2, 2 / 3)  # width over height
SIZES = 0.18  # deviation of the logarithm of the side
WHITE = np.array([0.93, 0.91, 0.87], dtype=np.float32)[:, None, None]
BLACK = np.array([0.06, 0.05, 0.05], dtype=np.float32)[:, None, None]
WARP = 0.04  # how far coordinates wander, so that no two heads have one outline
SMOOTH, FRAYED = 1.05, 1.5  # how far an edge and its hairs stand out at most, over the radius
BLURRED, HIDDEN = 0.12, 0.2  # shares of photos out of focus, and with something before the dog


def draw_photo(traits: np.ndarray, rng: np.random.Generator, px: int) -> Image.Image:
    """Return one photo.

    Args:
        traits: (T,) as ``breeds.TRAITS``.
        rng: pose, ground, light and camera are drawn from it.
        px: the typical side; sides vary around it.
    """
    textures = bank(px)
    shape = _shape(rng, px)
    scene = _pose(shape, rng, textures)
    _draw_ground(scene.canvas, rng, textures)
    _draw_dog(scene, 1 / (1 + np.exp(-traits / 2)), rng, textures)
    if rng.random() < HIDDEN:
        _hide(scene.canvas, rng)
    return _develop(scene.canvas, rng, textures)


class _Oval(NamedTuple):
    """An ellipse beside the head's middle, in head radii.

    Args:
        at: right and down.
        radii: right and down, before it is turned.
        turn: radians.
        hairy: whether its edge is.
    """

    at: tuple[float, float]
    radii: tuple[float, float]
    turn: float = 0.0
    hairy: bool = False


@dataclasses.dataclass(frozen=True)
class _Scene:
    """A canvas and where the dog is on it.

    Args:
        canvas: (3, H, W) float32, painted over.
        x: right and left (H, W) in which the head has radius 1.
        y: down (H, W), likewise.
        wander: how far ``x`` and ``y`` are from straight, at most.
        corner: place of the head's middle in pixels: row, column.
        pixels: from (y, x) of the dog to rows and columns, a row each.
        sharp: pixels in the head's radius.
        fray: (H, W) that makes edges hairy.
        longest: of its hairs, over the radius squared.
    """

    canvas: np.ndarray
    x: np.ndarray
    y: np.ndarray
    wander: float
    corner: list[float]
    pixels: list[list[float]]
    sharp: float
    fray: np.ndarray | None = None
    longest: float = 0.0

    def paint(self, colour: np.ndarray, oval: _Oval, *, shade: float = 1.0, within: _Oval | None = None, cover: float = 1.0) -> None:
        """Paint an ellipse, at the cost of its own pixels.

        Args:
            colour: (3, 1, 1), or (3, H, W) of which its place is taken.
            oval: where.
            shade: of the colour, for one that is a place's.
            within: the part on which it lies.
            cover: how much of what is below it hides.
        """
        box = self._around(oval)
        hides = self._cover(oval, box)
        if within is not None:
            hides *= self._cover(within, box)
        if cover != 1:
            hides *= np.float32(cover)
        part = self.canvas[:, *box]
        if colour.shape[1:] == (1, 1):
            change = colour - part
        elif shade != 1:
            change = colour[:, *box] * np.float32(shade)
            change -= part
        else:
            change = colour[:, *box] - part
        change *= hides
        part += change

    def _edge(self, oval: _Oval) -> float:
        """Return one over the width of an ellipse's soft edge."""
        return max(self.sharp * min(oval.radii) / 2, 1.0)

    def _around(self, oval: _Oval) -> tuple[slice, slice]:
        """Return rows and columns outside of which an ellipse covers nothing."""
        (left, top), (right, down), turn, hairy = oval
        reach = math.sqrt(1 + 0.5 / self._edge(oval) + (self.longest if hairy else 0))
        most = (FRAYED if hairy else SMOOTH) * max(right, down) + 5 * WARP
        c, s = reach * math.cos(turn), reach * math.sin(turn)
        box = []
        for start, size, (by_y, by_x) in zip(self.corner, self.x.shape, self.pixels, strict=True):
            middle = start + by_y * top + by_x * left
            far = math.hypot((s * by_y + c * by_x) * right, (c * by_y - s * by_x) * down)
            far += (abs(by_x) + abs(by_y)) * self.wander
            far = min(far, most * math.hypot(by_x, by_y))
            box.append(slice(min(max(math.floor(middle - far), 0), size), max(math.ceil(middle + far) + 1, 0)))
        return box[0], box[1]

    def _cover(self, oval: _Oval, box: tuple[slice, slice]) -> np.ndarray:
        """Return how far each pixel of a box lies in an ellipse, 0…1."""
        (left, top), (right, down), turn, hairy = oval
        u, v = self.x[box] - np.float32(left), self.y[box] - np.float32(top)
        if turn:
            c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            u, v = c * u + s * v, c * v - s * u
        u *= np.float32(1 / right)
        v *= np.float32(1 / down)
        u *= u
        v *= v
        u += v
        if hairy and self.fray is not None:
            u += self.fray[box]
        u *= -np.float32(edge := self._edge(oval))
        u += np.float32(edge + 0.5)
        return u.clip(0, 1, out=u)


def _shape(rng: np.random.Generator, px: int) -> tuple[int, int]:
    side = px * np.clip(np.exp(rng.normal(0, SIZES)), 0.6, 1.4)
    aspect = ASPECTS[rng.integers(len(ASPECTS))]
    height, width = side / np.sqrt(aspect), side * np.sqrt(aspect)
    return int(min(round(height), 1.45 * px)), int(min(round(width), 1.45 * px))


def _pose(shape: tuple[int, int], rng: np.random.Generator, textures: Bank) -> _Scene:
    """Return an empty scene: the dog somewhere near the middle, turned, sheared and mirrored."""
    half = min(shape) / 2
    turn, size = rng.normal(0, 0.12), half * rng.uniform(0.48, 0.7)
    mirror, shear, look = rng.choice([-1, 1]), rng.normal(0, 0.08), rng.normal(0, 0.08)
    middle = np.array(shape) / 2 + half * np.array([-rng.uniform(-0.1, 0.3), rng.normal(0, 0.14)])
    c, s = np.cos(turn) / size, np.sin(turn) / size
    to_dog = np.array([[c, -s], [mirror * (s + shear / size) + look * c, mirror * c - look * s]])  # (y, x) of rows and columns
    rows = (np.arange(shape[0]) - middle[0]).astype(np.float32)[:, None]
    columns = (np.arange(shape[1]) - middle[1]).astype(np.float32)[None]
    y, x = (np.float32(to_rows) * rows + np.float32(to_columns) * columns for to_rows, to_columns in to_dog)
    warps = [np.float32(WARP) * textures.cut("large", shape, rng) for _ in range(2)]
    x += warps[0]
    y += warps[1]
    wander = max(float(np.abs(warp).max()) for warp in warps)
    pixels = np.linalg.inv(to_dog)
    sharp = float(np.sqrt(abs(np.linalg.det(pixels))))
    canvas = np.empty((3, *shape), np.float32)
    return _Scene(canvas, x, y, wander, middle.tolist(), pixels.tolist(), sharp)


def _draw_ground(canvas: np.ndarray, rng: np.random.Generator, textures: Bank) -> None:
    """Paint what is behind the dog: two colours in patches, grained, lighter above or below."""
    shape = canvas.shape[1:]
    first, second = (rng.uniform(0.15, 0.85, (2, 1, 1, 1)) + rng.normal(0, 0.09, (2, 3, 1, 1))).astype(np.float32)
    mix = textures.cut(("broad", "broad", "large")[rng.integers(3)], shape, rng) * np.float32(rng.uniform(0.3, 2)) + np.float32(0.5)
    np.multiply(second - first, np.clip(mix, 0, 1, out=mix), out=canvas)
    light: np.ndarray = np.float32(rng.normal(0, 0.25)) * ramp(shape[0])[:, None]
    light = light + np.float32(rng.uniform(0, 0.1)) * textures.cut(("fine", "grain")[rng.integers(2)], shape, rng)
    canvas += light
    canvas += first


def _draw_dog(scene: _Scene, traits: np.ndarray, rng: np.random.Generator, textures: Bank) -> None:
    """Paint the dog; ``traits`` lie in 0…1, in the order of ``breeds.TRAITS``."""
    hue, light, second, mask, blaze, up, length, muzzle, breadth, fur, spots, eyes = (float(v) for v in traits)
    shape = scene.x.shape
    coat, other = _coat(hue, light), _coat(0.7 * hue + 0.1, second)
    hair = textures.cut("grain" if fur < 0.5 else "fine", shape, rng)
    fray = np.float32(0.03 + 0.22 * fur) * hair
    scene = dataclasses.replace(scene, fray=fray, longest=max(0.0, -float(fray.min())))
    wide = 0.72 + 0.4 * breadth
    patches = (textures.cut("medium", shape, rng) - np.float32(2.2 - 2.4 * spots)) * np.float32(3)
    furs = (other - coat) * np.clip(patches, 0, 1, out=patches)
    furs += coat
    furs *= 1 + np.float32(0.06 + 0.16 * fur) * hair

    chest, head = _Oval((0, 2.0), (wide * (1.05 + 0.3 * fur), 1.35), hairy=True), _Oval((0, 0), (wide, 1), hairy=True)
    scene.paint(furs, chest, shade=0.88)
    if blaze > 0.4:
        scene.paint(WHITE, _Oval((0, 1.7), (0.9 * (blaze - 0.25), 0.9), hairy=True), within=chest)
    hang, reach = 1 - up, 0.35 + 0.75 * length
    for side in (-1, 1):
        tilt = side * (0.25 + 2.3 * hang)  # 0 stands, π hangs
        left = side * wide * (0.62 + 0.25 * hang) + np.sin(tilt) * reach * 0.75
        top = -0.62 + 0.3 * hang - np.cos(tilt) * reach * 0.75
        scene.paint(furs, _Oval((left, top), (0.19 + 0.2 * hang + 0.08 * breadth, reach), tilt, hairy=True), shade=0.72)
    scene.paint(furs, head)
    if blaze > 0.3:
        scene.paint(WHITE, _Oval((0, -0.35), (0.5 * (blaze - 0.2), 0.95), hairy=True), within=head)
    _draw_face(scene, furs, other, head, mask=mask, muzzle=muzzle, gap=wide * (0.3 + 0.14 * eyes), eye=0.06 + 0.09 * eyes)


def _draw_face(
    scene: _Scene, furs: np.ndarray, other: np.ndarray, head: _Oval, *, mask: float, muzzle: float, gap: float, eye: float
) -> None:
    """Paint mask, snout, nose, mouth and eyes."""
    top, size, dark = 0.38 + 0.22 * muzzle, 0.2 + 0.34 * muzzle, mask > 0.5
    around = 0.3 + 1.1 * abs(mask - 0.5)
    scene.paint(other * np.float32(0.45 if dark else 1.1), _Oval((0, top), (around, around), hairy=True), within=head)
    scene.paint(furs, _Oval((0, top), (0.16 + 0.6 * size, size), hairy=True), shade=0.55 if dark else 1.12, cover=0.85)
    scene.paint(BLACK, _Oval((0, top - 0.55 * size), (0.09 + 0.12 * size, 0.07 + 0.08 * size)))
    scene.paint(BLACK, _Oval((0, top + 0.4 * size), (0.1 + 0.35 * size, 0.04)))
    for side in (-1, 1):
        scene.paint(BLACK, _Oval((side * gap, -0.14), (eye * 1.15, eye)))
        scene.paint(WHITE, _Oval((side * gap - 0.03, -0.18), (eye / 3, eye / 3)))


def _coat(hue: float, light: float) -> np.ndarray:
    """Return a coat's colour (3, 1, 1): black or brown to gold or white, the more red the higher the hue."""
    value = 0.1 + 0.85 * light
    tint = (0.15 + 0.75 * hue) * 4 * light * (1.15 - light)
    return value * np.array([1, 1 - 0.38 * tint, 1 - 0.7 * tint], dtype=np.float32)[:, None, None]


def _hide(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Lay a bar (a fence, a lead, a hand) over a part of the image."""
    _, height, width = canvas.shape
    thick = int(min(height, width) * rng.uniform(0.05, 0.16))
    colour = rng.uniform(0.05, 0.95, (3, 1, 1)).astype(np.float32)
    if rng.random() < 0.5:
        start = rng.integers(height - thick)
        canvas[:, start : start + thick] = colour
    else:
        start = rng.integers(width - thick)
        canvas[:, :, start : start + thick] = colour


def _develop(canvas: np.ndarray, rng: np.random.Generator, textures: Bank) -> Image.Image:
    """Return the photo: light from one side, a camera's noise, exposure, contrast and cast."""
    _, height, width = canvas.shape
    slope: np.ndarray = ramp(width)[None] * np.float32(rng.normal(0, 0.15))
    slope = slope + ramp(height)[:, None] * np.float32(rng.normal(0, 0.15))
    canvas *= 1 + slope
    canvas += np.float32(rng.uniform(0.005, 0.04)) * textures.cut("grain", (height, width), rng)
    canvas *= 255
    pixels = np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)
    gamma, gain, contrast = np.exp(rng.normal(0, 0.15)), np.exp(rng.normal(0, 0.08)), np.exp(rng.normal(0, 0.12))
    cast = np.exp(rng.normal(0, 0.04, 3))
    levels = (np.arange(256) / 255) ** gamma
    curves = [np.clip(255 * (0.5 + contrast * (gain * c * levels - 0.5)), 0, 255).astype(np.uint8) for c in cast]
    photo = Image.merge("RGB", [Image.fromarray(plane) for plane in pixels]).point(np.concatenate(curves).tolist())
    if rng.random() < BLURRED:
        photo = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 1.6) * textures.px / 128))
    return photo
