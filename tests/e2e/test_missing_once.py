"""Files that cannot be read are tried once a command, however many folds, members and views answer."""

from __future__ import annotations

import small_runs
from tapetum.data.images.dataset import ImageDataset
from tapetum.pipeline import Pipeline


def test_absent_file_is_opened_once_by_the_whole_run(planted, tmp_path, monkeypatch):
    more = {"decide__choose": "finetune", "predict__views": "flips"}
    small_runs.fit(planted / "labels.csv", tmp_path / "run", train__epochs=1, member=[{"name": "one"}, {"name": "two"}], **more)
    pipeline = Pipeline.load(tmp_path / "run")
    assert len(pipeline.members) == 2
    there = next((planted / "images").rglob("*.png"))
    tries, decode = [], ImageDataset._decode
    monkeypatch.setattr(ImageDataset, "_decode", lambda self, row: tries.append(row) or decode(self, row))
    answered = pipeline.predict([str(there), str(tmp_path / "absent.png")])
    assert answered[1] is None
    assert answered[0] is not None
    assert tries.count(1) == 1
