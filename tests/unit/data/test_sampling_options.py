"""What a recipe states of a sampler by class is checked before any row is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import UserError
from tapetum.core.targets import Target
from tapetum.data.images import sampling, sampling_options

AGE = Target("age", "ordinal", ("0-29", "30-59", "60+"))
TRAINING = sampling.Training([AGE], {"age": np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]})


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"name": "subset", "cut": {"0-29": "3"}}, "cut = '3' for class '0-29'.*n parts"),
        ({"name": "subset", "cut": {"0-29": 2.5}}, "cut = 2.5"),
        ({"name": "subset", "cut": {"0-29": True}}, "cut = True"),
        ({"name": "subset", "cut": {"0-29": [3, 2, 1]}}, r"cut = \[3, 2, 1\]"),
        ({"name": "subset", "cut": {"0-29": [2, 3]}}, r"cut = \[2, 3\]"),
        ({"name": "subset", "cut": 3}, "cut = 3.*a table"),
        ({"name": "subset", "cut": {"70+": 2}}, "names class '70\\+'"),
        ({"name": "subset", "cut": {"0-29": 2}, "part": 2}, "part = 2.*there are 2 subsets"),
        ({"name": "subset", "cut": {"0-29": 2}, "repeat": {"60+": -2}}, "repeat = -2 for class '60\\+'.*0 or above"),
        ({"name": "subset", "cut": {"0-29": 2}, "repeat": [2]}, r"repeat = \[2\].*a table"),
        ({"name": "oversample", "factors": {"60+": "2"}}, "factors = '2'"),
        ({"name": "oversample", "factors": {"60+": True}}, "factors = "),
        ({"name": "balanced", "target": "agee"}, "names 'agee', which is no target.*'age'"),
    ],
)
def test_wrong_options_are_refused_before_and_while_drawing(spec, says):
    with pytest.raises(UserError, match=says):
        sampling_options.check(spec, [AGE])
    with pytest.raises(UserError, match=says):
        sampling.order(spec, TRAINING, seed=0, member="main", fold=0, epoch=0)


def test_right_options_pass():
    for spec in ("shuffle", "balanced", {"name": "subset", "cut": {"0-29": [2, 1]}, "repeat": {"60+": 1.5}, "part": 1}):
        sampling_options.check(spec, [AGE])
