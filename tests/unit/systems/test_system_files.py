"""What comes with each system: files that an installed package holds too, and functions that its names lead to."""

from __future__ import annotations

import csv
import inspect
import re
import sys
import tomllib
import types
from importlib import resources
from pathlib import Path

import pytest

from tapetum import api
from tapetum.core.choices import load
from tapetum.core.errors import UserError
from tapetum.core.registry import System, find_systems
from tapetum.data import layouts
from tapetum.data.layouts import available
from tapetum.systems.choices import SYSTEMS

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_a_readme_names_layouts_recipes_and_a_command(system):
    text = (resources.files(system.package) / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {system.name}: ")
    assert all(f"`{name}`" in text for name in system.layouts)
    assert all(f"`{name}.toml`" in text for name in system.recipes())
    assert re.search(r"^tapetum \w+ ", text, re.M)


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_recipes_and_statements_are_read_as_package_data(system):
    for name, place in system.recipes().items():
        assert tomllib.loads(place.read_text(encoding="utf-8"))["name"] == name
    text = (resources.files("tapetum.systems") / "statements.csv").read_text(encoding="utf-8")
    assert next(csv.reader(text.splitlines())) == ["id", "system", "statement"]


def test_the_wheel_takes_the_whole_package():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert build == {"targets": {"wheel": {"packages": ["src/tapetum"]}}}  # hatch leaves out nothing but what git ignores


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_layouts_and_simulator_lead_to_functions(system):
    for where in system.layouts.values():
        assert list(inspect.signature(load(where)).parameters) == ["source", "data", "log"]
    if system.simulator is not None:
        assert {"out", "size", "seed", "log"} <= set(inspect.signature(load(system.simulator)).parameters)


@pytest.fixture
def plain(monkeypatch):
    """A system whose simulator writes no archives, and whose layout cannot be written."""
    one = System("plain", "tapetum.recipes", layouts={"plain": "plain_system:read"}, simulator="plain_system:simulate")
    for module in (api.images, available):
        monkeypatch.setattr(module, "find_systems", lambda: {**SYSTEMS, "plain": one})

    def simulate(out, *, size, px=64, seed, log):
        return {"out": out, "size": size}

    monkeypatch.setitem(sys.modules, "plain_system", types.SimpleNamespace(simulate=simulate))


def test_zip_is_refused_where_the_simulator_has_none(plain, tmp_path):
    assert api.simulate("plain", tmp_path, size=3) == {"out": tmp_path, "size": 3}
    with pytest.raises(UserError, match="'plain' writes folders alone"):
        api.simulate("plain", tmp_path, zip=True)


def test_a_layout_without_write_is_refused_by_name(plain, tmp_path):
    with pytest.raises(UserError, match="layout 'plain' can be read alone"):
        layouts.write(None, tmp_path / "x", "plain", lambda _: None)


def test_an_unknown_simulator_is_refused_with_those_there_are(tmp_path):
    assert sorted(s.name for s in find_systems().values() if s.simulator) == ["dogs", "hpa", "mask", "sleep"]
    with pytest.raises(UserError, match=r"no simulator 'cats' \(there are: dogs, hpa, mask, sleep\)"):
        api.simulate("cats", tmp_path)
