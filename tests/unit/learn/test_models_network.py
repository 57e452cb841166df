import inspect

import numpy as np
import pytest
import torch

from tapetum.core import config
from tapetum.core.errors import UserError
from tapetum.core.targets import Target
from tapetum.learn.choices import HEADS, SHARINGS
from tapetum.learn.models import backbone, heads, network

BREED = Target("breed", "single", ("pug", "lab", "cat"))
AGE = Target("age", "ordinal", ("0-2", "3-9", "10-19", "20+"))
YEARS = Target("years", "regression")
TAGS = Target("tags", "multi", ("x", "y"))
ALL = (BREED, AGE, YEARS, TAGS)
SMALL = config.Model(backbone="test_resnet", weights="none")


def made(targets=ALL, channels=3, side=0, how=None, **model):
    return network.build(SMALL.model_copy(update=model), targets, channels, how, side=side).eval()


def test_uint8_and_float_images_are_normalised_by_the_numbers():
    net = made(channels=4, how=config.Input(normalise={"mean": (0.1, 0.2, 0.3, 0.4), "std": (0.5, 1.0, 2.0, 4.0)}))
    x = torch.randint(0, 256, (2, 4, 8, 8), dtype=torch.uint8)
    want = (x.numpy() / 255.0 - np.array([0.1, 0.2, 0.3, 0.4])[:, None, None]) / np.array([0.5, 1, 2, 4])[:, None, None]
    np.testing.assert_allclose(net.normalise(x).numpy(), want, atol=1e-6)
    np.testing.assert_allclose(net.normalise(x.float() / 255).numpy(), want, atol=1e-6)
    with pytest.raises(UserError, match="3 channels came to a network for 4"):
        net.normalise(x[:, :3])


def test_logits_and_probabilities_have_the_shapes_of_their_kinds():
    net = made(heads={"age": "coral"}, side=2)
    logits = net(torch.rand(5, 3, 64, 64), torch.randn(5, 2))
    assert {name: tuple(v.shape) for name, v in logits.items()} == {"breed": (5, 3), "age": (5, 3), "years": (5, 1), "tags": (5, 2)}
    p = net.probabilities(logits)
    assert {name: v.shape[1] for name, v in p.items()} == {t.name: t.width for t in ALL}
    torch.testing.assert_close(p["breed"].sum(1), torch.ones(5))
    torch.testing.assert_close(p["age"].sum(1), torch.ones(5))
    assert torch.equal(p["years"], logits["years"])
    assert all(v.dtype == torch.float32 for v in p.values())


