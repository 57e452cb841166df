"""The table of folds, over many rows."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.show.fold_section import among


class Counted(str):
    """A text that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)


@pytest.mark.parametrize("share", [0, 1, 2])
def test_ids_are_found_without_comparing_all_pairs(share):
    ids = np.array([Counted(f"{i}.png") for i in range(1000)], dtype=object)
    wanted = [f"{i}.png" for i in range(0, 1000, share)] if share else []
    Counted.compared = 0
    assert np.flatnonzero(among(ids, wanted)).tolist() == (list(range(0, 1000, share)) if share else [])
    assert Counted.compared <= 2 * len(ids)
