"""Ray is told to report nothing and to ask no cloud, in its own words."""

from __future__ import annotations

import importlib.util
import socket
import sys
import types
from pathlib import Path

import pytest

from tapetum.core.errors import EnvironmentFault, UserError
from tapetum.workflow.launch import places, rays
from tapetum.workflow.launch.places import At
from tapetum.workflow.launch.tasks import Task

pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (pip install 'tapetum[ray]')")


def test_the_usage_report_of_ray_is_off(monkeypatch):
    from ray._common.usage import usage_lib

    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    for name, value in rays.SILENT.items():
        monkeypatch.setenv(name, value)
    assert not usage_lib.usage_stats_enabled()


def test_an_address_that_nobody_answers_is_named(monkeypatch):
    import ray

    def refuse(address, **how):
        raise ConnectionError("no\nmore")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(EnvironmentFault, match=r"no Ray cluster answers at 10.0.0.1:6379 \(no\)"):
        next(rays.Ray("10.0.0.1:6379").run([Task("a", rays.os.devnull)]))


@pytest.mark.parametrize("on", ["ray:0", "ray:foo", "ray:²", "ray:-1", "ray:1.5", "ray:host:", "ray::6379", "ray:host:1234567"])
def test_what_is_no_address_is_refused(on):
    with pytest.raises(UserError, match=f"--on is '{on}'"):
        places.check(At(on))


def test_an_address_is_tried_before_anything_is_read(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(EnvironmentFault, match=f"no Ray cluster answers at {address} .*refused"):  # nobody listens
            places.check(At(f"ray:{address}"))
        free.listen()
        monkeypatch.setattr(rays, "ANSWER", 0.3)
        with pytest.raises(EnvironmentFault, match=f"no Ray cluster answers at {address} .nothing within 0 s"):  # somebody else does
            places.check(At(f"ray:{address}"))


def test_why_a_cluster_does_not_answer_is_told(monkeypatch):
    monkeypatch.setattr(rays, "LOOK", "import sys; sys.exit('noise\\nerror: another version of Python.')")
    with pytest.raises(EnvironmentFault, match=r"no Ray cluster answers at auto \(another version of Python\)"):
        rays.check("auto")


def a_ray(*nodes):
    return types.SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": node} for node in nodes])


def test_a_task_asks_for_what_a_machine_has():
    tasks, said = [Task("a", Path(), processors=8, devices=2), Task("b", Path())], []
    assert [need["num_cpus"] for need in rays.Ray("2")._needs(a_ray({"CPU": 2.0}), tasks)] == [2, 1]
    assert [need["num_cpus"] for need in rays.Ray("h:1")._needs(a_ray({"memory": 1.0}), tasks)] == [16, 1]
    gpu = [Task("c", Path(), devices=2, gpu=True)]
    with pytest.raises(EnvironmentFault, match="needs 2 GPUs of one machine, and Ray has 1"):
        rays.Ray("2")._needs(a_ray({"CPU": 2.0, "GPU": 1.0}), gpu)
    assert rays.Ray("h:1", said.append)._needs(a_ray({"CPU": 4.0}), gpu)[0]["num_gpus"] == 2
    assert "2 GPUs of one machine, and Ray has 0: the jobs wait" in said[0]


def test_a_ray_that_died_is_started_again(monkeypatch):
    from ray.exceptions import LocalRayletDiedError

    def fail(_):
        raise LocalRayletDiedError

    class Started(Exception):
        pass

    place, ended = rays.Ray("1"), []
    place._ray = types.SimpleNamespace(get=fail, exceptions=sys.modules["ray"].exceptions, shutdown=lambda: ended.append(1))
    assert "raylet died" in place._ended(place._ray, None).reason
    monkeypatch.setattr(rays.Ray, "_started", lambda self: (_ for _ in ()).throw(Started))
    with pytest.raises(Started):
        next(place.run([Task("a", Path())]))
    assert ended == [1]


def test_what_a_task_raised_is_named():
    from ray.exceptions import RayTaskError

    error = RayTaskError("f", "Traceback\n  line\nFileNotFoundError: no such python", FileNotFoundError("no such python"))
    assert rays._sentence(error) == "FileNotFoundError: no such python"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp6").exists(), reason="Linux")
def test_a_ray_of_this_machine_listens_to_nobody_else(tmp_path):
    before = listening()
    place = rays.Ray("1")
    ((_, ended),) = place.run([type("Hello", (Task,), {"words": [sys.executable, "-c", "print('{}')"]})("a", tmp_path)])
    opened = listening() - before
    place.close()
    assert ended.code == 0
    assert opened
    assert {address for address, _ in opened} <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def listening():
    """Return (address, port) of each socket of this machine that takes connections."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]]
    return {tuple(words[1].split(":")) for words in lines if words[3] == "0A"}
