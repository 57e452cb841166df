"""The user's cache: where it stands, and that nothing depends on it."""

from __future__ import annotations

import json
import os

from tapetum.core import cache


def test_entries_come_back_and_the_oldest_go_first(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "MOST", 3)
    assert cache.read("rates") == {}
    cache.add("rates", {"a": 1, "b": 2, "c": 3})
    cache.add("rates", {"a": 4, "d": 5})
    assert cache.read("rates") == {"c": 3, "a": 4, "d": 5}
    assert json.loads((tmp_path / "tapetum" / "rates.json").read_text()) == {"c": 3, "a": 4, "d": 5}


def test_broken_file_is_empty_and_written_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "tapetum" / "rates.json"
    file.parent.mkdir()
    for text in (b"{", b"[1]", b"\xff\xfe", b""):
        file.write_bytes(text)
        assert cache.read("rates") == {}
        cache.add("rates", {"a": 1})
        assert cache.read("rates") == {"a": 1}


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache.add("rates", {"a": 1})
    assert cache.read("rates") == {}


def test_each_platform_has_its_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(cache.Path, "home", lambda: tmp_path)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    wanted = {"linux": ".cache/tapetum", "darwin": "Library/Caches/tapetum", "win32": "AppData/Local/tapetum/Cache"}
    for platform, place in wanted.items():
        monkeypatch.setattr(cache.sys, "platform", platform)
        assert cache.folder().relative_to(tmp_path).as_posix() == place


def test_bytes_are_kept_up_to_a_bound(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "MOST_BYTES", 25)
    for number, name in enumerate("abc"):
        cache.add_bytes("models", name, name.encode() * 10)
        if cache.has_bytes("models", name):
            os.utime(cache.folder() / "models" / name, (number, number))
    assert [cache.read_bytes("models", name) is not None for name in "abc"] == [False, True, True]
    cache.add_bytes("models", "large", b"x" * 26)
    assert not cache.has_bytes("models", "large")
