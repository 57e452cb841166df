"""What `mask-plus` promises, on the smallest networks: statement M15 and the techniques of the recipe."""

from __future__ import annotations

import pytest
import torch

from tapetum import api
from tapetum.core.expressions import derive_target
from tapetum.core.targets import parse_target
from tapetum.learn import models
from tapetum.learn.models.sharing import CrossStitch
from tapetum.learn.training.objective import Objective

PLUS = api.load_recipe("mask-plus").recipe


def targets():
    own = [parse_target(text) for text in PLUS.data.targets]
    parts = {target.name: target for target in own}
    return [*own, derive_target("years_class", "years", parts), derive_target("ans", "mask*6 + gender*3 + age", parts)]


def network(**changes):
    model = PLUS.model.model_copy(update={"backbone": "test_resnet", "weights": "none", **changes})
    return models.build(model, targets(), 3, PLUS.input.model_copy(update={"size": 32}))


def test_M15_tasks_share_by_cross_stitch_not_one_vector():
    built = network()
    assert isinstance(built.sharing, CrossStitch)
    assert built.sharing.tasks == len(built.targets) == 5
    mixture = built.sharing.stitches[0]
    assert mixture.requires_grad
    assert torch.allclose(mixture.sum(dim=1), torch.ones(5))
    assert network(sharing="hard").sharing is None


@pytest.mark.parametrize("size", [32, pytest.param(None, marks=pytest.mark.slow)], ids=["small", "full profile"])
def test_one_training_step_moves_what_tasks_share(size):
    torch.manual_seed(0)
    built = network() if size else models.build(PLUS.model.model_copy(update={"weights": "none"}), targets(), 3, PLUS.input)
    height, width = (size, size) if size else PLUS.input.size
    objective = Objective(PLUS.loss, list(built.targets.values()))
    truth = {name: torch.eye(max(target.width, 2))[:2, : target.width] for name, target in built.targets.items()}
    optimizer = torch.optim.SGD(built.parameters(), lr=0.1)
    before = [stitch.detach().clone() for stitch in built.sharing.stitches]
    for _ in range(2):  # the layers behind the mixtures start at zero
        optimizer.zero_grad()
        loss = objective(built(torch.rand(2, 3, height, width)), truth)
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(old, new) for old, new in zip(before, built.sharing.stitches, strict=True))


def test_ages_near_a_border_learn_from_five_year_thresholds():
    found = {target.name: target for target in targets()}
    assert found["age"].kind == "ordinal"
    assert len(found["years_class"].classes) == 10
    assert type(network().head("years_class")).__name__ == "Coral"
