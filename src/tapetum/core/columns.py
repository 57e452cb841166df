"""Text for a terminal: tables with columns side by side, and whole sentences, no line longer than a terminal is wide."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence

WIDTH = 100
LEAST = 5  # characters of a column that is shortened


def aligned(lines: Sequence[Sequence[str]], *, right: Collection[int] = (), whole: Collection[int] = (), width: int = WIDTH) -> str:
    """Return a table as text; where it is too wide, the widest columns give way.

    Args:
        lines: the cells, all lines of the same length.
        right: columns whose cells are at their right end, as numbers do.
        whole: columns that are never shortened.
        width: characters of a line.
    """
    if not lines:
        return ""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    fitted = _fitted(widths, whole, width - 2 * (len(widths) - 1))
    rows = []
    for line in lines:
        cells = [_cut(cell, fit) for cell, fit in zip(line, fitted, strict=True)]
        rows.append(
            "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, fitted, strict=True))).rstrip()
        )
    return "\n".join(rows)


def wrapped(text: str, indent: int = 0, width: int = WIDTH) -> list[str]:
    """Return the lines of a sentence, of which nothing is left out; a flag, a path or another long word is never cut.

    Args:
        text: with the words that belong together between single spaces.
        indent: blanks before every line but the first.
        width: characters of a line; a word that is longer has a line of its own.
    """
    return textwrap.wrap(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _fitted(widths: Sequence[int], whole: Collection[int], width: int) -> list[int]:
    """Return widths that fit, the widest columns shortened first; a table of too many columns stays too wide."""
    fitted = list(widths)
    while sum(fitted) > width:
        widest = max((i for i in range(len(fitted)) if i not in whole), key=lambda i: fitted[i], default=None)
        if widest is None or fitted[widest] <= LEAST:
            break
        fitted[widest] -= 1
    return fitted


def _cut(text: str, width: int) -> str:
    """Return a text that fits, its middle left out."""
    if len(text) <= width:
        return text
    front = width // 2
    return f"{text[:front]}…{text[len(text) - (width - front - 1) :]}"
