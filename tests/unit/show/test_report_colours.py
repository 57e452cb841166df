"""The report is readable: text contrast as WCAG 2.2 AA asks, in light, in dark and on paper, also on the cells of a confusion matrix."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from colours import contrast, mixed, themes

STYLE = resources.files("tapetum.show").joinpath("report.css").read_text(encoding="utf-8")
TEXT = [("ink", "page"), ("ink", "panel"), ("soft", "page"), ("soft", "panel"), ("accent", "page"), ("accent", "panel"), ("bad", "page")]
TEXT += [("bad", "panel"), ("amber", "amber-soft"), ("ink", "amber-soft"), ("accent", "amber-soft")]


@pytest.mark.parametrize("theme", ["light", "dark", "paper"])
def test_text_stands_out_in_every_theme(theme):
    colours = themes(STYLE)[theme]
    assert [(a, b) for a, b in TEXT if contrast(colours[a], colours[b]) < 4.5] == []


@pytest.mark.parametrize("theme", ["light", "dark", "paper"])
@pytest.mark.parametrize("kind", ["accent", "bad"])
def test_numbers_stand_out_on_cells_of_any_shade(theme, kind):
    colours = themes(STYLE)[theme]
    most = int(colours["cell"].rstrip("%")) / 100
    shades = [mixed(colours[kind], most * share / 20, colours["panel"]) for share in range(21)]
    assert min(contrast(colours["ink"], shade) for shade in shades) >= 4.5


def test_faint_colours_are_never_those_of_text():
    rules = re.findall(r"([^{}]+){([^}]*)}", STYLE)
    assert [name.strip() for name, body in rules if re.search(r"(?<![-\w])color:\s*var\(--faint\)", body)] == [".sub span + span::before"]
