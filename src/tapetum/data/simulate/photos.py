"""A photo of a simulated dog, drawn from its traits: head, ears, muzzle and chest before a ground, under some light, by some camera.

Nothing but the traits depends on the breed, so a perfect classifier knows no more than they say.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image, ImageFilter

from tapetum.data.simulate.textures import Bank, bank

ASPECTS = (1.0, 4 / 3, 3 / 4, 3 / 2, 2 / 3)  # width over height
SIZES = 0.18  # deviation of the logarithm of the side
WHITE = np.array([0.93, 0.91, 0.87], dtype=np.float32)[:, None, None]
BLACK = np.array([0.06, 0.05, 0.05], dtype=np.float32)[:, None, None]
WARP = 0.04  # how far coordinates wander, so that no two heads have one outline
FRAYED = 1.5  # how far hairs stand out, over the radius
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


@dataclasses.dataclass(frozen=True)
class _Scene:
    """A canvas and where the dog stands on it.

    Args:
        canvas: (3, H, W) float32, painted over.
        x: right and left (H, W) in which the head has radius 1.
        y: down (H, W), likewise.
        corner: place of the head's middle in pixels: (row, column).
        pixels: (2, 2), from (y, x) of the dog to rows and columns.
        spread: rows and columns that a circle of radius 1 reaches from its middle.
        sharp: pixels in the head's radius.
    """

    canvas: np.ndarray
    x: np.ndarray
    y: np.ndarray
    corner: np.ndarray
    pixels: np.ndarray
    spread: np.ndarray
    sharp: float

    def around(self, left: float, top: float, radius: float) -> tuple[slice, slice]:
        """Return rows and columns that hold a circle, with room for the warp of the coordinates."""
        middle = self.corner + self.pixels @ (top, left)
        reach = (radius + 5 * WARP) * self.spread
        low, high = np.floor(middle - reach).astype(int), np.ceil(middle + reach).astype(int) + 1
        return slice(max(low[0], 0), max(high[0], 0)), slice(max(low[1], 0), max(high[1], 0))

    def oval(
        self,
        colour: np.ndarray,
        at: tuple[float, float],
        radii: tuple[float, float],
        *,
        turn: float = 0.0,
        fray: np.ndarray | None = None,
        within: np.ndarray | None = None,
        cover: float = 1.0,
    ) -> None:
        """Paint an ellipse, at the cost of its own pixels.

        Args:
            colour: (3, 1, 1), or (3, H, W) of which its place is taken.
            at: right and down of the head's middle.
            radii: right and down, before it is turned.
            turn: radians.
            fray: (H, W) that makes its edge hairy.
            within: (H, W) cover of the part on which it lies.
            cover: how much of what is below it hides.
        """
        box = self.around(*at, max(radii) * (1.05 if fray is None else FRAYED))
        hides = _oval(self.x[box], self.y[box], at, radii, self.sharp, turn, 0.0 if fray is None else fray[box])
        if within is not None:
            hides *= within[box]
        if cover != 1:
            hides *= np.float32(cover)
        part = self.canvas[:, *box]
        change = (colour if colour.shape[1:] == (1, 1) else colour[:, *box]) - part
        change *= hides
        part += change

    def whole(self, at: tuple[float, float], radii: tuple[float, float], fray: np.ndarray) -> np.ndarray:
        """Return how far each pixel (H, W) lies in a hairy ellipse, 0…1, for what lies within."""
        return _oval(self.x, self.y, at, radii, self.sharp, 0.0, fray)


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
    x += np.float32(WARP) * textures.cut("large", shape, rng)
    y += np.float32(WARP) * textures.cut("large", shape, rng)
    pixels = np.linalg.inv(to_dog)
    sharp = float(np.sqrt(abs(np.linalg.det(pixels))))
    return _Scene(np.empty((3, *shape), np.float32), x, y, middle, pixels, np.linalg.norm(pixels, axis=1), sharp)


def _draw_ground(canvas: np.ndarray, rng: np.random.Generator, textures: Bank) -> None:
    """Paint what is behind the dog: two colours in patches, grained, lighter above or below."""
    shape = canvas.shape[1:]
    first, second = (rng.uniform(0.15, 0.85, (2, 1, 1, 1)) + rng.normal(0, 0.09, (2, 3, 1, 1))).astype(np.float32)
    mix = textures.cut(("broad", "broad", "large")[rng.integers(3)], shape, rng) * np.float32(rng.uniform(0.3, 2)) + np.float32(0.5)
    np.multiply(second - first, np.clip(mix, 0, 1, out=mix), out=canvas)
    light = np.float32(rng.normal(0, 0.25)) * np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
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
    wide = 0.72 + 0.4 * breadth
    patches = (textures.cut("medium", shape, rng) - np.float32(2.2 - 2.4 * spots)) * np.float32(3)
    furs = (other - coat) * np.clip(patches, 0, 1, out=patches)
    furs += coat
    furs *= 1 + np.float32(0.06 + 0.16 * fur) * hair

    broad = wide * (1.05 + 0.3 * fur)
    scene.oval(furs * np.float32(0.88), (0, 2.0), (broad, 1.35), fray=fray)
    if blaze > 0.4:
        scene.oval(WHITE, (0, 1.7), (0.9 * (blaze - 0.25), 0.9), fray=fray, within=scene.whole((0, 2.0), (broad, 1.35), fray))
    hang, reach = 1 - up, 0.35 + 0.75 * length
    behind = furs * np.float32(0.72)
    for side in (-1, 1):
        tilt = side * (0.25 + 2.3 * hang)  # 0 stands, π hangs
        left = side * wide * (0.62 + 0.25 * hang) + np.sin(tilt) * reach * 0.75
        top = -0.62 + 0.3 * hang - np.cos(tilt) * reach * 0.75
        scene.oval(behind, (left, top), (0.19 + 0.2 * hang + 0.08 * breadth, reach), turn=tilt, fray=fray)
    scene.oval(furs, (0, 0), (wide, 1), fray=fray)
    head = scene.whole((0, 0), (wide, 1), fray)
    if blaze > 0.3:
        scene.oval(WHITE, (0, -0.35), (0.5 * (blaze - 0.2), 0.95), fray=fray, within=head)
    _draw_face(scene, furs, other, head, fray, mask=mask, muzzle=muzzle, gap=wide * (0.3 + 0.14 * eyes), eye=0.06 + 0.09 * eyes)


def _draw_face(
    scene: _Scene,
    furs: np.ndarray,
    other: np.ndarray,
    head: np.ndarray,
    fray: np.ndarray,
    *,
    mask: float,
    muzzle: float,
    gap: float,
    eye: float,
) -> None:
    """Paint mask, snout, nose, mouth and eyes."""
    top, size, dark = 0.38 + 0.22 * muzzle, 0.2 + 0.34 * muzzle, mask > 0.5
    around = 0.3 + 1.1 * abs(mask - 0.5)
    scene.oval(other * np.float32(0.45 if dark else 1.1), (0, top), (around, around), fray=fray, within=head)
    scene.oval(furs * np.float32(0.55 if dark else 1.12), (0, top), (0.16 + 0.6 * size, size), fray=fray, cover=0.85)
    scene.oval(BLACK, (0, top - 0.55 * size), (0.09 + 0.12 * size, 0.07 + 0.08 * size))
    scene.oval(BLACK, (0, top + 0.4 * size), (0.1 + 0.35 * size, 0.04))
    for side in (-1, 1):
        scene.oval(BLACK, (side * gap, -0.14), (eye * 1.15, eye))
        scene.oval(WHITE, (side * gap - 0.03, -0.18), (eye / 3, eye / 3))


def _coat(hue: float, light: float) -> np.ndarray:
    """Return a coat's colour (3, 1, 1): black or brown to gold or white, the more red the higher the hue."""
    value = 0.1 + 0.85 * light
    tint = (0.15 + 0.75 * hue) * 4 * light * (1.15 - light)
    return value * np.array([1, 1 - 0.38 * tint, 1 - 0.7 * tint], dtype=np.float32)[:, None, None]


