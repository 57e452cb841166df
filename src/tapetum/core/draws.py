"""Random draws: each is keyed by what it is for, so workers, batches and restarts change nothing.

Row-wise draws are keyed by (seed, member, fold, epoch, row_id, occurrence, draw), batch-wise ones by (seed, member, fold, step).
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence

import numpy as np


def key(*parts: object) -> int:
    """Return a 63-bit seed that depends on every part, the same on every machine."""
    digest = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*parts: object) -> np.random.Generator:
    """Return numpy's generator for a key."""
    return np.random.default_rng(key(*parts))


def evenly(count: int, most: int) -> np.ndarray:
    """Return places (M,) int64 spread evenly over ``count``, ascending, each once: all of them, or about ``most``."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def in_proportion(strata: Sequence[Hashable], names: Sequence[str], count: int, *purpose: object) -> list[int]:
    """Return ``count`` places drawn in proportion to strata, ascending; shares are rounded by largest remainder.

    Args:
        strata: of each place (N,), as its labels.
        names: of each place; the draw depends on them and on ``purpose``, not on the order of the places.
        count: how many, at most N.
        purpose: what the draw is for.
    """
    members: dict[str, list[int]] = {}
    for place, stratum in enumerate(strata):
        members.setdefault(repr(stratum), []).append(place)
    exact = {stratum: count * len(places) / len(names) for stratum, places in members.items()}
    take = {stratum: int(share) for stratum, share in exact.items()}
    by_remainder = sorted(members, key=lambda stratum: (take[stratum] - exact[stratum], key(*purpose, stratum)))
    for stratum in by_remainder[: count - sum(take.values())]:
        take[stratum] += 1
    drawn = {s: sorted(places, key=lambda place: key(*purpose, names[place]))[: take[s]] for s, places in members.items()}
    return sorted(place for places in drawn.values() for place in places)
