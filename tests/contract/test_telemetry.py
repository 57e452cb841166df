"""Telemetry of what Tapetum is built on is off before it is imported: also of libraries that reach the network below Python."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("way", ["import tapetum, onnxruntime", "from tapetum.learn import sessions; import onnxruntime"])
def test_onnx_runtime_keeps_no_store_of_events(tmp_path, way):
    switches = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
    env = {name: value for name, value in os.environ.items() if name not in switches}
    env |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "LOCALAPPDATA": str(tmp_path)}
    subprocess.run([sys.executable, "-c", way], env=env, check=True)
    assert [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()] == []
