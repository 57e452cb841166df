"""A sheet of images as training sees them: each row's labels, its original, and what augmentation makes of it, channel by channel."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tapetum.core import files

TILE, GAP, LABELS, HEAD = 112, 4, 190, 22  # pixels: a tile's side, between tiles, the column of words, the heads
INK, SOFT, PAGE = (20, 20, 24), (110, 110, 118), (255, 255, 255)


@dataclasses.dataclass(frozen=True)
class Shown:
    """One row of the sheet.

    Args:
        words: lines beside it, the row's id and labels.
        original: the composed image, one (H, W, C) a view; uint8, uint16 or float in [0, 1].
        drawn: what training sees, one entry a draw, each as ``original`` but at the network's size.
        notes: words under each draw (mixed truths); empty where there is none.
    """

    words: tuple[str, ...]
    original: Sequence[np.ndarray]
    drawn: Sequence[Sequence[np.ndarray]]
    notes: tuple[str, ...] = ()


def draw(rows: Sequence[Shown], path: Path | str, *, channels: Sequence[str] = (), tile: int = TILE) -> Path:
    """Write the sheet as a PNG.

    Images of three channels show as colours, one channel as gray, others channel by channel. More than 8 bits are stretched to 1–99 %
    of the original's values, the same for all its draws, so that changes of brightness stay visible.

    Args:
        rows: all with as many draws.
        path: a .png file.
        channels: names of the channels, for the heads; empty: their numbers.
        tile: side of an image in pixels.
    """
    columns = max(len(_tiles(row.original, _scale(row.original))) for row in rows)
    draws = max(len(row.drawn) for row in rows)
    lines = max(1, *(len(note.splitlines()) for row in rows for note in row.notes)) if any(row.notes for row in rows) else 0
    high = tile + GAP + 12 * lines
    sheet = Image.new("RGB", (LABELS + (1 + draws) * (columns * (tile + GAP) + 3 * GAP), HEAD + len(rows) * (high + GAP) + GAP), PAGE)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for part in range(1 + draws):
        left = _left(part, columns, tile)
        title = "original" if part == 0 else f"draw {part}"
        for column in range(columns):
            name = channels[column % len(channels)] if channels else str(column + 1)
            text = f"{title}: {name}" if columns > 1 and column == 0 else name if columns > 1 else title
            pen.text((left + column * (tile + GAP), 5), _cut(text, tile), INK, font)
    for number, row in enumerate(rows):
        top = HEAD + number * (high + GAP)
        for line, words in enumerate(row.words):
            pen.text((GAP, top + 14 * line), _cut(words, LABELS - 2 * GAP), INK if line == 0 else SOFT, font)
        scale = _scale(row.original)
        for part, images in enumerate([row.original, *row.drawn]):
            left = _left(part, columns, tile)
            for column, one in enumerate(_tiles(images, scale)):
                sheet.paste(_fitted(one, tile), (left + column * (tile + GAP), top))
            note = row.notes[part - 1] if part and row.notes else ""
            for line, words in enumerate(note.splitlines()):
                pen.text((left, top + tile + 2 + 12 * line), _cut(words, columns * (tile + GAP)), SOFT, font)
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    return files.write_bytes(path, content.getvalue())


def _left(part: int, columns: int, tile: int) -> int:
    return LABELS + part * (columns * (tile + GAP) + 3 * GAP)


def _tiles(images: Sequence[np.ndarray], scale: np.ndarray | None) -> list[Image.Image]:
    """Return the tiles of a row's views: one in colour or gray each, or one a channel."""
    out = []
    for image in images:
        values = _eight_bits(image, scale)
        if values.shape[2] == 3:
            out.append(Image.fromarray(values))
        else:
            out += [Image.fromarray(np.ascontiguousarray(values[..., c])) for c in range(values.shape[2])]
    return out


def _scale(images: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return (2, C) low and high of each channel as shares of the full scale; None for 8 bits, which show as they are."""
    if images[0].dtype == np.uint8:
        return None
    values = np.concatenate([_as_shares(p).reshape(-1, p.shape[2]) for p in images])
    low, high = np.nanpercentile(values, [1, 99], axis=0)
    return np.stack([low, np.maximum(high, low + 1e-6)])


def _eight_bits(image: np.ndarray, scale: np.ndarray | None) -> np.ndarray:
    """Return (H, W, C) uint8."""
    if image.dtype == np.uint8:
        return image
    values = _as_shares(image)
    if scale is not None:
        values = (values - scale[0]) / (scale[1] - scale[0])
    return (np.clip(np.nan_to_num(values), 0, 1) * 255).round().astype(np.uint8)


def _as_shares(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float64) / (np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1)


def _fitted(image: Image.Image, tile: int) -> Image.Image:
    """Return an image inside a tile, its shape kept."""
    image = image.convert("RGB")
    share = tile / max(image.size)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return image.resize(size, Image.Resampling.BICUBIC if share < 1 else Image.Resampling.NEAREST)


def _cut(text: str, width: int) -> str:
    """Return a text that fits about so many pixels, shortened in its middle."""
    most = max(4, int(width / 5.8))
    return text if len(text) <= most else f"{text[: most - most // 2 - 1]}…{text[-(most // 2) :]}"
