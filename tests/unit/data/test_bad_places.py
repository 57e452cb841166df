"""Links in circles, closed folders, names with line breaks and paths that leave the folder: named, and no image lost or told twice."""

from __future__ import annotations

import os
import sys

import pytest
from PIL import Image

from images import quiet
from tapetum.core import table_files
from tapetum.core.config import Data
from tapetum.core.errors import DataError
from tapetum.data import audit, layouts
from tapetum.data.images.decode import Composition

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows takes neither such names nor links without a privilege")


@pytest.fixture
def folder(tmp_path):
    """Two classes of two images, each image of its own."""
    for number, name in enumerate(("ant/0.png", "ant/1.png", "bee/0.png", "bee/1.png")):
        place = tmp_path / "data" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((40, 40), 40 + number).convert("RGB").save(place)
    return tmp_path / "data"


def examined(source, **data):
    manifest = layouts.read(source, Data(**data), quiet)
    return manifest, audit.examine(manifest, Composition(), quiet, workers=1)


def test_links_in_circles_end_and_dead_links_are_named(folder):
    (folder / "ant" / "up").symlink_to(folder)
    (folder / "ant" / "self.png").symlink_to("self.png")
    (folder / "ant" / "dead.png").symlink_to("gone.png")
    _, table = examined(folder)
    reasons = dict(table.select("row_id", "reason").iter_rows())
    assert [name for name, reason in reasons.items() if reason is None] == ["ant/0.png", "ant/1.png", "bee/0.png", "bee/1.png"]
    assert "symbolic links" in reasons["ant/self.png"]
    assert "gone.png, which does not exist" in reasons["ant/dead.png"]


@pytest.mark.parametrize("name", ["ant/closed", "closed"])
def test_folders_that_cannot_be_listed_are_named(folder, monkeypatch, name):
    (folder / name).mkdir()
    listed = os.scandir

    def scandir(place="."):
        if os.fspath(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=rf"{name} cannot be listed \(Permission denied\).*chmod"):
        layouts.read(folder, Data(), quiet)
    (folder / name).rename(folder / "ant" / ".closed")  # hidden folders hold no data
    assert len(layouts.read(folder, Data(), quiet)) == 4


def test_line_breaks_in_names_survive_the_audit_as_csv(folder, tmp_path):
    (folder / "ant" / "1.png").rename(folder / "ant" / 'a\nline, "quoted".png')
    manifest, table = examined(folder)
    odd = 'ant/a\nline, "quoted".png'
    assert odd in manifest.row_ids
    table_files.write_table(tmp_path / "audit.csv", table)
    back = audit.read_decisions(tmp_path / "audit.csv", manifest, quiet)
    assert back["row_id"].to_list() == manifest.row_ids


def test_paths_above_a_table_are_read_or_named(folder, tmp_path):
    (tmp_path / "tables").mkdir()
    rows = ("../data/ant/0.png,a", "../data/bee/0.png,b", "../../../../no/such/0.png,b")
    (tmp_path / "tables" / "t.csv").write_text("file,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(DataError, match=r"\.\./\.\./\.\./\.\./no/such/0\.png"):
        examined(tmp_path / "tables" / "t.csv", targets=("label",))
    _, table = examined(tmp_path / "tables" / "t.csv", targets=("label",), on_bad="skip")
    assert table["status"].to_list() == ["ok", "ok", "missing"]
    assert table["findings"].to_list()[2] == ["absent"]
