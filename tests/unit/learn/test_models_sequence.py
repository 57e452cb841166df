import inspect

import pytest
import torch

from tapetum.core import config
from tapetum.core.errors import UserError
from tapetum.core.targets import Target
from tapetum.learn.choices import SEQUENCES
from tapetum.learn.models import network, sequence

STAGE = Target("stage", "single", ("W", "N", "R"))
SMALL = config.Model(backbone="test_resnet", weights="none")


def made(side=0, model=SMALL, **neighbours):
    base = network.build(model, (STAGE,), 3, side=side)
    return sequence.around(base, model, config.SequenceConfig(length=4, **neighbours), side=side).eval()


@pytest.mark.parametrize("head", sorted(SEQUENCES))
@pytest.mark.parametrize("positions", [1, 2])
def test_padding_changes_no_answer_by_content_or_number(head, positions):
    net = made(head=head, positions=positions)
    x = torch.randn(2, 4, positions, 96)
    with torch.inference_mode():
        want = net(x)["stage"]
        wide = torch.cat([torch.randn(2, 2, positions, 96), x, torch.randn(2, 3, positions, 96)], 1)
        mask = torch.tensor([[False] * 2 + [True] * 4 + [False] * 3] * 2)
        torch.testing.assert_close(net(wide, mask=mask)["stage"][:, 2:6], want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("head", sorted(SEQUENCES))
def test_every_step_hears_of_every_other(head):
    net = made(head=head)
    x = torch.randn(1, 4, 1, 96, requires_grad=True)
    for step in (0, 3):
        (grad,) = torch.autograd.grad(net(x)["stage"][0, step, 0], x)
        assert (grad[0].abs().sum(dim=(1, 2)) > 0).all()


@pytest.mark.parametrize(("target", "step"), [("last", 3), ("centre", 2)])
def test_one_answer_is_the_answer_of_its_step(target, step):
    every, one = made(), made(target=target)
    one.load_state_dict(every.state_dict())
    x = torch.rand(2, 4, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(one(x)["stage"], every(x)["stage"][:, step])


def test_images_and_their_stored_vectors_give_the_same_answer():
    for positions in (1, 2):
        net = made(positions=positions)
        x = torch.randint(0, 256, (2, 4, 3, 64, 64), dtype=torch.uint8)
        with torch.inference_mode():
            vectors = net.step_vectors(x.flatten(0, 1)).unflatten(0, (2, 4))
            torch.testing.assert_close(net(vectors)["stage"], net(x)["stage"])


def test_positions_are_map_columns_from_left_to_right():
    net = made(positions=2)
    x = torch.rand(1, 3, 64, 128)
    y = x.clone()
    y[..., 127] = 0  # the right edge
    with torch.inference_mode():
        moved = (net.step_vectors(y) - net.step_vectors(x)).abs().sum(dim=2)[0]
    assert moved[1] > moved[0]
    with pytest.raises(UserError, match="columns"):
        made(positions=9).step_vectors(torch.rand(1, 3, 64, 64))


def test_probabilities_keep_the_shape_and_sum_to_one():
    net = made(side=2)
    logits = net(torch.rand(2, 4, 3, 32, 32), torch.randn(2, 4, 2))
    p = net.probabilities(logits)["stage"]
    assert p.shape == (2, 4, 3)
    torch.testing.assert_close(p.sum(-1), torch.ones(2, 4))


def test_a_row_of_padding_alone_gives_numbers():
    for head in SEQUENCES:
        out = made(head=head)(torch.randn(2, 4, 1, 96), mask=torch.tensor([[True] * 4, [False] * 4]))["stage"]
        assert torch.isfinite(out).all()


def test_windows_cross_the_borders_of_the_joined_images():
    """As the first reference system has it: 4 images of 480 joined, 5 windows of 400 every 380."""
    x = torch.arange(4 * 480).view(1, 4, 1, 1, 480)
    cut = sequence.windows(x, 5, 400, 380)
    assert cut.shape == (1, 5, 1, 1, 400)
    assert cut[0, :, 0, 0, 0].tolist() == [0, 380, 760, 1140, 1520]
    assert cut[0, 4, 0, 0, -1] == 1919
    with pytest.raises(UserError, match="reach to 2300"):
        sequence.windows(x, 6, 400, 380)


def test_positions_of_a_transformer_are_the_papers_sines():
    code = sequence.sines(torch.tensor([3]), 4)[0]
    want = torch.tensor([3.0, 3.0 / 100]).sin().tolist() + torch.tensor([3.0, 3.0 / 100]).cos().tolist()
    torch.testing.assert_close(code, torch.tensor(want))


def test_layers_of_the_transformer_do_not_start_alike():
    body = sequence.Transformer(8, width=16, layers=2, heads=2)
    assert not torch.equal(body.layers[0].linear1.weight, body.layers[1].linear1.weight)


def test_sequence_choices_say_what_the_signatures_say():
    for choice in SEQUENCES.values():
        parameters = inspect.signature(choice.load()).parameters.values()
        assert {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty} == choice.parameters
