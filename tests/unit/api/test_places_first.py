"""A path that is not there is refused before torch is imported, with the same exit code by every command."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALLS = {
    "fit": "fit nosuch -o run",
    "tune": "tune nosuch -o run",
    "ablate": "ablate nosuch -o run",
    "find-rate": "find-rate nosuch -o run",
    "show": "show nosuch -o a.png",
    "split": "split nosuch",
    "audit": "audit nosuch",
    "predict": "predict nosuch nosuch",
    "predict images": "predict frozen nosuch",
    "evaluate": "evaluate nosuch nosuch",
    "evaluate data": "evaluate frozen nosuch",
    "submit": "submit nosuch --template nosuch -o s.csv",
    "decide": "decide nosuch",
    "compare": "compare nosuch nosuch",
    "compare views": "compare nosuch --views flips",
    "leaderboard": "leaderboard nosuch",
    "conformal": "conformal nosuch",
    "ledger": "ledger nosuch",
    "report": "report nosuch",
    "reproduce": "reproduce dogs --data nosuch -o run",
    "job": "job nosuch",
    "explain": "explain nosuch",
}
CODE = """
import contextlib, io, json, sys
from tapetum.cli import main
found = {}
for name, line in json.loads(sys.argv[1]).items():
    sys.argv = ["tapetum", *line.split()]
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            found[name] = [end.code, err.getvalue(), sorted({"torch", "timm", "matplotlib"} & set(sys.modules))]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    import json

    place = tmp_path_factory.mktemp("empty")
    (place / "frozen").mkdir()
    (place / "frozen" / "pipeline.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(CALLS)], cwd=place, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CALLS)
def test_a_path_that_is_not_there_ends_at_once(answers, name):
    code, said, heavy = answers[name]
    assert code == 2, said
    assert "nosuch" in said
    assert heavy == []
