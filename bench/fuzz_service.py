"""Requests that schemathesis makes up from the service's OpenAPI: none may be answered with 500, and the process must live.

schemathesis is installed into a virtual environment of its own, in ``.bench/``. Run: ``python bench/fuzz_service.py [--examples N] [--tool
PATH]``; the exit code is that of schemathesis.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

import numpy as np
from PIL import Image

import recorded
import serve
from tapetum import api

VENV = recorded.ROOT / ".bench" / "schemathesis"


def tool() -> Path:
    """Return the program of schemathesis, installed where it is not yet."""
    program = VENV / "bin" / "schemathesis"
    if not program.exists():
        venv.create(VENV, with_pip=True)
        subprocess.run([VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "schemathesis>=4"], check=True)
    return program


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--tool", type=Path, help="a schemathesis that is installed already")
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        for number in range(24):
            photo = home / "images" / str(number % 2) / f"{number}.png"
            photo.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(photo)
        api.fit(home / "images", home / "run", preset="fast", log=recorded.log, split__folds=2, **serve.SMALL)
        with serve.serving(home / "run") as (address, process):
            checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"
            words = [asked.tool or tool(), "run", f"{address}/openapi.json", "--checks", checks, "-n", str(asked.examples)]
            code = subprocess.run([*map(str, words), "--continue-on-failure", "--seed", "1"], check=False, cwd=home).returncode
            with urllib.request.urlopen(f"{address}/health") as response:
                print(response.read().decode(), "the process lives" if process.poll() is None else "the process ended")
    return code


if __name__ == "__main__":
    sys.exit(main())
