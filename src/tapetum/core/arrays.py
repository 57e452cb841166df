"""Arrays of numbers in .npy files, read without pickle; a damaged file is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tapetum.core.errors import DataError


def load_array(path: Path | str, *, mapped: bool = False) -> np.ndarray:
    """Return the array of a .npy file.

    Args:
        path: the file.
        mapped: read from the disk what is used of it, when it is used.

    Raises:
        DataError: there is no such file, or it is no array that numpy wrote.
    """
    try:
        found = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", fix="check the path") from None
    except (ValueError, EOFError) as error:
        what = f"{path} is not a plain .npy array ({error})"
        raise DataError(what, need="numbers written by numpy.save", fix="write or copy it again") from None
    if not isinstance(found, np.ndarray):
        raise DataError(f"{path} is an archive of arrays", need="one array, written by numpy.save")
    return found
