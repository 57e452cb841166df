"""A command writes over nothing that it reads, and over no file that makes a folder a run."""

from __future__ import annotations

import pytest

from tapetum.core.errors import UserError
from tapetum.core.own_files import refuse_own


@pytest.fixture
def run(tmp_path):
    for name in ("run/recipe.toml", "run/oof.parquet", "run/members/main/fold-0/oof.parquet", "run/submission.csv", "plain/oof.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["oof.parquet", "recipe.toml", "members/main/fold-0/oof.parquet", "../run/./oof.parquet"])
def test_files_of_the_run_are_refused(run, name):
    with pytest.raises(UserError, match="is a file of the run"):
        refuse_own(run / name, run)


def test_what_is_read_is_refused_by_any_name(run, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    with pytest.raises(UserError, match="is read by this very command"):
        refuse_own(tmp_path / "link" / "oof.parquet", None, tmp_path / "plain" / "oof.parquet")


def test_other_files_are_written(run, tmp_path):
    refuse_own(run / "submission.csv", run)
    refuse_own(run / "report.html", run)
    refuse_own(run / "oof.parquet", tmp_path / "plain")
    refuse_own(tmp_path / "plain" / "oof.parquet", tmp_path / "plain", run)
    refuse_own(None, run)
