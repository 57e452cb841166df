from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # so that every test can import images

import connections

connections.watch()

# Rates measured in tests are kept in a cache of their own, also by the processes that tests start.
_CACHE = tempfile.TemporaryDirectory(prefix="tapetum-tests-cache-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name

settings.register_profile("tapetum", deadline=None)  # no test asserts a time: the first example may import scipy on a busy machine
settings.load_profile("tapetum")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real data are not beside the repository ({SHARED.parent.name}/{SHARED.name})")
    return SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SHARED.is_dir():
        return
    skip = pytest.mark.skip(reason=f"needs ../{SHARED.parent.name}/{SHARED.name} beside the repository")
    for item in items:
        if "shared_data" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def nothing_is_sent():
    """No test reaches another machine, not even where the code under test passes over the error."""
    yield
    seen, connections.SEEN[:] = list(connections.SEEN), []
    assert not seen, f"wanted to reach {seen}"
