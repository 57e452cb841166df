"""No command reaches anything but this machine: seen by the process itself, and without any network at all."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import connections

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import connections, small_runs
connections.watch()
from tapetum.api import fit
data, out = sys.argv[2:4]
run = f"{out}/run"
flags = small_runs.flags(train__epochs=0, data__on_bad="skip")
commands = (
    ("fit", f"{data}/labels.csv", "-o", run, *flags),
    ("predict", run, f"{data}/images", "-o", f"{out}/p.parquet"),
    ("evaluate", run, f"{data}/labels.csv", "-o", f"{out}/evaluated"),
    ("audit", f"{data}/images", "-o", f"{out}/audit.parquet"),
    ("split", f"{data}/labels.csv", "--target", "label", "-o", f"{out}/folds.csv"),
    ("show", f"{data}/images", "-o", f"{out}/batch.png"),
    ("decide", run),
    ("report", run),
    ("ledger", run),
    ("diff", run, run),
    ("submit", run, "--template", f"{out}/template.csv", "-o", f"{out}/s.csv"),
    ("review", run, "--export", "--decisions", f"{out}/r.sqlite", "-o", f"{out}/d.csv"),
    ("explain", "dogs"),
    ("recipes",),
    ("doctor",),
)
for words in commands:
    said = small_runs.cli(*words)
    print(words[0], said.code, len(connections.SEEN), said.err[-300:].replace(chr(10), " "))
print("seen", connections.SEEN)
"""


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


def test_commands_work_where_there_is_no_network(planted, tmp_path):
    if not _may_unshare():
        pytest.skip("this system lets no process leave its network (unshare -rn)")
    rows = (planted / "labels.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "template.csv").write_text(
        "\n".join(["file,label", *(row.rpartition(",")[0] for row in rows[1:])]) + "\n", encoding="utf-8"
    )
    words = [sys.executable, "-c", SCRIPT, str(Path(connections.__file__).parent), str(planted), str(tmp_path)]
    done = subprocess.run(["unshare", "-rn", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    *lines, seen = done.stdout.strip().splitlines()
    assert seen == "seen []", done.stdout
    failed = [line for line in lines if line.split()[1] not in ("0", "4")]
    assert failed == []
    assert len(lines) == 15
