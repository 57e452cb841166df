"""What held-out rows say of an epoch is measured on the same scale as what it is compared with."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.monitor import prior_answer
from tapetum.core.targets import Target
from tapetum.learn.training import heldout

KIND, SIZE = Target("kind", "single", ("a", "b")), Target("size", "regression")


@pytest.mark.parametrize("target", [KIND, SIZE], ids=["classes", "numbers"])
def test_prior_is_judged_with_the_epoch_weights(target):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(40, 1)) if target is SIZE else np.eye(2)[(rng.random(40) < 0.3).astype(int)]
    y, weight = y.astype(np.float32), (np.arange(40) < 12).astype(np.float64)
    found = heldout.prior_loss({target.name: target}, {target.name: y}, {}, weight)
    assert found == pytest.approx(heldout.loss(target, prior_answer(target, y, weight), y, {}, weight))
    assert found == pytest.approx(heldout.prior_loss({target.name: target}, {target.name: y[:12]}, {}))
    assert found != pytest.approx(heldout.prior_loss({target.name: target}, {target.name: y}, {}))
