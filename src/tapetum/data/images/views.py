"""Test-time views: the same batch seen several ways, whose answers are averaged after the soft-max.

Each view is a function of a batch (B, C, H, W) or (B, V, C, H, W) and one key a row, and yields batches of the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from tapetum.core import draws
from tapetum.core.choices import pick
from tapetum.core.config import Spec
from tapetum.core.errors import UserError
from tapetum.data.choices import VIEWS
from tapetum.data.images.geometry import scaled_crop, turned, turns_of
from tapetum.data.images.resize import Frame, stretched

Keys = Sequence[int] | None


def expand(x: Tensor, spec: Spec = "plain", keys: Keys = None) -> Iterator[Tensor]:
    """Yield the views of a batch.

    Args:
        x: images (B, C, H, W) or (B, V, C, H, W), before normalisation.
        spec: a name from ``data.choices.VIEWS``, or a table of its name and parameters.
        keys: one key a row, for random views.

    Raises:
        UserError: an unknown view or parameter, or a random view without keys.
    """
    choice, parameters = pick(spec, VIEWS, "view")
    yield from choice.load()(x, keys, **{k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()})


def first_draw(spec: Spec) -> int:
    """Return the ``draw`` number of a spec's first view: 0 where that is the plain image, else 1."""
    choice, parameters = pick(spec, VIEWS, "view")
    name = choice.where.rpartition(":")[2]
    starts_plain = name in ("plain", "flips", "dihedral") or (name == "scales" and parameters["factors"][0] == 1)
    return 0 if starts_plain else 1


def plain(x: Tensor, keys: Keys = None) -> Iterator[Tensor]:
    """The images as they are."""
    yield x


def hflip(x: Tensor, keys: Keys = None) -> Iterator[Tensor]:
    """The images mirrored left and right, alone; ``flips`` gives them beside the plain ones."""
    yield x.flip(-1)


def vflip(x: Tensor, keys: Keys = None) -> Iterator[Tensor]:
    """The images mirrored top and bottom, alone."""
    yield x.flip(-2)


def flips(x: Tensor, keys: Keys = None, *, horizontal: bool = True, vertical: bool = False) -> Iterator[Tensor]:
    """The plain images and their mirror images: two, or four with both directions."""
    for which in range(4):
        if (horizontal or not which & 1) and (vertical or not which & 2):
            yield turned(x, which)


def dihedral(x: Tensor, keys: Keys = None) -> Iterator[Tensor]:
    """The eight turns and mirrorings of square images, plain first; four of others, so that their shape stays."""
    for which in range(turns_of(x)):
        yield turned(x, which)


def crops(x: Tensor, keys: Keys = None, *, count: int = 5, share: float = 0.875, dihedral: bool = False) -> Iterator[Tensor]:
    """Corners and centre of ``share`` of height and width, brought back to the full size.

    Args:
        x: the batch.
        keys: not used.
        count: 4 corners, 5 with the centre, 10 with these five mirrored left and right.
        share: of height and width, each.
        dihedral: take every turn and mirroring of each crop instead.

    Raises:
        UserError: another count, or a share that is not in (0, 1].
    """
    if count not in (4, 5, 10) or not 0 < share <= 1:
        raise UserError(f"crops has count {count} and share {share}", need="4, 5 or 10 crops of a share from 0 to 1")
    height, width = x.shape[-2:]
    tall, wide = max(1, round(height * share)), max(1, round(width * share))
    down, right = height - tall, width - wide
    places = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)][: min(count, 5)]
    turns: Sequence[int] = range(turns_of(x)) if dihedral else (0, 1) if count == 10 else (0,)
    for which in turns:
        for top, left in places:
            yield turned(stretched(x[..., top : top + tall, left : left + wide], (height, width)), which)


def random(x: Tensor, keys: Keys = None, *, n: int = 10, scale: tuple[float, float] = (1.0, 1.25)) -> Iterator[Tensor]:
    """``n`` random crops: each image is brought to a random multiple of its size, and a frame of its size cut out at a random place.

    A multiple below 1 leaves a border of black. Each row's draws come from its own key, so its crops do not depend on its batch.

    Raises:
        UserError: no keys.
    """
    if keys is None or len(keys) != len(x):
        raise UserError("random views need a key for each row", fix="pass keys")
    frame = Frame((x.shape[-2], x.shape[-1]))
    for number in range(n):
        rows = []
        for row, key in zip(x, keys, strict=True):
            views = row if row.ndim == 4 else row[None]
            cut = torch.stack([scaled_crop(v, _generator(key, number), frame, scale=scale) for v in views])
            rows.append(cut if row.ndim == 4 else cut[0])
        yield torch.stack(rows)


def scales(x: Tensor, keys: Keys = None, *, factors: tuple[float, ...] = (1.0, 0.875, 1.125), multiple: int = 32) -> Iterator[Tensor]:
    """The whole images at other sizes, for networks that take any: each side times the factor, rounded to a ``multiple``.

    Factor 1 is the image untouched.
    """
    for factor in factors:
        if factor == 1:
            yield x
        else:
            height, width = (max(multiple, round(side * factor / multiple) * multiple) for side in x.shape[-2:])
            yield stretched(x, (height, width))


def _generator(key: int, number: int) -> np.random.Generator:
    return draws.generator(key, "view", number)
