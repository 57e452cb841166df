"""Ray is told to report nothing and to ask no cloud, in its own words."""

from __future__ import annotations

import importlib.util

import pytest

from tapetum.workflow.launch import rays

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install 'tapetum[ray]')")


def test_the_usage_report_of_ray_is_off(monkeypatch):
    from ray._common.usage import usage_lib

    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    for name, value in rays.SILENT.items():
        monkeypatch.setenv(name, value)
    assert not usage_lib.usage_stats_enabled()


def test_an_address_that_nobody_answers_is_named(monkeypatch):
    import ray

    from tapetum.core.errors import EnvironmentFault
    from tapetum.workflow.launch.tasks import Task

    def refuse(address, **how):
        raise ConnectionError("no\nmore")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(EnvironmentFault, match=r"no Ray cluster answers at 10.0.0.1:6379 \(no\)"):
        next(rays.Ray("10.0.0.1:6379").run([Task("a", rays.os.devnull)]))
