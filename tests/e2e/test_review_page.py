"""The review page in a browser: by keys alone, after a reload, in two windows, and after tabs were killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import polars as pl
import pytest

from browsers import open_review, press, shown
from images import plant
from tapetum.show.review.store import Store


@contextlib.contextmanager
def served(folder: Path):
    """Serve the review of the planted images and give the address; it ends as Ctrl-C ends it."""
    command = [sys.executable, "-m", "tapetum", "review", "labels.csv", "--target", "label", "--port", "0", "-o", "decisions.csv"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = next((part for line in process.stderr for part in line.split() if part.startswith("http://")), "")
    try:
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "images decided" in said


@pytest.fixture
def folder(tmp_path):
    plant(tmp_path, classes=3, each=8, size=32, group_size=2)
    return tmp_path


def test_twenty_images_are_reviewed_by_keys(browser, folder):
    with served(folder) as address:
        page = browser.new_context().new_page()
        open_review(page, address)
        rows = []
        for number in range(20):
            rows.append(shown(page))
            press(page, ("k", "x", "1", "2")[number % 4])
        assert len(set(rows)) == 20
        press(page, "u")
        assert shown(page) == rows[-1]
        press(page, "u")
        assert shown(page) == rows[-2]
        typed = shown(page)
        page.keyboard.press("/")
        page.keyboard.type("cat")
        press(page, "Enter")
        page.reload()
        assert "19 of 24 decided" in page.locator("#count").inner_text()
        with urllib.request.urlopen(f"{address}decisions.csv") as found:
            text = found.read().decode()
        assert text.count(",exclude,") == 5
    done = pl.read_csv(folder / "decisions.csv")
    assert len(done) == 24
    assert done["decision"].to_list().count("exclude") == 5
    was_cat = pl.read_csv(folder / "labels.csv")["label"][typed] == "cat"
    assert done["decision"][typed] == ("keep" if was_cat else "relabel")
    assert was_cat or done["suggested"][typed] == "cat"


def test_windows_share_decisions_and_killed_tabs_lose_none(browser, folder):
    with served(folder) as address:
        context = browser.new_context()
        one, two = context.new_page(), context.new_page()
        for page in (one, two):
            open_review(page, address)
        assert shown(one) == shown(two)
        press(one, "k")
        press(two, "x")
        assert "had decided keep; both are kept" in two.locator("#message").inner_text()
        one.close()
        two.close()
        made = 2
        for number in range(8):
            page = context.new_page()
            open_review(page, address)
            press(page, "k")
            made += 1
            page.close(run_before_unload=False)
            assert number + 2 == int(context.request.get(f"{address}state").json()["counts"]["decided"])
        page = context.new_page()
        page.goto(address)
        assert page.locator("#contested li").count() == 1
        open_review(page, address)
        press(page, "k")
        page.reload()
        with context.expect_page() as opened:
            page.evaluate("window.open('/')")  # a copy of a window has a copy of its storage
        copy = opened.value
        copy.locator("body[data-ready=yes]").wait_for(state="attached")
        copy.keyboard.press("u")
        copy.get_by_text("nothing of this window is left to undo").wait_for()
        page.locator("body[data-ready=yes]").wait_for(state="attached")
        press(page, "u")
        assert page.locator("#message").inner_text() == "undone"
    files = list(folder.glob("review.sqlite"))
    assert len(files) == 1
    from tapetum.core.config import Data
    from tapetum.data import layouts
    from tapetum.show.review.review import fingerprint

    store = Store(files[0], fingerprint(layouts.read(folder / "labels.csv", Data(targets=("label",)), lambda _: None)))
    assert len(store.holding()) == made - 1
    store.close()
