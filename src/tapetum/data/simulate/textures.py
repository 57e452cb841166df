"""Random textures drawn once a size and cut anew for each image: what makes fur, ground and cells look unlike each other."""

from __future__ import annotations

import functools

import numpy as np

from tapetum.core import draws

WAVES = {"broad": 2.0, "large": 4.5, "medium": 9.0, "fine": 18.0, "grain": 40.0}  # periods over an image's typical side
TILE = 3.0  # side of a texture over the typical side; an image is at most half of it


class Bank:
    """Gaussian random fields of several wavelengths, mean 0 and variance 1, so that a bound on them is a share of the area.

    Args:
        px: typical side of the images; wavelengths go with it, so that a larger image shows the same scene.
    """

    def __init__(self, px: int) -> None:
        self.px = px
        self.side = 2 * round(TILE * px / 2)
        rng = draws.generator("simulate", "textures", px)
        frequency = np.hypot(np.fft.fftfreq(self.side)[:, None], np.fft.rfftfreq(self.side)[None]) * px
        spectra = np.fft.rfft2(rng.standard_normal((len(WAVES), self.side, self.side)))
        self.fields: dict[str, np.ndarray] = {}
        for (name, wave), spectrum in zip(WAVES.items(), spectra, strict=True):
            band = np.exp(-0.5 * ((frequency - wave) / (0.35 * wave)) ** 2)
            field = np.fft.irfft2(spectrum * band, s=(self.side, self.side))
            self.fields[name] = (field / field.std()).astype(np.float32)

    def cut(self, name: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Return a random window (H, W) float32 of a field, turned over at random; a view, not to be written to."""
        height, width = shape
        top, left, turn = rng.integers(self.side - height), rng.integers(self.side - width), rng.integers(4)
        window = self.fields[name][top : top + height, left : left + width]
        return window[:: 1 if turn & 1 else -1, :: 1 if turn & 2 else -1]


@functools.lru_cache(maxsize=2)
def bank(px: int) -> Bank:
    """Return the textures for images of a typical side; kept for the next image."""
    return Bank(px)


@functools.lru_cache(maxsize=1024)
def ramp(count: int) -> np.ndarray:
    """Return −1…1 (count,) float32, not to be written to."""
    return np.linspace(-1, 1, count, dtype=np.float32)
