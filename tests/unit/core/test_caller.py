"""A call of the Python API puts back what it changed in the process: after the last of several, in the order of the first change."""

from __future__ import annotations

import threading

import pytest
import torch

from tapetum.core import caller
from tapetum.core.errors import UserError, for_python
from tapetum.learn.runtime import Runtime, keep_settings


def settings():
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,
        torch.get_rng_state().tolist(),
    )


@pytest.fixture
def own():
    """Settings that a caller may have, and no call of ours."""
    before = settings()
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield settings()
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1], warn_only=True)
    torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory = before[2:4]


def change():
    Runtime(threads=torch.get_num_threads() + 1)
    torch.manual_seed(5)


@pytest.mark.parametrize("fails", [False, True])
def test_torchs_settings_are_put_back(own, fails):
    @for_python
    def work():
        change()
        assert settings() != own
        if fails:
            raise UserError("no")

    if fails:
        with pytest.raises(UserError):
            work()
    else:
        work()
    assert settings() == own


def test_a_call_inside_of_another_puts_nothing_back(own):
    with caller.call():
        with caller.call():
            change()
        assert settings() != own
    assert settings() == own


def test_the_last_of_several_threads_puts_back(own):
    began, may_end = threading.Event(), threading.Event()

    def longer():
        with caller.call():
            keep_settings()
            began.set()
            may_end.wait(60)

    thread = threading.Thread(target=longer)
    thread.start()
    began.wait(60)
    with caller.call():
        change()
    assert settings() != own
    may_end.set()
    thread.join()
    assert torch.are_deterministic_algorithms_enabled() is own[1]
    assert torch.get_rng_state().tolist() == own[4]


def test_without_a_call_nothing_is_kept():
    caller.put_back("test", lambda: pytest.fail)
    with caller.call():
        pass
