from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from images import plant
from tapetum import api
from tapetum.core import files
from tapetum.core.config import Recipe
from tapetum.core.errors import UserError
from tapetum.core.tables import Dense
from tapetum.core.targets import Target
from tapetum.decide.steps import Rows
from tapetum.workflow.commands import trials
from tapetum.workflow.commands.ablate import FINETUNE, compared, pieces_of

TINY = (
    "model.backbone=test_resnet", "model.weights=none", "input.size=32", "train.batch=8", "train.threads=1", "train.epochs=1",
    "train.precision='32'", "split.folds=2", "probe.size=32", "probe.views=['plain']", "probe.strengths=[1.0]", "mix=['mixup']",
)  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablate")
    plant(folder, classes=2, each=10, size=32)
    recipe = api.load_recipe(sets=TINY)
    found = api.ablate(folder / "images", folder / "run", recipe=recipe, pieces=["mix", FINETUNE], seeds=[0, 1])
    return folder, recipe, found


def test_variants_differ_by_piece_and_seed_alone(measured):
    folder, _, _ = measured
    specs = [files.read_json(path) for path in sorted((folder / "run" / "trials").glob("*/members/main/fold-0/spec.json"))]
    assert len(specs) == 4
    assert len({files.fingerprint(s["heldout"]) for s in specs}) == 1
    assert sorted((s["recipe"]["seed"], bool(s["recipe"]["mix"])) for s in specs) == [(0, False), (0, True), (1, False), (1, True)]
    plain = [{k: v for k, v in s["recipe"].items() if k not in ("seed", "mix")} for s in specs]
    assert all(p == plain[0] for p in plain)


def test_the_table_tells_what_each_piece_is_worth(measured):
    _, _, found = measured
    rows = {row["piece"]: row for row in found["pieces"]}
    assert set(rows) == {"mix", FINETUNE}
    for row in rows.values():
        assert row["n"] == 40  # 20 rows of two seeds
        assert row["groups"] == 20
        assert row["low"] <= row["worth"] <= row["high"]
        assert set(row["by_seed"]) == {"0", "1"}
    assert "mix" in found["table"]


def test_what_is_done_is_only_read(measured, monkeypatch):
    folder, recipe, found = measured
    monkeypatch.setattr("tapetum.learn.training.job.build", lambda *_: pytest.fail("trained again"))
    again = api.ablate(folder / "images", folder / "run", recipe=recipe, pieces=["mix", FINETUNE], seeds=[0, 1])
    assert again["pieces"] == found["pieces"]


def test_paired_difference_has_the_sign_of_the_piece():
    target = Target("y", "regression", ())
    rng = np.random.default_rng(0)
    y = rng.normal(size=(30, 1)).astype(np.float32)
    ids, fold, ok = np.array([str(i) for i in range(30)], dtype=object), np.zeros(30, dtype=np.int16), np.full(30, "ok", dtype=object)
    near, far = (Dense(target, ids, y + e, y, fold, ok) for e in (np.float32(0.1), np.float32(0.3)))
    row = compared("piece", [near], [far], Rows(ids, fold), [0])
    assert row["metric"] == "mae"
    assert row["worth"] == pytest.approx(0.2, abs=1e-6)  # with it the error is smaller by that much
    assert (row["low"], row["high"]) == (pytest.approx(0.2, abs=1e-6), pytest.approx(0.2, abs=1e-6))  # paired: no noise is left


def test_every_piece_that_a_recipe_uses_can_be_switched_off():
    recipe = Recipe.model_validate(
        {
            "mix": ["mixup", "cutmix"],
            "average": {"name": "swa", "epochs": 2},
            "optimizer": {"layer_decay": 0.7},
            "schedule": {"name": "cosine_restarts", "options": {"t0": 4.0}},
            "loss": {"name": "focal_softmax", "options": {"focal_softmax": {"gamma": 1.0}}},
            "stages": [{"epochs": 2, "trains": "head"}, {"epochs": 2}],
            "sequence": {"length": 3},
        }
    )
    found = pieces_of(recipe)
    assert {"mix", "mix:mixup", "mix:cutmix", "augment", "augment:hflip", "average", "layer_decay", "start", "transfer", "stages"} <= set(
        found
    )
    for name, off in found.items():
        without = trials.changed(recipe, off)
        assert without != recipe, name
        assert name not in pieces_of(without), name


def test_a_piece_that_is_not_used_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"no piece .smothing. .*smoothing"):
        api.ablate(tmp_path, tmp_path / "run", recipe=api.load_recipe(), pieces=["smothing"])
