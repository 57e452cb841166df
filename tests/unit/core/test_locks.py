"""One process at a time holds a folder."""

import multiprocessing
import os

import pytest

from tapetum.core import locks
from tapetum.core.errors import EnvironmentFault


def _holds(folder, ready, done):
    with locks.lock(folder):
        ready.set()
        done.wait(20)


@pytest.mark.skipif(os.name == "nt", reason="fork")
def test_folder_has_one_holder_at_a_time(tmp_path):
    with locks.lock(tmp_path / "run") as first:
        pass
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_holds, args=(tmp_path / "run", ready, done))
    other.start()
    try:
        assert ready.wait(20)
        with pytest.raises(EnvironmentFault, match=f"in use by process {other.pid}"), locks.lock(tmp_path / "run"):
            pass
    finally:
        done.set()
        other.join()
    with locks.lock(tmp_path / "run") as third:
        assert (first, third) == (1, 3)