def test_views_of_a_row_are_averaged_as_features():
    net = made()
    x = torch.rand(2, 3, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(net.features(x), torch.stack([net.features(x[:, v]) for v in range(3)]).mean(0), atol=1e-5, rtol=1e-5)


def test_coral_probabilities_are_differences_of_sigmoids():
    head = heads.Coral(6, 0, AGE, normalise=False)
    logits = head(torch.randn(20, 6) * 5)
    above = torch.sigmoid(logits)
    want = torch.stack([1 - above[:, 0], above[:, 0] - above[:, 1], above[:, 1] - above[:, 2], above[:, 2]], 1)
    torch.testing.assert_close(head.probabilities(logits), want)
    assert (want >= 0).all()


def test_coral_takes_descending_biases_as_they_are():
    head = heads.Coral(6, 2, AGE)
    head.start_from(torch.randn(1, 6), torch.tensor([3.0, 0.5, -40.0]))
    torch.testing.assert_close(head.biases(), torch.tensor([3.0, 0.5, -40.0]))


def test_crossing_thresholds_are_put_in_order():
    p = heads.cumulative_to_classes(torch.tensor([[0.2, 0.7, 0.1]]))
    torch.testing.assert_close(p, torch.tensor([[0.8, 0.0, 0.1, 0.1]]))


def test_a_sigmoid_head_reads_its_scale_at_one():
    head = heads.Sigmoid(4, 0, YEARS, scale=60.0)
    torch.nn.init.zeros_(head.linear.weight)
    torch.nn.init.zeros_(head.linear.bias)
    assert head(torch.randn(3, 4)).tolist() == [[30.0]] * 3


def test_cosine_logits_are_cosines_and_vectors_have_length_one():
    net = made((BREED,), head={"name": "cosine", "width": 8})
    x = torch.rand(4, 3, 64, 64)
    vectors = net.vectors(x, "breed")
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    directions = net.head("breed").directions
    want = vectors.detach().numpy() @ (directions / directions.norm(dim=1, keepdim=True)).detach().numpy().T
    np.testing.assert_allclose(net(x)["breed"].detach().numpy(), want, atol=1e-5)
    with pytest.raises(UserError, match="gives no vectors"):
        made((BREED,)).vectors(x, "breed")


@pytest.mark.parametrize("sharing", ["cross-stitch", "attention"])
def test_soft_sharing_starts_as_hard_sharing_and_then_parts(sharing):
    hard, soft = made(), made(sharing=sharing)
    for name in hard.targets:
        hard.head(name).load_state_dict(soft.head(name).state_dict())
    x = torch.rand(2, 3, 64, 64)
    before = soft(x)
    for name, value in hard(x).items():
        torch.testing.assert_close(value, before[name], atol=1e-5, rtol=1e-5)
    before["breed"].sum().backward()
    grads = [p.grad for p in soft.sharing.parameters() if p.grad is not None]
    assert any(g.abs().sum() > 0 for g in grads)


def test_attention_runs_on_a_transformers_tokens():
    net = made(backbone="test_vit", sharing="attention")
    assert net(torch.rand(2, 3, 64, 96))["tags"].shape == (2, 2)


def test_side_numbers_change_answers_and_missing_ones_are_zero():
    net = made(side=2)
    x = torch.rand(2, 3, 64, 64)
    plain = net(x, torch.zeros(2, 2))["breed"]
    assert not torch.equal(net(x, torch.ones(2, 2))["breed"], plain)
    assert torch.equal(net(x, torch.full((2, 2), float("nan")))["breed"], plain)
    with pytest.raises(UserError, match="got none"):
        net(x)


def test_derived_target_has_a_head_only_where_named():
    joint = Target("ans", "single", ("0", "1"), expression="breed + age")
    assert list(made((BREED, AGE, joint)).targets) == ["breed", "age"]
    assert list(made((BREED, AGE, joint), heads={"ans": "linear"}).targets) == ["breed", "age", "ans"]


def test_a_head_that_cannot_answer_the_kind_is_refused():
    with pytest.raises(UserError, match="cannot answer target 'breed', which is single"):
        made(head="coral")


def test_same_seed_same_network_and_its_parts_make_it_again(tmp_path):
    one, two = made(side=1, sharing="cross-stitch"), made(side=1, sharing="cross-stitch")
    assert backbone.state_hash(one) == backbone.state_hash(two)
    assert backbone.state_hash(one) != backbone.state_hash(network.build(SMALL, ALL, 3, side=1, seed=1))
    content = backbone.tensors_to_bytes(one.head_state())
    other = network.build(SMALL.model_copy(update={"sharing": "cross-stitch"}), ALL, 3, side=1, seed=1)
    other.load_head_state(backbone.tensors_from_bytes(content))
    other.backbone.load_state_dict(one.backbone.state_dict())
    assert backbone.state_hash(other) == backbone.state_hash(one)
    with pytest.raises(UserError, match="does not fit"):
        other.load_head_state({})


def test_building_logs_decisions_and_keeps_the_random_state():
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    said = []
    network.build(config.Model(channels="copy:R"), (BREED,), 4, log=said.append)
    assert torch.equal(state, torch.random.get_rng_state())
    assert any("package:efficientnet-lite0" in line for line in said)
    assert any("channel 4 gets a copy of R's weights" in line for line in said)


@pytest.mark.parametrize("table", [HEADS, SHARINGS])
def test_choices_say_what_the_signatures_say(table):
    for choice in table.values():
        parameters = inspect.signature(choice.load()).parameters.values()
        assert {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty} == choice.parameters


@pytest.mark.parametrize("spec", ["linear", {"name": "mlp", "hidden": 8}])
def test_number_head_learns_in_units_of_its_spread(spec):
    target = Target("age", "regression")
    head = network.make_head(spec, 6, 0, target).eval()
    truth = torch.tensor([[20.0], [40.0], [float("nan")], [60.0]])
    before = head(torch.randn(5, 6, generator=torch.Generator().manual_seed(0)))
    head.measure(truth)
    after = head(torch.randn(5, 6, generator=torch.Generator().manual_seed(0)))
    spread = float(np.std([20, 40, 60]))
    torch.testing.assert_close(after, before * spread + 40)
    if spec == "linear":
        weight, bias = torch.randn(1, 6), torch.tensor([33.0])
        head.start_from(weight, bias)
        f = torch.randn(4, 6)
        torch.testing.assert_close(head(f), torch.nn.functional.normalize(f, dim=1) * 6**0.5 @ weight.T + bias)
