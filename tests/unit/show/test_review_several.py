"""A review of a target with several labels an image: none of the classes is an answer, and is not the same as no answer."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from images import quiet
from reviews import HOST, IDS, POST, audited, decide
from tapetum.core import table_files
from tapetum.core.config import Input
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target, encode
from tapetum.data import audit
from tapetum.show.review import app, queue
from tapetum.show.review.pictures import Pictures
from tapetum.show.review.review import Filter, Review, fingerprint
from tapetum.show.review.store import Store

SIGNS = Target("signs", "multi", ("ant", "bee + cat", "none of the classes"))
GIVEN = [["ant"], [], None, ["ant", "bee + cat"], ["ant"], [], ["ant"], None]
ANSWERED = [[], ["ant"], None, None, ["bee + cat"], [], [], []]  # of the last row by an older audit, which did not tell no answer from none


@pytest.fixture
def several(manifest) -> Manifest:
    cells = pl.Series("signs", GIVEN, dtype=pl.List(pl.String))
    return Manifest(manifest.frame.drop("kind").with_columns(cells), (SIGNS,), manifest.root)


@pytest.fixture
def table() -> pl.DataFrame:
    return audited(suggested=ANSWERED, suspicion=[0.5, 0.1, None, None, 0.3, 0.1, 0.2, None], target=["signs"] * 8)


@pytest.fixture
def review(several, table, tmp_path) -> Review:
    made = Review(queue.build(several, table, SIGNS), Store(tmp_path / "review.sqlite", fingerprint(several)))
    yield made
    made.store.close()


@pytest.fixture
def page(review, several) -> TestClient:
    return TestClient(app.build(review, Pictures(several, Input()), lambda: "csv", "images"), base_url="http://127.0.0.1")


def test_none_of_the_classes_is_not_unknown(review):
    assert review.queue.given == [None if cell is None else tuple(cell) for cell in GIVEN]
    assert review.queue.suggested == [(), ("ant",), None, None, ("bee + cat",), (), (), None]
    assert review.counts(Filter())["suggested"] == 5


@pytest.mark.parametrize("name", ["decisions.csv", "decisions.parquet"])
def test_training_reads_none_of_the_classes_as_zeros(review, several, table, tmp_path, name):
    decide(review, 0, "relabel")
    decide(review, 2, "relabel")
    decide(review, 1, "relabel", "ant", "none of the classes")
    decide(review, 3, "keep")
    written = table_files.write_table(tmp_path / name, review.table(table), for_people=True)
    done = audit.apply(several, audit.read_decisions(written, several, quiet), quiet).frame["signs"].to_list()
    assert done == [[], ["ant", "none of the classes"], [], *GIVEN[3:]]
    truth = encode(SIGNS, done)
    assert truth[[0, 2]].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert np.isnan(truth[7]).all()


def test_a_blank_label_of_a_decision_is_refused(several, table):
    blank = table.with_columns(decision=pl.lit("relabel"), suggested=pl.lit(None, pl.List(pl.String)))
    with pytest.raises(DataError, match="'suggested' is blank"):
        audit.apply(several, blank, quiet)


def test_undo_takes_none_of_the_classes_back(review):
    decide(review, 3, "relabel", "ant")
    decide(review, 3, "relabel")
    assert review.holding()["r3"].labels == ()
    review.store.undo(window="w")
    assert review.holding()["r3"].labels == ("ant",)


def test_a_single_target_has_always_a_class(review, manifest, tmp_path):
    kind = manifest.targets[0]
    own = Review(queue.build(manifest, audited(), kind), Store(tmp_path / "single.sqlite", "these"))
    with pytest.raises(UserError, match="a class of the target for relabel"):
        decide(own, 0, "relabel")
    own.store.close()
    with pytest.raises(UserError, match="each class once"):
        decide(review, 0, "relabel", "ant", "ant")


def test_the_passes_tell_none_from_unknown_and_excluded(review):
    for row in (1, 2, 5):
        decide(review, row, "keep")
    decide(review, 0, "exclude")
    decide(review, 3, "relabel")
    for row in (0, 1, 2, 3, 5):
        decide(review, row, "relabel", turn=2)
    assert review.agreement()["agree"] == 3 / 5  # rows 1, 3 and 5; row 0 is left out and row 2 still has no label
    with pytest.raises(UserError, match="cannot be kept"):
        decide(review, 1, "keep", turn=2)  # its label is none of the classes, and hidden


def test_suggestions_are_accepted_at_once_with_none_among_them(review):
    assert review.decide_all(Filter(), "accept", 5, reviewer="", window="w") == 5
    assert {row_id: one.labels for row_id, one in review.holding().items()} == {
        IDS[row]: tuple(labels) for row, labels in enumerate(ANSWERED) if labels is not None and row != 7
    }
    assert len(review.store.undo(window="w")) == 5


def test_a_decision_without_labels_is_not_none_of_them(page, review):
    body = {"row": 0, "action": "relabel", "window": "w"}
    for wrong in (body, {**body, "labels": None}, {**body, "labels": ""}, {**body, "labels": 0}):
        found = page.post("/decide", headers=POST, json=wrong)
        assert (found.status_code, "labels" in found.json()["detail"]) == (409, True)
    assert review.holding() == {}
    assert page.post("/decide", headers=POST, json={**body, "labels": []}).status_code == 200
    assert review.holding()["r0"].labels == ()


def test_page_says_no_label_where_there_is_none(page, review):
    decide(review, 3, "relabel", window="a")
    decide(review, 3, "relabel", "ant", window="b")
    decide(review, 4, "relabel")
    text = page.get("/?state=all", headers=HOST).text
    assert "<kbd>0</kbd> none of the classes</button>" in text
    assert "r3: relabel as no label, then relabel as ant" in text
    items = {item["row"]: item["html"] for item in page.get("/next?state=all", headers=HOST).json()["items"]}
    assert "<dt>label</dt><dd>no label</dd>" in items[1]
    assert "<dt>model</dt><dd>no label" in items[0]
    assert "<dt>label</dt>" not in items[2]
    assert "relabel as no label" in items[4]
    blind = page.get("/?pass=2", headers=HOST).text
    assert 'data-action="none"' in blind
    assert 'data-given="null"' in blind


def test_a_hundred_classes_leave_zero_to_none_of_them(several, table, tmp_path):
    names = tuple(f"c{i}" for i in range(100))
    for count in (27, 28, 100):
        target = dataclasses.replace(SIGNS, classes=names[:count])
        cells = [["c0"], [], None, *[["c1"]] * 5]
        made = Manifest(several.frame.with_columns(pl.Series("signs", cells, dtype=pl.List(pl.String))), (target,), several.root)
        store = Store(tmp_path / f"{count}.sqlite", "these")
        pages = app.Pages(Review(queue.build(made, audited(), target), store), Pictures(made, Input()), str, "", app.Look())
        assert "0" not in pages.keys.values()
        assert len(pages.keys) == (count if count <= 27 else 0)
        store.close()
