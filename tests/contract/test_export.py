"""What ships answers as what was trained: the frozen folds against the members' held-out predictions, for every choice."""

from __future__ import annotations

import numpy as np
import pytest

import small_runs
from tapetum.core import files
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions
from tapetum.data.images.dataset import ImageDataset
from tapetum.data.images.transforms import EvalTransform
from tapetum.decide import choose
from tapetum.learn import inference
from tapetum.learn.runtime import Runtime
from tapetum.pipeline import Pipeline

CHOICES = ("probe", "finetune", "mean", "mean over levels")
LEVELS = {"model__pooling": "levels", "input__gains": [0.5, 1.0, 2.0], "input__normalise": "data"}


@pytest.fixture(scope="module", params=CHOICES)
def shipped(request, tmp_path_factory, planted):
    """A run that ships the probe, fine-tuned folds, or their mean (the choice is forced: on noise nobody earns it)."""
    name = request.param.partition(" ")[0]

    def forced(candidates, *_):
        folds = sorted({int(f) for f in next(iter(candidates["probe"].values())).fold})
        return choose.Choice(dict.fromkeys(folds, name), name, dict.fromkeys(candidates, 0.5), "forced by a test")

    def make(place):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(choose, "pick_candidate", forced)
            values = LEVELS if request.param.endswith("levels") else {}
            small_runs.fit(planted / "labels.csv", place / "run", train__epochs=1, **values)

    return name, small_runs.once(tmp_path_factory, f"shipped-{request.param}", make) / "run"


def answers(member, manifest):
    """Return fold → what a frozen member's fold says of all rows (N, K)."""
    images = ImageDataset(manifest, member.settings, EvalTransform(member.settings), form=member.form)
    runtime, rows = Runtime(member.engine), np.arange(len(manifest))
    return {k: inference.answer(net, images, rows, member.predict, runtime).p["label"] for k, net in member.networks.items()}


def test_frozen_fold_answers_heldout_rows_as_in_training(shipped):
    choice, folder = shipped
    run, pipeline = Run(folder), Pipeline.load(folder)
    manifest = run.manifest()
    assert {m.name for m in pipeline.members} == {"probe": {"probe"}, "finetune": {"main"}, "mean": {"probe", "main"}}[choice]
    for member in pipeline.members:
        assert sorted(member.networks) == [0, 1, 2]
        for fold, p in answers(member, manifest).items():
            table = Predictions.read(run.member(member.name, fold) / ("oof.parquet" if member.name == "probe" else "epochs.parquet"))
            checkpoint = "final" if member.name == "probe" else pipeline.decisions["epochs"]["main"]["final"]
            dense = table.dense("label", member.name, checkpoint=checkpoint)
            place = {row_id: i for i, row_id in enumerate(manifest.row_ids)}
            rows = [place[row_id] for row_id in dense.row_ids]
            assert set(rows) == set(np.flatnonzero(manifest.fold == fold))
            assert np.abs(p[rows] - dense.p).max() < 2e-5


def test_the_pipeline_averages_its_folds_and_then_its_candidates(shipped):
    choice, folder = shipped
    pipeline, manifest = Pipeline.load(folder), Run(folder).manifest()
    by_member = [np.mean(list(answers(m, manifest).values()), axis=0) for m in pipeline.members]
    assert len(by_member) == (2 if choice == "mean" else 1)
    assert np.abs(pipeline.answer(manifest)["label"].p - np.mean(by_member, axis=0)).max() < 1e-6


def test_the_frozen_folder_needs_nothing_else(shipped, planted, tmp_path):
    import shutil

    _, folder = shipped
    alone = shutil.copytree(folder / "pipeline", tmp_path / "alone")
    paths = sorted((planted / "images").rglob("*.png"))[:3]
    assert np.array_equal(Pipeline.load(alone).predict_proba(paths), Pipeline.load(folder).predict_proba(paths))
    assert not [p for p in alone.rglob("*") if p.suffix in (".pkl", ".pt", ".pth", ".ckpt")]
    assert str(folder) not in files.read_json(alone / "pipeline.json").__repr__()