def _oval(
    x: np.ndarray,
    y: np.ndarray,
    at: tuple[float, float],
    radii: tuple[float, float],
    sharp: float,
    turn: float,
    fray: np.ndarray | float,
) -> np.ndarray:
    u, v = x - np.float32(at[0]), y - np.float32(at[1])
    if turn:
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        u, v = c * u + s * v, c * v - s * u
    u *= np.float32(1 / radii[0])
    v *= np.float32(1 / radii[1])
    u *= u
    v *= v
    u += v
    u += fray
    u *= -np.float32(edge := max(sharp * min(radii) / 2, 1.0))
    u += np.float32(edge + 0.5)
    return np.clip(u, 0, 1, out=u)


def _hide(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Lay a bar (a fence, a lead, a hand) over a part of the picture."""
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
    slope = np.linspace(-1, 1, width, dtype=np.float32)[None] * np.float32(rng.normal(0, 0.15))
    slope = slope + np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(rng.normal(0, 0.15))
    canvas *= 1 + slope
    canvas += np.float32(rng.uniform(0.005, 0.04)) * textures.cut("grain", (height, width), rng)
    canvas *= 255
    pixels = np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)
    levels = np.arange(256) / 255
    gamma, gain, contrast = np.exp(rng.normal(0, 0.15)), np.exp(rng.normal(0, 0.08)), np.exp(rng.normal(0, 0.12))
    cast = np.exp(rng.normal(0, 0.04, 3))
    curves = [np.clip(255 * (0.5 + contrast * (gain * c * levels**gamma - 0.5)), 0, 255).astype(np.uint8) for c in cast]
    photo = Image.fromarray(np.stack([curve[plane] for curve, plane in zip(curves, pixels, strict=True)], axis=-1))
    if rng.random() < BLURRED:
        photo = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 1.6) * textures.px / 128))
    return photo
