"""Systems of other packages are found by their entry points; what cannot be used is left out and named."""

from __future__ import annotations

import types
from importlib import resources

import pytest

from tapetum.core import registry
from tapetum.core.registry import System, find_recipes, find_systems, recipes_in, system_with
from tapetum.data.layouts.available import layouts


@pytest.fixture
def declared(monkeypatch):
    """Return a function that makes systems look as if other packages declared them."""

    def declare(**values):
        def point(name, value):
            def load():
                if isinstance(value, Exception):
                    raise value
                return value

            return types.SimpleNamespace(name=name, value=f"{name}:SYSTEM", load=load)

        monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [point(name, value) for name, value in values.items()])
        find_systems.cache_clear()

    yield declare
    find_systems.cache_clear()


def test_own_systems_are_there_without_metadata(declared):
    declared()
    assert list(find_systems()) == ["dogs", "hpa", "mask", "sleep"]
    assert system_with("dogs-plus").name == "dogs"
    assert system_with("nosuch") is None


def test_declared_system_is_asked_between_frame_and_folder(declared):
    declared(leaves=System("leaves", "tapetum.recipes", layouts={"leaves": "somewhere.layout:read"}))
    assert find_systems()["leaves"].package == "tapetum.recipes"
    order = list(layouts())
    assert order[0] == "frame"
    assert order.index("hpa") < order.index("leaves") < order.index("folder")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (ImportError("no module named nosuch"), "cannot be imported .*nosuch"),
        ({"name": "leaves"}, "it is a dict"),
        (System("dogs", "tapetum.recipes"), "there is a system 'dogs' already"),
        (System("leaves", "tapetum.recipes", layouts={"folder": "x:read"}), "there is a layout 'folder' already"),
        (System("leaves", "tapetum.recipes", layouts={"hpa": "x:read"}), "there is a layout 'hpa' already"),
        (System("leaves", "tapetum.systems.hpa"), "there is a recipe 'hpa' already"),
        (System("leaves", "nosuch_package"), "cannot be imported .*nosuch_package"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_named(declared, value, why):
    declared(leaves=value)
    with pytest.warns(UserWarning, match=f"the system 'leaves' .* is left out: .*{why}"):
        assert list(find_systems()) == ["dogs", "hpa", "mask", "sleep"]
    assert find_systems()["dogs"].package == "tapetum.systems.dogs"


def test_recipes_come_from_every_system_and_from_the_general_folder():
    expected = set(recipes_in("tapetum.recipes"))
    for system in find_systems().values():
        expected |= {p.name.removesuffix(".toml") for p in resources.files(system.package).iterdir() if p.name.endswith(".toml")}
    assert list(find_recipes()) == sorted(expected)
    assert {"dogs", "dogs-plus", "hpa", "hpa-plus"} <= expected
