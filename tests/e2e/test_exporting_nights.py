"""Pipelines whose decisions look at the order of a night are exported with them; members that see several images are refused."""

from __future__ import annotations

import json

import pytest

import small_runs
from tapetum import api
from tapetum.core import errors, files

pytest.importorskip("onnxscript")


NAMED = {"data__targets": ["stage"], "data__sequence": "night", "data__position": "place", "data__path": "file", "data__group": None}


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Two classes in long runs, in the order of a night; single images, then context."""
    import numpy as np
    from PIL import Image

    def make(place):
        rng = np.random.default_rng(0)
        lines = ["file,stage,night,place"]
        files.make_folder(place / "data")
        for night in range(4):
            for at in range(12):
                stage = (at // 4 + night) % 2
                pixels = np.clip(rng.normal(90 + 70 * stage, 45, (32, 32, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / "data" / f"n{night}-{at:02d}.png")
                lines.append(f"n{night}-{at:02d}.png,{'ab'[stage]},{night},{at}")
        files.write_text(place / "data" / "labels.csv", "\n".join(lines) + "\n")
        how = {"train__epochs": 0, "split__folds": 2, "decide__steps": ["context"], **NAMED}
        small_runs.fit(place / "data" / "labels.csv", place / "run", **how)

    return small_runs.once(tmp_path_factory, "exported-night", make)


def test_context_over_a_night_is_decided_as_by_the_pipeline(night, tmp_path):
    found = api.export(night / "run", "onnx", tmp_path / "out")
    assert found["gate"]["targets"]["stage"]["agreement"] == 1
    assert "decision step 'context'" in found["simple"]  # what the short script does not follow
    table = night / "data" / "labels.csv"
    mine, theirs = (api.predict(place, table)["answers"] for place in (tmp_path / "out", night / "run"))
    assert [one["answers"]["stage"]["answer"] for one in mine] == [one["answers"]["stage"]["answer"] for one in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert one["answers"]["stage"]["p"] == pytest.approx(other["answers"]["stage"]["p"], abs=1e-4)
    spec = files.read_json(tmp_path / "out" / "ensemble.json")
    assert [step["name"] for step in spec["decisions"]["steps"]["stage"]["steps"]] == ["context"]


def test_a_model_over_sequences_is_refused_with_the_reason(night, tmp_path):
    how = {"train__epochs": 1, "split__folds": 2, "decide__choose": "finetune", "sequence__length": 3, "sequence__features": "frozen"}
    small_runs.fit(night / "data" / "labels.csv", tmp_path / "run", **NAMED, **how)
    done = small_runs.cli("export", tmp_path / "run", "-o", tmp_path / "out", "--json")
    assert (done.code, "answers sequences of 3 images" in done.error) == (errors.USAGE, True)
    assert json.loads(small_runs.cli("predict", tmp_path / "run", night / "data" / "labels.csv", "--json").out)["rows"] == 48
    assert not (tmp_path / "out").exists()
