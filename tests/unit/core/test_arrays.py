"""Arrays of numbers are read without pickle, and what is no array is named."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.arrays import load_array
from tapetum.core.errors import DataError


def test_an_array_is_read_whole_or_mapped(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    for mapped in (False, True):
        np.testing.assert_array_equal(load_array(tmp_path / "a.npy", mapped=mapped), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("mapped", [False, True])
def test_what_is_no_array_is_named(tmp_path, mapped):
    np.save(tmp_path / "whole.npy", np.arange(600))
    np.savez(tmp_path / "several.npz", a=np.arange(3))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    whole = (tmp_path / "whole.npy").read_bytes()
    for name, content in (("empty", b""), ("garbage", b"x"), ("half", whole[:1000]), ("header", whole[:9])):
        (tmp_path / f"{name}.npy").write_bytes(content)
    for name in ("empty.npy", "garbage.npy", "half.npy", "header.npy", "objects.npy", "several.npz", "absent.npy"):
        with pytest.raises(DataError, match=name):
            load_array(tmp_path / name, mapped=mapped)
