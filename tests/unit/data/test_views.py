import inspect

import pytest
import torch

from tapetum.core.errors import UserError
from tapetum.data.choices import VIEWS
from tapetum.data.images.resize import stretched
from tapetum.data.images.views import expand, first_draw


def batch(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", VIEWS)
def test_choices_state_the_defaults_of_the_views(name):
    parameters = inspect.signature(VIEWS[name].load()).parameters.values()
    assert VIEWS[name].parameters == {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


@pytest.mark.parametrize("name", VIEWS)
def test_draw_0_is_the_plain_image_and_nothing_else_is(name):
    x = batch(2, 3, 64, 64)
    first = next(iter(expand(x, name, [1, 2])))
    assert (first_draw(name) == 0) == torch.equal(first, x)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (2, 4, 1, 64, 96)])
def test_rows_stay_rows(name, shape):
    """Row 1 seen in a batch of two is row 1 seen alone, with and without a view axis."""
    x = batch(*shape)
    both, alone = expand(x, name, [7, 8]), expand(x[1:], name, [8])
    for a, b in zip(both, alone, strict=True):
        assert a.shape[: x.ndim - 2] == x.shape[:-2]
        assert torch.equal(a[1:], b)


def test_flips_and_dihedral_are_different_and_complete():
    x = batch(1, 1, 8, 8)
    assert len(list(expand(x, "flips"))) == 2
    four = list(expand(x, {"name": "flips", "vertical": True}))
    assert [torch.equal(v, e) for v, e in zip(four, (x, x.flip(-1), x.flip(-2), x.flip(-1, -2)), strict=True)] == [True] * 4
    assert len({v.contiguous().numpy().tobytes() for v in expand(x, "dihedral")}) == 8
    assert len(list(expand(batch(1, 1, 8, 10), "dihedral"))) == 4


def test_crops_are_the_corners_and_the_centre():
    x = batch(1, 3, 64, 64)
    five = list(expand(x, {"name": "crops", "share": 0.5}))
    boxes = [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]
    for view, (top, left) in zip(five, boxes, strict=True):
        assert torch.equal(view, stretched(x[..., top : top + 32, left : left + 32], (64, 64)))
    assert len(list(expand(x, {"name": "crops", "count": 10}))) == 10
    assert len(list(expand(x, {"name": "crops", "count": 4, "dihedral": True}))) == 32
    with pytest.raises(UserError, match="count 7"):
        list(expand(x, {"name": "crops", "count": 7}))


def test_random_crops_come_from_the_keys():
    x = batch(2, 3, 32, 32)
    a, b = list(expand(x, {"name": "random", "n": 3}, [1, 2])), list(expand(x, {"name": "random", "n": 3}, [1, 3]))
    assert len(a) == 3
    for first, second in zip(a, b, strict=True):
        assert torch.equal(first[0], second[0])
        assert not torch.equal(first[1], second[1])
    assert not torch.equal(a[0], a[1])
    longer = list(expand(x, {"name": "random", "n": 5}, [1, 2]))
    assert torch.equal(longer[2], a[2])
    with pytest.raises(UserError, match="key"):
        list(expand(x, "random"))


def test_scales_are_multiples():
    sizes = [tuple(v.shape[-2:]) for v in expand(batch(1, 3, 224, 448), "scales")]
    assert sizes == [(224, 448), (192, 384), (256, 512)]


def test_a_typo_is_answered():
    with pytest.raises(UserError, match="dihedral"):
        list(expand(batch(1, 1, 8, 8), "dihedrl"))
