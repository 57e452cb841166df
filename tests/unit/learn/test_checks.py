"""A checkpoint that no training has is refused before any image is read; one that this training will not have is named."""

from __future__ import annotations

import pytest

from tapetum.core import config
from tapetum.core.errors import UserError
from tapetum.learn.training.checks import check_checkpoint


def _recipe(checkpoint, average="none"):
    return config.Recipe.model_validate({"train": {"checkpoint": checkpoint}, "average": {"name": average}})


@pytest.mark.parametrize(("given", "offer"), [("lst", "'last'"), ("epoch-x", "best, last"), ("ema", "best, last"), ("final", "best, last")])
def test_an_unknown_checkpoint_is_refused(given, offer):
    with pytest.raises(UserError, match=f"train.checkpoint is {given!r}.*{offer}"):
        check_checkpoint(_recipe(given), epochs=3)


@pytest.mark.parametrize(
    ("given", "average", "why"),
    [("swa", "ema", "average.name is 'ema'"), ("soup", "none", "average.name is 'none'"), ("epoch-002/ema", "none", "average.name"),
     (4, "none", "there are 3 epochs"), ("epoch-004", "none", "there are 3 epochs")],
)  # fmt: skip
def test_a_checkpoint_that_will_be_absent_is_named(given, average, why):
    (remark,) = check_checkpoint(_recipe(given, average), epochs=3)
    assert why in remark
    assert "last checkpoint" in remark


@pytest.mark.parametrize(("given", "average"), [("best", "none"), ("last", "none"), (3, "none"), ("swa", "swa"), ("epoch-003/ema", "ema")])
def test_a_checkpoint_of_the_training_needs_no_remark(given, average):
    assert check_checkpoint(_recipe(given, average), epochs=3) == []
