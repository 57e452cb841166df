"""Identities: their head and loss where nothing is named, what does not touch them, and vectors by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import kinds
from images import plant
from tapetum.core.config import Data, Input, Loss, Model
from tapetum.core.targets import Target, parse_target
from tapetum.data import layouts
from tapetum.data.images.dataset import ImageDataset, batches
from tapetum.data.images.form import Form
from tapetum.data.images.transforms import EvalTransform
from tapetum.learn import models
from tapetum.learn.choices import head_of
from tapetum.learn.embedding import embed
from tapetum.learn.runtime import Engine, Runtime
from tapetum.learn.training import losses
from tapetum.learn.training.checks import check_heads, loss_of
from tapetum.learn.training.objective import Objective

PLACES = Target("places", "multi", ("a", "b"))
LINE = Target("line", "single", ("l0", "l1", "l2"), scored=False)
TINY = Model(backbone="test_efficientnet", weights="none")


def test_short_spelling_means_an_unscored_single_target():
    assert parse_target("line:identity") == Target("line", "single", scored=False)
    assert parse_target("line:identity").is_identity
    assert not parse_target("line").is_identity


def test_identities_get_cosines_and_their_margin_whatever_the_others_have():
    loss, model = Loss(name="focal+0.1*lovasz"), TINY.model_copy(update={"head": {"name": "mlp", "hidden": 0}})
    assert (head_of(model, LINE), loss_of(loss, LINE)) == ("cosine", "arcface")
    assert (head_of(model, PLACES), loss_of(loss, PLACES)) == (model.head, "focal+0.1*lovasz")
    check_heads(model, loss, [PLACES, LINE])
    named = Loss(targets={"line": "cross_entropy"})
    assert loss_of(named, LINE) == "cross_entropy"
    assert head_of(TINY.model_copy(update={"heads": {"line": "linear"}}), LINE) == "linear"


def test_smoothing_and_weights_of_classes_do_not_touch_identities():
    torch.manual_seed(0)
    single = Target("breed", "single", ("a", "b", "c"))
    logits = {"breed": torch.randn(6, 3), "line": torch.rand(6, 3) * 2 - 1}
    y = {name: torch.eye(3)[torch.arange(6) % 3] for name in logits}
    y["line"][2] = torch.nan  # an individual nobody knows
    counts = {"breed": np.array([1, 2, 3]), "line": np.array([5, 1, 1])}
    objective = Objective(Loss(smoothing=0.2, class_weights="balanced", logit_adjust=1.0), [single, LINE], counts)
    known = ~torch.isnan(y["line"]).any(1)
    by_hand = losses.arcface(logits["line"][known], y["line"][known]).mean()
    assert objective.by_target(logits, y)["line"] == pytest.approx(float(by_hand), rel=1e-5)
    assert any("identities 'line'" in remark for remark in objective.remarks)


def test_a_network_answers_what_is_scored_alone():
    network = models.build(TINY, [PLACES, LINE], 3, Input(size=32)).eval()
    logits = network(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert set(logits) == {"places", "line"}
    assert set(network.probabilities(logits)) == {"places"}


def test_unreadable_image_has_no_vector(tmp_path):
    planted = plant(tmp_path, classes=3, each=3, size=32, truncated=True)
    manifest = layouts.read(planted.table, Data(targets=("label",)), lambda _: None)
    settings = Input(size=32)
    line = Target("label", "single", manifest.target("label").classes, scored=False)
    network = models.build(TINY, [line], 3, settings).eval()
    images = ImageDataset(manifest, settings, EvalTransform(settings), form=Form(3))
    rows = np.array([8, 3, 0])
    found = embed(network, images, rows, "label", Runtime(Engine("cpu", "32", False)), batch=2)
    assert found.row_ids.tolist() == [manifest.row_ids[r] for r in rows]
    assert np.isnan(found.matrix[0]).all()
    batch = next(batches(images, rows[1:], 2))
    by_hand = network.vectors(batch.x, "label")
    assert np.allclose(found.matrix[1:], by_hand.detach().numpy(), atol=1e-5)


def test_identities_stand_beside_the_targets_of_a_layout(tmp_path):
    kinds.plant_hpa(tmp_path, rows=30, test=4)
    said: list[str] = []
    data = Data(layout="hpa", join=(str(tmp_path / "antibodies.csv"),), group="antibody", targets=("antibody:identity",))
    manifest = layouts.read(tmp_path, data, said.append)
    assert [(t.name, t.kind, t.scored, len(t.classes)) for t in manifest.targets] == [
        ("Target", "multi", True, 28),
        ("antibody", "single", False, 15),
    ]
    test = manifest.split == "test"
    assert np.isnan(manifest.truth("antibody")[test]).all()
    assert not np.isnan(manifest.truth("antibody")[~test]).any()
    assert any("identities, never scored" in line for line in said)
