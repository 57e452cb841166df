"""Debian's Chromium for the tests of pages, and what the tests of the review page do with it.

Waits go by locators: playwright's ``wait_for_function`` evaluates text in the page, which the page's policy forbids.
"""

from __future__ import annotations

import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser():
    """An opened browser; without one, or without playwright, its tests are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("the browser tests need Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def open_review(page, address: str) -> None:
    """Open the review page and wait until it takes keys."""
    page.goto(address)
    page.locator("body[data-ready=yes]").wait_for(state="attached")


def shown(page) -> int:
    """Return the number of the row that the review page shows."""
    return int(page.locator("#item article").get_attribute("data-row"))


def press(page, key: str) -> None:
    """Press a key on the review page and wait until it has gone on."""
    before = page.locator("body").get_attribute("data-shown") or "0"
    page.keyboard.press(key)
    page.locator(f'body[data-shown]:not([data-shown="{before}"])').wait_for(state="attached")
