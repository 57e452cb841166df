"""No command reaches anything but this machine: seen by the process itself, and without any network at all."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys

import pytest

import connections
import every_command


def test_a_connection_to_another_machine_is_seen():
    before = len(connections.SEEN)
    with socket.socket() as opened, pytest.raises(OSError, match="network"):
        opened.connect(("192.0.2.1", 9))
    seen = connections.SEEN[before:]
    del connections.SEEN[before:]
    assert seen == ["192.0.2.1"]


def test_this_machine_may_be_reached():
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())


def _may_unshare() -> bool:
    return (
        shutil.which("unshare") is not None and subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.slow
def test_every_command_works_where_there_is_no_network(planted, tmp_path):
    if not _may_unshare():
        pytest.skip("this system lets no process leave its network (unshare -rn)")
    words = [sys.executable, every_command.__file__, str(planted), str(tmp_path)]
    done = subprocess.run(["unshare", "-rn", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, seen = done.stdout.strip().splitlines()
    assert seen == "seen []", done.stdout
    ended = {name: (int(code), told) for name, code, _, told in (line.split("\t") for line in lines)}
    assert set(ended) == every_command.names()
    well = {name: (0, 4, every_command.INTERRUPTED) if name in every_command.STOPPED else (0, 4) for name in ended}
    assert {name: told for name, (code, told) in ended.items() if code not in well[name]} == {}
