"""The review page is readable: contrast as WCAG 2.2 AA asks, in both themes, visible focus, and a name for every control."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from colours import contrast, themes

STYLE = resources.files("tapetum.show.review").joinpath("review.css").read_text(encoding="utf-8")
PAGE = resources.files("tapetum.show.review").joinpath("page.html.jinja").read_text(encoding="utf-8")
ITEM = resources.files("tapetum.show.review").joinpath("item.html.jinja").read_text(encoding="utf-8")
TEXT = [("ink", "page"), ("soft", "page"), ("ink", "panel"), ("bad", "page"), ("bad", "panel"), ("accent", "page"), ("on", "accent")]
CONTROLS = [("soft", "page"), ("accent", "page"), ("accent", "panel")]  # borders of fields, the outline of what has the focus


def test_contrast_is_that_of_the_recommendation():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_controls_stand_out_in_both_themes(theme):
    colours = themes(STYLE)[theme]
    low = [(a, b) for a, b in TEXT if contrast(colours[a], colours[b]) < 4.5]
    low += [(a, b) for a, b in CONTROLS if contrast(colours[a], colours[b]) < 3]
    assert low == []


def test_colours_come_from_the_theme_and_focus_is_drawn():
    rules = re.sub(r":root\s*{[^}]*}", "", STYLE)
    assert re.findall(r"#[0-9a-f]{3,8}\b(?![^{]*{)", rules) == []
    assert re.search(r":focus-visible\s*{[^}]*outline:\s*[23]px solid var\(--accent\)", STYLE)
    assert "outline: none" not in STYLE
    assert "outline: 0" not in STYLE


def test_every_control_has_a_name():
    for text in re.findall(r"<button[^>]*>(.*?)</button>", PAGE + ITEM, re.S):
        assert re.sub(r"<[^>]*>", "", text).strip()
    for tag in re.findall(r"<(?:input|select|progress)[^>]*>", PAGE):
        before = PAGE[: PAGE.index(tag)]
        assert "aria-label=" in tag or before.rfind("<label") > before.rfind("</label"), tag
    assert all("alt=" in tag for tag in re.findall(r"<img[^>]*>", ITEM))
