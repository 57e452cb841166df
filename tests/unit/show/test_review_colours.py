"""The review page is readable: contrast as WCAG 2.2 AA asks, in both themes, visible focus, and a name for every control."""

from __future__ import annotations

import re
from importlib import resources

import pytest

STYLE = resources.files("tapetum.show.review").joinpath("review.css").read_text(encoding="utf-8")
PAGE = resources.files("tapetum.show.review").joinpath("page.html.jinja").read_text(encoding="utf-8")
ITEM = resources.files("tapetum.show.review").joinpath("item.html.jinja").read_text(encoding="utf-8")
TEXT = [("ink", "page"), ("soft", "page"), ("ink", "panel"), ("bad", "page"), ("bad", "panel"), ("accent", "page"), ("on", "accent")]
CONTROLS = [("soft", "page"), ("accent", "page"), ("accent", "panel")]  # borders of fields, the outline of what has the focus


def themes() -> dict[str, dict[str, str]]:
    """The colours of each theme by name."""
    found = [dict(re.findall(r"--(\w+):\s*(#[0-9a-f]{6})", block)) for block in re.findall(r":root\s*{([^}]*)}", STYLE)]
    return {"light": found[0], "dark": {**found[0], **found[1]}}


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_recommendation():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_controls_stand_out_in_both_themes(theme):
    colours = themes()[theme]
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
