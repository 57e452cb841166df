"""The review page in a browser: another server at its address, undo of closed windows, keys that are held, the focus, a phone."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import polars as pl
import pytest
from PIL import Image

from browsers import open_review, press, shown
from reviews import CLASSES, IDS, KIND, audited, decide, on_a_page
from tapetum.core.tables import Manifest
from tapetum.show.review import queue
from tapetum.show.review.review import Review, fingerprint
from tapetum.show.review.store import Store


def colour(page) -> list[float]:
    """Return the mean colour of the image that is shown."""
    image = page.locator("#item figure.main img")
    image.evaluate("image => image.decode()")
    return image.evaluate(
        """image => { const c = document.createElement("canvas"); c.width = c.height = 1; const d = c.getContext("2d");
        d.drawImage(image, 0, 0, 1, 1); return [...d.getImageData(0, 0, 1, 1).data].slice(0, 3); }"""
    )


def test_another_server_at_the_address_is_told_apart(browser, review, manifest, tmp_path):
    place = tmp_path / "other"
    place.mkdir()
    for name in IDS:
        Image.new("RGB", (20, 30), "red").save(place / f"{name}.png")
    frame = manifest.frame.with_columns(pl.Series("row_id", [f"other {name}" for name in IDS]))
    there = Manifest(frame, manifest.targets, place)
    second = Review(
        queue.build(there, audited().with_columns(pl.Series("row_id", there.row_ids)), KIND), Store(place / "o.sqlite", fingerprint(there))
    )
    page = browser.new_context().new_page()
    with on_a_page(review) as address:
        open_review(page, address)
        assert colour(page)[1] > 60
    with on_a_page(second, int(re.findall(r":(\d+)/", address)[0])):
        page.keyboard.press("x")
        page.get_by_text("not kept: this page is of other data").wait_for()
        assert second.holding() == {}
        for _ in range(8):  # every image of the first server is in the browser's cache
            open_review(page, address)
            assert colour(page)[1] < 20
            press(page, "k")
    assert len(second.holding()) == 8
    second.store.close()


def test_undo_reaches_what_a_closed_window_decided(browser, review):
    with on_a_page(review) as address:
        context = browser.new_context()
        first = context.new_page()
        open_review(first, address)
        rows = [shown(first)]
        press(first, "x")
        first.close()
        page = context.new_page()
        open_review(page, address)
        page.keyboard.press("u")
        page.get_by_text("u again undoes what another window decided of r2: exclude").wait_for()
        assert len(review.holding()) == 1
        press(page, "u")
        assert [shown(page)] == rows
        assert review.holding() == {}
        assert "0 of 8 decided" in page.locator("#count").inner_text()


def test_keys_work_wherever_the_focus_is(browser, review):
    with on_a_page(review) as address:
        page = browser.new_context().new_page()
        open_review(page, address)
        page.locator("#export").focus()
        press(page, "K")  # as with Caps Lock
        page.locator("#all summary").focus()
        press(page, "x")
        page.keyboard.down("k")
        page.locator("body[data-shown='3']").wait_for(state="attached")
        for _ in range(3):
            page.keyboard.down("k")  # held: the browser repeats it
        page.keyboard.up("k")
        press(page, "n")
        assert len(review.holding()) == 3
        page.keyboard.press("/")
        page.keyboard.type("ca")
        active = page.locator("#class-input").get_attribute("aria-activedescendant")
        assert page.locator(f"#{active}").get_attribute("data-label") == "cat"
        page.keyboard.press("Escape")
        stops = []
        for _ in range(30):
            page.keyboard.press("Tab")
            stops.append(page.evaluate("document.activeElement.id || document.activeElement.dataset.action || ''"))
        assert {"filter", "keep", "exclude", "undo", "class-input", "export"} <= set(stops)


def test_skipped_images_are_named_at_the_end(browser, review):
    with on_a_page(review) as address:
        page = browser.new_context().new_page()
        open_review(page, address)
        for number in range(8):
            press(page, "n" if number < 2 else "k")
        assert "Still open: 2" in page.locator("#item .done").inner_text()
        page.keyboard.press("k")
        assert len(review.holding()) == 6
        open_review(page, address)
        assert shown(page) == 2
        with page.expect_response("**/state*"):
            page.locator("#all summary").click()
        decide(review, 5, "keep", window="other")
        page.locator("#bulk-number").fill("2")
        page.locator("button[data-bulk=keep]").click()
        page.get_by_text("1 image is open now, and 2 were confirmed").wait_for()
        page.locator("#bulk-count", has_text="1").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_with_any_names(browser, manifest, tmp_path, scheme):
    names = ("<script>alert(1)</script>", "\u05e9\u05dc\u05d5\u05dd (1)", "two  spaces and " + "a very long name " * 60)
    target = dataclasses.replace(KIND, classes=names)
    labels = [names[CLASSES.index(label)] for label in manifest.frame["kind"]]
    odd = Manifest(manifest.frame.with_columns(pl.Series("kind", labels)), (target,), manifest.root)
    made = Review(queue.build(odd, audited(), target), Store(tmp_path / "n.sqlite", "n"))
    with on_a_page(made) as address:
        page = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme).new_page()
        errors = []
        page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: errors.append(str(error)))
        open_review(page, address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator("#filters select[name=label]").select_option(index=3)
        page.locator("#filter").click()
        page.locator("#count", has_text="of 2 decided").wait_for()
        assert errors == []
        assert np.isin([shown(page)], [2, 5]).all()
    made.store.close()
