"""What a page of a review may ask: only about its own rows; undo without an end; a second pass that stays blind; a locked file."""

from __future__ import annotations

import sqlite3

import numpy as np
import polars as pl
import pytest
from PIL import Image

from reviews import HOST, IDS, POST, decide, rows
from tapetum.core.config import Input
from tapetum.core.errors import EnvironmentFault, UserError
from tapetum.core.tables import Manifest
from tapetum.show.review import store
from tapetum.show.review.pictures import LARGE, Pictures
from tapetum.show.review.review import Filter, fingerprint, page_mark
from tapetum.show.review.store import Store


def test_a_page_of_other_rows_decides_nothing(page, review):
    assert f'data-mark="{page_mark(review.queue)}"' in page.get("/", headers=HOST).text
    for path, body in (("/decide", {"row": 0, "action": "exclude"}), ("/bulk", {"action": "exclude", "count": 8}), ("/undo", {})):
        found = page.post(path, headers=POST, json={**body, "mark": "of other data"})
        assert (found.status_code, "other data" in found.json()["detail"]) == (409, True)
    assert page.get("/next?mark=other", headers=HOST).status_code == 409
    assert review.holding() == {}
    own = {"row": 0, "action": "exclude", "mark": page_mark(review.queue)}
    assert page.post("/decide", headers=POST, json=own).status_code == 200


def test_images_of_another_start_are_not_taken_from_the_cache(page):
    text = page.get("/", headers=HOST).text
    images = [part.split('"')[0] for part in text.split('src="/image/')[1:]]
    assert images
    assert all("start=" in image for image in images)
    assert page.get(f"/image/{images[0]}", headers=HOST).status_code == 200


def test_undo_goes_on_to_decisions_of_closed_windows(page, review):
    decide(review, 1, "exclude", window="closed")
    decide(review, 2, "keep", window="open")
    own = {"window": "open", "pass": 1}
    assert page.post("/undo", headers=POST, json=own).json()["undone"] == 1
    told = page.post("/undo", headers=POST, json=own).json()
    assert (told["undone"], told["earlier"]["row_id"], told["earlier"]["action"]) == (0, "r1", "exclude")
    assert set(review.holding()) == {"r1"}  # it is told first, and undone only when it is asked for
    done = page.post("/undo", headers=POST, json={**own, "number": told["earlier"]["number"]}).json()
    assert (done["undone"], done["items"][0]["row"], done["counts"]["decided"]) == (1, 1, 0)
    assert page.post("/undo", headers=POST, json={**own, "number": told["earlier"]["number"]}).json()["undone"] == 0
    assert page.post("/undo", headers=POST, json=own).json()["earlier"] is None


def test_second_pass_has_neither_keep_nor_bulk(page, review):
    for row in (0, 1, 2):
        decide(review, row, "keep")
    with pytest.raises(UserError, match="hides the label"):
        decide(review, 0, "keep", turn=2)
    with pytest.raises(UserError, match="no bulk decisions"):
        review.decide_all(Filter(turn=2), "exclude", 3, reviewer="", window="w")
    assert review.holding(2) == {}
    text = page.get("/?pass=2", headers=HOST).text
    assert 'data-action="exclude"' in text
    assert not any(part in text for part in ('data-action="keep"', 'data-action="accept"', "data-bulk", "suggestions"))


def test_next_images_begin_behind_a_row_of_the_queue(page, review):
    order = [IDS.index(name) for name in rows(review)]
    decide(review, order[2], "keep", window="other")  # decided elsewhere since the page loaded it
    following = page.get(f"/next?after={order[2]}&skip={order[2]}", headers=HOST).json()["items"]
    assert [item["row"] for item in following] == order[3:]
    assert [item["row"] for item in page.get("/next?after=99", headers=HOST).json()["items"]] == [order[0], order[1], *order[3:]]


def test_a_person_sees_more_pixels_than_the_network(review, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (1000, 1400, 3)).astype(np.uint8)).save(tmp_path / "r0.jpg")
    frame = review.queue.manifest.frame.head(1).with_columns(pl.Series("path", [["r0.jpg"]]))
    pictures = Pictures(Manifest(frame, review.queue.manifest.targets, tmp_path), Input(size=32))
    assert pictures.channels(0) == 3
    (tmp_path / "large.jpg").write_bytes(pictures.jpeg(0))
    with Image.open(tmp_path / "large.jpg") as shown:
        assert max(shown.size) == LARGE


def test_an_image_is_composed_once_for_its_channels_and_page(page, monkeypatch):
    from tapetum.show.review import pictures

    seen, compose = [], pictures.compose
    monkeypatch.setattr(pictures, "compose", lambda paths, how: (seen.append(paths), compose(paths, how))[1])
    page.get("/next", headers=HOST)
    for row in range(8):
        assert page.get(f"/image/{row}", headers=HOST).status_code == 200
    assert len(seen) <= 8


def test_a_locked_file_is_named_with_its_mend(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_WAIT", 0.05)
    own = Store(tmp_path / "review.sqlite", "these")
    other = sqlite3.connect(tmp_path / "review.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(EnvironmentFault, match="held by another process") as error:
        own.add(["r0"], "keep")
    assert "end what holds it" in str(error.value)
    other.execute("ROLLBACK")
    other.close()
    own.add(["r0"], "keep")
    assert set(own.holding()) == {"r0"}
    own.close()


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("OPTIONS", 405), ("PUT", 405), ("DELETE", 405)])
def test_other_methods_change_nothing(page, method, status):
    found = page.request(method, "/", headers={**POST, **HOST})
    assert (found.status_code, found.content if method == "HEAD" else b"") == (status, b"")
    assert page.get("/state", headers=HOST).json()["counts"]["decided"] == 0


@pytest.mark.parametrize("seed", range(6))
def test_what_is_read_bit_by_bit_equals_the_file(review, tmp_path, monkeypatch, seed):
    """Decisions, undo and bulk undo of two windows and another process, in any order."""
    rng, other = np.random.default_rng(seed), Store(review.store.path, fingerprint(review.queue.manifest))
    monkeypatch.setattr("tapetum.show.review.review.MOST_UNDONE", 3)
    for number in range(60):
        window, turn, row = str(rng.integers(2)), int(rng.integers(1, 3)), int(rng.integers(8))
        what = rng.integers(5)
        if what < 2:
            decide(review, row, "exclude", window=window, turn=turn)
        elif what == 2:
            other.add([IDS[row], IDS[-row]], "keep", turn=turn, window=window, bulk=f"b{number}")
        else:
            (review.store if what == 3 else other).undo(turn=turn, window=window)
        if rng.random() < 0.5:
            assert {each: review.holding(each) for each in (1, 2)} == {each: other.holding(each) for each in (1, 2)}
    other.close()


def test_few_decisions_are_read_after_many(review, monkeypatch):
    decide(review, 0, "keep")
    assert set(review.holding()) == {"r0"}
    monkeypatch.setattr(review.store, "holding", lambda turn=1: pytest.fail("every decision was read again"))
    decide(review, 1, "keep")
    assert set(review.holding()) == {"r0", "r1"}
    review.store.undo(window="w")
    assert set(review.holding()) == {"r0"}
