"""A decoded row on its way to the network: :class:`EvalTransform` treats it always alike, :class:`TrainTransform` as a key draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tapetum.core import draws
from tapetum.core.choices import name_of, pick
from tapetum.core.config import Input, Spec
from tapetum.core.errors import DataError, UserError
from tapetum.data.choices import AUGMENTS, SIZERS
from tapetum.data.images.resize import Frame, to_tensor


class EvalTransform:
    """Bring images to the size of the network's input, without randomness.

    Args:
        settings: the recipe's ``[input]``: size, resize, interpolation.
    """

    def __init__(self, settings: Input) -> None:
        self.frame = Frame.from_input(settings)

    def __call__(self, images: Sequence[np.ndarray], key: int = 0) -> Tensor:
        """Return (C, H, W), or (V, C, H, W) for several views; ``key`` is not used.

        Args:
            images: (H, W, C) each, uint8, uint16 or float32 in [0, 1].
            key: taken so that both transforms are called alike.
        """
        return together([self.frame.show(to_tensor(image)) for image in images])


class Exchanged:
    """Show images with their first and last channel exchanged, as programs do that read BGR.

    Args:
        transform: what is done to them then.
    """

    def __init__(self, transform: Callable[..., Tensor]) -> None:
        self.transform = transform

    def __call__(self, images: Sequence[np.ndarray], key: int = 0) -> Tensor:
        """Return what the transform returns of the images (H, W, C)."""
        return self.transform([np.ascontiguousarray(image[..., ::-1]) for image in images], key)


class TrainTransform:
    """Bring images to the size of the network's input and change them at random; every draw comes from the key.

    ``resized_crop`` or ``scaled_crop`` work on the image as decoded and go first wherever they are in the list; without one, the
    image is resized as in evaluation. The others follow in the order of the list, at the network's size. The views of a row are
    changed alike.

    Args:
        settings: the recipe's ``[input]``.
        specs: the recipe's ``augment``: names or tables of ``data.choices.AUGMENTS``, or ``"package.module:function"`` of a function
            ``(x: Tensor (C, H, W), rng: np.random.Generator, **parameters) -> Tensor``.

    Raises:
        UserError: an unknown name or parameter, or two that both decide the size.
    """

    def __init__(self, settings: Input, specs: Sequence[Spec]) -> None:
        self.frame = Frame.from_input(settings)
        self.steps: list[tuple[str, Any, dict[str, Any]]] = []
        sizers: list[tuple[str, Any, dict[str, Any]]] = []
        for spec in specs:
            choice, parameters = pick(spec, AUGMENTS, "augment")
            name = name_of(spec)
            step = (name, choice.load(), {k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()})
            (sizers if name in SIZERS else self.steps).append(step)
        if len(sizers) > 1:
            raise UserError(f"augment has {' and '.join(name for name, _, _ in sizers)}", need="one of them: each decides the size")
        self.sizer = sizers[0] if sizers else None

    def __call__(self, images: Sequence[np.ndarray], key: int) -> Tensor:
        """Return (C, H, W), or (V, C, H, W) for several views.

        Args:
            images: (H, W, C) each, uint8, uint16 or float32 in [0, 1].
            key: from (seed, member, fold, epoch, row_id, occurrence, draw).
        """
        return together([self._one(to_tensor(image), key) for image in images])

    def _one(self, x: Tensor, key: int) -> Tensor:
        if self.sizer is None:
            x = self.frame.show(x)
        else:
            name, function, parameters = self.sizer
            x = function(x, draws.generator(key, name), self.frame, **parameters)
        for place, (name, function, parameters) in enumerate(self.steps):
            x = function(x, draws.generator(key, place, name), **parameters)
        return x


def together(views: list[Tensor]) -> Tensor:
    """Return one view as (C, H, W), several as (V, C, H, W).

    Raises:
        DataError: views of different shapes.
    """
    shapes = {tuple(v.shape) for v in views}
    if len(shapes) > 1:
        raise DataError(
            f"the views of a row have shapes {sorted(shapes)} (channels, height, width)", need="one shape", fix="set input.size"
        )
    return views[0].contiguous() if len(views) == 1 else torch.stack(views)
