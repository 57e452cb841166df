"""What tells whether a part of a long prediction is still right."""

from __future__ import annotations

import os
import time

import polars as pl

from tapetum.core.parts import made_of
from tapetum.core.tables import Manifest


def test_a_file_with_its_old_time_makes_another_part(tmp_path):
    rows = Manifest(pl.DataFrame({"row_id": ["a"], "path": [["x.png"]]}), (), tmp_path)
    (tmp_path / "x.png").write_bytes(b"first")
    before, times = made_of(rows, ""), os.stat(tmp_path / "x.png")
    time.sleep(0.02)
    (tmp_path / "x.png").write_bytes(b"other")
    os.utime(tmp_path / "x.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert made_of(rows, "") != before
