"""What is asked of the machine: bf16 in hardware, its load, the threads that follow from it."""

from __future__ import annotations

import pytest
import torch

from tapetum.learn import machine
from tapetum.learn.machine import Load


def capable(monkeypatch, *names, level="AVX512", kind="x86_64"):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: level)
    monkeypatch.setattr(machine.platform, "machine", lambda: kind)


@pytest.mark.parametrize(
    ("names", "level", "kind", "has"),
    [
        (("avx2", "avx512_f"), "AVX512", "x86_64", False),
        (("avx2",), "AVX2", "x86_64", False),
        (("avx512_f", "avx512_bf16"), "AVX512", "x86_64", True),
        (("avx512_f", "amx_bf16"), "AVX512", "x86_64", True),
        (("avx512_f", "avx512_bf16"), "AVX2", "x86_64", False),  # ATEN_CPU_CAPABILITY=avx2
        (("neon", "bf16"), "DEFAULT", "aarch64", True),
        (("neon",), "DEFAULT", "arm64", False),
    ],
)
def test_bf16_is_asked_of_the_hardware(monkeypatch, names, level, kind, has):
    capable(monkeypatch, *names, level=level, kind=kind)
    assert machine.bf16_in_hardware("cpu") == has


def test_an_older_torch_leaves_it_to_cpuinfo(monkeypatch):
    capable(monkeypatch)
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    for flags, has in (
        ("flags : fpu avx512f avx512_bf16", True),
        ("flags : fpu avx2", False),
        ("Features : fp asimd bf16 sve", True),
        ("", False),
    ):
        monkeypatch.setattr(machine, "_cpuinfo", lambda text=flags: text)
        assert machine.bf16_in_hardware("cpu") == has


@pytest.mark.parametrize(
    ("default", "load", "count"),
    [
        (2, Load(2, 2.0), 2),
        (2, Load(2, 1.6), 2),
        (2, Load(2, 1.1), 1),  # another program keeps one processor busy
        (2, Load(2, 0.0), 1),
        (8, Load(8, 5.2), 5),
        (8, Load(2, 40.0), 2),  # a container with two processors of a large machine
        (4, Load(8, None), 4),  # the system does not tell
    ],
)
def test_threads_follow_the_load(monkeypatch, default, load, count):
    monkeypatch.setattr(machine, "DEFAULT_THREADS", default)
    monkeypatch.setattr(machine, "load", lambda: load)
    assert machine.threads_now()[0] == count


def test_idle_processors_are_those_of_the_moment(monkeypatch):
    ticks = iter([(1000, 5000), (1100, 5200)])  # half of all ticks in between are idle
    monkeypatch.setattr(machine, "_ticks", lambda: next(ticks))
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    assert machine._idle() == pytest.approx(2.0)


def test_a_system_without_ticks_tells_its_load(monkeypatch):
    monkeypatch.setattr(machine, "_ticks", lambda: None)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (3.0, 0.0, 0.0), raising=False)
    assert machine._idle() == pytest.approx(1.0)
    monkeypatch.delattr(machine.os, "getloadavg")
    assert machine._idle() is None


def test_threads_come_from_recipe_then_environment_then_plan(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert (machine.threads(3, 2), machine.threads(None, 2), machine.threads(None, None)) == (3, 2, None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert (machine.threads(3, 2), machine.threads(None, 2)) == (3, None)


def test_this_machine_is_named():
    assert machine.processor()
    assert machine.cores() >= 1
    assert machine.load().cores == machine.cores()


@pytest.mark.parametrize(("text", "given"), [("abc", False), ("", False), ("0", False), ("-1", False), ("2", True), (" 4,2 ", True)])
def test_environment_without_a_number_leaves_threads_to_the_plan(monkeypatch, text, given):
    """OpenMP passes over what is no number, too."""
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert machine.threads(None, 3) == (None if given else 3)
