"""A folder that another process holds is refused by each command that works in it, before what takes seconds is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import small_runs
from tapetum.core import files, locks

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import small_runs
for words in eval(sys.argv[2]):
    said = small_runs.cli(*words, verbose=False)
    print(words[0], said.code, sorted({"torch", "timm", "sklearn", "scipy"} & set(sys.modules)), said.error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="another process may not read a held file there")
def test_commands_look_at_the_lock_before_importing_torch(tmp_path, planted):
    (run := tmp_path / "run").mkdir()
    table = tmp_path / "p.csv"
    parts = table.with_name(table.name + ".parts")
    spec = files.write_json(run / "spec.json", {})
    files.write_text(run / "recipe.toml", "")
    data = planted / "labels.csv"
    made = [(name, data, "-o", run) for name in ("fit", "find-rate", "trace", "tune", "ablate")]
    commands = [*made, ("reproduce", "dogs", "--simulate", "-o", run), ("decide", run), ("job", spec), ("predict", run, data, "-o", table)]
    words = repr([[str(word) for word in one] for one in commands])
    with locks.lock(run), locks.lock(parts):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(Path(small_runs.__file__).parent), words], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert [line.partition(" is in use by process ")[0] for line in lines] == [
        f"{one[0]} 5 [] {parts if one[0] == 'predict' else run}" for one in commands
    ]
