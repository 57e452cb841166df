"""The report on dependencies says of how many packages it speaks: none looked up is not none weak."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench import supply


def test_packages_that_were_not_looked_up_are_not_called_sound():
    answer = [
        {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1"}]},
        {"name": "b", "version": "2", "vulns": []},
        {"name": "c", "skip_reason": "not found"},
    ]
    first, *known = supply.weaknesses(answer)
    assert first == "1 known weaknesses in 2 of 3 packages; not looked up, as the service does not answer for them: c"
    assert known == ["  a 1: PYSEC-1"]


def test_no_answer_is_said_to_be_none():
    assert supply.weaknesses(None) == supply.weaknesses([]) == ["known weaknesses: pip-audit was not asked, or gave no answer"]
