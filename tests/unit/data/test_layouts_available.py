"""Layouts of systems are asked for what they say of themselves, not for their names."""

from __future__ import annotations

import sys
import types

import pytest

from tapetum.core.errors import UserError
from tapetum.core.registry import System, find_systems
from tapetum.data.layouts import available


@pytest.fixture
def other(monkeypatch):
    """A layout of another package: class folders, and two files a sample."""
    own = find_systems()
    system = System("other", "tapetum.recipes", layouts={"other": "other_layout:read"})
    monkeypatch.setattr(available, "find_systems", lambda: {**own, "other": system})
    monkeypatch.setitem(sys.modules, "other_layout", types.SimpleNamespace(CLASS_FOLDERS=True, SAMPLE="{Id}_{a,b}.png"))


def test_class_folders_are_those_that_say_so(other):
    assert [name for name in available.layouts() if available.is_class_folders(name)] == ["stanford_dogs", "other", "folder"]


def test_files_of_a_sample_are_named_by_the_layout(other):
    found = {name: available.sample_files(name) for name in available.layouts()}
    assert {name: files for name, files in found.items() if files} == {"hpa": "{Id}_{red,green,blue,yellow}.png", "other": "{Id}_{a,b}.png"}


def test_a_layout_that_is_gone_says_nothing():
    assert not available.is_class_folders("gone")  # a pipeline may name a layout of a package that is not installed here
    assert available.sample_files("gone") is None
    with pytest.raises(UserError, match="no layout 'gone'"):
        available.module("gone")
