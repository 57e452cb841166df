"""A count in a message goes with its words: ``plural`` gives ``1 image`` and ``2 images``."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

import tapetum
from tapetum.core.words import plural, verb

SOURCE = Path(tapetum.__file__).parent
NOUNS = [
    "rows", "images", "files", "folders", "ids", "classes", "labels", "columns", "cells", "values", "samples",
    "groups", "folds", "epochs", "members", "targets", "channels", "views",
    "sequences", "positions", "nights", "exams", "people", "predictions", "decisions", "submissions", "vectors",
    "records", "annotations", "runs", "pairs", "errors", "steps",
]  # fmt: skip
COUNTED = re.compile(
    r"\{([^{}\"!:]+)(?::,)?\} (?:further |other |more |test |training |predicted |image |class )?(" + "|".join(NOUNS) + r")\b"
)
NO_COUNT = {  # these are names, or numbers that are never 1
    "type(odd).__name__", "image.dtype.name", "array.dtype", "listed(channels)", "listed(sorted(counts))", "' and '.join(choice.kinds)",
    "listed(choice.kinds)",
    "batch_size", "STEPS", "shown", "part",
}  # fmt: skip


def bare(text: str) -> list[str]:
    """Return the counts before a plural noun in the f-strings of a source that do not go through ``plural``."""
    strings = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.STRING]
    literals = [t for t in strings if "f" in t.string[: t.string.index(t.string[-1])].lower()]
    return [
        f"{t.start[0]}: {m[0]}"
        for t in literals
        for m in COUNTED.finditer(t.string)
        if m[1] not in NO_COUNT and not re.fullmatch(r"(\w+\.)*[A-Z][A-Z_]+|(plural|verb)\(.*", m[1])
    ]


def test_counts_in_messages_go_with_their_words():
    found = {str(path.relative_to(SOURCE)): lines for path in SOURCE.rglob("*.py") if (lines := bare(path.read_text(encoding="utf-8")))}
    assert found == {}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('f"{len(names)} ids are in more than one row"', 1),
        ('f"{n:,} further images"', 1),
        ('f"{a} of {len(b)} rows"', 1),
        ("f\"{plural(n, 'row is', 'rows are')} left\"", 0),
        ('"{n} rows"', 0),
        ('f"{MOST} rows, {FEW:,} images, {rate:.1f} images a second"', 0),
    ],
)
def test_bare_counts_are_found(text, count):
    assert len(bare(text)) == count


def test_words_go_with_their_count():
    assert [plural(n, "image") for n in (0, 1, 2, 2624)] == ["0 images", "1 image", "2 images", "2,624 images"]
    assert [plural(n, "class is", "classes are") for n in (1, 2)] == ["1 class is", "2 classes are"]
    assert [verb(n, "has", "have") for n in (0, 1, 2)] == ["have", "has", "have"]
