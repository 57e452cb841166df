from __future__ import annotations

import numpy as np

from tapetum.core.derived import composed, with_derived
from tapetum.core.expressions import derive_target
from tapetum.core.monitor import monitor
from tapetum.core.targets import Target

MASK, AGE = Target("mask", "single", ("yes", "no")), Target("age", "regression", borders=(30.0, 60.0))
PARTS = {"mask": MASK, "age": AGE}
ANS, CLASS = derive_target("ans", "mask*3 + age", PARTS), derive_target("age_class", "age", PARTS)


def answers() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    mask = (np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]], np.float32), np.array([[1, 0], [0, 1], [np.nan, np.nan]], np.float32))
    age = (np.array([[20], [70], [40]], np.float32), np.array([[25], [50], [45]], np.float32))
    return {"mask": mask, "age": age}


def test_a_derived_answer_is_added_with_its_truth():
    targets, found = with_derived(answers(), PARTS, (MASK, AGE, ANS, CLASS))
    p, y = found["ans"]
    np.testing.assert_allclose(p[0], [0.9, 0, 0, 0.1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(p[1], [0, 0, 0.2, 0, 0, 0.8], atol=1e-6)
    assert y[0].argmax() == 0  # yes, below 30
    assert y[1].argmax() == 4  # no, 30 to 60
    assert np.isnan(y[2]).all()  # its mask is unknown
    assert list(targets) == ["mask", "age", "ans", "age_class"]
    assert monitor("age_class/accuracy", targets, found) == 2 / 3


def test_answered_or_incomplete_target_is_left_alone():
    assert composed((ANS, CLASS), {**PARTS, "ans": ANS}) == {"age_class": CLASS}
    assert composed((ANS, CLASS), {"age": AGE}) == {"age_class": CLASS}
    unscored = Target("ans", "single", ANS.classes, expression=ANS.expression, scored=False)
    assert composed((unscored,), PARTS) == {}
