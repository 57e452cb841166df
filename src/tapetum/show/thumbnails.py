"""Images small enough to be inside a page: composed from a row's files, brought to 8 bits, embedded as JPEG data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from tapetum.core.config import Input
from tapetum.core.errors import TapetumError
from tapetum.core.tables import Manifest

SIDE = 176  # pixels of the longer side: sharp at the size shown, about 8 KB an image
SMALL = 96  # of those that a click opens
SPACE = 2_200_000  # characters of all images of a page: with everything else it stays below 5 MB
QUALITY = 78


class Thumbnails:
    """Thumbnails of a manifest's rows, each made once.

    Args:
        manifest: rows and files; None where the run has none.
        how: the recipe's ``input`` section.
    """

    def __init__(self, manifest: Manifest | None, how: Input) -> None:
        self._manifest, self._how = manifest, how
        self._row = {} if manifest is None else {row_id: row for row, row_id in enumerate(manifest.row_ids)}
        self._made: dict[tuple[str, int], tuple[str | None, str]] = {}
        self._space = SPACE

    def __call__(self, row_id: str) -> tuple[str | None, str]:
        """Return (data URI, "") or (None, why there is no image)."""
        return self._of(row_id, SIDE)

    def small(self, row_id: str) -> tuple[str | None, str]:
        """Return the same of a smaller image."""
        return self._of(row_id, SMALL)

    def _of(self, row_id: str, side: int) -> tuple[str | None, str]:
        if (row_id, side) not in self._made:
            self._made[row_id, side] = self._make(row_id, side) if self._space > 0 else (None, "left out, so that the page stays small")
            self._space -= len(self._made[row_id, side][0] or "")
        return self._made[row_id, side]

    def _make(self, row_id: str, side: int) -> tuple[str | None, str]:
        if self._manifest is None or row_id not in self._row:
            return None, "not in the manifest"
        from tapetum.data.images.decode import Composition, compose

        try:
            views = compose(self._manifest.paths(self._row[row_id]), Composition.from_input(self._how))
        except TapetumError as error:
            return None, error.what.replace(f"{self._manifest.root}/", "")
        except OSError as error:
            return None, str(error.strerror)
        return data_uri(views[0], side), ""


def data_uri(image: np.ndarray, side: int = SIDE) -> str:
    """Return a JPEG data URI of an image (H, W, C) of any type, at most ``side`` pixels long."""
    opened = Image.fromarray(eight_bits(image))
    opened.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encode(opened)


def file_uri(path: Path, side: int = 480) -> str | None:
    """Return a JPEG data URI of an image file; None where it is absent or unreadable."""
    try:
        with Image.open(path) as opened:
            small = opened.convert("RGB")
    except OSError:
        return None
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encode(small)


def eight_bits(image: np.ndarray) -> np.ndarray:
    """Return (H, W) or (H, W, 3) uint8 for looking at: more than 8 bits stretched to 1–99 %, further channels left out.

    Two channels show as red and green; of four or more, the first three show.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.dtype != np.uint8:
        values = image.astype(np.float64)
        low, high = np.nanpercentile(values, [1, 99]) if np.isfinite(values).any() else (0.0, 1.0)
        scaled = (values - low) / max(high - low, 1e-12)
        image = (255 * np.clip(np.nan_to_num(scaled), 0, 1)).round().astype(np.uint8)
    channels = image.shape[2]
    if channels == 1:
        return np.ascontiguousarray(image[..., 0])
    if channels == 2:
        image = np.concatenate([image, np.zeros_like(image[..., :1])], axis=2)
    return np.ascontiguousarray(image[..., :3])


def _encode(opened: Image.Image) -> str:
    buffer = io.BytesIO()
    opened.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
