from __future__ import annotations

import pytest

from tapetum.core.config import Decide
from tapetum.core.targets import Target
from tapetum.decide.effect import without_effect

BREED = Target("breed", "single", ("a", "b"))
TAGS = Target("tags", "multi", ("a", "b"))
AGE = Target("age", "regression")


@pytest.mark.parametrize(
    ("decide", "targets", "probe", "said"),
    [
        ({"calibrate": "temperature"}, [BREED], True, ["since the probe answers: use decide.steps=['temperature']"]),
        ({"calibrate": {"name": "vector", "shrink": 2.0}}, [BREED], True, ["use decide.steps=['vector']"]),
        ({"calibrate": "temperature"}, [BREED], False, []),
        ({"calibrate": "none"}, [BREED], True, []),
        ({"steps": ["thresholds"]}, [BREED], False, ["'thresholds' is for multi targets and was left out"]),
        ({"steps": ["thresholds"]}, [BREED, TAGS], False, []),
        ({"steps": ["temperature", "context"]}, [AGE], True, ["'temperature' is for", "'context' is for single, ordinal targets"]),
    ],
)
def test_what_changes_nothing_is_told(decide, targets, probe, said):
    found = without_effect(Decide(**decide), targets, probe_answers=probe)
    assert len(found) == len(said)
    assert all(words in one for words, one in zip(said, found, strict=True))
    assert all(len(f"warning: {one}") <= 100 for one in found), "the summary of a run cuts longer lines"
