"""What a file's samples mean: depth, orientation, alpha and gray, as stated rules on numpy images (H, W, C)."""

from __future__ import annotations

import numpy as np

from tapetum.core.words import plural


def oriented(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return an image (H, W, …) turned as its EXIF or TIFF orientation (1-8) asks; other numbers change nothing."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def with_depth(image: np.ndarray) -> np.ndarray:
    """Return an image as uint8, uint16 or float32.

    Raises:
        ValueError: another type, or float values that are not in [0, 1]; the text is the reason.
    """
    kind = image.dtype
    if kind.kind == "b":
        return image.astype(np.uint8) * 255
    if kind in (np.uint8, np.uint16):
        return image.astype(kind.newbyteorder("="), copy=False)
    if kind.kind != "f":
        raise ValueError(f"values are {kind}; needed: 8-bit, 16-bit or float")
    low, high = (float(image.min()), float(image.max())) if image.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # written so that NaN fails
        raise ValueError(f"float values run from {low:g} to {high:g}; needed: 0 to 1")
    return image.astype(np.float32, copy=False)


def full_scale(dtype: np.dtype) -> float:
    """Return the value of white: 255, 65535 or 1."""
    return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)


def without_alpha(image: np.ndarray, policy: str) -> np.ndarray:
    """Return the image after the alpha policy; its last channel is alpha.

    Args:
        image: (H, W, 2) or (H, W, 4).
        policy: ``drop`` forgets alpha, ``white`` and ``black`` lay the image on that ground, ``keep`` leaves alpha as a channel.
    """
    if policy == "keep":
        return image
    colour = image[..., :-1]
    if policy == "drop":
        return colour
    top = full_scale(image.dtype)
    share = image[..., -1:].astype(np.float64) / top
    ground = top if policy == "white" else 0.0
    mixed = colour * share + ground * (1 - share)
    return mixed.astype(image.dtype) if image.dtype.kind == "f" else np.rint(mixed).astype(image.dtype)


def luma(image: np.ndarray) -> np.ndarray:
    """Return (H, W, 1) of (H, W, 3) by ITU-R 601: 0.299 R + 0.587 G + 0.114 B, in Pillow's integer form where samples are integers."""
    weights = np.array([19595, 38470, 7471])
    if image.dtype.kind == "f":
        return (image @ (weights / 65536).astype(np.float32))[..., None]
    total = image.astype(np.uint64) @ weights.astype(np.uint64)
    return ((total + 0x8000) >> 16).astype(image.dtype)[..., None]


def in_colour(image: np.ndarray, colour: str, alpha: bool) -> np.ndarray:
    """Return an image in the colour that a recipe asks for.

    Args:
        image: (H, W, C).
        colour: ``auto`` leaves it; ``rgb`` repeats a gray image; ``gray`` takes the luma of an RGB image.
        alpha: whether the last channel is alpha, which then stays last.

    Raises:
        ValueError: a number of channels that has no such colour; the text is the reason.
    """
    plain = image[..., :-1] if alpha else image
    channels = plain.shape[-1]
    if colour == "auto" or channels == (1 if colour == "gray" else 3):
        return image
    if channels not in (1, 3):
        raise ValueError(f"{plural(channels, 'channel')}; input.colour = {colour!r} needs 1 or 3")
    changed = luma(plain) if colour == "gray" else np.repeat(plain, 3, axis=-1)
    return np.concatenate([changed, image[..., -1:]], axis=-1) if alpha else changed
