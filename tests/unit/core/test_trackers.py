from __future__ import annotations

import pytest

from tapetum.core.errors import first_line
from tapetum.core.trackers import Trackers


class Gone:
    """A tracker whose server is gone; the errors of sockets often say nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def curve(self, part, values, epoch):
        raise self.error


@pytest.mark.parametrize(("error", "said"), [(TimeoutError(), "(TimeoutError)"), (OSError("\nno route\nat all"), "(OSError: no route)")])
def test_a_tracker_that_fails_never_ends_training(error, said):
    told: list[str] = []
    trackers = Trackers({"far": Gone(error)}, told.append)
    for epoch in (1, 2):
        trackers.epoch("main", 0, {"epoch": epoch, "train_loss": 0.5})
    assert told == [f"warning: far gets no more figures of this run {said}"]


def test_what_an_error_says_is_one_line():
    assert first_line(EOFError()) == "EOFError"
    assert first_line(ValueError("  \n a\nb")) == "a"
    assert len(first_line(ValueError("x" * 999), named=True)) == 200
