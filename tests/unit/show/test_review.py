"""The review: its order, its decisions, who may ask, and what training reads of it."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import cohen_kappa_score
from starlette.testclient import TestClient

from images import quiet
from reviews import FOUND, HOST, IDS, KIND, POST, audited, decide, rows
from tapetum.core import table_files
from tapetum.core.config import Input
from tapetum.core.errors import DataError, UserError
from tapetum.core.tables import Dense, Manifest
from tapetum.data import audit
from tapetum.show.review import app, queue
from tapetum.show.review.pictures import Pictures
from tapetum.show.review.review import Filter, Review, fingerprint
from tapetum.show.review.store import Store


def test_leaks_and_certain_errors_come_first(review, manifest):
    assert rows(review)[:5] == ["r2", "r5", "r4", "r1", "r0"]
    assert review.queue.twins == {2: (7,), 7: (2,)}
    sure = np.array([0.9, 0.9, 0.9, 0.5, 0.9, 0.9, 0.3, 0.9])
    table = audited(findings=[[]] * 8)
    ordered = queue.build(manifest, table, KIND, queue.Answers(sure, np.array([0, 0.2, *[np.nan] * 6])))
    assert ordered.order[:3].tolist() == [6, 3, 1]  # least confident, then where members disagree


def test_disagreement_is_the_distance_from_the_members_mean():
    def dense(p):
        return Dense(KIND, np.array(["a", "b"], dtype=object), np.array(p, np.float32), np.zeros((2, 3)), np.zeros(2), np.array(["ok"] * 2))

    found = queue.disagreement([[dense([[1, 0, 0], [0.5, 0.5, 0]])], [dense([[0, 1, 0], [0.5, 0.5, 0]])]], ["b", "a", "c"])
    assert found[:2].tolist() == [0, 0.5]
    assert np.isnan(found[2])
    assert np.isnan(queue.disagreement([[dense([[1, 0, 0], [1, 0, 0]])]], ["a"])).all()


def test_filters_let_through_what_they_name(review):
    assert rows(review, kind="label suspect") == ["r4", "r1"]
    assert rows(review, kind="nothing found") == ["r3", "r6", "r7"] or set(rows(review, kind="nothing found")) == {"r3", "r6", "r7"}
    assert set(rows(review, label="bee")) == {"r1", "r4", "r7"}
    assert rows(review, text="R3") == ["r3"]
    decide(review, 4, "keep")
    assert rows(review, kind="label suspect") == ["r1"]
    assert rows(review, kind="label suspect", state="decided") == ["r4"]
    assert review.counts(Filter(kind="label suspect")) == {"total": 2, "decided": 1, "open": 1, "suggested": 1}


def test_undo_goes_back_to_the_first_decision_of_its_window(review):
    for row in range(8):
        decide(review, row, "exclude")
    decide(review, 0, "relabel", "bee")
    decide(review, 5, "keep", window="other")
    undone = [review.store.undo(window="w")[0].row_id for _ in range(9)]
    assert undone == ["r0", *reversed(IDS)]
    assert review.store.undo(window="w") == []
    assert {row_id: d.action for row_id, d in review.holding().items()} == {"r5": "keep"}


def test_two_windows_keep_both_decisions_and_are_told(review):
    first, other = decide(review, 1, "exclude", window="a")
    assert other is None
    second, other = decide(review, 1, "relabel", "cat", window="b")
    assert other == first
    assert decide(review, 1, "keep", window="a", seen=second.number)[1] is None
    assert [(a.action, b.action) for a, b in review.store.contested()] == [("relabel", "keep")]


def test_bulk_decisions_need_the_count_and_are_undone_whole(review):
    wanted = Filter(kind="label suspect")
    with pytest.raises(UserError, match="2 images are open now, and 3 were confirmed"):
        review.decide_all(wanted, "exclude", 3, reviewer="", window="w")
    assert review.holding() == {}
    assert review.decide_all(wanted, "accept", 2, reviewer="", window="w") == 2
    assert {r: d.labels for r, d in review.holding().items()} == {"r1": ("ant",), "r4": ("cat",)}
    assert len(review.store.undo(window="w")) == 2
    assert review.holding() == {}


def test_agreement_of_two_passes_is_cohens_kappa(review):
    first = [("keep",), ("relabel", "ant"), ("exclude",), ("keep",), ("relabel", "cat")]
    second = [("relabel", "ant"), ("relabel", "ant"), ("relabel", "cat"), ("relabel", "ant"), ("exclude",)]
    for row, (one, two) in enumerate(zip(first, second, strict=True)):
        decide(review, row, *one)
        decide(review, row, *two, turn=2)
    left, right = ["ant", "ant", "x", "ant", "cat"], ["ant", "ant", "cat", "ant", "x"]
    found = review.agreement()
    assert found["images"] == 5
    assert found["kappa"] == pytest.approx(cohen_kappa_score(left, right))
    assert set(rows(review, turn=2, state="all")) == set(IDS[:5])


def test_exported_decisions_are_what_training_reads(review, manifest):
    table = audited(**FOUND)
    table = table.with_columns(pl.when(pl.col("duplicate").is_not_null()).then(pl.lit("group")).otherwise("decision").alias("decision"))
    decide(review, 0, "exclude")
    decide(review, 1, "relabel", "cat")
    decide(review, 2, "keep")
    done = review.table(table)
    assert dict(done.select("row_id", "decision").iter_rows()) == {
        **dict.fromkeys(IDS, "keep"),
        "r0": "exclude",
        "r1": "relabel",
        "r2": "group",
        "r7": "group",
    }
    trained = audit.apply(manifest, done, quiet)
    assert trained.split[0] == "spare"
    assert trained.frame["kind"][1] == "cat"


def test_decisions_of_other_data_are_refused(manifest, tmp_path):
    Store(tmp_path / "d.sqlite", "these").close()
    with pytest.raises(DataError, match="holds decisions on other data"):
        Store(tmp_path / "d.sqlite", "others")
    (tmp_path / "no.sqlite").write_text("no database, but long enough to be taken for one" * 50)
    with pytest.raises(DataError, match="is no file of decisions"):
        Store(tmp_path / "no.sqlite", "these")


def _decide_and_die(path: Path, count: int) -> None:
    store = Store(path, "these")
    for number in range(count):
        store.add([f"r{number}"], "keep")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_what_was_kept_outlives_a_kill(tmp_path):
    child = multiprocessing.get_context("spawn").Process(target=_decide_and_die, args=(tmp_path / "d.sqlite", 50))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    store = Store(tmp_path / "d.sqlite", "these")
    assert len(store.holding()) == 50
    store.close()


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {"host": "evil.example"}, 421),
        ("GET", "/", {**HOST, "origin": "http://evil.example"}, 403),
        ("GET", "/image/0", {**HOST, "sec-fetch-site": "cross-site"}, 403),
        ("POST", "/decide", HOST, 403),
        ("POST", "/decide", {**POST, "origin": "null"}, 403),
        ("POST", "/decide", {**POST, "content-type": "text/plain"}, 403),
        ("GET", "/image/99", HOST, 404),
        ("GET", "/image/../review.sqlite", HOST, 404),
        ("GET", "/image/r0.png", HOST, 404),
        ("GET", "/review.sqlite", HOST, 404),
        ("GET", "/decide", HOST, 405),
        ("GET", "/image/²", HOST, 404),
        ("GET", f"/image/{'9' * 5000}", HOST, 404),
        ("GET", "/image/0?channel=²", HOST, 200),
        ("GET", f"/next?skip=²,{'9' * 5000}&after=²", HOST, 200),
    ],
)
def test_only_the_page_itself_is_answered(page, method, path, headers, status):
    found = page.request(method, path, headers=headers, content=b'{"row": 0, "action": "exclude"}' if method == "POST" else None)
    assert found.status_code == status
    assert page.get("/state", headers=HOST).json()["counts"]["decided"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[1]",
        b'{"row": -1, "action": "keep"}',
        b'{"row": "0", "action": "keep"}',
        b'{"row": 0, "action": "delete"}',
        b'{"row": 0, "action": "relabel", "labels": ["wasp"]}',
        b'{"row": 0, "action": "relabel", "labels": []}',
        b'{"row": 0, "action": "relabel", "labels": ["ant", "bee"]}',
        b'{"row": 0, "action": "keep", "labels": ["ant"]}',
        b" " * 200_000,
        b"[" * 90_000,
        b'{"action": "exclude"}',
        b'{"row": 0, "action": "keep", "pass": "2"}',
        b'{"row": 0, "action": "keep", "pass": 3}',
        b'{"row": 0, "action": "relabel", "labels": 5}',
        b'{"row": 0, "action": "relabel", "labels": {"ant": 1}}',
        b'{"row": 0, "action": "keep", "reviewer": "\\ud800"}',
        b'{"row": 0, "action": "keep", "window": ["w"]}',
    ],
    ids=range(18),
)
def test_bad_decisions_are_named_and_change_nothing(page, body):
    found = page.post("/decide", headers=POST, content=body)
    assert found.status_code == 409
    assert found.json()["detail"]
    assert page.get("/state", headers=HOST).json()["counts"]["decided"] == 0


@pytest.mark.parametrize(
    "body", [b'{"filter": [1], "action": "keep", "count": 8}', b'{"action": "keep"}', b'{"filter": {"kind": 5}, "count": 0}']
)
def test_bad_bulk_decisions_are_named_and_change_nothing(page, body):
    assert page.post("/bulk", headers=POST, content=body).status_code == 409
    assert page.post("/undo", headers=POST, content=b'{"window": "\\ud800"}').status_code == 409
    assert page.get("/state", headers=HOST).json()["counts"]["decided"] == 0


def test_second_pass_follows_what_the_first_decides(review):
    decide(review, 0, "keep")
    assert rows(review, turn=2, state="all") == ["r0"]
    review.store.undo(window="w")
    decide(review, 1, "keep")
    assert rows(review, turn=2, state="all") == ["r1"]


def test_page_shows_labels_and_the_blind_pass_hides_them(page, review):
    text = page.get("/", headers=HOST).text
    assert 'src="/image/2?start=' in text
    assert 'src="/image/7?start=' in text  # its copy beside it
    assert "leak" in text
    assert "default-src 'none'" in page.get("/", headers=HOST).headers["content-security-policy"]
    decide(review, 4, "relabel", "cat")
    following = page.get("/next?state=decided", headers=HOST).json()["items"]
    assert [item["row"] for item in following] == [4]
    assert "cat" in following[0]["html"]
    blind = page.get("/next?pass=2", headers=HOST).json()["items"]
    assert [item["row"] for item in blind] == [4]
    assert not any(word in blind[0]["html"] for word in ("bee", "cat", "suspect", "r4"))


def test_names_are_escaped_and_channels_are_shown(manifest, tmp_path):
    frame = manifest.frame.with_columns(pl.Series("row_id", ['<b>\n"x"', *IDS[1:]]))
    odd = Manifest(frame, manifest.targets, manifest.root)
    table = audited().with_columns(pl.Series("row_id", frame["row_id"].to_list()))
    made = Review(queue.build(odd, table, KIND), Store(tmp_path / "o.sqlite", "x"))
    client = TestClient(app.build(made, Pictures(odd, Input()), lambda: "", "<i>"), base_url="http://127.0.0.1")
    text = client.get("/", headers=HOST).text
    assert "<b>" not in text.split("<main>")[1].split("</figcaption>")[0]
    assert "<i>" not in text
    assert 'data-channels="3"' in text
    assert client.get("/image/0?channel=1", headers=HOST).headers["content-type"] == "image/jpeg"
    (tmp_path / "r1.png").write_bytes(b"broken")
    assert client.get("/image/1", headers=HOST).status_code == 404
    made.store.close()


def test_page_takes_keys_words_and_probabilities_as_given(review, manifest):
    shown = dataclasses.replace(review.queue, shares={2: (("ant", 0.25), ("bee", 0.75))}, around={2: (1, 3)})
    own = Review(shown, review.store)
    look = app.Look(keys={"bee": "7"}, names={"exclude": "no stage"}, is_wide=True)
    pages = TestClient(app.build(own, Pictures(manifest, Input()), lambda: "csv", "images", look), base_url="http://127.0.0.1")
    decide(own, 1, "relabel", "cat")
    decide(own, 3, "exclude")
    text = pages.get("/", headers=HOST).text
    assert 'data-label="bee" data-key="7"' in text
    assert 'data-label="ant" data-key="1"' in text
    assert "<kbd>x</kbd> no stage</button>" in text
    assert 'bee 0.75 <meter min="0" max="1" value="0.750">' in text
    assert "r1: cat</small>" in text
    assert "r3: no stage</small>" in text
    blind = pages.get("/?pass=2&state=all", headers=HOST).text
    assert "<meter" not in blind
    assert "<small>r" not in blind


def test_two_reviewers_of_a_name_with_newlines_lose_nothing(manifest, tmp_path):
    name = "../one\ntwo, three.png"
    frame = manifest.frame.with_columns(pl.Series("row_id", [name, *IDS[1:]]))
    odd = Manifest(frame, manifest.targets, manifest.root)
    table = audited().with_columns(pl.Series("row_id", frame["row_id"].to_list()))
    made = Review(queue.build(odd, table, KIND), Store(tmp_path / "o.sqlite", fingerprint(odd)))
    for reviewer, action, labels in (("Ann", "relabel", ["cat"]), ("Ben", "exclude", [])):
        _, other = made.decide(0, action, labels, turn=1, reviewer=reviewer, window=reviewer, seen=0)
    assert other.reviewer == "Ann"
    ((before, last),) = made.store.contested()
    assert (before.row_id, before.labels, last.reviewer) == (name, ("cat",), "Ben")
    written = table_files.write_table(tmp_path / "decisions.csv", made.table(table))
    done = dict(audit.read_decisions(written, odd, quiet).select("row_id", "decision").iter_rows())
    assert done == {name: "exclude", **dict.fromkeys(IDS[1:], "keep")}
    assert made.store.undo(turn=1, window="Ben")[0].row_id == name
    assert made.holding()[name].labels == ("cat",)
    made.store.close()
