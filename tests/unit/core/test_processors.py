"""Threads and instructions come from the environment and from what the system tells."""

from __future__ import annotations

import pytest

from tapetum.core import processors


@pytest.mark.parametrize(("given", "count"), [("3", 3), ("4,2", 4), ("", None), ("0", None), ("two", None)])
def test_threads_given_reads_the_first_number(monkeypatch, given, count):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert processors.threads_given() == count


@pytest.mark.parametrize(("flags", "there"), [("avx512f avx512_bf16", True), ("amx_bf16", True), ("avx2 avx512f", False), ("", False)])
def test_bf16_is_an_instruction_of_its_own(monkeypatch, flags, there):
    monkeypatch.setattr(processors, "cpuinfo", lambda: f"flags\t: fpu {flags} sse2")
    assert processors.has_bf16() is there
