"""Mixing on the batch: images and their soft truths in, mixtures of both out.

Every technique is a mask of what each image keeps (a constant for MixUp); :func:`blend` does the rest, so that the weight of the own
truth is always the mean of the mask. Truths are distributions, labels in [0, 1] or numbers whose mixture the recipe allows, never class
numbers; a missing label (NaN) stays missing whatever it is mixed with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tapetum.core.choices import name_of, pick
from tapetum.core.config import Spec
from tapetum.core.errors import UserError
from tapetum.data.choices import MIXES

Truths = dict[str, Tensor]
Pool = Callable[[int, np.random.Generator], tuple[Tensor, Truths]]  # (images wanted, draws) → images of rare classes and their truths


def blend(x: Tensor, y: Mapping[str, Tensor], other: Tensor, other_y: Mapping[str, Tensor], mask: Tensor) -> tuple[Tensor, Truths]:
    """Keep each image where the mask is 1 and take the other where it is 0; mix the truths by the mask's mean.

    Args:
        x: images (B, C, H, W) or (B, V, C, H, W), uint8 or float in [0, 1]; left unchanged.
        y: target → soft truths (B, K).
        other: the images that come in, shaped as ``x``.
        other_y: their truths.
        mask: (H, W) or (1, 1) in [0, 1].

    Returns:
        The mixtures (uint8 images stay so under a mask of zeros and ones, else they become float in [0, 1]) and λ·y + (1 − λ)·other_y
        with λ = ``mask.mean()``, not the number that was drawn.

    Raises:
        UserError: class numbers; numbers cannot be mixed, only distributions.
    """
    _refuse_class_numbers(y)
    kept = mask.double().mean().float()
    truths = {name: kept * truth + (1 - kept) * other_y[name] for name, truth in y.items()}
    if bool(((mask == 0) | (mask == 1)).all()):
        return torch.where(mask.bool(), x, other.to(x.dtype)), truths
    mask = mask.to(torch.float32)
    return mask * as_float(x) + (1 - mask) * as_float(other), truths


def as_float(x: Tensor) -> Tensor:
    """Return images as float32 in [0, 1]; uint8 is divided by 255."""
    return x.to(torch.float32) / 255 if x.dtype == torch.uint8 else x


def mixup(height: int, width: int, rng: np.random.Generator, *, alpha: float = 0.4) -> Tensor:
    """Return the constant mask (1, 1) λ ~ Beta(α, α).

    Source: Zhang et al. 2018, arXiv 1710.09412.
    """
    return torch.full((1, 1), rng.beta(alpha, alpha), dtype=torch.float64)


def cutmix(height: int, width: int, rng: np.random.Generator, *, alpha: float = 1.0) -> Tensor:
    """Return a mask with a box of zeros of the share 1 − λ around a random centre, clipped by the image.

    Source: Yun et al. 2019, arXiv 1905.04899.
    """
    cut = math.sqrt(1 - rng.beta(alpha, alpha))
    high, wide = int(height * cut), int(width * cut)
    row, column = int(rng.integers(height)), int(rng.integers(width))
    mask = torch.ones(height, width)
    mask[max(row - high // 2, 0) : row + high - high // 2, max(column - wide // 2, 0) : column + wide - wide // 2] = 0
    return mask


def fmix(
    height: int, width: int, rng: np.random.Generator, *, alpha: float = 1.0, decay: float = 3.0, soft: float = 0.0, device: Any = "cpu"
) -> Tensor:
    """Return a mask of random shapes: the top share λ of a low-frequency image is 1.

    Args:
        height: of the images.
        width: of the images.
        rng: draws λ, the spectrum and the rounding, so that every device has the same mask.
        alpha: λ ~ Beta(α, α).
        decay: power of the frequency by which a complex Gaussian spectrum falls.
        soft: share of the pixels, half on each side of the border, over which the mask falls from 1 to 0.
        device: where the transform runs.

    Source: Harris et al. 2020, arXiv 2002.12047.
    """
    share = rng.beta(alpha, alpha)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    scale = np.maximum(frequency, 1 / max(height, width)) ** -decay
    noise = rng.standard_normal((*frequency.shape, 2)) * scale[..., None]
    spectrum = torch.view_as_complex(torch.from_numpy(noise.astype(np.float32)).to(device))
    gray = torch.fft.irfft2(spectrum, s=(height, width))
    n = height * width
    ones = math.ceil(share * n) if rng.random() < 0.5 else math.floor(share * n)
    half = int(n * min(soft / 2, share, 1 - share))
    values = torch.cat([torch.ones(ones - half), torch.linspace(1, 0, 2 * half), torch.zeros(n - ones - half)]).to(gray.device)
    mask = torch.empty(n, device=gray.device)
    mask[gray.flatten().argsort(descending=True, stable=True)] = values
    return mask.view(height, width)


def half_cutmix(height: int, width: int, rng: np.random.Generator) -> Tensor:
    """Return a mask that keeps the left or the right half; the other half comes from the pool of rare classes."""
    mask = torch.ones(height, width)
    left = width // 2
    if rng.random() < 0.5:
        mask[:, :left] = 0
    else:
        mask[:, width - left :] = 0
    return mask


def lines(
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    bands: Sequence[Sequence[int]] = (),
    of: int = 0,
    count: int = 1,
) -> Tensor:
    """Return a mask (H, W) whose zeros are ``count`` row bands: one signal of a polysomnogram each.

    Args:
        height: of the images.
        width: of the images.
        rng: draws which bands.
        bands: start and end row of each signal, from the layout's table.
        of: the height in rows to which ``bands`` refer, where images were resized; 0: the images' own.
        count: bands taken at once.
    """
    scale = height / of if of else 1.0
    mask = torch.ones(height, width)
    for i in rng.choice(len(bands), size=min(count, len(bands)), replace=False):
        start, end = (round(edge * scale) for edge in bands[i])
        mask[max(start, 0) : max(min(end, height), 0)] = 0
    return mask


class Mix:
    """The batch's mixing: ``(x, y, generator, progress) -> (x, y)``; each image meets at most one technique.

    Args:
        specs: the recipe's list. ``probability`` is the share of the images that a technique takes (where they sum to more than 1 they
            are divided by their sum); one mask is drawn for a batch. ``until`` is the share of training after which it rests.
        bands: row bands for line-out and line-mix where their own list is empty (``input.bands``).
        pool: gives images of rare classes of the training fold, for half-CutMix.

    Raises:
        UserError: an option out of its range, bands or a pool that are missing.
    """

    def __init__(self, specs: Sequence[Spec], *, bands: Sequence[Sequence[int]] = (), pool: Pool | None = None) -> None:
        self.pool = pool
        self.parts: list[tuple[str, dict[str, Any]]] = []
        for spec in specs:
            _, options = pick(spec, MIXES, "mix")
            name = name_of(spec)
            if name in ("line_out", "line_mix"):
                options["bands"] = options["bands"] or bands
            _check(name, options, pool)
            self.parts.append((name, options))

    def __call__(
        self, x: Tensor, y: Mapping[str, Tensor], generator: torch.Generator | np.random.Generator, progress: float = 0.0
    ) -> tuple[Tensor, Truths]:
        """Mix a batch.

        Args:
            x: images (B, …, H, W).
            y: target → soft truths (B, K).
            generator: of the batch, keyed by (seed, member, fold, step).
            progress: share of training done, in [0, 1].
        """
        rng = generator if isinstance(generator, np.random.Generator) else _numpy(generator)
        y = dict(y)
        _refuse_class_numbers(y)
        active = [(name, options) for name, options in self.parts if progress < options["until"]]
        total = max(1.0, sum(options["probability"] for _, options in active))
        place, start = torch.from_numpy(rng.random(len(x))).to(x.device) * total, 0.0
        whole_x, whole_y = x, y
        for name, options in active:
            mixed, truths = self._apply(name, options, whole_x, whole_y, rng)
            chosen = (place >= start) & (place < start + options["probability"])
            start += options["probability"]
            if mixed.dtype != x.dtype:
                x, mixed = as_float(x), as_float(mixed)
            x = torch.where(chosen.view(-1, *[1] * (x.ndim - 1)), mixed, x)
            y = {target: torch.where(chosen[:, None].to(truth.device), truths[target], truth) for target, truth in y.items()}
        return x, y

    def _apply(self, name: str, options: dict[str, Any], x: Tensor, y: Truths, rng: np.random.Generator) -> tuple[Tensor, Truths]:
        choice, _ = pick(name, MIXES, "mix")
        parameters = {key: value for key, value in options.items() if key not in ("probability", "until", "numbers", "fill", *_POOL)}
        if name == "fmix":
            parameters["device"] = x.device
        mask = choice.load()(x.shape[-2], x.shape[-1], rng, **parameters).to(x.device)
        if name == "line_out":
            fill = round(options["fill"] * 255) if x.dtype == torch.uint8 else options["fill"]
            return torch.where(mask.bool(), x, torch.full_like(x, fill)), y
        if name == "half_cutmix":
            assert self.pool is not None  # _check made sure
            other, other_y = self.pool(len(x), rng)
            return blend(x, y, other.to(x.device), {target: truth.to(y[target].device) for target, truth in other_y.items()}, mask)
        partner = torch.from_numpy(rng.permutation(len(x))).to(x.device)
        return blend(x, y, x[partner], {target: truth[partner.to(truth.device)] for target, truth in y.items()}, mask)


_POOL = ("target", "classes", "rarest")  # what data.images.sampling.rare_rows takes


def _check(name: str, options: Mapping[str, Any], pool: Pool | None) -> None:
    for key in ("probability", "until"):
        if not 0 <= options[key] <= 1:
            raise UserError(f"mix {name!r} has {key} = {options[key]}", need="a share in [0, 1]")
    if options.get("alpha", 1.0) <= 0:
        raise UserError(f"mix {name!r} has alpha = {options['alpha']}", need="a number above 0")
    if "bands" in options and not options["bands"]:
        raise UserError(f"mix {name!r} has no bands", need="row bands of the signals", fix="set its bands, or input.bands")
    if name == "half_cutmix" and pool is None:
        raise UserError("mix 'half_cutmix' has no pool of rare classes", need="a pool drawn from the training fold")


def _refuse_class_numbers(y: Mapping[str, Tensor]) -> None:
    for name, truth in y.items():
        if not truth.is_floating_point() or truth.ndim != 2:
            raise UserError(f"mixing was given class numbers for {name!r}", need="soft labels (B, K)", fix="mix after the labels are coded")


def _numpy(generator: torch.Generator) -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
