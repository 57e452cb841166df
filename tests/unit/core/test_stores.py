"""A store of vectors: an array or an index of another store is named before it is used."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tapetum.core import files, stores
from tapetum.core.errors import DataError


def made(place, seed, rows=4):
    vectors = np.random.default_rng(seed).normal(size=(rows, 1, 3)).astype(np.float32)
    stores.write(place, vectors, {"row_id": [f"r{i}" for i in range(rows)]})
    return vectors


@pytest.mark.parametrize("mapped", [False, True])
def test_written_vectors_are_read_back(tmp_path, mapped):
    vectors = made(tmp_path / "a", 0)
    assert np.array_equal(stores.vectors(tmp_path / "a", stores.index(tmp_path / "a"), mapped=mapped), vectors)
    assert list(stores.finished(tmp_path)) == [tmp_path / "a"]


def cut(store, other):
    content = (store / "vectors.npy").read_bytes()
    (store / "vectors.npy").write_bytes(content[:-4])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda store, other: shutil.copy(other / "vectors.npy", store), r"a/vectors\.npy is not the file that was written"),
        (lambda store, other: shutil.copy(other / "index.json", store), r"a/index\.json is that of 'b'"),
        (cut, r"a/vectors\.npy is not the file"),
        (lambda store, other: (store / "vectors.npy").unlink(), r"a/vectors\.npy is absent"),
        (lambda store, other: (store / "index.json").write_text("{"), r"a/index\.json is not JSON"),
        (lambda store, other: (store / "index.json").write_text("{}"), r"a/index\.json has no 'row_id'"),
    ],
)
def test_files_of_another_store_are_refused(tmp_path, change, message):
    for name, seed in (("a", 0), ("b", 1)):
        made(tmp_path / name, seed)
    change(tmp_path / "a", tmp_path / "b")
    with pytest.raises(DataError, match=message):
        stores.vectors(tmp_path / "a", stores.index(tmp_path / "a"))


def test_no_old_index_stays_beside_new_vectors(tmp_path, monkeypatch):
    made(tmp_path / "a", 0)
    monkeypatch.setattr(files, "write_json", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        made(tmp_path / "a", 1)
    assert not list(stores.finished(tmp_path))


def test_stores_of_earlier_versions_are_read(tmp_path):
    vectors = made(tmp_path / "a", 0)
    files.write_json(tmp_path / "a" / "index.json", {"row_id": list("abcd")})
    assert np.array_equal(stores.vectors(tmp_path / "a", stores.index(tmp_path / "a")), vectors)
