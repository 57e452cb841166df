"""What tells whether a part of a long prediction is still right."""

from __future__ import annotations

import os
import time

import numpy as np
import polars as pl
import pytest

from tapetum.core import files
from tapetum.core.parts import Parts, made_of
from tapetum.core.tables import Dense, Manifest, Predictions
from tapetum.core.targets import Target


def test_a_file_with_its_old_time_makes_another_part(tmp_path):
    rows = Manifest(pl.DataFrame({"row_id": ["a"], "path": [["x.png"]]}), (), tmp_path)
    (tmp_path / "x.png").write_bytes(b"first")
    before, times = made_of(rows, ""), os.stat(tmp_path / "x.png")
    time.sleep(0.02)
    (tmp_path / "x.png").write_bytes(b"other")
    os.utime(tmp_path / "x.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert made_of(rows, "") != before


def part(first, second):
    """Return a part of two rows with some probabilities."""
    p, ids = np.array([[first, 1 - first], [second, 1 - second]], dtype=np.float32), np.array(["r0", "r1"], dtype=object)
    target = Target("label", "single", ("a", "b"))
    dense = Dense(target, ids, p, p * np.nan, np.full(2, -1), np.full(2, "ok", dtype=object))
    return Predictions.from_dense([dense], role="test")


def test_a_part_with_another_byte_is_made_again(tmp_path):
    """Parquet has no checksum of its own: most tables with another byte are read, some with other probabilities."""
    parts = Parts(tmp_path / "p.parquet")
    parts.write(3, "mark", part(0.25, 0.5), {"r9": "cut"})
    assert parts.reasons(3, "mark") == {"r9": "cut"}
    assert parts.reasons(3, "other") is parts.reasons(2, "mark") is None
    content = parts.place(3).read_bytes()
    for at in range(0, len(content), 50):
        files.write_bytes(parts.place(3), content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        assert parts.reasons(3, "mark") is None
    files.write_bytes(parts.place(3), content)
    assert parts.reasons(3, "mark") == {"r9": "cut"}


def test_a_part_that_another_process_wrote_is_made_again(tmp_path):
    parts = Parts(tmp_path / "p.parquet")
    parts.write(0, "mark", part(0.25, 0.5), {})
    part(0.75, 0.5).write(parts.place(0))
    assert parts.reasons(0, "mark") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_part_with_a_damaged_note_is_made_again(tmp_path, content):
    parts = Parts(tmp_path / "p.parquet")
    parts.write(0, "mark", part(0.25, 0.5), {})
    files.write_bytes(parts.about(0), content)
    assert parts.reasons(0, "mark") is None
