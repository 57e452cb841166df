"""The page of the service in a browser: an image is chosen or dropped, and its answer, saliency map and errors are seen."""

from __future__ import annotations

import base64

import pytest

import serving
from tapetum import api

DROP = """([text, name]) => {
  const data = new DataTransfer();
  data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
  document.getElementById("drop").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


@pytest.fixture(scope="module")
def photo(planted):
    return sorted((planted / "images").rglob("*.png"))[0]


def opened(browser, caller):
    """Open the page; what it asks of other machines, and each error of its script, is kept in ``wrong``."""
    page, here = browser.new_page(), f"http://127.0.0.1:{caller.port}/"
    page.wrong = []
    page.on("request", lambda one: None if one.url.startswith((here, "data:", "blob:")) else page.wrong.append(one.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.goto(here)
    return page


def test_a_chosen_image_shows_its_answer_and_map(browser, probed, photo):
    offline = api.predict(probed, photo, top=10)["answers"][0]["answers"]["label"]
    with serving.running(probed) as caller:
        page = opened(browser, caller)
        page.locator("#about", has_text="label: ").wait_for()
        page.locator("#file").set_input_files(photo)
        page.locator("#why img[alt='saliency map']").wait_for()
        assert page.locator("#answers h2").inner_text() == f"label: {offline['answer']}"
        shown = [row.locator("span").all_inner_texts() for row in page.locator("#answers .row").all()]
        assert shown == [[name, f"{p:.3f}"] for name, p in offline["p"].items()]
        assert page.locator("#why img").evaluate("(image) => image.naturalWidth") > 0
        assert (page.wrong, page.locator("#state").inner_text()) == ([], "")


def test_a_dropped_file_that_is_no_image_is_named(browser, probed, photo):
    with serving.running(probed) as caller:
        page = opened(browser, caller)
        page.evaluate(DROP, [base64.b64encode(b"<!doctype html><p>404").decode(), "page.jpg"])
        page.locator("#state.error", has_text="page.jpg cannot be read").wait_for()
        page.evaluate(DROP, [base64.b64encode(photo.read_bytes()).decode(), photo.name])
        page.locator("#answers h2").wait_for()
        assert page.wrong == []


def test_the_page_asks_for_a_token(browser, probed, photo):
    with serving.running(probed, token="a-token-of-some-length") as caller:
        page = opened(browser, caller)
        page.locator("#token").fill("another-token-of-length")
        page.locator("#access button").click()
        page.locator("#state.error").wait_for()
        page.locator("#token").fill("a-token-of-some-length")
        page.locator("#access button").click()
        page.locator("#access").wait_for(state="hidden")
        page.locator("#file").set_input_files(photo)
        page.locator("#answers h2").wait_for()
