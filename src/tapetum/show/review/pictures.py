"""The image of a row as a JPEG for the page, made when it is asked for; the last ones are kept."""

from __future__ import annotations

import dataclasses
import functools
import io

import numpy as np
from PIL import Image

from tapetum.core.config import Input
from tapetum.core.errors import TapetumError
from tapetum.core.tables import Manifest
from tapetum.data.images.decode import Composition, compose
from tapetum.show.thumbnails import eight_bits

LARGE, SMALL = 900, 160  # pixels of the longer side
KEPT = 400  # images in memory, about 100 KB each
QUALITY = 88


class Pictures:
    """JPEGs of a manifest's rows by their number.

    Args:
        manifest: rows and files.
        how: the recipe's ``input`` section.
    """

    def __init__(self, manifest: Manifest, how: Input) -> None:
        composed = Composition.from_input(how)  # a person sees more than the network's few pixels
        self._manifest, self._how = manifest, dataclasses.replace(composed, least=None if composed.least is None else LARGE)
        self._made = functools.lru_cache(maxsize=KEPT)(self._jpeg)
        self._channels: dict[int, int] = {}

    def jpeg(self, row: int, channel: int | None = None, small: bool = False) -> bytes | str:
        """Return a JPEG of a row, or of one of its channels, or why there is none."""
        return self._made(row, channel, small)

    def channels(self, row: int) -> int:
        """Return how many channels a row's image has; 0 where it cannot be read. Its JPEG, which the page asks for next, is made too."""
        if row not in self._channels and isinstance(self._made(row, None, False), str):
            return 0
        return self._channels[row]

    def _composed(self, row: int) -> np.ndarray | str:
        try:
            return compose(self._manifest.paths(row), self._how)[0]
        except (TapetumError, OSError) as error:
            text = error.what if isinstance(error, TapetumError) else str(error.strerror)
            return text.replace(f"{self._manifest.root}/", "")

    def _jpeg(self, row: int, channel: int | None, small: bool) -> bytes | str:
        image = self._composed(row)
        if isinstance(image, str):
            return image
        self._channels[row] = int(image.shape[-1])
        if channel is not None:
            image = image[..., min(channel, image.shape[-1] - 1)]
        opened = Image.fromarray(eight_bits(image))
        side = SMALL if small else LARGE
        opened.thumbnail((side, side), Image.Resampling.BILINEAR if small else Image.Resampling.LANCZOS)
        out = io.BytesIO()
        opened.save(out, "JPEG", quality=QUALITY)
        return out.getvalue()
