"""Contrast as WCAG 2.2 defines it, and the colours of a style sheet's themes."""

from __future__ import annotations

import re


def themes(style: str) -> dict[str, dict[str, str]]:
    """Return the variables of each theme by name: of the light one, and of others with what they change."""
    found = [dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{3,8}|\d+%)", block)) for block in re.findall(r":root\s*{([^}]*)}", style)]
    names = ("light", "dark", "paper")
    return {name: {**found[0], **one} for name, one in zip(names, found, strict=False)}


def parts(colour: str) -> list[float]:
    """Return red, green and blue of ``#rrggbb`` or ``#rgb``, from 0 to 1."""
    digits = colour[1:] if len(colour) > 4 else "".join(2 * digit for digit in colour[1:])
    return [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]


def mixed(one: str, share: float, other: str) -> str:
    """Return a colour with a share of another one, as ``color-mix(in srgb, …)`` gives it."""
    both = [round(255 * (share * a + (1 - share) * b)) for a, b in zip(parts(one), parts(other), strict=True)]
    return "#" + "".join(f"{value:02x}" for value in both)


def luminance(colour: str) -> float:
    """Return the relative luminance."""
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
