"""Text is UTF-8 on every machine: no file is read or written, and no process spoken to, in the locale's encoding."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tapetum
from images import draw
from tapetum.cli import streams
from tapetum.core.tables import Manifest

SOURCE = Path(tapetum.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
TEXT_METHODS = ("read_text", "write_text")
ENCODED = ("files", "json")  # our own reader and writer, which are UTF-8


def _says_encoding(call: ast.Call) -> bool:
    return any(word.arg in ("encoding", None) for word in call.keywords)


def _is_bare(call: ast.Call) -> bool:
    """Tell whether a call opens text, or a process that speaks text, without an encoding."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = call.func.value.id if isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) else ""
    words = {word.arg for word in call.keywords}
    if name in TEXT_METHODS and owner not in ENCODED:
        return not _says_encoding(call) and len(call.args) < (1 if name == "read_text" else 2)
    is_member = isinstance(call.func, ast.Attribute) and bool(call.args) and not isinstance(call.args[0], ast.Constant)
    if name == "open" and owner not in ("tarfile", "Image", "zipfile", "os") and not is_member:  # a member of an archive is bytes
        modes = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        return not _says_encoding(call) and not any("b" in mode for mode in modes if len(mode) < 4)
    if owner == "subprocess":
        return bool({"text", "universal_newlines"} & words) and not _says_encoding(call)
    return name in ("TextIOWrapper", "NamedTemporaryFile") and not _says_encoding(call)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_text_is_opened_with_an_encoding(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert [f"{path.name}:{call.lineno}" for call in calls if _is_bare(call)] == []


def _latin1(folder: Path) -> dict[str, str]:
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", folder / "de_DE.ISO-8859-1"], capture_output=True, check=False
    )
    if not made or not (folder / "de_DE.ISO-8859-1").exists():
        pytest.skip("a Latin-1 locale cannot be made here")
    return {"LOCPATH": str(folder), "LC_ALL": "de_DE.ISO-8859-1"}


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(seed, np.random.default_rng(seed), size=16)).save(path)


@pytest.fixture(params=["C", "latin-1"])
def elsewhere(request, tmp_path) -> dict[str, str]:
    """Variables of a machine whose locale is not UTF-8."""
    own = {"LC_ALL": "C"} if request.param == "C" else _latin1(tmp_path)
    return {**os.environ, **own, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def command(*words: object, env: dict[str, str] | None = None, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, *python, "-m", "tapetum", *map(str, words)], env=env, capture_output=True, check=False)


@pytest.mark.skipif(os.name == "nt", reason="file names are UTF-8 on Windows")
def test_names_are_the_same_under_every_locale(tmp_path, elsewhere):
    for name in ("café", "größe"):
        for i in range(4):
            image(tmp_path / "data" / name / f"é{i}.png", i)
    (tmp_path / "over.toml").write_bytes("\ufeff[split]\nfolds = 2  # größer\n".encode())
    done = command("split", tmp_path / "data", "-c", tmp_path / "over.toml", "-o", tmp_path / "folds.parquet", env=elsewhere)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    manifest = Manifest.read(tmp_path / "folds.parquet")
    assert manifest.target("label").classes == ("café", "größe")
    assert manifest.row_ids[0] == "café/é0.png"
    assert all(manifest.paths(row)[0].exists() for row in range(8))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_result_is_printed_in_any_encoding(tmp_path, encoding):
    for name in ("café", "日本"):
        for i in range(4):
            image(tmp_path / "data" / name / f"{i}.png", i)
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    done = command("split", tmp_path / "data", "--folds", "2", env=env)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert ("日本" in done.stdout.decode(encoding)) == (encoding == "utf-8")


def test_json_for_machines_loses_no_character(capsys, monkeypatch):
    for encoding in ("ascii", "utf-8"):
        out = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding, errors="replace"))
        streams.show({"classes": ["café", "日本"]})
        sys.stdout.flush()
        assert json.loads(out.getvalue().decode(encoding))["classes"] == ["café", "日本"]


def test_no_own_file_is_opened_in_the_locales_encoding(probed, other_images, tmp_path):
    """The commands that read most kinds of files, under Python's own watch."""
    watch = ("-X", "warn_default_encoding")
    over = tmp_path / "over.toml"
    over.write_bytes(b"[split]\nfolds = 2\n")
    for words in (
        ("predict", probed, other_images, "-o", tmp_path / "o.csv"),
        ("report", probed, "-o", tmp_path / "report.html"),
        ("leaderboard", probed),
        ("ledger", probed),
        ("explain", "-c", over),
    ):
        done = command(*words, python=watch)
        own = [
            line for line in done.stderr.decode(errors="replace").splitlines() if "EncodingWarning" in line and f"{SOURCE}{os.sep}" in line
        ]
        assert own == [], words
