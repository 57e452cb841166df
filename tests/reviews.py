"""A review of eight small images for tests: its rows, its audit, its decisions, and the page served from a thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tapetum.core.config import Input
from tapetum.core.tables import Manifest
from tapetum.core.targets import Target
from tapetum.data import audit
from tapetum.show.review import app, queue
from tapetum.show.review.pictures import Pictures
from tapetum.show.review.review import Filter, Review, fingerprint
from tapetum.show.review.store import Store

CLASSES = ("ant", "bee", "cat")
KIND = Target("kind", "single", CLASSES)
IDS = [f"r{i}" for i in range(8)]
HOST = {"host": "127.0.0.1"}
POST = {**HOST, "origin": "http://127.0.0.1", "content-type": "application/json"}


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    rng = np.random.default_rng(0)
    for name in IDS:
        Image.fromarray(rng.integers(0, 255, (20, 30, 3)).astype(np.uint8)).save(tmp_path / f"{name}.png")
    labels = [CLASSES[i % 3] for i in range(8)]
    return Manifest(pl.DataFrame({"row_id": IDS, "path": [[f"{n}.png"] for n in IDS], "kind": labels}), (KIND,), tmp_path)


def audited(**columns: list) -> pl.DataFrame:
    """An audit of the eight rows: kept, nothing found, but for the columns given."""
    frame = pl.DataFrame({name: pl.Series([None] * 8, dtype=dtype) for name, dtype in audit.AUDIT_SCHEMA.items()})
    values = {"row_id": IDS, "decision": ["keep"] * 8, **columns}
    return frame.with_columns(pl.Series(name, cells, dtype=audit.AUDIT_SCHEMA[name]) for name, cells in values.items())


FOUND = {
    "findings": [["blurred"], ["label suspect"], ["leak", "exact duplicate"], [], ["label suspect"], ["label conflict"], [], []],
    "suspicion": [None, 0.7, None, 0.1, 0.9, None, 0.2, 0.0],
    "suggested": [None, ["ant"], None, None, ["cat"], None, None, None],
    "duplicate": [None, None, "r2", None, None, None, None, "r2"],
}


@pytest.fixture
def review(manifest, tmp_path) -> Review:
    found = queue.build(manifest, audited(**FOUND), KIND)
    made = Review(found, Store(tmp_path / "review.sqlite", fingerprint(manifest)))
    yield made
    made.store.close()


@pytest.fixture
def page(review, manifest) -> TestClient:
    pages = app.build(review, Pictures(manifest, Input()), lambda: "csv", "images")
    return TestClient(pages, base_url="http://127.0.0.1")


def rows(review: Review, **wanted) -> list[str]:
    return [IDS[row] for row in review.rows(Filter(**wanted))]


def decide(review: Review, row: int, action: str, *labels: str, window: str = "w", turn: int = 1, seen: int = 0):
    return review.decide(row, action, labels, turn=turn, reviewer="", window=window, seen=seen)


@contextlib.contextmanager
def on_a_page(review: Review, port: int = 0) -> Iterator[str]:
    """Serve a review from a thread of the test and give its address."""
    from tapetum.show.web_server import server_with

    started = threading.Event()
    pages = app.build(review, Pictures(review.queue.manifest, Input()), lambda: "", "images")
    server = server_with(pages, started.set, host="127.0.0.1", port=port, lifespan="off")
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(30)
