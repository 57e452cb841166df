"""Decisions where the disk is full or fails: refused by name, none half kept, and the file goes on once there is room."""

import pytest

from tapetum.core.errors import EnvironmentFault
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
    with pytest.raises(EnvironmentFault, match=r"review\.sqlite cannot be read or written"):
        Store(tmp_path / "review.sqlite", "these")
