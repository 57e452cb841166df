"""Random draws: each is keyed by what it is for, so workers, batches and restarts change nothing.

Row-wise draws are keyed by (seed, member, fold, epoch, row_id, occurrence, draw), batch-wise ones by (seed, member, fold, step).
"""

from __future__ import annotations

import hashlib

import numpy as np


def key(*parts: object) -> int:
    """Return a 63-bit seed that depends on every part, the same on every machine."""
    digest = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*parts: object) -> np.random.Generator:
    """Return numpy's generator for a key."""
    return np.random.default_rng(key(*parts))
