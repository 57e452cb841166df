"""What a run learnt from is not asked for again, and looking for it takes time in proportion to the rows."""

from __future__ import annotations

import types

import polars as pl

from tapetum.core.runs import Record
from tapetum.core.tables import Manifest
from tapetum.workflow.commands import labelling


def test_what_a_run_learnt_from_is_left_out(tmp_path, monkeypatch):
    made, plain = [], Manifest.split.fget
    monkeypatch.setattr(Manifest, "split", property(lambda self: made.append(1) or plain(self)))
    ids = [f"{i}.png" for i in range(60)]
    rows = pl.DataFrame({"row_id": ids, "path": [[name] for name in ids]})
    learnt = Manifest(rows.head(40).with_columns(split=pl.Series(["train"] * 30 + ["test"] * 10)), (), tmp_path)
    store = types.SimpleNamespace(holding=lambda: {"0.png": None}, path=tmp_path / "s.sqlite")
    run = types.SimpleNamespace(manifest=lambda: learnt)
    left = labelling._without_known(Manifest(rows, (), tmp_path), run, store, Record())
    assert left.row_ids == [ids[0], *ids[30:]]  # a decided one stays; test rows taught nothing
    assert len(made) < 5
