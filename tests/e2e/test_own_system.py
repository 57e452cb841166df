"""The package of docs/your-own-system.md, installed beside Tapetum: its layout, simulator and recipe work from the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import polars as pl
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "your-own-system.md"
BLOCK = re.compile(r"^```\w+[^\n]* file=(\S+)\n(.*?)^```", re.S | re.M)
TINY = ["model.backbone=test_efficientnet", "model.weights=none", "input.size=32", "train.threads=1", "train.epochs=1", "split.folds=2"]


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """Return a folder that holds the page's files as an installer would leave them: the package, and its metadata."""
    site = tmp_path_factory.mktemp("site")
    for name, body in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(body, encoding="utf-8")
    project = tomllib.loads((site / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in project["entry-points"].items()]
    (info / "entry_points.txt").write_text("".join(groups))
    return site


@pytest.fixture(scope="module")
def tapetum(package, tmp_path_factory):
    """Return a function that runs a command in a folder of its own, with the package on the path."""
    desk = tmp_path_factory.mktemp("desk")

    def run(*words: str) -> str:
        where = {**os.environ, "PYTHONPATH": str(package)}
        done = subprocess.run([sys.executable, "-m", "tapetum", *words], cwd=desk, env=where, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "is left out" not in done.stderr
        return done.stdout

    run.desk = desk
    return run


def test_a_system_takes_fewer_than_100_lines():
    blocks = dict(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    assert set(blocks) == {"pyproject.toml", *(f"tapetum_leaves/{n}" for n in ("__init__.py", "layout.py", "simulate.py", "leaves.toml"))}
    assert sum(len(body.splitlines()) for body in blocks.values()) < 100


def test_a_package_adds_its_recipe_to_the_list(tapetum):
    assert "leaves" in [line.split()[0] for line in tapetum("recipes").splitlines()]


def test_a_package_adds_layout_and_simulator(tapetum):
    made = json.loads(tapetum("simulate", "leaves", "synthetic", "--size", "48", "--px", "600", "--json"))
    assert made["counts"] == {"train": 36, "test": 12}
    tapetum("split", "synthetic/data", "--folds", "2", "-o", "folds.csv")
    table = pl.read_csv(tapetum.desk / "folds.csv")
    assert table.filter(pl.col("split") == "train").group_by("group").agg(pl.col("fold").n_unique())["fold"].max() == 1
    assert len(table) == 48


@pytest.mark.slow
def test_a_package_reproduces_its_system(tapetum):
    sets = [word for text in TINY for word in ("--set", text)]
    said = tapetum("reproduce", "leaves", "--profile", "cpu", "--simulate", "--size", "48", "-o", "run", *sets, "--json")
    result = json.loads(said)
    template = pl.read_csv(tapetum.desk / "run-data" / "data" / "sample_submission.csv")
    handed = pl.read_csv(tapetum.desk / result["submission"])
    assert handed["leaf"].to_list() == template["leaf"].to_list()
    assert set(handed["species"]) <= {"willow", "beech", "lime"}
    assert "leaves" in (tapetum.desk / result["report"]).read_text(encoding="utf-8")
