"""Each statement of the write-up of `mask` stands in its recipe, and what stands there does what was said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from tapetum import api
from tapetum.core.config import Data
from tapetum.core.expressions import compose as product
from tapetum.core.targets import Target, decode
from tapetum.data import layouts
from tapetum.data.images import sampling
from tapetum.data.images.decode import Composition, compose
from tapetum.data.images.randaugment import magnitude_of
from tapetum.data.images.sampling import Training
from tapetum.decide.ensemble import Vote
from tapetum.learn import models
from tapetum.learn.training import optimizers
from tapetum.learn.training.objective import Objective, counts_of, spreads_of
from tapetum.systems import statements

MASK = api.load_recipe("mask").recipe
MEMBERS = MASK.members()
TARGETS = (
    Target("mask", classes=("worn", "incorrect", "none")),
    Target("gender", classes=("male", "female")),
    Target("age", classes=("0-29", "30-59", "60+")),
    Target("years", "regression", borders=(30.0, 60.0)),
)


def tiny(member, **changed):
    """Return a member's network around a tiny backbone."""
    small = {"backbone": "test_resnet", "weights": "none", **changed}
    return models.build(MEMBERS[member].model.model_copy(update=small), TARGETS, 3, MEMBERS[member].input)


def training(counts):
    """Return rows of one target: class → how many."""
    target = next(t for t in TARGETS if set(counts) == set(t.classes))
    truth = np.concatenate([np.eye(len(target.classes), dtype=np.float32)[[target.classes.index(c)] * n] for c, n in counts.items()])
    return target, Training([target], {target.name: truth})


def occurrences(member, counts):
    """Return how often each row of a class occurs in an epoch of a member: class → (rows,)."""
    target, rows = training(counts)
    order = sampling.order(MEMBERS[member].sample, rows, seed=0, member=member, fold=0, epoch=0)
    times = np.bincount(order.rows, minlength=rows.rows)
    label = rows.truths[target.name].argmax(axis=1)
    return {name: times[label == k] for k, name in enumerate(target.classes)}


def test_fourteen_statements_stand_in_the_recipe():
    assert list(statements.places(MASK)) == [f"M{i:02d}" for i in range(1, 15)]
    assert [s.id for s in statements.statements("mask")] == [f"M{i:02d}" for i in range(1, 16)]


def test_M01_three_operations_at_magnitude_six_of_thirty():
    (spec,) = MEMBERS["multi-task"].augment
    assert spec == {"name": "randaugment", "n": 3, "magnitude": 6}
    assert magnitude_of("Rotate", spec["magnitude"], (224, 224)) == pytest.approx(30 * 6 / 30)
    assert all(member.augment == () for name, member in MEMBERS.items() if name != "multi-task")


def test_M02_the_middle_comes_to_224_or_260(tmp_path):
    photo = np.zeros((512, 384, 3), np.uint8)
    photo[66:446, 64:320] = 255
    Image.fromarray(photo).save(tmp_path / "photo.png")
    cut = compose([tmp_path / "photo.png"], Composition.from_input(MASK.input))[0]
    assert cut.shape[:2] == (380, 256)
    assert (cut == 255).all()
    assert 66 + 380 / 2 == 512 / 2
    assert 64 + 256 / 2 == 384 / 2
    assert {name: member.input.size for name, member in MEMBERS.items() if name in ("multi-task", "age-1")} == {
        "multi-task": 224,
        "age-1": 260,
    }


def test_M03_one_resnet34_answers_three_tasks():
    model = MEMBERS["multi-task"].model
    assert model.backbone == "resnet34"
    network = tiny("multi-task")
    assert list(network.targets) == ["mask", "gender", "age"]
    assert network.sharing is None


def test_M04_six_layers_first_then_all_at_less():
    first, second = MEMBERS["multi-task"].stages
    assert (first.trains, second.trains) == ("top-6", "all")
    assert second.rate < first.rate


def test_M05_each_of_22_networks_has_one_task():
    own = {name: member for name, member in MEMBERS.items() if name.split("-")[0] in ("age", "mask", "gender")}
    assert len(own) == 22
    assert {member.model.backbone for member in own.values()} == {"efficientnet_b2"}
    for name in ("age-1", "mask-10", "gender-3"):
        assert list(tiny(name).targets) == [name.split("-")[0]]


def test_M06_ranger_is_lookahead_around_radam():
    optimizer = optimizers.build(tiny("age-1"), MEMBERS["age-1"].optimizer)
    assert isinstance(optimizer, timm.optim.Lookahead)
    assert type(optimizer._base_optimizer).__name__ == "RAdam"
    assert [(group["lookahead_k"], group["lookahead_alpha"]) for group in optimizer.param_groups] == [(6, 0.5)] * len(
        optimizer.param_groups
    )


def test_M07_held_out_photos_train_and_say_so():
    assert MASK.split.heldout_trains
    assert "un-augmented training photos" in MASK.split.allow_leak


