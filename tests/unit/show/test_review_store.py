"""Decisions where the disk is full or fails: refused by name, none half kept, and the file goes on once there is room."""

import sqlite3

import pytest

from tapetum.core.errors import DataError, EnvironmentFault
from tapetum.show.review.store import Store

resource = pytest.importorskip("resource")


def test_a_full_disk_is_named_and_the_next_decision_kept(tmp_path):
    store = Store(tmp_path / "review.sqlite", "these")
    store.add(["first"], "keep")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(EnvironmentFault, match=r"review\.sqlite cannot be read or written"):
            store.add(["second", "third"], "exclude")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert set(store.holding()) == {"first"}
    store.add(["fourth"], "keep")
    store.close()
    assert set(Store(tmp_path / "review.sqlite", "these").holding()) == {"first", "fourth"}


def test_a_place_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "review.sqlite").mkdir()
    with pytest.raises(EnvironmentFault, match=r"review\.sqlite cannot be opened .*name a file that may be written: --decisions FILE"):
        Store(tmp_path / "review.sqlite", "these")


@pytest.mark.parametrize("table", ["runs (id INTEGER)", "about (name TEXT)", "decisions (id INTEGER, text TEXT)"])
def test_a_file_of_another_program_stays_as_it_is(tmp_path, table):
    place = tmp_path / "mlflow.db"
    with sqlite3.connect(place) as other:
        other.execute(f"CREATE TABLE {table}")
    other.close()
    before = place.read_bytes()
    with pytest.raises(DataError, match="another program"):
        Store(place, "these")
    assert place.read_bytes() == before


def test_a_damaged_file_is_named_whenever_it_is_read(tmp_path):
    place = tmp_path / "review.sqlite"
    store = Store(place, "these")
    for number in range(200):
        store.add([f"row {number} {'x' * 200}"], "keep")
    store.close()
    whole = place.read_bytes()
    for size in range(4096, len(whole), 4096):  # cut between pages
        place.write_bytes(whole[:size])
        with pytest.raises(DataError, match="damaged"):
            Store(place, "these").holding()
