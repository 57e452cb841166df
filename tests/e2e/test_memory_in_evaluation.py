"""Memory that runs out while images are answered: the batch is halved, said and recorded once, and the answers are the same."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

import small_runs
from tapetum import api
from tapetum.core import files
from tapetum.core.runs import Run
from tapetum.core.tables import Predictions
from tapetum.data.simulate import ordered
from tapetum.pipeline import Pipeline


@pytest.fixture
def narrow(monkeypatch):
    """Let an evaluation pass of more than some images run out of memory; return what was tried."""
    tried: list[int] = []

    def narrow_to(most, model="efficientnet.EfficientNet"):
        module, _, name = model.partition(".")
        kind = getattr(getattr(timm.models, module), name)
        plain = kind.forward_features

        def forward_features(self, x, *more, **how):
            if not self.training:
                tried.append(len(x))
                if len(x) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
            return plain(self, x, *more, **how)

        monkeypatch.setattr(kind, "forward_features", forward_features)
        return tried

    return narrow_to


def table(run, **values):
    return Predictions.read(run / "oof.parquet").dense("label", **values)


def test_fit_answers_the_same_with_fewer_images_at_once(planted, tmp_path, narrow):
    sets = {
        "predict__views": "flips",
        "predict__reduce": "auto",
        "decide__choose": "finetune",
        "train__start": "random",
        "train__epochs": 1,
    }
    small_runs.fit(planted / "labels.csv", tmp_path / "whole", **sets)
    assert files.read_json(tmp_path / "whole/members/main/fold-0/memory.json")["answered_at_once"] == 64
    tried, said = narrow(3), []
    small_runs.fit(planted / "labels.csv", tmp_path / "halved", log=said.append, **sets)
    assert max(tried) == 24  # the probe's vectors, all rows at once
    np.testing.assert_allclose(table(tmp_path / "halved").p, table(tmp_path / "whole").p, atol=1e-6)
    for member in ("main", "probe"):
        for fold in range(3):
            a, b = (Predictions.read(tmp_path / run / "members" / member / f"fold-{fold}" / "oof.parquet") for run in ("halved", "whole"))
            # The probe is fitted on the vectors: their last digit, which depends on the batch, moves where its descent ends.
            np.testing.assert_allclose(a.dense("label", member).p, b.dense("label", member).p, atol=1e-6 if member == "main" else 2e-3)
    assert files.read_json(tmp_path / "halved/members/main/fold-0/memory.json")["answered_at_once"] == 2  # of 8 rows: 4, then 2
    lines = [text for text in said if "at a time" in text]
    assert len(lines) == len(set(lines)) > 0
    assert any("at a time" in text for text in files.read_json(tmp_path / "halved" / "run.json")["log"])


def test_prediction_says_it_and_names_no_row_missing(probed, narrow, capsys):
    run = Run(probed)
    before = Pipeline.load(probed).answer(run.manifest())["label"]
    narrow(5)
    said: list[str] = []
    after = Pipeline.load(probed).answer(run.manifest(), said.append)["label"]
    assert after.ok.all()
    np.testing.assert_allclose(after.p, before.p, atol=1e-6)
    assert [text for text in said if "at a time" in text][-1].endswith("now answered 3 at a time")


@pytest.mark.parametrize("features", ["frozen", "end-to-end"])
def test_neighbours_are_answered_in_pieces_too(tmp_path, narrow, features):
    data = ordered.simulate(tmp_path / "data", nights=4, length=10)
    sets = (
        "data.targets=['stage']", "data.sequence=night", "data.position=place", "data.path=file", "split.folds=2", "augment=[]",
        "input.size=16", "model.backbone=test_resnet", "model.weights=none", "probe.enabled=false", "decide.choose=finetune",
        "train.threads=1", "train.precision='32'", "train.start=random", "sequence.length=3", f"sequence.features={features}",
        "train.epochs=1",
    )  # fmt: skip
    recipe = api.load_recipe(sets=sets)
    api.fit(data.root / "labels.csv", tmp_path / "whole", recipe=recipe)
    manifest = Run(tmp_path / "whole").manifest()
    before = Pipeline.load(tmp_path / "whole").answer(manifest)["stage"].p
    narrow(4, "resnet.ResNet")
    np.testing.assert_allclose(Pipeline.load(tmp_path / "whole").answer(manifest)["stage"].p, before, atol=1e-5)
    said: list[str] = []
    api.fit(data.root / "labels.csv", tmp_path / "halved", recipe=recipe, log=said.append)
    assert any("at a time" in text for text in said)
    assert (Predictions.read(tmp_path / "halved" / "oof.parquet").frame["status"] == "ok").all()


def test_one_image_too_large_ends_with_the_device_error(planted, tmp_path, narrow):
    narrow(0)
    with pytest.raises(torch.OutOfMemoryError, match=r"20\.00 GiB"):
        small_runs.fit(planted / "labels.csv", tmp_path / "run", train__epochs=0)
