"""What lies in a folder or an archive, and what of it is never data."""

from __future__ import annotations

import os
import tarfile
import zipfile

import pytest

from images import quiet
from tapetum.core import files
from tapetum.core.config import Data
from tapetum.core.errors import DataError, UserError
from tapetum.data import layouts
from tapetum.data.layouts.listing import children, listing

BAD = os.fsdecode(b"caf\xe9.png")
PNG = b"\x89PNG\r\n\x1a\n"


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(PNG)
    return root


@pytest.mark.parametrize("mark", ["run-id.json", ".holder.json", "pipeline.json", "pyvenv.cfg"])
def test_runs_pipelines_and_environments_are_no_data(tmp_path, mark):
    fill(tmp_path, "ant/a.png", "bee/b.png", "runs/run/saliency/s.png", f"runs/run/{mark}", "bee/deep/run/x.png", f"bee/deep/run/{mark}")
    found = listing(tmp_path)
    assert found.files == ["ant/a.png", "bee/b.png"]
    assert found.folders == ["ant", "bee"]  # 'runs' and 'bee/deep' hold nothing but runs
    assert found.runs == ["bee/deep/run", "runs/run"]


def test_run_inside_a_folder_is_not_listed(tmp_path):
    fill(tmp_path, "ant/a.png", "ant/out/run-id.json", "ant/out/x.png")
    assert listing(tmp_path).files == ["ant/a.png"]


def test_an_empty_class_folder_beside_a_run_is_still_seen(tmp_path):
    fill(tmp_path, "ant/a.png", "runs/run/run-id.json")
    (tmp_path / "runs" / "empty").mkdir()
    assert listing(tmp_path).folders == ["ant", "runs", "runs/empty"]


def test_what_systems_leave_beside_files_is_hidden(tmp_path):
    fill(tmp_path, "ant/a.png", "ant/Thumbs.db", "ant/.ipynb_checkpoints/a.png", "__MACOSX/ant/a.png", "ant/desktop.ini", ".venv/x.png")
    found = listing(tmp_path)
    assert (found.files, found.folders, found.hidden) == (["ant/a.png"], ["ant"], 5)


def test_a_run_itself_is_refused_as_data(tmp_path):
    fill(tmp_path, "run-id.json", "saliency/x.png")
    with pytest.raises(UserError, match="is a run or a pipeline, not data"):
        listing(tmp_path)


def test_a_run_inside_an_archive_is_no_data(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("ant/a.png", "runs/run/run-id.json", "runs/run/x.png", "__MACOSX/ant/._a.png"):
            archive.writestr(name, PNG)
    assert listing(tmp_path / "a.zip").files == ["ant/a.png"]
    assert listing(tmp_path / "a.zip").folders == ["ant"]


def test_layouts_that_look_at_folders_pass_runs_over(tmp_path):
    fill(tmp_path, "n02085620-Chihuahua/a.png", "runs/run/run-id.json")
    assert [p.name for p in children(tmp_path)] == ["n02085620-Chihuahua"]


def _zip(path, raw):
    """Write an archive whose member's name is these bytes, not marked as UTF-8."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in (f"ant/{'x' * len(raw)}.png", "bee/b.png"):
            archive.writestr(name, PNG)
    path.write_bytes(path.read_bytes().replace(b"x" * len(raw), raw))
    return path


def _tar(path):
    fill(path.parent, f"ant/{BAD}", "bee/b.png")
    with tarfile.open(path, "w") as tar:
        for name in ("ant", "bee"):
            tar.add(path.parent / name, name)
    return path


def test_undecodable_names_are_refused_by_repr_in_folders(tmp_path):
    fill(tmp_path, f"ant/{BAD}", "bee/b.png")
    for read in (lambda: layouts.read(tmp_path, Data(), quiet), lambda: layouts.loose([tmp_path], Data(), quiet)):
        with pytest.raises(DataError, match=r"not UTF-8 \(1\): 'ant/caf\\udce9\.png'.*rename"):
            read()
    with pytest.raises(DataError, match=r"'.*caf\\udce9\.png'"):
        layouts.loose([tmp_path / "ant" / BAD], Data(), quiet)


def test_undecodable_class_folder_is_refused_and_files_are_not(tmp_path):
    fill(tmp_path / "a", "ant/a.png")
    (tmp_path / "a" / "ant" / os.fsdecode(b"notes-\xe9")).write_text("no image")
    assert len(layouts.loose([tmp_path / "a"], Data(), quiet)) == 1
    fill(tmp_path / "b", os.fsdecode(b"gr\xf6sse/a.png"))
    with pytest.raises(DataError, match=r"gr\\udcf6sse/a\.png"):
        layouts.read(tmp_path / "b", Data(), quiet)


def test_names_in_archives_are_utf8_or_refused(tmp_path):
    marked = _zip(tmp_path / "mac.zip", "café".encode())  # as macOS writes it, without saying that it is UTF-8
    manifest = layouts.loose([marked], Data(), quiet)
    assert manifest.row_ids == ["ant/café.png", "bee/b.png"]
    from tapetum.data.images.archives import read_bytes

    assert read_bytes(manifest.paths(0)[0]) == PNG
    for archive in (_zip(tmp_path / "win.zip", b"caf\xe9"), _tar(tmp_path / "a.tar")):
        with pytest.raises(DataError, match=r"caf\\udce9"):
            layouts.loose([archive], Data(), quiet)


def test_json_of_a_run_below_an_undecodable_folder_is_whole(tmp_path):
    place = tmp_path / os.fsdecode(b"d\xe9")
    assert files.read_json(files.write_json(place / "a.json", {"root": place}))["root"] == place.as_posix()


@pytest.mark.parametrize("name", ["$RECYCLE.BIN", "System Volume Information", "lost+found", "@eaDir", "#recycle"])
def test_what_network_drives_leave_is_no_class(tmp_path, name):
    fill(tmp_path, "ant/a.png", "bee/b.png", f"{name}/x.png", f"ant/{name}/y.png")
    assert listing(tmp_path).folders == ["ant", "bee"]
    assert layouts.read(tmp_path, Data(), quiet).targets[0].classes == ("ant", "bee")


def test_links_to_a_folder_are_listed_but_not_upwards(tmp_path):
    fill(tmp_path, "ant/a.png", "bee/b.png")
    (tmp_path / "aaa").symlink_to(tmp_path / "ant", target_is_directory=True)
    (tmp_path / "bee" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "ant" / "there").symlink_to(tmp_path / "bee", target_is_directory=True)
    found = listing(tmp_path)
    assert found.files == ["aaa/a.png", "aaa/there/b.png", "ant/a.png", "ant/there/b.png", "bee/b.png"]
    assert "bee/up" not in found.folders


def test_a_cut_off_zip_is_no_workbook(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("ant/a.png", PNG)
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read") as error:
        listing(tmp_path / "a.zip")
    assert "Excel" not in str(error.value)