def test_M08_nine_sets_of_age_are_balanced():
    seen = []
    for i in range(1, 10):
        times = occurrences(f"age-{i}", {"0-29": 30, "30-59": 27, "60+": 5})
        assert [int(t.sum()) for t in times.values()] == [10, 9, 5]
        seen.append((tuple(np.flatnonzero(times["0-29"])), tuple(np.flatnonzero(times["30-59"]))))
    assert len(set(seen)) == 9
    assert len({a for a, _ in seen}) == len({b for _, b in seen}) == 3


def test_M09_ten_sets_of_mask_are_balanced():
    seen = []
    for i in range(1, 11):
        times = occurrences(f"mask-{i}", {"worn": 50, "incorrect": 10, "none": 10})
        assert [int(t.sum()) for t in times.values()] == [20, 20, 20]
        assert set(times["incorrect"]) == set(times["none"]) == {2}
        seen.append(tuple(np.flatnonzero(times["worn"])))
    assert len(set(seen)) == 10


def test_M10_two_sets_of_gender_and_the_whole():
    found = [occurrences(f"gender-{i}", {"male": 20, "female": 40}) for i in (1, 2, 3)]
    assert [[int(t.sum()) for t in times.values()] for times in found] == [[20, 20], [20, 20], [20, 40]]
    assert MASK.decide.blend == "vote"
    assert Vote().weights == "equal"


def test_M11_eighteen_classes_are_composed_of_tasks(tmp_path):
    made = api.simulate("mask", tmp_path / "made", size=210, px=16)
    manifest = layouts.read(Path(made["paths"]["source"]), Data(targets=MASK.data.targets, derive=MASK.data.derive), lambda _: None)
    ans = manifest.target("ans")
    tasks = {t.name: t for t in TARGETS[:3]}
    p = {name: np.eye(len(t.classes), dtype=np.float32)[[len(t.classes) - 1]] for name, t in tasks.items()}
    assert decode(ans, product(ans, tasks, p, {})) == ["17"]


def test_M12_an_eca_resnet_can_be_switched_on():
    assert "eca" not in MEMBERS
    members = api.load_recipe("mask", sets=["member.eca.enabled=true"]).recipe.members()
    assert members["eca"].model.backbone == "ecaresnet50d"
    network = models.build(members["eca"].model.model_copy(update={"weights": "none"}), TARGETS, 3, members["eca"].input)
    assert any(type(module).__name__ == "EcaModule" for module in network.modules())


def test_M13_age_is_a_weighted_sigmoid_to_sixty():
    network = tiny("years")
    assert list(network.targets) == ["years"]
    head = network.head("years")
    head.linear.weight.data.fill_(1.0)
    head.linear.bias.data.zero_()
    width = head.linear.in_features
    answers = head(torch.tensor([[-40.0], [0.0], [40.0]]).expand(3, width) / width).detach()
    assert answers.ravel().tolist() == pytest.approx([0.0, 30.0, 60.0], abs=1e-6)

    truth = {"years": np.array([[25.0]] * 9 + [[60.0]], dtype=np.float32)}
    target = [TARGETS[3]]
    objective = Objective(MEMBERS["years"].loss, target, counts_of(target, truth), spreads_of(target, truth))
    y = torch.tensor([[25.0], [60.0]])

    def loss(*values):
        return float(objective({"years": torch.tensor([[v] for v in values])}, {"years": y}))

    assert loss(25.0, 48.0) > 5 * loss(37.0, 60.0)  # twelve years amiss: a rare age against a common one


def test_M14_the_rate_is_found_by_command(tmp_path):
    assert [place.name for place in statements.places(MASK)["M14"]] == ["tapetum find-rate"]


@pytest.mark.parametrize("member", ["multi-task", "age-1", "years"])
def test_one_training_step_of_the_full_profile(member):
    """The write-up's network, size, loss and optimizer take a step on two photos, and every weight that trains moves to numbers."""
    recipe = MEMBERS[member]
    options = {"zero_init_last": False} if "resnet" in recipe.model.backbone else {}  # else a random start moves half of the weights alone
    network = models.build(recipe.model.model_copy(update={"weights": "none", "options": options}), TARGETS, 3, recipe.input).train()
    size = recipe.input.size
    optimizer = optimizers.build(network, recipe.optimizer)
    truths = {t.name: np.array([[25.0], [60.0]]) if t.kind == "regression" else np.eye(t.width)[:2] for t in network.targets.values()}
    y = {name: torch.tensor(value, dtype=torch.float32) for name, value in truths.items()}
    objective = Objective(recipe.loss, list(network.targets.values()), {n: np.array([1, 0, 1]) for n in truths}, {"years": 17.0})
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    loss = objective(network(torch.rand(2, 3, size, size)), y)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    moved = [name for name, value in network.named_parameters() if not torch.equal(value, before[name])]
    assert len(moved) > 0.9 * len(before)
    assert all(torch.isfinite(value).all() for value in network.parameters())
