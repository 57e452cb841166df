"""What all images of a table have in common: channels and depth, found once, so that no image's tensor depends on its batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from tapetum.core.errors import DataError, listed
from tapetum.core.words import plural, verb
from tapetum.data.images.archives import DecodeError
from tapetum.data.images.colour import full_scale

NEARLY_ALL = 0.9  # share of images of one size from which on others are strange


@dataclasses.dataclass(frozen=True)
class Form:
    """What all images of a table have in common when they reach the network.

    Args:
        channels: gray images among RGB ones are repeated to three.
        dtype: ``uint8``, or ``float32`` as soon as one image is 16-bit or float.
        size: (height, width) of some image, for the empty slots of images taken at their native size.
    """

    channels: int
    dtype: str = "uint8"
    size: tuple[int, int] = (1, 1)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Form:
        """Rebuild from what :meth:`to_dict` gave, once it has been JSON."""
        return cls(value["channels"], value["dtype"], (int(value["size"][0]), int(value["size"][1])))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"channels": self.channels, "dtype": self.dtype, "size": list(self.size)}

    @classmethod
    def of(cls, found: pl.DataFrame) -> Form:
        """Return the form of images listed by ``data.audit.check_files``.

        Args:
            found: columns row_id, channels, dtype, height, width; rows without channels were not readable.

        Raises:
            DataError: numbers of channels that do not go together; a row of each is named.
        """
        readable = found.filter(pl.col("channels").is_not_null())
        if not len(readable):
            raise DataError("not one image can be read", fix="see the reasons in audit.parquet")
        kinds = readable.unique("channels", keep="first", maintain_order=True).sort("channels")
        channels = kinds["channels"].to_list()
        if len(channels) > 1 and channels != [1, 3]:
            examples = [f"{row['row_id']} has {row['channels']}" for row in kinds.iter_rows(named=True)]
            raise DataError(
                f"images have different numbers of channels: {listed(examples)}",
                need="one number, or gray among RGB",
                fix="set input.colour to 'rgb' or 'gray', or input.alpha to 'white', 'black' or 'drop', "
                "or go on without the fewer: --on-bad skip",
            )
        eight_bit = readable["dtype"].unique().to_list() == ["uint8"]
        return cls(channels[-1], "uint8" if eight_bit else "float32", (int(readable["height"][0]), int(readable["width"][0])))

    def fit(self, image: np.ndarray, name: str) -> np.ndarray:
        """Return an image (H, W, C) with this many channels and this depth.

        Raises:
            DecodeError: it has other channels.
        """
        channels = image.shape[-1]
        if channels == 1 and self.channels == 3:
            image = np.repeat(image, 3, axis=-1)
        elif channels != self.channels:
            raise DecodeError(name, f"{plural(channels, 'channel')}; the images that the network learns from have {self.channels}")
        if self.dtype == "float32" and image.dtype != np.float32:
            return image.astype(np.float32) / np.float32(full_scale(image.dtype))
        if self.dtype == "uint8" and image.dtype != np.uint8:
            raise DecodeError(name, f"{image.dtype.name} values; the images that the network learns from are 8-bit")
        return image


def odd_sizes(found: pl.DataFrame) -> str | None:
    """Return one sentence on the few images whose size is not that of nearly all others; None where there are none, or many.

    Args:
        found: columns row_id, status, height and width.
    """
    readable = found.filter((pl.col("status") == "ok") & pl.col("height").is_not_null())
    sizes = readable.group_by("height", "width").len().sort("len", descending=True)
    if len(sizes) < 2 or sizes["len"][0] < NEARLY_ALL * len(readable):
        return None
    height, width = sizes["height"][0], sizes["width"][0]
    odd = readable.filter((pl.col("height") != height) | (pl.col("width") != width))
    named = [f"{row_id} ({w} × {h})" for row_id, w, h in odd.select("row_id", "width", "height").iter_rows()]
    return (
        f"warning: {len(odd):,} of {plural(len(readable), 'image')} {verb(len(odd), 'is', 'are')} not "
        f"{width} × {height} as the others: {listed(named)}. They are resized "
        "like all; rows of pixels then may not show what they show in the others"
    )


def without_odd(found: pl.DataFrame) -> pl.DataFrame:
    """Return a table of ``data.audit.check_files`` in which images with other channels than most are missing, with that reason.

    Gray and RGB go together. Of two kinds that are equally many, the one with more channels stays.

    Args:
        found: columns row_id, status, reason and channels.
    """
    readable = found.filter((pl.col("status") == "ok") & pl.col("channels").is_not_null())
    kind = pl.when(pl.col("channels") == 1).then(3).otherwise(pl.col("channels"))
    counts = readable.group_by(kind.alias("kind")).len().sort("len", "kind", descending=True)
    if len(counts) < 2:
        return found
    most = counts["kind"][0]
    if most == 3 and not (readable["channels"] == 3).any():
        most_said, goes = "1", pl.col("channels") == 1
    else:
        most_said, goes = str(most), kind == most
    odd = (pl.col("status") == "ok") & pl.col("channels").is_not_null() & ~goes
    reason = pl.format("{} channels; most images have {}", pl.col("channels"), pl.lit(most_said))
    return found.with_columns(
        pl.when(odd).then(pl.lit("missing")).otherwise(pl.col("status")).alias("status"),
        pl.when(odd).then(reason).otherwise(pl.col("reason")).alias("reason"),
        pl.when(odd).then(None).otherwise(pl.col("channels")).alias("channels"),
    )
