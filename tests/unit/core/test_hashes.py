"""Hashes that a folder keeps: another content is named, what changes on purpose is kept anew, a kill leaves no wrong hash."""

from __future__ import annotations

import pytest

from tapetum.core import files, hashes
from tapetum.core.errors import DataError


@pytest.fixture
def folder(tmp_path):
    files.write_text(tmp_path / "a.txt", "one")
    files.write_text(tmp_path / "inner" / "b.txt", "two")
    hashes.keep(tmp_path, ["a.txt", "inner/b.txt"])
    return tmp_path


def check(folder, *wanted):
    hashes.check(folder, lambda name: f"mend {name}", wanted.__contains__ if wanted else bool)


def test_unchanged_files_pass_and_folders_without_hashes(folder, tmp_path):
    check(folder)
    check(tmp_path / "inner")


@pytest.mark.parametrize("content", ["other", ""])
def test_changed_file_is_named_with_its_mend(folder, content):
    (folder / "inner/b.txt").write_text(content)
    with pytest.raises(DataError, match=r"inner/b\.txt is not the file that was written.*hashes\.json.*mend inner/b\.txt"):
        check(folder)
    check(folder, "a.txt")


def test_absent_file_and_absent_folder_are_named(folder):
    (folder / "inner/b.txt").unlink()
    with pytest.raises(DataError, match=r"inner/b\.txt is absent"):
        check(folder)
    (folder / "inner").rmdir()
    with pytest.raises(DataError, match=r"inner is absent, and hashes\.json names files in it"):
        check(folder)
    hashes.check(folder, str, goes_on=True)  # it makes the folder anew


def test_renewed_files_pass_and_the_others_keep_theirs(folder):
    with hashes.renewed(folder, "a.txt"):
        files.write_text(folder / "a.txt", "three")
    check(folder)
    (folder / "inner/b.txt").write_text("x")
    with pytest.raises(DataError, match=r"b\.txt"):
        check(folder)


def test_a_kill_while_a_file_is_renewed_refuses_nothing(folder):
    def killed():
        with hashes.renewed(folder, "a.txt"):
            files.write_text(folder / "a.txt", "three")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    check(folder)
    assert list(hashes.kept(folder)) == ["inner/b.txt"]


def test_renewed_files_of_no_record_get_none(tmp_path):
    with hashes.renewed(tmp_path, "a.txt"):
        files.write_text(tmp_path / "a.txt", "one")
    assert not (tmp_path / hashes.RECORD).exists()


@pytest.mark.parametrize("content", ["", "[]", '{"sha256": [1]}', "{}"])
def test_broken_record_is_named(folder, content):
    (folder / hashes.RECORD).write_text(content)
    with pytest.raises(DataError, match=r"hashes\.json"):
        check(folder)


def test_record_leads_to_no_file_outside_its_folder(folder):
    files.write_json(folder / hashes.RECORD, {"sha256": {"../a.txt": "0"}})
    with pytest.raises(DataError, match="a file that is not in it"):
        check(folder)
